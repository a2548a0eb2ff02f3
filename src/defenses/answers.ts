import * as tf from '@tensorflow/tfjs';
import { between, defineDefense, option, required, wholeAtLeast, wholeBetween } from '../public/plugin.js';

/** Only the most likely class is told. */
export const labelOnly = defineDefense({
  name: 'labelOnly',
  source: import.meta.url,
  about: 'Only the most likely class is told',
  exposes: 'label',
  make: () => ({ preserves: 'label' }),
});

/**
 * Probabilities are told to `digits` decimal places, and not made to sum to 1 again; the label stays the unrounded one's.
 *
 * The Adversarial Robustness Toolbox has it as a post-processor, of three decimals (`toolbox`).
 */
export const rounding = defineDefense({
  name: 'rounding',
  source: import.meta.url,
  about: 'Probabilities are rounded; the label stays the unrounded one',
  paper: 'The Adversarial Robustness Toolbox, its rounding post-processor',
  options: { digits: required(wholeBetween(0, 15), 'Decimal places') },
  positional: 'digits',
  presets: { toolbox: { digits: 3 } },
  exposes: 'probabilities',
  make: ({ digits }) => {
    const scale = 10 ** digits;
    return {
      preserves: 'label',
      answers: {
        kind: 'pure',
        unnormalised: true,
        answer: ({ logProbabilities }) => {
          const rounded = tf.div<tf.Tensor2D>(tf.round(tf.mul(tf.exp(logProbabilities), scale)), scale);
          // With many classes every probability may round to 0, which is no answer: then the label is all there is.
          const silent = tf.equal(tf.sum(rounded, 1, true), 0);
          return { logProbabilities: tf.log(tf.where(silent, oneHotOf(logProbabilities), rounded)) };
        },
      },
    };
  },
});

/**
 * Only the `k` largest probabilities are told, as they are; the others are told to be 0: what interfaces that name a few classes do. Ours, of no
 * paper.
 */
export const topK = defineDefense({
  name: 'topK',
  source: import.meta.url,
  about: 'Only the k largest probabilities are told, as they are; the others are told to be 0',
  options: { k: required(wholeAtLeast(1), 'How many are told') },
  positional: 'k',
  exposes: 'probabilities',
  make: ({ k }) => ({
    preserves: 'label',
    answers: {
      kind: 'pure',
      unnormalised: true,
      answer: ({ logProbabilities }) => {
        const { shape } = logProbabilities;
        if (k >= shape[1]) return { logProbabilities };
        // By place and not by value, so that equal ones do not make it more than k.
        const told = tf.sum(tf.oneHot(tf.topk(logProbabilities, k).indices, shape[1]), 1).cast('bool');
        return { logProbabilities: tf.where(told, logProbabilities, tf.fill(shape, Number.NEGATIVE_INFINITY)) };
      },
    },
  }),
});

/**
 * Probabilities below a cutoff are told to be 0, the others as they are; where none reaches it, nothing is told: all classes alike. Who asks
 * for labels is told the most likely class, of such an answer too.
 *
 * The Adversarial Robustness Toolbox's post-processor (`art/defences/postprocessor/high_confidence.py`), which then tells zeros.
 */
export const highConfidence = defineDefense({
  name: 'highConfidence',
  source: import.meta.url,
  about: 'Probabilities below a cutoff are told to be 0; where none reaches it, all classes are told alike',
  paper: 'The Adversarial Robustness Toolbox, art/defences/postprocessor/high_confidence.py',
  options: { cutoff: option(between(0, 1), 0.25, 'The least probability that is told') },
  presets: { toolbox: {} },
  positional: 'cutoff',
  exposes: 'probabilities',
  make: ({ cutoff }) => ({
    preserves: 'label',
    answers: {
      kind: 'pure',
      unnormalised: true,
      answer: ({ logProbabilities }) => {
        const told = tf.where(tf.less(tf.exp(logProbabilities), cutoff), Number.NEGATIVE_INFINITY, logProbabilities);
        const silent = tf.less(tf.exp(tf.max(logProbabilities, 1, true)), cutoff);
        return { logProbabilities: tf.where(silent, -Math.log(logProbabilities.shape[1]), told) as tf.Tensor2D };
      },
    },
  }),
});

const oneHotOf = (scores: tf.Tensor2D): tf.Tensor2D =>
  tf.oneHot(tf.argMax(scores, 1), scores.shape[1], 1, 0, 'float32') as tf.Tensor2D;
