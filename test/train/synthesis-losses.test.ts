import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import { loadEngine } from '../../src/engine/engine.js';
import * as ops from '../../src/engine/ops.js';
import type { Runner, Step } from '../../src/engine/step.js';
import { generator } from '../../src/models/generator.js';
import {
  batchNorm,
  classifier,
  conv,
  features,
  globalMean,
  network,
  relu,
  sequential,
} from '../../src/models/layers.js';
import type { BatchStats, ImageShape, Named, Network, Variables } from '../../src/models/network.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { valueAndGradient } from '../../src/train/gradient.js';
import { adam, type OptimizerState } from '../../src/train/optimizers.js';
import {
  activationLoss,
  batchNormDistance,
  batchNormDistances,
  euclideanNorm,
  imageNorm,
  informationEntropy,
  jensenShannon,
  oneHotLoss,
  totalVariation,
} from '../../src/train/synthesis-losses.js';
import { bitsOf } from '../engine/bits.js';
import { expectClose, leaked, values, wave } from './tensors.js';

beforeAll(async () => {
  await loadEngine();
});

let before: number;
beforeEach(() => {
  before = tf.memory().numTensors;
  tf.engine().startScope();
});
afterEach(async () => {
  tf.engine().endScope();
  expect(tf.memory().numTensors).toBe(before);
});

const item = (scalar: tf.Tensor) => values(scalar)[0] as number;
const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

/** Central differences of a function of numbers, in float64. */
const differences = (f: (x: readonly number[]) => number, at: readonly number[]): number[] =>
  at.map((_, i) => {
    const moved = (by: number) => f(at.map((x, j) => (i === j ? x + by : x)));
    return (moved(1e-5) - moved(-1e-5)) / 2e-5;
  });

/** The value and the gradient of a loss are those of its formula once more, in float64 and the plainest way. */
const expectFormula = <T extends tf.Tensor>(
  loss: (x: T) => tf.Tensor,
  formula: (x: readonly number[]) => number,
  x: T,
  tolerance = 2e-6,
) => {
  const at = values(x);
  expectClose(values(loss(x)), [formula(at)], tolerance);
  expectClose(values(tf.grad((y) => loss(y as T))(x)), differences(formula, at), tolerance);
  expect(leaked(() => tf.tidy(() => loss(x)))).toBe(0);
  expect(leaked(() => tf.tidy(() => tf.grad((y) => loss(y as T))(x)))).toBe(0);
};

describe('the Euclidean norm', () => {
  test('is that of all numbers together, with the direction as its gradient', () => {
    const x = tf.tensor2d([3, 0, 0, -4], [2, 2]);
    expect(values(euclideanNorm(x))).toEqual([5]);
    expectClose(values(tf.grad((y) => euclideanNorm(y))(x)), [0.6, 0, 0, -0.8]);
    expectFormula(
      (y: tf.Tensor) => euclideanNorm(y),
      (y) => Math.hypot(...y),
      tf.tensor3d(wave(12), [2, 3, 2]),
    );
  });

  test('has the gradient 0 at 0', () => {
    expect(values(tf.grad((y) => euclideanNorm(y))(tf.zeros([3])))).toEqual([0, 0, 0]);
    expect(values(tf.grad((y) => imageNorm(y as tf.Tensor4D, 'image'))(tf.zeros([2, 1, 1, 2])))).toEqual([0, 0, 0, 0]);
  });
});

describe('total variation', () => {
  // 1 2
  // 4 8: → −1 and −4, ↓ −3 and −6, ↘ −7, ↙ 2 − 4 = −2.
  const worked = () => tf.tensor4d([1, 2, 4, 8], [1, 2, 2, 1]);

  test('is the sum of four norms, or of four means (worked numbers)', () => {
    expectClose(values(totalVariation(worked(), 'l2')), [Math.sqrt(17) + Math.sqrt(45) + 7 + 2]);
    expectClose(values(totalVariation(worked(), 'l1')), [2.5 + 4.5 + 7 + 2]);
  });

  test('takes a batch for one in l2, and the mean over it in l1', () => {
    const twice = tf.concat([worked(), worked()]) as tf.Tensor4D;
    const one = Math.sqrt(17) + Math.sqrt(45) + 9;
    expectClose(values(totalVariation(twice, 'l2')), [Math.SQRT2 * one]);
    expectClose(values(totalVariation(twice, 'l1')), [16]);
  });

  const shape = [2, 4, 3, 2] as const;
  const plain = (form: 'l1' | 'l2') => (x: readonly number[]) => {
    const [n, h, w, c] = shape;
    const all = ([down, right]: readonly [number, number]) => {
      const found: number[] = [];
      for (let i = 0; i < n; i++)
        for (let y = 0; y < h; y++)
          for (let column = 0; column < w; column++)
            for (let channel = 0; channel < c; channel++) {
              const at = (a: number, b: number) => x[((i * h + a) * w + b) * c + channel] as number;
              const inside = y + down < h && column + right < w && column + right >= 0;
              if (inside) found.push(at(y, column) - at(y + down, column + right));
            }
      return found;
    };
    const directions = [
      [0, 1],
      [1, 0],
      [1, 1],
      [1, -1],
    ] as const;
    return sum(
      directions.map((direction) => {
        const found = all(direction);
        return form === 'l2' ? Math.hypot(...found) : sum(found.map(Math.abs)) / found.length;
      }),
    );
  };

  test.each(['l1', 'l2'] as const)('%s has the gradient of finite differences', (form) => {
    expectFormula((x: tf.Tensor4D) => totalVariation(x, form), plain(form), tf.tensor4d(wave(48), [...shape]));
  });

  test.each(['l1', 'l2'] as const)('%s is at rest on an even surface', (form) => {
    const even: tf.Tensor4D = tf.fill([1, 3, 3, 1], 0.7);
    expect(values(totalVariation(even, form))).toEqual([0]);
    expect(values(tf.grad((x) => totalVariation(x as tf.Tensor4D, form))(even))).toEqual(Array(9).fill(0));
  });

  test('asks for neighbours', () => {
    expect(() => totalVariation(tf.ones([2, 1, 5, 3]), 'l2')).toThrow('images of 1×5 have no neighbours');
  });
});

describe('the norm of images', () => {
  test('is the batch’s, or the mean of the images’ (worked numbers)', () => {
    const images = tf.tensor4d([3, 4, 0, 12], [2, 1, 2, 1]);
    expectClose(values(imageNorm(images, 'batch')), [13]);
    expectClose(values(imageNorm(images, 'image')), [(5 + 12) / 2]);
  });

  test('has the gradient of finite differences', () => {
    const images = () => tf.tensor4d(wave(24), [3, 2, 2, 2]);
    const ofOne = (x: readonly number[], i: number) => Math.hypot(...x.slice(8 * i, 8 * i + 8));
    expectFormula(
      (x: tf.Tensor4D) => imageNorm(x, 'batch'),
      (x) => Math.hypot(...x),
      images(),
    );
    expectFormula(
      (x: tf.Tensor4D) => imageNorm(x, 'image'),
      (x) => sum([0, 1, 2].map((i) => ofOne(x, i))) / 3,
      images(),
    );
  });
});

/** Two batch norms, with a ReLU between them. */
const normed = (channels = 4): ((image: ImageShape) => Network) => {
  const layers = sequential(
    conv('conv1', channels, { kernel: 3, padding: 1 }),
    batchNorm('bn1'),
    relu,
    conv('conv2', channels + 1, { kernel: 3, padding: 1, stride: 2 }),
    batchNorm('bn2'),
    relu,
    globalMean,
    features,
    classifier('fc'),
  );
  return (image) => network({ name: 'normed', source: import.meta.url, layers }).build(image, 3);
};

/** A net's variables with statistics as of some training. */
const trained = (net: Network, name: string): Variables => {
  const { params, stats } = net.init(key(name));
  const moved = Object.entries(stats).map(([stat, tensor], i) => {
    const shifts = tf.tensor(wave(tensor.size, i, 0.3), tensor.shape);
    return [stat, tf.add(tensor, shifts)] as const;
  });
  return { params, stats: Object.fromEntries(moved) };
};

describe('the distance of batch norms’ statistics', () => {
  const moments = (mean: number[], variance: number[]): BatchStats => ({
    mean: tf.tensor1d(mean),
    variance: tf.tensor1d(variance),
  });
  const batchStats = () => ({ first: moments([1, 2], [1, 1]), second: moments([0], [3]) });
  const running = () => ({
    'first.running_mean': tf.tensor1d([4, 6]),
    'first.running_var': tf.tensor1d([1, 3]),
    'second.running_mean': tf.tensor1d([0.5]),
    'second.running_var': tf.tensor1d([7]),
  });

  test('adds up norms of differences, unsquared (worked numbers)', () => {
    // First: √(0 + 4) + √(9 + 16) = 7; second: 4 + 0.5.
    expectClose(values(batchNormDistance(batchStats(), running())), [11.5]);
    expectClose(values(batchNormDistance(batchStats(), running(), { firstMultiplier: 10 })), [74.5]);
    const each = batchNormDistances(batchStats(), running(), { firstMultiplier: 10 });
    expect(Object.entries(each).map(([name, distance]) => [name, item(distance)])).toEqual([
      ['first', 70],
      ['second', 4.5],
    ]);
    const plain = batchNormDistances(batchStats(), running());
    expectClose([item(plain.first as tf.Tensor), item(plain.second as tf.Tensor)], [7, 4.5]);
  });

  test('counts batch norms over images alone, as DeepInversion does, unless all are asked for', () => {
    const net = plainCnn({ width: 2 }).build({ height: 8, width: 8, channels: 1 }, 3);
    const variables = trained(net, 'net');
    const images = tf.tensor4d(wave(256, 1), [4, 8, 8, 1]);
    const distances = (batchStats: true | 'all') => {
      const output = net.apply(variables, images, { mode: 'eval', batchStats });
      const each = batchNormDistances(output.batchStats ?? {}, variables.stats);
      const whole = item(batchNormDistance(output.batchStats ?? {}, variables.stats));
      expectClose([whole], [sum(Object.values(each).map(item))]);
      return { names: Object.keys(each), whole };
    };
    const [overImages, all] = [distances(true), distances('all')];
    expect(overImages.names).toEqual(['bn1', 'bn2', 'bn3']);
    expect(all.names).toEqual(['bn1', 'bn2', 'bn3', 'fcbn1']);
    expect(overImages.whole).toBeLessThan(all.whole);
  });

  test('is at rest where the statistics are those of training', () => {
    const loss = (mean: tf.Tensor) =>
      batchNormDistance(
        { bn: { mean: mean as tf.Tensor1D, variance: tf.ones([2]) } },
        { 'bn.running_mean': tf.tensor1d([1, 2]), 'bn.running_var': tf.ones([2]) },
      );
    expectClose(values(tf.grad(loss)(tf.tensor1d([1, 2]))), [0, 0], 0);
  });

  test('has the gradient of finite differences down to the images, through batch norms in evaluation', () => {
    const net = normed()({ height: 6, width: 5, channels: 2 });
    const variables = trained(net, 'net');
    const shape: [number, number, number, number] = [3, 6, 5, 2];
    const images = tf.tensor4d(wave(180, 1), shape);
    const loss = (x: tf.Tensor): tf.Scalar => {
      const { batchStats = {} } = net.apply(variables, x as tf.Tensor4D, { mode: 'eval', batchStats: true });
      return batchNormDistance(batchStats, variables.stats, { firstMultiplier: 2.5 });
    };
    const gradient = tf.grad(loss)(images);
    for (const phase of [2, 3, 4]) {
      const along = tf.tensor4d(wave(180, phase), shape);
      const at = (step: number) => item(loss(tf.add(images, tf.mul(along, step))));
      const slope = item(tf.sum(tf.mul(gradient, along)));
      expect(Math.abs(slope - (at(2e-3) - at(-2e-3)) / 4e-3)).toBeLessThan(5e-3 * (1 + Math.abs(slope)));
    }
    // Both batch norms have their part in it.
    const alone = tf.grad((x) => {
      const { batchStats = {} } = net.apply(variables, x as tf.Tensor4D, { mode: 'eval', batchStats: true });
      return batchNormDistances(batchStats, variables.stats).bn1 as tf.Scalar;
    })(images);
    expect(values(alone)).not.toEqual(values(gradient));
    expect(leaked(() => tf.tidy(() => tf.grad(loss)(images)))).toBe(0);
  });

  test('flows back through jitter', () => {
    const net = normed()({ height: 6, width: 5, channels: 2 });
    const variables = trained(net, 'net');
    const images = tf.tensor4d(wave(180, 1), [3, 6, 5, 2]);
    const loss = (x: tf.Tensor, seed: number): tf.Scalar => {
      const moved = ops.jitter(x as tf.Tensor4D, { reach: 2, flip: true }, tf.tensor1d([seed, 1], 'int32'));
      const { batchStats = {} } = net.apply(variables, moved, { mode: 'eval', batchStats: true });
      return tf.add(batchNormDistance(batchStats, variables.stats), totalVariation(moved, 'l2'));
    };
    const along = tf.tensor4d(wave(180, 2), [3, 6, 5, 2]);
    for (const seed of [1, 2]) {
      const at = (step: number) => item(loss(tf.add(images, tf.mul(along, step)), seed));
      const slope = item(tf.sum(tf.mul(tf.grad((x) => loss(x, seed))(images), along)));
      expect(Math.abs(slope - (at(2e-3) - at(-2e-3)) / 4e-3)).toBeLessThan(5e-3 * (1 + Math.abs(slope)));
    }
  });
});

const softmax = (row: readonly number[], temperature = 1): number[] => {
  const top = Math.max(...row);
  const powers = row.map((x) => Math.exp((x - top) / temperature));
  return powers.map((x) => x / sum(powers));
};

const rowsOf = (x: readonly number[], classes: number): (readonly number[])[] =>
  Array.from({ length: x.length / classes }, (_, i) => x.slice(classes * i, classes * (i + 1)));

describe('the Jensen-Shannon divergence', () => {
  const clamped = (p: number) => Math.min(0.99, Math.max(0.01, p));
  const formula = (classes: number) => (student: readonly number[], teacher: readonly number[]) => {
    const others = rowsOf(teacher, classes);
    const each = rowsOf(student, classes).map((row, i) => {
      const [p, q] = [softmax(row, 3), softmax(others[i] as number[], 3)];
      return sum(
        p.map((_, k) => {
          const [a, b] = [p[k] as number, q[k] as number];
          const m = clamped((a + b) / 2);
          return m * (Math.log(m) - (Math.log(clamped(a)) + Math.log(clamped(b))) / 2);
        }),
      );
    });
    return sum(each) / each.length;
  };

  test('worked numbers', () => {
    // At temperature 3: P = (1/4, 3/4), Q = (1/2, 1/2), M = (3/8, 5/8).
    const student = tf.tensor2d([[0, 3 * Math.log(3)]]);
    const teacher = tf.tensor2d([[1, 1]]);
    const [low, high] = [3 / 8, 5 / 8];
    const kl = (p: number, q: number) => low * Math.log(low / p) + high * Math.log(high / q);
    expectClose(values(jensenShannon(student, teacher)), [(kl(1 / 4, 3 / 4) + kl(1 / 2, 1 / 2)) / 2]);
    expectClose(values(jensenShannon(teacher, teacher)), [0], 1e-7);
  });

  test('keeps probabilities within 0.01 … 0.99 (worked numbers)', () => {
    // P = (1, 0) and Q = (0, 1) to rounding: each is (0.99, 0.01) then, and M = (½, ½).
    const student = tf.tensor2d([[900, -900]]);
    const teacher = tf.tensor2d([[-900, 900]]);
    const expected = Math.log(0.5) - (Math.log(0.99) + Math.log(0.01)) / 2;
    expectClose(values(jensenShannon(student, teacher)), [expected]);
    // Where all are cut off, nothing moves.
    expect(values(tf.grad((x) => jensenShannon(x as tf.Tensor2D, student))(student))).toEqual([0, 0]);
  });

  test('has the gradients of finite differences, to both', () => {
    // Some probabilities are below 0.01.
    const student = wave(15, 1, 12);
    const teacher = wave(15, 2, 12);
    const js = formula(5);
    const fixed = (numbers: readonly number[]) => tf.tensor2d([...numbers], [3, 5]);
    expectFormula(
      (x: tf.Tensor2D) => jensenShannon(x, fixed(teacher)),
      (x) => js(x, teacher),
      fixed(student),
    );
    expectFormula(
      (x: tf.Tensor2D) => jensenShannon(fixed(student), x),
      (x) => js(student, x),
      fixed(teacher),
    );
    expect([...softmax(student.slice(0, 5), 3), ...softmax(teacher.slice(0, 5), 3)].some((p) => p < 0.01)).toBe(true);
  });
});

describe('DAFL’s terms', () => {
  test('one-hot: cross-entropy with the own answer', () => {
    // Softmax (1/6, 2/6, 3/6) and (4/5, 1/5, 0): −ln ½ and −ln 0.8.
    const logits = tf.tensor2d([
      [0, Math.log(2), Math.log(3)],
      [Math.log(4), 0, -100],
    ]);
    expectClose(values(oneHotLoss(logits)), [(Math.log(2) - Math.log(0.8)) / 2]);
    expectFormula(
      (x: tf.Tensor2D) => oneHotLoss(x),
      (x) => -sum(rowsOf(x, 4).map((row) => Math.log(Math.max(...softmax(row))))) / 3,
      tf.tensor2d(wave(12, 1, 3), [3, 4]),
    );
  });

  test('activation: the negative mean of absolute values, at rest where a feature is 0', () => {
    const found = tf.tensor2d([1, -2, 0, 5], [2, 2]);
    expect(values(activationLoss(found))).toEqual([-2]);
    expectClose(values(tf.grad((x) => activationLoss(x as tf.Tensor2D))(found)), [-0.25, 0.25, 0, -0.25], 0);
    expectFormula(
      (x: tf.Tensor2D) => activationLoss(x),
      (x) => -sum(x.map(Math.abs)) / x.length,
      tf.tensor2d(wave(12), [3, 4]),
    );
  });

  test('entropy of the mean answer, in decimal digits', () => {
    // (3/4, 1/4) and (1/4, 3/4) have the mean (½, ½); ten classes alike have 1 digit.
    const [a, b] = [Math.log(3), 0];
    expectClose(values(informationEntropy(tf.tensor2d([a, b, b, a], [2, 2]))), [-Math.log10(2)]);
    expectClose(values(informationEntropy(tf.zeros([3, 10]))), [-1]);
    const formula = (x: readonly number[]) => {
      const answers = rowsOf(x, 4).map((row) => softmax(row));
      const mean = answers[0]?.map((_, k) => sum(answers.map((p) => p[k] as number)) / answers.length) ?? [];
      return sum(mean.map((p) => p * Math.log10(p)));
    };
    expectFormula((x: tf.Tensor2D) => informationEntropy(x), formula, tf.tensor2d(wave(12, 1, 3), [3, 4]));
  });

  test('entropy stands a class that no image is of', () => {
    for (const low of [-85, -95, -1e4]) {
      const logits = tf.tensor2d([0, 1, low, 1, 0, low], [2, 3]);
      expectClose(values(informationEntropy(logits)), [-Math.log10(2)]);
      const gradient = values(tf.grad((x) => informationEntropy(x as tf.Tensor2D))(logits));
      expectClose(gradient, [0, 0, 0, 0, 0, 0], 1e-6);
    }
  });
});

describe('compiled, a step of synthesis is the eager one to the last bit', () => {
  let cache: string;
  beforeAll(() => {
    cache = mkdtempSync(join(tmpdir(), 'undistill-graphs-'));
  });
  afterAll(() => rmSync(cache, { recursive: true, force: true }));

  const image: ImageShape = { height: 12, width: 8, channels: 3 };
  const count = 6;
  const victim = normed(5)(image);
  const student = normed(3)(image);
  const optimizer = adam();

  type Nets = { readonly victim: Variables; readonly student: Variables };
  type Nothing = { readonly [name: string]: never };

  const weighted = (terms: Named): tf.Scalar =>
    Object.values(terms)
      .map((term, i) => tf.mul(term, 0.3 + 0.7 * i))
      .reduce((a, b) => tf.add(a, b)) as tf.Scalar;

  const net = generator({ latent: 7, width: 6 }).build(image);
  type Generating = { readonly variables: Variables; readonly slots: OptimizerState };
  const generating: Step<Nets, Generating, Nothing, Named> = (nets, { variables, slots }, _, inputs) => {
    const z = ops.standardNormal([count, 7], inputs.seed) as tf.Tensor2D;
    const { loss, gradients, aux } = valueAndGradient((params) => {
      const { images, stats } = net.apply({ params, stats: variables.stats }, z, { mode: 'train' });
      const {
        logits,
        features: found,
        batchStats = {},
      } = victim.apply(nets.victim, images, { mode: 'eval', batchStats: true });
      const terms = {
        oneHot: oneHotLoss(logits),
        activation: activationLoss(found),
        entropy: informationEntropy(logits),
        batchNorm: batchNormDistance(batchStats, nets.victim.stats),
      };
      return { loss: weighted(terms), aux: { stats, terms, images } };
    }, variables.params);
    const updated = optimizer.update(gradients, slots, variables.params, inputs.learningRate);
    return {
      state: { variables: { params: updated.params, stats: aux.stats }, slots: updated.state },
      metrics: { loss, images: aux.images, ...aux.terms },
    };
  };
  const freshGenerator = (): Generating => {
    const variables = net.init(key('generator'));
    return { variables, slots: optimizer.init(variables.params) };
  };

  type Inverting = { readonly images: tf.Tensor4D; readonly slots: OptimizerState };
  const inverting: Step<Nets, Inverting, Nothing, Named> = (nets, { images, slots }, _, { seed, learningRate }) => {
    const { loss, gradients, aux } = valueAndGradient(
      ({ images: pixels }) => {
        const moved = ops.jitter(pixels as tf.Tensor4D, { reach: 3, flip: true }, seed);
        const { logits, batchStats = {} } = victim.apply(nets.victim, moved, { mode: 'eval', batchStats: true });
        const terms = {
          ...batchNormDistances(batchStats, nets.victim.stats, { firstMultiplier: 10 }),
          l2: totalVariation(moved, 'l2'),
          l1: totalVariation(moved, 'l1'),
          batch: imageNorm(moved, 'batch'),
          image: imageNorm(moved, 'image'),
          apart: jensenShannon(student.apply(nets.student, moved, { mode: 'eval' }).logits, logits),
        };
        return { loss: weighted(terms), aux: { terms, moved } };
      },
      { images },
    );
    const updated = optimizer.update(gradients, slots, { images }, learningRate);
    return {
      state: { images: updated.params.images as tf.Tensor4D, slots: updated.state },
      metrics: { loss, ...aux.terms, moved: aux.moved },
    };
  };
  const noise = (): Inverting => {
    const { height, width, channels } = image;
    const images = tf.tensor4d(wave(count * height * width * channels, 3, 2), [count, height, width, channels]);
    return { images, slots: optimizer.init({ images }) };
  };

  /** Steps by a runner: their metrics, and the state after the last, as bits. */
  const bitsBy = <State extends tree.Tree>(runner: Runner<Nets, State, Nothing, Named>, start: State) => {
    runner.load(start);
    const calls = Array.from({ length: 6 }, (_, i) => ({
      batch: {},
      inputs: { learningRate: tf.scalar(0.05), seed: tf.tensor1d([i, 5], 'int32') },
    }));
    const metrics = runner.run(calls);
    const state = runner.read();
    const bits = { metrics: metrics.map(bitsOf), state: bitsOf(state), execution: runner.execution };
    runner.dispose();
    return bits;
  };

  const expectSame = <State extends tree.Tree>(step: Step<Nets, State, Nothing, Named>, fresh: () => State) => {
    const nets = { victim: trained(victim, 'victim'), student: trained(student, 'student') };
    const one = bitsBy(eager(step, nets), fresh());
    // Of the steps two are taken one by one and two in one call.
    const other = bitsBy(compile(step, nets, { cache, stride: 2 }), fresh());
    expect(other.execution).toBe('graph');
    expect(other.metrics).toEqual(one.metrics);
    expect(other.state).toEqual(one.state);
    expect(new Set(one.metrics.map((each) => JSON.stringify(each))).size).toBe(6);
  };

  test('of a generator, with DAFL’s terms', () => expectSame(generating, freshGenerator));

  test('of images themselves, with DeepInversion’s', () => expectSame(inverting, noise));

  test('and a step leaves nothing behind', () => {
    const nets = { victim: trained(victim, 'victim'), student: trained(student, 'student') };
    const start = noise();
    const seed = tf.tensor1d([1, 2], 'int32');
    const learningRate = tf.scalar(0.1);
    const left = tf.memory().numTensors;
    const { state, metrics } = tf.tidy(
      () => inverting(nets, start, {}, { seed, learningRate }) as never,
    ) as unknown as ReturnType<typeof inverting>;
    tree.dispose([state, metrics]);
    expect(tf.memory().numTensors).toBe(left);
  });
});
