import { assertAlike, type Logits, meanOverRows, predicted } from '../train/logits.js';

/**
 * The fraction of examples, in 0 … 1, on which student and victim predict the same class, right or wrong. A row with a
 * NaN in either agrees with nothing.
 */
export const agreement = (student: Logits, victim: Logits): number => {
  assertAlike(student, victim);
  return meanOverRows(student, (row) => {
    const own = predicted(student, row);
    return Number(own !== -1 && own === predicted(victim, row));
  });
};
