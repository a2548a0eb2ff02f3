import { assertLabels, type Logits, meanOverRows } from '../train/logits.js';

/**
 * Top-k accuracy in 0 … 1: the share of examples whose label is among the k largest logits. Of equal logits the lowest
 * class comes first; a row with a NaN counts as wrong. 1 where there are no more than k classes.
 *
 * @param k ≥ 1
 */
export const topAccuracy = (logits: Logits, labels: ArrayLike<number>, k: number): number => {
  assertLabels(logits, labels);
  const { values, classes } = logits;
  return meanOverRows(logits, (row) => {
    const own = values.subarray(row * classes, (row + 1) * classes);
    const label = labels[row] as number;
    const right = own[label] as number;
    const before = own.filter((value, other) => value > right || (value === right && other < label)).length;
    return Number(before < k && !own.some(Number.isNaN));
  });
};
