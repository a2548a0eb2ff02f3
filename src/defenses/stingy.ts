import * as tf from '@tensorflow/tfjs';
import { defineDefense, option, share } from '../public/plugin.js';

/**
 * The stingy teacher (Ma et al., "Sparse logits suffice to fail knowledge distillation", ICLR 2022 workshop): the ⌊ratio · K⌋
 * largest logits are told, one at least, and the others are −∞: their probabilities are made to sum to 1.
 *
 * HowieMa/stingy-teacher d0f30d4 (train_kd_stingy.py). Of equal ones the first classes are told. What it costs an attacker depends on
 * the temperature: at 20, as released, the classes that are told look alike.
 */
export const stingy = defineDefense({
  name: 'stingy',
  source: import.meta.url,
  about: 'Only the largest logits are told; the others are −∞',
  paper: 'Ma et al., Sparse logits suffice to fail knowledge distillation, ICLR 2022 workshop',
  options: { ratio: option(share, 0.2, 'Share of the classes that are told') },
  presets: { cifar10: {}, cifar100: { ratio: 0.1 }, tinyImageNet: { ratio: 0.1 }, imageNet: { ratio: 0.1 } },
  exposes: 'probabilities',
  make: ({ ratio }) => ({
    preserves: 'label',
    answers: {
      kind: 'pure',
      answer: ({ logProbabilities }) => ({ logProbabilities: sparse(logProbabilities, ratio) }),
    },
  }),
});

/** The ⌊ratio · K⌋ largest of each row, at least one, made to sum to 1; log-probabilities [batch, classes]. */
export const sparse = (logProbabilities: tf.Tensor2D, ratio: number): tf.Tensor2D => {
  const classes = logProbabilities.shape[1];
  // A share of a tenth of ten is one, whatever rounding makes of it.
  const count = Math.max(1, Math.floor(ratio * classes + 1e-9));
  if (count >= classes) return logProbabilities;
  const isTold = tf.sum(tf.oneHot(tf.topk(logProbabilities, count).indices, classes), 1).cast('bool');
  const told = tf.where(isTold, logProbabilities, Number.NEGATIVE_INFINITY);
  return tf.sub(told, tf.logSumExp(told, 1, true)) as tf.Tensor2D;
};

/**
 * The stingy teacher's control (Ma et al., 2022): the largest logit stays, and the others change places, the second largest with the
 * smallest and so on. Doing so once more undoes it, where no two are equal: no defence, but a test of attackers.
 *
 * HowieMa/stingy-teacher d0f30d4 (train_kd_reverse.py).
 */
export const reversedLogits = defineDefense({
  name: 'reversedLogits',
  source: import.meta.url,
  about: 'All logits but the largest change places, from the smallest to the second largest: a control',
  paper: 'Ma et al., Sparse logits suffice to fail knowledge distillation, ICLR 2022 workshop',
  exposes: 'probabilities',
  make: () => ({
    preserves: 'label',
    recover: () => reversed,
    answers: {
      kind: 'pure',
      positive: true,
      answer: ({ logProbabilities }) => ({ logProbabilities: reversed(logProbabilities) }),
    },
  }),
});

/** Each row with all but its largest number in reversed order of size; [batch, classes]. */
export const reversed = (logProbabilities: tf.Tensor2D): tf.Tensor2D => {
  const classes = logProbabilities.shape[1];
  const { values, indices } = tf.topk(logProbabilities, classes);
  const [first, others] = tf.split(values, [1, classes - 1], 1) as [tf.Tensor2D, tf.Tensor2D];
  // By rank, what stands there now; put where the class of that rank is.
  const ranked = tf.concat([first, tf.reverse(others, 1)], 1);
  const place = tf.oneHot(indices, classes).cast('bool');
  return tf.sum(tf.where(place, tf.expandDims(ranked, 2), 0), 1) as tf.Tensor2D;
};
