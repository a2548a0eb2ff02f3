import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';

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
