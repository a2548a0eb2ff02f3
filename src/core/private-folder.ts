import { constants, lstatSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/**
 * Makes a folder for what will be run, unless it is there, and says whether nobody else can have put anything there: it is no
 * link, belongs to this user or to root, and others can neither write in it nor put another one in its place. What is run
 * from a stranger's folder is the stranger's code.
 */
export const isPrivate = (folder: string): boolean => {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const user = process.getuid?.();
  // Windows has neither owners nor modes that would tell.
  if (user === undefined) return true;
  return [folder, dirname(folder)].every((each) => {
    const { mode, uid } = lstatSync(each);
    // In a folder with the sticky bit, such as /tmp, others cannot touch what is not theirs.
    const isOpen = (mode & constants.S_IWOTH) !== 0 && (each === folder || (mode & 0o1000) === 0);
    return (mode & constants.S_IFMT) === constants.S_IFDIR && [user, 0].includes(uid) && !isOpen;
  });
};

/** A folder of this process alone, below the system's temporary one; removed when the process ends. */
export const temporaryFolder = (name: string): string => {
  const folder = mkdtempSync(join(tmpdir(), `${name}-`));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
};
