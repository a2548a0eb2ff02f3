import * as tf from '@tensorflow/tfjs';
import { atLeast, defineDefense, option, positive } from '../public/plugin.js';
import { smallest, undoing } from './reverse-sigmoid-inverse.js';

/**
 * The reverse sigmoid (Lee et al., 2019): of each probability r_k = β (σ(γ logit y_k) − ½) is taken away, and the rest is made to sum
 * to 1; what would fall below 0 is 0. For β = γ = 1 each answer is uniform, whatever was asked: y − r is ½ for all classes.
 * Small and large probabilities change their order where the map is not monotone, so that the label is kept for small β alone.
 *
 * Yoruko-Tang/ModelGuard 0eb60fc (the defaults, for CIFAR-10), tribhuvanesh/prediction-poisoning 1ddff8b (bb_reversesigmoid.py), han-x-z's
 * On-Optimal-Disruption 005d402, and the Adversarial Robustness Toolbox, which cuts a logit at that of 1 − 10⁻⁹, as here. In
 * mmazeika/model-stealing-defenses f125dc3 (defenses.py:232) the odds of a probability are cut to below 1, so that nothing is taken of a class above
 * ½ and sure answers change in their tails alone: here they are as they are. Its β are 0, 0.0025, 0.005, 0.01, … 1.28, of which the presets
 * `redirection` have the largest, at γ 0.1 for CIFAR-10 and else 0.2.
 */
export const reverseSigmoid = defineDefense({
  name: 'reverseSigmoid',
  source: import.meta.url,
  about: 'A sigmoid of its logit is taken away from each probability',
  paper: 'Lee et al., Defending against neural network model stealing attacks using deceptive perturbations, 2019',
  options: {
    beta: option(atLeast(0), 0.21, 'β, how much is taken away'),
    gamma: option(positive, 0.2, 'γ, how steep the sigmoid is'),
  },
  presets: {
    modelGuardCifar10: {},
    modelGuardCifar100: { beta: 0.02 },
    modelGuardCub: { beta: 0.011 },
    modelGuardCaltech: { beta: 0.008 },
    predictionPoisoning: { beta: 1, gamma: 1 },
    toolbox: { beta: 1, gamma: 0.1 },
    redirectionCifar10: { beta: 1.28, gamma: 0.1 },
    redirection: { beta: 1.28, gamma: 0.2 },
    disruption: { beta: 0.8, gamma: 0.2 },
  },
  exposes: 'probabilities',
  make: ({ beta, gamma }) => ({
    recover: () => undoing(beta, gamma, (clean) => perturbed(clean, beta, gamma)),
    answers: {
      kind: 'pure',
      answer: ({ logProbabilities }) => ({ logProbabilities: perturbed(logProbabilities, beta, gamma) }),
    },
  }),
});

/**
 * Deceptive perturbation of unsure answers (Khaled et al., 2023): the reverse sigmoid times 1 / (1 + e^{1000 (max y − β)}), with one β for both:
 * an answer is changed where the largest probability is below β, and each of them where β is above 1.
 *
 * KacemKhaled/defending-extraction e7e6288 (df/defenses.py), which cuts the odds of a probability to below 1 and so leaves out r of all
 * classes above ½; here they are as they are.
 */
export const dcp = defineDefense({
  name: 'dcp',
  source: import.meta.url,
  about: 'The reverse sigmoid, on answers whose largest probability is below β',
  paper:
    'Khaled et al., Efficient defense against model stealing attacks on convolutional neural networks, 2023 (arXiv 2309.01838)',
  options: {
    beta: option(positive, 0.8, 'β, how much is taken away, and from which answers'),
    gamma: option(positive, 0.1, 'γ, how steep the sigmoid is'),
  },
  exposes: 'probabilities',
  make: ({ beta, gamma }) => ({
    recover: () => {
      const undo = undoing(beta, gamma, (clean) => perturbedUnsure(clean, beta, gamma));
      return (answers) => {
        // What is told as surer was not changed.
        const isUnsure = tf.less(tf.exp(tf.max(answers, 1, true)), beta);
        return tf.where(isUnsure, undo(answers), answers) as tf.Tensor2D;
      };
    },
    answers: {
      kind: 'pure',
      answer: ({ logProbabilities }) => ({ logProbabilities: perturbedUnsure(logProbabilities, beta, gamma) }),
    },
  }),
});

/** The largest logit: of 1 − 10⁻⁹, beyond which float32 tells probabilities from 1 no more. */
const sure = Math.log((1 - smallest) / smallest);

/** r / β of log-probabilities: σ(γ logit y) − ½. */
const pull = (logProbabilities: tf.Tensor2D, gamma: number): tf.Tensor2D => {
  const rest = tf.log1p(tf.neg(tf.minimum(tf.exp(logProbabilities), 1)));
  const logit = tf.clipByValue(tf.sub(logProbabilities, rest), -sure, sure);
  return tf.sub(tf.sigmoid(tf.mul(logit, gamma)), 0.5) as tf.Tensor2D;
};

/** (y − β (σ(γ logit y) − ½)) / Σ, of log-probabilities [batch, classes]; where nothing is left, the answer as it is. */
export const perturbed = (logProbabilities: tf.Tensor2D, beta: number | tf.Tensor, gamma: number): tf.Tensor2D => {
  const left = tf.relu(tf.sub(tf.exp(logProbabilities), tf.mul(pull(logProbabilities, gamma), beta)));
  const total = tf.sum(left, 1, true);
  return tf.where(tf.greater(total, 0), tf.log(tf.div<tf.Tensor2D>(left, total)), logProbabilities);
};

/** The same where the largest probability is below β, and else the answer as it is. */
const perturbedUnsure = (logProbabilities: tf.Tensor2D, beta: number, gamma: number): tf.Tensor2D => {
  const most = tf.exp(tf.max(logProbabilities, 1, true));
  const unsure = tf.sigmoid(tf.mul(tf.sub(beta, most), 1000));
  return perturbed(logProbabilities, tf.mul(unsure, beta), gamma);
};
