import { expect, test } from 'vitest';
import { instrumented } from '../../src/core/instrumented.js';

test('functions are themselves, but for what a watcher makes of them while there is one', () => {
  const sums = instrumented<(a: number, b: number) => number, string>();
  const plus = sums.of('plus', (a, b) => a + b);
  const seen: string[] = [];
  const negated = (): number =>
    sums.watch(
      (name, f) => (a, b) => {
        seen.push(`${name} ${a} ${b}`);
        return -f(a, b);
      },
      () => plus(1, 2),
    );
  expect(plus(1, 2)).toBe(3);
  expect(negated()).toBe(-3);
  // A watcher in another one's body takes its place until it is done.
  expect(
    sums.watch(
      (_, f) => (a, b) => 10 * f(a, b),
      () => [plus(1, 1), negated(), plus(1, 1)],
    ),
  ).toEqual([20, -3, 20]);
  expect(() =>
    sums.watch(
      (_, f) => f,
      () => {
        throw new Error('in between');
      },
    ),
  ).toThrow('in between');
  expect(plus(1, 2)).toBe(3);
  expect(seen).toEqual(['plus 1 2', 'plus 1 2']);
});
