import { type Failure, FailureError, failure, toFailure } from '../core/errors.js';
import { unique } from '../core/lists.js';
import type { Plan } from '../experiment/plan.js';
import type { Sharing } from '../experiment/sharing.js';
import { type Stage, takesLong } from '../experiment/stage.js';
import type { Crew } from './crew.js';
import { type Executor, readLocally } from './executor.js';
import type { Outcome } from './record.js';
import type { Store } from './store.js';
import type { StageEvent } from './types.js';

/** What a run tells, in order. */
export type RunEvent =
  | { readonly type: 'start'; readonly stage: Stage; readonly number: number; readonly of: number }
  | { readonly type: 'stage'; readonly stage: Stage; readonly event: StageEvent }
  /** Another process has it: who, in words. */
  | { readonly type: 'waiting'; readonly stage: Stage; readonly holder: string }
  | {
      readonly type: 'end';
      readonly stage: Stage;
      readonly outcome: Outcome;
      readonly ended: number;
      readonly of: number;
    };

/** Failures after which going on with other stages is pointless or wrong. */
const fatal: readonly Failure['kind'][] = ['interrupted', 'store', 'engine'];

export interface Order {
  /** Seconds that a stage is expected to take, for what is begun first; 0 for one that is there from before. Default: all alike. */
  readonly seconds?: ((stage: Stage) => number | undefined) | undefined;
  /** Thefts of which one is made before the others, which then read what it was answered. Default: none. */
  readonly sharing?: readonly Pick<Sharing, 'stages'>[];
}

/**
 * Executes what the store lacks: first what is over in a moment, then what most waits for. A stage that fails is an outcome like any other
 * and only those that need it are skipped. Rejects with a `FailureError` when the run as a whole cannot go on:
 * interrupted, or the disk refuses.
 */
export const run = async (
  plan: Plan,
  store: Store,
  crew: Crew,
  tell: (event: RunEvent) => void,
  order: Order = {},
): Promise<ReadonlyMap<string, Outcome>> => {
  const outcomes = new Map<string, Outcome>();
  const queue = queueOf(plan, order);
  const of = plan.stages.length;
  let stop: Failure | undefined;

  const settle = (stage: Stage, outcome: Outcome): void => {
    outcomes.set(stage.id, outcome);
    tell({ type: 'end', stage, outcome, ended: outcomes.size, of });
    const succeeded = outcome.status === 'done' || outcome.status === 'cached';
    const lost = queue.ended(stage, succeeded);
    // What ends the run as a whole says nothing of stages that were not begun.
    if (outcome.status === 'failed' && fatal.includes(outcome.failure.kind)) stop ??= outcome.failure;
    else {
      const because = outcome.status === 'skipped' ? outcome.because : stage.label;
      for (const each of lost) settle(each, { status: 'skipped', because });
    }
  };

  const work = async (executor: Executor, stage: Stage): Promise<void> => {
    const outcome = await outcomeOf(executor, stage).catch(
      (error): Outcome => ({ status: 'failed', failure: toFailure('plugin', stage.label)(error) }),
    );
    settle(stage, outcome);
  };
  const outcomeOf = async (executor: Executor, stage: Stage): Promise<Outcome> => {
    const cached = await readLocally(store, stage);
    if (cached !== undefined) return cached;
    tell({ type: 'start', stage, number: of - queue.waiting(), of });
    return executor.run(
      stage,
      (event) => tell({ type: 'stage', stage, event }),
      (holder) => tell({ type: 'waiting', stage, holder }),
    );
  };

  const working = new Set<Promise<void>>();
  for (;;) {
    while (stop === undefined) {
      const stage = queue.first();
      const executor = stage && crew.take();
      if (stage === undefined || executor === undefined) break;
      queue.begin(stage);
      const job: Promise<void> = work(executor, stage).finally(() => {
        working.delete(job);
        crew.giveBack(executor);
      });
      working.add(job);
    }
    if (working.size === 0) break;
    crew.shareCores?.();
    await Promise.race(working);
  }
  if (stop !== undefined) throw new FailureError(stop);
  if (queue.waiting() > 0) throw new FailureError(failure('experiment', 'the stages wait for each other'));
  return outcomes;
};

/** What a run has still to begin. */
const queueOf = ({ stages }: Plan, { seconds = () => undefined, sharing = [] }: Order) => {
  const takers = new Map<string, Stage[]>();
  const lacking = new Map<Stage, number>();
  for (const stage of stages) {
    const inputs = unique(Object.values(stage.inputs));
    lacking.set(stage, inputs.length);
    for (const id of inputs) takers.set(id, [...(takers.get(id) ?? []), stage]);
  }
  const path = longestPaths(stages, takers, seconds);
  const place = new Map(stages.map((stage, i) => [stage, i]));
  // Looked up, since telling how long a stage will take may take its time.
  const soon = new Set(stages.filter((stage) => !takesLong(stage.work) || seconds(stage) === 0));
  const isBefore = (a: Stage, b: Stage): boolean => {
    // What is over in a moment fills a cell of the matrix, or lets something begin.
    if (soon.has(a) !== soon.has(b)) return soon.has(a);
    const longer = (path.get(a) as number) - (path.get(b) as number);
    return longer > 0 || (longer === 0 && (place.get(a) as number) < (place.get(b) as number));
  };
  const groups = new Map(sharing.flatMap((group) => group.stages.map((stage) => [stage.id, group] as const)));
  /** Which stage of a group is being made before the others, and the groups of which one was made. */
  const leaders = new Map<object, Stage>();
  const answered = new Set<object>();
  const open = new Set(stages.filter((stage) => lacking.get(stage) === 0));
  const isHeld = ({ id }: Stage): boolean => {
    const group = groups.get(id);
    return group !== undefined && leaders.has(group) && !answered.has(group);
  };
  return {
    /** Of those that can be begun the one for which most waits. */
    first: (): Stage | undefined => {
      let first: Stage | undefined;
      for (const stage of open) if (!isHeld(stage) && (first === undefined || isBefore(stage, first))) first = stage;
      return first;
    },
    begin: (stage: Stage): void => {
      open.delete(stage);
      lacking.delete(stage);
      const group = groups.get(stage.id);
      if (group !== undefined) leaders.set(group, stage);
    },
    /** Those that never will be made, since they take from a stage that failed. */
    ended: (stage: Stage, succeeded: boolean): readonly Stage[] => {
      lacking.delete(stage);
      const group = groups.get(stage.id);
      if (group !== undefined && succeeded) answered.add(group);
      // Another one may lead, unless it was one of those that wait.
      if (group !== undefined && !succeeded && leaders.get(group) === stage) leaders.delete(group);
      const waiting = (takers.get(stage.id) ?? []).filter((taker) => lacking.has(taker));
      if (!succeeded) {
        for (const taker of waiting) lacking.delete(taker);
        return waiting;
      }
      for (const taker of waiting) {
        const left = (lacking.get(taker) as number) - 1;
        lacking.set(taker, left);
        if (left === 0) open.add(taker);
      }
      return [];
    },
    waiting: (): number => lacking.size,
  };
};

/** Seconds from the beginning of each stage to the end of all that waits for it. */
const longestPaths = (
  stages: readonly Stage[],
  takers: ReadonlyMap<string, readonly Stage[]>,
  seconds: (stage: Stage) => number | undefined,
): ReadonlyMap<Stage, number> => {
  const paths = new Map<Stage, number>();
  // Each stage follows its inputs.
  for (const stage of [...stages].reverse()) {
    const after = (takers.get(stage.id) ?? []).map((taker) => paths.get(taker) ?? 0);
    paths.set(stage, (seconds(stage) ?? 1) + Math.max(0, ...after));
  }
  return paths;
};
