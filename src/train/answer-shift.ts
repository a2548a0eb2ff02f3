import * as tf from '@tensorflow/tfjs';
import { rows } from '../engine/ops.js';
import { alike } from './logits.js';

/**
 * What wrappers changed in the answers that were given: sums over queries of Σ_k |p′_k − p_k| (0 … 2), of KL(given ‖
 * clean) in nats, of answers made to sum to 1, and of those of which the clean one's likeliest class is none of the likeliest; `invalid` counts
 * answers that are no distribution. As `answerShift` has it of stored answers.
 */
export interface AnswerShift {
  readonly l1: number;
  readonly kl: number;
  readonly changed: number;
  readonly invalid: number;
}

export const noShift: AnswerShift = { l1: 0, kl: 0, changed: 0, invalid: 0 };

/** How far a probability row may be from summing to 1: float32 sums of a thousand classes are well inside. */
const tolerance = 1e-3;

/** What one call's answers say of themselves. */
export type Shift = {
  /** [4]: of Σ_k |p′_k − p_k|, of KL(p′ ‖ p), of changed labels, and of rows of p′ that are no distribution. */
  readonly sums: tf.Tensor1D;
  /** [1 + classes]: which row is the first of those, and the row; where there is none, the first of all. */
  readonly first: tf.Tensor1D;
};

/** What is said of two answers, [batch, classes] each, as logarithms. */
export const shiftOf = (exact: tf.Tensor2D, given: tf.Tensor2D, unnormalised: boolean): Shift => {
  const [p, q] = [tf.exp(exact), tf.exp(given)];
  const l1 = tf.sum(tf.abs(tf.sub(q, p)));
  const sums = tf.sum(q, 1);
  const whole = tf.expandDims(sums, 1);
  const [share, logarithms] = unnormalised ? [tf.div(q, whole), tf.sub(given, tf.log(whole))] : [q, given];
  const ratio = tf.where(tf.greater(q, 0), tf.sub(logarithms, exact), tf.zerosLike(q));
  const kl = tf.sum(tf.mul(share, ratio));
  const kept = tf.sum(tf.mul(q, tf.oneHot(tf.argMax(exact, 1), given.shape[1], 1, 0, 'float32')), 1);
  const isKept = tf.lessEqual(tf.sub(tf.max(q, 1), kept), alike);
  const changed = tf.sum(tf.sub(1, tf.cast(isKept, 'float32')));
  // A NaN is in no comparison, so what is right is counted and taken from all.
  const right = unnormalised
    ? tf.logicalAnd(tf.greater(sums, 0), tf.lessEqual(tf.max(q, 1), 1 + tolerance))
    : tf.lessEqual(tf.abs(tf.sub(sums, 1)), tolerance);
  const counted = tf.cast(right, 'float32');
  const invalid = tf.sub(given.shape[0], tf.sum(counted));
  const wrong = tf.argMin<tf.Tensor1D>(tf.expandDims(counted, 1), 0);
  return {
    sums: tf.stack([l1, kl, changed, invalid]) as tf.Tensor1D,
    first: tf.concat([tf.cast(wrong, 'float32'), tf.reshape(rows(given, wrong), [-1])]) as tf.Tensor1D,
  };
};

/** The sums over calls, and after them the `first` of that with the most answers that are none: [5 + classes]. */
export const allShifts = (shifts: readonly Shift[]): tf.Tensor1D => {
  const sums = shifts.map((shift) => shift.sums);
  const firsts = shifts.map(({ first }) => first);
  const worst = () => tf.argMax<tf.Tensor1D>(tf.slice(tf.stack(sums), [0, 3], [-1, 1]), 0);
  const first = firsts.length === 1 ? firsts[0] : tf.reshape(rows(tf.stack(firsts), worst()), [-1]);
  return tf.concat([tf.addN(sums), first as tf.Tensor]) as tf.Tensor1D;
};

/** The numbers of a shift. */
export const readShift = ([l1 = 0, kl = 0, changed = 0, invalid = 0]: ArrayLike<number> &
  Iterable<number>): AnswerShift => ({ l1, kl, changed, invalid });

/** What is wrong with an answer that is no distribution, natural logarithms of probabilities, and what to do about it. */
export const faultOf = (
  row: readonly number[],
  unnormalised: boolean,
): { readonly what: string; readonly remedy: string } => {
  const shown = (value: number): string => String(Number(value.toPrecision(4)));
  const remedy = unnormalised
    ? 'Return natural logarithms of probabilities of at most 1 (−∞ for 0), of which one at least is not 0.'
    : 'Return natural logarithms of probabilities that sum to 1 a row (−∞ for 0): end with logSoftmax, or renormalise.';
  const notANumber = row.findIndex(Number.isNaN);
  if (notANumber >= 0)
    return {
      what: `what it gives class ${notANumber} is NaN, as is the logarithm of a negative number`,
      remedy: `Let no probability fall below 0 (tf.relu) and divide by no 0, before the logarithm is taken. ${remedy}`,
    };
  const sum = row.reduce((all, value) => all + value, 0);
  if (Math.abs(sum - 1) <= tolerance) {
    const negative = row.findIndex((value) => value < 0);
    const which = negative < 0 ? '' : `, of which that of class ${negative} is negative (${shown(row[negative] ?? 0)})`;
    return { what: `its numbers are probabilities${which}, and not their logarithms`, remedy };
  }
  const largest = row.indexOf(Math.max(...row));
  const probability = Math.exp(row[largest] as number);
  if (probability === Number.POSITIVE_INFINITY)
    return { what: `the probability that it gives class ${largest} is infinite`, remedy };
  if (unnormalised && probability > 0)
    return { what: `the probability that it gives class ${largest} is ${shown(probability)}`, remedy };
  return {
    what: `its probabilities sum to ${shown(row.reduce((all, value) => all + Math.exp(value), 0))}`,
    remedy,
  };
};
