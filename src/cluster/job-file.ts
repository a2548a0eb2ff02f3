import { appendFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { jsonNumber as number, type Of } from '../core/check.js';
import type { Failure, FailureKind } from '../core/errors.js';
import { makeFolderAtOnce, openPlain } from '../core/files.js';
import { removeFile } from '../run/disk.js';
import { jobsIn } from '../run/store.js';
import type { StageEvent } from '../run/types.js';
import type { FitProgress } from '../train/fit.js';
import type { EpochRecord } from '../train/fit-log.js';

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
export const forgetJob = (store: string, id: string): Promise<void> => removeFile(jobFile(store, id));

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
    const file = await openPlain(path).catch(() => undefined);
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

const metrics = v.record(v.string(), number);

const progress: Of<FitProgress> = v.looseObject({
  ...{ epoch: number, epochs: number, step: number, steps: number },
  ...{ metrics, imagesPerSecond: number, secondsLeft: number },
});

const epoch: Of<EpochRecord> = v.looseObject({
  ...{ epoch: number, step: number, learningRate: number, metrics, stepsPerSecond: number },
  validation: v.exactOptional(number),
});

const kinds = Object.keys({
  ...{ usage: true, experiment: true, data: true, engine: true, store: true, diverged: true },
  ...{ plugin: true, cluster: true, interrupted: true },
} satisfies Readonly<Record<FailureKind, true>>) as FailureKind[];

export const failed: Of<Failure> = v.looseObject({
  _tag: v.literal('Failure'),
  kind: v.picklist(kinds),
  what: v.string(),
  where: v.optional(v.string()),
  remedy: v.optional(v.string()),
  trace: v.optional(v.string()),
});

const of = <const Type extends string, Fields extends v.ObjectEntries>(type: Type, fields: Fields) =>
  v.looseObject({ type: v.literal(type), ...fields });

const event: Of<StageEvent> = v.variant('type', [
  of('progress', { fit: v.string(), progress }),
  of('epoch', { fit: v.string(), record: epoch, epochs: number }),
  of('picture', { path: v.string(), name: v.string() }),
  of('place', { node: v.string() }),
  of('queued', { reason: v.string() }),
  of('note', { message: v.string() }),
  of('warning', { message: v.string() }),
]);

const jobLine: Of<JobLine> = v.variant('type', [
  of('begun', { job: v.string(), start: number, node: v.string() }),
  of('event', { event }),
  of('stopped', { again: v.boolean() }),
  of('done', {}),
  of('failed', { failure: failed }),
]);

/** A file may be anybody's, and end anywhere: what is no line of ours is left out. */
const lineOf = (text: string): readonly JobLine[] => {
  try {
    return [v.parse(jobLine, JSON.parse(text))];
  } catch {
    return [];
  }
};
