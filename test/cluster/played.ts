import type { Cluster, JobRequest, JobState } from '../../src/cluster/cluster.js';
import { Unreachable } from '../../src/cluster/cluster.js';
import { failure } from '../../src/core/errors.js';
import type { Plan } from '../../src/experiment/plan.js';
import type { Stage, Work } from '../../src/experiment/stage.js';

/** A stage that takes from others. */
export const stage = (id: string, kind: Work['kind'] = 'steal', ...inputs: readonly string[]): Stage =>
  ({
    id,
    label: id,
    work: { kind },
    inputs: Object.fromEntries(inputs.map((input, i) => [`input ${i}`, input])),
    parts: {},
  }) as unknown as Stage;

export const planOf = (...stages: readonly Stage[]): Pick<Plan, 'stages'> => ({ stages });

/** What a scheduler says that does not answer. */
export const silence = (): Unreachable => new Unreachable(failure('cluster', 'the scheduler does not answer'));

/** A scheduler in memory, of which a test says what becomes of the jobs. */
export interface PlayedCluster extends Cluster {
  /** What was submitted, in order, with the numbers given. */
  readonly submitted: readonly (JobRequest & { readonly id: string })[];
  readonly cancelled: readonly string[];
  /** What becomes of a job; without a word: it is gone. */
  turn(id: string, become?: Partial<JobState>): void;
  /** Is asked before everything that is asked, and may throw. */
  onAsked: (what: 'submit' | 'jobs' | 'cancel', job?: JobRequest) => void;
  /** After a submission was taken, before it is answered. */
  onTaken: (job: JobRequest) => void;
}

export const playedCluster = (): PlayedCluster => {
  const submitted: (JobRequest & { readonly id: string })[] = [];
  const cancelled: string[] = [];
  const states = new Map<string, JobState>();
  const turn = (id: string, become?: Partial<JobState>): void => {
    const before = states.get(id);
    if (become === undefined) states.delete(id);
    else if (before !== undefined) states.set(id, { ...before, ...become });
  };
  const played: PlayedCluster = {
    name: 'played',
    ...{ submitted, cancelled, turn },
    onAsked: () => undefined,
    onTaken: () => undefined,
    submit: async (job) => {
      played.onAsked('submit', job);
      const id = String(submitted.length + 1);
      submitted.push({ ...job, id });
      states.set(id, { id, tag: job.tag, state: 'waiting', word: 'PENDING', reason: 'Priority', node: '' });
      played.onTaken(job);
      return id;
    },
    jobs: async () => {
      played.onAsked('jobs');
      return [...states.values()];
    },
    cancel: async (ids) => {
      played.onAsked('cancel');
      cancelled.push(...ids);
      for (const id of ids) turn(id, { state: 'ended', word: 'CANCELLED', reason: 'None' });
    },
  };
  return played;
};
