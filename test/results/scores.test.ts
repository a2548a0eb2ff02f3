import { describe, expect, test } from 'vitest';
import { seedsToTell, undistillability } from '../../src/results/scores.js';
import { type Spread, spread, studentQuantile } from '../../src/results/spread.js';

const of = (...values: readonly number[]): Spread => spread(values) as Spread;

describe('whether a defence is undistillable', () => {
  test('is not told by a mean whose interval reaches over 0', () => {
    const best = of(-0.004, 0.003, -0.001);
    expect(undistillability(best, [best])).toMatchObject({ undistillable: 'undecided' });
  });

  test('is not told by one seed, of which two would be the least', () => {
    expect(undistillability(of(-0.3), [of(-0.3)])).toEqual({ undistillable: 'undecided', seedsToTell: 2 });
  });

  test('is refuted by one attack that is surely above, and shown only by all that are surely not', () => {
    const [above, below, wide] = [of(0.02, 0.021, 0.022), of(-0.02, -0.021, -0.022), of(-0.09, 0.03, -0.05)];
    expect(undistillability(above, [above, below])).toEqual({ undistillable: 'no' });
    expect(undistillability(below, [below])).toEqual({ undistillable: 'yes' });
    // The best by its mean is below, and another one may still be above.
    const { undistillable, seedsToTell: seeds } = undistillability(below, [below, wide]);
    expect(undistillable).toBe('undecided');
    expect(seeds).toBe(seedsToTell(wide));
  });
});

describe('how many seeds tell a difference from 0', () => {
  test('is the first number with an interval beside 0', () => {
    const [mean, sd] = [0.5, 1];
    const count = seedsToTell({ mean, sd });
    const half = (n: number) => (studentQuantile(n - 1) * sd) / Math.sqrt(n);
    expect(half(count)).toBeLessThan(mean);
    expect(half(count - 1)).toBeGreaterThanOrEqual(mean);
  });

  test('is none where there is no difference to tell', () => {
    expect(seedsToTell({ mean: 0, sd: 0.01 })).toBe(Number.POSITIVE_INFINITY);
    expect(undistillability(of(-0.01, 0.01), [of(-0.01, 0.01)])).toEqual({ undistillable: 'undecided' });
  });
});
