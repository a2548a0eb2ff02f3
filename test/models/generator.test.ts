import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FailureError } from '../../src/core/errors.js';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import { type Generator, generator } from '../../src/models/generator.js';
import {
  batchNorm,
  conv,
  dense,
  fitLayers,
  flatten,
  type Layer,
  leakyRelu,
  maxPool,
  relu,
  type Shape,
  sequential,
  tanh,
  unflatten,
  upsample,
  upsampledConv,
} from '../../src/models/layers.js';
import type { ImageShape, Named, Network, Variables } from '../../src/models/network.js';
import { fromStateDict, stateDictShape, toStateDict } from '../../src/models/state-dict.js';
import { valueAndGradient } from '../../src/train/gradient.js';
import { bitsOf } from '../engine/bits.js';
import { expectClose, values } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine();
});

let before: number;
beforeEach(() => {
  before = tf.memory().numTensors;
});
afterEach(() => expect(tf.memory().numTensors).toBe(before));

const failureOf = (run: () => unknown) => {
  try {
    run();
  } catch (error) {
    if (error instanceof FailureError) return error.failure;
    throw error;
  }
  return undefined;
};

const small: ImageShape = { height: 8, width: 12, channels: 2 };

describe('the generator', () => {
  it.each([
    [100, { height: 32, width: 32, channels: 1 }, 1_049_985],
    [1000, { height: 32, width: 32, channels: 3 }, 8_423_939],
  ])('of %d numbers has the parameters of the paper’s', (latent, image, count) => {
    const { variables } = generator({ latent }).build(image);
    const sizes = variables
      .filter(({ kind }) => kind === 'param')
      .map(({ shape }) => tf.util.sizeFromShape([...shape]));
    expect(sizes.reduce((a, b) => a + b)).toBe(count);
  });

  it('gives the same bits for the same key, and others for another', () => {
    const net = generator({ latent: 4, width: 6 }).build(small);
    const bits = (name: string) => {
      const variables = net.init(key(name));
      const found = bitsOf(variables);
      dispose(variables);
      return found;
    };
    expect(bits('a')).toEqual(bits('a'));
    expect(bits('a')).not.toEqual(bits('b'));
  });

  it('makes images of its shape in both modes, normalised in training, and leaves nothing behind', () => {
    const net = generator({ latent: 4, width: 6 }).build(small);
    const variables = net.init(key('init'));
    const z: tf.Tensor2D = tf.randomNormal([5, 4], 0, 1, 'float32', 1);
    const left = tf.memory().numTensors;
    for (const mode of ['train', 'eval'] as const) {
      const { images, stats } = net.apply(variables, z, { mode });
      expect(images.shape).toEqual([5, 8, 12, 2]);
      expect(Object.keys(stats).sort()).toEqual(Object.keys(variables.stats).sort());
      if (mode === 'train') {
        tf.tidy(() => {
          const { mean, variance } = tf.moments(images, [0, 1, 2]);
          expectClose(values(mean), [0, 0], 1e-4);
          expectClose(values(variance), [1, 1], 0.05);
        });
        tf.dispose(stats);
      } else expect(stats).toEqual(variables.stats);
      images.dispose();
    }
    expect(tf.memory().numTensors).toBe(left);
    const { loss, gradients } = tf.tidy(() => {
      const { aux: _, ...rest } = valueAndGradient((params) => {
        const { images } = net.apply({ params, stats: variables.stats }, z, { mode: 'train' });
        return { loss: tf.mean<tf.Scalar>(tf.square(tf.relu(images))), aux: {} };
      }, variables.params);
      return rest as never;
    }) as unknown as { readonly loss: tf.Scalar; readonly gradients: Named };
    expect(Object.keys(gradients)).toEqual(Object.keys(variables.params));
    dispose([loss, gradients]);
    expect(tf.memory().numTensors).toBe(left);
    dispose([variables, z]);
  });

  it('says which size does not fit, and which option', () => {
    const failure = failureOf(() => generator({ latent: 4 }).build({ height: 28, width: 30, channels: 3 }));
    expect(failure).toMatchObject({ kind: 'experiment', where: 'generator of 28×30×3 images' });
    expect(failure?.what).toContain('28 and 30 pixels');
    expect(failureOf(() => generator({ latent: 4, width: 5 }))).toMatchObject({
      kind: 'experiment',
      where: 'generator',
      what: 'width is 5',
    });
    expect(failureOf(() => generator({ latent: 0 }))).toMatchObject({ what: 'latent is 0' });
  });
});

/** What PyTorch computes (generator.json, made by generator.py in float64). */
interface Golden {
  readonly latent: number;
  readonly width: number;
  readonly image: ImageShape;
  readonly batch: number;
  readonly names: readonly string[];
  readonly evalImage: readonly number[];
  readonly trainImage: readonly number[];
  readonly loss: number;
  readonly gradients: Readonly<Record<string, { readonly norm: number; readonly projection: number }>>;
  readonly stats: Readonly<Record<string, readonly number[]>>;
}

const golden: Golden = JSON.parse(readFileSync(new URL('generator.json', import.meta.url), 'utf8'));

/** reference.py's `wave`: a 32-bit hash of index and seed as a number in [−1, 1). */
const wave = (count: number, seed: number): Float64Array => {
  const start = Math.imul(seed, 0x9e3779b9);
  return Float64Array.from({ length: count }, (_, i) => {
    let h = (i + start) | 0;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return ((h ^ (h >>> 16)) >>> 0) / 2 ** 31 - 1;
  });
};

const product = (numbers: readonly number[]) => numbers.reduce((a, b) => a * b, 1);

/** reference.py's `formula`. */
const formula = (name: string, shape: readonly number[], seed: number): Float32Array => {
  const numbers = wave(product(shape), seed);
  if (name.endsWith('running_var')) return Float32Array.from(numbers, (value) => 1 + 0.2 * value);
  const bound = Math.sqrt(3 / product(shape.slice(1)));
  if (shape.length > 1) return Float32Array.from(numbers, (value) => bound * value);
  const centre = name.endsWith('weight') ? 1 : 0;
  return Float32Array.from(numbers, (value) => centre + 0.1 * value);
};

/** A state dict is made of variables alone. */
const asNetwork = ({ variables }: Generator) => ({ variables }) as unknown as Network;

const norm = (numbers: ArrayLike<number>) => Math.sqrt(Array.from(numbers).reduce((sum, value) => sum + value ** 2, 0));

describe('the generator as in PyTorch', () => {
  const net = generator({ latent: golden.latent, width: golden.width }).build(golden.image);

  it('has PyTorch’s names, in its order', () => {
    expect(net.variables.map(({ name }) => name)).toEqual(golden.names);
  });

  it('images, gradients and running statistics', () => {
    const variables: Variables = fromStateDict(
      asNetwork(net),
      Object.fromEntries(
        net.variables.map((spec, i) => {
          const shape = stateDictShape(spec);
          return [spec.name, { shape, data: formula(spec.name, shape, i + 1) }];
        }),
      ),
    );
    const pixels = product(Object.values(golden.image));
    tf.tidy(() => {
      const z = tf.tensor2d(Float32Array.from(wave(golden.batch * golden.latent, 9999)), [golden.batch, golden.latent]);
      const first = (images: tf.Tensor4D) => values(images).slice(0, pixels);
      expectClose(first(net.apply(variables, z, { mode: 'eval' }).images), golden.evalImage, 2e-6);
      const { loss, gradients, aux } = valueAndGradient((params) => {
        const { images, stats } = net.apply({ params, stats: variables.stats }, z, { mode: 'train' });
        const directions = tf.tensor(Float32Array.from(wave(images.size, 7777)), images.shape);
        return { loss: tf.sum<tf.Scalar>(tf.mul(images, directions)), aux: { images, stats } };
      }, variables.params);
      expectClose(first(aux.images), golden.trainImage, 1e-5);
      expectClose(values(loss), [golden.loss], 1e-5);
      const found = toStateDict(asNetwork(net), { params: gradients, stats: aux.stats });
      for (const [name, wanted] of Object.entries(golden.gradients)) {
        const gradient = found[name]?.data as Float32Array;
        const directions = wave(gradient.length, 0);
        const along = gradient.reduce((sum, value, i) => sum + value * (directions[i] as number), 0);
        // Before a batch norm a bias has no effect, and its gradient is rounding alone.
        const margin = 1e-4 * wanted.norm + 1e-4;
        expect(Math.abs(norm(gradient) - wanted.norm), `|∂ ${name}|`).toBeLessThan(margin);
        expect(Math.abs(along - wanted.projection), `∂ ${name}`).toBeLessThan(2 * margin);
      }
      for (const [name, wanted] of Object.entries(golden.stats))
        expectClose(found[name]?.data as Float32Array, wanted, 1e-6);
    });
    dispose(variables);
  });
});

describe('layers', () => {
  const vector = (size: number): Shape => ({ kind: 'vector', size });
  const image = (height: number, width: number, channels: number): Shape => ({
    kind: 'image',
    height,
    width,
    channels,
  });
  /** What a layer without parameters makes of numbers, in evaluation. */
  const through = (layer: Layer, input: Shape, numbers: readonly number[], shape: readonly number[]) => {
    const { init, run, output } = fitLayers(layer, { where: 'here', input });
    const variables = init(key('init'));
    const x = tf.tensor([...numbers], [...shape]);
    const { y } = run(variables, x, { mode: 'eval' });
    const found = { shape: y.shape, values: values(y), output };
    dispose([variables, x, y]);
    return found;
  };

  it('leaky ReLU and tanh, worked numbers', () => {
    expectClose(through(leakyRelu(0.2), vector(3), [-5, 0, 2], [1, 3]).values, [-1, 0, 2]);
    expectClose(through(leakyRelu(), vector(2), [-5, 2], [1, 2]).values, [-0.05, 2]);
    expectClose(through(tanh, vector(3), [Math.log(2), 0, -Math.log(3)], [1, 3]).values, [0.6, 0, -0.8]);
  });

  it('upsampling repeats pixels, channel by channel', () => {
    // Two pixels beside one another, of two channels: 1 10 and 2 20.
    const found = through(upsample, image(1, 2, 2), [1, 10, 2, 20], [1, 1, 2, 2]);
    const row = [1, 10, 1, 10, 2, 20, 2, 20];
    expect(found).toEqual({ shape: [1, 2, 4, 2], values: [...row, ...row], output: image(2, 4, 2) });
  });

  it('an upsampled convolution has the variables, the output and the numbers of the two layers', () => {
    const at = { where: 'here', input: image(3, 2, 4) };
    const numbers = Array.from({ length: 24 }, (_, i) => (i % 7) - 3);
    const apart = sequential(upsample, conv('conv', 2, { kernel: 3, padding: 1, bias: true }));
    const once = upsampledConv('conv', 2, { bias: true });
    expect(fitLayers(once, at).variables).toEqual(fitLayers(apart, at).variables);
    const [one, two] = [once, apart].map((layer) => through(layer, image(3, 2, 4), numbers, [1, 3, 2, 4]));
    expect([one?.shape, one?.output]).toEqual([two?.shape, two?.output]);
    expectClose(one?.values ?? [], two?.values ?? [Number.NaN]);
  });

  describe('max-pooling goes before biases and activations', () => {
    /** Keeps apart what stands on either side. */
    const wall: Layer = ({ input }) => ({ output: input, variables: [], run: (x) => x.clone() });
    const convolved = conv('conv', 3, { kernel: 3, bias: true });
    const at = { where: 'here', input: image(8, 10, 2) };
    const x = () => tf.tensor4d(Float32Array.from(wave(4 * 8 * 10 * 2, 1)), [4, 8, 10, 2]);
    const run = (layer: Layer) => {
      const { init, run: through, output } = fitLayers(layer, at);
      const found = tf.tidy(() => {
        const { params, stats } = init(key('init'));
        const { gradients, aux } = valueAndGradient((variables) => {
          const { y } = through({ params: variables, stats }, x(), { mode: 'train' });
          return { loss: tf.sum(tf.square(y)) as tf.Scalar, aux: { y } };
        }, params);
        const kept = Object.entries(gradients).map(([name, gradient]) => [name, values(gradient)] as const);
        return { y: aux.y.shape, bits: bitsOf(aux.y), gradients: kept } as never;
      }) as { y: number[]; bits: unknown; gradients: [string, number[]][] };
      return { ...found, output };
    };

    it.each([
      ['ReLU', relu],
      ['leaky ReLU', leakyRelu(0.2)],
    ])('with the same bits after %s, and the same gradients', (_, activation) => {
      const one = run(sequential(convolved, activation, maxPool(2)));
      const two = run(sequential(convolved, wall, activation, wall, maxPool(2)));
      expect(one.output).toEqual(image(3, 4, 3));
      expect(one.output).toEqual(two.output);
      expect(one.y).toEqual(two.y);
      expect(one.bits).toEqual(two.bits);
      expect(one.gradients.map(([name]) => name)).toEqual(two.gradients.map(([name]) => name));
      for (const [i, [name, gradient]] of one.gradients.entries()) {
        expectClose(gradient, two.gradients[i]?.[1] ?? [], 1e-5);
        expect(
          gradient.some((value) => value !== 0),
          name,
        ).toBe(true);
      }
    });

    it('and not before what may fall', () => {
      const falling = leakyRelu(-1);
      expect(run(sequential(convolved, falling, maxPool(2))).bits).toEqual(
        run(sequential(convolved, wall, falling, wall, maxPool(2))).bits,
      );
    });

    it('nor out of a batch norm’s reach', () => {
      // A batch norm counts every pixel, and its weight may be negative.
      const normed = (...between: Layer[]) => sequential(convolved, batchNorm('bn'), ...between, relu, maxPool(2));
      expect(run(normed()).bits).toEqual(run(normed(wall)).bits);
    });
  });

  it('a vector becomes an image in (height, width, channel) order, and a flattened image its vector again', () => {
    const numbers = Array.from({ length: 24 }, (_, i) => i);
    const found = through(unflatten(2, 3, 2), vector(12), numbers, [2, 12]);
    expect(found).toEqual({ shape: [2, 2, 3, 2], values: numbers, output: image(2, 3, 2) });
    expect(through(sequential(unflatten(2, 3, 2), flatten), vector(12), numbers, [2, 12]).values).toEqual(numbers);
  });

  it('a batch norm takes an ε, and goes without weights', () => {
    // Running statistics are 0 and 1: x / √(1 + 3) = x / 2.
    const half = through(batchNorm('bn', { epsilon: 3 }), vector(2), [2, -4], [1, 2]);
    expectClose(half.values, [1, -2]);
    const bare = fitLayers(batchNorm('bn', { affine: false, epsilon: 1 }), { where: 'here', input: vector(1) });
    expect(bare.variables.map(({ name }) => name)).toEqual(['bn.running_mean', 'bn.running_var']);
    const variables = bare.init(key('init'));
    const x = tf.tensor2d([1, 5], [2, 1]);
    // Mean 3 and biased variance 4, so ±2 / √(4 + 1); the running variance takes a tenth of the unbiased 8.
    const { y, stats } = bare.run(variables, x, { mode: 'train' });
    expectClose(values(y), [-2 / Math.sqrt(5), 2 / Math.sqrt(5)]);
    expectClose(values(stats['bn.running_mean'] as tf.Tensor), [0.3]);
    expectClose(values(stats['bn.running_var'] as tf.Tensor), [0.9 + 0.8]);
    dispose([variables, x, y, stats]);
  });

  it('features and taps are there where they are marked and asked for', () => {
    const { init, run } = fitLayers(sequential(dense('fc', 3), batchNorm('bn')), { where: 'here', input: vector(2) });
    const variables = init(key('init'));
    const x: tf.Tensor = tf.ones([4, 2]);
    const found = run(variables, x, { mode: 'eval', taps: true });
    expect(Object.keys(found)).toEqual(['y', 'stats', 'taps']);
    expect(Object.keys(found.taps ?? {})).toEqual(['bn']);
    dispose([variables, x, found.y, found.taps as never]);
  });

  it('say what does not fit', () => {
    const fitting = (layer: Layer, input: Shape) => failureOf(() => fitLayers(layer, { where: 'here', input }));
    expect(fitting(unflatten(2, 2, 3), vector(10))).toMatchObject({
      kind: 'experiment',
      where: 'here, unflatten',
      what: '10 numbers do not make an image of 2×2×3',
    });
    expect(fitting(unflatten(1, 1, 4), image(2, 2, 1))?.what).toContain('2×2×1 do not make');
    expect(fitting(upsample, vector(4))).toMatchObject({ where: 'here, upsample' });
    expect(fitting(conv('conv', 2, { kernel: 3 }), vector(4))).toMatchObject({ where: 'here, conv' });
  });
});
