import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import type { Experiment } from '../../src/experiment/experiment.js';
import { collect, prepare } from '../../src/harness/session.js';
import type { Matrix } from '../../src/results/types.js';
import { crewOf } from '../../src/run/crew.js';
import { answers } from '../../src/run/defaults.js';
import { localExecutor } from '../../src/run/executor.js';
import type { Outcome } from '../../src/run/record.js';
import { type RunEvent, run } from '../../src/run/scheduler.js';
import { openStore } from '../../src/run/store.js';

/** A folder that lasts as long as the test file. */
export const temporaryFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'undistill-run-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
};

export interface Ran {
  readonly matrix: Matrix;
  readonly outcomes: ReadonlyMap<string, Outcome>;
  /** Outcomes by the stages' labels. */
  readonly by: Readonly<Record<string, Outcome>>;
  readonly damages: readonly string[];
}

export interface Options {
  readonly signal?: AbortSignal;
  readonly tell?: (event: RunEvent) => void;
  readonly checkpointEvery?: number;
  readonly answers?: number | undefined;
}

/** Runs an experiment in this process with a store of its own. */
export const ran = async (
  experiment: Experiment,
  root: string,
  { signal, tell = () => undefined, checkpointEvery = 2, ...options }: Options = {},
): Promise<Ran> => {
  const prepared = await prepare(experiment);
  const damages: string[] = [];
  const store = openStore(root, (_, file) => damages.push(file));
  const environment = { ...prepared, store, version: 'test', checkpointEvery, signal, answers, ...options };
  const outcomes = await run(prepared.plan, store, crewOf(localExecutor(environment)), tell);
  const labels = new Map(prepared.plan.stages.map(({ id, label }) => [id, label]));
  return {
    matrix: await collect(prepared, store, outcomes),
    outcomes,
    by: Object.fromEntries([...outcomes].map(([id, outcome]) => [labels.get(id) as string, outcome])),
    damages,
  };
};

/** A matrix without what differs from run to run: how long it took, and when it was. */
export const lasting = (matrix: Matrix): unknown =>
  JSON.parse(
    JSON.stringify(matrix, (name, value) =>
      ['seconds', 'stepsPerSecond', 'provenance'].includes(name) ? undefined : value,
    ),
  );

/** A hash of every file of tensors that stages left in a store: weights and logits, bit for bit. */
export const tensorsIn = (root: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(root, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.safetensors') && !name.startsWith('answers/') && existsSync(join(root, name)))
      .sort()
      .map((name) => [
        name,
        createHash('sha256')
          .update(readFileSync(join(root, name)))
          .digest('hex'),
      ]),
  );
