import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { agreement } from '../../src/metrics/agreement.js';
import { entropy, peaks } from '../../src/metrics/answers.js';
import { calibrationBins, calibrationError } from '../../src/metrics/calibration.js';
import { answerShift, klToVictim, l1Distance } from '../../src/metrics/divergence.js';
import { negativeLogLikelihood } from '../../src/metrics/likelihood.js';
import {
  type Evaluation,
  type Metric,
  measured,
  metrics,
  otherColumns,
  softTemperature,
} from '../../src/metrics/metric.js';
import { betters, headerOf, titleOf, units } from '../../src/metrics/quantity.js';
import { topAccuracy } from '../../src/metrics/top-k.js';
import { accuracy } from '../../src/train/accuracy.js';
import { type Logits, predicted } from '../../src/train/logits.js';
import { refusal } from '../failures.js';

const logits = (rows: readonly (readonly number[])[]): Logits => ({
  values: Float32Array.from(rows.flat()),
  classes: (rows[0] as readonly number[]).length,
});
const log = (rows: readonly (readonly number[])[]) => logits(rows.map((row) => row.map(Math.log)));
const inf = Number.POSITIVE_INFINITY;

const row = (classes: number) =>
  fc.array(fc.float({ min: -20, max: 20, noNaN: true }), { minLength: classes, maxLength: classes });
/** 1 … 20 examples of 4 classes: logits of two nets, and labels. */
const examples = fc.array(fc.record({ student: row(4), victim: row(4), label: fc.integer({ min: 0, max: 3 }) }), {
  minLength: 1,
  maxLength: 20,
});
const split = (of: readonly { student: number[]; victim: number[]; label: number }[]) => ({
  student: logits(of.map(({ student }) => student)),
  victim: logits(of.map(({ victim }) => victim)),
  labels: of.map(({ label }) => label),
});

describe('accuracy', () => {
  test('is right answers over examples', () => {
    const three = logits([
      [1, 2, 0],
      [5, 0, 0],
      [0, 0, 1],
    ]);
    expect(accuracy(three, [1, 0, 2])).toBe(1);
    expect(accuracy(three, [1, 0, 0])).toBe(2 / 3);
    expect(accuracy(three, Int32Array.of(0, 1, 0))).toBe(0);
  });

  test('of equal logits the lowest class counts, and −∞ is a logit', () => {
    const ties = logits([
      [1, 1, 1],
      [0, 2, 2],
      [-inf, -inf, -inf],
    ]);
    expect([0, 1, 2].map((i) => predicted(ties, i))).toEqual([0, 1, 0]);
    expect(accuracy(ties, [0, 1, 0])).toBe(1);
  });

  test('a row with a NaN is wrong, wherever the NaN is', () => {
    const rows = logits([
      [Number.NaN, 1],
      [1, Number.NaN],
      [1, 0],
    ]);
    expect(accuracy(rows, [1, 0, 0])).toBe(1 / 3);
    expect(accuracy(rows, [0, 1, 0])).toBe(1 / 3);
  });

  test('does not depend on the order of the examples', () => {
    fc.assert(
      fc.property(
        examples.chain((of) =>
          fc.tuple(fc.constant(of), fc.shuffledSubarray(of, { minLength: of.length, maxLength: of.length })),
        ),
        ([of, shuffled]) => {
          const [a, b] = [split(of), split(shuffled)];
          expect(accuracy(b.student, b.labels)).toBe(accuracy(a.student, a.labels));
        },
      ),
    );
  });
});

describe('agreement with the victim', () => {
  test('counts equal predictions, right or wrong', () => {
    const student = logits([
      [1, 0],
      [0, 1],
      [3, 2],
      [0, 9],
    ]);
    const victim = logits([
      [9, 0],
      [1, 0],
      [1, 0],
      [0, 1],
    ]);
    expect(agreement(student, victim)).toBe(3 / 4);
  });

  test('is symmetric, and 1 with itself', () => {
    fc.assert(
      fc.property(examples, (of) => {
        const { student, victim } = split(of);
        expect(agreement(student, student)).toBe(1);
        expect(agreement(student, victim)).toBe(agreement(victim, student));
      }),
    );
  });

  test('a NaN agrees with nothing, not even itself', () => {
    const rows = logits([
      [Number.NaN, 1],
      [0, 1],
    ]);
    expect(agreement(rows, rows)).toBe(1 / 2);
  });
});

describe('KL to the victim', () => {
  test('is the mean over examples of Σ p (log p − log q), p the victim’s', () => {
    // p = (1/2, 1/2), q = (1/4, 3/4): ½ ln 4/3, and 0 in the second example. The other way: ¼ ln ½ + ¾ ln 3/2
    const victim = log([
      [1 / 2, 1 / 2],
      [1 / 4, 3 / 4],
    ]);
    const student = log([
      [1 / 4, 3 / 4],
      [1 / 4, 3 / 4],
    ]);
    expect(klToVictim(student, victim)).toBeCloseTo(Math.log(4 / 3) / 4, 7);
    expect(klToVictim(victim, student)).toBeCloseTo((0.25 * Math.log(0.5) + 0.75 * Math.log(1.5)) / 2, 7);
  });

  test('softened by τ = 2, odds are square roots', () => {
    // q: 1 : 3 becomes 1 : √3, so KL = ½ ln ((1 + √3)² / (4 √3))
    const kl = klToVictim(log([[1 / 4, 3 / 4]]), log([[1 / 2, 1 / 2]]), 2);
    expect(kl).toBeCloseTo(0.5 * Math.log((1 + Math.sqrt(3)) ** 2 / (4 * Math.sqrt(3))), 7);
    expect(() => klToVictim(log([[1, 1]]), log([[1, 1]]), 0)).toThrow(/temperature/);
  });

  test('classes ruled out: by the victim nothing, by the student alone everything', () => {
    const sure = log([[1, 0]]);
    const unsure = log([[0.5, 0.5]]);
    expect(klToVictim(unsure, sure)).toBeCloseTo(Math.log(2), 7);
    expect(klToVictim(sure, sure)).toBe(0);
    expect(klToVictim(sure, unsure)).toBe(inf);
    expect(klToVictim(logits([[Number.NaN, 0]]), unsure)).toBeNaN();
  });

  test('stands large logits', () => {
    expect(klToVictim(logits([[1e4, -1e4]]), logits([[-1e4, 1e4]]))).toBe(20000);
  });

  test('is not negative, 0 to itself, and blind to a constant added to a row', () => {
    fc.assert(
      fc.property(examples, fc.constantFrom(1, 4, 20), (of, temperature) => {
        const { student, victim } = split(of);
        expect(klToVictim(student, victim, temperature)).toBeGreaterThanOrEqual(-1e-12);
        expect(klToVictim(student, student, temperature)).toBe(0);
        const integers = (by: number): Logits => ({
          classes: 4,
          values: student.values.map((value) => Math.round(value) + by),
        });
        expect(klToVictim(integers(7), integers(0), temperature)).toBe(0);
      }),
    );
  });
});

describe('calibration', () => {
  // Two classes, odds 3 : 1 and 9 : 1 and evens: confidences 0.75, 0.9, 0.5
  const rows = log([
    [3, 1],
    [1, 3],
    [9, 1],
    [9, 1],
    [1, 1],
  ]);
  const labels = [0, 0, 0, 0, 0];

  test('is the bins’ mean of |accuracy − confidence|, weighted by count', () => {
    // 15 bins: 0.75 in (11/15, 12/15]: 2 examples, accuracy 1/2: 0.25. 0.9 in (13/15, 14/15]: 2, accuracy 1: 0.1.
    // 0.5 in (7/15, 8/15]: 1, right (the lower of equals): 0.5. ECE = 0.4 · 0.25 + 0.4 · 0.1 + 0.2 · 0.5 = 0.24
    expect(calibrationError(rows, labels)).toBeCloseTo(0.24, 7);
    // One bin: accuracy 0.8, mean confidence 0.76
    expect(calibrationError(rows, labels, 1)).toBeCloseTo(0.04, 7);
  });

  test('bins are open on the left and closed on the right', () => {
    const bins = calibrationBins(rows, labels, 2);
    // 0.5 belongs to (0, 0.5]
    expect(bins.map(({ count }) => count)).toEqual([1, 4]);
    expect(bins[1]).toMatchObject({ above: 0.5, upTo: 1, accuracy: 0.75 });
    expect(bins[1]?.confidence).toBeCloseTo(0.825, 7);
    // a third, exactly, belongs to the fifth of 15 bins, and certainty to the last
    const filled = (of: Logits) => calibrationBins(of, [0]).findIndex(({ count }) => count === 1);
    expect(filled(logits([[2, 2, 2]]))).toBe(4);
    expect(filled(logits([[1, 1, 1, 1, 1]]))).toBe(2);
    expect(filled(logits([[1e4, 0]]))).toBe(14);
    expect(calibrationBins(rows, labels)[0]).toEqual({ above: 0, upTo: 1 / 15, count: 0, accuracy: 0, confidence: 0 });
  });

  test('a sure and right net has none, a sure and wrong one all of it', () => {
    const sure = logits([
      [1e4, 0],
      [0, 1e4],
    ]);
    expect(calibrationError(sure, [0, 1])).toBe(0);
    expect(calibrationError(sure, [1, 0])).toBe(1);
  });

  test('lies in 0 … 1, is at least the error of one bin, and every example is in a bin', () => {
    fc.assert(
      fc.property(examples, fc.integer({ min: 1, max: 30 }), (of, bins) => {
        const { student, labels: truth } = split(of);
        const error = calibrationError(student, truth, bins);
        expect(error).toBeLessThanOrEqual(1);
        expect(error).toBeGreaterThanOrEqual(calibrationError(student, truth, 1) - 1e-12);
        const counts = calibrationBins(student, truth, bins).map(({ count }) => count);
        expect(counts.reduce((a, b) => a + b)).toBe(of.length);
      }),
    );
  });

  test('a NaN has no confidence', () => {
    const broken = logits([[Number.NaN, 1]]);
    expect(calibrationError(broken, [0])).toBeNaN();
    expect(() => calibrationBins(broken, [0])).toThrow(/row 0/);
  });
});

describe('negative log-likelihood', () => {
  test('is the mean surprise of the labels', () => {
    // −ln 1/2 and −ln 1/6
    const rows = log([
      [1 / 6, 2 / 6, 3 / 6],
      [1 / 6, 2 / 6, 3 / 6],
    ]);
    expect(negativeLogLikelihood(rows, [2, 0])).toBeCloseTo(Math.log(12) / 2, 7);
    expect(negativeLogLikelihood(logits([[1e4, -1e4]]), [1])).toBe(20000);
    expect(negativeLogLikelihood(log([[1, 0]]), [1])).toBe(inf);
    expect(negativeLogLikelihood(logits([[Number.NaN, 0]]), [1])).toBeNaN();
  });
});

describe('the table of metrics', () => {
  const student = logits([
    [1, 0],
    [0, 1],
  ]);
  const victim = logits([
    [2, 0],
    [2, 0],
  ]);

  test('computes every metric that applies, and no comparison without somebody to compare with', () => {
    const labels = [0, 0];
    const alone = {
      accuracy: 0.5,
      calibrationError: calibrationError(student, labels),
      negativeLogLikelihood: negativeLogLikelihood(student, labels),
      entropy: entropy(student),
      peaks: peaks(student),
    };
    expect(measured(metrics, { logits: student, labels })).toEqual(alone);
    expect(measured(metrics, { logits: student, labels, victim })).toEqual({
      ...alone,
      agreement: 0.5,
      klToVictim: klToVictim(student, victim),
      softKlToVictim: klToVictim(student, victim, softTemperature),
      l1ToVictim: l1Distance(student, victim),
    });
    const { l1, kl, changed } = answerShift(victim, student);
    expect(measured(metrics, { logits: student, labels, clean: victim })).toEqual({
      ...alone,
      answerL1: l1,
      answerKl: kl,
      answerChanged: changed,
    });
  });

  test('has the top five where there are more classes than that', () => {
    const falling = (classes: number) => logits([Array.from({ length: classes }, (_, k) => -k)]);
    expect(measured(metrics, { logits: falling(5), labels: [4] })).not.toHaveProperty('top5');
    expect(measured(metrics, { logits: falling(6), labels: [4] }).top5).toBe(1);
    expect(measured(metrics, { logits: falling(6), labels: [5] }).top5).toBe(0);
  });

  test('says of each metric what it is, in a sentence and under a name of its own', () => {
    for (const metric of metrics) {
      expect(metric.describe, metric.name).toMatch(/^[A-Z].{20,}\.$/);
      expect(units).toContain(metric.unit);
      expect(betters).toContain(metric.better);
      expect(metric.name).toMatch(/^[a-z][A-Za-z0-9]*$/);
    }
    for (const key of [titleOf, headerOf]) expect(new Set(metrics.map(key)).size).toBe(metrics.length);
    expect(new Set([...metrics.map(({ name }) => name), ...otherColumns]).size).toBe(
      metrics.length + otherColumns.length,
    );
  });
});

describe('a metric of a user’s own', () => {
  const evaluation = { logits: logits([[1, 0]]), labels: [0] };
  const own = (of: unknown): Metric => ({
    name: 'own',
    unit: 'number',
    better: 'neither',
    describe: 'A number.',
    source: import.meta.url,
    of: of as Metric['of'],
  });
  const failed = (of: unknown) => refusal(() => measured([own(of)], evaluation));

  test('is computed beside the others, and left out where it does not apply', () => {
    expect(measured([own(({ logits: { classes } }: Evaluation) => classes)], evaluation)).toEqual({ own: 2 });
    expect(measured([own(() => undefined)], evaluation)).toEqual({});
    expect(measured([own(() => inf)], evaluation)).toEqual({ own: inf });
  });

  test('that throws, or gives what is no number, fails by its name', () => {
    const broken = () => {
      throw new Error('no such class');
    };
    expect(failed(broken)).toMatchObject({ kind: 'plugin', what: 'the metric own threw: no such class' });
    expect(failed(() => Number.NaN)).toMatchObject({ kind: 'plugin', what: 'the metric own gave NaN' });
    expect(failed(() => '0.5').what).toBe('the metric own gave string');
    expect(failed(() => null).what).toBe('the metric own gave an object');
    expect(failed(() => Number.NaN).remedy).toContain('undefined where the metric does not apply');
  });

  test('may be NaN of answers that hold one', () => {
    const nan = { logits: logits([[Number.NaN, 0]]), labels: [0] };
    expect(measured([own(() => Number.NaN)], nan)).toEqual({ own: Number.NaN });
    expect(measured(metrics, nan)).toMatchObject({ accuracy: 0, negativeLogLikelihood: Number.NaN });
  });
});

describe('top-k accuracy', () => {
  const rows = logits([
    [5, 4, 3, 2],
    [5, 4, 3, 2],
    [1, 1, 1, 1],
    [Number.NaN, 9, 0, 0],
  ]);

  test('counts labels among the k largest logits; of equal ones the lowest class comes first', () => {
    expect(topAccuracy(rows, [1, 2, 1, 1], 2)).toBe(2 / 4);
    expect(topAccuracy(rows, [1, 2, 2, 1], 2)).toBe(1 / 4);
    expect(topAccuracy(rows, [1, 2, 2, 1], 3)).toBe(3 / 4);
  });

  test('of the first alone is accuracy', () => {
    fc.assert(
      fc.property(examples, (of) => {
        const { student, labels } = split(of);
        expect(topAccuracy(student, labels, 1)).toBe(accuracy(student, labels));
        expect(topAccuracy(student, labels, 4)).toBe(1);
      }),
    );
  });
});

describe('what a defence does to answers', () => {
  const clean = log([[0.7, 0.2, 0.1]]);
  const shift = (...given: readonly number[]) => answerShift(clean, log([given]));

  test('is their L1 distance, KL(given ‖ clean), and whether the class is another', () => {
    // Reverse sigmoid, β 0.21 and γ 0.2.
    const reversed = shift(0.67210747, 0.20856233, 0.1193302);
    expect(reversed.l1).toBeCloseTo(0.055785, 6);
    expect(reversed.kl).toBeCloseTo(0.0025023, 7);
    expect(reversed.changed).toBe(0);
    // An answer of which the class was kept by force, and the one before that.
    expect(shift(0.477822, 0.477722, 0.044456)).toMatchObject({ l1: expect.closeTo(0.555444, 6), changed: 0 });
    expect(shift(0.3, 0.7, 0)).toMatchObject({ l1: expect.closeTo(1, 6), kl: expect.closeTo(0.622745, 6), changed: 1 });
  });

  test('is finite where classes are ruled out', () => {
    // The label alone.
    expect(shift(1, 0, 0)).toMatchObject({ l1: expect.closeTo(0.6, 6), kl: expect.closeTo(-Math.log(0.7), 6) });
    // A stingy teacher of logits, which keeps two of five.
    const stingy = answerShift(logits([[2, 1, 0.5, -1, 0]]), log([[0.731059, 0.268941, 0, 0, 0]]));
    expect(stingy.l1).toBeCloseTo(0.45971, 6);
    expect(stingy.kl).toBeCloseTo(0.261176, 6);
    expect(stingy.changed).toBe(0);
  });

  test('is a mean over answers, nothing for what is passed on, and blind to a constant added to the clean logits', () => {
    const two = log([
      [0.7, 0.2, 0.1],
      [0.7, 0.2, 0.1],
    ]);
    const half = log([
      [0.7, 0.2, 0.1],
      [0.1, 0.2, 0.7],
    ]);
    expect(answerShift(two, half)).toMatchObject({ l1: expect.closeTo(0.6, 6), changed: 0.5 });
    const nothing = { l1: expect.closeTo(0, 6), kl: expect.closeTo(0, 6), changed: 0 };
    expect(answerShift(clean, clean)).toEqual(nothing);
    expect(answerShift(logits([[103, 102, 101]]), log([[0.66524096, 0.24472847, 0.09003057]]))).toEqual(nothing);
  });

  test('is of probabilities as they are told; KL is of those made to sum to 1, and equals keep the class', () => {
    const of = (p: readonly number[], q: readonly number[]) => answerShift(log([p]), log([q]));
    expect(of([0.5, 0.3, 0.2], [0.5, 0, 0])).toMatchObject({
      ...{ l1: expect.closeTo(0.5, 6), kl: expect.closeTo(Math.log(2), 6), changed: 0 },
    });
    expect(of([0.34, 0.33, 0.33], [0.3, 0.3, 0.3]).l1).toBeCloseTo(0.1, 6);
    expect(of([0.35, 0.36, 0.29], [0.4, 0.4, 0.3]).changed).toBe(0);
    expect(of([0.35, 0.36, 0.29], [0.5, 0.4, 0.1]).changed).toBe(1);
    expect(of([0.35, 0.36, 0.29], [Number.NaN, 0.4, 0.1]).changed).toBe(1);
  });

  test('has an L1 between 0 and 2, the same both ways', () => {
    fc.assert(
      fc.property(examples, (of) => {
        const { student, victim } = split(of);
        const distance = l1Distance(student, victim);
        expect(distance).toBeGreaterThanOrEqual(0);
        expect(distance).toBeLessThanOrEqual(2 + 1e-12);
        expect(l1Distance(victim, student)).toBeCloseTo(distance, 12);
      }),
    );
  });
});

describe('what does not fit is refused', () => {
  const two = logits([
    [1, 0],
    [0, 1],
  ]);
  test.each([
    [() => accuracy(two, [0]), /1 labels for 2 rows/],
    [() => accuracy(two, [0, 2]), /label 2 of row 1 is not in 0 … 1/],
    [() => negativeLogLikelihood(two, [0, -1]), /label -1/],
    [() => calibrationError(two, [0, 0.5]), /label 0.5/],
    [() => agreement(two, logits([[1, 0]])), /\[2, 2\] and \[1, 2\]/],
    [() => klToVictim(two, logits([[1, 0, 0]])), /not of the same examples/],
    [() => accuracy({ values: new Float32Array(3), classes: 2 }, [0]), /3 logits/],
    [() => accuracy({ values: new Float32Array(0), classes: 2 }, []), /0 logits/],
  ])('(%#)', (compute, message) => {
    expect(compute).toThrow(message);
  });
});
