import { stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { startAgain } from '../cluster/cluster.js';
import { onceMore } from '../cluster/executor.js';
import { type JobLine, jobLog, jobReader, jobWriter } from '../cluster/job-file.js';
import { type JobSetup, type NodeReport, readSetup } from '../cluster/setup.js';
import { slurmCluster } from '../cluster/slurm.js';
import { releaseEnded } from '../cluster/submission.js';
import { type Failure, FailureError, failure, showFailure, toFailure } from '../core/errors.js';
import { availableCores, thisJob } from '../core/job.js';
import { clockOf, tryLock } from '../core/lock.js';
import { jsonText } from '../core/text.js';
import { arithmeticOf, loadEngine } from '../engine/engine.js';
import type { Plan } from '../experiment/plan.js';
import { type Stage, takesLong } from '../experiment/stage.js';
import { inJob, longStages, reportOfNode } from '../harness/on-cluster.js';
import { collect, foldersOf, type Located, type Planned, planFor } from '../harness/session.js';
import { madeSoFar } from '../run/begun.js';
import { crewOf } from '../run/crew.js';
import { type Executor, readLocally } from '../run/executor.js';
import type { Outcome } from '../run/record.js';
import { recordedSharings, theftsIn } from '../run/recordings.js';
import type { RunEvent } from '../run/scheduler.js';
import {
  alteredFile,
  isThere,
  openStore,
  type Store,
  stagesIn,
  storeLock,
  untilShown,
  writeWhole,
} from '../run/store.js';
import { processExecutor } from '../run/workers.js';
import { engineSaid } from './engine.js';
import { chosenOf, openExperiments } from './experiment-file.js';
import { progressReporter } from './progress.js';
import { makeRun } from './run.js';
import { matrixFiles, writeMatrix } from './run-folder.js';
import { type Terminal, terminal, warn } from './terminal.js';
import { milliseconds } from './watch.js';

/**
 * What runs as a job of a cluster: makes a stage, and after it every stage that is over in a moment and whose inputs are
 * there; or makes what is left of a run and its report (`last-…`); or looks at the node (`look-…`). Gives the exit code.
 */
export const jobCommand = async (path: string, id: string, out: Terminal = terminal()): Promise<number> => {
  process.env[inJob] = '1';
  const setup = await readSetup(path);
  if (id.startsWith('look-')) return lookHere(setup, id, out);
  const stop = new Stop((line) => out.log(line));
  const { id: job, start } = thisJob() ?? { id: String(process.pid), start: 0 };
  const write = jobWriter(setup.store, id);
  write({ type: 'begun', job, start, node: hostname() });
  out.log(`${id} on ${hostname()}, job ${job}${start === 0 ? '' : `, start ${start + 1}`}`);
  const fail = (error: unknown): number => {
    const failed = toFailure('cluster')(error);
    write(failedHere(failed));
    out.log(`${out.paint.bad('✗')} ${showFailure(failed)}`);
    return 1;
  };
  try {
    const on = await openJob(setup, stop, out);
    try {
      return id.startsWith('last-') ? await makeRest(on, start, out) : await makeStage(on, id, out);
    } finally {
      await on.executor.close();
    }
  } catch (error) {
    return fail(error);
  }
};

/** What is said of a failure here: that an engine does not do on one node is no reason to end the run on others. */
const failedHere = (failed: Failure): JobLine => ({
  type: 'failed',
  failure: failed.kind === 'engine' ? { ...failed, kind: 'cluster' } : failed,
});

/** The words that reach a job from outside: that its time is nearly up, or that it is ended. */
class Stop extends AbortController {
  /** Whether the job should ask for another start. */
  isForTime = false;

  constructor(say: (line: string) => void) {
    super();
    const stop = (isForTime: boolean, why: string): void => {
      // Slurm may say either several times, and the end after the time.
      if (this.signal.aborted && (isForTime || !this.isForTime)) return;
      this.isForTime = isForTime;
      this.abort();
      say(`${why}: stopping after this step.`);
    };
    process.on('SIGURG', () => stop(true, 'The time is nearly up'));
    for (const ended of ['SIGTERM', 'SIGINT'] as const) process.on(ended, () => stop(false, 'Ended from outside'));
  }
}

/** Milliseconds that a stage has for its checkpoint: by default Slurm kills a job 30 s after it told it to end. */
const grace = 25_000;

interface OpenJob {
  readonly setup: JobSetup;
  readonly planned: Planned;
  readonly chosen: Plan;
  readonly located: Located;
  readonly store: Store;
  readonly executor: Executor;
  readonly stop: Stop;
}

const locate = async ({ file, experiment: name, data, seed, scale }: JobSetup): Promise<Located> => {
  const found = (await openExperiments(file, { data, seed, scale })).find(({ experiment }) => experiment.name === name);
  if (found !== undefined) return found;
  throw new FailureError(failure('experiment', `there is no experiment ${name} in it any more`, { where: file }));
};

const openJob = async (setup: JobSetup, stop: Stop, out: Terminal): Promise<OpenJob> => {
  const located = await locate(setup);
  const planned = await planFor(located.experiment, setup.arithmetic ?? '');
  const chosen = chosenOf(planned.plan, setup);
  const store = openStore(setup.store, (id, file) => warn(out, `${id}: ${alteredFile(file)}`), {
    patience: untilShown,
  });
  const { data, scale, execution, precision, arithmetic, checkpointEvery, answers, git } = setup;
  // As the jobs were submitted: by what the run is to make, whatever of it is there by now.
  const recorded = theftsIn(recordedSharings({ ...planned, answers }, chosen.stages));
  const own = processExecutor({
    setup: {
      ...{ file: located.file, data, scale, store: store.root, threads: availableCores() },
      ...{ execution, precision, arithmetic, checkpointEvery, answers, recorded, git },
    },
    signal: stop.signal,
    grace: milliseconds('UNDISTILL_GRACE') ?? grace,
  });
  const executor: Executor = {
    run: (stage, emit, waiting) =>
      own.run(stage, emit, (holder) => {
        // Whom it waits for may have been killed with its job. Where Slurm does not say so, that shows after a while.
        releaseEnded(slurmCluster(), { store: setup.store, run: setup.run }).catch(() => undefined);
        waiting(holder);
      }),
    close: own.close,
  };
  return { setup, planned, chosen, located, store, executor, stop };
};

/** Makes a stage and what comes of it in a moment. */
const makeStage = async (on: OpenJob, id: string, out: Terminal): Promise<number> => {
  const { setup, planned, store, executor, stop } = on;
  const { plan } = planned;
  const stage = plan.stages.find((each) => each.id === id);
  if (stage === undefined)
    throw new FailureError(
      failure('experiment', 'the experiment file, a plugin or the data changed since this was submitted', {
        where: setup.file,
        remedy: 'Run the same command again: it submits what is planned now.',
      }),
    );
  const write = jobWriter(store.root, id);
  const tell = progressReporter(out, { ...plan, stages: [stage] });
  const make = async (each: Stage): Promise<Outcome> => {
    const hear = (event: RunEvent): void => {
      tell(event);
      if (each === stage && event.type === 'stage') write({ type: 'event', event: event.event });
    };
    const found = await readLocally(store, each);
    if (found !== undefined) return found;
    hear({ type: 'start', stage: each, number: 1, of: 1 });
    return executor.run(
      each,
      (event) => hear({ type: 'stage', stage: each, event }),
      (holder) => hear({ type: 'stage', stage: each, event: { type: 'note', message: `waiting for ${holder}` } }),
    );
  };

  const before = await madeSoFar(store.root, id);
  let outcome: Outcome = { status: 'skipped', because: '' };
  for (const each of [...(await missingBefore(stage, plan, store)), stage]) {
    outcome = await make(each);
    if (outcome.status === 'failed') break;
  }
  tell({ type: 'end', stage, outcome, ended: 1, of: 1 });
  if (outcome.status === 'failed') {
    const failed = outcome.failure;
    if (failed.kind !== 'interrupted') {
      write(failedHere(failed));
      out.log(showFailure(failed));
      return 1;
    }
    if (!stop.isForTime) {
      write({ type: 'stopped', again: false });
      out.log('A checkpoint is kept.');
      return 143;
    }
    if ((await madeSoFar(store.root, id)) === before)
      throw new FailureError(
        failure('cluster', 'the time limit left no time for a single step: it is not started again', {
          where: stage.label,
          remedy: 'Give it longer after --, as in -- --time=4:00:00, or a later word, as in --signal=B:USR1@60.',
        }),
      );
    write({ type: 'stopped', again: true });
    out.log('A checkpoint is kept, and the job is started again.');
    return startAgain;
  }
  write({ type: 'done' });
  await makeFollowing(on, make, out);
  await refreshTables(on).catch((error) => warn(out, `no tables: ${showFailure(toFailure('store')(error))}`));
  return 0;
};

/** What a stage takes from, over in a moment and not there yet, in order. */
const missingBefore = async (stage: Stage, plan: Plan, store: Store): Promise<readonly Stage[]> => {
  const byId = new Map(plan.stages.map((each) => [each.id, each]));
  const found = new Set<Stage>();
  const visit = async (of: Stage): Promise<void> => {
    for (const id of Object.values(of.inputs)) {
      const input = byId.get(id);
      if (input === undefined || takesLong(input.work) || (await isThere(join(store.root, id)))) continue;
      await visit(input);
      found.add(input);
    }
  };
  await visit(stage);
  return [...found];
};

/** Makes all that is over in a moment and whose inputs are there, until nothing of the kind is left. */
const makeFollowing = async (
  { chosen, store, stop }: OpenJob,
  make: (stage: Stage) => Promise<Outcome>,
  out: Terminal,
): Promise<void> => {
  const tried = new Set<string>();
  for (;;) {
    const stored = await stagesIn(store.root);
    const isFinished = (id: string): boolean => stored.get(id)?.state === 'finished';
    const next: Stage[] = [];
    for (const stage of chosen.stages) {
      const isNext = !takesLong(stage.work) && !isFinished(stage.id) && Object.values(stage.inputs).every(isFinished);
      // Another job is at it.
      if (isNext && !tried.has(stage.id) && (await store.holder(stage.id)) === undefined) next.push(stage);
    }
    if (next.length === 0) return;
    for (const stage of next) {
      if (stop.signal.aborted) return;
      tried.add(stage.id);
      const outcome = await make(stage);
      if (outcome.status === 'failed') out.log(showFailure({ ...outcome.failure, where: stage.label }));
    }
  }
};

/** Milliseconds for which tables that other jobs have written are left as they are: the last job writes them anyway. */
const restAfterTables = 5_000;

/** Writes the tables of what is there by now, unless another job does so. */
const refreshTables = async ({ located, planned, setup }: OpenJob): Promise<void> => {
  const lock = await tryLock(storeLock(setup.store, 'tables'));
  if (lock === undefined) return;
  try {
    const { run } = foldersOf(located.experiment, setup.run);
    const written = await stat(join(run, matrixFiles.json)).catch(() => undefined);
    if (written !== undefined && (await clockOf(run)) - written.mtimeMs < restAfterTables) return;
    const store = openStore(setup.store, () => undefined, { trusting: true });
    await writeMatrix(run, await collect(planned, store, new Map()));
  } finally {
    await lock.release();
  }
};

/** Makes what jobs left of a run, but nothing that takes its time, and its report. */
const makeRest = async (
  { setup, planned, chosen, located, store, executor, stop }: OpenJob,
  start: number,
  out: Terminal,
): Promise<number> => {
  const rest: Executor = {
    run: async (stage, emit, waiting) => {
      if (takesLong(stage.work)) return withoutResult(setup.store, stage);
      const outcome = await executor.run(stage, emit, waiting);
      if (outcome.status === 'failed') jobWriter(setup.store, stage.id)(failedHere(outcome.failure));
      return outcome;
    },
    close: executor.close,
  };
  const code = await makeRun({
    ...{ planned, chosen, store, stop, out, crew: crewOf(rest), commandLine: 'undistill run, with the same arguments' },
    folders: foldersOf(located.experiment, setup.run),
  });
  // What is over in a moment needs no third time.
  return code === 130 && stop.isForTime && start < 2 ? startAgain : code;
};

/** What became of a stage whose job is over. */
const withoutResult = async (store: string, { id }: Stage): Promise<Outcome> => {
  const lines = await jobReader(store, id)();
  const last = lines.filter(({ type }) => type !== 'event').at(-1);
  return {
    status: 'failed',
    failure:
      last?.type === 'failed'
        ? last.failure
        : failure('cluster', 'its job ended without a result', {
            where: jobLog(store, id),
            remedy: onceMore,
          }),
  };
};

/** Plans on this node, and writes down what computes here, or what is missing. */
const lookHere = async (setup: JobSetup, name: string, out: Terminal): Promise<number> => {
  const path = reportOfNode(setup.store, name);
  try {
    const { experiment } = await locate(setup);
    const engine = await loadEngine({
      threads: availableCores(),
      execution: setup.execution,
      precision: setup.precision,
    });
    const arithmetic = arithmeticOf(engine);
    const { plan } = await planFor(experiment, arithmetic);
    const report: NodeReport = {
      host: hostname(),
      arithmetic,
      engine: engineSaid(engine),
      stages: plan.stages.map(({ id, label, parts }) => ({ id, label, parts })),
    };
    await writeWhole(path, jsonText(report));
    out.log(`${hostname()} computes as ${arithmetic}; ${longStages(plan).length} models are planned`);
    return 0;
  } catch (error) {
    const failed = toFailure('cluster')(error);
    const remedy =
      failed.kind === 'engine'
        ? `${failed.remedy ?? ''} Nodes look in the same folder: XDG_CACHE_HOME names another, which all machines must share.`
        : failed.remedy;
    await writeWhole(path, jsonText({ ...failed, what: `on ${hostname()}: ${failed.what}`, remedy }));
    out.log(showFailure(failed));
    return 1;
  }
};
