import * as tf from '@tensorflow/tfjs';
import { between, defineDefense, option, positive } from '../public/plugin.js';
import { dispose } from '../public/train.js';
import { scaledSurrogate, shifted, slopeOf, surrogateOf, surrogateOptions } from './surrogate.js';

/**
 * Gradient redirection (Mazeika et al., GRAD², ICML 2022): within an L1 distance of ε, the answer whose gradient in a surrogate of the
 * attacker's student points most along the direction of all ones. The class whose log-probability rises fastest in that direction is given
 * min(1 − y, ε/2), which is taken from those where it rises least, none below 0.
 *
 * mmazeika/model-stealing-defenses f125dc3 (batch_training/defenses.py, ALL-ONES) has the Jacobian for that; here the surrogate is
 * evaluated with all its weights a little larger and a little smaller, which gives the same order of classes, for two forward
 * passes. The surrogate learns there on a transfer set of other images, and here on the victim's training images. The paper's is one that had learnt for 10 epochs of 50; here `short` learns for 10 by the whole of its schedule. The released answer has a
 * floor of 10⁻¹⁵, which softening would make much of: here what is taken is 0. The label is not kept: see `keepArgmax`.
 */
export const grad2 = defineDefense({
  name: 'grad2',
  source: import.meta.url,
  about: "Within an L1 distance, the answer that turns a surrogate's gradient towards one direction for all",
  paper: 'Mazeika et al., How to steer your adversary: Targeted and efficient model stealing defenses, ICML 2022',
  options: {
    epsilon: option(between(0, 2), 0.5, 'ε, the largest L1 distance from the clean answer'),
    ...surrogateOptions,
    shift: option(positive, 1e-3, 'h, by which all weights are moved'),
  },
  presets: { short: { surrogateEpochs: 10 }, mnistSmall: { surrogateEpochs: 2 } },
  scaled: scaledSurrogate,
  exposes: 'probabilities',
  make: ({ epsilon, shift, ...options }) => ({
    preparedBy: { ...options, shift },
    prepare: async (teacher, context) => {
      const learnt = await surrogateOf(options, teacher, context);
      const copies = shifted(learnt, () => tf.scalar(1), shift);
      dispose(learnt);
      return copies;
    },
    answers: {
      kind: 'pure',
      slow: true,
      answer: ({ logProbabilities, prepared, ...query }) => {
        const slope = slopeOf(options, query, prepared, shift);
        return { logProbabilities: tf.log(redirected(tf.exp(logProbabilities), slope, epsilon)) };
      },
    },
  }),
});

/**
 * y with min(1 − y, ε/2) more for the class of the largest d, which is taken from the classes of the smallest d on, none below 0.
 *
 * @param y probabilities [batch, classes]
 * @param d [batch, classes]
 */
export const redirected = (y: tf.Tensor2D, d: tf.Tensor2D, epsilon: number): tf.Tensor2D => {
  const [batch, classes] = y.shape;
  // In the order of d, from the largest to the smallest: [batch, 1, classes], and the way there and back.
  const order = tf.oneHot(tf.topk(d, classes).indices, classes, 1, 0, 'float32') as tf.Tensor3D;
  // By sums, which no graphics card rounds.
  const sorted = tf.expandDims(tf.sum(tf.mul(order, tf.expandDims(y, 1)), 2), 1);
  const [first, others] = tf.split(sorted, [1, classes - 1], 2) as [tf.Tensor3D, tf.Tensor3D];
  const gain = tf.minimum(tf.sub(1, first), epsilon / 2);
  const lost = tf.minimum(tf.relu(tf.sub(gain, tf.cumsum(others, 2, true, true))), others);
  const moved = tf.concat([tf.add(first, tf.sum(lost, 2, true)), tf.sub(others, lost)], 2) as tf.Tensor3D;
  return tf.sum(tf.mul(order, tf.reshape(moved, [batch, classes, 1])), 1);
};
