import { expect, test } from 'vitest';
import { paceOf } from '../../src/engine/pace.js';

test('so many steps go into a call, where that is said', () => {
  const pace = paceOf(3);
  expect([pace.stride, pace.begin('said'), pace.took(0, 1), pace.stride]).toEqual([3, false, false, 3]);
});

test('as many as the time of a step says, when it was taken 32 times', () => {
  const asked: number[] = [];
  const pace = paceOf((milliseconds) => {
    asked.push(milliseconds);
    return 4;
  });
  expect(pace.begin('timed')).toBe(false);
  // The first one is slow, and what is evaluated beside it counts for nothing.
  const told = Array.from({ length: 32 }, (_, i) => [pace.took(0, i === 0 ? 900 : 2), pace.took(1, 50)]);
  expect(told.map(([longer]) => longer)).toEqual([...Array(31).fill(false), true]);
  expect([asked, pace.stride]).toEqual([[2], 4]);
  expect([pace.took(0, 1), pace.begin('another')]).toEqual([false, false]);
  // The next runner of the same graph times nothing.
  const next = paceOf((milliseconds) => milliseconds + 1);
  expect([next.begin('timed'), next.stride]).toEqual([true, 3]);
});

test('one, where a step takes too long for more', () => {
  const pace = paceOf(() => 1);
  pace.begin('long');
  expect(Array.from({ length: 40 }, () => pace.took(0, 20))).not.toContain(true);
  expect(pace.stride).toBe(1);
});
