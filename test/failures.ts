import { type Failure, FailureError } from '../src/core/errors.js';

const failureIn = (thrown: unknown): Failure => {
  if (thrown instanceof FailureError) return thrown.failure;
  throw thrown;
};

/** The failure that a function throws; anything else that is thrown fails the test. */
export const refusal = (run: () => unknown): Failure => {
  try {
    run();
  } catch (thrown) {
    return failureIn(thrown);
  }
  throw new Error('it was accepted');
};

/** The failure that a promise rejects with, or a function ends with; anything else that is thrown fails the test. */
export const failureOf = async (run: PromiseLike<unknown> | (() => unknown)): Promise<Failure> => {
  try {
    await (typeof run === 'function' ? run() : run);
  } catch (thrown) {
    return failureIn(thrown);
  }
  throw new Error('it succeeded');
};
