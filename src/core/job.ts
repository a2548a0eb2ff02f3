import { availableParallelism } from 'node:os';

/** A job of a cluster, and which of its starts: one whose node was lost is started again. */
export interface ClusterJob {
  /** Unlike that of any other job on the same cluster. */
  readonly id: string;
  /** 0 the first time. */
  readonly start: number;
}

/**
 * The job in which this process runs, by the variables that Slurm sets (`SLURM_JOB_ID`, `SLURM_RESTART_COUNT`), or that
 * whatever else starts it does (`UNDISTILL_JOB`, `UNDISTILL_START`); undefined where it runs in none.
 */
export const thisJob = (env: NodeJS.ProcessEnv = process.env): ClusterJob | undefined => {
  const id = env.UNDISTILL_JOB || env.SLURM_JOB_ID;
  if (!id) return undefined;
  const start = Number((env.UNDISTILL_JOB ? env.UNDISTILL_START : env.SLURM_RESTART_COUNT) || 0);
  return { id, start: Number.isInteger(start) ? start : 0 };
};

/** The cores that this process may use: those that its job was given (`--cpus-per-task`), else all. */
export const availableCores = (env: NodeJS.ProcessEnv = process.env): number => {
  const given = Number(env.UNDISTILL_CORES || env.SLURM_CPUS_PER_TASK || env.SLURM_CPUS_ON_NODE);
  return Number.isInteger(given) && given > 0 ? given : availableParallelism();
};
