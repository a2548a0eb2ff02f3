import { assertAlike, type Logits, logProbabilities, meanOverRows } from '../train/logits.js';

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
