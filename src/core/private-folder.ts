import { constants, lstatSync, mkdtempSync, rmSync, type Stats } from 'node:fs';
import { chmod, lstat, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { makeFolderAtOnce } from './files.js';

/**
 * Who beside `user` could have put something into a file or folder, as a clause; undefined where nobody could: it belongs to this user
 * or to root, and neither its group nor others can write to it. A group of its owner's number is the owner's alone, as systems make one
 * with each user, and so is root's; who is in another one cannot be told.
 *
 * @param isAbove it is only about what lies in this folder: in one with the sticky bit, such as /tmp, others cannot touch that
 */
export const writersOf = (
  { mode, uid, gid }: Pick<Stats, 'mode' | 'uid' | 'gid'>,
  user: number,
  isAbove = false,
): string | undefined => {
  if (![user, 0].includes(uid)) return `it belongs to another user (uid ${uid})`;
  if (isAbove && (mode & 0o1000) !== 0) return undefined;
  if ((mode & constants.S_IWOTH) !== 0) return 'everybody can write to it';
  return (mode & constants.S_IWGRP) !== 0 && ![uid, 0].includes(gid)
    ? `all of a group can write to it (gid ${gid})`
    : undefined;
};

/** Who else could have put something into a file or folder. Windows has neither owners nor modes that would tell. */
export const othersIn = (path: string, isAbove = false): string | undefined => {
  const user = process.getuid?.();
  return user === undefined ? undefined : writersOf(lstatSync(path), user, isAbove);
};

/** Takes the right to write to a folder from all but its owner, whatever the umask gave them; not where it is somebody else's. */
export const closeToOthers = async (folder: string, within = true): Promise<void> => {
  const found = within ? await readdir(folder, { recursive: true }) : [];
  for (const path of [folder, ...found.map((name) => join(folder, name))]) {
    const { mode } = await lstat(path);
    const isOpen = (mode & (constants.S_IWGRP | constants.S_IWOTH)) !== 0;
    // What a link leads to is not in here.
    if (isOpen && (mode & constants.S_IFMT) !== constants.S_IFLNK)
      await chmod(path, mode & 0o7777 & ~0o022).catch(() => undefined);
  }
};

/**
 * Makes a folder for what will be run, unless it is there, and says whether nobody else can have put anything there: it is no
 * link, belongs to this user or to root, and neither others nor a group can write in it or put another one in its place. What is run
 * from a stranger's folder is the stranger's code.
 */
export const isPrivate = (folder: string): boolean => {
  makeFolderAtOnce(folder, 0o700);
  if (process.getuid === undefined) return true;
  return [folder, dirname(folder)].every(
    (each) => lstatSync(each).isDirectory() && othersIn(each, each !== folder) === undefined,
  );
};

/** A folder of this process alone, below the system's temporary one; removed when the process ends. */
export const temporaryFolder = (name: string): string => {
  const folder = mkdtempSync(join(tmpdir(), `${name}-`));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
};
