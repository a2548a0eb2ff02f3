import * as tf from '@tensorflow/tfjs';
import { rows } from '../public/ops.js';
import { atLeast, defineDefense, option, positive } from '../public/plugin.js';

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
    recover: () => (answers) => undone(answers, beta, gamma),
    answers: {
      kind: 'pure',
      answer: ({ logProbabilities }) => ({ logProbabilities: perturbed(logProbabilities, beta, gamma) }),
    },
  }),
});

/**
 * Deceptive perturbation of unsure answers (Khaled et al., 2023): the reverse sigmoid times 1 / (1 + e^{1000 (max y − β)}), with one β for both:
 * an answer is changed where the largest probability is below β.
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
    recover: () => (answers) => {
      // What was changed was unsure, and still is; where the clean answer comes out as sure, it was not changed.
      const clean = undone(answers, beta, gamma);
      const isUnsure = tf.less(tf.exp(tf.max(clean, 1, true)), beta);
      return tf.where(isUnsure, clean, answers) as tf.Tensor2D;
    },
    answers: {
      kind: 'pure',
      answer: ({ logProbabilities }) => {
        const most = tf.exp(tf.max(logProbabilities, 1, true));
        const unsure = tf.sigmoid(tf.mul(tf.sub(beta, most), 1000));
        return { logProbabilities: perturbed(logProbabilities, tf.mul(unsure, beta), gamma) };
      },
    },
  }),
});

/** The largest logit: of 1 − 10⁻⁹, beyond which float32 tells probabilities from 1 no more. */
const sure = Math.log((1 - 1e-9) / 1e-9);

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

/** Places at which the inverse of the map is known. */
const places = 4096;

/** The sum is looked for in so many rounds, in each of which what is left is cut into so many sections. */
const [rounds, sections] = [6, 16];

/** h(v) = v − β (σ(γ logit v) − ½). */
const mapped = (v: number, beta: number, gamma: number): number => {
  const sigmoid = v === 0 ? 0 : v === 1 ? 1 : 1 / (1 + ((1 - v) / v) ** gamma);
  return v - beta * (sigmoid - 0.5);
};

/** Where h rises around ½, from its least to its largest value there; undefined where it does not. */
const risingPart = (beta: number, gamma: number): readonly [number, number] | undefined => {
  const step = 1 / places;
  const rises = (v: number): boolean => mapped(v + step, beta, gamma) > mapped(v, beta, gamma) + 1e-12;
  let [low, high] = [0.5, 0.5];
  while (low > 0 && rises(low - step)) low -= step;
  while (high < 1 && rises(high)) high += step;
  return high - low < 2 * step ? undefined : [low, high];
};

/** h⁻¹ at equal distances from h's least to its largest value where it rises. */
const inverseTable = ([low, high]: readonly [number, number], beta: number, gamma: number): Float32Array => {
  const [least, most] = [mapped(low, beta, gamma), mapped(high, beta, gamma)];
  return Float32Array.from({ length: places + 1 }, (_, i) => {
    const wanted = least + ((most - least) * i) / places;
    let [from, to] = [low, high];
    for (let step = 0; step < 50; step++) {
      const half = (from + to) / 2;
      if (mapped(half, beta, gamma) < wanted) from = half;
      else to = half;
    }
    return (from + to) / 2;
  });
};

/**
 * The clean answer to a perturbed one: the y with Σ y_k = 1 and h(y_k) = s y′_k, where h(v) = v − r(v) and s is the sum that was divided
 * by. h is taken where it rises, around ½: a probability nearer to 0 or 1 than that has a mirror there, which comes back in its place, so that
 * very sure answers come back less sure. An answer that is the same whatever was asked comes back as it is.
 */
export const undone = (answers: tf.Tensor2D, beta: number, gamma: number): tf.Tensor2D => {
  const part = risingPart(beta, gamma);
  if (part === undefined) return answers;
  const [least, most] = part.map((v) => mapped(v, beta, gamma)) as [number, number];
  const density = places / (most - least);
  const known = inverseTable(part, beta, gamma);
  const table = tf.tensor1d(known);
  const slopes = tf.tensor1d(known.map((value, i) => (known[i + 1] ?? value) - value));
  const inverse = (of: tf.Tensor): tf.Tensor => {
    const at = tf.clipByValue(tf.sub(tf.mul(of, density), density * least), 0, places);
    const below = tf.floor(at);
    const index = tf.reshape(tf.cast(below, 'int32'), [-1]) as tf.Tensor1D;
    const entry = (from: tf.Tensor1D) => tf.reshape(rows(from, index), of.shape);
    return tf.add(entry(table), tf.mul(tf.sub(at, below), entry(slopes)));
  };
  const told = tf.expandDims(tf.exp(answers), 1);
  const [batch, classes] = answers.shape;
  // The largest sum with which the clean answer's probabilities are at most 1 together.
  let [sum, width]: [tf.Tensor, number] = [tf.zeros([batch, 1, 1]), 1 + beta * classes];
  for (let round = 0; round < rounds; round++) {
    width /= sections;
    const tried = Float32Array.from({ length: sections - 1 }, (_, i) => (i + 1) * width);
    const totals = tf.sum(inverse(tf.mul(told, tf.add(sum, tf.tensor3d(tried, [1, sections - 1, 1])))), 2, true);
    const fitting = tf.sum(tf.cast(tf.lessEqual(totals, 1), 'float32'), 1, true);
    sum = tf.add(sum, tf.mul(fitting, width));
  }
  const clean = tf.squeeze(inverse(tf.mul(told, sum)), [1]);
  return tf.log(tf.div(clean, tf.sum(clean, 1, true))) as tf.Tensor2D;
};
