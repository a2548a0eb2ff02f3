import { describe, expect, test } from 'vitest';
import { differenceSpread, shareSpread, spread, studentQuantile } from '../../src/results/spread.js';

describe('the quantile of Student’s t', () => {
  // From printed tables, to as many places as these have.
  test.each([
    [1, 12.7062],
    [2, 4.3027],
    [3, 3.1824],
    [4, 2.7764],
    [5, 2.5706],
    [9, 2.2622],
    [10, 2.2281],
    [19, 2.093],
    [30, 2.0423],
    [120, 1.9799],
  ])('of %d degrees of freedom is %d', (freedom, value) => {
    expect(studentQuantile(freedom)).toBeCloseTo(value, 4);
  });

  test('falls to that of a normal distribution', () => {
    expect(studentQuantile(100_000)).toBeCloseTo(1.96, 3);
    const quantiles = Array.from({ length: 60 }, (_, i) => studentQuantile(i + 1));
    for (const [i, value] of quantiles.slice(1).entries()) expect(value).toBeLessThan(quantiles[i] as number);
  });
});

describe('a spread', () => {
  test('of nothing is none; of one seed has a mean and neither deviation nor interval', () => {
    expect(spread([])).toBeUndefined();
    expect(spread([0.5])).toEqual({ mean: 0.5, count: 1 });
  });

  test('of several has the interval of their mean', () => {
    // 0.9 and 0.94: sd 0.0282843, divided by √2 0.02, times 12.7062.
    const two = spread([0.9, 0.94]);
    expect(two).toMatchObject({ count: 2, mean: expect.closeTo(0.92, 12), sd: expect.closeTo(0.0282843, 7) });
    expect(two?.interval).toEqual([expect.closeTo(0.92 - 0.254124, 6), expect.closeTo(0.92 + 0.254124, 6)]);
    // 1, 2, 3: sd 1, 4.30265 / √3.
    expect(spread([1, 2, 3])?.interval).toEqual([expect.closeTo(2 - 2.484138, 6), expect.closeTo(2 + 2.484138, 6)]);
  });

  test('of equal numbers is of no width', () => {
    expect(spread([0.25, 0.25, 0.25])).toEqual({ mean: 0.25, sd: 0, interval: [0.25, 0.25], count: 3 });
  });
});

describe('a spread of shares', () => {
  test('has an interval that stays a share, around the mean', () => {
    const [low, high] = shareSpread([0.99, 0.9995])?.interval ?? [Number.NaN, Number.NaN];
    expect(spread([0.99, 0.9995])?.interval?.[1]).toBeGreaterThan(1);
    expect(low).toBeGreaterThan(0);
    expect(low).toBeLessThan(0.99475);
    expect(high).toBeGreaterThan(0.99475);
    expect(high).toBeLessThan(1);
  });

  test('is that of log-odds: of 0.4 and 0.6, 0 ± 12.7062 · 0.141421 / √2 / 0.25', () => {
    const { mean, sd, interval } = shareSpread([0.4, 0.6]) ?? {};
    expect([mean, sd]).toEqual([expect.closeTo(0.5, 12), expect.closeTo(0.141421, 6)]);
    const low = 1 / (1 + Math.exp(12.7062 * 0.4));
    expect(interval).toEqual([expect.closeTo(low, 6), expect.closeTo(1 - low, 6)]);
  });

  test('of nothing but 0, or 1, is of no width', () => {
    expect(shareSpread([1, 1, 1])).toMatchObject({ mean: 1, interval: [1, 1] });
    expect(shareSpread([0, 0])).toMatchObject({ mean: 0, interval: [0, 0] });
    expect(shareSpread([0.7])).toEqual({ mean: 0.7, count: 1 });
  });
});

test('the interval of a difference of shares stays within −1 to 1', () => {
  expect(differenceSpread([-0.1, 0.2])?.interval).toEqual([-1, 1]);
  expect(differenceSpread([0.01, 0.02])).toEqual(spread([0.01, 0.02]));
  expect(differenceSpread([0.3])).toEqual({ mean: 0.3, count: 1 });
});
