import { assertLabels, confidence, countRows, type Logits, predicted } from '../train/logits.js';

/** Examples whose confidence lies in one interval. */
export interface CalibrationBin {
  /** Confidence above this … */
  readonly above: number;
  /** … and up to this. */
  readonly upTo: number;
  readonly count: number;
  /** Fraction of them predicted rightly; 0 in an empty bin. */
  readonly accuracy: number;
  /** Mean confidence; 0 in an empty bin. */
  readonly confidence: number;
}

/**
 * A reliability diagram: examples by confidence, the largest softmax probability, in bins of equal width over (0, 1],
 * each open on the left and closed on the right. The prediction is the first class of that probability.
 *
 * A row with a NaN has no confidence: the function throws, as no bin could hold it.
 */
export const calibrationBins = (logits: Logits, labels: ArrayLike<number>, bins = 15): readonly CalibrationBin[] => {
  assertLabels(logits, labels);
  const sums = Array.from({ length: bins }, () => ({ count: 0, right: 0, confidence: 0 }));
  for (let row = 0; row < countRows(logits); row++) {
    const sure = confidence(logits, row);
    const bin = sums[Math.ceil(sure * bins) - 1];
    if (bin === undefined) throw new Error(`row ${row} of the logits has no confidence: a NaN or an infinity in it`);
    bin.count += 1;
    bin.right += Number(predicted(logits, row) === labels[row]);
    bin.confidence += sure;
  }
  return sums.map(({ count, right, confidence }, i) => ({
    above: i / bins,
    upTo: (i + 1) / bins,
    count,
    accuracy: count === 0 ? 0 : right / count,
    confidence: count === 0 ? 0 : confidence / count,
  }));
};

/**
 * Expected calibration error in 0 … 1, as defined by Guo et al. (2017): the mean over examples of the difference
 * between accuracy and mean confidence of the example's bin, Σ_m (|B_m| / N) |acc(B_m) − conf(B_m)|. NaN when a row has
 * a NaN.
 *
 * @param bins M, 15 by convention
 */
export const calibrationError = (logits: Logits, labels: ArrayLike<number>, bins = 15): number => {
  if (logits.values.some(Number.isNaN)) return Number.NaN;
  const total = countRows(logits);
  return calibrationBins(logits, labels, bins).reduce(
    (sum, { count, accuracy, confidence }) => sum + (count / total) * Math.abs(accuracy - confidence),
    0,
  );
};
