import { createHash } from 'node:crypto';
import { openSync, readSync, rmSync } from 'node:fs';
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

/** Bytes of the checksum of an image. */
export const sumSize = 8;

/** The checksums of images of `size` bytes, one after another: the first bytes of the SHA-256 of each. */
export const sumsOf = (images: Uint8Array, size: number): Uint8Array => {
  const sums = new Uint8Array((images.length / size) * sumSize);
  for (let i = 0; i * size < images.length; i++) {
    const digest = createHash('sha256')
      .update(images.subarray(i * size, (i + 1) * size))
      .digest();
    sums.set(digest.subarray(0, sumSize), i * sumSize);
  }
  return sums;
};

/** Images in a file. */
export interface PixelPlace {
  /** Where they begin. */
  readonly start: number;
  readonly count: number;
  /** Bytes of one image. */
  readonly size: number;
  /** Their checksums. */
  readonly sums: Uint8Array;
}

/**
 * Images that stay in a file, read when they are asked for; the system keeps in memory what it has room for, once for all
 * processes. The file stays open, so that it may be replaced or removed meanwhile. Each image is held to its checksum
 * whenever it is read (12 µs for 64×64 in colour). Reading throws a failure of kind `data` when the disk does not give the
 * bytes, or other ones than were written: the file is then removed, since whoever opens it does not look at the images.
 */
export const pixelFile = (path: string, { start, count, size, sums }: PixelPlace): Pixels => {
  const file = openSync(path, 'r');
  const length = count * size;
  const images = (from: number, to: number): Uint8Array => {
    const bytes = new Uint8Array((to - from) * size);
    for (let done = 0; done < bytes.length; ) {
      const read = readAt(file, bytes, done, start + from * size + done, path);
      if (read === 0) refuse('the decoded data set was cut off while it was in use', path, 'Run again.');
      done += read;
    }
    if (Buffer.compare(sumsOf(bytes, size), sums.subarray(from * sumSize, to * sumSize)) === 0) return bytes;
    rmSync(path, { force: true });
    return refuse('the decoded data set was altered on disk', path, 'It was removed: run again, and it is made anew.');
  };
  return {
    length,
    slice: (begin = 0, end = length) => {
      const last = Math.max(begin, Math.min(end, length));
      const from = Math.floor(begin / size);
      return images(from, Math.ceil(last / size)).subarray(begin - from * size, last - from * size);
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
