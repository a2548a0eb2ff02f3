import { describe, expect, test } from 'vitest';
import { entropy, logitMargin, margin, peaks } from '../../src/metrics/answers.js';
import { klToVictim } from '../../src/metrics/divergence.js';
import type { Logits } from '../../src/train/logits.js';

/** Answers of which the softmax is known: the logarithms of their probabilities. */
const answers = (...rows: readonly (readonly number[])[]): Logits => ({
  values: Float32Array.from(rows.flatMap((row) => row.map(Math.log))),
  classes: rows[0]?.length ?? 0,
});

describe('the entropy of answers', () => {
  test('is that of known distributions, in nats', () => {
    expect(entropy(answers([0.25, 0.25, 0.25, 0.25]))).toBeCloseTo(Math.log(4), 6);
    expect(entropy(answers([0.5, 0.5]))).toBeCloseTo(Math.LN2, 6);
    expect(entropy(answers([0.9, 0.1]))).toBeCloseTo(0.325083, 6);
    expect(entropy(answers([1, 0, 0]))).toBe(0);
    // The mean over answers.
    expect(entropy(answers([1, 0], [0.5, 0.5]))).toBeCloseTo(Math.LN2 / 2, 6);
  });

  test('grows with the temperature', () => {
    // softmax(log p / 2) of 0.9 and 0.1: 3/4 and 1/4.
    expect(entropy(answers([0.9, 0.1]), 2)).toBeCloseTo(0.562335, 6);
    expect(entropy(answers([0.9, 0.1]), 1e6)).toBeCloseTo(Math.LN2, 6);
  });

  test('of what is not a number is not one', () => {
    expect(entropy({ values: Float32Array.from([1, Number.NaN]), classes: 2 })).toBeNaN();
  });
});

describe('the peaks of answers', () => {
  test('are the classes above a probability', () => {
    expect(peaks(answers([0.9, 0.06, 0.04]))).toBe(2);
    expect(peaks(answers([0.99, 0.006, 0.004]))).toBe(1);
    expect(peaks(answers([0.9, 0.06, 0.04], [0.4, 0.3, 0.3]))).toBe(2.5);
    expect(peaks(answers([0.9, 0.06, 0.04]), 1, 0.03)).toBe(3);
    // Of 200 classes alike none is a peak.
    expect(peaks(answers(Array(200).fill(1 / 200)))).toBe(0);
  });

  test('grow in number with the temperature', () => {
    expect(peaks(answers([0.98, 0.01, 0.01]))).toBe(1);
    expect(peaks(answers([0.98, 0.01, 0.01]), 4)).toBe(3);
  });
});

describe('the margin of answers', () => {
  test('is between the two most probable classes', () => {
    expect(margin(answers([0.1, 0.6, 0.3]))).toBeCloseTo(0.3, 6);
    expect(margin(answers([0.5, 0.5]))).toBe(0);
    expect(margin(answers([0.1, 0.9]), 2)).toBeCloseTo(0.5, 6);
    expect(margin(answers([1, 0], [0.5, 0.5]))).toBeCloseTo(0.5, 6);
  });

  test('or their logits', () => {
    expect(logitMargin({ values: Float32Array.from([1, 5, 3, -1, -1, -4]), classes: 3 })).toBe(1);
    expect(logitMargin({ values: Float32Array.from([1, Number.NaN, 3]), classes: 3 })).toBeNaN();
  });
});

test('KL(normal ‖ nasty) by temperature', () => {
  const normal = answers([0.9, 0.1]);
  const nasty = answers([0.5, 0.5]);
  // 0.9 log 1.8 + 0.1 log 0.2; softened by 2: 3/4 log 1.5 + 1/4 log 0.5.
  expect(klToVictim(nasty, normal)).toBeCloseTo(0.368064, 6);
  expect(klToVictim(nasty, normal, 2)).toBeCloseTo(0.130812, 6);
  expect(klToVictim(nasty, normal, 1e6)).toBeCloseTo(0, 6);
});
