import { type Logits, logProbabilities, meanOverRows } from '../train/logits.js';

/** p log p of a class whose log-probability is given; one that is ruled out adds nothing. */
const weighted = (log: number): number => {
  const p = Math.exp(log);
  return p === 0 ? 0 : p * log;
};

/**
 * Mean entropy of the answers in nats, 0 … log K: the mean over examples of −Σ_k p_k log p_k with p = softmax(x / τ).
 * NaN when a row has a NaN.
 *
 * @param temperature τ > 0
 */
export const entropy = (logits: Logits, temperature = 1): number =>
  meanOverRows(logits, (row) =>
    logProbabilities(logits, row, temperature).reduce((sum, log) => sum - weighted(log), 0),
  );

/** A class counts as a peak of an answer where its probability is above this. */
export const peakThreshold = 0.05;

/**
 * Mean number of peaks of the answers: classes whose softmax(x / τ) is above `threshold`. A sure answer has one; a
 * nasty teacher's has several. A row with a NaN has none.
 */
export const peaks = (logits: Logits, temperature = 1, threshold = peakThreshold): number =>
  meanOverRows(
    logits,
    (row) => logProbabilities(logits, row, temperature).filter((log) => Math.exp(log) > threshold).length,
  );

/** The two largest of at least two numbers; NaN where there is one. */
const topTwo = (values: ArrayLike<number>): readonly [number, number] => {
  let [first, second] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let k = 0; k < values.length; k++) {
    const value = values[k] as number;
    if (Number.isNaN(value)) return [value, value];
    if (value > first) [first, second] = [value, first];
    else if (value > second) second = value;
  }
  return [first, second];
};

/**
 * Mean difference between the two largest probabilities of an answer, softmax(x / τ), in 0 … 1. NaN when a row has a
 * NaN.
 */
export const margin = (logits: Logits, temperature = 1): number =>
  meanOverRows(logits, (row) => {
    const [first, second] = topTwo(logProbabilities(logits, row, temperature));
    return Math.exp(first) - Math.exp(second);
  });

/** Mean difference between the two largest logits. NaN when a row has a NaN. */
export const logitMargin = (logits: Logits): number =>
  meanOverRows(logits, (row) => {
    const { values, classes } = logits;
    const [first, second] = topTwo(values.subarray(row * classes, (row + 1) * classes));
    return first - second;
  });
