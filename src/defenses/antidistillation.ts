import * as tf from '@tensorflow/tfjs';
import { atLeast, between, choice, defineDefense, option, positive, wholeAtLeast, yesOrNo } from '../public/plugin.js';
import { dispose } from '../public/train.js';
import {
  meanGradient,
  saysOf,
  scaledSurrogate,
  shifted,
  slopeOf,
  surrogateFor,
  surrogateOf,
  surrogateOptions,
} from './surrogate.js';

/** By how much the most likely class leads at least, of logits; and as a share of how far it led, which is more than float32 rounds. */
const lead = 0.01;
const leadingShare = 1e-5;

/**
 * Antidistillation sampling (2025), for classifiers: to each logit is added λ Δ_k, Δ_k how much the loss of a proxy student on
 * held-out images would rise by learning class k of this image: its logits' derivative along the mean gradient of that loss.
 * The answer is softmax((z + λ Δ) / τ).
 *
 * - `ads`: as it is;
 * - `cts`: first z / T with T = 1 + a max(0, max y − ϑ), and Δ of all but the most likely class: sure answers say more of the others;
 * - `adsC`: of each image as much of λ as leaves the most likely class ahead: at most (z_m − z_k − 0.01) / (Δ_k − Δ_m) for each k with Δ_k > Δ_m, and
 *   nothing where it leads by less than 0.01.
 *
 * The proxy is by default a net like the teacher's, trained on the same images: the best case for the defence. `surrogate` names another.
 *
 * `ads` is locuslab/antidistillation-sampling 8b79c72, where Δ is a difference of step ε 0.01 along the gradient as it is, τ is 0.9, and λ is one of 20
 * from 0 to 0.15 (`released` has the largest), for language models: the gradient is not normalised, and that λ changes next to nothing of a small net's answers. The Distillation Game's code multiplies λ by τ. The formulas of
 * the other two are not public: these are ours, after what is told of them (arXiv 2607.15467, and a thesis on the former).
 */
export const antidistillation = defineDefense({
  name: 'antidistillation',
  source: import.meta.url,
  about: 'Logits moved by how much learning each class would harm a proxy student',
  paper: 'Antidistillation sampling, 2025; Ullah and Khojasteh, for classifiers (arXiv 2607.15467)',
  options: {
    variant: option(choice('ads', 'cts', 'adsC'), 'adsC', 'Which of the three'),
    lambda: option(atLeast(0), 0.05, 'λ, how far logits are moved'),
    ...surrogateOptions,
    step: option(positive, 0.01, 'ε, of the difference along the gradient'),
    temperature: option(positive, 1, 'τ of the answer; 0.9 in the code for language models'),
    slope: option(atLeast(0), 5, 'a, how fast the temperature of `cts` grows'),
    threshold: option(between(0, 1), 0.8, 'ϑ, from which probability on it grows'),
    images: option(
      wholeAtLeast(1),
      1000,
      'Held-out images that the gradient is of; training images where none are held out',
    ),
  },
  presets: { released: { variant: 'ads', lambda: 0.15, temperature: 0.9 }, mnistSmall: { surrogateEpochs: 2 } },
  scaled: scaledSurrogate,
  exposes: 'probabilities',
  make: ({ variant, lambda, step, temperature, slope, threshold, images, ...options }) => ({
    ...(variant === 'adsC' ? { preserves: 'label' } : {}),
    preparedBy: { ...options, step, images },
    prepare: async (teacher, context) => {
      const learnt = await surrogateOf(options, teacher, context);
      const network = surrogateFor(options, teacher.learner.network);
      const { train, validation, key } = context;
      const gradient = meanGradient(network, learnt, validation ?? train, key.split('gradient'), images);
      const copies = shifted(learnt, (name) => gradient[name] as tf.Tensor, step);
      dispose([learnt, gradient]);
      return copies;
    },
    answers: {
      kind: 'pure',
      slow: true,
      positive: true,
      answer: ({ logProbabilities, prepared, ...query }) => {
        const delta = slopeOf(options, query, prepared, step);
        const moved = {
          ads: () => tf.add(logProbabilities, tf.mul(delta, lambda)),
          cts: () => sharpened(logProbabilities, delta, { lambda, slope, threshold }),
          adsC: () => tf.add(logProbabilities, tf.mul(delta, withinLead(logProbabilities, delta, lambda))),
        }[variant]();
        return { logProbabilities: tf.logSoftmax(tf.div(moved, temperature)) as tf.Tensor2D };
      },
    },
  }),
});

const isTopOf = (z: tf.Tensor2D): tf.Tensor2D => tf.cast(tf.oneHot(tf.argMax(z, 1), z.shape[1]), 'bool') as tf.Tensor2D;

const topOf = (of: tf.Tensor2D, isTop: tf.Tensor2D): tf.Tensor => tf.sum(tf.where(isTop, of, 0), 1, true);

/** λ(x) ≤ λ [batch, 1], with which the most likely class of z still leads by 0.01; a class that is ruled out, −∞, bounds nothing. */
export const withinLead = (z: tf.Tensor2D, delta: tf.Tensor2D, lambda: number): tf.Tensor2D => {
  const isTop = isTopOf(z);
  const faster = tf.sub(delta, topOf(delta, isTop));
  const led = tf.sub(topOf(z, isTop), z);
  // The smaller of two, each of which is ∞ where a class is ruled out, and not their difference, which is no number there.
  const room = tf.minimum(tf.mul(led, 1 - leadingShare), tf.sub(led, lead));
  const bound = tf.where(tf.greater(faster, 0), tf.div(room, tf.maximum(faster, 1e-30)), lambda);
  return tf.clipByValue(tf.min(bound, 1, true), 0, lambda) as tf.Tensor2D;
};

/** z / T + λ Δ of all but the most likely class, T = 1 + a max(0, max y − ϑ). */
export const sharpened = (
  z: tf.Tensor2D,
  delta: tf.Tensor2D,
  { lambda, slope, threshold }: Readonly<Record<'lambda' | 'slope' | 'threshold', number>>,
): tf.Tensor2D => {
  const most = tf.max(tf.softmax(z), 1, true);
  const temperature = tf.add(tf.mul(tf.relu(tf.sub(most, threshold)), slope), 1);
  return tf.add(tf.div(z, temperature), tf.where(isTopOf(z), 0, tf.mul(delta, lambda)));
};

/**
 * A product of experts (Distillation Game, 2026), for classifiers: z′ = (1 − γ) z + γ z_proxy. The answer slides to what a proxy student says
 * already, so that little is left to learn. With `keepLabel`, of each image as much of γ as leaves the most likely class
 * ahead by 0.01 of a logit.
 *
 * ysfalh/distillation-game 671704e (generation/methods.py), for language models, where the proxy is a weaker model: here it is by default a net like
 * the teacher's, and `surrogate` names another. Keeping the label is ours.
 */
export const productOfExperts = defineDefense({
  name: 'productOfExperts',
  source: import.meta.url,
  about: "The victim's logits mixed with a proxy student's",
  paper: 'The Distillation Game, 2026 (arXiv 2605.22737)',
  options: {
    gamma: option(between(0, 1), 0.6, "γ, the proxy's share"),
    keepLabel: option(yesOrNo, false, 'As much of it as leaves the most likely class ahead'),
    ...surrogateOptions,
  },
  presets: { released: {}, mnistSmall: { surrogateEpochs: 2 } },
  scaled: scaledSurrogate,
  exposes: 'probabilities',
  make: ({ gamma, keepLabel, ...options }) => ({
    ...(keepLabel ? { preserves: 'label' } : {}),
    preparedBy: options,
    prepare: (teacher, context) => surrogateOf(options, teacher, context),
    answers: {
      kind: 'pure',
      slow: true,
      positive: true,
      answer: ({ logProbabilities, prepared, ...query }) => {
        // What the victim rules out stays ruled out.
        const other = tf.where(
          tf.isFinite(logProbabilities),
          tf.logSoftmax(saysOf(options, query, prepared)),
          logProbabilities,
        ) as tf.Tensor2D;
        const apart = tf.where(tf.isFinite(logProbabilities), tf.sub(other, logProbabilities), 0) as tf.Tensor2D;
        const share = keepLabel ? withinLead(logProbabilities, apart, gamma) : gamma;
        const mixed = tf.add(logProbabilities, tf.mul(apart, share));
        return { logProbabilities: tf.logSoftmax(mixed) as tf.Tensor2D };
      },
    },
  }),
});
