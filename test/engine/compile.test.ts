import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ownFrames } from '../../src/core/errors.js';
import * as tree from '../../src/core/tree.js';
import { backend } from '../../src/engine/backend.js';
import { type CompileOptions, compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import { loadEngine } from '../../src/engine/engine.js';
import * as ops from '../../src/engine/ops.js';
import type { Call, Run, Runner, Step, StepInputs } from '../../src/engine/step.js';
import { refusal } from '../failures.js';
import { wave } from '../train/tensors.js';
import { bitsOf } from './bits.js';

let cache: string;
beforeAll(async () => {
  await loadEngine();
  cache = mkdtempSync(join(tmpdir(), 'undistill-graphs-'));
});
afterAll(() => rmSync(cache, { recursive: true, force: true }));

type Frozen = { readonly scale: tf.Tensor };
type State = { readonly a: tf.Tensor; readonly b: tf.Tensor; readonly count: tf.Tensor };
type Batch = { readonly x: tf.Tensor };
type Metrics = { readonly [name: string]: tree.Tree };
type OneStep = Step<Frozen, State, Batch, Metrics>;

/** Every number depends on all that came before: weights, batches, learning rates and seeds. */
const step: OneStep = ({ scale }, { a, b, count }, { x }, { learningRate, seed }) => {
  const noise = tf.mod(seed, 97).cast('float32').sum().mul(0.001);
  const next = a.mul(0.9).add(x.mean().mul(learningRate)).add(noise);
  return {
    state: { a: next, b: b.add(next.mul(scale)), count: count.add(tf.scalar(1, 'int32')) },
    metrics: { loss: next.square().sum(), parts: [x.sum(), tf.greater(next, b)] },
  };
};

/** What a step on the same state sees, which changes nothing. */
const look: OneStep = (_, state, { x }) => ({ state, metrics: { b: state.b, first: state.a.mul(x.max()) } });

const given = (): { readonly frozen: Frozen; readonly start: State } => ({
  frozen: { scale: tf.tensor1d([0.3, 0.7]) },
  start: { a: tf.tensor1d([0.1, 0.2]), b: tf.tensor1d([1, 2]), count: tf.scalar(0, 'int32') },
});

let calls = 0;
/** What a step is given: numbers of its own, so many of them. */
const callOf = (size = 4): Call<Batch> => {
  calls += 1;
  const inputs: StepInputs = {
    learningRate: tf.scalar(1 / (1 + calls)),
    seed: tf.tensor1d([calls, 7 * calls], 'int32'),
  };
  return { batch: { x: tf.tensor1d(wave(size, calls)) }, inputs };
};

let frozen: Frozen;
let start: State;
let before: number;
const open: { dispose(): void }[] = [];
beforeEach(() => {
  before = tf.memory().numTensors;
  ({ frozen, start } = given());
  calls = 0;
});
afterEach(() => {
  for (const runner of open.splice(0)) runner.dispose();
  tree.dispose([frozen, start]);
  // Holds for every test: with its runners disposed of, nothing is left.
  expect(tf.memory().numTensors).toBe(before);
});

/** An eager and a compiled runner in step: whatever they give must be the same bits. */
const both = (of: OneStep = step, options: CompileOptions = {}, from: Frozen = frozen) => {
  const reasons: string[] = [];
  const compiled = compile(of, from, { cache, fellBack: (reason) => reasons.push(reason), ...options });
  const runners = [eager(of, from), compiled];
  open.push(...runners);
  const same = (found: readonly tree.Tree[]) => {
    const [expected, actual] = found.map(bitsOf);
    tree.dispose(found);
    expect(actual).toEqual(expected);
    return actual;
  };
  /** The same steps by both, each of as many numbers as is said. */
  const running =
    (runs: readonly Run<Batch, Metrics>[]) =>
    (...sizes: readonly number[]) => {
      const these = sizes.map((size) => callOf(size));
      try {
        return same(runs.map((run) => run(these)));
      } finally {
        tree.dispose(these);
      }
    };
  return {
    compiled,
    reasons,
    load: (state: State) => {
      for (const runner of runners) runner.load(state);
    },
    run: running(runners.map(({ run }) => run)),
    also: (other: OneStep) => running(runners.map(({ also }) => also(other))),
    state: () => same(runners.map((runner) => runner.read())),
    dispose: () => {
      for (const runner of runners) runner.dispose();
    },
  };
};

/** Takes steps with a compiled runner, and disposes of what is given and what comes. */
const taken = (runner: Runner<Frozen, State, Batch, Metrics>, ...sizes: readonly number[]) => {
  const these = sizes.map((size) => callOf(size));
  try {
    const metrics = runner.run(these);
    const bits = bitsOf(metrics);
    tree.dispose(metrics);
    return bits;
  } finally {
    tree.dispose(these);
  }
};

describe('a compiled runner gives the bits of an eager one', () => {
  test('step after step, with batches of two sizes mixed', () => {
    const pair = both();
    pair.load(start);
    for (const size of [4, 4, 3, 4, 3, 3, 4]) {
      pair.run(size);
      pair.state();
    }
    expect(pair.compiled.execution).toBe('graph');
    expect(pair.reasons).toEqual([]);
    pair.dispose();
  });

  test('and they change from step to step', () => {
    const pair = both();
    pair.load(start);
    const seen = [4, 4, 4, 4].map((size) => JSON.stringify([pair.run(size), pair.state()]));
    expect(new Set(seen).size).toBe(4);
    pair.dispose();
  });

  test('with other steps on the same state in between', () => {
    const pair = both();
    const looking = pair.also(look);
    const resetting = pair.also((_, { a, b, count }) => ({ state: { a: b, b: a, count }, metrics: {} }));
    pair.load(start);
    looking(2);
    for (const size of [4, 4, 3, 4]) {
      pair.run(size);
      looking(2);
      looking(5);
      resetting(1);
      pair.state();
    }
    expect(pair.compiled.execution).toBe('graph');
    pair.dispose();
  });

  test('after another state was loaded midway, from wherever it comes', () => {
    const pair = both();
    const other: State = { a: tf.tensor1d([5, 6]), b: frozen.scale, count: tf.scalar(40, 'int32') };
    pair.load(start);
    pair.run(4, 4);
    pair.load(other);
    pair.run(4);
    pair.load(start);
    pair.load(other);
    pair.run(3);
    pair.run(4);
    pair.state();
    pair.dispose();
    tree.dispose([other.a, other.count]);
  });

  test('whatever is done in which order, in whatever strides', () => {
    const size = fc.constantFrom(4, 3);
    const action = fc.oneof(
      fc.record({ steps: fc.array(size, { maxLength: 5 }) }),
      fc.record({ looks: fc.array(size, { minLength: 1, maxLength: 2 }) }),
      fc.constant({ load: true }),
      fc.constant({ read: true }),
    );
    fc.assert(
      fc.property(fc.array(action, { minLength: 1, maxLength: 8 }), fc.constantFrom(1, 2, 3), (actions, stride) => {
        const pair = both(step, { stride });
        const looking = pair.also(look);
        pair.load(start);
        for (const each of actions) {
          if ('steps' in each) pair.run(...each.steps);
          else if ('looks' in each) looking(...each.looks);
          else if ('load' in each) pair.load(start);
          else pair.state();
        }
        pair.state();
        expect(pair.reasons).toEqual([]);
        pair.dispose();
      }),
      { numRuns: 25 },
    );
  });

  test('when it is read, loaded into a new runner and goes on', () => {
    const sizes = [4, 4, 3, 4, 4, 3, 4];
    const through = compile(step, frozen, { cache });
    through.load(start);
    const whole = sizes.map((size) => taken(through, size));
    const end = through.read();
    for (const stop of [1, 2, 4]) {
      calls = 0;
      const first = compile(step, frozen, { cache });
      first.load(start);
      const early = sizes.slice(0, stop).map((size) => taken(first, size));
      const half = first.read();
      first.dispose();
      const second = compile(step, frozen, { cache });
      second.load(half);
      tree.dispose(half);
      const late = sizes.slice(stop).map((size) => taken(second, size));
      const last = second.read();
      expect([...early, ...late]).toEqual(whole);
      expect(bitsOf(last)).toEqual(bitsOf(end));
      tree.dispose(last);
      second.dispose();
    }
    tree.dispose(end);
    through.dispose();
  });

  const states: readonly (readonly [string, OneStep])[] = [
    ['are all unchanged', (_, state) => ({ state, metrics: {} })],
    ['are unchanged but one', (_, { a, b, count }) => ({ state: { a: a.add(1), b, count }, metrics: {} })],
    ['change places', (_, { a, b, count }) => ({ state: { a: b, b: a, count }, metrics: { a } })],
    [
      'change places and one is changed',
      (_, { a, b, count }) => ({ state: { a: b, b: a.mul(2), count }, metrics: {} }),
    ],
    [
      'are one tensor',
      (_, { a, b, count }) => {
        const sum = a.add(b);
        return { state: { a: sum, b: sum, count }, metrics: {} };
      },
    ],
    ['are one tensor of the old state', (_, { a, count }) => ({ state: { a, b: a, count }, metrics: {} })],
    [
      'were one tensor and part',
      (_, { a, b, count }) => {
        const one = a.add(b);
        const odd = tf.equal(tf.mod(count, tf.scalar(2, 'int32')), 1);
        const next = count.add(tf.scalar(1, 'int32'));
        return { state: { a: tf.where(odd, one, a.mul(3)), b: tf.where(odd, one, b), count: next }, metrics: {} };
      },
    ],
    ['are of the batch', (_, { a, count }, { x }) => ({ state: { a: x, b: a, count }, metrics: {} })],
    [
      'are of the batch in another shape',
      (_, { a, count }, { x }) => ({ state: { a: x.reshape([1, 2]).reshape([2]), b: a, count }, metrics: {} }),
    ],
    [
      'are frozen tensors',
      ({ scale }, { a, b, count }) => ({ state: { a: scale, b: a.add(b), count }, metrics: { a } }),
    ],
    ['are constants', (_, { b, count }) => ({ state: { a: tf.tensor1d([8, 9]), b: b.add(1), count }, metrics: {} })],
    [
      'are inputs',
      (_, { b, count }, __, { learningRate, seed }) => ({
        state: { a: tf.stack([learningRate, learningRate]) as tf.Tensor, b, count: seed.slice([1], [1]).reshape([]) },
        metrics: { count },
      }),
    ],
  ];

  test.each(states)('where leaves of the new state %s', (_, of) => {
    for (const stride of [1, 3]) {
      const pair = both(of, { stride });
      pair.load(start);
      for (const sizes of [[2], [2], [2, 2, 2], [2, 2, 2, 2]]) {
        pair.run(...sizes);
        pair.state();
      }
      expect(pair.reasons).toEqual([]);
      pair.dispose();
    }
  });

  test('where metrics are leaves of the state, the batch or the frozen part, one tensor twice, or none', () => {
    const told: OneStep = ({ scale }, { a, b, count }, { x }) => {
      const next = a.add(1);
      return {
        state: { a: next, b, count },
        metrics: { a, b, x, scale, next, again: next, one: tf.scalar(1), nested: [{ count }, [tf.equal(a, b)]] },
      };
    };
    const pair = both(told, { stride: 2 });
    pair.load(start);
    pair.run(4);
    pair.run(4, 4, 4, 4, 4);
    pair.dispose();
  });

  test('and metrics stay what they were when later steps are taken', () => {
    const told: OneStep = (_, { a, b, count }, { x }) => {
      const next = a.add(x.mean());
      return { state: { a: next, b: a, count }, metrics: { a, b, next, x } };
    };
    const runner = compile(told, frozen, { cache });
    runner.load(start);
    const these = [4, 4, 4, 4].map((size) => callOf(size));
    const metrics = these.flatMap((call) => runner.run([call]));
    const then = metrics.map(bitsOf);
    const expected = eager(told, frozen);
    expected.load(start);
    const other = expected.run(these);
    expect(then).toEqual(other.map(bitsOf));
    tree.dispose(these);
    taken(runner, 4, 4);
    expect(metrics.map(bitsOf)).toEqual(then);
    tree.dispose([metrics, other]);
    runner.dispose();
    expected.dispose();
  });

  test.each([1, 2, 3, 4, 7])('in strides of three, of %i steps at once', (count) => {
    const pair = both(step, { stride: 3 });
    pair.load(start);
    expect(pair.compiled.stride).toBe(3);
    pair.run(...Array(count).fill(4));
    pair.run(...Array(count).fill(4));
    pair.run(4, 3, 4, 4, 3, 3, 3);
    pair.state();
    pair.dispose();
  });

  test('in strides that are chosen by the time that a step takes', () => {
    const times: number[] = [];
    const pair = both(step, {
      stride: (milliseconds) => {
        times.push(milliseconds);
        return 3;
      },
    });
    pair.load(start);
    const steps = (count: number) => pair.run(...Array.from({ length: count }, (_, i) => (i % 8 === 7 ? 3 : 4)));
    for (let i = 0; i < 6; i++) steps(7);
    pair.state();
    expect(pair.compiled.stride).toBe(3);
    for (const count of [1, 2, 3, 4, 7]) steps(count);
    pair.state();
    expect(times.length).toBe(1);
    expect(times[0]).toBeGreaterThan(0);
    pair.dispose();
    // Of the same step's next runner no step is timed: so many go into a call from the second one on.
    const next = both(step, { stride: (milliseconds) => (milliseconds === times[0] ? 2 : 1) });
    next.load(start);
    next.run(4);
    expect(next.compiled.stride).toBe(2);
    next.run(4, 4, 3, 4, 4, 4);
    next.state();
    next.dispose();
  });

  /** Computations that TensorFlow's graph optimiser, or its choice of kernels in a graph, would round otherwise. */
  const arithmetic: readonly (readonly [string, (x: tf.Tensor, y: tf.Tensor, a: tf.Tensor) => tf.Tensor])[] = [
    ['division by a constant', (x) => x.div(3)],
    ['products with two constants', (x) => x.mul(0.1).mul(0.3)],
    ['sums with two constants', (x) => x.add(0.1).add(0.3)],
    ['a difference from a constant sum', (x) => tf.sub(0.3, x.add(0.7))],
    ['a product divided by a constant', (x) => x.mul(0.7).div(0.3)],
    ['sums of three', (x, y) => x.add(y).add(x.mul(0.3))],
    ['sums of the same', (x) => x.add(x).add(x)],
    ['factors in common', (x, y, a) => x.mul(a).add(y.mul(a))],
    ['addN, where the last is a number of its own', (x, y) => tf.addN([x, y, x.mul(0.3)])],
    ['addN of many', (x, y) => tf.addN([x, y, x, y, x, y, x.mul(0.3), y, x, y])],
    ['squares as powers', (x) => tf.pow(x, 2)],
    ['cubes as powers', (x) => tf.pow(x, 3)],
    ['roots as powers', (x) => tf.pow(x.abs(), 0.5)],
    ['inverse roots as powers', (x) => tf.pow(x.abs(), -0.5)],
    ['inverses as powers', (x) => tf.pow(x, -1)],
    ['division by a root', (x, y) => y.div(x.abs().sqrt())],
    ['batch statistics', (x) => x.sub(x.mean()).div(tf.moments(x).variance.add(1e-5).sqrt())],
    ['softmax', (x) => tf.softmax(x.reshape([5, 6]))],
    ['the logarithm of softmax', (x) => tf.log(tf.softmax(x.reshape([5, 6])))],
    ['the gradient of softmax', (x) => tf.grad((z: tf.Tensor) => tf.softmax(z).square().sum())(x.reshape([5, 6]))],
    ['x · sigmoid(x)', (x) => x.mul(tf.sigmoid(x))],
    ['x · tanh(softplus(x))', (x) => x.mul(tf.tanh(tf.softplus(x)))],
    [
      'the largest of one part of several',
      (x) => tf.max(tf.split(x, 2)[1] as tf.Tensor).sub(tf.split(x, 2)[0] as tf.Tensor),
    ],
    ['the largest of exponentials', (x) => tf.max(tf.exp(x.mul(0.3).reshape([5, 6])), 1)],
    [
      'cosines',
      (x, y) =>
        x
          .mul(y)
          .sum()
          .div(tf.norm(x).mul(tf.norm(y)).add(1e-8)),
    ],
    ['a vector of length one', (x) => x.mul(tf.minimum(tf.div(1, tf.norm(x).add(1e-6)), 1))],
    ['GELU', (x) => x.mul(tf.erf(x.div(Math.SQRT2)).add(1)).mul(0.5)],
    ['a norm', (x) => tf.norm(x)],
    ['a Huber loss', (x, y) => tf.losses.huberLoss(x, y)],
    ['a scaled product of matrices', (x, y) => tf.matMul(x.mul(0.3).reshape([5, 6]), y.reshape([6, 5])).relu()],
    [
      'a scaled convolution with its bias',
      (x, y) => {
        const images = x.mul(0.3).reshape([1, 5, 6, 1]) as tf.Tensor4D;
        const filter = y.slice([0], [27]).reshape([3, 3, 1, 3]) as tf.Tensor4D;
        return tf
          .conv2d(images, filter, 1, 'same')
          .add(y.slice([27], [3]))
          .relu();
      },
    ],
    ['means that are taken twice', (x) => x.reshape([5, 6]).mean(1).mean()],
    ['a truth value’s mean', (x, y) => tf.greater(x, y).mean()],
    [
      'nothing but NaN and −0',
      (x) =>
        x
          .mul(0)
          .neg()
          .concat(tf.log(x.abs().neg().sub(1))),
    ],
  ];

  test.each(arithmetic)('in %s', (_, f) => {
    const pair = both((__, { a, b, count }, { x }) => {
      const [left, right] = tf.split(x, 2) as [tf.Tensor, tf.Tensor];
      return { state: { a: a.mul(1.1), b, count }, metrics: { result: f(left, right, a.sum()) } };
    });
    pair.load(start);
    for (let i = 0; i < 4; i++) pair.run(60);
    expect(pair.reasons).toEqual([]);
    pair.dispose();
  });

  type Layer = (images: tf.Tensor4D, filter: tf.Tensor4D, bias: tf.Tensor1D, still: tf.Tensor1D) => tf.Tensor;
  const convolved = (x: tf.Tensor4D, filter: tf.Tensor4D): tf.Tensor4D => ops.conv2d(x, filter, { padding: 1 });
  const groups = (w: tf.Tensor4D, of: number): tf.Tensor4D => w.slice([0, 0, 0, 0], [3, 3, of, 8]);
  const rowsOf = (x: tf.Tensor): tf.Tensor2D => x.reshape([x.size / 8, 8]);
  const padded = (x: tf.Tensor4D): tf.Tensor4D => {
    const side: [number, number] = [1, 1];
    return tf.pad4d(x, [[0, 0], side, side, [0, 0]]);
  };
  const normOf = (b: tf.Tensor1D, still: tf.Tensor1D) => ({
    scale: b.add(1),
    offset: b.mul(0.3),
    mean: still.mul(-0.2),
    variance: still.square(),
  });
  const known: Layer = (x, _, b, still) => ops.batchNormEval(x as tf.Tensor4D, normOf(b, still));
  const fresh: Layer = (x, _, b, still) => ops.batchNormTrain(x as tf.Tensor4D, normOf(b, still)).y;
  const unit: Layer = (x, w, b, still) => known(convolved(x, w), w, b, still);

  const of4 = (x: tf.Tensor4D, b: tf.Tensor1D, still: tf.Tensor1D): Parameters<Layer> => [
    x.reshape([x.size / 64, 4, 4, 4]),
    x,
    b.slice(0, 4),
    still.slice(0, 4),
  ];

  /** Layers that the optimiser would join with what follows them. */
  const layers: readonly (readonly [string, Layer])[] = [
    ['a convolution', (x, w) => convolved(x, w)],
    ['a convolution at stride 2', (x, w) => ops.conv2d(x, w, { padding: 1, stride: 2 })],
    ['a convolution of a padded image', (x, w) => ops.conv2d(padded(x), w)],
    ['a scaled convolution', (x, w) => convolved(x.mul(0.37), w).mul(0.29)],
    ['a convolution with bias and ReLU', (x, w, b) => ops.relu(ops.biasAdd(convolved(x, w), b))],
    ['a convolution with bias and ELU', (x, w, b) => tf.elu(ops.biasAdd(convolved(x, w), b))],
    ['a convolution with a bias that is a sum', (x, w, b) => convolved(x, w).add(b).relu()],
    ['a convolution, a sum and ReLU', (x, w) => ops.relu(ops.add(convolved(x, w), x))],
    ['a batch norm in evaluation', known],
    ['a batch norm in evaluation with ReLU', (...all) => ops.relu(known(...all))],
    ['a batch norm in evaluation, a sum and ReLU', (...all) => ops.relu(ops.add(known(...all), all[0]))],
    ['a batch norm in training with ReLU', (...all) => ops.relu(fresh(...all))],
    ['a batch norm in training with ReLU, of 4 channels', (x, _, b, still) => ops.relu(fresh(...of4(x, b, still)))],
    ['a batch norm in training, ReLU and a sum', (...all) => ops.add(ops.relu(fresh(...all)), all[0])],
    ['a convolution and a batch norm in evaluation', unit],
    ['both with ReLU', (...all) => ops.relu(unit(...all))],
    ['both with a sum and ReLU', (...all) => ops.relu(ops.add(unit(...all), all[0]))],
    ['a convolution in groups', (x, w) => convolved(x, groups(w, 2))],
    ['a convolution in groups at stride 2', (x, w) => ops.conv2d(x, groups(w, 4), { padding: 1, stride: 2 })],
    ['a depthwise convolution with bias', (x, w, b) => ops.biasAdd(convolved(x, groups(w, 1)), b)],
    ['a depthwise convolution with bias and ReLU6', (x, w, b) => ops.relu6(ops.biasAdd(convolved(x, groups(w, 1)), b))],
    ['a depthwise convolution at stride 2', (x, w) => ops.conv2d(x, groups(w, 1), { padding: 1, stride: 2 })],
    ['a depthwise convolution at stride 3', (x, w) => ops.conv2d(x, groups(w, 1), { padding: 2, stride: 3 })],
    [
      'a depthwise convolution and a batch norm in evaluation with ReLU6',
      (x, w, b, still) => ops.relu6(known(ops.biasAdd(convolved(x, groups(w, 1)), b), w, b, still)),
    ],
    ['a batch norm in training with ReLU6', (...all) => ops.relu6(fresh(...all))],
    ['interleaved channels', (x, w) => ops.interleave(x, ops.relu(convolved(x, w)))],
    [
      'interleaved halves',
      (x, w) => {
        const [left, right] = ops.halves(x);
        return ops.halves(ops.interleave(left, convolved(right, groups(w, 1).slice([0, 0, 0, 0], [3, 3, 1, 4]))))[1];
      },
    ],
    ['max-pooling of ReLU', (x) => ops.maxPool(ops.relu(x), 2)],
    ['means of ReLU', (x) => ops.globalMean(ops.relu(x))],
    ['a dense layer with ReLU', (x, w, b) => ops.relu(ops.dense(rowsOf(x), rowsOf(w).slice([0, 0], [8, 8]), b))],
    ['a dense layer with a sigmoid', (x, w, b) => ops.dense(rowsOf(x), rowsOf(w).slice([0, 0], [8, 8]), b).sigmoid()],
  ];

  test.each(layers)('in %s, and in its gradients', (_, f) => {
    const pair = both((__, { a, b, count }, { x }) => {
      const given = [x.slice([0], [256]).reshape([2, 4, 4, 8]), x.slice([256], [576]).reshape([3, 3, 8, 8])];
      const all = [...given, x.slice([832], [8])] as [tf.Tensor4D, tf.Tensor4D, tf.Tensor1D];
      const still = all[2].mul<tf.Tensor1D>(1.1);
      const { value, grads } = tf.valueAndGrads((...args) => {
        const [images, filter, bias] = args as [tf.Tensor4D, tf.Tensor4D, tf.Tensor1D];
        const unused = tf.add(filter.sum(), bias.sum()).add(images.sum()).mul(1e-3);
        return f(images, filter, bias, still).square().sum().add(unused) as tf.Scalar;
      })(all);
      return { state: { a: a.mul(1.1), b, count }, metrics: { result: f(...all, still), value, grads } };
    });
    pair.load(start);
    for (let i = 0; i < 4; i++) pair.run(840);
    expect(pair.reasons).toEqual([]);
  });

  test('for two runners at once, whose states are their own', () => {
    const [one, other] = [both(), both(step, { stride: 2 })];
    one.load(start);
    other.load(start);
    for (const size of [4, 4, 3, 4]) {
      one.run(size);
      other.run(size, size);
      other.run(4);
      expect(one.state()).not.toEqual(other.state());
    }
    one.dispose();
    other.run(4, 4);
    other.state();
    other.dispose();
  });

  test('where a leaf of the state begins as a frozen tensor, which never changes', () => {
    const pair = both();
    const as = bitsOf(frozen);
    pair.load({ ...start, b: frozen.scale });
    pair.run(4, 4, 4);
    pair.state();
    pair.also((given, state) => ({ state, metrics: { scale: given.scale } }))(1, 1);
    expect(bitsOf(frozen)).toEqual(as);
    pair.dispose();
  });

  test('when a state of another form is loaded', () => {
    const general: Step<Frozen, tree.Tree, Batch, Metrics> = (_, state, { x }) => {
      const leaves = tree.map(state, (leaf) => leaf.add(x.sum()));
      return { state: leaves, metrics: { means: tree.leaves(leaves).map((leaf) => leaf.mean()) } };
    };
    const pair = both(general as unknown as OneStep);
    const wide = { a: tf.tensor1d([1, 2, 3]), b: tf.tensor1d([4, 5, 6]), count: tf.scalar(1) };
    const other = { b: tf.tensor1d([1, 2]), c: tf.tensor1d([3, 4]) };
    for (const state of [{ ...start, count: wide.count }, wide, other, wide]) {
      pair.load(state as State);
      pair.run(4);
      pair.run(4, 4);
      pair.state();
    }
    pair.dispose();
    tree.dispose([wide, other]);
  });
});

describe('a step that cannot be a graph', () => {
  const reading: OneStep = (_, { a, b, count }, { x }) => {
    const largest = Math.max(...x.dataSync());
    return { state: { a: a.mul(largest), b: b.add(a), count: count.add(tf.scalar(1, 'int32')) }, metrics: { a } };
  };
  const foreign = tf.keep(tf.scalar(3));
  const borrowing: OneStep = (_, { b, count }) => ({ state: { a: foreign.mul(b), b, count }, metrics: { foreign } });

  test.each<readonly [string, OneStep, RegExp]>([
    ['reads values', reading, /^eager: it reads a tensor's values$/],
    ['uses a tensor that it was not given', borrowing, /^eager: it uses a tensor that it was not given/],
  ])('because it %s runs eagerly, and that is told once with the reason', (_, of, reason) => {
    foreign.mul(1).dispose();
    const pair = both(of, { stride: 2 });
    pair.load(start);
    expect(pair.compiled.execution).toBe('graph');
    for (const sizes of [[4], [4, 4, 3], [3]]) {
      pair.run(...sizes);
      pair.state();
    }
    expect(pair.compiled.execution).toMatch(reason);
    expect(pair.reasons.length).toBe(1);
    expect(pair.reasons[0]).toContain(pair.compiled.execution.replace('eager: ', ''));
    pair.load(start);
    pair.run(4);
    pair.state();
    pair.dispose();
  });

  test('holds a state that is loaded later once, as an eager runner does', () => {
    const runners = [eager(reading, frozen), compile(reading, frozen, { cache })];
    open.push(...runners);
    const more = runners.map((runner) => {
      runner.load(start);
      taken(runner, 4);
      const held = tf.memory().numTensors;
      runner.load(start);
      return tf.memory().numTensors - held;
    });
    expect(more).toEqual([0, 0]);
  });

  test('beside one that can takes its state over, and gives it back', () => {
    const pair = both();
    const other = pair.also(reading);
    const looking = pair.also(look);
    pair.load(start);
    pair.run(4, 4, 3);
    looking(4);
    expect(pair.compiled.execution).toBe('graph');
    other(4);
    pair.state();
    pair.run(4, 3);
    looking(4);
    other(4, 3);
    pair.run(4);
    pair.state();
    expect(pair.compiled.execution).toBe("eager: it reads a tensor's values");
    expect(pair.reasons.length).toBe(1);
    pair.dispose();
  });

  test('for one size of batch runs eagerly from there on, also in the middle of several', () => {
    const pair = both((...all) => (all[2].x.size === 3 ? reading(...all) : step(...all)), { stride: 2 });
    pair.load(start);
    pair.run(4, 4, 4);
    pair.run(4, 4, 4, 3, 4, 3);
    pair.state();
    expect(pair.reasons.length).toBe(1);
    pair.dispose();
  });

  test.each(['loadSavedModel', 'runSavedModel'] as const)(
    'because TensorFlow does not take its graph (%s) runs eagerly, and goes on from where it was',
    (refused) => {
      const { binding } = backend();
      // In a folder of its own no graph has been loaded before.
      const pair = both(step, { stride: 2, cache: join(cache, refused) });
      pair.load(start);
      pair.run(4);
      const refuse = () => {
        throw new Error('no such operation\nand more');
      };
      backend().binding = Object.create(binding, { [refused]: { value: refuse } });
      try {
        pair.run(4, 4, 4);
        pair.run(3);
      } finally {
        backend().binding = binding;
      }
      pair.run(4, 3);
      pair.state();
      expect(pair.compiled.execution).toMatch(/^eager: .*no such operation$/);
      expect(pair.reasons.length).toBe(1);
    },
  );
});

test('by XLA, which is compared with the plain graph first, a step gives the same but for rounding', () => {
  const said: string[] = [];
  const say = (line: string): void => void said.push(line);
  const runners = [
    eager(step, frozen),
    compile(step, frozen, { cache, xla: true, stride: 2, note: say, fellBack: say }),
  ];
  open.push(...runners);
  for (const runner of runners) runner.load(start);
  const these = [4, 4, 4, 4, 4, 3, 4, 4].map((size) => callOf(size));
  const [expected, found] = runners.map((runner) => {
    const [metrics, state] = [runner.run(these), runner.read()];
    const numbers = tree.leaves([metrics, state]).flatMap((leaf) => [...leaf.dataSync()]);
    tree.dispose([metrics, state]);
    return numbers;
  }) as [number[], number[]];
  tree.dispose(these);
  found.forEach((value, i) => {
    expect(value).toBeCloseTo(expected[i] as number, 4);
  });
  // Not everywhere is there an XLA.
  expect(runners[1]?.execution).toMatch(/^(xla|graph: XLA does not compile the step: .+)$/);
  expect(said[0]).toBe('XLA compiles the step, which may take a minute');
});

describe('a step that is not the same from call to call', () => {
  let count = 0;
  beforeEach(() => {
    count = 0;
  });
  const scaled =
    (by: (a: tf.Tensor) => tf.Tensor): OneStep =>
    (_, state) => ({
      state: { ...state, a: by(state.a) },
      metrics: { loss: state.a.sum() },
    });

  test.each<readonly [string, OneStep, string]>([
    ['a counter', scaled((a) => a.mul(count++)), 'a number that was 0 is 1 now'],
    ['a number of a list', scaled((a) => a.mul([2, 3 * ++count])), 'a number that was 3 is 6 now'],
    ['a shape', scaled((a) => a.add(tf.sum(tf.ones([++count])))), 'a constant of shape [1] is of shape [2] now'],
    ['another operation', scaled((a) => (count++ === 0 ? a.neg() : a.square())), 'Neg came where Square comes now'],
    [
      'other tensors',
      (_, { a, b, count: c }) => {
        const [p, q] = count++ === 0 ? [a, b] : [b, a];
        return { state: { a: p.sub(q), b, count: c }, metrics: {} };
      },
      'Sub is given other tensors',
    ],
    ['one operation less', scaled((a) => (count++ === 0 ? a.add(a.neg()) : a)), 'came where'],
    ['an attribute', scaled((a) => tf.sum(tf.stack([a, a]), 0, count++ > 0).reshape([2])), 'was told'],
    [
      'another result',
      (_, { a, b, count: c }) => ({ state: { a, b, count: c }, metrics: { m: count++ === 0 ? a : b } }),
      'other tensors',
    ],
  ])('is refused before its graph runs again: %s', (_, of, what) => {
    const runner = compile(of, frozen, { cache });
    open.push(runner);
    runner.load(start);
    taken(runner, 4);
    const read = () => {
      const state = runner.read();
      const bits = bitsOf(state);
      tree.dispose(state);
      return bits;
    };
    const state = read();
    const alive = tf.memory().numTensors;
    const failed = refusal(() => taken(runner, 4));
    expect(failed).toMatchObject({
      kind: 'plugin',
      what: expect.stringMatching(/^its step is not the same from call to call: /),
      remedy: expect.stringContaining('learningRate'),
    });
    expect(failed.what).toContain(what);
    if (!what.includes('other tensors') || what.startsWith('Sub'))
      expect(ownFrames(failed.trace ?? '')[0]).toContain('test/engine/compile.test.ts');
    expect(tf.memory().numTensors).toBe(alive);
    expect(read()).toEqual(state);
  });

  test('is found where the source of its batches changes a number, after the first', () => {
    let share = 1;
    const runner = compile(
      scaled((a) => a.mul(share)),
      frozen,
      { cache },
    );
    open.push(runner);
    runner.load(start);
    taken(runner, 4);
    share = 0.5;
    expect(refusal(() => taken(runner, 4)).what).toContain('a number that was 1 is 0.5 now');
  });

  test('is none that counts for itself, keeps a tensor, or is called once', () => {
    let kept: tf.Tensor | undefined;
    const keeping = scaled((a) => {
      count += 1;
      kept ??= tf.keep(tf.tensor1d([3, 4]));
      return a.mul(kept);
    });
    const runner = compile(keeping, frozen, { cache });
    open.push(runner);
    runner.load(start);
    for (let i = 0; i < 4; i++) taken(runner, 4);
    // Once to be traced, and once again; never after.
    expect(count).toBe(2);
    kept?.dispose();
    // What was looked at once and led to nothing need not come again.
    count = 0;
    const looking = compile(
      scaled((a) => {
        if (count++ === 0) tf.sum(a).dispose();
        return a.mul(2);
      }),
      frozen,
      { cache },
    );
    open.push(looking);
    looking.load(start);
    for (let i = 0; i < 3; i++) taken(looking, 4);
    expect(count).toBe(2);
    const once = compile(
      scaled((a) => a.mul(count++)),
      frozen,
      { cache },
    );
    open.push(once);
    once.load(start);
    taken(once, 4);
  });
});

describe('a step that fails', () => {
  /** Looks up a place that may not be there, after a while in which much else has been computed. */
  const lookingUp: OneStep = (_, { a, b, count }, { x }) => {
    const long = Array.from({ length: 10 }).reduce(
      (sum: tf.Tensor) => tf.matMul(sum, sum).mul(1e-9).sign(),
      tf.ones([100, 100]).mul(x.max()),
    );
    const place = x.max().add(long.mean().mul(0)).cast('int32').reshape([1]) as tf.Tensor1D;
    return {
      state: { a: a.add(1), b: b.mul(2), count: count.add(tf.scalar(1, 'int32')) },
      metrics: { found: ops.rows(b, place) },
    };
  };
  const valued = (value: number): Call<Batch> => {
    const call = callOf();
    tree.dispose(call.batch);
    return { ...call, batch: { x: tf.tensor1d([0, value]) } };
  };

  test('when it is traced leaves the state as it was, and nothing else', () => {
    let broken = true;
    const runner = compile<Frozen, State, Batch, Metrics>(
      (...all) => {
        const result = step(...all);
        if (broken && all[2].x.size === 3) throw new Error('a plugin');
        return result;
      },
      frozen,
      { cache },
    );
    runner.load(start);
    expect(() => taken(runner, 3)).toThrow('a plugin');
    taken(runner, 4);
    taken(runner, 4);
    const state = runner.read();
    const held = tf.memory().numTensors;
    for (const sizes of [[3], [3, 4]]) {
      expect(() => tf.tidy(() => void taken(runner, ...sizes))).toThrow('a plugin');
      const now = runner.read();
      expect(bitsOf(now)).toEqual(bitsOf(state));
      tree.dispose(now);
    }
    expect(runner.execution).toBe('graph');
    tree.dispose(state);
    broken = false;
    taken(runner, 3, 4, 3);
    taken(runner, 4);
    expect(tf.memory().numTensors).toBeLessThanOrEqual(held);
    runner.dispose();
  });

  test('within TensorFlow does so too, although other tensors had been computed', () => {
    const runner = compile(lookingUp, frozen, { cache });
    runner.load(start);
    const [good, bad] = [valued(1), valued(1000)];
    const take = (call: Call<Batch>) => tree.dispose(runner.run([call]));
    const state = () => {
      const read = runner.read();
      const bits = bitsOf(read);
      tree.dispose(read);
      return bits;
    };
    take(good);
    take(good);
    const then = state();
    for (let round = 0; round < 3; round++) {
      expect(() => take(bad)).toThrow(/1000 is not in/);
      expect(state()).toEqual(then);
    }
    take(good);
    expect(state()).not.toEqual(then);
    expect(runner.execution).toBe('graph');
    tree.dispose([good, bad].flatMap(({ batch, inputs }) => [batch, inputs]));
    runner.dispose();
  });

  test.each([
    ['another path', { a: 1, c: 1 }, /lost b: float32 \[\] and gained c: float32 \[\]/],
    ['a path less', { a: 1 }, /lost b: float32 \[\] and gained nothing/],
    ['another shape', { a: 1, b: [1, 2] }, /lost b: float32 \[\] and gained b: float32 \[2\]/],
  ])('because its new state has %s is refused as an eager one is', (_, next, message) => {
    type Any = { readonly [name: string]: tf.Tensor };
    const state = { a: tf.scalar(0), b: tf.scalar(0) };
    const changing: Step<Frozen, Any, Batch, Any> = (__, old, { x }) => ({
      state:
        x.size === 4
          ? tree.map(old, (leaf) => leaf.add(1))
          : Object.fromEntries(Object.entries(next).map(([name, value]) => [name, tf.tensor(value)])),
      metrics: {},
    });
    for (const make of [eager, compile]) {
      const runner = make<Frozen, Any, Batch, Any>(changing, frozen, { cache });
      const [good, bad] = [callOf(4), callOf(3)];
      runner.load(state);
      expect(() => runner.run([bad])).toThrow(message);
      runner.run([good, good]);
      expect(() => runner.run([good, bad])).toThrow(message);
      const end = runner.read();
      expect(tree.leaves(end).map((leaf) => leaf.dataSync()[0])).toEqual([3, 3]);
      tree.dispose([end, good.batch, bad.batch]);
      tree.dispose([good.inputs, bad.inputs]);
      runner.dispose();
    }
    tree.dispose(state);
  });
});

describe('what a compiled runner holds', () => {
  /** Sessions that the binding holds. */
  const sessions = (): number =>
    (backend().binding as unknown as { getNumOfSavedModels(): number }).getNumOfSavedModels();

  test('does not grow in 200 steps', () => {
    const runner = compile(step, frozen, { cache, stride: 2 });
    const looking = runner.also(look);
    runner.load(start);
    const round = () => {
      taken(runner, 4);
      taken(runner, 4, 4, 3);
      const call = callOf();
      tree.dispose(looking([call]));
      tree.dispose([call.batch, runner.read()]);
      tree.dispose(call.inputs);
      return tf.memory().numTensors;
    };
    round();
    const counts = Array.from({ length: 40 }, round);
    expect(new Set(counts).size).toBe(1);
    runner.dispose();
  });

  /** How often TensorFlow is given a graph to load meanwhile. */
  const loads = (body: () => void): number => {
    const { binding } = backend();
    let count = 0;
    const loadSavedModel = (folder: string, tag: string): number => {
      count += 1;
      return binding.loadSavedModel(folder, tag);
    };
    backend().binding = Object.create(binding, { loadSavedModel: { value: loadSavedModel } });
    try {
      body();
    } finally {
      backend().binding = binding;
    }
    return count;
  };

  /** Weighs the batch by a number of its own, which is part of no input. */
  const weighing =
    (weight: number): OneStep =>
    (_, { a, b, count }, { x }) => ({
      state: { a: a.add(x.mean().mul(weight)), b: b.mul(1 - weight), count: count.add(tf.scalar(1, 'int32')) },
      metrics: { loss: x.sum().mul(weight) },
    });

  test('is given back by each of 30 that come and go, whose graphs are loaded once', () => {
    const alive = tf.memory().numTensors;
    const own = join(cache, 'own');
    const loaded = loads(() => {
      for (let i = 0; i < 30; i++) {
        const runner = compile(step, frozen, { cache: own });
        runner.load(start);
        taken(runner, 4);
        if (i % 3 > 0) taken(runner, 4);
        if (i % 5 === 0) taken(runner, 3, 3, 4);
        runner.dispose();
        runner.dispose();
        expect(tf.memory().numTensors).toBe(alive);
      }
    });
    // A step on four numbers, and beside it one on three.
    expect(loaded).toBe(2);
  });

  test('is one graph for steps that differ in numbers alone, whatever they are', () => {
    const own = join(cache, 'weights');
    const loaded = loads(() => {
      for (const weight of [0.1, 0.5, 1, 0]) {
        const pair = both(weighing(weight), { cache: own });
        pair.load(start);
        pair.run(4, 4);
        pair.state();
        pair.dispose();
      }
    });
    expect(loaded).toBe(1);
  });

  test('is its own while it is open, though another has the same graph', () => {
    const pairs = [0.25, 0.75].map((weight) => both(weighing(weight), { cache: join(cache, 'weights') }));
    for (const pair of pairs) pair.load(start);
    for (let i = 0; i < 3; i++) for (const pair of pairs) pair.run(4);
    for (const pair of pairs) {
      pair.state();
      pair.dispose();
    }
  });

  test('is closed for good after a step that failed', () => {
    const own = join(cache, 'failing');
    const failing: OneStep = (_, state, { x }) => ({
      state,
      metrics: { found: ops.rows(state.b, x.max().cast('int32').reshape([1]) as tf.Tensor1D) },
    });
    const once = (value: number) => {
      const runner = compile(failing, frozen, { cache: own });
      runner.load(start);
      taken(runner, 4);
      const { batch, inputs } = callOf();
      const call = { batch: { x: tf.fill([4], value) }, inputs };
      if (value > 1) expect(() => runner.run([call])).toThrow();
      else tree.dispose(runner.run([call]));
      tree.dispose([batch, call.batch]);
      tree.dispose(inputs);
      runner.dispose();
    };
    expect(loads(() => [0, 1, 77].forEach(once))).toBe(1);
    expect(loads(() => once(0))).toBe(1);
    expect(loads(() => once(0))).toBe(0);
  });

  test('is of a few graphs at most', () => {
    const held = sessions();
    for (let size = 1; size <= 40; size++) {
      const runner = compile(step, frozen, { cache: join(cache, 'many') });
      runner.load(start);
      taken(runner, size);
      runner.dispose();
    }
    expect(sessions() - held).toBeLessThanOrEqual(12);
  });

  test('is copies: neither side disposes of the other', () => {
    const runner = compile(step, frozen, { cache });
    const own = tree.clone(start);
    const as = bitsOf(start);
    runner.load(own);
    tree.dispose(own);
    taken(runner, 4);
    const read = runner.read();
    const then = bitsOf(read);
    taken(runner, 4, 4);
    const later = runner.read();
    expect(bitsOf(read)).toEqual(then);
    expect(bitsOf(later)).not.toEqual(then);
    tree.dispose(read);
    taken(runner, 4);
    runner.dispose();
    expect(bitsOf(start)).toEqual(as);
    tree.dispose(later);
  });

  test('is no memory of a batch, which may be written to when it is over', () => {
    type Held = { readonly held: tf.Tensor };
    const views: readonly ((x: tf.Tensor) => tf.Tensor)[] = [
      (x) => x.reshape([1, 1024]),
      (x) => x.expandDims(0),
      (x) => x.slice([0], [1024]).expandDims(0),
      (x) => x.add(0).expandDims(0),
      (x) => tf.stack([x]),
      (x) => tf.concat([x.expandDims(0)]),
    ];
    for (const view of views) {
      const runner = compile<Frozen, Held, Batch, Metrics>(
        (_, __, { x }) => ({ state: { held: view(x) }, metrics: {} }),
        frozen,
        { cache },
      );
      open.push(runner);
      const zeros = { held: tf.zeros([1, 1024]) };
      runner.load(zeros);
      for (let i = 0; i < 3; i++) {
        const array = new Float32Array(1024).fill(5);
        const call = callOf(1);
        const x = tf.tensor1d(array);
        runner.run([{ ...call, batch: { x } }]);
        tree.dispose([call.batch, call.inputs, x]);
        array.fill(7);
        // The first step is an eager one.
        if (i === 0) continue;
        const read = runner.read();
        expect(new Set(read.held.dataSync())).toEqual(new Set([5]));
        tree.dispose(read);
      }
      tree.dispose(zeros);
    }
  });

  test('outlives a tf.tidy around it, and metrics do not', () => {
    const pair = both();
    tf.tidy(() => pair.load(start));
    for (const size of [4, 4, 3, 4]) {
      const alive = tf.memory().numTensors;
      tf.tidy(() => {
        pair.compiled.run([callOf(size)]);
      });
      expect(tf.memory().numTensors).toBeLessThanOrEqual(alive + 3);
    }
    tf.tidy(() => {
      expect(pair.compiled.read().count.dataSync()).toEqual(Int32Array.of(4));
    });
    pair.dispose();
  });

  test('is nothing before load and after dispose', () => {
    const runner = compile(step, frozen, { cache });
    const call = callOf();
    const nothing = () => {
      expect(() => runner.run([call])).toThrow(/call load first/);
      expect(() => runner.read()).toThrow(/call load first/);
    };
    nothing();
    runner.load(start);
    tree.dispose(runner.run([call, call]));
    runner.dispose();
    nothing();
    runner.load(start);
    tree.dispose(runner.run([call, call]));
    runner.dispose();
    tree.dispose([call.batch, Object.values(call.inputs)]);
  });

  test('on the disk is elsewhere where the cache is no place for it', () => {
    const file = join(cache, 'file');
    writeFileSync(file, 'not a folder');
    const pair = both(step, { cache: file });
    pair.load(start);
    pair.run(4);
    pair.run(4, 4, 3);
    pair.state();
    expect(pair.compiled.execution).toBe('graph');
    rmSync(file);
  });

  test('on the disk is one folder for one graph, however often it is made', () => {
    const own = mkdtempSync(join(tmpdir(), 'undistill-graphs-'));
    for (let i = 0; i < 3; i++) {
      const runner = compile(step, frozen, { cache: own });
      runner.load(start);
      taken(runner, 4, 4);
      runner.dispose();
    }
    expect(readdirSync(own).length).toBe(1);
    rmSync(own, { recursive: true });
  });
});
