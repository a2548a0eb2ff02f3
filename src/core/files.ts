import { createHash } from 'node:crypto';
import { constants, mkdirSync, statSync } from 'node:fs';
import { type FileHandle, mkdir, open, realpath, stat } from 'node:fs/promises';
import { dirname, sep } from 'node:path';
import { refusal } from './errors.js';

/** SHA-256 of a file in hexadecimal, read piece by piece. */
export const sha256Of = async (path: string): Promise<string> => {
  const file = await open(path);
  try {
    const hash = createHash('sha256');
    // No larger than the file: a megabyte for each of a store's thousands of small ones has memory collected all the time.
    const piece = Buffer.allocUnsafe(Math.min((await file.stat()).size + 1, 1 << 20));
    for (;;) {
      const { bytesRead } = await file.read(piece, 0, piece.length);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(piece.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
};

/** Whether there is a file at a path; a folder is none. */
export const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  );

/** Whether there is a folder at a path. */
export const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

/** Makes a folder and those around it, where they are missing. Node's own way never ends where none can be made, as in `/proc`. */
export const makeFolder = async (path: string): Promise<void> => {
  const make = async (): Promise<void> => {
    await mkdir(path).catch(async (error) => {
      if (!(await isFolder(path))) throw error;
    });
  };
  await make().catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT' || dirname(path) === path) throw error;
    await makeFolder(dirname(path));
    await make();
  });
};

/** The same at once, for whoever cannot wait; `mode` is that of the folders that are made. */
export const makeFolderAtOnce = (path: string, mode?: number): void => {
  const make = (): void => {
    try {
      mkdirSync(path, mode);
    } catch (error) {
      if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw error;
    }
  };
  try {
    make();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(path) === path) throw error;
    makeFolderAtOnce(dirname(path), mode);
    make();
  }
};

/** The code of the error for what is no file. */
export const noFile = 'ENOFILE';

/**
 * Opens a file for reading. Rejects with `ENOFILE` for what is none, such as a pipe that nobody writes to, which would be waited for.
 */
export const openPlain = async (path: string): Promise<FileHandle> => {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw Object.assign(new Error(`it is no file: ${path}`), { code: noFile });
};

/** Reads of a file, which is closed afterwards. Rejects with `ENOFILE` for what is none. */
const reading = async <A>(path: string, read: (file: FileHandle) => Promise<A>): Promise<A> => {
  const file = await openPlain(path);
  try {
    return await read(file);
  } finally {
    await file.close();
  }
};

/** What a file holds. Rejects with `ENOFILE` for what is none. */
export const readPlain = (path: string): Promise<Buffer> => reading(path, (file) => file.readFile());

/** Bytes of a text that is read as a whole, of which there are strings at all. */
const longestText = 2 ** 28;

/** What a file of text holds. Rejects as `readPlain`, and with a failure of kind `usage` for one of more than 256 MiB. */
export const readText = (path: string): Promise<string> =>
  reading(path, async (file) => {
    const { size } = await file.stat();
    if (size > longestText)
      refusal('usage')(
        `the file is of ${size.toLocaleString('en')} bytes, and ${longestText.toLocaleString('en')} are the most that is read`,
        path,
        'Nothing that undistill writes is as large: is it another file of this name?',
      );
    return file.readFile('utf8');
  });

/** The end of a text that others write, such as a log, which may be of any length. Rejects as `readPlain`. */
export const readEnd = (path: string, bytes = longestText): Promise<string> =>
  reading(path, async (file) => {
    const { size } = await file.stat();
    const from = Math.max(0, size - bytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
    return buffer.toString('utf8', 0, bytesRead);
  });

/**
 * What a file in a folder holds, or deeper in it. Rejects for one that lies elsewhere, whether by its path or by a link: a path in a file of
 * somebody else may be any.
 */
export const readWithin = async (folder: string, path: string): Promise<Buffer> => {
  const [within, found] = await Promise.all([realpath(folder), realpath(path)]);
  if (!found.startsWith(within + sep)) throw new Error(`it lies outside of ${folder}`);
  return readPlain(found);
};
