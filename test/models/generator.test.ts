import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import { type Generator, generator, generatorPresets } from '../../src/models/generator.js';
import {
  batchNorm,
  conv,
  dense,
  fitLayers,
  flatten,
  gated,
  type Layer,
  leakyRelu,
  maxPool,
  relu,
  sequential,
  sigmoid,
  tanh,
  unflatten,
  upsample,
  upsampleBilinear,
  upsampledConv,
} from '../../src/models/layers.js';
import type { ImageShape, Named, Network, Shape, Variables } from '../../src/models/network.js';
import { fromStateDict, stateDictShape, toStateDict } from '../../src/models/state-dict.js';
import { valueAndGradient } from '../../src/train/gradient.js';
import { bitsOf } from '../engine/bits.js';
import { refusal } from '../failures.js';
import { expectClose, values } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine();
});

let before: number;
beforeEach(() => {
  before = tf.memory().numTensors;
});
afterEach(() => expect(tf.memory().numTensors).toBe(before));

const small: ImageShape = { height: 8, width: 12, channels: 2 };

describe('the generator', () => {
  it.each([
    [100, { height: 32, width: 32, channels: 1 }, 1_049_985],
    [1000, { height: 32, width: 32, channels: 3 }, 8_423_939],
    ['dfme', { height: 32, width: 32, channels: 3 }, 2_329_091],
  ] as const)('of %s numbers has the parameters of the paper’s', (latent, image, count) => {
    const { variables } = generator(latent === 'dfme' ? generatorPresets.dfme : { latent }).build(image);
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
    const failure = refusal(() => generator({ latent: 4 }).build({ height: 28, width: 30, channels: 3 }));
    expect(failure).toMatchObject({ kind: 'experiment', where: 'generator of 28×30×3 images' });
    expect(failure?.what).toContain('28 and 30 pixels');
    expect(refusal(() => generator({ latent: 4, width: 5 }))).toMatchObject({
      kind: 'experiment',
      where: 'generator',
      what: 'width is 5',
    });
    expect(refusal(() => generator({ latent: 0 }))).toMatchObject({ what: 'latent is 0' });
    expect(refusal(() => generator({ latent: 4, epsilon: 0 }))).toMatchObject({ what: 'epsilon is 0' });
    expect(refusal(() => generator({ latent: 4, output: 'relu' as never }))).toMatchObject({ where: 'generator' });
  });

  describe('of DFME', () => {
    const net = generator({ ...generatorPresets.dfme, latent: 4, width: 6 }).build(small);
    const z = (): tf.Tensor2D => tf.randomNormal([5, 4], 0, 1, 'float32', 1);

    it('ends in a batch norm and tanh, by the released code’s names', () => {
      const { variables } = generator(generatorPresets.dfme).build({ height: 32, width: 32, channels: 3 });
      expect(variables.slice(-4).map(({ name }) => name)).toEqual([
        'conv_blocks2.3.weight',
        'conv_blocks2.3.bias',
        'conv_blocks2.4.running_mean',
        'conv_blocks2.4.running_var',
      ]);
      expect(net.activations).toEqual({ preTanh: { kind: 'image', ...small } });
    });

    it('computes what its description says, layer by layer', () => {
      tf.tidy(() => {
        const { params, stats } = net.init(key('init'));
        const at = (name: string) => params[name] as tf.Tensor;
        const norm = (x: tf.Tensor, name?: string): tf.Tensor4D => {
          const { mean, variance } = tf.moments(x, [0, 1, 2]);
          const y = tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, 1e-5)));
          return (name === undefined ? y : tf.add(tf.mul(y, at(`${name}.weight`)), at(`${name}.bias`))) as tf.Tensor4D;
        };
        const twice = (x: tf.Tensor4D) => tf.image.resizeNearestNeighbor(x, [2 * x.shape[1], 2 * x.shape[2]]);
        const convolved = (x: tf.Tensor4D, name: string) =>
          tf.add(tf.conv2d(x, at(`${name}.weight`) as tf.Tensor4D, 1, 'same'), at(`${name}.bias`));
        const fc = tf.add(tf.matMul(z(), at('l1.0.weight')), at('l1.0.bias'));
        const x0 = twice(norm(tf.reshape(fc, [5, 2, 3, 6]), 'conv_blocks0.0'));
        const x1 = twice(tf.leakyRelu(norm(convolved(x0, 'conv_blocks1.0'), 'conv_blocks1.1'), 0.2));
        const x2 = tf.leakyRelu(norm(convolved(x1, 'conv_blocks2.0'), 'conv_blocks2.1'), 0.2);
        const pre = norm(convolved(x2, 'conv_blocks2.3'));
        const found = net.apply({ params, stats }, z(), { mode: 'train', activations: ['preTanh'] });
        expectClose(values(found.activations?.preTanh as tf.Tensor), values(pre), 1e-4);
        expectClose(values(found.images), values(tf.tanh(pre)), 1e-4);
        const bare = net.apply({ params, stats }, z(), { mode: 'train' });
        expect(Object.keys(bare)).toEqual(['images', 'stats']);
        expect(bitsOf(bare.images)).toEqual(bitsOf(found.images));
      });
    });

    it('passes on gradients that are given for what is before the tanh: by the chain rule, those of the images', () => {
      tf.tidy(() => {
        const { params, stats } = net.init(key('init'));
        const toImages = tf.randomNormal([5, 8, 12, 2], 0, 1, 'float32', 2);
        const gradientOf = (loss: (given: { images: tf.Tensor; pre: tf.Tensor }) => tf.Tensor) =>
          valueAndGradient((each) => {
            const asked = { mode: 'train', activations: ['preTanh'] } as const;
            const { images, activations } = net.apply({ params: each, stats }, z(), asked);
            const pre = activations?.preTanh as tf.Tensor;
            return { loss: tf.sum<tf.Scalar>(loss({ images, pre })), aux: { images } };
          }, params);
        const whole = gradientOf(({ images }) => tf.mul(images, toImages));
        const toPre = tf.mul(toImages, tf.sub(1, tf.square(whole.aux.images)));
        const through = gradientOf(({ pre }) => tf.mul(pre, toPre));
        for (const [name, gradient] of Object.entries(whole.gradients)) {
          const [one, other] = [values(gradient), values(through.gradients[name] as tf.Tensor)];
          const size = Math.max(...one.map(Math.abs));
          expectClose(
            one.map((slope) => slope / (size + 1e-3)),
            other.map((slope) => slope / (size + 1e-3)),
            1e-4,
          );
        }
        expect(values(through.gradients['l1.0.weight'] as tf.Tensor).some((slope) => Math.abs(slope) > 1e-3)).toBe(
          true,
        );
      });
    });
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

  it('sigmoid, and an image by its mask, worked numbers', () => {
    expectClose(through(sigmoid, vector(3), [0, Math.log(3), -Math.log(4)], [1, 3]).values, [0.5, 0.75, 0.2]);
    expectClose(through(gated(sigmoid), vector(3), [0, Math.log(3), -Math.log(4)], [1, 3]).values, [
      0,
      0.75 * Math.log(3),
      -0.2 * Math.log(4),
    ]);
    // A layer that gives its input back.
    expectClose(through(gated(sequential()), vector(2), [3, -2], [1, 2]).values, [9, 4]);
  });

  it('bilinear upsampling takes a quarter of the neighbour, as PyTorch does without aligned corners (worked numbers)', () => {
    expectClose(through(upsampleBilinear, image(1, 3, 1), [0, 4, 12], [1, 1, 3, 1]).values, [
      ...[0, 1, 3, 6, 10, 12],
      ...[0, 1, 3, 6, 10, 12],
    ]);
    const column = through(upsampleBilinear, image(2, 1, 2), [0, 10, 4, 50], [1, 2, 1, 2]);
    expect([column.shape, column.output]).toEqual([[1, 4, 2, 2], image(4, 2, 2)]);
    expectClose(column.values, [...[0, 10, 0, 10], ...[1, 20, 1, 20], ...[3, 40, 3, 40], ...[4, 50, 4, 50]]);
  });

  it.each([
    ['sigmoid', sigmoid],
    ['a mask', gated(sequential(maxPool(2), upsampleBilinear, sigmoid))],
  ])('%s has the gradient of finite differences', (_, layer) => {
    const { run } = fitLayers(layer, { where: 'here', input: image(4, 6, 2) });
    tf.tidy(() => {
      const x = tf.tensor4d(Float32Array.from(wave(2 * 4 * 6 * 2, 1)), [2, 4, 6, 2]);
      const weights = tf.tensor4d(Float32Array.from(wave(2 * 4 * 6 * 2, 2)), [2, 4, 6, 2]);
      const loss = (at: tf.Tensor) =>
        tf.sum<tf.Scalar>(tf.mul(run({ params: {}, stats: {} }, at, { mode: 'train' }).y, weights));
      const along = tf.tensor4d(Float32Array.from(wave(2 * 4 * 6 * 2, 3)), [2, 4, 6, 2]);
      const at = (step: number) => values(loss(tf.add(x, tf.mul(along, step))))[0] as number;
      const slope = values(tf.sum(tf.mul(tf.grad(loss)(x), along)))[0] as number;
      expect(Math.abs(slope - (at(1e-3) - at(-1e-3)) / 2e-3)).toBeLessThan(1e-2 * Math.abs(slope) + 1e-3);
    });
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

  it('features and statistics are there where they are marked and asked for', () => {
    const { init, run } = fitLayers(sequential(dense('fc', 3), batchNorm('bn')), { where: 'here', input: vector(2) });
    const variables = init(key('init'));
    const x: tf.Tensor = tf.ones([4, 2]);
    const found = run(variables, x, { mode: 'eval', batchStats: 'all' });
    expect(Object.keys(found)).toEqual(['y', 'stats', 'batchStats']);
    expect(Object.keys(found.batchStats ?? {})).toEqual(['bn']);
    dispose([variables, x, found.y, found.batchStats as never]);
  });

  it('say what does not fit', () => {
    const fitting = (layer: Layer, input: Shape) => refusal(() => fitLayers(layer, { where: 'here', input }));
    expect(fitting(unflatten(2, 2, 3), vector(10))).toMatchObject({
      kind: 'experiment',
      where: 'here, unflatten',
      what: '10 numbers do not make an image of 2×2×3',
    });
    expect(fitting(unflatten(1, 1, 4), image(2, 2, 1)).what).toContain('2×2×1 do not make');
    expect(fitting(upsample, vector(4))).toMatchObject({ where: 'here, upsample' });
    expect(fitting(upsampleBilinear, vector(4))).toMatchObject({ where: 'here, bilinear upsample' });
    expect(fitting(gated(maxPool(2)), image(4, 4, 1)).what).toBe('a mask of 2×2×1 does not fit 4×4×1');
    expect(
      fitting(sequential(conv('same', 4, { kernel: 1 }), conv('same', 4, { kernel: 1 })), image(4, 4, 4)).what,
    ).toBe('two of its layers are called same');
    expect(fitting(conv('conv', 2, { kernel: 3 }), vector(4))).toMatchObject({ where: 'here, conv' });
  });
});
