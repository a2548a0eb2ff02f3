import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Cluster, isHeld, type JobState } from '../cluster/cluster.js';
import { clusterExecutor, mostResubmissions } from '../cluster/executor.js';
import { forgetJob, jobLog } from '../cluster/job-file.js';
import { type JobSetup, type NodeReport, readReport, setupPath, writeSetup } from '../cluster/setup.js';
import { slurmCluster } from '../cluster/slurm.js';
import {
  jobsByStage,
  lastJob,
  newTag,
  type Owner,
  patiently,
  type Submitted,
  submit,
  submitSurely,
  submittingAlone,
} from '../cluster/submission.js';
import { type Failure, FailureError, failure, isFailure } from '../core/errors.js';
import { readEnd } from '../core/files.js';
import { sha256 } from '../core/hash.js';
import { firstFew } from '../core/text.js';
import type { Experiment } from '../experiment/experiment.js';
import type { Plan } from '../experiment/plan.js';
import { type Stage, takesLong } from '../experiment/stage.js';
import { whyStale } from '../experiment/stale.js';
import { removeFile } from '../run/disk.js';
import type { Executor } from '../run/executor.js';
import { recordedSharings } from '../run/recordings.js';
import { recordIn } from '../run/stage-files.js';
import { jobsIn, openStore, type Store, stagesIn, untilShown } from '../run/store.js';
import { commandLineScript } from '../run/workers.js';
import { type Planned, planFor, tellingAltered } from './session.js';

/** An experiment whose stages are made on a cluster. */
export interface OnCluster {
  readonly planned: Planned;
  /** The node that planned it. */
  readonly node: NodeReport;
  readonly store: Store;
  /** Submits what is missing of some of its stages, without those that failed. */
  submit(chosen: Pick<Plan, 'stages'>, options: SubmitOptions): Promise<Submitted>;
  /** Waits for stages that were submitted. */
  executor(
    submitted: Submitted,
    resubmit: (failed: ReadonlySet<string>) => Promise<Submitted>,
    signal?: AbortSignal,
  ): Executor;
  /** Once all stages are made and the tables are written here: the job that would do so is not needed any more. */
  end(): Promise<void>;
}

export interface SubmitOptions {
  readonly failed?: Iterable<string>;
  readonly atMost?: number | undefined;
}

export interface OnClusterOptions {
  readonly cluster: Cluster;
  readonly setup: Omit<JobSetup, 'arithmetic' | 'experiment'>;
  readonly experiment: Experiment;
  /** Told how the first look at a node goes, and what is submitted. */
  readonly say?: (line: string) => void;
  /** Told what one should know and nothing fails of: what the plan warns of, a cluster that does not answer. Default: `say`. */
  readonly onNote?: ((note: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds between two looks at the cluster. Default: 3 s. */
  readonly every?: number | undefined;
}

/** The command line of a job. */
const commandOf =
  (setup: JobSetup) =>
  (id: string): readonly string[] => [process.execPath, commandLineScript, 'job', setupPath(setup), id];

/** The first word of the names of jobs that look at a node. */
const look = 'look';

/**
 * Plans an experiment on a node: what computes there is part of every stage's identity, and it shows whether the node
 * reaches all that a job needs. It is done once for the same experiment and arguments.
 *
 * Rejects with a failure of kind `cluster`, or of what failed on the node.
 */
export const openOnCluster = async ({
  cluster,
  setup: given,
  experiment,
  say = () => undefined,
  onNote = say,
  signal,
  every = 3_000,
}: OnClusterOptions): Promise<OnCluster> => {
  const asked: JobSetup = { ...given, experiment: experiment.name };
  const owner: Owner = { store: given.store, run: given.run };
  const unplaced = await planFor(experiment, 'of a node', { onNote });
  const ids = unplaced.plan.stages.map(({ id }) => id);
  const name = `${look}-${sha256(JSON.stringify([asked, process.version, ids])).slice(0, 16)}`;
  const node = await lookAtNode({ cluster, owner, name, setup: asked, say, signal, every });
  const planned = await planFor(experiment, node.arithmetic);
  refuseOther(planned, node);
  const setup: JobSetup = { ...asked, arithmetic: node.arithmetic };
  /** What jobs make meanwhile is taken as it is: its files may show late. */
  const store = openStore(owner.store, () => undefined, { trusting: true });
  /** What is there from before is looked at, and made anew where it is damaged. */
  const earlier = openStore(owner.store, tellingAltered(planned.plan, onNote));
  return {
    planned,
    node,
    store,
    submit: async (chosen, { failed = [], atMost } = {}) => {
      await writeSetup(setup);
      for (const { id } of chosen.stages) await earlier.find(id);
      const sharing = recordedSharings({ ...planned, answers: setup.answers }, chosen.stages);
      return submit({
        ...{ cluster, owner, sharing, atMost, say },
        failed: new Set([...failed, ...(await divergedIn(chosen, store.root))]),
        command: commandOf(setup),
        folder: process.cwd(),
        plan: chosen,
        isThere: async (id) => (await earlier.find(id)) !== undefined,
        name: experiment.name,
      });
    },
    executor: (submitted, resubmit, stop) =>
      clusterExecutor({ cluster, owner, store, submitted, resubmit, signal: stop, every, onSilence: toldBy(onNote) }),
    end: async () => {
      const last = jobsByStage(await cluster.jobs(), owner).get(lastJob(owner.run));
      if (last !== undefined && last.state !== 'ended') await cluster.cancel([last.id]);
    },
  };
};

/** Stages that are there without a model, since their training diverged. */
const divergedIn = async ({ stages }: Pick<Plan, 'stages'>, store: string): Promise<readonly string[]> => {
  const stored = await stagesIn(store);
  const found: string[] = [];
  for (const { id } of stages) {
    const { state, folder } = stored.get(id) ?? {};
    if (state === 'finished' && folder && (await recordIn(folder))?.failure !== undefined) found.push(id);
  }
  return found;
};

const toldBy =
  (say: (line: string) => void) =>
  (why: string | undefined): void =>
    say(why === undefined ? 'The cluster answers again.' : `${why}. Waiting for it; jobs go on meanwhile.`);

/** What a dry run prints: the jobs that would be submitted, planned for an engine's arithmetic. */
export const printSubmission = async (
  planned: Planned,
  chosen: Pick<Plan, 'stages'>,
  given: JobSetup,
  cluster: Cluster,
  atMost: number | undefined,
): Promise<Submitted> => {
  const stored = openStore(given.store, () => undefined, { reading: true });
  return submit({
    ...{ cluster, atMost, dry: true, owner: { store: given.store, run: given.run } },
    sharing: recordedSharings({ ...planned, answers: given.answers }, chosen.stages),
    command: commandOf(given),
    folder: process.cwd(),
    plan: chosen,
    isThere: async (id) => (await stored.find(id)) !== undefined,
    name: given.experiment,
  });
};

interface Look {
  readonly cluster: Cluster;
  readonly owner: Owner;
  readonly name: string;
  readonly setup: JobSetup;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal | undefined;
  readonly every: number;
}

/** Where a node writes what it found. */
export const reportOfNode = (store: string, name: string): string => join(jobsIn(store), `${name}.json`);

const lookAtNode = async ({ cluster, owner, name, setup, say, signal, every }: Look): Promise<NodeReport> => {
  const path = reportOfNode(owner.store, name);
  const before = await readReport(path);
  if (before !== undefined && !isFailure(before)) return before;
  const log = jobLog(owner.store, name);
  const jobs = (): Promise<readonly JobState[]> => patiently(() => cluster.jobs());
  /** One job, however many processes ask at once. */
  const submitLook = (): Promise<Pick<JobState, 'id' | 'tag'>> =>
    submittingAlone(
      owner.store,
      async () => {
        const running = jobsByStage(await jobs(), owner).get(name);
        if (running !== undefined && running.state !== 'ended') return running;
        await writeSetup(setup);
        for (const file of [path, log]) await removeFile(file);
        await forgetJob(owner.store, name);
        const tag = newTag(owner, name);
        const id = await submitSurely(cluster, {
          ...{ tag, name: `${setup.experiment}: look at a node`, command: commandOf(setup)(name) },
          ...{ folder: process.cwd(), log, afterOk: [], afterAny: [] },
        });
        return { id, tag };
      },
      say,
    );
  let looking = await submitLook();
  say(`Looking at a node first (job ${looking.id}).`);
  let reason = '';
  let ended: number | undefined;
  let resubmissions = 0;
  for (;;) {
    const job = (await jobs()).find(({ tag }) => tag === looking.tag);
    const found = await readReport(path);
    if (found !== undefined) {
      if (isFailure(found)) throw new FailureError(found);
      return found;
    }
    if (signal?.aborted) {
      await cluster.cancel([looking.id]);
      throw new FailureError(failure('interrupted', 'stopped before anything was submitted'));
    }
    if (job?.state === 'waiting' && job.reason !== reason && job.reason !== 'None') {
      reason = job.reason;
      say(`  it waits: ${reason}`);
    }
    if (job === undefined && resubmissions < mostResubmissions) {
      resubmissions += 1;
      looking = await submitLook();
    } else if (job === undefined || job.state === 'ended') {
      ended ??= performance.now();
      if (performance.now() - ended > (job?.word === 'COMPLETED' ? untilShown : 2 * every))
        throw new FailureError(await silentNode(job, owner, log));
    } else if (isHeld(job)) {
      await cluster.cancel([looking.id]);
      throw new FailureError(await silentNode(job, owner, log));
    }
    await sleep(every / 3, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
  }
};

/** Why a node wrote nothing of what it found. */
const silentNode = async (job: JobState | undefined, { store }: Owner, log: string): Promise<Failure> => {
  const how = `the job that looks at a node ended${job?.node ? ` on ${job.node}` : ''}${job === undefined ? '' : ` as ${job.word}${job.reason && job.reason !== 'None' ? ` (${job.reason})` : ''}`}`;
  const said = (await readEnd(log, 2 ** 20).catch(() => '')).trim().split('\n').slice(-3).join('; ');
  if (job?.word === 'CANCELLED' && said === '')
    return failure('cluster', `${how}; nothing was submitted`, { remedy: 'Run the same again.' });
  return said === ''
    ? failure('cluster', `${how}, and has left no word`, {
        where: store,
        remedy:
          'Likely nodes do not see that folder: the project and its `runs` must lie in a folder that all machines share, by the same path. Nothing was submitted.',
      })
    : failure('cluster', `${how}: ${said}`, {
        where: log,
        remedy: `Nodes must see ${process.execPath} and ${commandLineScript} by the same paths. Nothing was submitted.`,
      });
};

/** A node plans the same stages as this machine for its arithmetic, or else it has other data or code. */
const refuseOther = ({ plan: { stages } }: Planned, node: NodeReport): void => {
  const theirs = new Map(node.stages.map((stage) => [stage.id, stage]));
  const other = stages.find(({ id }) => !theirs.has(id));
  if (other === undefined && theirs.size === stages.length) return;
  const label = other?.label ?? node.stages.find(({ id }) => stages.every((stage) => stage.id !== id))?.label ?? '';
  const same = node.stages.find((stage) => stage.label === label);
  const reasons = other === undefined || same === undefined ? [] : whyStale(same.parts, other.parts);
  throw new FailureError(
    failure(
      'cluster',
      `${node.host} plans ${label} otherwise than this machine${reasons.length === 0 ? '' : `: ${firstFew(reasons, 3)}`}`,
      {
        remedy:
          'Data, code or versions differ there: all must lie in a folder that all machines share. Nothing was submitted.',
      },
    ),
  );
};

/** The stages of a plan that have jobs of their own. */
export const longStages = ({ stages }: Pick<Plan, 'stages'>): readonly Stage[] =>
  stages.filter(({ work }) => takesLong(work));

/** Makes the stages of an experiment elsewhere than in the process that asks for them. */
export type Elsewhere = (
  of: Pick<JobSetup, 'file' | 'run' | 'store' | 'checkpointEvery' | 'answers'> & {
    readonly experiment: Experiment;
    readonly signal?: AbortSignal | undefined;
    /** Told what one should know and nothing fails of. */
    readonly onNote?: ((note: string) => void) | undefined;
  },
) => Promise<{
  readonly planned: Planned;
  readonly store: Store;
  /** Makes any number of stages at a time. */
  readonly executor: Executor;
  /** Once all are made. */
  end(): Promise<void>;
}>;

/** Set in the jobs of a cluster, where a file that runs its own experiment would do so again. */
export const inJob = 'UNDISTILL_IN_JOB';

/**
 * Slurm, as `executor` of `runExperiment`: all models are submitted as jobs at once, and waited for. Nodes read the
 * experiment's file, which must export it by default and do nothing else.
 *
 * @param args options of `sbatch`, such as `--partition=gpu`
 */
export const slurm =
  (
    args: readonly string[] = [],
    { atMost, every }: { readonly atMost?: number; readonly every?: number } = {},
  ): Elsewhere =>
  async ({ experiment, signal, onNote, ...given }) => {
    if (process.env[inJob])
      throw new FailureError(
        failure('experiment', 'this file runs its experiment when it is read, and nodes of a cluster read it', {
          where: given.file,
          remedy:
            'Export the experiment by default from a file of its own, and name that: runExperiment(it, { file, … }).',
        }),
      );
    const on = await openOnCluster({
      cluster: slurmCluster(args),
      setup: { ...given, args },
      experiment,
      signal,
      onNote,
      every,
    });
    const submitAll = (failed?: ReadonlySet<string>) =>
      on.submit(on.planned.plan, { atMost, ...(failed === undefined ? {} : { failed }) });
    const submitted = await submitAll();
    return { planned: on.planned, store: on.store, executor: on.executor(submitted, submitAll, signal), end: on.end };
  };
