import { availableParallelism } from 'node:os';
import { expect, test } from 'vitest';
import { availableCores, thisJob } from '../../src/core/job.js';

test.each([
  [{}, undefined],
  [{ SLURM_JOB_ID: '12' }, { id: '12', start: 0 }],
  [
    { SLURM_JOB_ID: '12', SLURM_RESTART_COUNT: '3' },
    { id: '12', start: 3 },
  ],
  // Whatever else started it inside a job of Slurm's knows better.
  [
    { UNDISTILL_JOB: 'x', UNDISTILL_START: '1', SLURM_JOB_ID: '12', SLURM_RESTART_COUNT: '3' },
    { id: 'x', start: 1 },
  ],
])('the job of %j', (env, job) => expect(thisJob(env)).toEqual(job));

test.each([
  [{}, availableParallelism()],
  [{ SLURM_CPUS_ON_NODE: '8' }, 8],
  [{ SLURM_CPUS_ON_NODE: '8', SLURM_CPUS_PER_TASK: '4' }, 4],
  [{ UNDISTILL_CORES: '2', SLURM_CPUS_PER_TASK: '4' }, 2],
  [{ SLURM_CPUS_PER_TASK: 'all' }, availableParallelism()],
])('the cores of %j', (env, cores) => expect(availableCores(env)).toBe(cores));
