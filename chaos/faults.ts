import { join } from 'node:path';
import type { Project, Ran } from '../test/cli/project.js';
import type { Random } from './case.js';
import { type Effort, environmentOf, run } from './runs.js';

/** What is done to a process of a run at one of its changes to the disk; `preload.js` does it. */
export interface Fault {
  readonly who: Effort['who'];
  /** Names of functions of `node:fs` and `node:fs/promises`, and of files that these opened. */
  readonly operations: readonly string[];
  /** At which of them, from 1 on; a disk that refuses goes on to. */
  readonly at: number;
  /** Killed before it, after it, or with half of it written; or refused. */
  readonly act: 'before' | 'after' | 'half' | 'refuse';
  /** What supervises a worker is killed with it. */
  readonly both?: boolean;
  /** What the disk refuses with. */
  readonly code?: string;
  /** A file that says that it happened. */
  readonly struck: string;
}

/** A run during which something happens to the disk, or at it. */
export const runWith = (at: Project, fault: Omit<Fault, 'struck'>, below?: string): Promise<Ran> =>
  run(at, environmentOf(at, { CHAOS_FAULT: JSON.stringify({ ...fault, struck: struckIn(at) }) }, below));

export const struckIn = (at: Project): string => join(at.folder, 'struck');

/** One of the times that a process did one of some things, in an undisturbed run; undefined where it never did. */
export const someTime = (
  efforts: readonly Effort[],
  { who, operations }: Pick<Fault, 'who' | 'operations'>,
  random: Random,
): number | undefined => {
  const times = efforts
    .filter((effort) => effort.who === who)
    .flatMap(({ counts }) => operations.map((name) => counts[name] ?? 0))
    .reduce((sum, count) => sum + count, 0);
  return times === 0 ? undefined : 1 + random.below(times);
};
