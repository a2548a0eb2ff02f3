import { setTimeout as sleep } from 'node:timers/promises';
import { type Failure, failure } from '../core/errors.js';
import { readEnd } from '../core/files.js';
import { type Stage, takesLong } from '../experiment/stage.js';
import { type Executor, readLocally } from '../run/executor.js';
import type { Outcome } from '../run/record.js';
import { type Store, untilShown } from '../run/store.js';
import { type Cluster, isHeld, type JobState, Unreachable } from './cluster.js';
import { type JobLine, jobLog, jobReader } from './job-file.js';
import { lastJob, type Owner, type Submitted, stageOfJob } from './submission.js';

export interface ClusterExecutorOptions {
  readonly cluster: Cluster;
  readonly owner: Owner;
  readonly store: Store;
  /** What was submitted. */
  readonly submitted: Pick<Submitted, 'tags'>;
  /** Submits once more what is missing, without these stages. */
  readonly resubmit: (failed: ReadonlySet<string>) => Promise<Pick<Submitted, 'tags'>>;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds between two looks. Default: 3 s. */
  readonly every?: number | undefined;
  /** Told when the scheduler does not answer (why), and when it does again (undefined). */
  readonly onSilence?: ((why: string | undefined) => void) | undefined;
}

/** Jobs that are lost, as with a controller that forgot them, are submitted again so often. */
export const mostResubmissions = 2;

/** What to do about a job that ended without a result. */
export const onceMore = 'The same command submits it again; its last checkpoint is kept.';

const gone = 'its job is gone without a trace';

const interrupted: Outcome = { status: 'failed', failure: failure('interrupted', 'stopped') };

/**
 * Follows the jobs of stages that were submitted, and so *makes* a stage by waiting for it: it comes about on a node, and is
 * read from the store. Any number of stages are followed at a time. Where jobs are lost with the scheduler's memory, all that is
 * missing is submitted again, at most twice.
 */
export const clusterExecutor = ({
  cluster,
  owner,
  store,
  submitted,
  resubmit,
  signal,
  every = 3_000,
  onSilence = () => undefined,
}: ClusterExecutorOptions): Executor => {
  const failed = new Set<string>();
  let { tags } = submitted;
  let resubmissions = 0;
  let resubmitting: Promise<void> | undefined;
  /** Jobs by their tags as they were after so many resubmissions; without them where the scheduler does not answer. */
  interface Seen {
    readonly jobs: ReadonlyMap<string, JobState> | undefined;
    /** Those among them that this run submitted and that have not ended. */
    readonly ours: readonly JobState[];
    readonly after: number;
  }
  let looking: Promise<Seen> | undefined;
  let isSilent = false;
  let wasSilent = false;

  /** The jobs as they are now, or were a moment ago. */
  const look = (): Promise<Seen> => {
    const after = resubmissions;
    const seen = async (): Promise<Seen> => {
      try {
        const all = await cluster.jobs();
        const jobs = new Map(all.map((job) => [job.tag, job]));
        const ours = all.filter((job) => job.state !== 'ended' && stageOfJob(job, owner)?.isOurs === true);
        if (isSilent) onSilence(undefined);
        isSilent = false;
        return { jobs, ours, after };
      } catch (error) {
        if (!(error instanceof Unreachable)) throw error;
        if (!isSilent) onSilence(error.failure.what);
        isSilent = true;
        wasSilent = true;
        return { jobs: undefined, ours: [], after };
      } finally {
        setTimeout(() => {
          looking = undefined;
        }, every).unref();
      }
    };
    looking ??= seen();
    return looking;
  };

  /** Submits all jobs that are gone at once, for whoever misses one first; before that it takes back what waits, for good. */
  const again = async (waiting: readonly JobState[] = []): Promise<void> => {
    const submitAgain = async (): Promise<void> => {
      await cluster.cancel(waiting.map(({ id }) => id));
      ({ tags } = await resubmit(failed));
    };
    resubmitting ??= submitAgain().finally(() => {
      resubmissions += 1;
      resubmitting = undefined;
      looking = undefined;
    });
    await resubmitting;
  };

  const follow = async (stage: Stage, emit: Parameters<Executor['run']>[1]): Promise<Outcome> => {
    const isLong = takesLong(stage.work);
    const read = jobReader(owner.store, stage.id);
    const log = jobLog(owner.store, isLong ? stage.id : lastJob(owner.run));
    let told: Failure | undefined;
    let reason = '';
    /** Since when a job that has ended owes an explanation. */
    let ended: number | undefined;
    const hear = (line: JobLine): void => {
      if (line.type === 'begun') {
        // What an earlier start said of its end is over.
        told = undefined;
        emit({ type: 'place', node: line.node });
      } else if (line.type === 'event') emit(line.event);
      else if (line.type === 'failed') told = line.failure;
    };
    for (;;) {
      // In this order: a job says its last words before it ends.
      const { jobs, ours, after } = await look();
      for (const line of await read()) hear(line);
      const found = await readLocally(store, stage);
      if (found !== undefined) return found.status === 'cached' ? { ...found, status: 'done' } : found;
      if (signal?.aborted) return interrupted;
      const job = jobs?.get(tags.get(isLong ? stage.id : lastJob(owner.run)) ?? '');
      if (job?.state === 'waiting' && isLong && job.reason !== reason) {
        reason = job.reason;
        emit({ type: 'queued', reason });
      }
      if (job?.state === 'running') reason = '';
      // Any of them: what takes from a stage waits for its job, also where the stage is there.
      const held = ours.find(isHeld);
      if (held !== undefined && after < mostResubmissions) {
        if (after < resubmissions) continue;
        if (resubmitting === undefined)
          emit({ type: 'warning', message: `job ${held.id} is held (${held.reason}), and is submitted again` });
        // What waits for the held one would go with it.
        await again(ours.filter(({ state }) => state === 'waiting'));
        continue;
      }
      const isOver = jobs !== undefined && (job === undefined || job.state === 'ended');
      if (!isOver) ended = undefined;
      else {
        ended ??= performance.now();
        const since = performance.now() - ended;
        // It said so itself, and its last words and results may show late.
        if (told !== undefined) return { status: 'failed', failure: withJob(told, job, log) };
        const isDue = since >= (job?.word === 'COMPLETED' ? untilShown : 2 * every);
        // A controller that dies and comes back with what it had written down a while before starts what runs a second time: the node
        // refuses, and the job ends without a word.
        const isLost =
          job === undefined ||
          (wasSilent && isDue && job.word === 'FAILED' && (await saidByScheduler(log)) === undefined);
        if (isLost && after < mostResubmissions) {
          ended = undefined;
          if (after < resubmissions) continue;
          const loss =
            job === undefined ? gone : `its job ${job.id} ended without a word after the scheduler was silent`;
          if (resubmitting === undefined) emit({ type: 'note', message: `${loss}, and is submitted again` });
          await again();
        } else if (isDue) return { status: 'failed', failure: await withoutWord(job, log) };
      }
      await sleep(every / 2, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
    }
  };

  return {
    run: async (stage, emit) => {
      const outcome = await follow(stage, emit);
      if (outcome.status === 'failed') failed.add(stage.id);
      return outcome;
    },
    close: async () => undefined,
  };
};

/** What a stage says of its failure, with what the scheduler says of its job's where that is more. */
const withJob = (told: Failure, job: JobState | undefined, log: string): Failure => {
  const isMore = job !== undefined && !['FAILED', 'COMPLETED'].includes(job.word);
  const what = isMore ? `${told.what}; its job ended as ${job.word}` : told.what;
  const node = job?.node ? ` on ${job.node}` : '';
  return { ...told, what, remedy: [told.remedy, `Its job's output${node}: ${log}`].filter(Boolean).join(' ') };
};

const withoutWord = async (job: JobState | undefined, log: string): Promise<Failure> => {
  if (job === undefined) return failure('cluster', gone, { where: log, remedy: onceMore });
  const where = job.node ? ` on ${job.node}` : '';
  if (job.word === 'CANCELLED')
    return failure('cluster', `its job ${job.id} was cancelled${where}`, { where: log, remedy: onceMore });
  const reason = ['', 'None', job.word].includes(job.reason) ? '' : ` (${job.reason})`;
  const said = await saidByScheduler(log);
  const what = `its job ${job.id} ended${where} as ${job.word}${reason}${said === undefined ? ', without a word of its own' : `: ${said}`}`;
  const isMemory = job.word === 'OUT_OF_MEMORY' || /memory|oom/i.test(said ?? '');
  const remedy = remedies[isMemory ? 'OUT_OF_MEMORY' : job.word] ?? `Its output is in that file. ${onceMore}`;
  return failure('cluster', what, { where: log, remedy });
};

/** The last thing that Slurm itself has put into a job's output but for its end, such as `Exceeded job memory limit`. */
const saidByScheduler = async (log: string): Promise<string | undefined> => {
  const text = await readEnd(log, 2 ** 20).catch(() => '');
  const said = Array.from(text.matchAll(/^(?:slurmstepd|slurmd|srun)[^:\n]*: (?:error: )?(.*)$/gm), ([, line]) => line);
  return said.filter((line) => line !== undefined && !line.startsWith('***')).at(-1);
};

const remedies: Readonly<Record<string, string>> = {
  OUT_OF_MEMORY: `Give it more after --, as in -- --mem=16G, or smaller batches. ${onceMore}`,
  TIMEOUT: `It could not stop in time: give it longer after --, as in -- --time=4:00:00, or an earlier word, as in --signal=B:USR1@300. ${onceMore}`,
  NODE_FAIL: `Its node was lost, and the job not started again (--no-requeue?). ${onceMore}`,
  PREEMPTED: `Others came first, and the job was not started again (--no-requeue?). ${onceMore}`,
};
