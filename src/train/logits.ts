/**
 * Logits of N examples over K classes as the stages store them: a flat [N · K], row by row. They may be
 * log-probabilities too, with −∞ for a class that is ruled out. A row with a NaN predicts nothing.
 */
export interface Logits {
  readonly values: Float32Array;
  /** K ≥ 2 */
  readonly classes: number;
}

/** N. Throws where the values do not make whole rows, or none. */
export const countRows = ({ values, classes }: Logits): number => {
  const rows = values.length / classes;
  if (!(classes >= 2 && Number.isInteger(classes) && Number.isInteger(rows) && rows >= 1)) {
    throw new Error(`${values.length} logits are not one or more rows of ${classes} classes`);
  }
  return rows;
};

/** A probability that is below the largest one by less is as large: what a defence gives has been through float32 and logarithms. */
export const alike = 1e-6;

/** The class with the largest logit, the lowest of equals; −1 when the row has a NaN. */
export const predicted = ({ values, classes }: Logits, row: number): number => {
  const start = row * classes;
  let best = 0;
  for (let k = 0; k < classes; k++) {
    const value = values[start + k] as number;
    if (Number.isNaN(value)) return -1;
    if (value > (values[start + best] as number)) best = k;
  }
  return best;
};

/** One row less its largest value, over τ, and the sum of the exponentials of that. Plain loops: it is most of what measuring takes. */
const shifted = ({ values, classes }: Logits, row: number, temperature: number) => {
  const own = values.subarray(row * classes, (row + 1) * classes);
  let top = Number.NEGATIVE_INFINITY;
  for (const value of own) top = Math.max(top, value);
  const differences = new Float64Array(classes);
  let sum = 0;
  for (let k = 0; k < classes; k++) {
    const difference = ((own[k] as number) - top) / temperature;
    differences[k] = difference;
    sum += Math.exp(difference);
  }
  return { differences, sum };
};

/** log softmax(x / τ) of one row, in float64; NaN throughout when the row has a NaN or +∞. */
export const logProbabilities = (logits: Logits, row: number, temperature = 1): Float64Array => {
  const { differences, sum } = shifted(logits, row, temperature);
  return differences.map((value) => value - Math.log(sum));
};

/** The largest softmax probability of one row, in (0, 1]; NaN when the row has a NaN or +∞. */
export const confidence = (logits: Logits, row: number): number => 1 / shifted(logits, row, 1).sum;

/** The mean over rows of a function of the row's number, in float64. */
export const meanOverRows = (logits: Logits, f: (row: number) => number): number => {
  const rows = countRows(logits);
  let total = 0;
  for (let row = 0; row < rows; row++) total += f(row);
  return total / rows;
};

/** Throws unless there is one label a row and each names a class. */
export const assertLabels = (logits: Logits, labels: ArrayLike<number>): void => {
  const rows = countRows(logits);
  if (labels.length !== rows) throw new Error(`${labels.length} labels for ${rows} rows of logits`);
  for (let row = 0; row < rows; row++) {
    const label = labels[row] as number;
    if (!(Number.isInteger(label) && label >= 0 && label < logits.classes)) {
      throw new Error(`label ${label} of row ${row} is not in 0 … ${logits.classes - 1}`);
    }
  }
};

/** Throws unless both have the same rows and classes. */
export const assertAlike = (a: Logits, b: Logits): void => {
  if (a.classes !== b.classes || countRows(a) !== countRows(b)) {
    throw new Error(
      `logits of [${countRows(a)}, ${a.classes}] and [${countRows(b)}, ${b.classes}] are not of the same examples`,
    );
  }
};
