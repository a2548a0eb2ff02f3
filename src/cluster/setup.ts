import { basename, join } from 'node:path';
import * as v from 'valibot';
import type { Of } from '../core/check.js';
import { type Failure, FailureError, failure } from '../core/errors.js';
import { readPlain, readText } from '../core/files.js';
import { sha256 } from '../core/hash.js';
import { jsonText } from '../core/text.js';
import type { CardPrecision, Execution } from '../engine/execution.js';
import type { Json } from '../experiment/identity.js';
import type { GitState } from '../run/git.js';
import { jobsIn, writeWhole } from '../run/store.js';
import { failed } from './job-file.js';

/** What a job must know of the run that submits it: the same as whoever types the command. */
export interface JobSetup {
  /** The experiment's file, and its name there. Paths are absolute. */
  readonly file: string;
  readonly experiment: string;
  readonly data?: string | undefined;
  readonly seed?: readonly string[] | undefined;
  readonly scale?: number | undefined;
  readonly only?: readonly string[] | undefined;
  /** The run's folder, and its store. */
  readonly run: string;
  readonly store: string;
  readonly execution?: Execution | undefined;
  readonly precision?: CardPrecision | undefined;
  readonly checkpointEvery: number;
  /** Bytes; absent: none are kept. */
  readonly answers?: number | undefined;
  readonly git?: GitState | undefined;
  /** What the stages were planned for (see `arithmeticOf`); absent where a node is to say it. */
  readonly arithmetic?: string;
  /** Arguments of the scheduler. */
  readonly args: readonly string[];
}

/** What a node found when it planned an experiment. */
export interface NodeReport {
  readonly host: string;
  /** Of its engine. */
  readonly arithmetic: string;
  readonly engine: string;
  readonly stages: readonly {
    readonly id: string;
    readonly label: string;
    readonly parts: Readonly<Record<string, Json>>;
  }[];
}

/** Writes a setup beside what its jobs will say, and gives its path. Rejects with a failure of kind `store` where it cannot. */
export const writeSetup = async (setup: JobSetup): Promise<string> => {
  const text = jsonText(setup);
  const path = setupPath(setup);
  await writeWhole(path, text);
  return path;
};

/** Where a setup lies: by what it says. */
export const setupPath = (setup: JobSetup): string =>
  join(jobsIn(setup.store), `setup-${sha256(JSON.stringify(setup)).slice(0, 16)}.json`);

/** A setup. Rejects with a failure of kind `cluster` where the file is not what `writeSetup` wrote: its name tells. */
export const readSetup = async (path: string): Promise<JobSetup> => {
  const setup = await readPlain(path)
    .then((text): JobSetup => JSON.parse(String(text)))
    .catch(() => undefined);
  if (typeof setup?.store === 'string' && basename(setupPath(setup)) === basename(path)) return setup;
  throw new FailureError(
    failure('cluster', 'this is not the setup that was submitted: it is damaged, foreign or gone', {
      where: path,
      remedy: 'Run the same `undistill run` again: it writes and submits it anew.',
    }),
  );
};

const report: Of<NodeReport> = v.looseObject({
  ...{ host: v.string(), arithmetic: v.string(), engine: v.string() },
  stages: v.array(
    v.looseObject({
      id: v.string(),
      label: v.string(),
      parts: v.record(
        v.string(),
        v.custom<Json>(() => true),
      ),
    }),
  ),
});

/** What a node wrote of itself, or of why it cannot; undefined where it has not, or where that is damaged. */
export const readReport = async (path: string): Promise<NodeReport | Failure | undefined> => {
  try {
    return v.parse(v.union([failed, report]), JSON.parse(await readText(path)));
  } catch {
    return undefined;
  }
};
