import { appendFileSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Failure } from '../core/errors.js';
import { makeFolderAtOnce } from '../core/files.js';
import { jobsIn } from '../run/store.js';
import type { StageEvent } from '../run/types.js';

/** What a job says of its stage, a line of JSON each, since it was submitted. */
export type JobLine =
  /** `job` is its number, `start` 0 the first time. */
  | { readonly type: 'begun'; readonly job: string; readonly start: number; readonly node: string }
  | { readonly type: 'event'; readonly event: StageEvent }
  /** It is started again, or was ended from outside. */
  | { readonly type: 'stopped'; readonly again: boolean }
  | { readonly type: 'done' }
  | { readonly type: 'failed'; readonly failure: Failure };

/** The file of those lines. */
export const jobFile = (store: string, id: string): string => join(jobsIn(store), `${id}.jsonl`);

/** What Slurm, Node and plugins say in a job: its output. */
export const jobLog = (store: string, id: string): string => join(jobsIn(store), `${id}.log`);

/** Forgets what was said of a stage by earlier jobs. */
export const forgetJob = (store: string, id: string): Promise<void> => rm(jobFile(store, id), { force: true });

/** Milliseconds between two lines that tell of a fit's steps: whoever watches looks every few seconds. */
const progressEvery = 1_000;

/** Says something of a stage. A folder that refuses is no reason for the stage to fail: the store tells the rest. */
export const jobWriter = (store: string, id: string): ((line: JobLine) => void) => {
  const path = jobFile(store, id);
  let last = Number.NEGATIVE_INFINITY;
  return (line) => {
    if (line.type === 'event' && line.event.type === 'progress') {
      if (performance.now() - last < progressEvery) return;
      last = performance.now();
    }
    try {
      makeFolderAtOnce(dirname(path));
      // Numbers that JSON has not (NaN, infinity) become null: they are only shown.
      appendFileSync(path, `${JSON.stringify(line)}\n`);
    } catch {}
  };
};

/** The lines that were added to a stage's file since the last call; none where there is no file. */
export const jobReader = (store: string, id: string): (() => Promise<readonly JobLine[]>) => {
  const path = jobFile(store, id);
  let at = 0;
  let rest = Buffer.alloc(0);
  return async () => {
    const file = await open(path).catch(() => undefined);
    if (file === undefined) return [];
    try {
      const { size } = await file.stat();
      // Another job's.
      if (size < at) [at, rest] = [0, Buffer.alloc(0)];
      const piece = Buffer.alloc(size - at);
      const { bytesRead } = await file.read(piece, 0, piece.length, at);
      at += bytesRead;
      const text = Buffer.concat([rest, piece.subarray(0, bytesRead)]);
      const end = text.lastIndexOf(10) + 1;
      rest = text.subarray(end);
      return text.subarray(0, end).toString().split('\n').flatMap(lineOf);
    } finally {
      await file.close();
    }
  };
};

const types: readonly unknown[] = ['begun', 'event', 'stopped', 'done', 'failed'];

/** A file may be anybody's, and end anywhere. */
const lineOf = (text: string): readonly JobLine[] => {
  try {
    const line = JSON.parse(text) as JobLine | null;
    return line !== null && types.includes(line.type) ? [line] : [];
  } catch {
    return [];
  }
};
