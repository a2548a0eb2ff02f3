import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
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
  /** The whole stack of what a plugin threw. */
  readonly trace?: string | undefined;
}

export type Result<A> = E.Either<Failure, A>;
/** A computation that may fail, not begun before it is called (fp-ts). A plugin may give one, or a promise. */
export type Task<A> = TE.TaskEither<Failure, A>;

/** A failure as a value, to be thrown as a `FailureError`: what happened as a clause, the remedy as a sentence. */
export const failure = (
  kind: FailureKind,
  what: string,
  extra: Pick<Failure, 'where' | 'remedy' | 'trace'> = {},
): Failure => ({
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

/** What TensorFlow's bindings put before TensorFlow's own words. */
const bindingsPreface = /^Invalid TF_Status: \d+\nMessage: /;

/** The first line of what something that was thrown says. */
export const firstLine = (thrown: unknown): string => saidBy(thrown).split('\n')[0] as string;

/** What something that was thrown says of itself. A plugin may throw anything, also what says nothing or cannot be looked into. */
export const saidBy = (thrown: unknown): string => {
  try {
    const said = thrown instanceof Error ? String(thrown.message) || thrown.name : String(thrown);
    return said.replace(bindingsPreface, '') || 'it threw without a word';
  } catch {
    return 'it threw what cannot be shown';
  }
};

/** Any thrown value as a failure: one of ours is kept as it is, anything else becomes one of `kind`. */
export const toFailure =
  (kind: FailureKind, where?: string, remedy?: string) =>
  (thrown: unknown): Failure => {
    if (isFailure(thrown)) return thrown;
    const failed = thrown instanceof FailureError ? thrown.failure : failure(kind, saidBy(thrown), { where, remedy });
    const trace = failed.kind === 'plugin' ? (failed.trace ?? stackOf(thrown)) : undefined;
    return trace === undefined ? failed : { ...failed, trace };
  };

/** The stack of what was thrown; undefined where it has none, or cannot be looked into. */
const stackOf = (thrown: unknown): string | undefined => {
  try {
    const stack = thrown instanceof Error ? thrown.stack : undefined;
    return typeof stack === 'string' ? stack : undefined;
  } catch {
    return undefined;
  }
};

/**
 * This package's own code, and what it is built with: nothing that who writes a plugin could mend. TensorFlow.js is named by where its
 * source maps say that it was.
 */
const isOurs = (place: string): boolean =>
  /\/node_modules\/|\/tfjs[\w-]*\/src\//.test(place) ||
  ['src/', 'dist/', 'bin/'].some((room) => place.startsWith(`${root}${room}`));

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The stack of who calls this, through all that lies between a plugin's line and the operation that it comes to. */
export const deepStack = (what: string): string => {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 100;
  try {
    return new Error(what).stack ?? what;
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
};

/** Frames of a stack that are shown. */
const mostFrames = 5;

/** The frames of a stack that lie in the user's own files, innermost first: `helper (plugins/mine.ts:22:47)`. */
export const ownFrames = (trace: string): readonly string[] =>
  trace
    .split('\n')
    .flatMap((line) => {
      const [, name, place] = /^\s+at (?:(.+) \()?((?:file:\/\/)?\/[^()]+:\d+:\d+)\)?$/.exec(line) ?? [];
      const path = place?.startsWith('file://') ? decodeURI(place.slice('file://'.length)) : place;
      if (path === undefined || isOurs(path)) return [];
      const near = relative(process.cwd(), path);
      const shown = near.startsWith('..') ? path : near;
      return [name === undefined ? shown : `${name} (${shown})`];
    })
    .slice(0, mostFrames);

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
  const { stack } = new Error();
  let running: Promise<E.Either<Failure, A>> | undefined;
  const task: Task<A> = () => {
    running ??= attempt(kind, run, where)().then(E.mapLeft(calledFrom(stack)));
    return running;
  };
  const then: PromiseLike<A>['then'] = (fulfilled, rejected) => orThrow(task).then(fulfilled, rejected);
  return Object.assign(() => task(), { then });
};

/** A plugin's failure with a stack that leads to the plugin: if its own does not, that of who called for what failed. */
const calledFrom =
  (stack: string | undefined) =>
  (failed: Failure): Failure =>
    failed.kind !== 'plugin' || stack === undefined || ownFrames(failed.trace ?? '').length > 0
      ? failed
      : { ...failed, trace: [failed.trace ?? failed.what, stack.replace(/^Error/, 'called')].join('\n') };

/** `where: what`, and on lines of their own where in the user's files it was thrown, and the remedy. */
export const showFailure = ({ what, where, remedy, trace = '' }: Failure): string =>
  [
    `${where === undefined ? '' : `${where}: `}${what}`,
    ...ownFrames(trace).map((frame) => `  at ${frame}`),
    ...(remedy === undefined ? [] : [`  ${remedy}`]),
  ].join('\n');
