import { describe, expect, it } from 'vitest';
import { FailureError, failure, saidBy, toFailure } from '../../src/core/errors.js';

const throwing = (): never => {
  throw new Error('inner');
};

describe('what is thrown', () => {
  it('is a failure that says something, whatever it is', () => {
    const unshown = 'it threw what cannot be shown';
    for (const [thrown, said] of [
      [new Error('a reason'), 'a reason'],
      [new TypeError(''), 'TypeError'],
      [Object.assign(new Error(''), { name: '' }), 'it threw without a word'],
      ['a text', 'a text'],
      ['', 'it threw without a word'],
      [undefined, 'undefined'],
      [null, 'null'],
      [Symbol('x'), 'Symbol(x)'],
      [Object.create(null), unshown],
      [Object.defineProperty(new Error(''), 'message', { get: throwing }), unshown],
    ] as const) {
      expect(saidBy(thrown)).toBe(said);
      expect(toFailure('plugin', 'here')(thrown)).toMatchObject({ kind: 'plugin', what: said, where: 'here' });
    }
  });

  it('is the failure itself where it is one', () => {
    const known = failure('data', 'a reason');
    expect(toFailure('plugin')(new FailureError(known))).toBe(known);
    expect(toFailure('plugin')(known)).toBe(known);
  });
});
