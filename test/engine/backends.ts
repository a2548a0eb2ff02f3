import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeEach } from 'vitest';

/** Runs each test around on this backend, in a scope of its own; TensorFlow's comes back after it. */
export const useBackend = (backend: string): void => {
  beforeEach(async () => {
    await tf.setBackend(backend);
    tf.engine().startScope();
  });
  afterEach(async () => {
    tf.engine().endScope();
    await tf.setBackend('tensorflow');
  });
};
