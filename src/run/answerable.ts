import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Failure, FailureError, failure, toFailure } from '../core/errors.js';

/** Work that is under way, or was: what it left behind may still throw. */
interface Work {
  readonly label: string;
  /** Whether what nobody is known for is taken for this one's. */
  readonly isAlone: boolean;
  readonly lose: (failure: Failure) => void;
}

const works = new AsyncLocalStorage<Work>();
const underWay = new Set<Work>();

/** Milliseconds that work which is lost has to end by itself: a fit saves its state at the next step. */
const toEnd = 5_000;

const neverSettled = failure('plugin', 'it waits for a promise that can never be settled: nothing else is under way', {
  remedy: 'Look for a `new Promise` that calls neither of its functions, or for an event that does not come.',
});

/** A throw that no promise of the work's passes on: of a timer, an event, or a promise that nobody waits for. */
const thrownAside = (error: unknown): Failure => {
  const { what } = toFailure('plugin')(error);
  const place =
    error instanceof Error ? /^\s+at .*?((?:file:|\/)[^()]*:\d+:\d+)\)?$/m.exec(error.stack ?? '')?.[1] : '';
  return failure('plugin', `${what}${place ? ` (${place})` : ''}`, {
    remedy:
      'A timer, an event or a promise that nobody waits for threw this: await what is begun, or catch its errors.',
  });
};

const onIdle = (): void => {
  for (const work of underWay) work.lose(neverSettled);
};

const onThrown = (error: unknown): void => {
  const known = works.getStore();
  const work = known ?? [...underWay].find(({ isAlone }) => isAlone);
  if (work === undefined) {
    if (hear !== undefined) hear(thrownAside(error));
    // Not of our work: as without us, it ends the process, unless others listen.
    else if (process.listenerCount('uncaughtException') === 1) throw error;
  } else if (underWay.has(work)) work.lose(thrownAside(error));
  else process.emitWarning(`${work.label}, which has ended, threw: ${thrownAside(error).what}`);
};

let listening = 0;

/** From here on this process survives what its work throws aside, also what ended work does. */
export const listen = (): void => {
  listening += 1;
  if (listening > 1) return;
  process.on('beforeExit', onIdle);
  process.on('uncaughtException', onThrown);
};

const leave = (): void => {
  listening -= 1;
  if (listening > 0) return;
  process.off('beforeExit', onIdle);
  process.off('uncaughtException', onThrown);
};

/** Told what is thrown aside while no work is under way. */
let hear: ((failure: Failure) => void) | undefined;

/** From here on this process survives what is thrown aside by nobody's work too, such as by an experiment file: `told` hears it. */
export const hearThrown = (told: (failure: Failure) => void): void => {
  hear = told;
  listen();
};

/** Whose code is running, as far as is known: also of work that has ended. */
export const runningWork = (): string | undefined => works.getStore()?.label;

export interface AnswerableOptions {
  readonly signal?: AbortSignal | undefined;
  /** The process does nothing else: told when it is of no more use, since what was lost may still be going on in it. */
  readonly onLost?: (() => void) | undefined;
}

/**
 * Does work that answers for what it leaves to nobody. A promise that can never be settled, since nothing else is under
 * way in this process, and an error that is thrown where no promise passes it on, would end the process; here it is the
 * work that fails. `signal` ends with the one given, and when the work is lost.
 */
export const answerable = async <A>(
  label: string,
  work: (signal: AbortSignal) => Promise<A>,
  { signal, onLost }: AnswerableOptions = {},
): Promise<A> => {
  const lost = new AbortController();
  let why: Failure | undefined;
  let lose: Work['lose'] = () => undefined;
  const isLost = new Promise<void>((resolve) => {
    lose = (failed) => {
      why ??= failed;
      resolve();
    };
  });
  const own: Work = { label, isAlone: onLost !== undefined, lose };
  listen();
  underWay.add(own);
  try {
    const all = signal === undefined ? lost.signal : AbortSignal.any([signal, lost.signal]);
    const done = works.run(own, async () => work(all));
    const ended = done.then(nothing, nothing);
    await Promise.race([ended, isLost]);
    if (why === undefined) return await done;
    onLost?.();
    lost.abort();
    await Promise.race([ended, sleep(why === neverSettled ? 0 : toEnd)]);
    throw new FailureError(why);
  } finally {
    underWay.delete(own);
    leave();
  }
};

const nothing = (): void => undefined;
