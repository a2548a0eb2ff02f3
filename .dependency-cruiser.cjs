// Imports point one way: cli -> report -> harness -> results -> cluster -> run -> experiment -> attacks, defenses, metrics -> train
// -> models, data -> engine -> core.
const rooms = [
  'core',
  'engine',
  'models|data',
  'train',
  'attacks|defenses|metrics',
  'experiment',
  'run',
  'cluster',
  'results',
  'harness',
  'report',
  'cli',
];
const upward = rooms.slice(0, -1).map((room, level) => ({
  name: `${room.replaceAll('|', '-and-')}-imports-downwards`,
  severity: 'error',
  from: { path: `^src/(${room})/` },
  to: { path: `^src/(index\\.ts|(${rooms.slice(level + 1).join('|')})/)` },
}));

module.exports = {
  forbidden: [
    ...upward,
    {
      name: 'setup-comes-before-the-engine',
      severity: 'error',
      from: { path: '^src/engine/setup/' },
      to: { path: '^src/engine/[^/]+$' },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'plugins-use-what-users-have',
      comment: 'The built-in attacks and defences are written against the public modules, as any other plugin is.',
      severity: 'error',
      from: {
        path: '^src/(attacks|defenses)/',
        pathNot: '^src/(attacks/(attack|define|distil)|defenses/(defense|define|imitation))\\.ts$',
      },
      to: { path: '^src/', pathNot: '^src/(public|attacks|defenses)/' },
    },
    {
      name: 'public-modules-have-no-code',
      severity: 'error',
      from: { path: '^src/public/' },
      to: { path: '^src/(index\\.ts|experiment|run|results|harness|report|cli)' },
    },
    {
      name: 'report-reads-records',
      severity: 'error',
      from: { path: '^src/report/' },
      to: { path: '^src/(engine|models|train|attacks|defenses)/' },
    },
    { name: 'nothing-imports-cli', severity: 'error', from: { pathNot: '^src/cli/' }, to: { path: '^src/cli/' } },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { extensions: ['.ts', '.js'] },
  },
};
