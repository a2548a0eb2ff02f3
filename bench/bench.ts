import { type ChildProcess, spawn } from 'node:child_process';
import { cpus } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { key, uniforms } from '../src/core/random.js';
import { dispose, entries } from '../src/core/tree.js';
import { eager } from '../src/engine/eager.js';
import { type Engine, loadEngine } from '../src/engine/engine.js';
import { leNet5 } from '../src/models/lenet.js';
import type { ImageShape, NetworkPlugin } from '../src/models/network.js';
import { plainCnn } from '../src/models/plain-cnn.js';
import { preResNet } from '../src/models/pre-resnet.js';
import { resNet } from '../src/models/resnet.js';
import { classifierStep, initialState } from '../src/train/classifier.js';
import type { ImageSet } from '../src/train/images.js';
import { crossEntropy } from '../src/train/losses.js';
import { sgd } from '../src/train/optimizers.js';
import { constant } from '../src/train/schedules.js';

const usage = `npm run bench -- [--torch PYTHON] [--rounds N] [--only NET] [--threads N]

Images per second of one training step: forward, cross-entropy, backward, SGD with momentum and weight decay, loss and
accuracy read back. With --torch, the same nets in that Python's PyTorch, in turn with ours, so that both meet the same
machine; the ratio is the median over rounds.`;

interface Row {
  readonly net: NetworkPlugin;
  readonly image: ImageShape;
  readonly batch: number;
  /** Steps in one round. */
  readonly steps: number;
}

const colour: ImageShape = { height: 32, width: 32, channels: 3 };
const grey: ImageShape = { height: 32, width: 32, channels: 1 };
const rows: readonly Row[] = [
  { net: resNet(18), image: colour, batch: 64, steps: 2 },
  { net: preResNet(20), image: colour, batch: 64, steps: 10 },
  { net: plainCnn(), image: colour, batch: 128, steps: 15 },
  { net: leNet5(), image: grey, batch: 128, steps: 40 },
];
/** The names by which PyTorch's side knows the nets. */
const torchNames = ['resNet18', 'preResNet20', 'plainCnn', 'leNet5'];

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
};

interface Trainer {
  /** Seconds that so many steps take. */
  time(steps: number): number;
  /** Tensors and bytes alive, which must not grow. */
  memory(): { readonly tensors: number; readonly bytes: number };
}

const trainer = ({ net, image, batch }: Row): Trainer => {
  const network = net.build(image, 10);
  const data: ImageSet = {
    examples: { images: new Uint8Array(), labels: new Uint8Array(), count: 0 },
    indices: new Int32Array(),
    shape: image,
    normalisation: { mean: Array(image.channels).fill(0.5), std: Array(image.channels).fill(0.25) },
    // PyTorch's side augments nothing either.
    augmentation: { crop: 0, flip: false },
    labelled: true,
  };
  const optimizer = sgd({ momentum: 0.9, weightDecay: 5e-4 });
  const step = classifierStep({
    learner: { network, recipe: { epochs: 1, batch, optimizer, schedule: constant(0.01) } },
    data,
    frozen: {},
    target: () => ({}),
    loss: ({ logits, batch: { labels } }) => ({ loss: crossEntropy(logits, labels) }),
  });
  const runner = eager(step, {});
  const state = initialState(optimizer, network.init(key('bench')));
  runner.load(state);
  dispose(state);
  const { height, width, channels } = image;
  const raw = uniforms(key('images'), batch * height * width * channels, 127).map((value) => value + 128);
  const labels = Int32Array.from({ length: batch }, (_, i) => i % 10);
  let count = 0;
  const once = (): void => {
    const images = tf.tensor4d(raw.slice(), [batch, height, width, channels]);
    const given = { images, labels: tf.tensor1d(labels.slice(), 'int32') };
    const inputs = { learningRate: tf.scalar(0.01), seed: tf.tensor1d([0, count++], 'int32') };
    const metrics = runner.run(given, inputs);
    for (const [, metric] of entries(metrics)) metric.dataSync();
    dispose([given, inputs, metrics]);
  };
  return {
    time: (steps) => {
      const started = performance.now();
      for (let i = 0; i < steps; i++) once();
      return (performance.now() - started) / 1000;
    },
    memory: () => ({ tensors: tf.memory().numTensors, bytes: tf.memory().numBytes }),
  };
};

/** A Python process that answers a line for a line. */
const openTorch = async (python: string, threads: number) => {
  const script = fileURLToPath(new URL('pytorch.py', import.meta.url));
  const child: ChildProcess = spawn(python, [script], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, BENCH_THREADS: String(threads), OMP_NUM_THREADS: String(threads) },
  });
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  const answer = async <T>(): Promise<T> => {
    const line = await lines.next();
    if (line.done) throw new Error(`${python} ended: does it have PyTorch? (${python} -m pip install torch)`);
    return JSON.parse(line.value) as T;
  };
  const { version } = await answer<{ version: string }>();
  return {
    version,
    time: async (net: string, batch: number, steps: number): Promise<Record<string, number>> => {
      child.stdin?.write(`${JSON.stringify({ net, batch, steps })}\n`);
      return answer();
    },
    close: () => child.stdin?.end(),
  };
};

const describe = (engine: Engine): string =>
  `${engine.class} ${engine.version}, ${engine.threads} threads, ${cpus()[0]?.model ?? 'unknown processor'}, ${engine.gpus.join(', ') || 'no GPU'}`;

const main = async (): Promise<void> => {
  const { values } = parseArgs({
    options: {
      torch: { type: 'string' },
      rounds: { type: 'string', default: '7' },
      only: { type: 'string' },
      threads: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return console.log(usage);
  const rounds = Number(values.rounds);
  const engine = await loadEngine(values.threads === undefined ? {} : { threads: Number(values.threads) });
  const torch = values.torch === undefined ? undefined : await openTorch(values.torch, engine.threads);
  console.log(`${describe(engine)}; eager; float32; medians of ${rounds} rounds`);
  if (torch !== undefined) console.log(`PyTorch ${torch.version}: the faster of channels_last and contiguous, eager`);
  console.log('');
  console.log(
    `| net | batch | img/s | ms a step | tensors held | growth over ${rounds} rounds |${torch ? ' PyTorch img/s | ratio |' : ''}`,
  );
  console.log(`|---|--:|--:|--:|--:|--:|${torch ? '--:|--:|' : ''}`);
  for (const [index, row] of rows.entries()) {
    const name = torchNames[index] as string;
    if (values.only !== undefined && !name.toLowerCase().includes(values.only.toLowerCase())) continue;
    const ours = trainer(row);
    ours.time(3);
    const before = ours.memory();
    const own: number[] = [];
    const theirs: Record<string, number>[] = [];
    for (let round = 0; round < rounds; round++) {
      own.push(ours.time(row.steps) / row.steps);
      if (torch === undefined) continue;
      const seconds = await torch.time(name, row.batch, row.steps);
      theirs.push(Object.fromEntries(Object.entries(seconds).map(([format, s]) => [format, s / row.steps])));
    }
    const after = ours.memory();
    const cells = [
      name,
      row.batch,
      (row.batch / median(own)).toFixed(0),
      (1000 * median(own)).toFixed(1),
      after.tensors,
      `${after.tensors - before.tensors} tensors, ${after.bytes - before.bytes} bytes`,
    ];
    if (torch !== undefined) {
      const best = Object.keys(theirs[0] ?? {}).reduce((a, b) =>
        median(theirs.map((t) => t[a] ?? 0)) <= median(theirs.map((t) => t[b] ?? 0)) ? a : b,
      );
      const bestTimes = theirs.map((t) => t[best] as number);
      cells.push(
        (row.batch / median(bestTimes)).toFixed(0),
        `${median(bestTimes.map((t, i) => t / (own[i] as number))).toFixed(2)}×`,
      );
    }
    console.log(`| ${cells.join(' | ')} |`);
  }
  torch?.close();
};

await main();
