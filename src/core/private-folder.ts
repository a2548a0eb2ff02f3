import { constants, lstatSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { makeFolderAtOnce } from './files.js';

/**
 * Who else could have put something into a file or folder, as a clause; undefined where nobody could: it belongs to this user
 * or to root, and others cannot write to it. Windows has neither owners nor modes that would tell.
 *
 * @param isAbove it is only about what lies in this folder: in one with the sticky bit, such as /tmp, others cannot touch that
 */
export const othersIn = (path: string, isAbove = false): string | undefined => {
  const user = process.getuid?.();
  if (user === undefined) return undefined;
  const { mode, uid } = lstatSync(path);
  if (![user, 0].includes(uid)) return `it belongs to another user (uid ${uid})`;
  const isOpen = (mode & constants.S_IWOTH) !== 0 && !(isAbove && (mode & 0o1000) !== 0);
  return isOpen ? 'everybody can write to it' : undefined;
};

/**
 * Makes a folder for what will be run, unless it is there, and says whether nobody else can have put anything there: it is no
 * link, belongs to this user or to root, and others can neither write in it nor put another one in its place. What is run
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
