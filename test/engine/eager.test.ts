import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Tree } from '../../src/core/tree.js';
import { eager } from '../../src/engine/eager.js';
import { loadEngine } from '../../src/engine/engine.js';
import type { Run, Step, StepInputs } from '../../src/engine/step.js';

beforeAll(async () => {
  await loadEngine();
});

type State = { readonly w: tf.Tensor; readonly copy: tf.Tensor; readonly still: readonly tf.Tensor[] };
type Frozen = { readonly scale: tf.Tensor };
type Batch = { readonly x: tf.Tensor };
type Metrics = { readonly sum: tf.Tensor; readonly x: tf.Tensor; readonly w: tf.Tensor };

/** w ← w + scale · x; one leaf is unchanged, two are one tensor, one metric is a tensor of the batch and one of the state. */
const step: Step<Frozen, State, Batch, Metrics> = ({ scale }, { w, still }, { x }, { learningRate }) => {
  const next = tf.add(w, tf.mul(tf.mul(scale, x), learningRate));
  return { state: { w: next, copy: next, still }, metrics: { sum: tf.sum(next), x, w } };
};

let frozen: Frozen;
let batch: Batch;
let inputs: StepInputs;
let start: State;
let before: number;

beforeEach(() => {
  before = tf.memory().numTensors;
  frozen = { scale: tf.scalar(2) };
  batch = { x: tf.tensor1d([1, 10]) };
  inputs = { learningRate: tf.scalar(0.5), seed: tf.tensor1d([1, 2], 'int32') };
  start = { w: tf.tensor1d([0, 0]), copy: tf.tensor1d([0, 0]), still: [tf.scalar(4)] };
});

afterEach(() => {
  tf.dispose([frozen, batch, inputs, start] as unknown as tf.TensorContainer);
  // Holds for every test: with its runner disposed of, nothing is left.
  expect(tf.memory().numTensors).toBe(before);
});

const values = (tensor: tf.Tensor) => Array.from(tensor.dataSync());

/** One step on the batch. */
const once = <M extends Tree>({ run }: { readonly run: Run<Batch, M> }): M => run([{ batch, inputs }])[0] as M;

describe('a runner that calls operations one by one', () => {
  test('steps, and gives metrics and state', () => {
    const runner = eager(step, frozen);
    runner.load(start);
    for (const expected of [11, 22, 33]) {
      const metrics = once(runner);
      expect(values(metrics.sum)).toEqual([expected]);
      tf.dispose(metrics);
    }
    const state = runner.read();
    expect(values(state.w)).toEqual([3, 30]);
    expect(values(state.copy)).toEqual([3, 30]);
    expect(values(state.still[0] as tf.Tensor)).toEqual([4]);
    tf.dispose(state as unknown as tf.TensorContainer);
    runner.dispose();
  });

  test('takes several steps at once, and other steps on the same state in between', () => {
    const runner = eager(step, frozen);
    const looking = runner.also<Batch, { readonly w: tf.Tensor }>((_, state) => ({ state, metrics: { w: state.w } }));
    runner.load(start);
    const look = () => {
      const [metrics] = looking([{ batch, inputs }]) as [{ readonly w: tf.Tensor }];
      const seen = values(metrics.w);
      tf.dispose(metrics);
      return seen;
    };
    const metrics = runner.run(Array(3).fill({ batch, inputs }));
    expect(metrics.map(({ sum }) => values(sum))).toEqual([[11], [22], [33]]);
    expect(look()).toEqual([3, 30]);
    expect(runner.run([])).toEqual([]);
    expect(look()).toEqual([3, 30]);
    tf.dispose(metrics as unknown as tf.TensorContainer);
    runner.dispose();
  });

  test('holds as many tensors after 20 steps as after one', () => {
    const runner = eager(step, frozen);
    runner.load(start);
    const counts = Array.from({ length: 20 }, () => {
      tf.dispose(once(runner));
      return tf.memory().numTensors;
    });
    expect(new Set(counts).size).toBe(1);
    runner.dispose();
  });

  test('load and read copy: neither side disposes of the other', () => {
    const runner = eager(step, frozen);
    const own = { w: tf.tensor1d([5, 5]), copy: tf.tensor1d([5, 5]), still: [tf.scalar(4)] };
    runner.load(own);
    tf.dispose(own);
    const read = runner.read();
    tf.dispose(once(runner));
    expect(values(read.w)).toEqual([5, 5]);
    tf.dispose(read as unknown as tf.TensorContainer);
    const again = runner.read();
    expect(values(again.w)).toEqual([6, 15]);
    tf.dispose(again as unknown as tf.TensorContainer);
    runner.load(start);
    runner.dispose();
    runner.dispose();
    expect(values(start.w)).toEqual([0, 0]);
  });

  test('two leaves of the loaded state that are one tensor are told apart', () => {
    const runner = eager(step, frozen);
    const zero = tf.tensor1d([0, 0]);
    runner.load({ w: zero, copy: zero, still: [zero] });
    zero.dispose();
    tf.dispose(once(runner));
    tf.dispose(once(runner));
    runner.dispose();
  });

  test('batch, frozen part and inputs are borrowed, metrics are the caller’s', () => {
    const runner = eager(step, frozen);
    runner.load(start);
    const metrics = once(runner);
    runner.dispose();
    expect(values(metrics.w)).toEqual([0, 0]);
    tf.dispose(metrics);
    expect(values(batch.x)).toEqual([1, 10]);
    expect(values(frozen.scale)).toEqual([2]);
  });

  test('inside tf.tidy the state outlives the scope and the metrics do not', () => {
    const runner = eager(step, frozen);
    tf.tidy(() => runner.load(start));
    const metrics = tf.tidy(() => {
      once(runner);
      return [once(runner).sum];
    });
    expect(values(metrics[0] as tf.Tensor)).toEqual([22]);
    tf.dispose(metrics);
    runner.dispose();
  });

  test('a step that throws leaves the state as it was, and nothing else', () => {
    let broken = true;
    const runner = eager<Frozen, State, Batch, Metrics>((...given) => {
      const result = step(...given);
      if (broken) throw new Error('a plugin');
      return result;
    }, frozen);
    runner.load(start);
    const held = tf.memory().numTensors;
    expect(() => once(runner)).toThrow('a plugin');
    expect(tf.memory().numTensors).toBe(held);
    broken = false;
    const metrics = once(runner);
    expect(values(metrics.sum)).toEqual([11]);
    tf.dispose(metrics);
    runner.dispose();
  });

  test.each([
    ['another path', { a: 1, c: 1 }, /lost b: float32 \[\] and gained c: float32 \[\]/],
    ['a path more', { a: 1, b: 1, c: 1 }, /lost nothing and gained c: float32 \[\]/],
    ['a path less', { a: 1 }, /lost b: float32 \[\] and gained nothing/],
    ['another shape', { a: 1, b: [1, 2] }, /lost b: float32 \[\] and gained b: float32 \[2\]/],
  ])('a new state with %s is refused', (_, next, message) => {
    const runner = eager<Frozen, { readonly [name: string]: tf.Tensor }, Batch, Record<string, tf.Tensor>>(
      () => ({
        state: Object.fromEntries(Object.entries(next).map(([name, value]) => [name, tf.tensor(value)])),
        metrics: {},
      }),
      frozen,
    );
    const state = { a: tf.scalar(0), b: tf.scalar(0) };
    runner.load(state);
    expect(() => once(runner)).toThrow(message);
    runner.dispose();
    tf.dispose(state);
  });

  test('before load there is nothing to run', () => {
    const runner = eager(step, frozen);
    expect(() => once(runner)).toThrow(/call load first/);
    expect(() => runner.read()).toThrow(/call load first/);
  });
});
