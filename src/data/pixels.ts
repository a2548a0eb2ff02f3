import { openSync, readSync } from 'node:fs';
import { refuse } from './assemble.js';
import type { Pixels } from './dataset.js';
import { refuseUnreadable } from './files.js';

/** Copies of the images of `size` bytes at `indices`, one after another. */
export const imagesAt = (images: Pixels, size: number, indices: ArrayLike<number>): Uint8Array => {
  const found = new Uint8Array(indices.length * size);
  for (let i = 0; i < indices.length; i++) {
    const at = (indices[i] as number) * size;
    found.set(images instanceof Uint8Array ? images.subarray(at, at + size) : images.slice(at, at + size), i * size);
  }
  return found;
};

/** The images at `indices` and no others: copied when `images` are in memory, else still read from their file. */
export const onlyImages = (images: Pixels, size: number, indices: Int32Array): Pixels => {
  if (images instanceof Uint8Array) return imagesAt(images, size, indices);
  const length = indices.length * size;
  return {
    length,
    // Whoever takes slices of these takes whole images.
    slice: (begin = 0, end = length) => imagesAt(images, size, indices.subarray(begin / size, end / size)),
  };
};

/**
 * The bytes of a file from `start` on, read when they are asked for; the system keeps in memory what it has room for, once
 * for all processes. The file stays open, so that it may be replaced or removed meanwhile. Reading throws a failure of kind
 * `data` when the disk does not give the bytes.
 */
export const pixelFile = (path: string, start: number, length: number): Pixels => {
  const file = openSync(path, 'r');
  return {
    length,
    slice: (begin = 0, end = length) => {
      const bytes = new Uint8Array(Math.max(0, Math.min(end, length) - begin));
      for (let done = 0; done < bytes.length; ) {
        const read = readAt(file, bytes, done, start + begin + done, path);
        if (read === 0) refuse('the decoded data set was cut off while it was in use', path, 'Run again.');
        done += read;
      }
      return bytes;
    },
  };
};

/** A call of the system reads less than this at once. */
const MOST_AT_ONCE = 2 ** 30;

const readAt = (file: number, into: Uint8Array, at: number, position: number, path: string): number => {
  try {
    return readSync(file, into, at, Math.min(into.length - at, MOST_AT_ONCE), position);
  } catch (thrown) {
    return refuseUnreadable(path)(thrown);
  }
};
