import type { Executor } from './executor.js';

/** Who makes a run's stages. */
export interface Crew {
  /** Somebody for a stage; undefined while all are at work. */
  take(): Executor | undefined;
  /** Is free again. */
  giveBack(executor: Executor): void;
  /** All stages that can be begun now have been: whoever is at work may have the cores that are left. */
  shareCores?(): void;
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

/** An executor whose stage can be given another number of threads while it is made. */
export interface ThreadedExecutor extends Executor {
  useThreads(count: number): void;
}

/**
 * A machine's cores, shared among the stages that are being made, at most one a core and as many as are said: as stages begin and end, the others
 * have fewer threads and more, so that no core is left idle. Results are the same bits with any number of threads.
 */
export const coresOf = (cores: number, make: () => ThreadedExecutor, atMost = cores): Crew => {
  const idle: ThreadedExecutor[] = [];
  const atWork: ThreadedExecutor[] = [];
  return {
    take: () => {
      if (atWork.length === Math.min(cores, atMost)) return undefined;
      const executor = idle.pop() ?? make();
      atWork.push(executor);
      return executor;
    },
    giveBack: (executor) => idle.push(...atWork.splice(atWork.indexOf(executor as ThreadedExecutor), 1)),
    shareCores: () => {
      const before = (place: number): number => Math.ceil((cores * place) / atWork.length);
      for (const [place, executor] of atWork.entries()) executor.useThreads(before(place + 1) - before(place));
    },
    close: async () => void (await Promise.all([...idle, ...atWork].map((each) => each.close()))),
  };
};
