import { FailureError } from '../core/errors.js';
import { refuse } from './assemble.js';

/** What an operating system's error code means for a data file. */
const CODES: Readonly<Record<string, readonly [what: string, remedy: string]>> = {
  ENOENT: ['there is no such file or folder', 'Check the path.'],
  ENOTDIR: ['a part of the path is a file, not a folder', 'Check the path.'],
  EISDIR: ['a file is expected, and this is a folder', 'Check the path.'],
  EACCES: ['it may not be read', 'Change its permissions (`chmod u+r`), or read it as another user.'],
  EPERM: ['it may not be read', 'Change its permissions (`chmod u+r`), or read it as another user.'],
  ELOOP: ['its symbolic links lead in a circle', 'Give the path of the files themselves.'],
  EMFILE: ['too many files are open', 'Raise the limit (`ulimit -n`), or close other programs.'],
  EIO: ['the disk reports an error', 'Copy the data to another disk.'],
};

/** Turns what a file operation on `path` throws into a failure of kind `data`. */
export const refuseUnreadable =
  (path: string) =>
  (thrown: unknown): never => {
    if (thrown instanceof FailureError) throw thrown;
    const { code, message } = thrown as NodeJS.ErrnoException;
    const [what, remedy] = CODES[code ?? ''] ?? [`it cannot be read (${message})`, 'Check the file.'];
    return refuse(what, path, remedy);
  };
