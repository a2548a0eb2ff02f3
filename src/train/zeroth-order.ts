import * as tf from '@tensorflow/tfjs';
import { anotherSeed, standardNormal } from '../engine/ops.js';
import { unrecorded } from './gradient.js';

/** How finely a gradient is estimated, and by which random directions. */
export interface ForwardDifferences {
  /** Directions in which the function is tried, each one more evaluation. Default 1. */
  readonly directions?: number;
  /** The length of a step in one. Default 1e-3. */
  readonly epsilon?: number;
  /** int32 [2]. */
  readonly seed: tf.Tensor1D;
}

/**
 * The gradient of a function that can only be evaluated, estimated row by row by forward differences along random directions:
 * (1/m) Σ_j d · (f(x + ε u_j) − f(x)) / ε · u_j, with u_j uniform on the unit sphere of the row's d numbers.
 *
 * DFME's estimator (Truong et al., CVPR 2021; cake-lab/datafree-model-extraction, approximate_gradients.py), before what that code
 * divides it by. The paper is said to have it without the factor d.
 *
 * float32 is enough where f is about 1 and ε is 1e-3: the difference is then known to about 6e-5 of its quotient. Answers in half precision, or
 * rounded ones, make it noise.
 *
 * @param f rows to numbers: [batch, …] -> [batch]
 * @param x [batch, …]
 * @returns the gradient, of the shape of x; f at x, [batch]; and the share of tries that changed nothing in f. No gradient flows through them.
 */
export const forwardDifferences = <T extends tf.Tensor>(
  f: (x: T) => tf.Tensor1D,
  x: T,
  { directions = 1, epsilon = 1e-3, seed }: ForwardDifferences,
): { readonly gradient: T; readonly value: tf.Tensor1D; readonly unchanged: tf.Scalar } =>
  unrecorded(() => {
    const [batch] = x.shape as [number];
    const size = x.size / batch;
    const value = f(x);
    const still: tf.Tensor[] = [];
    const rows = [batch, size] as const;
    const estimates = Array.from({ length: directions }, (_, j) => {
      const normal = standardNormal(rows, anotherSeed(seed, j)) as tf.Tensor2D;
      const direction = tf.div(normal, tf.norm(normal, 'euclidean', 1, true));
      const there = f(tf.add(x, tf.reshape(tf.mul(direction, epsilon), x.shape)) as T);
      const difference = tf.sub(there, value);
      still.push(tf.mean(tf.equal(difference, 0).cast('float32')));
      const slope = tf.mul(difference, size / (epsilon * directions));
      return tf.mul(direction, tf.expandDims(slope, 1));
    });
    return {
      gradient: tf.reshape(tf.addN(estimates), x.shape) as T,
      value,
      unchanged: tf.mean(tf.stack(still)) as tf.Scalar,
    };
  });
