import { resolve } from 'node:path';
import { orThrow } from '../core/errors.js';
import { version } from '../core/version.js';
import { prepareEngine } from '../engine/engine.js';
import type { Experiment } from '../experiment/experiment.js';
import type { Matrix } from '../results/types.js';
import { crewOf } from '../run/crew.js';
import * as defaults from '../run/defaults.js';
import { localExecutor } from '../run/executor.js';
import type { StageRecord } from '../run/record.js';
import { run } from '../run/scheduler.js';
import { openStore } from '../run/store.js';
import { collect, foldersOf, prepare } from './session.js';

export interface RunExperimentOptions {
  /** Where its stages are kept; a second run there finds them. */
  readonly folder: string;
  /** Threads of one operation. Default: all cores. */
  readonly threads?: number;
  /** Steps between two checkpoints. Default 200, as on the command line. */
  readonly checkpointEvery?: number;
  /** Bytes that recorded answers may take in the store; 'off': every student asks its victim anew. Default 4 GB. */
  readonly answers?: number | 'off';
  readonly signal?: AbortSignal;
}

/** What became of an experiment. */
export interface Ran {
  readonly matrix: Matrix;
  /** Of each finished stage, with the log of its training. */
  readonly records: readonly StageRecord[];
}

/**
 * Runs an experiment in this process and writes no tables: for a plugin's test or a notebook. `undistill run` does more.
 * A stage that fails is a cell without a number; rejects with a `FailureError` when nothing can run at all.
 */
export const runExperiment = async (
  experiment: Experiment,
  {
    folder,
    threads,
    checkpointEvery = defaults.checkpointEvery,
    answers = defaults.answers,
    signal,
  }: RunExperimentOptions,
): Promise<Ran> => {
  await orThrow(prepareEngine(threads === undefined ? {} : { threads }));
  const prepared = await prepare(experiment);
  const { store: root } = foldersOf(experiment, resolve(folder, experiment.name));
  const store = openStore(root, () => undefined);
  const environment = {
    ...prepared,
    store,
    version: await version(),
    checkpointEvery,
    answers: answers === 'off' ? undefined : answers,
    signal,
  };
  const outcomes = await run(prepared.plan, store, crewOf(localExecutor(environment)), () => undefined);
  return {
    matrix: await collect(prepared, store, outcomes),
    records: [...outcomes.values()].flatMap((outcome) =>
      'record' in outcome && outcome.record !== undefined ? [outcome.record] : [],
    ),
  };
};
