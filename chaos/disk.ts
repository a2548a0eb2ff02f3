import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Project, Ran } from '../test/cli/project.js';
import { type Case, Impossible, type Kind, must, severally } from './case.js';
import { type Fault, strike } from './faults.js';
import { inPlace, mustBeWhole, mustEqual, mustHaveEnded, patience, resultsOf, run, undisturbed } from './runs.js';

/** Whatever changes something on a disk. */
const writing = [
  ...['open', 'mkdir', 'writeFile', 'write', 'sync', 'rename', 'link', 'cp', 'copyFile', 'rm', 'unlink', 'utimes'],
  ...['openSync', 'mkdirSync', 'writeFileSync', 'renameSync', 'rmSync', 'utimesSync'],
];

/** What a disk refuses with, and what it refuses then. */
const refusals: Readonly<Record<string, readonly string[]>> = {
  ENOSPC: writing.filter((name) => !/^(rm|unlink|utimes)/.test(name)),
  EDQUOT: writing.filter((name) => !/^(rm|unlink|utimes)/.test(name)),
  EROFS: writing,
  EACCES: writing,
  EIO: ['writeFile', 'write', 'sync', 'writeFileSync', 'rename', 'renameSync'],
  EMFILE: ['open', 'openSync', 'writeFileSync'],
};

/** A run of which the disk refused something says so, or did without; once the disk is well, all is what it would have been. */
const mustRecover = async (at: Project, ran: Ran, says: RegExp, shared: string): Promise<void> => {
  const { results } = await undisturbed(shared);
  mustHaveEnded(ran);
  const said = `${ran.out}${ran.err}`;
  if (ran.code === 0) mustEqual(await resultsOf(at.folder), results, 'silent');
  else must('silent', says.test(said), () => `it does not say what the disk refused: ${said.slice(-1500)}`);
  mustBeWhole(await run(at));
  mustEqual(await resultsOf(at.folder), results);
};

const refusing =
  (who: Fault['who'], code: string): Case['attempt'] =>
  async (random, shared) => {
    const operations = refusals[code] ?? [];
    const says = new RegExp(`${code}|full|read-only|quota|cannot be written`);
    await strike({ who, operations, act: 'refuse', code }, { random, shared }, (at, ran) =>
      mustRecover(at, ran, says, shared),
    );
  };

/** How often a disk refuses with each of the codes, each time from another moment on. */
const times = 3;

const refused: readonly Case[] = (['worker', 'main'] as const).flatMap((who) =>
  Object.keys(refusals).flatMap((code) => severally(times, `${who}: ${code}`, refusing(who, code))),
);

/** Does something with a small disk at the folder of runs. */
const onSmallDisk = async (
  at: Project,
  options: string,
  act: (remount: (options: string) => void) => Promise<void>,
) => {
  const folder = join(at.folder, 'runs');
  mkdirSync(folder);
  const mount = (...args: readonly string[]): void => {
    execFileSync('mount', [...args, folder], { stdio: 'pipe' });
  };
  try {
    mount('-t', 'tmpfs', '-o', options, 'tmpfs');
  } catch (error) {
    throw new Impossible(`no small disk can be mounted here: ${(error as Error).message.split('\n')[1] ?? error}`);
  }
  try {
    await act((changed) => mount('-o', `remount,${changed}`));
  } finally {
    execFileSync('umount', ['-l', folder]);
  }
};

const smallDisk =
  (options: string, says: RegExp): Case['attempt'] =>
  (_, shared) =>
    inPlace((at) =>
      onSmallDisk(at, options, async (remount) => {
        const ran = await run(at);
        must('silent', ran.code !== 0, () => `the disk was large enough for it (${options}): mend the campaign`);
        remount('size=1g,nr_inodes=1m,rw');
        await mustRecover(at, ran, says, shared);
      }),
    );

/** Real disks, which fill up in the middle of a file. */
const mounted: readonly Case[] = [
  ...[40, 150, 250, 400].map((kilobytes) => ({
    name: `a disk of ${kilobytes} kB`,
    attempt: smallDisk(`size=${kilobytes}k`, /disk is full|ENOSPC/),
  })),
  ...[12, 40, 90].map((inodes) => ({
    name: `a disk of ${inodes} inodes`,
    attempt: smallDisk(`size=1g,nr_inodes=${inodes}`, /disk is full|ENOSPC/),
  })),
  { name: 'a read-only disk', attempt: smallDisk('ro', /read-only|EROFS/) },
];

/** Disks that refuse, of which a run says so, and goes on once they do not. */
export const disk: Kind = {
  name: 'disk',
  about: 'a disk that is full, without inodes, read-only or broken, from any moment on; then run again',
  limit: (4 * patience) / 1000,
  takes: 40,
  cases: () => [...refused, ...mounted],
};
