import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { generating, dafl as theDafl } from '../src/attacks/dafl.js';
import { type Inversion, inverting, deepInversion as theInversion } from '../src/attacks/deep-inversion.js';
import { median } from '../src/core/lists.js';
import { key } from '../src/core/random.js';
import { dispose } from '../src/core/tree.js';
import { type Engine, loadEngine } from '../src/engine/engine.js';
import { type Execution, executions } from '../src/engine/execution.js';
import { runner } from '../src/engine/runner.js';
import { thisProcessor } from '../src/engine/setup/processor.js';
import type { ImageShape, Network, Variables } from '../src/models/network.js';
import { classifier } from '../src/train/classifier.js';
import { accuracyBy, evaluationStep } from '../src/train/evaluate.js';
import type { ImageSet } from '../src/train/images.js';
import { jointFit } from '../src/train/joint.js';
import { crossEntropy } from '../src/train/losses.js';
import { sgd } from '../src/train/optimizers.js';
import { publish } from '../src/train/oracle.js';
import type { Recipe } from '../src/train/recipe.js';
import { constant } from '../src/train/schedules.js';
import { phaseFit, roundRobinLabels, type SynthesisContext } from '../src/train/synthesiser.js';
import {
  asInARun,
  cnn,
  describe,
  fitting,
  leNet,
  leNetHalf,
  mobileNet,
  type Net,
  normalisationOf,
  openPython,
  preResNet20,
  resNet18,
  resNet34,
  resNeXt,
  type Subject,
  shuffleNet,
  smallCnn,
  someImages,
} from './common.js';

const usage = `npm run bench -- [--torch PYTHON] [--rounds N] [--only TEXT] [--threads N] [--execution HOW] [--memory STEPS]

Images per second of training, evaluation and synthesis. A training step is: look the batch up, crop and flip, normalise,
forward, cross-entropy, backward, SGD with momentum and weight decay, accuracy. A step of synthesis is the attack's own: of
DAFL, an update of the generator and one of the student; of DeepInversion, one of the images. Losses and accuracies are read
after each round. With --torch, the same in that Python's PyTorch, in turn with ours so that both meet the same machine:
eager and compiled in three modes, of which the fastest counts. Medians over rounds; the ratio is the median of the rounds'
ratios. Under "batches", the share of a training step in which its images are fetched and given to the engine.

--memory STEPS: instead, this process's memory over so many steps of training a LeNet-5, or of the first row of --only.`;

type Precision = 'float32' | 'tf32' | 'bfloat16';

interface Row extends Net {
  readonly kind: 'train' | 'evaluate' | 'synthesise';
  readonly image: ImageShape;
  readonly batch: number;
  readonly precision: Precision;
  /** Steps, or batches, in one round. */
  readonly steps: number;
  /** What synthesises, with the net as its victim. */
  readonly attack?: Attack;
}

type Attack =
  | { readonly name: 'dafl'; readonly settings: DaflSettings; readonly student: Net }
  | { readonly name: 'deepInversion'; readonly settings: Inversion };

/** The generator's, and the student's training. */
type DaflSettings = Omit<Parameters<typeof generating>[0], 'batch'> & Pick<Recipe, 'optimizer' | 'schedule'>;

const train = { kind: 'train', precision: 'float32' } as const;
// As many at a time as suit either side's processor.
const evaluate = { kind: 'evaluate', precision: 'float32', batch: 100 } as const;
const synthesise = { kind: 'synthesise', precision: 'float32' } as const;

const dafl = (preset: keyof typeof theDafl.presets, student: Net): Attack => ({
  name: 'dafl',
  settings: { width: 128, ...theDafl.presets[preset] },
  student,
});
const daflOfLeNets = { ...synthesise, ...leNet, attack: dafl('mnist', leNetHalf) };
const daflOfResNets = { ...synthesise, ...resNet34, attack: dafl('cifar10', resNet18) };
const deepInversion: Attack = { name: 'deepInversion', settings: theInversion.presets.cifar10 };
const inversionOfResNet = { ...synthesise, ...resNet18, attack: deepInversion };

const onProcessor: readonly Row[] = [
  { ...train, ...resNet18, batch: 64, steps: 2 },
  { ...train, ...preResNet20, batch: 64, steps: 10 },
  { ...train, ...resNeXt, batch: 16, steps: 1 },
  { ...train, ...mobileNet, batch: 64, steps: 3 },
  { ...train, ...shuffleNet, batch: 64, steps: 4 },
  { ...train, ...cnn, batch: 128, steps: 15 },
  { ...train, ...smallCnn, batch: 64, steps: 100 },
  { ...train, ...leNet, batch: 128, steps: 60 },
  { ...evaluate, ...resNet18, steps: 5 },
  { ...evaluate, ...preResNet20, steps: 20 },
  { ...daflOfLeNets, batch: 512, steps: 1 },
  { ...daflOfResNets, batch: 128, steps: 1 },
  { ...inversionOfResNet, batch: 64, steps: 2 },
];

const onCard: readonly Row[] = [
  { ...train, ...resNet18, batch: 128, precision: 'tf32', steps: 40 },
  { ...train, ...resNet18, batch: 512, precision: 'bfloat16', steps: 40 },
  { ...train, ...preResNet20, batch: 128, precision: 'tf32', steps: 80 },
  { ...train, ...preResNet20, batch: 512, precision: 'bfloat16', steps: 40 },
  { ...train, ...resNeXt, batch: 128, precision: 'tf32', steps: 10 },
  { ...train, ...mobileNet, batch: 128, precision: 'tf32', steps: 40 },
  { ...train, ...shuffleNet, batch: 128, precision: 'tf32', steps: 40 },
  { ...evaluate, ...resNet18, batch: 500, precision: 'tf32', steps: 20 },
  { ...evaluate, ...preResNet20, batch: 500, precision: 'tf32', steps: 20 },
  { ...daflOfLeNets, batch: 512, precision: 'tf32', steps: 80 },
  { ...daflOfResNets, batch: 1024, precision: 'tf32', steps: 8 },
  { ...inversionOfResNet, batch: 256, precision: 'tf32', steps: 40 },
];

/** What a row is of, for its reader. */
const titleOf = ({ name, attack }: Row): string => {
  if (attack === undefined) return name;
  return attack.name === 'dafl' ? `${name} to ${attack.student.name}, DAFL` : `${name}, DeepInversion`;
};

/** Products of bfloat16 are emulated, slowly, where the processor has none of its own. */
const multipliesBfloat16 = (): boolean => thisProcessor().flags.has('avx512_bf16');

const rowsFor = ({ class: kind }: Engine): readonly Row[] => {
  if (kind === 'tensorflow-cuda') return onCard;
  const narrow = onProcessor.slice(0, 2).map((row): Row => ({ ...row, precision: 'bfloat16' }));
  return multipliesBfloat16() ? [...onProcessor, ...narrow] : onProcessor;
};

const imagesOf = ({ image, batch, kind, steps }: Row): ImageSet =>
  someImages(image, kind === 'train' ? 4 * batch : steps * batch);

const trainer = (row: Row): Subject => {
  const { net, image, batch } = row;
  const precision = row.precision === 'bfloat16' ? 'bfloat16' : 'float32';
  const optimizer = sgd({ momentum: 0.9, weightDecay: 5e-4 });
  return fitting(
    classifier({
      learner: {
        network: net.build(image, 10),
        recipe: { epochs: 1, batch, optimizer, schedule: constant(0.01), precision },
      },
      data: imagesOf(row),
      loss: ({ logits, batch: { labels } }) => ({ loss: crossEntropy(logits, labels) }),
    }),
  );
};

/** The attack's own step, on a victim as it was initialised. */
const synthesiser = (attack: Attack, { net, image, batch, steps }: Row): Subject => {
  const network = net.build(image, 10);
  const normalisation = normalisationOf(image);
  const victim = publish({ network, variables: network.init(key('victim')), normalisation });
  const about = (student: Network): SynthesisContext<'weights'> => ({
    victim,
    input: image,
    classes: network.classes,
    student,
    normalisation,
  });
  if (attack.name === 'deepInversion')
    return fitting(
      phaseFit(inverting({ ...attack.settings, batch }), about(network), 0, {
        labels: roundRobinLabels(batch, network.classes),
        // Adaptive DeepInversion alone reads it.
        student: { params: {}, stats: {} },
        memory: {},
        before: undefined,
        every: steps,
      }),
    );
  const { settings } = attack;
  const student = attack.student.net.build(image, 10);
  const { optimizer, schedule } = settings;
  return fitting(
    jointFit(
      generating({ ...settings, batch }),
      about(student),
      { epochs: 1, stepsPerEpoch: steps, temperature: 1 },
      { network: student, recipe: { epochs: 1, batch, optimizer, schedule } },
    ),
  );
};

const evaluator = (row: Row): Subject => {
  const network = row.net.build(row.image, 10);
  const data = imagesOf(row);
  const running = runner(
    evaluationStep(network, data, (state: Variables) => state),
    {},
    { warn: console.error },
  );
  const variables = network.init(key('bench'));
  running.load(variables);
  dispose(variables);
  return {
    run: () => {
      accuracyBy(running.run, network, data);
      return data.indices.length;
    },
    how: () => running.execution,
    dispose: () => running.dispose(),
  };
};

const subjectOf = (row: Row): Subject => {
  if (row.attack !== undefined) return synthesiser(row.attack, row);
  return row.kind === 'train' ? trainer(row) : evaluator(row);
};

const modes = ['eager', 'default', 'reduce-overhead', 'max-autotune'] as const;

interface Answer {
  readonly seconds: Readonly<Record<string, number>>;
  readonly failed: Readonly<Record<string, string>>;
}

const openTorch = async (python: string, threads: number) => {
  const { ask, ...about } = await openPython<{ version: string; device: string }>(python, 'pytorch.py', threads);
  return {
    ...about,
    time: ({ name, batch, steps, kind, precision, attack }: Row, among: readonly string[]): Promise<Answer> => {
      const told = attack?.name === 'dafl' ? { ...attack, student: attack.student.name } : attack;
      return ask({ net: name, batch, steps, kind, precision, attack: told, modes: among });
    },
  };
};

type Torch = Awaited<ReturnType<typeof openTorch>>;

/** Images per second, and how many times as many as the fastest of the others in the same round's turn. */
const measure = async (row: Row, rounds: number, torch: Torch | undefined, among: readonly string[]) => {
  const subject = subjectOf(row);
  // Traced, compiled, compared where XLA is, and warm.
  for (let i = 0; i < 3; i++) subject.run(row.steps);
  const ours: number[] = [];
  const theirs: Record<string, number[]> = {};
  const failed: Record<string, string> = {};
  for (let round = 0; round < rounds; round++) {
    // What rested while others were timed may have lost its memory and its threads' places.
    subject.run(Math.min(row.steps, 4));
    const started = performance.now();
    const images = subject.run(row.steps);
    ours.push((1000 * images) / (performance.now() - started));
    if (torch === undefined) continue;
    const answer = await torch.time(row, among);
    Object.assign(failed, answer.failed);
    for (const [mode, seconds] of Object.entries(answer.seconds)) {
      theirs[mode] ??= [];
      theirs[mode].push((row.batch * row.steps) / seconds);
    }
  }
  const how = subject.how();
  const loading = row.kind === 'train' ? subject.loading?.() : undefined;
  subject.dispose();
  const best = Object.keys(theirs).sort((a, b) => median(theirs[b] as number[]) - median(theirs[a] as number[]))[0];
  return { ours, theirs, failed, how, loading, best };
};

const bench = async (rows: readonly Row[], rounds: number, torch: Torch | undefined): Promise<void> => {
  const columns = ['what', 'net', 'batch', 'precision', 'img/s', 'ms a step', 'batches', 'as'];
  const torchColumns = torch === undefined ? [] : [...modes.map((mode) => `PyTorch ${mode}`), 'ratio to its best'];
  const all = [...columns, ...torchColumns];
  console.log(`| ${all.join(' | ')} |`);
  console.log(`|${all.map((_, i) => (i === 0 || i === 1 || i === 3 || i === 7 ? '---' : '--:')).join('|')}|`);
  const complaints: string[] = [];
  for (const row of rows) {
    const { ours, theirs, failed, how, loading, best } = await measure(row, rounds, torch, modes);
    const rate = median(ours);
    const cells = [
      row.kind,
      titleOf(row),
      row.batch,
      row.precision,
      rate.toFixed(0),
      ((1000 * row.batch) / rate).toFixed(1),
      loading === undefined ? '' : `${(100 * loading).toFixed(1)} %`,
      how,
    ];
    if (torch !== undefined) {
      cells.push(...modes.map((mode) => (theirs[mode] === undefined ? 'fails' : median(theirs[mode]).toFixed(0))));
      const ratio = median((theirs[best ?? ''] ?? []).map((rate, i) => (ours[i] as number) / rate));
      cells.push(`${ratio.toFixed(2)}×`);
      complaints.push(
        ...Object.entries(failed).map(([mode, why]) => `${titleOf(row)}, ${row.precision}, ${mode}: ${why}`),
      );
    }
    console.log(`| ${cells.join(' | ')} |`);
  }
  if (complaints.length > 0) console.log(`\nPyTorch failed:\n${complaints.join('\n')}`);
};

/** What this process holds while it does a row's work. */
const memory = (steps: number, row: Row): void => {
  const subject = subjectOf(row);
  console.log('| steps | tensors | resident memory, MB |\n|--:|--:|--:|');
  const tenth = Math.ceil(steps / 10);
  for (let done = 0; done <= steps; done += tenth) {
    console.log(`| ${done} | ${tf.memory().numTensors} | ${(process.memoryUsage().rss / 1e6).toFixed(0)} |`);
    if (done < steps) for (let left = tenth; left > 0; left -= 50) subject.run(Math.min(50, left));
  }
  subject.dispose();
};

const main = async (): Promise<void> => {
  const { values } = parseArgs({
    options: {
      torch: { type: 'string' },
      rounds: { type: 'string', default: '7' },
      only: { type: 'string' },
      threads: { type: 'string' },
      execution: { type: 'string' },
      memory: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return console.log(usage);
  if (values.execution !== undefined && !executions.includes(values.execution as Execution))
    throw new Error(`--execution is one of ${executions.join(', ')}`);
  const engine = await loadEngine({
    ...(values.threads === undefined ? {} : { threads: Number(values.threads) }),
    execution: values.execution as Execution | undefined,
  });
  const torch = values.torch === undefined ? undefined : await openTorch(values.torch, engine.threads);
  const rounds = Number(values.rounds);
  // Of a LeNet-5 there are many steps in a short time.
  const wanted = (values.only ?? (values.memory === undefined ? '' : 'train leNet5')).toLowerCase();
  const rows = rowsFor(engine).filter((row) =>
    `${row.kind} ${titleOf(row)} ${row.precision}`.toLowerCase().includes(wanted),
  );
  const [first] = rows;
  if (first === undefined) throw new Error(`--only ${wanted} is part of no row`);
  const what =
    values.memory === undefined
      ? `medians of ${rounds} rounds`
      : `${first.kind} ${titleOf(first)}, batch ${first.batch}`;
  console.log(`${describe(engine)}; ${what}`);
  if (torch !== undefined) console.log(`PyTorch ${torch.version}, ${torch.device}`);
  console.log('');
  if (values.memory !== undefined) memory(Number(values.memory), first);
  else await bench(rows, rounds, torch);
  torch?.close();
};

await asInARun(main);
