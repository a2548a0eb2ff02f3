import type { Executor } from './executor.js';

/** Who makes a run's stages. */
export interface Crew {
  /**
   * Somebody for a stage, where `ready` stages could be begun now and this is the first of them; undefined while all
   * are at work.
   */
  take(ready: number): Executor | undefined;
  /** Is free again. */
  giveBack(executor: Executor): void;
  close(): Promise<void>;
}

/** Executors that are all alike. */
export const crewOf = (...executors: readonly Executor[]): Crew => {
  const idle = [...executors];
  return {
    take: () => idle.pop(),
    giveBack: (executor) => void idle.push(executor),
    close: async () => void (await Promise.all(executors.map((each) => each.close()))),
  };
};

/** Somebody who makes any number of stages at a time, such as a cluster. */
export const sharedBy = (executor: Executor): Crew => ({
  take: () => executor,
  giveBack: () => undefined,
  close: () => executor.close(),
});

/**
 * A machine's cores, shared among the stages that can be made at once: each gets as many threads as there are cores for
 * it, so that many stages have one each, and a single one all. Results are the same bits with any number of threads.
 */
export const coresOf = (cores: number, make: (threads: number) => Executor): Crew => {
  const idle = new Map<number, Executor[]>();
  const all = new Map<Executor, number>();
  let free = cores;
  return {
    take: (ready) => {
      if (free === 0) return undefined;
      const threads = Math.max(1, Math.floor(free / Math.min(ready, free)));
      const executor = idle.get(threads)?.pop() ?? make(threads);
      all.set(executor, threads);
      free -= threads;
      return executor;
    },
    giveBack: (executor) => {
      const threads = all.get(executor) as number;
      free += threads;
      idle.set(threads, [...(idle.get(threads) ?? []), executor]);
    },
    close: async () => void (await Promise.all([...all.keys()].map((each) => each.close()))),
  };
};
