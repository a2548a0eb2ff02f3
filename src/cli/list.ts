import { describeOwnership } from '../attacks/attack.js';
import { downloaded, publishedNames } from '../data/published.js';
import { metrics } from '../metrics/metric.js';
import type { NetworkPlugin } from '../models/network.js';
import { headingOf, sentenceOf } from '../report/numbers.js';
import * as catalogue from './catalogue.js';
import type { Kind } from './choices.js';
import { type Terminal, terminal } from './terminal.js';

/** An entry in words: how it is written, and facts by name. */
interface Item {
  readonly write: string;
  readonly about: string;
  readonly facts: Readonly<Record<string, string | undefined>>;
}

/** `temperature 4, alpha 0.9`: the parameters of the plugin as it stands in the list. */
const parameters = (params: Readonly<Record<string, unknown>>): string =>
  Object.entries(params)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name} ${shown(value)}`)
    .join(', ') || 'none';

const shown = (value: unknown): string => {
  if (Array.isArray(value)) return value.map(shown).join(', ');
  if (typeof value !== 'object' || value === null) return String(value ?? 'none');
  const { name, params } = value as { name?: string; params?: Readonly<Record<string, unknown>> };
  return name === undefined ? JSON.stringify(value) : `${name}(${parameters(params ?? {})})`;
};

/** Trained parameters for 10 classes of the smallest common images. */
const counted = ({ build }: NetworkPlugin, channels: number): string =>
  build({ height: 32, width: 32, channels }, 10)
    .variables.filter(({ kind }) => kind === 'param')
    .reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0)
    .toLocaleString('en');

/** How to get a data set that its authors publish as a file. */
const downloadSaid = (name: string): string | undefined => {
  const known = publishedNames.find((each) => each === name);
  return known && (downloaded(known) ?? `undistill data get ${known}`);
};

const items: Readonly<Record<Kind, () => readonly Item[]>> = {
  attacks: () =>
    catalogue.attacks.map(({ write, about, plugin: { params, needs, data }, source }) => ({
      write,
      about,
      facts: { parameters: parameters(params), needs, owns: describeOwnership(data), source },
    })),
  defenses: () =>
    catalogue.defenses.map(({ write, about, plugin: { params, exposes }, source }) => ({
      write,
      about,
      facts: { parameters: parameters(params), exposes, source },
    })),
  nets: () =>
    catalogue.nets.map(({ write, about, plugin, source }) => ({
      write,
      about,
      facts: {
        parameters: parameters(plugin.params),
        weights: `${counted(plugin, plugin.name.startsWith('leNet') ? 1 : 3)} with 10 classes of 32×32 images`,
        source,
      },
    })),
  recipes: () =>
    catalogue.recipes.map(({ write, about, plugin: { epochs, batch, optimizer, schedule }, source }) => ({
      write,
      about,
      facts: {
        epochs: `${epochs}, of batches of ${batch}`,
        optimizer: shown(optimizer),
        schedule: shown(schedule),
        source,
      },
    })),
  data: () =>
    catalogue.data.map(({ write, about, plugin: { name, params } }) => ({
      write,
      about,
      facts: { parameters: parameters(params), download: downloadSaid(name) },
    })),
  metrics: () =>
    metrics.map((metric) => ({
      write: metric.name,
      about: sentenceOf(metric),
      facts: { called: headingOf(metric), of: `${metric.only ?? 'student and victim'}` },
    })),
};

export const listCommand = (which: readonly Kind[], out: Terminal = terminal()): number => {
  for (const kind of which) {
    out.log(`${kind === 'defenses' ? 'defences' : kind}:`);
    for (const { write, about, facts } of items[kind]()) {
      out.log(`\n  ${write}`);
      out.log(out.paint.faint(`    ${about}`));
      for (const [name, fact] of Object.entries(facts)) {
        if (fact !== undefined) out.log(`    ${name.padEnd(10)}  ${fact}`);
      }
    }
    out.log('');
  }
  out.log('Of your own: undistill new attack NAME, undistill new defense NAME.');
  return 0;
};
