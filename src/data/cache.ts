import { createHash, randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder } from '../core/cache-folder.js';
import { checkDecoded, type Decoded, fingerprintOf, labelArray } from './assemble.js';
import type { Dataset, Examples, LoadOptions } from './dataset.js';

/** Raised whenever the same files would be decoded to other bytes, or the layout of the packed file changes. */
const VERSION = 1;

const MAGIC = Buffer.from('undistill data\n');

/** A decoded set's name in the cache, and what makes it stale. */
export interface CacheEntry {
  readonly name: string;
  /** Absolute path of the file or folder that was read. */
  readonly path: string;
  /** What else the decoded bytes depend on: format, size, given constants. */
  readonly options: unknown;
  /** Changes with the source: sizes and times of its files. An entry with another stamp is replaced. */
  readonly stamp: string;
}

type Header = Omit<Decoded, 'train' | 'test'> & {
  readonly version: number;
  readonly stamp: string;
  readonly train: number;
  readonly test: number;
  readonly fingerprint: string;
};

/** Where decoded sets are kept unless told otherwise. */
export const dataCacheFolder = (): string => join(cacheFolder(), 'data');

/** A digest of sizes and modification times, in the order given. */
export const stampOf = (
  files: readonly { readonly path: string; readonly size: number; readonly modified: number }[],
): string => {
  const hash = createHash('sha256');
  for (const { path, size, modified } of files) hash.update(`${path}\0${size}\0${modified}\n`);
  return hash.digest('hex');
};

/** One file a source and set of options, so that a changed source replaces its entry instead of adding one. */
const entryFile = (folder: string, { name, path, options }: CacheEntry): string => {
  const digest = createHash('sha256')
    .update(JSON.stringify([path, options]))
    .digest('hex');
  return join(folder, `${name}-${digest.slice(0, 16)}.bin`);
};

const bytesOf = (array: Uint8Array | Uint16Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

const readFully = async (file: FileHandle, into: Uint8Array, position: number): Promise<void> => {
  for (let done = 0; done < into.length; ) {
    const { bytesRead } = await file.read(into, done, into.length - done, position + done);
    if (bytesRead === 0) throw new Error('the file ends early');
    done += bytesRead;
  }
};

const writeFully = async (file: FileHandle, from: Uint8Array): Promise<void> => {
  for (let done = 0; done < from.length; ) {
    const { bytesWritten } = await file.write(from, done, from.length - done);
    done += bytesWritten;
  }
};

/** The packed set, checked against its fingerprint; nothing when there is none, when it is stale or when it is damaged. */
const readPacked = async (path: string, name: string, stamp: string): Promise<Dataset | undefined> => {
  const file = await open(path, 'r');
  try {
    const size = (await file.stat()).size;
    const start = new Uint8Array(MAGIC.length + 4);
    await readFully(file, start, 0);
    if (!MAGIC.equals(start.subarray(0, MAGIC.length))) return undefined;
    const headerLength = new DataView(start.buffer).getUint32(MAGIC.length, true);
    if (start.length + headerLength > size) return undefined;
    const headerBytes = new Uint8Array(headerLength);
    await readFully(file, headerBytes, start.length);
    const header = JSON.parse(Buffer.from(headerBytes).toString('utf8')) as Header;
    if (header.version !== VERSION || header.stamp !== stamp) return undefined;
    const { image, classes, normalisation, augmentation } = header;
    const labelSize = labelArray(0, classes.length).BYTES_PER_ELEMENT;
    const imageSize = image.height * image.width * image.channels;
    const expected = start.length + headerLength + (header.train + header.test) * (imageSize + labelSize);
    if (expected !== size) return undefined;
    let position = start.length + headerLength;
    const readPart = async (count: number): Promise<Examples> => {
      const images = new Uint8Array(count * imageSize);
      const labels = labelArray(count, classes.length);
      for (const bytes of [images, bytesOf(labels)]) {
        await readFully(file, bytes, position);
        position += bytes.length;
      }
      return { images, labels, count };
    };
    const train = await readPart(header.train);
    const test = await readPart(header.test);
    const decoded: Decoded = { image, classes, normalisation, augmentation, train, test };
    // The fingerprint is the checksum too: it covers all that is handed out.
    if (fingerprintOf(decoded) !== header.fingerprint) return undefined;
    return { name, ...decoded, fingerprint: header.fingerprint };
  } finally {
    await file.close();
  }
};

/** Leavings of processes that were killed while writing; a file younger than an hour may still be being written. */
const removeLeavings = async (folder: string): Promise<void> => {
  for (const name of await readdir(folder)) {
    if (!name.endsWith('.part')) continue;
    const path = join(folder, name);
    if (Date.now() - (await stat(path)).mtimeMs > 3_600_000) await rm(path, { force: true });
  }
};

/** Written aside and renamed into place: a reader sees a whole file or none. */
const writePacked = async (folder: string, path: string, stamp: string, dataset: Dataset): Promise<void> => {
  const { image, classes, normalisation, augmentation, train, test, fingerprint } = dataset;
  const header: Header = {
    version: VERSION,
    stamp,
    image,
    classes,
    normalisation,
    augmentation,
    train: train.count,
    test: test.count,
    fingerprint,
  };
  const headerBytes = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(headerBytes.length);
  await mkdir(folder, { recursive: true });
  await removeLeavings(folder).catch(() => undefined);
  const aside = `${path}.${randomUUID()}.part`;
  try {
    const file = await open(aside, 'wx');
    try {
      for (const bytes of [MAGIC, length, headerBytes]) await writeFully(file, bytes);
      for (const part of [train, test]) {
        await writeFully(file, part.images);
        await writeFully(file, bytesOf(part.labels));
      }
    } finally {
      await file.close();
    }
    await rename(aside, path);
  } catch (thrown) {
    await rm(aside, { force: true }).catch(() => undefined);
    throw thrown;
  }
};

/**
 * The data set of an entry: from the cache when its packed file is there, whole and not stale, else made, checked,
 * given its fingerprint and packed. A cache that cannot be read or written is no failure, only a note.
 */
export const cached = async (
  entry: CacheEntry,
  { cache, onNote }: LoadOptions,
  make: () => Promise<Decoded>,
): Promise<Dataset> => {
  const folder = cache ?? dataCacheFolder();
  const path = folder === false ? undefined : entryFile(folder, entry);
  if (path !== undefined) {
    const found = await readPacked(path, entry.name, entry.stamp).catch(() => undefined);
    if (found !== undefined) return found;
  }
  const decoded = await make();
  checkDecoded(decoded, entry.path);
  const dataset: Dataset = { name: entry.name, ...decoded, fingerprint: fingerprintOf(decoded) };
  if (folder !== false && path !== undefined) {
    await writePacked(folder, path, entry.stamp, dataset).catch((thrown: unknown) =>
      onNote?.(`The decoded data set was not kept for the next time: ${(thrown as Error).message}`),
    );
  }
  return dataset;
};
