import { FailureError, failure } from './errors.js';

/** A condition on a number, and how to say it. */
export interface Condition {
  readonly holds: (value: number) => boolean;
  readonly says: string;
}

export const positive: Condition = { holds: (value) => value > 0, says: 'a number above 0' };
export const atLeast = (bound: number): Condition => ({
  holds: (value) => value >= bound,
  says: `a number of at least ${bound}`,
});
export const between = (low: number, high: number): Condition => ({
  holds: (value) => value >= low && value <= high,
  says: `a number from ${low} to ${high}`,
});
/** A share of something: above 0, at most 1. */
export const share: Condition = { holds: (value) => value > 0 && value <= 1, says: 'a number above 0 and at most 1' };
export const wholeBetween = (low: number, high: number): Condition => ({
  holds: (value) => Number.isInteger(value) && value >= low && value <= high,
  says: `a whole number from ${low} to ${high}`,
});
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
        failure('experiment', `${field} is ${shown(value)}`, { where: owner, remedy: `Give ${says}.` }),
      );
    }
  }
};

/** Throws a `FailureError` of kind `experiment` when a value is none of `choices`. */
export const oneOf = (owner: string, field: string, value: unknown, choices: readonly string[]): void => {
  if (choices.includes(value as string)) return;
  throw new FailureError(
    failure('experiment', `${field} is ${shown(value)}`, { where: owner, remedy: `Give ${choices.join(' or ')}.` }),
  );
};

/**
 * Throws a `FailureError` of kind `experiment` when options are left that nobody reads: experiment files run without a
 * type check, and a misspelt option would quietly mean its default.
 */
export const nothingElse = (owner: string, rest: Readonly<Record<string, unknown>>): void => {
  const [name] = Object.keys(rest);
  if (name === undefined) return;
  throw new FailureError(
    failure('experiment', `${name} is none of its options`, {
      where: owner,
      remedy: 'Correct the name, or take it out.',
    }),
  );
};

/** `defaults` with what was changed of them. Throws as `nothingElse` does for a name that is not among them. */
export const withDefaults = <Options extends object>(
  owner: string,
  defaults: Options,
  changed: Partial<Options>,
): Options => {
  const names = Object.keys(changed) as (keyof Options & string)[];
  nothingElse(owner, Object.fromEntries(names.filter((name) => !(name in defaults)).map((name) => [name, true])));
  const given = names.filter((name) => changed[name] !== undefined).map((name) => [name, changed[name]]);
  return { ...defaults, ...Object.fromEntries(given) };
};

const shown = (value: unknown): string => (typeof value === 'string' ? JSON.stringify(value) : String(value));
