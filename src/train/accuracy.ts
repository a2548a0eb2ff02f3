import { assertLabels, type Logits, meanOverRows, predicted } from './logits.js';

/**
 * Top-1 accuracy in 0 … 1: the number of examples whose largest logit is the label's, over the number of examples (no
 * mean of batch means). Of equal logits the lowest class is predicted; a row with a NaN counts as wrong.
 *
 * @param labels one class a row, in 0 … K−1
 */
export const accuracy = (logits: Logits, labels: ArrayLike<number>): number => {
  assertLabels(logits, labels);
  return meanOverRows(logits, (row) => Number(predicted(logits, row) === labels[row]));
};
