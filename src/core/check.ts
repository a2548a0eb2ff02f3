import { FailureError, failure } from './errors.js';

/** A condition on a number, and how to say it. */
export interface Condition {
  readonly holds: (value: number) => boolean;
  readonly says: string;
}

export const positive: Condition = { holds: (value) => value > 0, says: 'a number above 0' };
export const atLeast = (bound: number): Condition => ({ holds: (value) => value >= bound, says: `a number of at least ${bound}` });
export const between = (low: number, high: number): Condition => ({
  holds: (value) => value >= low && value <= high,
  says: `a number from ${low} to ${high}`,
});
/** A share of something: above 0, at most 1. */
export const share: Condition = { holds: (value) => value > 0 && value <= 1, says: 'a number above 0 and at most 1' };
export const wholeAtLeast = (bound: number): Condition => ({
  holds: (value) => Number.isInteger(value) && value >= bound,
  says: `a whole number of at least ${bound}`,
});

/** Throws a `FailureError` of kind `experiment` that names `owner(field)` for the first value that breaks its condition. */
export const checked = <Field extends string>(
  owner: string,
  conditions: Readonly<Record<Field, Condition>>,
  values: Readonly<Record<Field, number>>,
): void => {
  for (const field of Object.keys(conditions) as Field[]) {
    const value: unknown = values[field];
    const { holds, says } = conditions[field];
    if (typeof value !== 'number' || !Number.isFinite(value) || !holds(value)) {
      throw new FailureError(
        failure('experiment', `${field} is ${String(value)}`, { where: owner, remedy: `Give ${says}.` }),
      );
    }
  }
};
