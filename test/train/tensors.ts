import * as tf from '@tensorflow/tfjs';
import { expect } from 'vitest';

/** Values of a tensor on the JavaScript side. */
export const values = (tensor: tf.Tensor): number[] => Array.from(tensor.dataSync());

export const expectClose = (actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 1e-5): void => {
  expect(actual.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [actual[i] as number, expected[i] as number];
    const near = a === e || Math.abs(a - e) <= tolerance * Math.max(1, Math.abs(e));
    expect(near, `at ${i}: ${a} is not within ${tolerance} of ${e}`).toBe(true);
  }
};

/** Tensors that `body` leaves behind, beyond what it returns. */
export const leaked = (body: () => tf.TensorContainer): number => {
  const before = tf.memory().numTensors;
  const result = body();
  tf.dispose(result);
  return tf.memory().numTensors - before;
};

/** Numbers that look random and are the same everywhere: in (−scale, scale). */
export const wave = (n: number, phase = 0, scale = 1): number[] =>
  Array.from({ length: n }, (_, i) => scale * Math.sin(12.9898 * (i + 1) + 78.233 * phase));
