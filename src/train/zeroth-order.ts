import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import { engine } from '../engine/engine.js';
import type { CardPrecision } from '../engine/execution.js';
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
 * The function's values [batch]; and the black box's answers to each row [batch, n], where it computes them from such.
 */
export type Evaluated = tf.Tensor1D | { readonly value: tf.Tensor1D; readonly answers: tf.Tensor2D };

export interface Estimated<T extends tf.Tensor> {
  /** Of the shape of x. */
  readonly gradient: T;
  /** At x, [batch]. */
  readonly value: tf.Tensor1D;
  /** The black box's answers at x, [batch, n]; the values [batch, 1] where none are given. */
  readonly answers: tf.Tensor2D;
  /** The share of tries, 0 … 1, that changed nothing in an answer, or in the value where no answers are given. */
  readonly unchanged: tf.Scalar;
}

/**
 * The gradient of a function that can only be evaluated, estimated row by row by forward differences along random
 * directions: (1/m) Σ_j d · (f(x + ε u_j) − f(x)) / ε · u_j, with u_j uniform on the unit sphere of the row's d
 * numbers.
 *
 * DFME's estimator (Truong et al., CVPR 2021; cake-lab/datafree-model-extraction, approximate_gradients.py), before
 * what that code divides it by. The paper is said to have it without the factor d.
 *
 * float32 is enough where f is about 1 and ε is 1e-3: the difference is then known to about 6e-5 of its quotient.
 * Answers in half precision, or rounded ones, make it noise, and so does TF32, in which it is refused.
 *
 * @param f rows to numbers: [batch, …] -> [batch]; with the answers that it computes them from, where it does
 * @param x [batch, …]
 * @returns no gradient flows through it
 */
export const forwardDifferences = <T extends tf.Tensor>(
  f: (x: T) => Evaluated,
  x: T,
  { directions = 1, epsilon = 1e-3, seed }: ForwardDifferences,
): Estimated<T> => {
  refuseRounded(engine().precision);
  return unrecorded(() => {
    const [batch] = x.shape as [number];
    const drawn = Array.from({ length: directions }, (_, j) => {
      const normal = standardNormal([batch, x.size / batch], anotherSeed(seed, j)) as tf.Tensor2D;
      return tf.div<tf.Tensor2D>(normal, tf.norm(normal, 'euclidean', 1, true));
    });
    return differencesAlong(drawn, f, x, epsilon);
  });
};

/** Throws a failure of kind `engine` where products are rounded to ten bits: a difference of 1e-3 is then lost in them. */
export const refuseRounded = (precision: CardPrecision): void => {
  if (precision === 'tf32')
    throw new FailureError(
      failure('engine', 'a gradient by forward differences is noise where a graphics card multiplies in TF32', {
        remedy: 'Run with --precision float32.',
      }),
    );
};

/** `forwardDifferences` along given directions, [batch, d] each, rows of length 1. */
export const differencesAlong = <T extends tf.Tensor>(
  directions: readonly tf.Tensor2D[],
  f: (x: T) => Evaluated,
  x: T,
  epsilon: number,
): Estimated<T> => {
  const here = evaluated(f(x));
  const tries = directions.map((direction) => {
    const there = evaluated(f(tf.add(x, tf.reshape(tf.mul(direction, epsilon), x.shape)) as T));
    const slope = tf.mul(tf.sub(there.value, here.value), direction.shape[1] / (epsilon * directions.length));
    return {
      estimate: tf.mul(direction, tf.expandDims(slope, 1)),
      still: tf.all(tf.equal(there.answers, here.answers), 1).cast('float32'),
    };
  });
  return {
    gradient: tf.reshape(tf.addN(tries.map(({ estimate }) => estimate)), x.shape) as T,
    value: here.value,
    answers: here.answers,
    unchanged: tf.mean<tf.Scalar>(tf.stack(tries.map(({ still }) => still))),
  };
};

const evaluated = (of: Evaluated): Exclude<Evaluated, tf.Tensor> =>
  of instanceof tf.Tensor ? { value: of, answers: tf.expandDims(of, 1) } : of;
