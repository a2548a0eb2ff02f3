import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Item, initialOf, items, settings } from '../src/cli/list.js';
import { wordsOf } from '../src/core/options.js';

// `npm run docs:plugins` writes plugins.md out of what the plugins declare, and a test holds the two together.

export const docsPath = fileURLToPath(new URL('plugins.md', import.meta.url));

const cell = (text: string): string => text.replaceAll('|', '\\|');

const table = (head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`);

/** What does not depend on this machine. */
const factsOf = ({ download: _, ...facts }: Item['facts']): string =>
  Object.entries(facts)
    .map(([of, fact]) => `${of} ${fact}`)
    .join('; ');

/** The experiment that something was made by, as a link: the site has it, and an installed package elsewhere. */
const linked = (text: string): string => text.replace(/\bexperiments\/([\w/-]+\.ts)/g, '[$1](../experiments/$1)');

const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, '')}.`;

const section = ({ name, write, about, paper, facts, options = {}, presets = {} }: Item): readonly string[] => {
  const words = wordsOf(options);
  const named = Object.entries(presets);
  return [
    `### ${name}`,
    '',
    sentence(about),
    '',
    ...(paper === undefined ? [] : [`${paper}.`, '']),
    `${[write.map((call) => `\`${call}\``).join(', '), linked(factsOf(facts))].filter((part) => part !== '').join(': ')}.`,
    '',
    ...(words.length === 0
      ? []
      : [
          ...table(
            ['option', 'default', 'takes', ''],
            words.map((option) => [`\`${option.name}\``, initialOf(option), option.takes, option.about]),
          ),
          '',
        ]),
    ...(named.length === 0
      ? []
      : [
          ...table(
            ['preset', ''],
            named.map(([preset, values]) => [
              `\`${name}.presets.${preset}\``,
              Object.keys(values).length === 0 ? 'the defaults' : settings(values),
            ]),
          ),
          '',
        ]),
  ];
};

const entries = [
  ['attacks', 'Attacks'],
  ['defenses', 'Defences'],
  ['networks', 'Networks'],
  ['zoo', 'Trained networks'],
  ['optimizers', 'Optimisers'],
  ['schedules', 'Schedules'],
  ['recipes', 'Recipes'],
  ['data', 'Data sets'],
  ['metrics', 'Metrics'],
] as const;

/** What has been measured of a kind. */
const beside = (kind: (typeof entries)[number][0]): readonly string[] =>
  kind === 'defenses'
    ? ['What each costs, as measured on one teacher: [what defences cost](../results/defence-costs.md).', '']
    : [];

/** All that the plugins of this package declare, as a page. */
export const pluginsPage = (): string =>
  [
    '# Plugins',
    '',
    'Made of what the plugins declare. `undistill list` says the same, and `undistill list --json` has a JSON',
    'Schema of the options of each.',
    '',
    'Every attack and defence also takes `label`, its name in the matrix; an attack of a black box takes `budget`, the answers that it may ask\nfor in all.',
    '',
    ...entries.flatMap(([kind, title]) => [`## ${title}`, '', ...beside(kind), ...items[kind]().flatMap(section)]),
  ]
    .join('\n')
    .trimEnd()
    .concat('\n');

/** The page as it lies here. */
export const publishedPage = (): string => readFileSync(docsPath, 'utf8');

// One that is as it should be is left alone: somebody may be reading it.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const page = pluginsPage();
  if (page !== publishedPage()) writeFileSync(docsPath, page);
}
