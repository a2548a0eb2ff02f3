import { join } from 'node:path';
import { isThere } from '../src/run/store.js';
import type { Project, Ran } from '../test/cli/project.js';
import { Defect, type Random } from './case.js';
import { type Effort, environmentOf, inPlace, run, undisturbed } from './runs.js';

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

/**
 * Has a fault strike a run at a time that is drawn, and looks at what came of it.
 *
 * @throws `unstruck` where the run did not do what was to be struck
 */
export const strike = async (
  fault: Omit<Fault, 'at' | 'struck'>,
  { random, shared }: { readonly random: Random; readonly shared: string },
  look: (at: Project, ran: Ran) => Promise<void>,
  unstruck: Error = new Defect(
    'aborted',
    `the run did no ${fault.operations} at which it was to be struck: mend the campaign`,
  ),
): Promise<void> => {
  const time = someTime((await undisturbed(shared)).efforts, fault, random);
  if (time === undefined) throw unstruck;
  await inPlace(async (at) => {
    const struck = join(at.folder, 'struck');
    const whole: Fault = { ...fault, at: time, struck };
    const ran = await run(at, environmentOf(at, { CHAOS_FAULT: JSON.stringify(whole) }));
    // A case in which nothing happens proves nothing.
    if (!(await isThere(struck))) throw unstruck;
    await look(at, ran);
  });
};

/** One of the times that a process did one of some things, in an undisturbed run; undefined where it never did. */
const someTime = (
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
