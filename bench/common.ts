import { type ChildProcess, spawn } from 'node:child_process';
import { cpus } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { key, uniforms } from '../src/core/random.js';
import type { Normalisation } from '../src/data/dataset.js';
import type { Engine } from '../src/engine/engine.js';
import { leNet5, leNet5Half } from '../src/models/lenet.js';
import { mobileNetV2 } from '../src/models/mobilenet-v2.js';
import type { ImageShape, NetworkPlugin } from '../src/models/network.js';
import { plainCnn } from '../src/models/plain-cnn.js';
import { preResNet } from '../src/models/pre-resnet.js';
import { resNet } from '../src/models/resnet.js';
import { resNeXt29 } from '../src/models/resnext.js';
import { shuffleNetV2 } from '../src/models/shufflenet-v2.js';
import type { ImageSet } from '../src/train/images.js';

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
export const leNet = { net: leNet5(), name: 'leNet5', image: grey };
export const leNetHalf = { net: leNet5Half(), name: 'leNet5Half' };

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
};

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

/** A script of this folder in a Python process: it says what it is, and then answers a line for a line. */
export const openPython = async <About extends object>(python: string, script: string, threads: number) => {
  const child: ChildProcess = spawn(python, [fileURLToPath(new URL(script, import.meta.url))], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, BENCH_THREADS: String(threads), OMP_NUM_THREADS: String(threads) },
  });
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  const answer = async <T>(): Promise<T> => {
    const line = await lines.next();
    if (line.done) throw new Error(`${python} ended: does it have PyTorch? (${python} -m pip install torch)`);
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
