import { toJsonSchema } from '@valibot/to-json-schema';
import { describeOwnership } from '../attacks/attack.js';
import { unique } from '../core/lists.js';
import { type Options, type OptionWords, wordsOf } from '../core/options.js';
import { type Declaration, schemaOf } from '../core/plugin.js';
import { percent } from '../core/text.js';
import { downloaded, publishedNames } from '../data/published.js';
import { type Defense, partsOf, wrappersOf } from '../defenses/defense.js';
import { metrics } from '../metrics/metric.js';
import type { NetworkPlugin } from '../models/network.js';
import { headingOf, sentenceOf } from '../report/numbers.js';
import type { Recipe } from '../train/recipe.js';
import { zoo } from '../train/zoo.js';
import * as catalogue from './catalogue.js';
import type { Kind, PluginKind } from './choices.js';
import { type Terminal, terminal } from './terminal.js';

/** An entry in words: how it is written, facts by name and, of a plugin, its options. */
export interface Item {
  readonly name: string;
  /** As in an experiment file; several where it insists on one of several choices. */
  readonly write: readonly string[];
  readonly about: string;
  readonly paper?: string;
  readonly facts: Readonly<Record<string, string>>;
  readonly options?: Options;
  readonly presets?: Readonly<Record<string, object>>;
  /** The JSON Schema of what it takes. */
  readonly schema?: object;
}

/** Several values by name, and no plugin. */
const isSettings = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !('name' in value);

/** A plugin or a setting as a person would write it: `sgd(momentum 0.9)`. */
export const shown = (value: unknown): string => {
  if (Array.isArray(value))
    return value.map((each) => (isSettings(each) ? `{ ${shown(each)} }` : shown(each))).join(', ');
  if (typeof value !== 'object' || value === null) return String(value ?? 'none');
  const { name, params } = value as { name?: string; params?: Readonly<Record<string, unknown>> };
  return name === undefined ? settings(value) : `${name}(${settings(params ?? {})})`;
};

/** `temperature 4, alpha 0.9`. */
export const settings = (values: object): string =>
  Object.entries(values)
    .filter(([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0))
    .map(([name, value]) => `${name} ${shown(value)}`)
    .join(', ') || 'none';

/** Trained parameters for 10 classes of the smallest common images. */
const counted = ({ build }: NetworkPlugin): string =>
  build({ height: 32, width: 32, channels: 3 }, 10)
    .variables.filter(({ kind }) => kind === 'param')
    .reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0)
    .toLocaleString('en');

/** How to get a data set that its authors publish as a file. */
const downloadSaid = (name: string): Readonly<Record<string, string>> => {
  const known = publishedNames.find((each) => each === name);
  return known === undefined ? {} : { download: downloaded(known) ?? `undistill data get ${known}` };
};

/** A plugin in words, with facts that only one made of it knows. */
const plugin = <Plugin>(
  { declaration, samples }: catalogue.Listed<Plugin>,
  factsOf: (one: Plugin) => Readonly<Record<string, string>>,
): Item => {
  const { name, about, paper, options, presets } = declaration;
  const facts = samples.map((sample) => factsOf(sample.plugin));
  const names = Object.keys(facts[0] ?? {});
  return {
    name,
    write: samples.map(({ write }) => write),
    about,
    ...(paper === undefined ? {} : { paper }),
    // What differs from sample to sample is said of each, in their order.
    facts: Object.fromEntries(names.map((of) => [of, [...new Set(facts.map((some) => some[of]))].join('; ')])),
    options,
    presets,
    schema: jsonSchema(declaration),
  };
};

const entry = <Value>(
  { write, about, source, plugin: value }: catalogue.Entry<Value>,
  facts: Readonly<Record<string, string>>,
): Item => ({
  name: write.replace(/\(.*/, ''),
  write: [write],
  about,
  ...(source === undefined ? {} : { paper: source }),
  facts: { ...settingsOf(value), ...facts },
});

const settingsOf = (value: unknown): Readonly<Record<string, string>> => {
  const { params } = value as { readonly params?: object };
  return params === undefined ? {} : { parameters: settings(params) };
};

/** How a defence answers, in a word for each part that changes answers. */
const answering = (defense: Defense): string => {
  const wrappers = wrappersOf(defense);
  if (wrappers.length === 0) return defense.exposes === 'label' ? 'the label alone' : "the net's own";
  const kinds = unique(wrappers.map(({ answers }) => answers?.kind)).join(' + ');
  return partsOf(defense).at(-1)?.preserves === undefined ? kinds : `${kinds}; the label is kept`;
};

const recipeFacts = ({ epochs, batch, optimizer, schedule }: Recipe): Readonly<Record<string, string>> => ({
  epochs: `${epochs}, of batches of ${batch}`,
  optimizer: shown(optimizer),
  schedule: shown(schedule),
});

export const items: Readonly<Record<Kind, () => readonly Item[]>> = {
  attacks: () =>
    catalogue.attacks.map((listed) => {
      const { cost } = listed.declaration;
      const item = plugin(listed, ({ needs, data }) => ({ needs, owns: describeOwnership(data) }));
      return cost === undefined ? item : { ...item, facts: { ...item.facts, cost } };
    }),
  defenses: () =>
    catalogue.defenses.map((listed) =>
      plugin(listed, (defense) => ({
        exposes: defense.exposes,
        answers: answering(defense),
        inverse: partsOf(defense).some(({ recover }) => recover !== undefined) ? 'known' : 'none known',
      })),
    ),
  networks: () =>
    catalogue.networks.map((listed) => {
      const item = plugin(listed, (net) => ({ weights: counted(net) }));
      return { ...item, facts: { weights: `${item.facts.weights} with 10 classes of 32×32×3 images` } };
    }),
  zoo: () =>
    Object.entries(zoo).map(([name, { about, network, recipe, data, accuracy, seed, experiment, commit }]) => ({
      name,
      write: [`pretrained('${name}')`],
      about,
      facts: {
        net: shown(network),
        data,
        accuracy: `${percent(accuracy)} % of the test images`,
        trained: `${experiment}, seed ${seed}, commit ${commit}`,
        ...recipeFacts(recipe),
      },
    })),
  optimizers: () => catalogue.optimizers.map((listed) => plugin(listed, () => ({}))),
  schedules: () => catalogue.schedules.map((listed) => plugin(listed, () => ({}))),
  recipes: () => catalogue.recipes.map((listed) => entry(listed, recipeFacts(listed.plugin))),
  data: () => catalogue.data.map((listed) => plugin(listed, ({ name }) => downloadSaid(name))),
  metrics: () =>
    metrics.map((metric) => ({
      name: metric.name,
      write: [metric.name],
      about: sentenceOf(metric),
      facts: { called: headingOf(metric), of: `${metric.only ?? 'student and victim'}` },
    })),
};

/** The default in words; a dash where there is none. */
export const initialOf = ({ initial, required }: OptionWords): string =>
  required ? 'required' : initial === undefined ? '–' : shown(initial);

/**
 * The JSON Schema of a plugin's options. What JSON cannot carry, such as a network, takes anything and has its title and
 * description.
 */
const jsonSchema = (declaration: Declaration): object => {
  const { $schema: _, ...schema } = toJsonSchema(schemaOf(declaration), { errorMode: 'ignore', typeMode: 'input' });
  return schema;
};

/** Without functions and paths of this machine: plugins among the values are their name and parameters. */
const asJson = (items: readonly Item[]): unknown =>
  items.map(({ options: _, schema, ...item }) => ({ ...item, ...(schema && { options: schema }) }));

const optionLines = (options: Options): readonly string[] => {
  const words = wordsOf(options);
  const wide = (of: (option: OptionWords) => string) => Math.max(0, ...words.map((option) => of(option).length));
  const [names, initials] = [wide(({ name }) => name), wide(initialOf)];
  return words.map(
    (option) =>
      `${option.name.padEnd(names)}  ${initialOf(option).padEnd(initials)}  ${option.about} (${option.takes})`,
  );
};

/** What `undistill new` writes of each kind. */
const written: Readonly<Record<Kind, readonly PluginKind[]>> = {
  attacks: ['attack', 'data-free'],
  defenses: ['defense', 'trained-defense'],
  networks: ['network'],
  zoo: [],
  optimizers: [],
  schedules: [],
  recipes: [],
  data: ['dataset'],
  metrics: ['metric'],
};

export const listCommand = (
  which: readonly Kind[],
  { json = false }: { readonly json?: boolean } = {},
  out: Terminal = terminal(),
): number => {
  if (json) {
    const all = Object.fromEntries(which.map((kind) => [kind, asJson(items[kind]())]));
    out.log(JSON.stringify(all, (name, value) => (name === 'source' ? undefined : value), 2));
    return 0;
  }
  for (const kind of which) {
    out.log(`${kind === 'defenses' ? 'defences' : kind}:`);
    for (const { write, about, paper, facts, options = {}, presets = {} } of items[kind]()) {
      out.log(`\n  ${write.join(', ')}`);
      out.log(out.paint.faint(`    ${about}`));
      const said = {
        ...facts,
        ...(Object.keys(presets).length === 0 ? {} : { presets: Object.keys(presets).join(', ') }),
        ...(paper === undefined ? {} : { source: paper }),
      };
      for (const [name, fact] of Object.entries(said)) out.log(`    ${name.padEnd(10)}  ${fact}`);
      optionLines(options).forEach((line, i) => {
        out.log(`    ${(i === 0 ? 'options' : '').padEnd(10)}  ${line}`);
      });
    }
    out.log('');
  }
  const own = which.flatMap((kind) => written[kind]);
  if (own.length > 2) out.log(`Of your own: undistill new KIND NAME, where KIND is ${own.join(', ')}.`);
  else if (own.length > 0) out.log(`Of your own: ${own.map((kind) => `undistill new ${kind} NAME`).join(', ')}.`);
  return 0;
};
