import { type Refusal, refusal } from '../core/errors.js';
import { repeated } from '../core/lists.js';
import { inOneLine } from '../core/text.js';
import { canonical, otherFunction, ownFunctions } from './identity.js';

const refuse: Refusal = refusal('experiment');

interface Nameable {
  readonly name: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly label?: string;
}

const isNameable = (value: unknown): value is Nameable =>
  typeof value === 'object' && value !== null && 'name' in value && 'params' in value;

/** Parameters as text by their path; a plugin among them by its name and its own parameters. One that is null is left to its default. */
const flatten = (params: unknown, path: string): (readonly [string, string])[] => {
  if (isNameable(params)) return [[path, params.name], ...flatten(params.params, path)];
  if (typeof params === 'object' && params !== null) {
    return Object.entries(params).flatMap(([name, value]) => flatten(value, path === '' ? name : `${path}.${name}`));
  }
  return typeof params === 'function' || params === undefined || params === null ? [] : [[path, String(params)]];
};

const withParams = (name: string, params: readonly (readonly [string, string])[]): string =>
  params.length === 0
    ? name
    : `${name}(${params.map(([path, value]) => `${path.split('.').at(-1)} ${value}`).join(', ')})`;

/** A plugin by its name and all its parameters: `preResNet(depth 20)`. */
export const described = ({ name, params }: Nameable): string => withParams(name, flatten(params, ''));

/** Whether two plugins tell the same of themselves: of one module, name and label, with the same parameters and functions of the same text. */
export const tellTheSame = (a: Plugin, b: Plugin): boolean => textOf(a) === textOf(b);

/** Whether two plugins are one, or made twice by a declaration; functions of one's own are the same only where they are one. */
export const samePlugin = (a: Plugin, b: Plugin): boolean =>
  a === b || (tellTheSame(a, b) && otherFunction(ownFunctions(a), ownFunctions(b)) === undefined);

type Plugin = Nameable & { readonly source: string };

const textOf = (plugin: Plugin): string =>
  JSON.stringify([plugin.source, plugin.label ?? null, canonical(plugin, { modules: new Map() })]);

/**
 * One label each: the one given, else the name, with those parameters in which it differs from others of its name
 * (`kd(temperature 4)`, `kd(temperature 20)`).
 *
 * Throws a `FailureError` of kind `experiment` when two would carry one label, or labels that some disks take for one, or one is no
 * line of text.
 */
export const labelsOf = (field: string, all: readonly Nameable[]): readonly string[] => {
  const flat = all.map(({ params }) => new Map(flatten(params, '')));
  const labels = all.map(({ name, label }, i) => {
    if (label !== undefined) return label;
    const others = flat.filter((_, j) => j !== i && all[j]?.name === name && all[j]?.label === undefined);
    const own = flat[i] as Map<string, string>;
    const differing = [...own].filter(([path, value]) => others.some((other) => other.get(path) !== value));
    return withParams(name, differing);
  });
  const steering = labels.find((label) => inOneLine(label) !== label);
  if (steering !== undefined)
    refuse(
      `the label ${inOneLine(steering)} has characters that steer a terminal or an editor`,
      field,
      'Give it a label of its own, in one line: { ...plugin, label: "…" }.',
    );
  const twice = repeated(labels);
  if (twice !== undefined)
    refuse(
      `two of them are called ${twice}`,
      field,
      'Take one out, or give each a label of its own: { ...plugin, label: "…" }.',
    );
  const folded = labels.map((label) => label.toLowerCase());
  const alike = folded.findIndex((label, i) => folded.indexOf(label) !== i);
  if (alike !== -1)
    refuse(
      `${labels[folded.indexOf(folded[alike] as string)]} and ${labels[alike]} differ only in capitals, and would be one folder on some disks`,
      field,
      'Give one of them a label of its own: { ...plugin, label: "…" }.',
    );
  return labels;
};
