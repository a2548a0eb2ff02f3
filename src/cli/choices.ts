/** The words that commands know, apart from the commands: telling a user of them must not load all that these need. */
export const kinds = [
  'attacks',
  'defenses',
  'networks',
  'zoo',
  'optimizers',
  'schedules',
  'recipes',
  'data',
  'metrics',
] as const;
export type Kind = (typeof kinds)[number];

export const formats = ['text', 'md', 'csv', 'json', 'tex'] as const;
export type Format = (typeof formats)[number];

export const comparisonFormats = ['text', 'md', 'html'] as const;
export type ComparisonFormat = (typeof comparisonFormats)[number];

export const rankFormats = ['text', 'md', 'html', 'json'] as const;
export type RankFormat = (typeof rankFormats)[number];

export const pluginKinds = [
  'attack',
  'data-free',
  'defense',
  'trained-defense',
  'network',
  'metric',
  'dataset',
] as const;
export type PluginKind = (typeof pluginKinds)[number];
export const newKinds = ['project', ...pluginKinds] as const;
export type NewKind = (typeof newKinds)[number];
