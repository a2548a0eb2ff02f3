import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs';
import { key, uniforms } from '../src/core/random.js';
import { dispose, leaves, type Tree } from '../src/core/tree.js';
import type { Normalisation } from '../src/data/dataset.js';
import type { Engine } from '../src/engine/engine.js';
import { withHugePages } from '../src/engine/huge-pages.js';
import { runner } from '../src/engine/runner.js';
import type { Step } from '../src/engine/step.js';
import { leNet5, leNet5Half } from '../src/models/lenet.js';
import { mobileNetV2 } from '../src/models/mobilenet-v2.js';
import type { ImageShape, NetworkPlugin } from '../src/models/network.js';
import { plainCnn } from '../src/models/plain-cnn.js';
import { preResNet } from '../src/models/pre-resnet.js';
import { resNet } from '../src/models/resnet.js';
import { resNeXt29 } from '../src/models/resnext.js';
import { shuffleNetV2 } from '../src/models/shufflenet-v2.js';
import type { FitSpec } from '../src/train/fit.js';
import { frameOf, wholeState, wholeStep } from '../src/train/fit-step.js';
import type { ImageSet } from '../src/train/images.js';
import type { Access } from '../src/train/oracle.js';

/** Does something in an environment like that of a run's processes, and so in a process of its own. */
export const asInARun = async (main: () => Promise<void>): Promise<void> => {
  const env = withHugePages(process.env);
  if (env === process.env) return main();
  const { status } = spawnSync(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    env,
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
};

/** Does something with a folder that is removed afterwards. */
export const within = async <A>(use: (folder: string) => Promise<A>): Promise<A> => {
  const folder = await mkdtemp(join(tmpdir(), 'undistill-bench-'));
  return use(folder).finally(() => rm(folder, { recursive: true, force: true }));
};

/** A net, and the name by which PyTorch's side knows it. */
export interface Net {
  readonly net: NetworkPlugin;
  readonly name: string;
}

const colour: ImageShape = { height: 32, width: 32, channels: 3 };
const grey: ImageShape = { height: 32, width: 32, channels: 1 };
export const resNet18 = { net: resNet(18), name: 'resNet18', image: colour };
export const resNet34 = { net: resNet(34), name: 'resNet34', image: colour };
export const preResNet20 = { net: preResNet(20), name: 'preResNet20', image: colour };
export const resNeXt = { net: resNeXt29(), name: 'resNeXt29', image: colour };
export const mobileNet = { net: mobileNetV2(), name: 'mobileNetV2', image: colour };
export const shuffleNet = { net: shuffleNetV2(), name: 'shuffleNetV2', image: colour };
export const cnn = { net: plainCnn(), name: 'plainCnn', image: colour };
/** The student of the experiments on grey images. */
export const smallCnn = { net: plainCnn({ width: 4 }), name: 'plainCnn4', image: grey };
export const leNet = { net: leNet5(), name: 'leNet5', image: grey };
export const leNetHalf = { net: leNet5Half(), name: 'leNet5Half' };

export const normalisationOf = ({ channels }: ImageShape): Normalisation => ({
  mean: Array(channels).fill(0.5),
  std: Array(channels).fill(0.25),
});

/** So many labelled images of nothing; those with colours are cropped and flipped. */
export const someImages = (image: ImageShape, count: number): ImageSet => {
  const size = image.height * image.width * image.channels;
  return {
    examples: {
      images: Uint8Array.from(uniforms(key('images'), count * size, 128), (value) => value + 128),
      labels: Uint8Array.from({ length: count }, (_, i) => i % 10),
      count,
    },
    indices: Int32Array.from({ length: count }, (_, i) => i),
    shape: image,
    normalisation: normalisationOf(image),
    augmentation: image.channels === 1 ? { crop: 0, flip: false } : { crop: 4, flip: true },
    labelled: true,
  };
};

/** Something that is timed. */
export interface Subject {
  /** How many images it sees. */
  run(steps: number): number;
  readonly how: () => string;
  /** The share of its time in which it makes batches; only of what trains. */
  readonly loading?: () => number;
  dispose(): void;
}

/** Takes steps on the batches that `next` makes, which it disposes of, and reads their metrics at the end; takes over the state. */
export const stepping = <F extends Tree, S extends Tree, B extends Tree, M extends Tree>(
  step: Step<F, S, B, M>,
  {
    frozen,
    state,
    next,
    rate,
  }: {
    readonly frozen: F;
    readonly state: S;
    readonly next: () => { readonly batch: B; readonly images: number };
    readonly rate: number;
  },
): Subject => {
  const running = runner(step, frozen, { warn: console.error });
  running.load(state);
  dispose(state);
  let done = 0;
  const milliseconds = { all: 0, batches: 0 };
  return {
    run: (steps) => {
      const started = performance.now();
      const all: M[] = [];
      let images = 0;
      for (let taken = 0; taken < steps; taken += running.stride) {
        const calls = Array.from({ length: Math.min(running.stride, steps - taken) }, () => {
          const began = performance.now();
          const { batch, images: count } = next();
          milliseconds.batches += performance.now() - began;
          images += count;
          return { batch, inputs: { learningRate: tf.scalar(rate), seed: tf.tensor1d([0, ++done], 'int32') } };
        });
        all.push(...running.run(calls));
        dispose(calls);
      }
      for (const metrics of all) {
        for (const metric of leaves(metrics)) metric.dataSync();
        dispose(metrics);
      }
      milliseconds.all += performance.now() - started;
      return images;
    },
    loading: () => milliseconds.batches / milliseconds.all,
    how: () => `${running.execution}${running.stride === 1 ? '' : `, ${running.stride} steps a call`}`,
    dispose: () => running.dispose(),
  };
};

/** Takes the steps of a fit, or one of them again and again, at the rate that it begins with. What is frozen stays the caller's. */
export const fitting = <
  F extends Tree,
  S extends Tree,
  B extends Tree,
  K extends Tree,
  D extends Tree,
  A extends Access,
>(
  spec: FitSpec<F, S, B, K, D, A>,
  only?: number,
): Subject => {
  const { epochs, stepsPerEpoch, schedule } = spec;
  const source = spec.source(key('batches'));
  let done = 0;
  const subject = stepping(wholeStep(spec), {
    frozen: frameOf(spec, source.data),
    state: wholeState(spec, key('bench')),
    next: () => source.at(only ?? done++),
    rate: schedule.at({ epoch: 0, step: 0, stepsPerEpoch: stepsPerEpoch ?? source.steps, epochs }),
  });
  return {
    ...subject,
    dispose: () => {
      subject.dispose();
      dispose(source.data);
    },
  };
};

/** A script of this folder in a Python process: it says what it is, and then answers a line for a line. */
export const openPython = async <About extends object>(python: string, script: string, threads: number) => {
  const child: ChildProcess = spawn(python, [fileURLToPath(new URL(script, import.meta.url))], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, BENCH_THREADS: String(threads), OMP_NUM_THREADS: String(threads) },
  });
  let unstarted: Error | undefined;
  child.on('error', (error) => {
    unstarted = error;
  });
  // Whoever asks one that has ended is told so instead of an answer.
  child.stdin?.on('error', () => undefined);
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  const answer = async <T>(): Promise<T> => {
    const line = await lines.next();
    if (line.done)
      throw new Error(`${python} ended: does it have PyTorch? (${python} -m pip install torch)`, { cause: unstarted });
    return JSON.parse(line.value) as T;
  };
  return {
    ...(await answer<About>()),
    ask: <Answer>(request: unknown): Promise<Answer> => {
      child.stdin?.write(`${JSON.stringify(request)}\n`);
      return answer();
    },
    close: () => child.stdin?.end(),
  };
};

export const describe = (engine: Engine): string =>
  `${engine.class} ${engine.version}, ${engine.threads} threads, ${cpus()[0]?.model ?? 'unknown processor'}, ${engine.gpus.join(', ') || 'no graphics card'}`;
