import * as tf from '@tensorflow/tfjs';
import { normalByImage, standardNormal } from '../public/ops.js';
import { choice, defineDefense, option, positive } from '../public/plugin.js';

/**
 * Gaussian noise on the probabilities, which are kept from falling below 0 and rescaled to sum to 1. Where nothing is
 * left, the answer is given as it is.
 *
 * `fresh` noise is drawn at every call, so that many calls average out; `sticky` noise belongs to the image's bytes, so
 * that only changed copies of an image do.
 *
 * The Adversarial Robustness Toolbox's post-processor (`art/defences/postprocessor/gaussian_noise.py`), of which 0.2 is
 * the default.
 */
export const gaussianNoise = defineDefense({
  name: 'gaussianNoise',
  source: import.meta.url,
  about: 'Gaussian noise on the probabilities, drawn at every call or once for an image',
  paper: 'The Adversarial Robustness Toolbox, art/defences/postprocessor/gaussian_noise.py',
  options: {
    sd: option(positive, 0.2, 'Standard deviation of the noise on each probability'),
    draw: option(choice('fresh', 'sticky'), 'fresh', 'Anew at every call, or once for the bytes of an image'),
  },
  exposes: 'probabilities',
  make: ({ sd, draw }) => ({
    answers: {
      kind: 'random',
      answer: ({ logProbabilities, images, seed, secret }) => {
        const { shape } = logProbabilities;
        const noise =
          draw === 'fresh' ? (standardNormal(shape, seed) as tf.Tensor2D) : normalByImage(images, shape[1], secret);
        return { logProbabilities: disturbed(logProbabilities, tf.mul(noise, sd)) };
      },
    },
  }),
});

/** Probabilities with something added to them: [batch, classes], as logarithms. */
export const disturbed = (logProbabilities: tf.Tensor2D, by: tf.Tensor2D): tf.Tensor2D => {
  const moved = tf.maximum(tf.add(tf.exp(logProbabilities), by), 0);
  const total = tf.sum(moved, 1, true);
  return tf.where(tf.greater(total, 0), tf.sub<tf.Tensor2D>(tf.log(moved), tf.log(total)), logProbabilities);
};
