import { setTimeout as sleep } from 'node:timers/promises';
import { failure, toFailure } from '../core/errors.js';
import type { Stage } from '../experiment/stage.js';
import { answerable } from './answerable.js';
import { readRecord } from './outputs.js';
import type { Outcome } from './record.js';
import { runStage } from './stage.js';
import type { Store } from './store.js';
import type { RunEnvironment, StageEvent } from './types.js';

/** Runs one stage whose inputs are there. How many it is given at a time is its crew's business. */
export interface Executor {
  run(stage: Stage, emit: (event: StageEvent) => void, waiting: (holder: string) => void): Promise<Outcome>;
  close(): Promise<void>;
}

/** A stage's outcome as it lies in the store: done, or diverged; undefined when it must be made. */
export const readLocally = async (store: Store, stage: Stage): Promise<Outcome | undefined> => {
  const found = await store.find(stage.id);
  if (found === undefined) return undefined;
  const record = await readRecord(found);
  return record.failure === undefined
    ? { status: 'cached', record }
    : { status: 'failed', failure: record.failure, record };
};

/** Milliseconds between two looks at a stage that another process is making. */
const lookAgain = 1000;

/**
 * Runs stages in this process, which a stage that blocks it, fills its memory or ends it takes with it.
 *
 * @param onLost for a process that does nothing else: told when it is of no more use (see `answerable`)
 */
export const localExecutor = (environment: RunEnvironment, onLost?: () => void): Executor => ({
  run: async (stage, emit, waiting) => {
    let told = false;
    for (;;) {
      if (environment.signal?.aborted) return { status: 'failed', failure: failure('interrupted', 'stopped') };
      const staging = await environment.store.begin(stage.id);
      if (staging !== undefined) {
        try {
          // Another process may have finished it between our look and our lock.
          const finished = await readLocally(environment.store, stage);
          if (finished !== undefined) return finished;
          const make = (signal: AbortSignal) => runStage({ ...environment, signal }, stage, staging, emit);
          const record = await answerable(stage.label, make, { signal: environment.signal, onLost });
          return { status: 'done', record };
        } catch (error) {
          return { status: 'failed', failure: toFailure('plugin', stage.label)(error) };
        } finally {
          await staging.release();
        }
      }
      const holder = told ? undefined : await environment.store.holder(stage.id);
      if (holder !== undefined) {
        waiting(holder);
        told = true;
      }
      await sleep(lookAgain);
      const finished = await readLocally(environment.store, stage);
      if (finished !== undefined) return finished;
    }
  },
  close: async () => undefined,
});
