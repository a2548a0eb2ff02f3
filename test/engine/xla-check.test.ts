import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import * as tree from '../../src/core/tree.js';
import { takenBothWays } from '../../src/engine/xla-check.js';

let before: number;
beforeEach(() => {
  before = tf.memory().numTensors;
});
afterEach(() => {
  // Whatever came of it, nothing is left.
  expect(tf.memory().numTensors).toBe(before);
});

type State = { readonly weights: tf.Tensor };
type Metrics = { readonly loss: tf.Tensor };

/** A step w ← w + 1 that notes Σ w, of which XLA makes something else. */
const bothWays = (byXla: (weights: tf.Tensor) => { readonly next: tf.Tensor; readonly loss: tf.Tensor }) => {
  let weights = tf.tensor1d([1, 2, 3]) as tf.Tensor;
  const leave = (next: tf.Tensor): void => {
    weights.dispose();
    weights = next;
  };
  const found = takenBothWays<State, Metrics>({
    take: (xla) => {
      const plainly = () => ({ next: tf.add(weights, 1), loss: tf.sum(weights) });
      const { next, loss } = tf.tidy(() => (xla ? byXla(weights) : plainly()));
      leave(next);
      return { loss };
    },
    read: () => ({ weights: weights.clone() }),
    write: (state) => leave(state.weights.clone()),
  });
  const numbers = { weights: [...weights.dataSync()], loss: found.metrics.loss.dataSync()[0], unfit: found.unfit };
  tree.dispose([weights, found.metrics]);
  return numbers;
};

test('a step that XLA takes alike, but for rounding, is XLA’s', () => {
  const alike = bothWays((weights) => ({ next: tf.add(weights, 1.01), loss: tf.mul(tf.sum(weights), 1.001) }));
  expect(alike.unfit).toBeUndefined();
  expect(alike.weights[0]).toBeCloseTo(2.01);
  expect(alike.loss).toBeCloseTo(6.006);
});

const plain = { weights: [2, 3, 4], loss: 6 };

test.each<[string, Parameters<typeof bothWays>[0], string]>([
  ['another state', (weights) => ({ next: tf.add(weights, 2), loss: tf.sum(weights) }), 'XLA computes another weights'],
  ['another metric', (weights) => ({ next: tf.add(weights, 1), loss: tf.mean(weights) }), 'XLA computes another loss'],
  ['no number', (weights) => ({ next: tf.add(weights, 1), loss: tf.scalar(Number.NaN) }), 'XLA computes another loss'],
  [
    'nothing',
    () => {
      throw new Error('no such operation\nand more');
    },
    'XLA does not compile the step: no such operation',
  ],
])('a step of which XLA makes %s is the plain graph’s, and it is said why', (_, byXla, unfit) => {
  expect(bothWays(byXla)).toEqual({ ...plain, unfit });
});
