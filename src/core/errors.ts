import * as E from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';

/** What can go wrong in the world outside. Every kind is handled by the command line; none prints a stack trace. */
export type FailureKind =
  | 'usage' // the command line
  | 'experiment' // the experiment file, or a value in it
  | 'data' // a data set: missing, truncated, corrupt, of the wrong kind
  | 'engine' // TensorFlow cannot be installed or loaded
  | 'store' // disk: full, read-only, altered stage outputs
  | 'diverged' // training produced non-finite values or stayed at chance
  | 'plugin' // an attack or a defence threw
  | 'cluster' // a scheduler refuses, cannot be reached, or ended a job
  | 'interrupted'; // Ctrl-C

/** A failure says what happened, where (file, field or value), and what to do about it. */
export interface Failure {
  readonly _tag: 'Failure';
  readonly kind: FailureKind;
  readonly what: string;
  readonly where?: string | undefined;
  readonly remedy?: string | undefined;
}

export type Result<A> = E.Either<Failure, A>;
/** A computation that may fail, not begun before it is called (fp-ts). A plugin may give one, or a promise. */
export type Task<A> = TE.TaskEither<Failure, A>;

/** A failure as a value, to be thrown as a `FailureError`: what happened as a clause, the remedy as a sentence. */
export const failure = (kind: FailureKind, what: string, extra: Pick<Failure, 'where' | 'remedy'> = {}): Failure => ({
  _tag: 'Failure',
  kind,
  what,
  ...extra,
});

/** A failure as a throwable, for code that runs inside a callback or a constructor and is decoded again at the edge. */
export class FailureError extends Error {
  constructor(readonly failure: Failure) {
    super(showFailure(failure));
    this.name = 'FailureError';
  }
}

export const isFailure = (value: unknown): value is Failure =>
  typeof value === 'object' && value !== null && (value as { _tag?: unknown })._tag === 'Failure';

/** What something that was thrown says of itself. A plugin may throw anything, also what says nothing or cannot be looked into. */
export const saidBy = (thrown: unknown): string => {
  try {
    return (
      (thrown instanceof Error ? String(thrown.message) || thrown.name : String(thrown)) || 'it threw without a word'
    );
  } catch {
    return 'it threw what cannot be shown';
  }
};

/** Any thrown value as a failure: one of ours is kept as it is, anything else becomes one of `kind`. */
export const toFailure =
  (kind: FailureKind, where?: string, remedy?: string) =>
  (thrown: unknown): Failure => {
    if (thrown instanceof FailureError) return thrown.failure;
    if (isFailure(thrown)) return thrown;
    return failure(kind, saidBy(thrown), { where, remedy });
  };

/** A promise-returning function as a task whose rejection is a failure of `kind`. */
export const attempt = <A>(kind: FailureKind, run: () => Promise<A> | A, where?: string, remedy?: string): Task<A> =>
  TE.tryCatch(async () => run(), toFailure(kind, where, remedy));

/** The value of a result; its failure is thrown as a `FailureError`. */
export const orFail = <A>(result: Result<A>): A => {
  if (E.isLeft(result)) throw new FailureError(result.left);
  return result.right;
};

/** Runs a task inside `async` code; its failure is thrown as a `FailureError`. */
export const orThrow = async <A>(task: Task<A>): Promise<A> => orFail(await task());

/** Throws a `FailureError`: what is wrong, where, and what to do about it. */
export type Refusal = (what: string, where?: string, remedy?: string) => never;

/**
 * What refuses with failures of one kind. The constant that it is bound to needs its type, by which the compiler knows
 * that nothing comes after: `const refuse: Refusal = refusal('data')`.
 */
export const refusal =
  (kind: FailureKind): Refusal =>
  (what, where, remedy) => {
    throw new FailureError(failure(kind, what, { where, remedy }));
  };

/** A fp-ts task that may be awaited as well: `await` gives its value, or throws its failure as a `FailureError`. */
export type Awaitable<A> = Task<A> & PromiseLike<A>;

/**
 * A promise-returning function as a task to be chained or awaited. It runs once, when it is first called or awaited.
 */
export const awaitable = <A>(kind: FailureKind, run: () => Promise<A>, where?: string): Awaitable<A> => {
  let running: Promise<E.Either<Failure, A>> | undefined;
  const task: Task<A> = () => {
    running ??= attempt(kind, run, where)();
    return running;
  };
  const then: PromiseLike<A>['then'] = (fulfilled, rejected) => orThrow(task).then(fulfilled, rejected);
  return Object.assign(() => task(), { then });
};

/** `where: what`, and the remedy on a line of its own. */
export const showFailure = ({ what, where, remedy }: Failure): string =>
  `${where === undefined ? '' : `${where}: `}${what}${remedy === undefined ? '' : `\n  ${remedy}`}`;
