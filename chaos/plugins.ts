import { join } from 'node:path';
import type { Matrix } from '../src/results/types.js';
import { isThere } from '../src/run/store.js';
import { deadly } from '../test/cli/deadly.js';
import { tiny } from '../test/cli/project.js';
import { type Case, Defect, type Kind, must } from './case.js';
import { environmentOf, inPlace, mustHaveEnded, patience, run, undisturbed } from './runs.js';

/** Plugins that do what none should, each by the name of its way. */
const hostile = `\
import * as tf from '@tensorflow/tfjs';
import { type Attack, type Defense, kd, labelled, type Metric } from 'undistill';

const cyclic: Record<string, unknown> = {};
cyclic.self = cyclic;

export const steals: Record<string, (victim: any, learner: any, context: any) => unknown> = {
  'gives nothing': () => undefined,
  'gives a promise of nothing': async () => undefined,
  'gives null': async () => null,
  'gives a number': () => 5,
  'gives an empty record': async () => ({}),
  'gives a record that cannot be looked into': async () => new Proxy({}, { get: () => { throw new Error('no looking'); } }),
  'gives a task of nothing': () => async () => undefined,
  'gives weights that are none': async () => ({ last: { params: { a: 5 }, stats: {} }, best: undefined, history: [] }),
  'throws a text': () => { throw 'a text'; },
  'throws null': () => { throw null; },
  'throws undefined': async () => { throw undefined; },
  'throws a symbol': async () => { throw Symbol('x'); },
  'throws what holds itself': async () => { throw cyclic; },
  'throws an error without a message': async () => { throw new Error(''); },
  'throws an error whose message throws': async () => {
    throw Object.defineProperty(new Error('x'), 'message', { get: () => { throw new Error('inner'); } });
  },
  'changes Math.random': async () => { Math.random = () => { throw new Error('no chance'); }; throw new Error('done'); },
  'changes all records': async () => { (Object.prototype as any).polluted = 1; throw new Error('done'); },
  'disposes of all tensors': async () => { tf.disposeVariables(); tf.engine().reset(); throw new Error('done'); },
  'spoils the images it was lent': async (_, __, { data }) => {
    data.train.examples.labels.fill(0);
    throw new Error('done');
  },
  'leaves the folder': async () => { process.chdir('/'); throw new Error('done'); },
};

/** Steals as kd does, but for what it does before. */
export const spoils: Record<string, (context: any) => unknown> = {
  'spoils the labels it was lent': ({ data }) => data.train.examples.labels.fill(0),
  'spoils the images it was lent': ({ data }) => data.train.examples.images.fill?.(0),
  'spoils the order it was lent': ({ data }) => data.train.indices.reverse(),
  'makes no chance of Math.random': () => { Math.random = () => 0; },
  'adds to all records': () => { (Object.prototype as any).polluted = 1; },
  'moves to another folder': () => process.chdir('/'),
  'empties the environment': () => { for (const name of Object.keys(process.env)) delete process.env[name]; },
  'takes another backend of TensorFlow.js': () => tf.setBackend('cpu'),
  'opens a scope of tensors and leaves it': () => tf.engine().startScope('mine'),
  'changes a flag of TensorFlow.js': () => tf.env().set('WEBGL_CPU_FORWARD', false),
};

export const spoiling = (name: string): Attack<'probabilities', typeof labelled> => ({
  ...{ name, params: {}, source: import.meta.url, needs: 'probabilities', data: labelled },
  steal: (victim, learner, context) => {
    spoils[name]?.(context);
    return kd().steal(victim as never, learner, context) as never;
  },
});

export const stealing = (name: string): Attack<'probabilities', typeof labelled> => ({
  ...{ name, params: {}, source: import.meta.url, needs: 'probabilities', data: labelled },
  steal: steals[name] as never,
});

export const answering: Record<string, (given: any) => unknown> = {
  'answers NaN': ({ logProbabilities }) => ({ logProbabilities: tf.mul(logProbabilities, NaN) }),
  'answers infinity': ({ logProbabilities }) => ({ logProbabilities: tf.add(logProbabilities, Infinity) }),
  'answers no distribution': ({ logProbabilities }) => ({ logProbabilities: tf.zerosLike(logProbabilities) }),
  'answers in another shape': ({ logProbabilities }) => ({ logProbabilities: tf.slice(logProbabilities, [0, 0], [-1, 2]) }),
  'answers nothing': () => undefined,
  'answers an empty record': () => ({}),
  'answers numbers': () => ({ logProbabilities: [[0, 0]] }),
  'answers whole numbers': ({ logProbabilities }) => ({ logProbabilities: tf.cast(logProbabilities, 'int32') }),
  'answers with what is gone': ({ logProbabilities }) => {
    const gone = tf.add(logProbabilities, 0);
    gone.dispose();
    return { logProbabilities: gone };
  },
  'throws where it answers': () => { throw 'a text'; },
};

export const defending = (name: string): Defense<'probabilities'> => ({
  ...{ name, params: {}, source: import.meta.url, exposes: 'probabilities' },
  answers: { kind: 'pure', answer: answering[name] as never },
});

export const measures: Record<string, () => unknown> = {
  'measures a text': () => 'much',
  'measures nothing': () => undefined,
  'measures a promise': async () => 1,
  'throws where it measures': () => { throw new Error('no measure'); },
};

export const measuring = (name: string): Metric => ({
  ...{ name: 'hostile', unit: 'number', better: 'neither', describe: 'x', source: import.meta.url },
  of: measures[name] as never,
});

export const rates: Record<string, () => unknown> = {
  'a rate of NaN': () => Number.NaN,
  'a rate of infinity': () => Number.POSITIVE_INFINITY,
  'a rate that is a text': () => 'fast',
  'no rate': () => undefined,
  'a rate that throws': () => { throw new Error('no rate'); },
};

export const going = (name: string) => ({ name, params: {}, source: import.meta.url, at: rates[name] as never });

/** A net that tells other logits than a sound one. */
const telling = (sound: any, change: (logits: tf.Tensor2D) => tf.Tensor) => ({
  ...sound,
  apply: (...given: any[]) => {
    const out = sound.apply(...given);
    return { ...out, logits: change(out.logits) };
  },
});

/** Of a sound net's parts, those that are wrong. */
export const nets: Record<string, (sound: any) => unknown> = {
  'builds nothing': () => undefined,
  'builds a promise': async (sound) => sound,
  'throws where it is built': () => { throw new Error('no net'); },
  'has no variables': (sound) => ({ ...sound, variables: [] }),
  'has variables of other shapes': (sound) => ({ ...sound, variables: sound.variables.map((each: any) => ({ ...each, shape: [1] })) }),
  'begins with nothing': (sound) => ({ ...sound, init: () => undefined }),
  'begins with a promise': (sound) => ({ ...sound, init: async () => undefined }),
  'begins with other names': (sound) => ({ ...sound, init: () => ({ params: { other: tf.scalar(1) }, stats: {} }) }),
  'throws where it begins': (sound) => ({ ...sound, init: () => { throw new Error('no start'); } }),
  'answers nothing': (sound) => ({ ...sound, apply: () => undefined }),
  'answers a number': (sound) => ({ ...sound, apply: () => ({ logits: 5, activations: {} }) }),
  'answers a promise': (sound) => ({ ...sound, apply: async (...given: any[]) => sound.apply(...given) }),
  'answers for other classes': (sound) => telling(sound, (logits) => tf.concat([logits, logits], 1)),
  'answers for one image': (sound) => telling(sound, (logits) => tf.slice(logits, [0, 0], [1, -1])),
  'answers what is no number': (sound) => telling(sound, (logits) => tf.mul(logits, Number.NaN)),
  'answers by no weight': (sound) => ({
    ...sound,
    apply: (weights: any, images: any) => ({ logits: tf.zeros([images.shape[0], sound.classes]), activations: {} }),
  }),
  'throws where it answers': (sound) => ({ ...sound, apply: () => { throw new Error('no answer'); } }),
  'says that it is of other classes': (sound) => ({ ...sound, classes: 1000 }),
};

export const built = (name: string, like: any): any => ({
  ...{ name: 'hostileNet', params: {}, source: import.meta.url },
  build: (...given: any[]) => nets[name]?.(like.build(...given)),
});

export const rules: Record<string, (sound: any) => object> = {
  'begins with nothing': () => ({ init: () => undefined }),
  'begins with numbers': () => ({ init: () => ({ a: 5 }) }),
  'throws where it begins': () => ({ init: () => { throw new Error('no start'); } }),
  'steps to nothing': () => ({ update: () => undefined }),
  'steps to a promise': (sound) => ({ update: async (...given: any[]) => sound.update(...given) }),
  'steps to other names': () => ({ update: () => ({ params: { other: tf.scalar(1) }, state: {} }) }),
  'steps to other shapes': (sound) => ({
    update: (...given: any[]) => {
      const { params, state } = sound.update(...given);
      return { params: Object.fromEntries(Object.keys(params).map((key) => [key, tf.zeros([7])])), state };
    },
  }),
  'steps to what is no number': (sound) => ({
    update: (...given: any[]) => {
      const { params, state } = sound.update(...given);
      return { params: Object.fromEntries(Object.entries(params).map(([key, value]) => [key, tf.mul(value as any, Number.NaN)])), state };
    },
  }),
  'steps to another state': (sound) => ({ update: (...given: any[]) => ({ ...sound.update(...given), state: { more: tf.scalar(1) } }) }),
  'throws where it steps': () => ({ update: () => { throw new Error('no step'); } }),
};

export const ruled = (name: string, like: any): any => ({
  ...like,
  ...{ name: 'hostileRule', params: {}, source: import.meta.url },
  ...rules[name]?.(like),
});

/** The whole run's: there is nothing beside it that could go on. */
export const sets: Record<string, (sound: any) => unknown> = {
  'loads nothing': () => undefined,
  'loads null': () => null,
  'loads a text': () => 'images',
  'loads an empty record': () => ({}),
  'loads no test images': (sound) => ({ ...sound, test: { ...sound.test, count: 0 } }),
  'loads fewer labels': (sound) => ({ ...sound, train: { ...sound.train, labels: sound.train.labels.slice(1) } }),
  'loads a label of no class': (sound) => ({ ...sound, train: { ...sound.train, labels: sound.train.labels.map(() => 200) } }),
  'loads images without bytes': (sound) => ({ ...sound, train: { ...sound.train, images: undefined } }),
  'loads fewer bytes': (sound) => ({ ...sound, train: { ...sound.train, images: new Uint8Array(3) } }),
  'loads no classes': (sound) => ({ ...sound, classes: [] }),
  'loads images of no size': (sound) => ({ ...sound, image: { height: 0, width: 0, channels: 0 } }),
  'loads a deviation of zero': (sound) => ({ ...sound, normalisation: { ...sound.normalisation, std: sound.normalisation.std.map(() => 0) } }),
  'loads no fingerprint': (sound) => ({ ...sound, fingerprint: undefined }),
  'throws where it loads': () => { throw new Error('no images'); },
  'throws a text where it loads': () => { throw 'a text'; },
  'never loads': () => new Promise(() => undefined),
};

export const loading = (name: string, like: any): any => ({
  ...{ name: 'hostileSet', params: {}, source: import.meta.url },
  load: (options: any) => async () => {
    const { right: sound, ...other } = await like.load(options)();
    return other._tag === 'Left' ? other : { _tag: 'Right', right: await sets[name]?.(sound) };
  },
});
`;

/** The names of the ways in a table of \`hostile\`: one that is added there is tried. */
const waysOf = (table: string): readonly string[] => {
  const [, body = ''] = new RegExp(`export const ${table}: [^]*? = \\{\n([^]*?)\n\\};`).exec(hostile) ?? [];
  const found = [...body.matchAll(/^ {2}'([^']+)':/gm)].map(([, name]) => name as string);
  if (found.length === 0) throw new Error(`there is no table ${table}`);
  return found;
};

const [, waysToDie = ''] = /const ways = \{\n([\s\S]*?)\n\} as const/.exec(deadly) ?? [];
const deaths = [...waysToDie.matchAll(/^ {2}(\w+)[,:]/gm)].map(([, name]) => name as string);

/** What can be done where nothing is waited for. */
const suddenDeaths = deaths.filter((way) => !['never', 'throwsLate', 'rejectsAside', 'waits'].includes(way));

/** An experiment with a plugin that misbehaves beside others that do not. */
const withOne = (what: Parameters<typeof tiny>[0], change = (text: string) => text): string =>
  change(tiny({ defenses: 'none()', attacks: 'kd({ temperature: 4 })', ...what }));

const imports =
  "import { deadly, dying } from './deadly.ts';\nimport { built, defending, going, loading, measuring, ruled, spoiling, stealing } from './hostile.ts';";

/** A second student, of whose parts one misbehaves. */
const beside = ({
  net = 'plainCnn({ width: 3 })',
  optimizer = 'adam()',
  schedule = 'constant(0.01)',
}: Readonly<Record<string, string>>): string =>
  withOne({ imports, attacks: 'kd()' }, (text) =>
    text.replace(
      "net('student', 2)]",
      `net('student', 2), learner(${net}, { epochs: 1, batch: 16, optimizer: ${optimizer}, schedule: ${schedule} })]`,
    ),
  );

/** An experiment with a metric beside its own. */
const measuredBy = (metric: string): string =>
  withOne({ imports, attacks: 'kd()' }, (text) => text.replace('seeds:', `metrics: [${metric}],\n  seeds:`));

const experiments: Readonly<Record<string, (way: string) => string>> = {
  'an attack that': (way) => withOne({ imports, attacks: `deadly('${way}'), kd()` }),
  'a defence that': (way) => withOne({ imports, defenses: `none(), dying.defense('${way}')`, attacks: 'kd()' }),
  'a metric that': (way) => measuredBy(`dying.metric('${way}')`),
  'a schedule that': (way) => beside({ schedule: `dying.schedule('${way}')` }),
  'a network that': (way) => beside({ net: `dying.network('${way}', plainCnn({ width: 3 }))` }),
  'an optimiser that': (way) => beside({ optimizer: `dying.optimizer('${way}', adam())` }),
  steals: (way) => withOne({ imports, attacks: `stealing('${way}'), kd()` }),
  spoils: (way) => withOne({ imports, attacks: `spoiling('${way}'), kd()` }),
  answering: (way) => withOne({ imports, defenses: `none(), defending('${way}')`, attacks: 'kd()' }),
  measures: (way) => measuredBy(`measuring('${way}')`),
  rates: (way) => beside({ schedule: `going('${way}')` }),
  nets: (way) => beside({ net: `built('${way}', plainCnn({ width: 3 }))` }),
  rules: (way) => beside({ optimizer: `ruled('${way}', adam())` }),
  sets: (way) =>
    withOne({ imports, attacks: 'kd()' }, (text) =>
      text.replace(/data: (synthetic\(.*\)),/, `data: loading('${way}', $1),`),
    ),
};

/** The numbers of the student that has nothing to do with what misbehaves. */
const bystander = ({ cells, students }: Matrix): unknown =>
  cells.find(({ attack, defense, student }) => attack.startsWith('kd') && defense === 'none' && student === students[0])
    ?.seeds[0]?.student?.last;

/** Without a metric there are the other numbers. */
const measuring = ['measures', 'a metric that'];

/** Plugins that a plan is made with, which may refuse them before anything is made. */
const planned = ['nets', 'rules', 'sets'];

const misbehaving =
  (table: string, way: string): Case['attempt'] =>
  async (_, shared) => {
    const { matrix } = await undisturbed(shared);
    const make = experiments[table];
    if (make === undefined) throw new Defect('aborted', `no experiment is made of ${table}`);
    await inPlace(async (at) => {
      await at.write('deadly.ts', deadly);
      await at.write('hostile.ts', hostile);
      let isStopped = false;
      // The heap's end comes in seconds.
      const heap = way === 'fillsTheHeap' ? { NODE_OPTIONS: '--max-old-space-size=300' } : {};
      const ran = await run(at, environmentOf(at, { UNDISTILL_GRACE: '1', ...heap }), {
        // What loops or waits for ever is stopped as a person would.
        watch: (said, child) => {
          if (isStopped || !/\nnow (waits|loops) /.test(said)) return;
          isStopped = true;
          child.kill('SIGINT');
        },
      });
      mustHaveEnded(ran);
      if (['waits', 'loops'].includes(way))
        return must('aborted', ran.code === 130, () => `it ended with ${ran.code}: ${ran.out.slice(-800)}`);
      // What spoils may do so unnoticed, as long as it does to itself alone; a metric may have no number of a model, and is named if of none.
      const isToFail = table !== 'spoils' && way !== 'measures nothing';
      if (way === 'measures nothing')
        must('silent', ran.out.includes('hostile gives no model a number'), () => `it does not say so: ${ran.out}`);
      must(
        'silent',
        ran.code === 1 || !isToFail || (planned.includes(table) && ran.code !== 0),
        () => `it ended with ${ran.code}, as if nothing had been: ${ran.out.slice(-1500)}`,
      );
      // What is not even to be planned with is refused before anything is made.
      if (planned.includes(table) && !(await isThere(join(at.folder, 'runs', 'tiny', 'matrix.json'))))
        return must(
          'silent',
          /hostile(Net|Rule|Set)|a plugin/.test(ran.err),
          () => `it does not say who is wrong: ${ran.err}`,
        );
      const found = await at.matrix('runs/tiny');
      const failed = found.cells.filter(({ status }) => status === 'failed');
      must('silent', failed.length > 0 || measuring.includes(table) || !isToFail, () => 'no cell has failed');
      for (const { attack, reason, seeds } of failed)
        must('silent', Boolean(reason ?? seeds[0]?.reason), () => `${attack} does not say why it failed`);
      // Data are everybody's.
      if (!measuring.includes(table) && table !== 'sets')
        must(
          isToFail ? 'lost' : 'silent',
          bystander(found) === bystander(matrix) && bystander(found) !== undefined,
          () => `kd has ${bystander(found)} in place of ${bystander(matrix)}`,
        );
    }, make(way));
  };

/** Plugins that do what none should: a failed cell that says so, and the same numbers in all others. */
export const plugins: Kind = {
  name: 'plugins',
  about:
    'attacks, defences, metrics, schedules, networks, optimisers and data sets that exit, wait, loop, crash, throw or give what they should not',
  limit: (2 * patience) / 1000,
  takes: 30,
  cases: () => [
    ...deaths.map((way) => ({ name: `an attack that ${way}`, attempt: misbehaving('an attack that', way) })),
    ...['a defence that', 'a metric that', 'a schedule that', 'a network that', 'an optimiser that'].flatMap((table) =>
      suddenDeaths.map((way) => ({ name: `${table} ${way}`, attempt: misbehaving(table, way) })),
    ),
    ...['steals', 'spoils', 'answering', 'measures', 'rates', 'nets', 'rules', 'sets'].flatMap((table) =>
      waysOf(table).map((way) => ({ name: `${table}: ${way}`, attempt: misbehaving(table, way) })),
    ),
  ],
};
