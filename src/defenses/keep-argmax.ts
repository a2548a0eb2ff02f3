import * as tf from '@tensorflow/tfjs';
import { anyDefense, type Defense, defineDefense, numeric, option, partsOf, required, v } from '../public/plugin.js';

/** Defences of which one at least changes answers, and that tell probabilities in the end. */
const changesProbabilities = v.pipe(
  anyDefense,
  v.check((defense) => {
    const of = defense as Defense;
    return of.exposes === 'probabilities' && partsOf(of).some(({ answers }) => answers !== undefined);
  }, 'it changes no probabilities. Give a defence that does, such as randomClass(), or compose(…) of several'),
);

const lead = option(
  numeric('a number above 0 and below 1', v.gtValue(0), v.ltValue(1)),
  1e-4,
  'δ, by how much the most likely class leads at least',
);

/** The last part of `keepArgmax`: what came before it, mixed with the victim's own answer. */
const argmaxRepair = defineDefense({
  name: 'argmaxRepair',
  source: import.meta.url,
  about: 'The answer with as much of the clean one as keeps its most likely class ahead',
  options: { lead },
  exposes: 'probabilities',
  make: ({ lead }) => ({
    preserves: 'clean label',
    answers: {
      kind: 'pure',
      answer: ({ logProbabilities, clean }) => ({ logProbabilities: repaired(logProbabilities, clean, lead) }),
    },
  }),
});

/**
 * Another defence's answers, mixed with as little of the clean ones as makes the most likely class lead by δ: y″ = (1 − b) y′ + b y.
 * Any defence that changes probabilities becomes one that keeps the label, and its owner's accuracy, several after each other too; where the
 * clean answer leads by less than δ, it is given. The clean answer is that of the victim's net, whichever defences come before. Ours, of no paper:
 * b is the smallest number with y″_m − y″_k ≥ δ for all k, max_k (y′_k − y′_m + δ) / ((y′_k − y′_m) + (y_m − y_k)).
 */
export const keepArgmax = defineDefense({
  name: 'keepArgmax',
  source: import.meta.url,
  about: "Another defence's answers, with as much of the clean ones as keeps the most likely class ahead",
  options: {
    defense: required(changesProbabilities, 'The defence whose answers are repaired, or several as one'),
    lead,
  },
  scaled: ({ defense }, factor) => ({ defense: defense.scaled?.(factor) ?? defense }),
  exposes: 'probabilities',
  make: ({ defense, lead }) => ({ preserves: 'label', parts: [...partsOf(defense), argmaxRepair({ lead })] }),
});

/**
 * (1 − b) y′ + b y with the smallest b for which y″_m − y″_k ≥ δ for all k, m the argmax of y.
 *
 * @param given log-probabilities of y′ [batch, classes]; where it does not sum to 1, it is made to first
 * @param clean log-probabilities of y
 */
export const repaired = (given: tf.Tensor2D, clean: tf.Tensor2D, lead: number): tf.Tensor2D => {
  const classes = clean.shape[1];
  const told = tf.exp(given);
  const [other, y] = [tf.div(told, tf.maximum(tf.sum(told, 1, true), 1e-30)), tf.exp(clean)];
  const isTop = tf.oneHot(tf.argMax(clean, 1), classes, 1, 0, 'float32');
  const behind = (of: tf.Tensor) => tf.sub(tf.sum(tf.mul(of, isTop), 1, true), of);
  // What is missing of the lead in y′, and what b = 1 would give to it.
  const missing = tf.sub(lead, behind(other));
  const gained = tf.sub(behind(y), behind(other));
  const needed = tf.where(tf.greater(missing, 0), tf.div(missing, tf.maximum(gained, 1e-12)), tf.zerosLike(missing));
  const share = tf.clipByValue(tf.max(tf.mul(needed, tf.sub(1, isTop)), 1, true), 0, 1);
  return tf.log(tf.add(tf.mul(other, tf.sub(1, share)), tf.mul(y, share))) as tf.Tensor2D;
};
