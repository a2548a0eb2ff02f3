import * as v from 'valibot';
import type { AnyAttack } from '../src/attacks/attack.js';
import { required } from '../src/core/check.js';
import { FailureError } from '../src/core/errors.js';
import { type Declared, isDeclared, type PluginKind } from '../src/core/plugin.js';
import { load } from '../src/data/load.js';
import type { Defense } from '../src/defenses/defense.js';
import * as undistill from '../src/index.js';
import type { NetworkPlugin } from '../src/models/network.js';
import type { Optimizer } from '../src/train/optimizers.js';
import type { Learner, Recipe } from '../src/train/recipe.js';
import type { Schedule } from '../src/train/schedules.js';
import { planned } from '../test/experiment/planned.js';
import { wrong } from '../test/mutations.js';
import { dataOf, learnerOf, made, thirds } from '../test/run/helpers.js';
import { type Case, Defect, type Kind, must } from './case.js';

/** Values that a schema says it takes, and some just beyond. */
interface Edges {
  readonly inside: readonly unknown[];
  readonly outside: readonly unknown[];
}

const notNumbers = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
const isNoNumber = (value: unknown): boolean => notNumbers.includes(value as number);

/** Whatever one may write by mistake. */
const mistakes: readonly unknown[] = [...wrong, ...notNumbers, 5n, Symbol('x'), () => 5];

interface Requirement {
  readonly type: string;
  readonly requirement?: unknown;
}

/** The checks of a schema, also of those that it is made of, as far as they can be told. */
const requirementsOf = (schema: object): readonly Requirement[] => {
  const parts = (schema as { readonly pipe?: readonly Requirement[] }).pipe;
  return parts === undefined ? [] : parts.flatMap((part) => (part === schema ? [] : [part, ...requirementsOf(part)]));
};

const numberEdges = (schema: v.GenericSchema): Edges => {
  const checks = requirementsOf(schema);
  const bound = (type: string): number | undefined =>
    checks.find((check) => check.type === type)?.requirement as number;
  const isWhole = checks.some(({ type }) => type === 'integer');
  const step = isWhole ? 1 : 1e-6;
  const [least, above, most, below] = [bound('min_value'), bound('gt_value'), bound('max_value'), bound('lt_value')];
  const at = <A>(place: number | undefined, values: (place: number) => readonly A[]) =>
    place === undefined ? [] : values(place);
  const inside = [
    ...at(least, (x) => [x, x + step]),
    ...at(above, (x) => [x + step]),
    ...at(most, (x) => [x, x - step]),
    ...at(below, (x) => [x - step]),
  ];
  const outside = [
    ...at(least, (x) => [x - step, -1e308]),
    ...at(above, (x) => [x, x - step]),
    ...at(most, (x) => [x + step, 1e308]),
    ...at(below, (x) => [x, x + step]),
    ...(isWhole ? [(least ?? 0) + 0.5] : []),
    ...notNumbers,
  ];
  return { inside: inside.length === 0 ? [0, 1] : inside, outside };
};

/** A value with one of its parts at an edge, the others as they are. */
const aroundEach = (
  parts: readonly (readonly [string | number, v.GenericSchema])[],
  whole: (changed: Readonly<Record<string | number, unknown>>) => unknown,
): Edges => {
  const edges = parts.map(([name, schema]) => [name, edgesOf(schema)] as const);
  const each = (which: keyof Edges) =>
    edges.flatMap(([name, own]) => own[which].map((value) => whole({ [name]: value })));
  return { inside: each('inside'), outside: each('outside') };
};

const edgesOf = (given: v.GenericSchema): Edges => {
  const schema = required(given);
  const { type, options, items, item, entries } = schema as {
    readonly type: string;
    readonly options?: readonly unknown[];
    readonly items?: readonly v.GenericSchema[];
    readonly item?: v.GenericSchema;
    readonly entries?: Readonly<Record<string, v.GenericSchema>>;
  };
  const first = (of: v.GenericSchema): unknown => edgesOf(of).inside[0];
  if (type === 'number') return numberEdges(schema);
  if (type === 'boolean') return { inside: [true, false], outside: [0, 1, 'true'] };
  if (type === 'string') return { inside: ['a'], outside: [5, true] };
  if (type === 'picklist') return { inside: options ?? [], outside: [`${options?.[0]}?`, -1e9] };
  if (type === 'union') {
    const each = (options as readonly v.GenericSchema[]).map(edgesOf);
    // What one of them refuses another may take, but for a number that is none.
    const outside = each
      .flatMap(({ outside }) => outside)
      .filter((value) => [value].flat().some(isNoNumber) || !v.is(schema, value));
    return { inside: each.flatMap(({ inside }) => inside), outside };
  }
  if (items !== undefined) {
    const whole = items.map(first);
    const around = aroundEach(
      items.map((each, i) => [i, each] as const),
      (changed) => whole.map((value, i) => (i in changed ? changed[i] : value)),
    );
    return { ...around, outside: [...around.outside, [], whole.slice(1)] };
  }
  if (item !== undefined) {
    const { inside, outside } = edgesOf(item);
    return { inside: inside.map((value) => [value]), outside: outside.map((value) => [value]) };
  }
  if (entries !== undefined) {
    const whole = Object.fromEntries(Object.entries(entries).map(([name, each]) => [name, first(each)]));
    const around = aroundEach(Object.entries(entries), (changed) => ({ ...whole, ...changed }));
    // Of plugins among the parts none is known to be right.
    const inside = v.is(schema, whole) ? around.inside : [];
    return { inside, outside: [...around.outside, { ...whole, unheardOf: 1 }] };
  }
  // A plugin, or something of its author's own: only what it refuses by itself is known to be wrong.
  return { inside: [], outside: [] };
};

/** Whether a schema is of numbers alone, which none of `notNumbers` is. */
const isOfNumbers = (schema: v.GenericSchema): boolean =>
  (required(schema) as { readonly type: string }).type === 'number';

/** All that a plugin's file may import and that makes plugins, each once. */
const makers: readonly Declared[] = [...new Set(Object.values(undistill).filter(isDeclared))];

/** Images that every network takes, and every attack: a preset that owns one in 500 has a batch of them. */
const data = undistill.synthetic({ train: 4000, test: 30, classes: 5, size: 32, channels: 3 });
/** Made once. */
const loaded = dataOf(await load(data));

/** An experiment that is in order, but for the changes. */
const experimentWith = (changes: Parameters<typeof made>[0]) =>
  planned(made({ data: loaded, teacher: net(), students: [net()], attacks: [undistill.scratch()], ...changes }));

/** A net that every attack can steal with: it takes images of any size, and has batch norms. */
const net = (network: NetworkPlugin = undistill.preResNet(20), changes: Partial<Recipe> = {}) =>
  learnerOf(network, { batch: 4, ...changes });

const plugins: readonly unknown[] = [
  undistill.plainCnn(),
  undistill.nasty(),
  undistill.randomClass(),
  undistill.sgd(),
  undistill.constant(0.1),
  // Of other classes than the experiment's.
  dataOf(thirds()),
];

/** Values for the options that are insisted on. */
const insistedOn = ({ declaration: { options } }: Declared): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    Object.entries(options as Readonly<Record<string, v.GenericSchema>>)
      .filter(([, schema]) => required(schema) === schema)
      .map(([name, schema]) => [
        name,
        [0.5, 2, ...edgesOf(schema).inside, ...plugins, ...plugins.map((plugin) => [plugin])].find((value) =>
          v.is(schema, value),
        ),
      ]),
  );

/** What is made of a plugin, and of a student where it is an attack, before anything is trained. */
const used: Readonly<Record<PluginKind, (plugin: unknown, student?: Learner) => Promise<void> | void>> = {
  attack: (plugin, student = net()) => {
    const attack = plugin as AnyAttack;
    const attacks = attack.name === 'scratch' ? [attack] : [undistill.scratch(), attack];
    return experimentWith({ students: [student], attacks });
  },
  defense: (plugin) => experimentWith({ defenses: [undistill.none(), { ...(plugin as Defense), label: 'its own' }] }),
  network: (plugin) => experimentWith({ students: [net(plugin as NetworkPlugin)] }),
  optimizer: (plugin) => experimentWith({ students: [net(undefined, { optimizer: plugin as Optimizer })] }),
  schedule: (plugin) => experimentWith({ students: [net(undefined, { schedule: plugin as Schedule })] }),
  dataset: () => undefined,
};

const inWords = (value: unknown): string => {
  try {
    return typeof value === 'number' || typeof value === 'symbol'
      ? String(value)
      : (JSON.stringify(value, (_, each) => (isNoNumber(each) ? String(each) : each)) ?? String(value));
  } catch {
    return String(value);
  }
};

/** A plugin as one writes it: a list that may be given without its name is given as several. */
const called = (make: Declared, given: Readonly<Record<string, unknown>>): unknown => {
  const { positional = '' } = make.declaration;
  const alone = given[positional];
  return Array.isArray(alone) && make.length === 0 && Object.keys(given).length === 1 ? make(...alone) : make(given);
};

/** One option of a plugin, with every value: each is refused by name, or made and planned. */
const option = (make: Declared, name: string, schema: v.GenericSchema): Case => {
  const { kind, name: plugin } = make.declaration;
  const attempt = async (): Promise<number> => {
    const given = insistedOn(make);
    const { inside, outside } = edgesOf(schema);
    const isRefused = (value: unknown): boolean => !v.is(schema, value) || (isOfNumbers(schema) && isNoNumber(value));
    const refused = [...outside, ...mistakes.filter(isRefused)];
    const taken = [...inside, ...mistakes.filter((value) => !isRefused(value))];
    for (const value of refused) {
      const what = `${plugin}({ ${name}: ${inWords(value)} })`;
      try {
        called(make, { ...given, [name]: value });
      } catch (error) {
        if (!(error instanceof FailureError)) throw new Defect('aborted', `${what} throws ${(error as Error).stack}`);
        const { where, what: said, remedy } = error.failure;
        must(
          'silent',
          `${where}: ${said}`.includes(name),
          () => `${what} is refused without the option's name: ${where}: ${said}`,
        );
        must('silent', Boolean(remedy), () => `${what} is refused without a remedy: ${said}`);
        continue;
      }
      throw new Defect('silent', `${what} is taken`);
    }
    for (const value of taken) {
      try {
        await used[kind](called(make, { ...given, [name]: value }));
      } catch (error) {
        if (error instanceof FailureError) continue;
        throw new Defect(
          'aborted',
          `${plugin}({ ${name}: ${inWords(value)} }) throws ${(error as Error)?.stack ?? error}`,
        );
      }
    }
    return refused.length + taken.length;
  };
  return { name: `${kind} ${plugin}: ${name}`, attempt };
};

/** The names that one may type for another. */
const misspelt = (name: string): readonly string[] => [
  name.slice(0, -1),
  `${name}s`,
  name[0]?.toUpperCase() + name.slice(1),
  name.replace(/(.)(.)$/, '$2$1'),
];

/** Every option by a name that it has not, with a value that it takes: refused, and what was typed is said. */
const misnamed = (make: Declared): Case => ({
  name: `${make.declaration.kind} ${make.declaration.name}: misspelt options`,
  attempt: async () => {
    const given = insistedOn(make);
    const options = make.declaration.options as Readonly<Record<string, v.GenericSchema>>;
    const all = Object.entries(options).flatMap(([name, schema]) =>
      misspelt(name)
        .filter((other) => other !== '' && other !== name && other !== 'label' && !(other in options))
        .map((other) => [other, edgesOf(schema).inside[0]] as const),
    );
    for (const [name, value] of [...all, ['unheardOf', 1] as const]) {
      const what = `${make.declaration.name}({ ${name}: ${inWords(value)} })`;
      try {
        called(make, { ...given, [name]: value });
      } catch (error) {
        if (!(error instanceof FailureError)) throw new Defect('aborted', `${what} throws ${(error as Error).stack}`);
        const { what: said } = error.failure;
        must('silent', said === `${name} is none of its options`, () => `${what} is refused otherwise: ${said}`);
        continue;
      }
      throw new Defect('silent', `${what} is taken`);
    }
    return all.length + 1;
  },
});

/** Students, for one of which each preset is made. */
const students = [net(), net(undistill.mobileNetV2())];

/** Plans it for the first student that it suits; throws why it suits none. */
const usedWithOne = async (kind: PluginKind, plugin: unknown, [student, ...others] = students): Promise<void> => {
  try {
    await used[kind](plugin, student);
  } catch (error) {
    if (others.length === 0 || !(error instanceof FailureError)) throw error;
    await usedWithOne(kind, plugin, others);
  }
};

/** Every preset, and what the plugin is without a word. */
const presets = (make: Declared): Case => ({
  name: `${make.declaration.kind} ${make.declaration.name}: its presets`,
  attempt: async () => {
    const all = [{}, ...Object.values(make.declaration.presets)];
    for (const preset of all)
      await usedWithOne(make.declaration.kind, called(make, { ...insistedOn(make), ...preset }));
    return all.length;
  },
});

/** Every option of every plugin, as they are declared. */
export const options: Kind = {
  name: 'options',
  about:
    'every option of every plugin at, below and above its bounds, of other types and misspelt, from the declarations',
  limit: 120,
  takes: 2,
  cases: () =>
    makers.flatMap((make) => [
      presets(make),
      // `compose` is given defences and no names.
      ...(make.declaration.name === 'compose' ? [] : [misnamed(make)]),
      ...Object.entries(make.declaration.options as Readonly<Record<string, v.GenericSchema>>).map(([name, schema]) =>
        option(make, name, schema),
      ),
    ]),
};
