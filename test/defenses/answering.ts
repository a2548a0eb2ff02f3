import * as tf from '@tensorflow/tfjs';
import { standardNormal } from '../../src/engine/ops.js';
import type { Answers, Query, Wrapper } from '../../src/train/oracle.js';

/** A defence's answers on the way to an attacker, without anything prepared. */
export const wrapper = (name: string, answers: Answers, more: Partial<Wrapper> = {}): Wrapper => ({
  name,
  answers,
  prepared: {},
  ...more,
});

/** Log-probabilities that something was added to, normalised again. */
const moved = (logProbabilities: tf.Tensor2D, by: tf.Tensor): tf.Tensor2D => {
  const sum = tf.add<tf.Tensor2D>(logProbabilities, by);
  return tf.sub<tf.Tensor2D>(sum, tf.logSumExp(sum, 1, true));
};

const noiseOf = ({ logProbabilities: { shape } }: Pick<Query, 'logProbabilities'>, seed: tf.Tensor1D) =>
  tf.mul(standardNormal(shape, seed), 0.3);

/** Noise that is drawn afresh at every call. */
export const fresh = wrapper('fresh', {
  kind: 'random',
  answer: (query) => ({ logProbabilities: moved(query.logProbabilities, noiseOf(query, query.seed)) }),
});

/** Noise that is the same in every call. */
export const sticking = wrapper('sticking', {
  kind: 'random',
  answer: (query) => ({ logProbabilities: moved(query.logProbabilities, noiseOf(query, query.secret)) }),
});

/** One that says that it is slow. */
export const slow = (part: Wrapper): Wrapper => ({ ...part, answers: { ...part.answers, slow: true } });

/** The more was asked, the more it favours the first class; it remembers the number of images and their mean brightness. */
export const tiring = wrapper('tiring', {
  kind: 'stateful',
  init: () => ({ seen: tf.scalar(0, 'int32'), light: tf.scalar(0) }),
  answer: ({ logProbabilities, images, state }) => {
    const { seen, light } = state as { readonly seen: tf.Scalar; readonly light: tf.Scalar };
    const [rows, classes] = logProbabilities.shape;
    const first = tf.oneHot(tf.zeros([1], 'int32'), classes).cast('float32');
    return {
      logProbabilities: moved(logProbabilities, tf.mul(first, tf.add(tf.mul(seen.cast('float32'), 0.01), light))),
      state: {
        seen: tf.add(seen, tf.scalar(rows, 'int32')),
        light: tf.add(tf.mul(light, 0.5), tf.mul(tf.mean(images), 0.5)),
      },
    };
  },
});

/** The classes in turn: the k-th is called the k+1-th. */
export const turning = wrapper('turning', {
  kind: 'pure',
  answer: ({ logProbabilities }) => {
    const [rows, classes] = logProbabilities.shape;
    const last = tf.slice(logProbabilities, [0, classes - 1], [rows, 1]);
    return { logProbabilities: tf.concat([last, tf.slice(logProbabilities, [0, 0], [rows, classes - 1])], 1) };
  },
});
