import { templates } from './templates.js';

/** What a new project is made of. */
export interface ProjectNaming {
  /** Of its folder, its package and its experiment. */
  readonly name: string;
  /** By which npm finds what it depends on: a version, or `file:` and a path. */
  readonly packages: Readonly<Record<'undistill' | '@tensorflow/tfjs' | '@types/node' | 'typescript', string>>;
}

const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

const [attack, defense] = [
  { value: 'myAttack', file: 'my-attack' },
  { value: 'myDefense', file: 'my-defense' },
];

const manifest = ({ name, packages }: ProjectNaming): string =>
  json({
    name,
    private: true,
    type: 'module',
    scripts: {
      start: 'undistill run experiment.ts',
      plan: 'undistill plan experiment.ts',
      test: 'undistill engine install && node --import undistill/register --test */*.test.ts',
      types: 'tsc',
    },
    dependencies: { '@tensorflow/tfjs': packages['@tensorflow/tfjs'], undistill: packages.undistill },
    devDependencies: { '@types/node': packages['@types/node'], typescript: packages.typescript },
  });

const compiler = json({
  compilerOptions: {
    target: 'ES2022',
    lib: ['ES2023'],
    module: 'NodeNext',
    types: ['node'],
    strict: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: true,
    noEmit: true,
  },
  exclude: ['node_modules', 'runs'],
});

const npm = `\
# TensorFlow's bindings would fetch an old release in their install script; \`undistill engine install\` brings a current one.
ignore-scripts=true
`;

const experiment = ({ name }: ProjectNaming): string => `\
import { adam, constant, experiment, kd, labelSmoothing, learner, mnist, none, plainCnn, scratch } from 'undistill';
import { ${attack.value} } from './attacks/${attack.file}.js';
import { ${defense.value} } from './defenses/${defense.file}.js';

const net = (width: number) =>
  learner(plainCnn({ width }), { epochs: 3, batch: 128, optimizer: adam(), schedule: constant(1e-3) });

/** What is stolen from whom: every attack on every defence, into every student, once a seed. */
export default experiment({
  name: '${name}',
  data: mnist(),
  // Of the training images; the test images are always all.
  fraction: 0.1,
  teacher: net(8),
  students: [net(4)],
  defenses: [none(), ${defense.value}()],
  // The first two steal nothing: a teacher is undistillable if no theft is better than a student trained on smoothed labels.
  attacks: [scratch(), labelSmoothing(), kd(), ${attack.value}()],
  seeds: [0, 1],
});
`;

const readme = ({ name }: ProjectNaming): string => `\
# ${name}

Attacks on neural networks by knowledge distillation, and defences against them, compared with undistill.

\`\`\`
npm install
npm test        # installs TensorFlow once for all projects, and runs the plugins' tests
npm start       # runs experiment.ts; its tables and report are in runs/${name}/
\`\`\`

| | |
|---|---|
| \`experiment.ts\` | what is compared: data, networks, defences, attacks, seeds |
| \`attacks/${attack.file}.ts\` | an attack of our own, and its test |
| \`defenses/${defense.file}.ts\` | a defence of our own, and its test |

\`npm run plan\` says what a run would train and how long that takes. \`npm start -- --scale 0.1\` is a look with a tenth of all schedules, whose run
lies in \`runs/${name}-scale-0.1/\`. A run that was stopped goes on where it was. \`npm run types\` checks all files.

\`npx undistill new data-free dream\` (also \`attack\`, \`defense\`, \`trained-defense\`, \`network\`, \`metric\`, \`dataset\`) writes another plugin and its test, and says how it is
put into the experiment. \`npx undistill list\` has all that is there already.

The documentation lies in \`node_modules/undistill/docs/\`: [first steps](node_modules/undistill/docs/first-steps.md),
[running and comparing](node_modules/undistill/docs/running.md), [writing plugins](node_modules/undistill/docs/writing.md),
[every plugin](node_modules/undistill/docs/plugins.md), [the glossary](node_modules/undistill/docs/glossary.md).
`;

/** The files of a project that works as it is, by their paths. */
export const projectFiles = (of: ProjectNaming): readonly (readonly [path: string, text: string])[] => [
  ['package.json', manifest(of)],
  ['tsconfig.json', compiler],
  ['.npmrc', npm],
  ['.gitignore', 'node_modules/\nruns/\n'],
  ['README.md', readme(of)],
  ['experiment.ts', experiment(of)],
  [`attacks/${attack.file}.ts`, templates.attack.plugin(attack)],
  [`attacks/${attack.file}.test.ts`, templates.attack.test(attack)],
  [`defenses/${defense.file}.ts`, templates.defense.plugin(defense)],
  [`defenses/${defense.file}.test.ts`, templates.defense.test(defense)],
];
