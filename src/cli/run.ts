import { totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Failure, FailureError, saidBy, showFailure, toFailure } from '../core/errors.js';
import { availableCores } from '../core/job.js';
import { counted } from '../core/text.js';
import { version } from '../core/version.js';
import type { Engine } from '../engine/engine.js';
import type { CardPrecision, Execution } from '../engine/execution.js';
import { progressTo } from '../engine/setup/progress.js';
import type { Plan } from '../experiment/plan.js';
import { type Stage, stageLabels } from '../experiment/stage.js';
import { writePlan } from '../harness/plan-file.js';
import { collect, foldersOf, type Located, type Planned, prepare, tellingAltered } from '../harness/session.js';
import type { Metric } from '../metrics/metric.js';
import { table } from '../report/table.js';
import type { Matrix } from '../results/types.js';
import { acceptStale } from '../run/accept.js';
import { type Crew, coresOf, crewOf } from '../run/crew.js';
import { forecast } from '../run/forecast.js';
import { gitState } from '../run/git.js';
import type { Outcome } from '../run/record.js';
import { recordedSharings, theftsIn } from '../run/recordings.js';
import { type Order, type RunEvent, run } from '../run/scheduler.js';
import { stepsOf } from '../run/steps.js';
import { openStore, removeLeftovers, type Store, stagesIn } from '../run/store.js';
import type { RunEnvironment } from '../run/types.js';
import { type ProcessExecutor, processExecutor } from '../run/workers.js';
import { engineSaid, readyEngine } from './engine.js';
import { chosenOf, type ExperimentOptions, forcedOf, openExperiments, outFolder } from './experiment-file.js';
import { keepPicture, writeImages } from './images-folder.js';
import { standardError } from './output.js';
import { shownWhole } from './paths.js';
import { timeLeft, timingOn } from './plan.js';
import { progressReporter } from './progress.js';
import type { ReadRun } from './report-run.js';
import {
  chartFiles,
  copyStages,
  imageFiles,
  keepTraces,
  matrixFiles,
  readPlan,
  reportName,
  writeMatrix,
} from './run-folder.js';
import { otherOwner } from './run-owner.js';
import { type Terminal, terminal, warn } from './terminal.js';
import { milliseconds, watching } from './watch.js';

export interface RunOptions extends ExperimentOptions {
  readonly only?: readonly string[];
  readonly out?: string | undefined;
  /** true: everything. */
  readonly force?: string | true;
  /** `auto`: one process a core where so many stages can be made at once; they share the cores as `coresOf` says. */
  readonly jobs: number | 'auto';
  readonly threads?: number;
  readonly execution?: Execution;
  readonly precision?: CardPrecision;
  /** Why stages that other code made are to be taken as they are. */
  readonly acceptStale?: string;
  readonly checkpointEvery: number;
  /** Bytes. */
  readonly answers: number | 'off';
  /** The cluster whose jobs make the stages. */
  readonly on?: 'slurm';
  readonly detach?: boolean;
  readonly atMost?: number;
  readonly dryRun?: boolean;
  /** Arguments for the cluster's scheduler. */
  readonly args?: readonly string[];
}

/** Runs the experiments of a file one after the other and writes their matrices. Gives the exit code. */
export const runCommand = async (
  file: string,
  options: RunOptions,
  commandLine: string,
  out: Terminal = terminal(),
): Promise<number> => {
  const experiments = await openExperiments(file, options);
  const { jobs } = options;
  const threads = options.threads ?? (jobs === 'auto' || jobs === 1 ? undefined : threadsEach(jobs));
  const engine = await readyEngine(out, { threads, execution: options.execution, precision: options.precision });
  let code = 0;
  for (const [i, one] of experiments.entries()) {
    if (i > 0) out.log('');
    const folder = outFolder(options.out, one, experiments.length);
    const own = await runOne(one, { ...options, out: folder }, commandLine, engine, out);
    if (own === 130) return own;
    code = Math.max(code, own);
  }
  return code;
};

const runOne = async (
  { file, path, experiment }: Located,
  options: RunOptions,
  commandLine: string,
  engine: Engine,
  out: Terminal,
): Promise<number> => {
  const prepared = await prepare(experiment, {
    onNote: (note) => warn(out, note),
    onProgress: decoding(experiment.data.name),
  });
  const { plan } = prepared;
  const chosen = chosenOf(plan, options);
  const folders = foldersOf(experiment, options.out);
  const store = await openRun(prepared, chosen, path, options, out);
  out.log(
    `${experiment.name}: ${counted(plan.cells.length, 'cell')}, ${counted(chosen.stages.length, 'stage')}; ${
      typeof options.jobs === 'number' && options.jobs > 1 ? `${options.jobs} jobs of ` : ''
    }${engineSaid(engine)}`,
  );

  const stop = new AbortController();
  const answers = options.answers === 'off' ? undefined : options.answers;
  const open = await unfinished(chosen, store);
  const sharing = recordedSharings({ ...prepared, answers }, open);
  const environment: RunEnvironment = {
    ...{ ...prepared, store, version: await version(), git: await gitState(path), answers },
    ...{ recorded: theftsIn(sharing), checkpointEvery: options.checkpointEvery, signal: stop.signal },
  };
  const executor = executorsFor(file, options, environment);
  return makeRun({
    ...{ planned: prepared, chosen, folders, store, stop, commandLine, out },
    crew: crewFor(options, engine, executor),
    sharing,
    expected: () => expectedOf(environment, open, executor, out),
  });
};

/**
 * Opens the store of a planned run, in which stages of `--force` are made anew and those of `--accept-stale` taken as they are, and
 * writes the plan.
 *
 * Throws a `FailureError` of kind `usage` where the run's folder is that of another experiment.
 *
 * @param path the experiment file
 */
export const openRun = async (
  planned: Planned,
  chosen: Plan,
  path: string,
  { out: folder, force, acceptStale: reason }: RunOptions,
  out: Terminal,
): Promise<Store> => {
  const { plan } = planned;
  const folders = foldersOf(plan.experiment, folder);
  const labels = stageLabels(plan);
  // Before anything is removed or written.
  const earlier = await readPlan(folders.run).catch(() => undefined);
  const owner = otherOwner(earlier, plan, { folder: folders.run, path });
  if (owner !== undefined) {
    if ('refusal' in owner) throw new FailureError(owner.refusal);
    warn(out, owner.warning);
  }
  const store = openStore(
    folders.store,
    tellingAltered(plan, (note) => warn(out, note)),
  );
  await removeLeftovers(folders.run, folders.store);
  if (force !== undefined) {
    await store.remove(...forcedOf(plan, chosen, force)).catch((error) => {
      throw new FailureError(withLabel(toFailure('store')(error), labels));
    });
  }
  if (reason !== undefined) {
    const taken = await acceptStale(chosen, store, reason);
    out.log(`${counted(taken.length, 'stage')} of other code taken as they are: ${reason}`);
  }
  await writePlan(folders.run, planned, path);
  return store;
};

/** A run that is planned: what is made of it, by whom, and where it is told. */
export interface Making {
  readonly planned: Planned;
  readonly chosen: Plan;
  readonly folders: ReturnType<typeof foldersOf>;
  readonly store: Store;
  readonly crew: Crew;
  /** Ends it. */
  readonly stop: AbortController;
  readonly commandLine: string;
  readonly out: Terminal;
  readonly sharing?: NonNullable<Order['sharing']>;
  /** How long stages will take. */
  readonly expected?: () => Promise<Order['seconds']>;
  /** Stages are made elsewhere, and are only followed: this is what to say when that ends, and goes on there. */
  readonly detached?: (() => string) | undefined;
}

/** Has stages made, tells of it, writes tables and report, and says how it ended. Gives the exit code. */
export const makeRun = async ({
  planned,
  chosen,
  folders,
  store,
  crew,
  stop,
  commandLine,
  out,
  sharing = [],
  expected,
  detached,
}: Making): Promise<number> => {
  const { plan, data } = planned;
  const outcomes = new Map<string, Outcome>();
  const tables = tableWriter(folders.run, planned, store, outcomes);
  // Loaded before a Ctrl-C, which in a checkout ends what compiles them too.
  const [{ readRun, writeReport }, { writeCharts }] = await Promise.all([import('./report.js'), import('./charts.js')]);
  const isFollowed = detached !== undefined;
  const written = async (failed: Failure | undefined): Promise<number> => {
    const matrix = await tables.now();
    await copyStages(folders.run, plan, store);
    await keepTraces(folders.run, plan, outcomes);
    const images = await writeImages(folders.run, plan, data, store);
    const read = await drawn('charts and no report', () => readRun(folders.run), out);
    const draw = async ({ charts }: ReadRun): Promise<number> => {
      await writeCharts(folders.run, charts, (note) => warn(out, note));
      return charts.length;
    };
    const charts = (read && (await drawn('charts', () => draw(read), out))) ?? 0;
    const labels = stageLabels(plan);
    // Of a run that ended early what a metric is of may be yet to be made.
    for (const { name } of failed === undefined ? unmeasured(plan.experiment.metrics, matrix) : [])
      warn(out, `${name} gives no model a number: its \`of\` returns undefined for all`);
    const code = conclude({ matrix, images, charts, outcomes, labels, failed, folder: folders.run, commandLine, out });
    if (read !== undefined) out.log(`report: ${shownWhole(await writeReport(read, join(folders.run, reportName)))}`);
    return code;
  };
  const letGo = stopOnSignals(stop, out, isFollowed ? undefined : stopping);
  const working = failureOf(async () => {
    const seconds = await expected?.();
    const tell = progressReporter(out, chosen, seconds, isFollowed);
    const telling = (event: RunEvent): void => {
      tell(event);
      if (event.type === 'stage' && event.event.type === 'picture')
        // That it could not be shown now is no reason to stop; it is kept with the stage.
        void keepPicture(folders.run, plan, event.stage.id, event.event.path).catch(() => undefined);
      if (event.type !== 'end' || isInterruption(event.outcome)) return;
      outcomes.set(event.stage.id, event.outcome);
      if (event.stage.work.kind === 'measure') tables.soon();
    };
    const work = (told: (event: RunEvent) => void) => run(chosen, store, crew, told, { seconds, sharing });
    await (isFollowed ? work(telling) : watching(out, telling, work));
  });
  try {
    const failed = await working.finally(() => crew.close());
    if (isFollowed && failed?.kind === 'interrupted') {
      out.log(detached());
      return 130;
    }
    // What was stopped has its tables and report yet to write, and a second signal of the same Ctrl-C may still be on its way.
    if (!stop.signal.aborted) letGo();
    return await written(failed);
  } finally {
    letGo();
  }
};

/** A failure of a stage with its label, which people know it by. */
const withLabel = (failed: Failure, labels: ReadonlyMap<string, string>): Failure => ({
  ...failed,
  where: labels.get(failed.where ?? '') ?? failed.where,
});

/** Makes executors of so many threads, each in a process of its own: one that a plugin ends, blocks or crashes is not this one. */
const executorsFor =
  (
    file: string,
    { data, scale }: RunOptions,
    { engine: { execution, precision }, store, signal, checkpointEvery, answers, recorded, git }: RunEnvironment,
  ) =>
  (threads: number): ProcessExecutor =>
    processExecutor({
      setup: {
        ...{ file, data, scale, store: store.root, threads, execution, precision },
        ...{ checkpointEvery, answers, recorded, git },
      },
      signal,
      grace: milliseconds('UNDISTILL_GRACE'),
    });

/** Threads of TensorFlow's own operations in each of the processes that share the cores: idle ones count against a system's limits too. */
const mostOfTensorFlow = 16;

/** Bytes of memory for each of the processes that share the cores: what one holds that has made many stages of small nets, or some of large ones. */
const bytesOfProcess = 3e9;

/** Processes for which there is memory, of the machine's or of what this process is allowed. */
const roomForProcesses = (): number => {
  const allowed = process.constrainedMemory();
  const bytes = Math.min(totalmem(), allowed > 0 ? allowed : Number.POSITIVE_INFINITY);
  return Math.max(1, Math.floor(bytes / bytesOfProcess));
};

/** Who makes the stages. */
const crewFor = (
  { jobs }: RunOptions,
  { threads: cores, gpus }: Engine,
  executor: (threads: number) => ProcessExecutor,
): Crew => {
  const many = jobs === 'auto' && gpus.length > 0 ? 1 : jobs;
  return many === 'auto'
    ? coresOf(cores, () => executor(Math.min(cores, mostOfTensorFlow)), roomForProcesses())
    : crewOf(...Array.from({ length: many }, () => executor(cores)));
};

/** The stages of a plan that are not made yet. */
const unfinished = async ({ stages }: Plan, { root }: Store): Promise<readonly Stage[]> => {
  const stored = await stagesIn(root);
  return stages.filter(({ id }) => stored.get(id)?.state !== 'finished');
};

/** Steps of a run that is over before a forecast of it would be of use. */
const fewSteps = 20_000;

/**
 * How long the stages of a run are expected to take: none where they are made. Of a run that takes its time the open ones are timed,
 * and it is said before the first begins.
 */
const expectedOf = async (
  environment: RunEnvironment,
  open: readonly Stage[],
  executor: (threads: number) => ProcessExecutor,
  out: Terminal,
): Promise<(stage: Stage) => number | undefined> => {
  const { plan, data, engine } = environment;
  const left = new Set(open.map(({ id }) => id));
  const steps = open.reduce((sum, stage) => sum + (stepsOf(stage, plan, data) ?? 0), 0);
  if (!engine.native || steps < fewSteps) return ({ id }) => (left.has(id) ? undefined : 0);
  const { time, close } = executor(engine.threads);
  try {
    const made = await forecast(environment, open, { tell: timingOn(out), time });
    out.log(timeLeft(made));
    return (stage) => (left.has(stage.id) ? made.seconds(stage) : 0);
  } finally {
    // What it has timed takes memory.
    await close();
  }
};

const threadsEach = (jobs: number): number => Math.max(1, Math.floor(availableCores() / jobs));

const isInterruption = (outcome: Outcome): boolean =>
  outcome.status === 'failed' && outcome.failure.kind === 'interrupted';

const decoding = (name: string): ((done: number, total: number) => void) => {
  const progress = progressTo(standardError);
  const began = performance.now();
  return (done, total) =>
    progress({ label: `decoding ${name}`, done, total, seconds: (performance.now() - began) / 1000 });
};

const stopping = 'Stopping after this step; once more stops at once.';

/** Within so many milliseconds a second signal is the same Ctrl-C: npm passes on what its child got as well. */
const oneKeystroke = 500;

/** Has Ctrl-C, or a polite kill, call a function, until what is given is called. */
export const onSignals = (told: () => void): (() => void) => {
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.on(signal, told);
  return () => {
    for (const signal of signals) process.off(signal, told);
  };
};

/** Ctrl-C, or a polite kill, stops a run after its current step; a second one ends the process at once. Until what is given is called. */
const stopOnSignals = (stop: AbortController, out: Terminal, said: string | undefined): (() => void) => {
  let first = 0;
  const onSignal = (): void => {
    if (stop.signal.aborted) {
      if (performance.now() - first > oneKeystroke) process.exit(130);
      return;
    }
    first = performance.now();
    if (said !== undefined) out.log(said);
    stop.abort();
  };
  return onSignals(onSignal);
};

/** The failure that ended a run as a whole; undefined where none did. */
const failureOf = async (work: () => Promise<void>): Promise<Failure | undefined> => {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof FailureError) return error.failure;
    throw error;
  }
};

/** How many times as long as tables took to be written they are then left alone: of many cells they take their time. */
const restAfterTables = 3;

/** Writes the tables while a run goes on, so that a killed one leaves what it had. */
const tableWriter = (folder: string, planned: Planned, store: Store, outcomes: ReadonlyMap<string, Outcome>) => {
  let last: Promise<unknown> = Promise.resolve();
  let waiting = false;
  let took = 0;
  const ending = new AbortController();
  const rest = () => sleep(restAfterTables * took, undefined, { signal: ending.signal }).catch(() => undefined);
  const write = async (): Promise<Matrix> => {
    const began = performance.now();
    const matrix = await collect(planned, store, new Map(outcomes));
    await writeMatrix(folder, matrix);
    took = performance.now() - began;
    return matrix;
  };
  return {
    /** Once more after what is being written, and a rest. A failure shows when the tables are written at the end. */
    soon: (): void => {
      if (waiting) return;
      waiting = true;
      last = last.then(rest).then(() => {
        waiting = false;
        return write().catch(() => undefined);
      });
    },
    now: async (): Promise<Matrix> => {
      ending.abort();
      await last;
      return write();
    },
  };
};

/** What drawing gives; undefined, with a warning, where it fails: that is no failure of the run. */
const drawn = async <A>(what: string, draw: () => Promise<A>, out: Terminal): Promise<A | undefined> => {
  try {
    return await draw();
  } catch (error) {
    warn(out, `no ${what}: ${saidBy(error)}`);
    return undefined;
  }
};

/** Metrics that have no number of anything that was measured and that they are of, as one that forgets to return it. */
const unmeasured = (metrics: readonly Metric[], { victims, cells }: Matrix): readonly Metric[] =>
  metrics.filter(({ name, only }) => {
    const models = [...(only === 'student' ? [] : victims), ...(only === 'victim' ? [] : cells)];
    const measured = models.map(({ metrics: own = {} }) => own).filter((own) => Object.keys(own).length > 0);
    return measured.length > 0 && measured.every((own) => !Object.hasOwn(own, name));
  });

const conclude = ({
  matrix,
  images,
  charts,
  outcomes,
  labels,
  failed,
  folder,
  commandLine,
  out,
}: {
  readonly matrix: Matrix;
  /** In how many cells images were synthesised. */
  readonly images: number;
  /** How many charts were drawn. */
  readonly charts: number;
  readonly outcomes: ReadonlyMap<string, Outcome>;
  readonly labels: ReadonlyMap<string, string>;
  readonly failed: Failure | undefined;
  readonly folder: string;
  readonly commandLine: string;
  readonly out: Terminal;
}): number => {
  if (failed === undefined) out.log(`\n${table(matrix, { width: out.width })}`);
  const place = shownWhole(folder);
  out.log(`${Object.values(matrixFiles).join(', ')}, and a log and a record of each stage: ${place}`);
  if (charts > 0) out.log(`${counted(charts, 'chart')}: ${join(place, chartFiles.folder)}`);
  if (images > 0)
    out.log(`synthesised images: ${join(place, imageFiles.folder)}; undistill images ${place} lists them`);
  if (failed?.kind === 'interrupted') {
    out.log(
      `Stopped. What is finished is kept, and what was begun has a checkpoint. To go on, run the same again:\n  ${commandLine}`,
    );
    return 130;
  }
  const failures = [...outcomes].flatMap(([id, outcome]) =>
    outcome.status === 'failed' ? [{ ...outcome.failure, where: labels.get(id) ?? outcome.failure.where }] : [],
  );
  for (const each of failures) out.log(`${out.paint.bad('✗')} ${showFailure(each)}`);
  if (failed !== undefined) {
    if (!failures.some(({ what }) => what === failed.what)) out.log(`${out.paint.bad('✗')} ${showFailure(failed)}`);
    out.log('The run ended early; what is finished is kept.');
    return 1;
  }
  const cells = matrix.cells.filter(({ seeds }) =>
    seeds.some(({ status }) => status === 'failed' || status === 'skipped'),
  );
  if (cells.length > 0) out.log(`${cells.length} of ${counted(matrix.cells.length, 'cell')} failed, or lack a seed.`);
  return failures.length > 0 ? 1 : 0;
};
