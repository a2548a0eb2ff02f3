import { assertLabels, type Logits, logProbabilities, meanOverRows } from '../train/logits.js';

/**
 * Negative log-likelihood of the labels in nats, ≥ 0: the mean over examples of −log softmax(logits)_label. Infinite
 * when a label's class is ruled out, NaN when a row has a NaN.
 */
export const negativeLogLikelihood = (logits: Logits, labels: ArrayLike<number>): number => {
  assertLabels(logits, labels);
  return meanOverRows(logits, (row) => -(logProbabilities(logits, row)[labels[row] as number] as number));
};
