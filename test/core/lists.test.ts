import { expect, test } from 'vitest';
import { extent, grouped, median, own, thinned, unique } from '../../src/core/lists.js';

test('each value once, where it came first', () => {
  expect(unique([2, 1, 2, 3, 1])).toEqual([2, 1, 3]);
});

test('a record has its own and inherits nothing', () => {
  expect([own({ a: 1 }, 'a'), own({ a: 1 }, 'b'), own(undefined, 'a')]).toEqual([1, undefined, undefined]);
  for (const name of ['constructor', 'toString', '__proto__']) expect(own({}, name)).toBe(undefined);
});

test('a long list is thinned evenly, its ends kept', () => {
  expect(
    thinned(
      Array.from({ length: 9 }, (_, i) => i),
      5,
    ),
  ).toEqual([0, 2, 4, 6, 8]);
  expect(thinned([1, 2, 3], 3)).toEqual([1, 2, 3]);
  expect(thinned([], 3)).toEqual([]);
  expect([thinned([1, 2, 3], 1), thinned([1, 2, 3], 0)]).toEqual([[1], []]);
});

test('the least and the greatest of any number of values', () => {
  expect(extent([2, -1, 3])).toEqual([-1, 3]);
  expect(extent([])).toEqual([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]);
  expect(extent(Array.from({ length: 200_000 }, (_, i) => i))).toEqual([0, 199_999]);
});

test('values are grouped by a key, both in the order in which they came', () => {
  const groups = grouped(['owl', 'cat', 'otter', 'cow'], (word) => word.charAt(0));
  expect([...groups]).toEqual([
    ['o', ['owl', 'otter']],
    ['c', ['cat', 'cow']],
  ]);
});

test('the median is the one in the middle, of two their mean', () => {
  expect([median([3]), median([10, 1, 2]), median([4, 1, 10, 2])]).toEqual([3, 2, 3]);
  expect(median([])).toBeNaN();
});
