import { cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { readText } from '../core/files.js';
import { guarded, removeFile } from './disk.js';
import { files } from './outputs.js';
import { recordSchema, type StageRecord } from './record.js';

/*
 * What a stage's folder has for people to read: its record and its logs. The folder lies in the store, finished or
 * begun, or is where a run copied these files to.
 */

/** The name of a set of images, among stored logits, where these are means over views of them. */
export const overViews = (images: string): string => `${images} over views`;

/** The log of one fit: a JSON value a line, an epoch each. */
export interface StageLog {
  /** The name of the fit; '' for that of the stage's own model. */
  readonly fit: string;
  readonly text: string;
}

/** The file of a fit's log; '' is the fit of the stage's own model. */
export const logFile = (fit: string): string => (fit === '' ? 'metrics.jsonl' : `metrics-${fit}.jsonl`);

/** The fit whose log a file is; undefined for any other file. */
export const fitOf = (file: string): string | undefined => {
  const found = /^metrics(?:-(.+))?\.jsonl$/.exec(file);
  return found === null ? undefined : (found[1] ?? '');
};

/** A stage's record; undefined where there is none that can be read: the stage is not finished. */
export const recordIn = async (folder: string): Promise<StageRecord | undefined> => {
  try {
    const value: unknown = JSON.parse(await readText(join(folder, files.record)));
    return v.is(recordSchema, value) ? (value as object as StageRecord) : undefined;
  } catch {
    return undefined;
  }
};

/** The logs of a stage's fits, as far as they have been written; none where there is no such folder. */
export const logsIn = async (folder: string): Promise<readonly StageLog[]> => {
  const fits = (await readdir(folder).catch(() => [])).sort().flatMap((name) => fitOf(name) ?? []);
  return Promise.all(
    fits.map(async (fit) => ({
      fit,
      // A stage that is finished just now is somewhere else.
      text: await readText(join(folder, logFile(fit))).catch(() => ''),
    })),
  );
};

/** The names of a stage's record and logs in a folder; undefined where there is no such folder. */
const recordAndLogsIn = async (folder: string): Promise<readonly string[] | undefined> => {
  const names = await readdir(folder).catch(() => undefined);
  return names?.filter((name) => name === files.record || fitOf(name) !== undefined);
};

/**
 * Copies the record and the logs of a stage, in place of those that are there. Rejects with a failure of kind `store` where they cannot
 * be written.
 */
export const copyRecordAndLogs = async (from: string, to: string): Promise<void> => {
  const names = await recordAndLogsIn(from);
  // A stage that is finished just now is somewhere else.
  if (names === undefined) return;
  // A stage that is made anew has no record yet, and its logs are not those of the one before.
  for (const name of (await recordAndLogsIn(to)) ?? []) {
    if (!names.includes(name)) await removeFile(join(to, name));
  }
  for (const name of names) {
    const target = join(to, name);
    await guarded(target, () => cp(join(from, name), target));
  }
};
