import * as tf from '@tensorflow/tfjs';
import { normalByImage, standardNormal } from '../public/ops.js';
import { between, choice, defineDefense, option, positive } from '../public/plugin.js';

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
  presets: { toolbox: {} },
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

/**
 * A class at random gets ε/2 of the answer, the most likely one apart: y′ = (1 − ε/2) y + (ε/2) e_j, at an L1 distance of ε at most. What any
 * other way of spending the same ε must beat. It has an inverse: the share is known, and of a sure answer the class that got it shows.
 *
 * mmazeika/model-stealing-defenses f125dc3 (defenses.py, `random`), the control of GRAD² (Mazeika et al., ICML 2022).
 */
export const randomClass = defineDefense({
  name: 'randomClass',
  source: import.meta.url,
  about: 'A class at random gets a share of the answer: the control of other defences at the same L1 distance',
  paper: 'Mazeika et al., How to steer your adversary, ICML 2022 (its control)',
  options: {
    epsilon: option(between(0, 2), 0.5, 'ε, the L1 distance of the answer at most'),
    draw: option(choice('fresh', 'sticky'), 'fresh', 'Anew at every call, or once for the bytes of an image'),
  },
  exposes: 'probabilities',
  make: ({ epsilon, draw }) => ({
    recover: () => (answers: tf.Tensor2D) => withoutShare(answers, epsilon / 2),
    answers: {
      kind: 'random',
      answer: ({ logProbabilities, images, seed, secret }) => {
        const { shape } = logProbabilities;
        const drawn =
          draw === 'fresh' ? (standardNormal(shape, seed) as tf.Tensor2D) : normalByImage(images, shape[1], secret);
        return { logProbabilities: withShare(logProbabilities, drawn, epsilon / 2) };
      },
    },
  }),
});

/** (1 − s) y + s e_j, j the class of the largest number drawn, the most likely class apart; log-probabilities [batch, classes]. */
export const withShare = (logProbabilities: tf.Tensor2D, drawn: tf.Tensor2D, share: number): tf.Tensor2D => {
  const classes = logProbabilities.shape[1];
  const top = tf.cast(tf.oneHot(tf.argMax(logProbabilities, 1), classes), 'bool');
  const others = tf.where(top, Number.NEGATIVE_INFINITY, drawn) as tf.Tensor2D;
  const chosen = tf.oneHot(tf.argMax(others, 1), classes, share, 0, 'float32');
  return tf.log(tf.add<tf.Tensor2D>(tf.mul(tf.exp(logProbabilities), 1 - share), chosen));
};

/** By how much less sure an answer counts for each share of a probability that it would have below 0: rounding alone makes some. */
const lackCounts = 1e3;

/**
 * Clean answers to those of which a class at random was given a share: for each class the answer that was told less that share of it, if the class
 * is not its most likely one, and nothing in it below 0. Several may fit where the answer was unsure: the surest is taken. Exact to rounding for the
 * class that was drawn. Where none fits, or the share is all, the answer comes back as it is.
 *
 * @param answers log-probabilities [batch, classes]
 */
export const withoutShare = (answers: tf.Tensor2D, share: number): tf.Tensor2D => {
  if (share === 1) return answers;
  const classes = answers.shape[1];
  const told = tf.exp(answers) as tf.Tensor2D;
  const [top, second] = tf.split(tf.topk(told, 2).values, 2, 1) as [tf.Tensor2D, tf.Tensor2D];
  const isTop = tf.cast(tf.oneHot(tf.argMax(told, 1), classes), 'bool');
  // Of each class as the one drawn, what the most likely other one has, and what it has left itself.
  const most = tf.where(isTop, second, top);
  const left = tf.sub(told, share);
  const sure = tf.sub(most, tf.mul(tf.relu(tf.neg(left)), lackCounts));
  const fits = tf.where(tf.greaterEqual(most, left), sure, 0) as tf.Tensor2D;
  const clean = tf.relu(tf.sub(told, tf.oneHot(tf.argMax(fits, 1), classes, share, 0, 'float32')));
  const found = tf.log(tf.div(clean, tf.sum(clean, 1, true)));
  return tf.where(tf.greater(tf.max(fits, 1, true), 0), found, answers) as tf.Tensor2D;
};

/** Probabilities with something added to them: [batch, classes], as logarithms. */
export const disturbed = (logProbabilities: tf.Tensor2D, by: tf.Tensor2D): tf.Tensor2D => {
  const moved = tf.maximum(tf.add(tf.exp(logProbabilities), by), 0);
  const total = tf.sum(moved, 1, true);
  return tf.where(tf.greater(total, 0), tf.sub<tf.Tensor2D>(tf.log(moved), tf.log(total)), logProbabilities);
};
