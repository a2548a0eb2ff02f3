import { describe, expect, test } from 'vitest';
import { spread, studentQuantile } from '../../src/results/spread.js';

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
