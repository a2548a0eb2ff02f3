import { type Failure, FailureError, failure, toFailure } from '../core/errors.js';
import type { Plan, Stage } from '../experiment/plan.js';
import { type Executor, readLocally } from './executor.js';
import type { Outcome } from './record.js';
import type { Store } from './store.js';
import type { StageEvent } from './types.js';

/** What a run tells, in order. */
export type RunEvent =
  | { readonly type: 'start'; readonly stage: Stage; readonly number: number; readonly of: number }
  | { readonly type: 'stage'; readonly stage: Stage; readonly event: StageEvent }
  | { readonly type: 'waiting'; readonly stage: Stage }
  | {
      readonly type: 'end';
      readonly stage: Stage;
      readonly outcome: Outcome;
      readonly ended: number;
      readonly of: number;
    };

/** Failures after which going on with other stages is pointless or wrong. */
const fatal: readonly Failure['kind'][] = ['interrupted', 'store', 'engine'];

/**
 * Executes what the store lacks. A stage that fails is an outcome like any other and only those that need it are
 * skipped. Rejects with a `FailureError` when the run as a whole cannot go on: interrupted, or the disk refuses.
 */
export const run = async (
  plan: Plan,
  store: Store,
  executors: readonly Executor[],
  tell: (event: RunEvent) => void,
): Promise<ReadonlyMap<string, Outcome>> => {
  const outcomes = new Map<string, Outcome>();
  const waiting = new Set(plan.stages);
  const of = plan.stages.length;
  let stop: Failure | undefined;

  const settle = (stage: Stage, outcome: Outcome): void => {
    outcomes.set(stage.id, outcome);
    tell({ type: 'end', stage, outcome, ended: outcomes.size, of });
  };
  const succeeded = (id: string): boolean => ['done', 'cached'].includes(outcomes.get(id)?.status ?? '');
  const broken = (stage: Stage): string | undefined =>
    Object.values(stage.inputs).find((id) => outcomes.has(id) && !succeeded(id));

  /** The next stage whose inputs are all there; those that can never run are settled on the way. */
  const next = (): Stage | undefined => {
    for (const stage of waiting) {
      const missing = broken(stage);
      if (missing !== undefined) {
        waiting.delete(stage);
        const because = plan.stages.find(({ id }) => id === missing)?.label ?? missing;
        settle(stage, { status: 'skipped', because });
      } else if (Object.values(stage.inputs).every(succeeded)) {
        waiting.delete(stage);
        return stage;
      }
    }
    return undefined;
  };

  const work = async (executor: Executor, stage: Stage): Promise<void> => {
    const outcome = await outcomeOf(executor, stage).catch(
      (error): Outcome => ({ status: 'failed', failure: toFailure('plugin', stage.label)(error) }),
    );
    settle(stage, outcome);
    if (outcome.status === 'failed' && fatal.includes(outcome.failure.kind)) stop ??= outcome.failure;
  };
  const outcomeOf = async (executor: Executor, stage: Stage): Promise<Outcome> => {
    const cached = await readLocally(store, stage);
    if (cached !== undefined) return cached;
    tell({ type: 'start', stage, number: of - waiting.size, of });
    return executor.run(
      stage,
      (event) => tell({ type: 'stage', stage, event }),
      () => tell({ type: 'waiting', stage }),
    );
  };

  const idle = [...executors];
  const working = new Set<Promise<void>>();
  for (;;) {
    while (stop === undefined && idle.length > 0) {
      const stage = next();
      if (stage === undefined) break;
      const executor = idle.pop() as Executor;
      const job: Promise<void> = work(executor, stage).finally(() => {
        working.delete(job);
        idle.push(executor);
      });
      working.add(job);
    }
    if (working.size === 0) break;
    await Promise.race(working);
  }
  if (stop !== undefined) throw new FailureError(stop);
  if (waiting.size > 0) throw new FailureError(failure('experiment', 'the stages wait for each other'));
  return outcomes;
};
