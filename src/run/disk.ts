import { rm } from 'node:fs/promises';
import { type Failure, FailureError, failure } from '../core/errors.js';
import { noFile } from '../core/files.js';

/** How a user has something written to another place. */
const byOut = 'choose another folder with --out';

/** A file error as a failure with a remedy; undefined for anything else. */
const fileFailure = (path: string, error: unknown, elsewhere = byOut): Failure | undefined => {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === undefined) return undefined;
  const toElsewhere = `${elsewhere.charAt(0).toUpperCase()}${elsewhere.slice(1)}.`;
  const remedies: Readonly<Record<string, string>> = {
    ENOSPC: 'The disk is full. Free some space and run again: finished stages and checkpoints are kept.',
    EDQUOT: 'The quota is used up. Free some space and run again: finished stages and checkpoints are kept.',
    EROFS: `The disk is read-only. ${toElsewhere}`,
    EACCES: `This user may not read or write there: change its permissions, or ${elsewhere}.`,
    EPERM: `This user may not read or write there: change its permissions, or ${elsewhere}.`,
    ENOTDIR: `A file is in the way. ${toElsewhere}`,
    EEXIST: `A file is in the way. ${toElsewhere}`,
    EISDIR: `A folder is in the way. ${toElsewhere}`,
    [noFile]: `Something that is no file is in the way. Remove it, or ${elsewhere}.`,
  };
  const remedy = remedies[code] ?? `Run again, or ${elsewhere}.`;
  return failure('store', (error as Error).message, { where: path, remedy });
};

/** Throws a file error as a failure with a remedy, and anything else as it is. */
export const storeFailure = (path: string, error: unknown, elsewhere?: string): never => {
  const failed = fileFailure(path, error, elsewhere);
  throw failed === undefined ? error : new FailureError(failed);
};

/** Does something to files; what goes wrong with them is a failure that says where else they may lie. */
export const guarded = async <A>(path: string, act: () => Promise<A>, elsewhere?: string): Promise<A> =>
  act().catch((error) => storeFailure(path, error, elsewhere));

/** Removes a file if it is there. */
export const removeFile = (path: string): Promise<void> => guarded(path, () => rm(path, { force: true }));

/** What a disk or the system refuses, whatever is asked of it. */
const refusals = ['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'EIO', 'EBUSY', 'ESTALE', 'EMFILE', 'ENFILE'];

/** What a disk refused as a failure, wherever that was: nobody's mistake. Undefined for anything else. */
export const diskFailure = (error: unknown): Failure | undefined => {
  const { code, path, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  return code !== undefined && syscall !== undefined && refusals.includes(code)
    ? fileFailure(path ?? 'a file', error)
    : undefined;
};
