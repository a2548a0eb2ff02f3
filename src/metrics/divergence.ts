import { alike, assertAlike, type Logits, logProbabilities, meanOverRows, predicted } from '../train/logits.js';

/**
 * KL(victim ‖ student), in nats: the mean over examples of Σ_k p_k (log p_k − log q_k), with p the victim's and q the
 * student's softmax(x / τ). At least 0 up to rounding; infinite when the student rules out a class that the victim does
 * not; NaN when a row has a NaN. A class that the victim rules out adds nothing.
 *
 * @param temperature τ > 0
 */
export const klToVictim = (student: Logits, victim: Logits, temperature = 1): number => {
  if (!(temperature > 0)) throw new Error(`a temperature is above 0, not ${temperature}`);
  assertAlike(student, victim);
  return meanOverRows(student, (row) => {
    const logP = logProbabilities(victim, row, temperature);
    const logQ = logProbabilities(student, row, temperature);
    return logP.reduce((sum, value, k) => {
      const p = Math.exp(value);
      return p === 0 ? sum : sum + p * (value - (logQ[k] as number));
    }, 0);
  });
};

/**
 * L1 distance of two models' probabilities, in 0 … 2: the mean over examples of Σ_k |p_k − q_k|, twice the total
 * variation. NaN when a row has a NaN.
 */
export const l1Distance = (a: Logits, b: Logits): number => {
  assertAlike(a, b);
  return meanOverRows(a, (row) => {
    const logP = logProbabilities(a, row);
    const logQ = logProbabilities(b, row);
    return logP.reduce((sum, value, k) => sum + Math.abs(Math.exp(value) - Math.exp(logQ[k] as number)), 0);
  });
};

/** What a defence that wraps answers does to them. */
export interface AnswerShift {
  /** Mean of Σ_k |given_k − clean_k|, of probabilities as they are given, which need not sum to 1: 0 … 2. */
  readonly l1: number;
  /** Mean KL(given ‖ clean) in nats, of answers made to sum to 1: finite however many classes the given ones rule out. */
  readonly kl: number;
  /** Share of the answers of which the clean one's most likely class is not among the most likely, 0 … 1; one with a NaN counts as changed. */
  readonly changed: number;
}

/**
 * What became of answers on their way through a defence, [images, classes] each.
 *
 * @param clean the undefended model's logits or log-probabilities
 * @param given the log-probabilities that are answered; −∞ for a class that is ruled out
 */
export const answerShift = (clean: Logits, given: Logits): AnswerShift => ({
  l1: givenL1(clean, given),
  kl: klToVictim(clean, given),
  changed: labelsChanged(clean, given),
});

/** `l1` of `answerShift`. */
export const givenL1 = (clean: Logits, given: Logits): number => {
  assertAlike(clean, given);
  return meanOverRows(clean, (row) => {
    const p = rowOf(given, row);
    return logProbabilities(clean, row).reduce(
      (sum, q, k) => sum + Math.abs(Math.exp(p[k] as number) - Math.exp(q)),
      0,
    );
  });
};

/** `changed` of `answerShift`. */
export const labelsChanged = (clean: Logits, given: Logits): number => {
  assertAlike(clean, given);
  return meanOverRows(clean, (row) => Number(!isLikeliest(rowOf(given, row), predicted(clean, row))));
};

const rowOf = ({ values, classes }: Logits, row: number): Float32Array =>
  values.subarray(row * classes, (row + 1) * classes);

/** Whether a class has the largest of some log-probabilities, or one as large; not where one of them is NaN. */
const isLikeliest = (logProbabilities: Float32Array, label: number): boolean =>
  Math.exp(Math.max(...logProbabilities)) - Math.exp(logProbabilities[label] ?? Number.NaN) <= alike;
