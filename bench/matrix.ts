import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { orThrow } from '../src/core/errors.js';
import { median } from '../src/core/lists.js';
import { key } from '../src/core/random.js';
import { encodeSafetensors } from '../src/core/safetensors.js';
import { dispose, type Tree } from '../src/core/tree.js';
import { loadEngine } from '../src/engine/engine.js';
import { runner } from '../src/engine/runner.js';
import type { ImageShape } from '../src/models/network.js';
import { toStateDict } from '../src/models/state-dict.js';
import type { StageRecord } from '../src/run/record.js';
import { openRecordings } from '../src/run/recordings.js';
import { type ClassifierSpec, classifier } from '../src/train/classifier.js';
import type { FitSpec } from '../src/train/fit.js';
import { frameOf, wholeState, wholeStep } from '../src/train/fit-step.js';
import type { LabelledBatch } from '../src/train/images.js';
import { distillation } from '../src/train/losses.js';
import { type Access, type Answering, publish } from '../src/train/oracle.js';
import { answered, type Recordings, stepsInPart } from '../src/train/recordings.js';
import {
  asInARun,
  cnn,
  describe,
  leNet,
  type Net,
  normalisationOf,
  openPython,
  preResNet20,
  resNet18,
  someImages,
  within,
} from './common.js';
import { batch, type Contest, contests, recipes, type Script, type Settings, settingsIn } from './contests.js';

const usage = `npm run bench:matrix -- [PART …] [--torch PYTHON] [--data PATH] [--share S] [--rounds N] [--threads N] [--most CELLS]

Whole matrices, as one experiment here and as separate scripts in PyTorch, on CIFAR-10. Parts, default all:

  sweep      12 students, the five-layer CNN, of a ResNet-18 that is given: kd at 5 weights α and 7 temperatures
  table      a normal and a nasty ResNet-18, both trained, and 4 students trained alone and by kd
  inversion  3 students of DeepInversion's images of a ResNet-18 that is given
  replay     a step of kd whose answers are recorded, beside one with a constant target: what reading answers costs
  cells      10, 100 and 1,000 cells of tiny nets by the command line: seconds, and memory of the largest process

Students see a share of the training images (--share, default 0.064, a tenth of them held out) once. Ours is \`undistill run\` as a user
starts it, of which all counts but decoding images: planning, tracing, files, students trained alone for comparison, evaluation, the
report. Of PyTorch's (--torch) only steps do, in the faster mode for each script, eager or torch.compile's default, in channels_last; its
start, reading of data, warm-up, compilation and evaluation do not. Both run in turn; medians over rounds, and the median of the rounds' ratios. --most: only matrices of so many cells.`;

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);

const fileOf = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Seconds of a command, and the megabytes that the largest of its processes held at most. */
const command = async (settings: Settings | undefined, ...args: readonly string[]) => {
  const peak = `data:text/javascript,process.on('exit',()=>console.error('\\npeak',process.resourceUsage().maxRSS))`;
  const began = performance.now();
  const child = spawn(process.execPath, ['--import', peak, fileOf('../bin/undistill.js'), ...args], {
    env: settings === undefined ? process.env : { ...process.env, [settingsIn]: JSON.stringify(settings) },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
  if (code !== 0) throw new Error(said);
  return {
    seconds: (performance.now() - began) / 1000,
    megabytes: Math.max(...[...said.matchAll(/peak (\d+)/g)].map(([, kilobytes]) => Number(kilobytes) / 1000)),
  };
};

/** Seconds of an experiment from nothing, and how many steps a fit on the data takes. */
const ours = (name: string, settings: Settings, threads: number) =>
  within(async (folder) => {
    const of = `${fileOf('contests.ts')}#${name}`;
    const { seconds } = await command(settings, 'run', of, '--out', folder, '--threads', `${threads}`);
    const stages = join(folder, 'stages');
    const files = (await readdir(stages, { recursive: true })).filter((file) => basename(file) === 'record.json');
    const records = await Promise.all(
      files.map(async (file): Promise<StageRecord> => JSON.parse(await readFile(join(stages, file), 'utf8'))),
    );
    const ofData = records.find(({ kind, inputs }) => kind === 'steal' && inputs.pool === undefined);
    return { seconds, steps: ofData?.training?.steps ?? 0 };
  });

const openTorch = (python: string, threads: number) =>
  openPython<{ version: string; device: string }>(python, 'matrix.py', threads);
type Torch = Awaited<ReturnType<typeof openTorch>>;

const table = (columns: readonly string[], rows: readonly (readonly (string | number)[])[]): void => {
  const lines = [columns, columns.map((_, i) => (i === 0 ? '---' : '--:')), ...rows];
  console.log(`\n${lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}`);
};

const contest = async (
  name: string,
  settings: Settings,
  { scripts }: Contest,
  { rounds, threads, torch }: { readonly rounds: number; readonly threads: number; readonly torch: Torch | undefined },
): Promise<void> => {
  const all: { readonly seconds: number; readonly theirs: number }[] = [];
  let parts: Script = [];
  let modes: readonly string[] = [];
  let trainings = 0;
  for (let round = 0; round < rounds; round++) {
    const { steps, seconds } = await ours(name, settings, threads);
    if (round === 0) {
      trainings = scripts(steps).length;
      parts = scripts(steps).flat();
      if (torch !== undefined) modes = (await torch.ask<{ modes: readonly string[] }>({ prepare: parts })).modes;
    }
    const theirs = torch && (await torch.ask<{ seconds: readonly number[] }>({ train: parts })).seconds;
    all.push({ seconds, theirs: sum(theirs ?? []) });
    console.error(`${name}, round ${round + 1}: ${JSON.stringify(all.at(-1))}`);
  }
  const column = (name: 'seconds' | 'theirs') => median(all.map((each) => each[name])).toFixed(1);
  const numbers: (string | number)[] = [name, trainings, parts.at(-1)?.steps as number, column('seconds')];
  const columns = ['matrix', 'scripts', 'steps of a fit', 'seconds'];
  if (torch !== undefined) {
    columns.push('PyTorch', 'ratio', 'compiled');
    numbers.push(column('theirs'), `${median(all.map(({ theirs, seconds }) => theirs / seconds)).toFixed(2)}×`);
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

const cells = async (most: number): Promise<void> => {
  const rows: (string | number)[][] = [];
  for (const count of [10, 100, 1000].filter((count) => count <= most))
    await within(async (folder) => {
      const of = `${fileOf('cells.ts')}#cells-${count}`;
      const out = ['--out', join(folder, 'run')];
      const planned = await command(undefined, 'plan', of, ...out);
      const ran = await command(undefined, 'run', of, ...out);
      const again = await command(undefined, 'run', of, ...out);
      rows.push([
        ...[count, planned.seconds.toFixed(1), ran.seconds.toFixed(1), (ran.seconds / count).toFixed(2)],
        ...[again.seconds.toFixed(1), ran.megabytes.toFixed(0), again.megabytes.toFixed(0)],
      ]);
    });
  table(['cells', 'plan, s', 'run, s', 's a cell', 'run again, s', 'MB at most', 'again, MB'], rows);
};

/** The victim as it was initialised: how long it takes does not depend on what it has learnt. */
const writeWeights = async (file: string): Promise<void> => {
  const network = resNet18.net.build(resNet18.image, 10);
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
    const settings: Settings = {
      ...(values.data !== undefined && { data: values.data }),
      share: Number(values.share),
      weights,
    };
    const matrices = contests(settings);
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
        await contest(name, settings, matrix, { rounds, threads: engine.threads, torch });
      }
    }
    torch?.close();
  });
};

await asInARun(main);
