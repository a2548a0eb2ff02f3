import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { callers } from '../core/callers.js';
import { aFunction, parsed, text, wholeAtLeast } from '../core/check.js';
import { FailureError, failure, orThrow, type Refusal, refusal } from '../core/errors.js';
import { version } from '../core/version.js';
import { prepareEngine } from '../engine/engine.js';
import { type Experiment, isExperiment } from '../experiment/experiment.js';
import type { Matrix } from '../results/types.js';
import { crewOf, sharedBy } from '../run/crew.js';
import * as defaults from '../run/defaults.js';
import { localExecutor } from '../run/executor.js';
import type { Outcome, StageRecord } from '../run/record.js';
import { run } from '../run/scheduler.js';
import { openStore, type Store } from '../run/store.js';
import type { Elsewhere } from './on-cluster.js';
import { writePlan } from './plan-file.js';
import { collect, foldersOf, type Planned, prepare, tellingAltered } from './session.js';

export interface RunExperimentOptions {
  /** Where its stages are kept; a second run there finds them. */
  readonly folder: string;
  /** Threads of one operation. Default: all cores, in a cluster's job those that it was given. */
  readonly threads?: number;
  /** Steps between two checkpoints. Default 200, as on the command line. */
  readonly checkpointEvery?: number;
  /** Bytes that recorded answers may take in the store; 'off': every student asks its victim anew. Default 4 GB. */
  readonly answers?: number | 'off';
  readonly signal?: AbortSignal;
  /**
   * Told what one should know and nothing fails of: what a plan warns of, a stage that was damaged on disk and is made anew.
   * Default: a warning of this process (`process.emitWarning`), which Node prints.
   */
  readonly onNote?: (note: string) => void;
  /**
   * The file that says what is run, as a path or as `import.meta.url`. Default: the one that calls. What a plugin without a
   * declaration knows besides its `params` is known by the text of this file and of what it imports.
   */
  readonly file?: string;
  /** Who makes the stages, such as `slurm(['--partition=gpu'])`. Default: this process. */
  readonly executor?: Elsewhere;
}

/** What became of an experiment. */
export interface Ran {
  readonly matrix: Matrix;
  /** Of each finished stage, with the log of its training. */
  readonly records: readonly StageRecord[];
}

/**
 * Runs an experiment in this process and writes its plan, by which `undistill clean` knows its stages, and no tables: for a
 * plugin's test or a notebook. `undistill run` does more. A stage that fails is a cell without a number; rejects with a
 * `FailureError` when nothing can run at all.
 *
 * A stage that waits for what can never come, or throws where no promise passes it on, has failed like any other. What
 * ends or blocks this process (`process.exit`, a loop without end, a full heap, a crash in native code) ends the run with
 * it: `undistill run` makes stages in processes of their own. What was finished is found by the next run in either.
 *
 * A stage is found again by what its plugins say of themselves: their `params`, their code, and of one that no declaration
 * made the text of its functions and of `file`. A value that no text says (an argument, the turn of a loop, the
 * environment) belongs into `params`: else a second run with another value is given the first one's results.
 */
export const runExperiment = async (experiment: Experiment, options: RunExperimentOptions): Promise<Ran> => {
  parsed('runExperiment', anyOptions, options);
  if (!isExperiment(experiment))
    refuse(
      'it is given no experiment',
      'runExperiment',
      'Give what experiment({ … }) made: what only looks like one, or is a copy with other fields, is none.',
    );
  const file = options.file ?? experiment.file ?? caller();
  return ranFrom(file === undefined ? experiment : { ...experiment, file: pathOf(file) }, options);
};

const refuse: Refusal = refusal('experiment');

const maybe = v.optional;

const anyOptions = v.strictObject({
  folder: text,
  threads: maybe(wholeAtLeast(1)),
  checkpointEvery: maybe(wholeAtLeast(1)),
  answers: maybe(v.pipe(v.union([wholeAtLeast(0), v.literal('off')]), v.title("a number of bytes, or 'off'"))),
  signal: maybe(v.pipe(v.instance(AbortSignal), v.title('the signal of an AbortController'))),
  onNote: maybe(aFunction),
  file: maybe(text),
  executor: maybe(v.pipe(v.function(), v.title("slurm(['--partition=gpu']), or another that makes stages"))),
});

const pathOf = (file: string): string => (file.startsWith('file:') ? fileURLToPath(file) : resolve(file));

/** The file that calls `runExperiment`, where it is one: a notebook's cell is none. */
const caller = (): string | undefined => {
  const [file = ''] = callers();
  return /^(file:|\/|[A-Z]:\\)/.test(file) && existsSync(pathOf(file)) ? file : undefined;
};

const ranFrom = async (
  experiment: Experiment,
  {
    folder,
    threads,
    checkpointEvery = defaults.checkpointEvery,
    answers = defaults.answers,
    signal,
    onNote = (note) => process.emitWarning(note, 'undistill'),
    executor,
  }: RunExperimentOptions,
): Promise<Ran> => {
  const { run: own, store: root } = foldersOf(experiment, resolve(folder, experiment.name));
  const limit = answers === 'off' ? undefined : answers;
  if (executor !== undefined) {
    const file = experiment.file ?? refuseNoFile();
    const on = await executor({
      ...{ experiment, file, run: own, store: root, checkpointEvery, answers: limit, signal, onNote },
    });
    await writePlan(own, on.planned, file);
    const outcomes = await run(on.planned.plan, on.store, sharedBy(on.executor), () => undefined);
    await on.end();
    return ranOf(on.planned, on.store, outcomes);
  }
  await orThrow(prepareEngine(threads === undefined ? {} : { threads }));
  const prepared = await prepare(experiment, { onNote });
  await writePlan(own, prepared, experiment.file);
  const store = openStore(root, tellingAltered(prepared.plan, onNote));
  const environment = {
    ...prepared,
    store,
    version: await version(),
    checkpointEvery,
    answers: limit,
    signal,
  };
  const outcomes = await run(prepared.plan, store, crewOf(localExecutor(environment)), () => undefined);
  return ranOf(prepared, store, outcomes);
};

const ranOf = async (planned: Planned, store: Store, outcomes: ReadonlyMap<string, Outcome>): Promise<Ran> => ({
  matrix: await collect(planned, store, outcomes),
  records: [...outcomes.values()].flatMap((outcome) =>
    'record' in outcome && outcome.record !== undefined ? [outcome.record] : [],
  ),
});

const refuseNoFile = (): never => {
  throw new FailureError(
    failure('usage', 'what makes the stages elsewhere reads the experiment from its file', {
      where: 'runExperiment',
      remedy: 'Give file: that of a module whose default export is the experiment.',
    }),
  );
};
