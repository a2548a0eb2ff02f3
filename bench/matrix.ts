import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { deepInversion } from '../src/attacks/deep-inversion.js';
import { kd } from '../src/attacks/kd.js';
import { scratch } from '../src/attacks/scratch.js';
import { orThrow } from '../src/core/errors.js';
import { key } from '../src/core/random.js';
import { encodeSafetensors } from '../src/core/safetensors.js';
import { dispose, type Tree } from '../src/core/tree.js';
import { cifar10 } from '../src/data/cifar-binary.js';
import { nasty } from '../src/defenses/nasty.js';
import { none } from '../src/defenses/none.js';
import { loadEngine } from '../src/engine/engine.js';
import { runner } from '../src/engine/runner.js';
import { type Experiment, experiment } from '../src/experiment/experiment.js';
import { sweep } from '../src/experiment/sweep.js';
import { runExperiment } from '../src/harness/run-experiment.js';
import type { ImageShape } from '../src/models/network.js';
import { toStateDict } from '../src/models/state-dict.js';
import { openRecordings } from '../src/run/recordings.js';
import { type ClassifierSpec, classifier } from '../src/train/classifier.js';
import type { FitSpec } from '../src/train/fit.js';
import { frameOf, wholeState, wholeStep } from '../src/train/fit-step.js';
import type { LabelledBatch } from '../src/train/images.js';
import { distillation } from '../src/train/losses.js';
import { adam, sgd } from '../src/train/optimizers.js';
import { type Access, type Answering, publish } from '../src/train/oracle.js';
import { pretrained } from '../src/train/pretrained.js';
import { learner } from '../src/train/recipe.js';
import { answered, type Recordings, stepsInPart } from '../src/train/recordings.js';
import { constant } from '../src/train/schedules.js';
import {
  asInARun,
  cnn,
  describe,
  leNet,
  median,
  mobileNet,
  type Net,
  normalisationOf,
  openPython,
  preResNet20,
  resNet18,
  shuffleNet,
  someImages,
} from './common.js';

const usage = `npm run bench:matrix -- [PART …] [--torch PYTHON] [--data PATH] [--share S] [--rounds N] [--threads N] [--most CELLS]

Whole matrices, as one experiment here and as separate scripts in PyTorch, on CIFAR-10. Parts, default all:

  sweep      12 students, the five-layer CNN, of a ResNet-18 that is given: kd at 6 weights and 7 temperatures
  table      a normal and a nasty ResNet-18, both trained, and 4 students trained alone and by kd
  inversion  3 students of DeepInversion's images of a ResNet-18 that is given
  replay     a step of kd whose answers are recorded, beside one with a constant target: what reading answers costs
  cells      10, 100 and 1,000 cells of tiny nets by the command line: seconds, and memory of the largest process

Students see a share of the training images (--share, default 0.064, a tenth of them held out) once. Of ours all counts but decoding
images: planning, tracing, files, students trained alone for comparison, evaluation. Of PyTorch's (--torch) only steps do, in the
faster mode for each script, eager or torch.compile's default, in channels_last; its start, reading of data, warm-up, compilation and
evaluation do not. Both run in turn; medians over rounds, and the median of the rounds' ratios. --most: only matrices of so many cells.`;

/** Something that a script of PyTorch's trains; see matrix.py. */
type Part = Readonly<Record<string, unknown>>;
type Script = readonly Part[];

interface Contest {
  readonly of: Experiment;
  /** What the field would start one after the other, when a fit on the data takes so many steps. */
  readonly scripts: (steps: number) => readonly Script[];
}

const batch = 64;
const recipes = {
  sgd: { epochs: 1, batch, optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }), schedule: constant(0.01) },
  adam: { epochs: 1, batch, optimizer: adam(), schedule: constant(1e-3) },
} as const;
type Student = Net & { readonly by: keyof typeof recipes };
const students: readonly Student[] = [
  { ...cnn, by: 'adam' },
  { ...preResNet20, by: 'sgd' },
  { ...mobileNet, by: 'sgd' },
  { ...shuffleNet, by: 'sgd' },
];
const learnerOf = ({ net, by }: Student) => learner(net, recipes[by]);
const victim: Student = { ...resNet18, by: 'sgd' };
const iterations = 100;

const trained = ({ name, by }: Student, steps: number, more: Part = { loss: 'labels' }): Part => ({
  net: name,
  batch,
  steps,
  optimizer: by,
  ...more,
});
const beside = (loss: string, more: Part = {}): Part => ({ loss, beside: victim.name, ...more });

const contests = (path: string | undefined, share: number, weights: string): Readonly<Record<string, Contest>> => {
  const setting = {
    data: cifar10({ path }),
    fraction: share,
    validation: 0.1,
    // Held-out images are as few as the others; there are 10,000 test images.
    report: 'validation',
    seeds: [0],
  } as const;
  const given = pretrained(weights, victim.net);
  const few = students.slice(0, 3);
  const alphas = [0.1, 0.3, 0.5, 0.7, 1] as const;
  const temperatures = [1, 2, 4, 8, 12, 16, 20] as const;
  return {
    sweep: {
      of: experiment({
        ...setting,
        name: 'sweep',
        teacher: given,
        students: [learner(cnn.net, recipes.adam)],
        defenses: [none()],
        attacks: [...sweep(kd, { alpha: alphas }), ...sweep(kd, { temperature: temperatures })],
      }),
      scripts: (steps) =>
        [...alphas, ...temperatures].map(() => [trained({ ...cnn, by: 'adam' }, steps, beside('distil'))]),
    },
    table: {
      of: experiment({
        ...setting,
        name: 'table',
        teacher: learnerOf(victim),
        students: students.map(learnerOf),
        defenses: [none(), nasty()],
        attacks: [scratch(), kd()],
      }),
      scripts: (steps) => [
        [trained(victim, steps)],
        [trained(victim, steps, beside('nasty'))],
        ...students.flatMap((student) => [
          [trained(student, steps)],
          ...[none, nasty].map(() => [trained(student, steps, beside('distil'))]),
        ]),
      ],
    },
    inversion: {
      of: experiment({
        ...setting,
        name: 'inversion',
        teacher: given,
        students: few.map(learnerOf),
        defenses: [none()],
        attacks: [deepInversion({ batch, iterations })],
      }),
      scripts: (steps) =>
        few.map((student) => [
          { net: victim.name, batch, steps: iterations, settings: deepInversion.presets.cifar10 },
          trained(student, steps, beside('distilPool', { pool: batch })),
        ]),
    },
  };
};

const within = async <A>(use: (folder: string) => Promise<A>): Promise<A> => {
  const folder = await mkdtemp(join(tmpdir(), 'undistill-bench-'));
  return use(folder).finally(() => rm(folder, { recursive: true, force: true }));
};

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);

/** Seconds of an experiment from nothing, those of its fits' steps, and how many steps one on the data takes. */
const ours = (of: Experiment) =>
  within(async (folder) => {
    const began = performance.now();
    const { matrix, records } = await runExperiment(of, { folder });
    const wall = (performance.now() - began) / 1000;
    const bad = matrix.cells.find(({ status }) => status !== 'done');
    if (bad !== undefined) throw new Error(`${of.name}: ${bad.attack} ${bad.status}: ${bad.reason}`);
    const secondsOf = new Map(
      records.flatMap(({ id, training }) => (training ? [[id, training.steps / training.stepsPerSecond]] : [])),
    );
    // A theft's record counts the steps that made its pool, as does that of each other student's.
    const fits = records.map(({ id, inputs }) => (secondsOf.get(id) ?? 0) - (secondsOf.get(inputs.pool ?? '') ?? 0));
    const alone = records.find(({ kind, inputs }) => kind === 'steal' && inputs.pool === undefined);
    return { wall, fits: sum(fits), steps: alone?.training?.steps ?? 0 };
  });

const openTorch = (python: string, threads: number) =>
  openPython<{ version: string; device: string }>(python, 'matrix.py', threads);
type Torch = Awaited<ReturnType<typeof openTorch>>;

const table = (columns: readonly string[], rows: readonly (readonly (string | number)[])[]): void => {
  const lines = [columns, columns.map((_, i) => (i === 0 ? '---' : '--:')), ...rows];
  console.log(`\n${lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}`);
};

const times = (values: readonly number[]): string => `${median(values).toFixed(2)}×`;

const contest = async (
  name: string,
  { of, scripts }: Contest,
  rounds: number,
  torch: Torch | undefined,
): Promise<void> => {
  const all: { readonly wall: number; readonly fits: number; readonly theirs: number }[] = [];
  let parts: Script = [];
  let modes: readonly string[] = [];
  let trainings = 0;
  for (let round = 0; round < rounds; round++) {
    const { steps, ...own } = await ours(of);
    if (round === 0) {
      trainings = scripts(steps).length;
      parts = scripts(steps).flat();
      if (torch !== undefined) modes = (await torch.ask<{ modes: readonly string[] }>({ prepare: parts })).modes;
    }
    const seconds = torch && (await torch.ask<{ seconds: readonly number[] }>({ train: parts })).seconds;
    all.push({ ...own, theirs: sum(seconds ?? []) });
    console.error(`${name}, round ${round + 1}: ${JSON.stringify(all.at(-1))}`);
  }
  const column = (name: 'wall' | 'fits' | 'theirs') => median(all.map((each) => each[name])).toFixed(1);
  const numbers: (string | number)[] = [name, trainings, parts.at(-1)?.steps as number, column('wall'), column('fits')];
  const columns = ['matrix', 'scripts', 'steps of a fit', 'seconds', 'of them in fits'];
  if (torch !== undefined) {
    columns.push('PyTorch', 'ratio', 'ratio of fits', 'compiled');
    numbers.push(column('theirs'), times(all.map(({ theirs, wall }) => theirs / wall)));
    numbers.push(times(all.map(({ theirs, fits }) => theirs / fits)));
    numbers.push(`${modes.filter((mode) => mode !== 'eager').length} of ${modes.length}`);
  }
  table(columns, [numbers]);
};

/** Takes steps of a fit, the same so many ones again and again, with answers of before where recordings are given. */
const stepper = <F extends Tree, S extends Tree, B extends Tree, K extends Tree, D extends Tree, A extends Access>(
  spec: FitSpec<F, S, B, K, D, A>,
  recordings?: Recordings,
) => {
  const own = key('bench');
  const source = spec.source(own);
  const frame = frameOf(spec, source.data);
  const stepOf = (answering?: Answering) => wholeStep(spec, undefined, answering);
  const running = runner(stepOf(), frame, { warn: console.error });
  const taking = answered(spec, { runner: running, frame, stepOf }, { key: own, source, recordings });
  const state = wholeState(spec, own);
  running.load(state);
  dispose(state);
  let next = 0;
  const take = (count: number): void => {
    const calls = Array.from({ length: count }, (_, i) => {
      const inputs = { learningRate: tf.scalar(1e-3), seed: tf.tensor1d([0, next + i], 'int32') };
      return { batch: source.at(next + i).batch, inputs };
    });
    dispose(taking.run(next, calls));
    dispose(calls);
    next = (next + count) % stepsInPart;
  };
  return {
    /** Milliseconds a step. */
    run: (steps: number): number => {
      const began = performance.now();
      for (let taken = 0; taken < steps; taken += running.stride) take(Math.min(running.stride, steps - taken));
      return (performance.now() - began) / steps;
    },
    flush: taking.flush,
    replayed: taking.replayed,
    dispose: () => {
      running.dispose();
      dispose(source.data);
    },
  };
};

const replays: readonly { readonly student: Net & { readonly image: ImageShape }; readonly steps: number }[] = [
  { student: leNet, steps: 64 },
  { student: cnn, steps: 16 },
  { student: preResNet20, steps: 8 },
];

const replay = async (rounds: number): Promise<void> => {
  const rows: (string | number)[][] = [];
  for (const { student, steps } of replays) {
    const { net, image, name } = student;
    const network = net.build(image, 10);
    const normalisation = normalisationOf(image);
    // A small one: it is asked once.
    const asked = publish({
      ...{ network, variables: network.init(key('victim')), normalisation },
      ...{ access: 'probabilities', identity: 'victim' },
    });
    type Target = { readonly teacher: tf.Tensor2D };
    const about: Omit<ClassifierSpec<Target, LabelledBatch, Target>, 'victim' | 'target'> = {
      learner: { network, recipe: recipes.adam },
      data: someImages(image, 4 * batch),
      loss: ({ logits, target: { teacher }, batch: { labels } }) =>
        distillation({ logits, teacher, labels, temperature: 4, alpha: 0.9 }),
    };
    const asking = classifier({
      ...about,
      victim: asked,
      target: ({ victim, pixels }) => ({ teacher: victim.logProbabilities(pixels) }),
    });
    const frozen = { teacher: tf.fill([batch, 10], Math.log(0.1)) as tf.Tensor2D };
    const constantly = stepper(classifier({ ...about, frozen, target: ({ frozen }) => frozen }));
    await within(async (folder) => {
      const recordings = openRecordings(folder, { limit: 1e9, say: console.error });
      const recording = stepper(asking, recordings);
      recording.run(stepsInPart);
      recording.flush();
      recording.dispose();
      const replaying = stepper(asking, { read: recordings.read });
      const both = [constantly, replaying];
      for (const each of both) each.run(4 * steps);
      const pairs = Array.from({ length: 15 * rounds }, (_, i) => {
        // Each is the first of the two as often as the other.
        const [first, second] = (i % 2 === 0 ? both : [...both].reverse()).map((each) => each.run(steps));
        return (i % 2 === 0 ? [first, second] : [second, first]) as [number, number];
      });
      if (replaying.replayed() === 0) throw new Error('no answer was replayed');
      replaying.dispose();
      const over = pairs.map(([plain, replayed]) => 100 * (replayed / plain - 1)).sort((a, b) => a - b);
      const quartile = (at: number): string => (over[Math.round(at * (over.length - 1))] as number).toFixed(1);
      rows.push([
        ...[name, batch, median(pairs.map(([plain]) => plain)).toFixed(2)],
        ...[median(pairs.map(([, replayed]) => replayed)).toFixed(2), `${median(over).toFixed(1)} %`],
        `${quartile(0.25)} to ${quartile(0.75)}`,
      ]);
    });
    constantly.dispose();
    dispose(frozen);
  }
  table(['student', 'batch', 'ms a step, constant', 'replaying', 'more', 'half of the pairs'], rows);
};

/** Seconds of a command, and the megabytes that the largest of its processes held at most. */
const command = async (...args: readonly string[]) => {
  const peak = `data:text/javascript,process.on('exit',()=>console.error('\\npeak',process.resourceUsage().maxRSS))`;
  const script = fileURLToPath(new URL('../bin/undistill.js', import.meta.url));
  const began = performance.now();
  const child = spawn(process.execPath, ['--import', peak, script, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
  if (code !== 0) throw new Error(said);
  return {
    seconds: (performance.now() - began) / 1000,
    megabytes: Math.max(...[...said.matchAll(/peak (\d+)/g)].map(([, kilobytes]) => Number(kilobytes) / 1000)),
  };
};

const cells = async (most: number): Promise<void> => {
  const file = fileURLToPath(new URL('cells.ts', import.meta.url));
  const rows: (string | number)[][] = [];
  for (const count of [10, 100, 1000].filter((count) => count <= most))
    await within(async (folder) => {
      const of = `${file}#cells-${count}`;
      const out = ['--out', join(folder, 'run')];
      const planned = await command('plan', of, ...out);
      const ran = await command('run', of, ...out);
      const again = await command('run', of, ...out);
      rows.push([
        ...[count, planned.seconds.toFixed(1), ran.seconds.toFixed(1), (ran.seconds / count).toFixed(2)],
        ...[again.seconds.toFixed(1), ran.megabytes.toFixed(0), again.megabytes.toFixed(0)],
      ]);
    });
  table(['cells', 'plan, s', 'run, s', 's a cell', 'run again, s', 'MB at most', 'again, MB'], rows);
};

/** The victim as it was initialised: how long it takes does not depend on what it has learnt. */
const writeWeights = async (file: string): Promise<void> => {
  const network = victim.net.build(resNet18.image, 10);
  const variables = network.init(key('victim'));
  await writeFile(file, encodeSafetensors(toStateDict(network, variables)));
  dispose(variables);
};

const main = async (): Promise<void> => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      torch: { type: 'string' },
      data: { type: 'string' },
      share: { type: 'string', default: '0.064' },
      rounds: { type: 'string', default: '3' },
      threads: { type: 'string' },
      most: { type: 'string', default: '1000' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return console.log(usage);
  const engine = await loadEngine(values.threads === undefined ? {} : { threads: Number(values.threads) });
  const rounds = Number(values.rounds);
  await within(async (folder) => {
    const weights = join(folder, 'victim.safetensors');
    await writeWeights(weights);
    const matrices = contests(values.data, Number(values.share), weights);
    const others = { replay: () => replay(rounds), cells: () => cells(Number(values.most)) };
    const known = [...Object.keys(matrices), ...Object.keys(others)];
    const wanted = positionals.length === 0 ? known : positionals;
    const strange = wanted.find((name) => !known.includes(name));
    if (strange !== undefined) throw new Error(`${strange} is none of ${known.join(', ')}`);
    const torch = values.torch === undefined ? undefined : await openTorch(values.torch, engine.threads);
    console.log(`npm run bench:matrix -- ${process.argv.slice(2).join(' ')}\n`);
    console.log(`${describe(engine)}, ${(totalmem() / 1e9).toFixed(0)} GB, Node ${process.version}; ${rounds} rounds`);
    if (torch !== undefined) console.log(`PyTorch ${torch.version}, ${torch.device}`);
    for (const name of wanted) {
      const matrix = matrices[name];
      if (matrix === undefined) await others[name as keyof typeof others]();
      else {
        // Decoded once, and kept in the cache.
        await orThrow(matrix.of.data.load());
        await contest(name, matrix, rounds, torch);
      }
    }
    torch?.close();
  });
};

await asInARun(main);
