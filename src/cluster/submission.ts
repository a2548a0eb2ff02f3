import { setTimeout as sleep } from 'node:timers/promises';
import { makeFolder } from '../core/files.js';
import { sha256 } from '../core/hash.js';
import { unique } from '../core/lists.js';
import { type Holder, showHolder, withLock } from '../core/lock.js';
import type { Plan } from '../experiment/plan.js';
import type { Sharing } from '../experiment/sharing.js';
import { type Stage, takesLong } from '../experiment/stage.js';
import { guarded } from '../run/disk.js';
import { jobsIn, releaseLocks, storeLock } from '../run/store.js';
import { type Cluster, type JobRequest, type JobState, Unreachable } from './cluster.js';
import { forgetJob, jobLog } from './job-file.js';

/** A stage to be made by a job of its own, and the stages whose jobs it waits for. */
interface StageJob {
  readonly stage: Stage;
  /** Those it takes from. */
  readonly ok: readonly string[];
  /** One that is asked first what this one will ask too. */
  readonly any: readonly string[];
}

/**
 * A job for each stage of a plan that takes its time and is missing, each after those it waits for. What is over in a moment
 * has none: the jobs around it make it.
 *
 * @param sharing thefts of which one goes first. Those that the plan lacks count for nothing
 */
export const stageJobs = (
  { stages }: Pick<Plan, 'stages'>,
  isMissing: (stage: Stage) => boolean,
  sharing: readonly Pick<Sharing, 'stages'>[] = [],
): readonly StageJob[] => {
  const byId = new Map(stages.map((stage) => [stage.id, stage]));
  const known = new Map<string, readonly string[]>();
  /** The jobs that a stage comes of. */
  const origins = (id: string): readonly string[] => {
    const found = known.get(id);
    if (found !== undefined) return found;
    const stage = byId.get(id);
    const own =
      stage === undefined || !isMissing(stage)
        ? []
        : takesLong(stage.work)
          ? [id]
          : unique(Object.values(stage.inputs).flatMap(origins));
    known.set(id, own);
    return own;
  };
  const leaders = new Map<string, string>();
  for (const group of sharing) {
    const [first, ...others] = group.stages.filter(({ id }) => byId.has(id));
    // Where one of them is there, its answers are too.
    if (first === undefined || ![first, ...others].every(isMissing)) continue;
    for (const { id } of others) leaders.set(id, first.id);
  }
  return stages
    .filter((stage) => takesLong(stage.work) && isMissing(stage))
    .map((stage) => {
      const leader = leaders.get(stage.id);
      const ok = unique(Object.values(stage.inputs).flatMap(origins));
      return { stage, ok, any: leader === undefined ? [] : [leader] };
    });
};

/** Whose jobs they are: the store that they add to and the run that submitted them. */
export interface Owner {
  readonly store: string;
  /** The run's folder. */
  readonly run: string;
}

const shortHash = (text: string): string => sha256(text).slice(0, 12);

/** The job that makes what is left and the report. */
export const lastJob = (run: string): string => `last-${shortHash(run)}`;

/** The tag of a job that is submitted now: unlike that of any other, whose number a scheduler may give out again. */
export const newTag = ({ store, run }: Owner, id: string): string =>
  `undistill:${shortHash(store)}:${id}:${shortHash(run)}:${Date.now().toString(36)}`;

/** When a job was submitted, in milliseconds since 1970. */
const submittedAt = ({ tag }: Pick<JobState, 'tag'>): number => Number.parseInt(tag.split(':')[4] ?? '0', 36);

/** The stage that a job makes in a store, and whether it was submitted by a run; undefined for another store's. */
export const stageOfJob = (
  { tag }: Pick<JobState, 'tag'>,
  { store, run }: Owner,
): { readonly id: string; readonly isOurs: boolean } | undefined => {
  const [, of, id, by] = tag.split(':');
  return of !== shortHash(store) || id === undefined ? undefined : { id, isOurs: by === shortHash(run) };
};

/** The latest job of each stage in a store; one that has not ended before any that has. */
export const jobsByStage = (jobs: readonly JobState[], owner: Owner): ReadonlyMap<string, JobState> => {
  const found = new Map<string, JobState>();
  const isNewer = (a: JobState, b: JobState): boolean =>
    (a.state === 'ended') === (b.state === 'ended') ? submittedAt(a) > submittedAt(b) : a.state !== 'ended';
  for (const job of jobs) {
    const id = stageOfJob(job, owner)?.id;
    const other = id === undefined ? undefined : found.get(id);
    if (id !== undefined && (other === undefined || isNewer(job, other))) found.set(id, job);
  }
  return found;
};

export interface SubmissionOptions {
  readonly cluster: Cluster;
  readonly owner: Owner;
  /** The program of the job for a stage, or for what is left. */
  readonly command: (id: string) => readonly string[];
  readonly folder: string;
  /** The stages that a run wants. */
  readonly plan: Pick<Plan, 'stages'>;
  readonly sharing?: readonly Pick<Sharing, 'stages'>[];
  readonly isThere: (id: string) => Promise<boolean>;
  /** Stages that have failed: they are not tried again, nor is what takes from them. */
  readonly failed?: ReadonlySet<string>;
  readonly name: string;
  /** Jobs at a time. Default: as many as the cluster lets run. */
  readonly atMost?: number | undefined;
  /** Nothing is written. */
  readonly dry?: boolean;
  /** Told for whom it waits when another process is submitting. */
  readonly say?: ((line: string) => void) | undefined;
  /** Milliseconds between two tries where the scheduler does not answer. Default: 5 s. */
  readonly every?: number | undefined;
}

/** What came of a submission, in jobs of stages. */
export interface Submitted {
  readonly submitted: number;
  /** Jobs that were there already. */
  readonly waiting: number;
  /** Stages that are finished. */
  readonly there: number;
  /** The tags of the jobs of stages, and of the last one. */
  readonly tags: ReadonlyMap<string, string>;
}

/**
 * Submits what is missing of a plan and has no job yet, in the order in which it is made, and after that the job that makes
 * the rest. All jobs or none: where one is refused, those before it are cancelled. One process of a store at a time.
 */
export const submit = (options: SubmissionOptions): Promise<Submitted> => {
  const { owner, say } = options;
  return options.dry === true
    ? submitMissing(options)
    : submittingAlone(owner.store, () => submitMissing(options), say);
};

/** Submits jobs of a store while no other process does. Rejects with a failure of kind `store` where the store cannot be written. */
export const submittingAlone = <A>(
  store: string,
  submitted: () => Promise<A>,
  say: (line: string) => void = () => undefined,
): Promise<A> => {
  const path = storeLock(store, 'submission');
  const onWait = (holder: Holder) =>
    say(`Another process submits jobs of this store. Waiting for ${showHolder(holder)}.`);
  return guarded(path, () => withLock(path, submitted, { onWait }));
};

/** Stages, and all that take from them. */
const withTakers = ({ stages }: Pick<Plan, 'stages'>, ids: ReadonlySet<string>): ReadonlySet<string> => {
  const found = new Set(ids);
  // Each stage follows its inputs.
  for (const { id, inputs } of stages) if (Object.values(inputs).some((input) => found.has(input))) found.add(id);
  return found;
};

const submitMissing = async ({
  cluster,
  owner,
  command,
  folder,
  plan,
  sharing,
  isThere,
  failed = new Set(),
  name,
  atMost,
  dry = false,
  every,
}: SubmissionOptions): Promise<Submitted> => {
  const { store, run } = owner;
  const there = new Set<string>();
  for (const { id } of plan.stages) if (await isThere(id)) there.add(id);
  const known = await patiently(() => cluster.jobs(), every);
  const live = new Map([...jobsByStage(known, owner)].filter(([, { state }]) => state !== 'ended'));
  const tags = new Map([...live].map(([id, { tag }]) => [id, tag]));
  const lost = withTakers(plan, failed);
  // What is lost is neither there nor made: it leads nobody, and has answered nobody.
  const stages = plan.stages.filter(({ id }) => !lost.has(id));
  const jobs = stageJobs({ stages }, ({ id }) => !there.has(id), sharing);
  const numbers = new Map([...live].map(([id, job]) => [id, job.id]));
  const made: string[] = [];
  const numbersOf = (ids: readonly string[]): readonly string[] => ids.flatMap((id) => numbers.get(id) ?? []);
  if (!dry) {
    await guarded(jobsIn(store), () => makeFolder(jobsIn(store)));
    await releaseLocks(store, endedOf(known, owner));
  }

  const add = async (id: string, request: Pick<JobRequest, 'name' | 'afterOk' | 'afterAny'>): Promise<void> => {
    if (!dry) await forgetJob(store, id);
    const tag = newTag(owner, id);
    const job = { tag, command: command(id), folder, log: jobLog(store, id), ...request };
    const number = await submitSurely(cluster, job, every);
    numbers.set(id, number);
    tags.set(id, tag);
    made.push(number);
  };
  /** The jobs of this run, in order: of `atMost` at a time, each waits for the one so many before it. */
  const line: string[] = [];
  try {
    for (const { stage, ok, any } of jobs) {
      if (!numbers.has(stage.id)) {
        const before = atMost === undefined ? undefined : line.at(-atMost);
        const afterAny = unique([...numbersOf(any), ...(before === undefined ? [] : [before])]);
        await add(stage.id, { name: stage.label, afterOk: numbersOf(ok), afterAny });
      }
      line.push(numbers.get(stage.id) as string);
    }
    const last = live.get(lastJob(run));
    if (there.size < plan.stages.length && (made.length > 0 || last === undefined)) {
      // It would not wait for the new ones.
      if (last !== undefined) await cluster.cancel([last.id]);
      await add(lastJob(run), { name: `${name}: report`, afterOk: [], afterAny: unique(line) });
    }
  } catch (error) {
    await cluster.cancel(made).catch(() => undefined);
    throw error;
  }
  return {
    submitted: jobs.filter(({ stage }) => !live.has(stage.id)).length,
    waiting: jobs.filter(({ stage }) => live.has(stage.id)).length,
    there: plan.stages.filter(({ id, work }) => takesLong(work) && there.has(id)).length,
    tags,
  };
};

/** The numbers of a store's jobs that have ended. */
const endedOf = (jobs: readonly JobState[], owner: Owner): ReadonlySet<string> =>
  new Set(jobs.filter((job) => job.state === 'ended' && stageOfJob(job, owner) !== undefined).map(({ id }) => id));

/** Releases what jobs had in a store that have ended: of a holder on another machine it would show only after ten minutes. */
export const releaseEnded = async (cluster: Cluster, owner: Owner): Promise<void> =>
  releaseLocks(owner.store, endedOf(await cluster.jobs(), owner));

/** How often a scheduler that does not answer is asked again. */
const tries = 24;

/** Asks a scheduler again, by default every 5 s, where it does not answer for the moment. */
export const patiently = async <A>(ask: () => Promise<A>, every = 5_000): Promise<A> => {
  for (let left = tries; ; left--) {
    try {
      return await ask();
    } catch (error) {
      if (left <= 0 || !(error instanceof Unreachable)) throw error;
      await sleep(every);
    }
  }
};

/** Submits a job. Where the answer is lost, the job may have been taken all the same: then it is found by its tag. */
export const submitSurely = async (cluster: Cluster, job: JobRequest, every?: number): Promise<string> => {
  let isUnsure = false;
  return patiently(async () => {
    if (isUnsure) {
      const found = (await cluster.jobs()).find(({ tag, state }) => tag === job.tag && state !== 'ended');
      if (found !== undefined) return found.id;
    }
    isUnsure = true;
    return cluster.submit(job);
  }, every);
};
