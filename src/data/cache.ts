import { createHash, randomUUID } from 'node:crypto';
import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesOf } from '../core/bytes.js';
import { cacheFolder } from '../core/cache-folder.js';
import { makeFolder } from '../core/files.js';
import { sha256 } from '../core/hash.js';
import { checkDecoded, type Decoded, type DecodedExamples, fingerprintOf, labelArray } from './assemble.js';
import type { Dataset, Examples, LoadOptions } from './dataset.js';
import { pixelFile, sumSize, sumsOf } from './pixels.js';

/** Raised whenever the same files would be decoded to other bytes, or the layout of the packed file changes. */
const VERSION = 2;

const MAGIC = Buffer.from('undistill data\n');

/** A decoded set's name in the cache, and what makes it stale. */
export interface CacheEntry {
  readonly name: string;
  /** Absolute path of the file or folder that was read. */
  readonly path: string;
  /** What else the decoded set depends on: format, size, and what is packed with it, as constants of normalisation are. */
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
  const digest = sha256(JSON.stringify([path, options]));
  return join(folder, `${name}-${digest.slice(0, 16)}.bin`);
};

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

/** Tiny-ImageNet is larger, and would be in the memory of every worker process. */
const IN_MEMORY = 2 ** 29;

/**
 * Where the parts of a packed file lie: a part's images begin at `start`, and its labels follow them. After both parts come
 * the checksums of all images, and the SHA-256 of what is no image: header, labels and checksums.
 */
interface Layout {
  readonly header: Header;
  /** Bytes of one image. */
  readonly imageSize: number;
  readonly train: PartPlace;
  readonly test: PartPlace;
  /** Where the checksums begin. */
  readonly sums: number;
  /** The header as it is written. */
  readonly text: Uint8Array;
}

interface PartPlace {
  readonly count: number;
  readonly start: number;
}

/** What the beginning of a packed file says; nothing when that is not of this version, or does not fit the file's size. */
const readLayout = async (file: FileHandle, size: number): Promise<Layout | undefined> => {
  const start = new Uint8Array(MAGIC.length + 4);
  await readFully(file, start, 0);
  if (!MAGIC.equals(start.subarray(0, MAGIC.length))) return undefined;
  const headerLength = new DataView(start.buffer).getUint32(MAGIC.length, true);
  const begin = start.length + headerLength;
  if (begin > size) return undefined;
  const headerBytes = new Uint8Array(headerLength);
  await readFully(file, headerBytes, start.length);
  const header = JSON.parse(Buffer.from(headerBytes).toString('utf8')) as Header;
  if (header.version !== VERSION) return undefined;
  const { image, classes } = header;
  const imageSize = image.height * image.width * image.channels;
  const perImage = imageSize + labelArray(0, classes.length).BYTES_PER_ELEMENT;
  const sums = begin + (header.train + header.test) * perImage;
  if (sums + (header.train + header.test) * sumSize + DIGEST !== size) return undefined;
  const train = { count: header.train, start: begin };
  const test = { count: header.test, start: begin + header.train * perImage };
  return { header, imageSize, train, test, sums, text: headerBytes };
};

/** Bytes of the SHA-256 of what is no image. */
const DIGEST = 32;

const digestOf = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/**
 * The packed set; nothing when there is none, when it is stale or when it is damaged. What is no image is checked here. So
 * are the images of a set of at most `inMemory` bytes, by its fingerprint; those of a larger one stay in the file, and each
 * is checked when it is read.
 */
const readPacked = async (
  path: string,
  { name, stamp }: CacheEntry,
  inMemory: number,
): Promise<Dataset | undefined> => {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const layout = await readLayout(file, size);
    if (layout === undefined || layout.header.stamp !== stamp) return undefined;
    const { image, classes, normalisation, augmentation, fingerprint } = layout.header;
    const head = { image, classes, normalisation, augmentation };
    const { train, test, imageSize } = layout;
    const labelsOf = async ({ count, start }: PartPlace): Promise<Examples['labels']> => {
      const labels = labelArray(count, classes.length);
      await readFully(file, bytesOf(labels), start + count * imageSize);
      return labels;
    };
    const labels = { train: await labelsOf(train), test: await labelsOf(test) };
    const sums = new Uint8Array((train.count + test.count) * sumSize);
    const digest = new Uint8Array(DIGEST);
    await readFully(file, sums, layout.sums);
    await readFully(file, digest, layout.sums + sums.length);
    const found = digestOf(layout.text, bytesOf(labels.train), bytesOf(labels.test), sums);
    if (!found.equals(digest)) return undefined;
    if (size > inMemory) {
      const left = ({ start, count }: PartPlace, part: 'train' | 'test'): Examples => {
        const from = part === 'train' ? 0 : train.count * sumSize;
        const own = sums.subarray(from, from + count * sumSize);
        return { images: pixelFile(path, { start, count, size: imageSize, sums: own }), labels: labels[part], count };
      };
      return { name, ...head, train: left(train, 'train'), test: left(test, 'test'), fingerprint };
    }
    const read = async ({ start, count }: PartPlace, part: 'train' | 'test'): Promise<DecodedExamples> => {
      const images = new Uint8Array(count * imageSize);
      await readFully(file, images, start);
      return { images, labels: labels[part], count };
    };
    const decoded: Decoded = { ...head, train: await read(train, 'train'), test: await read(test, 'test') };
    // The fingerprint is the checksum too: it covers all that is handed out.
    return fingerprintOf(decoded) === fingerprint ? { name, ...decoded, fingerprint } : undefined;
  } finally {
    await file.close();
  }
};

/** Leavings of processes that were killed while writing; a file younger than an hour may still be being written. */
const removeLeavings = async (folder: string, now: number): Promise<void> => {
  for (const name of await readdir(folder)) {
    if (!name.endsWith('.part')) continue;
    const path = join(folder, name);
    if (now - (await stat(path)).mtimeMs > 3_600_000) await rm(path, { force: true });
  }
};

/** Written aside and renamed into place: a reader sees a whole file or none. */
const writePacked = async (
  folder: string,
  path: string,
  stamp: string,
  { image, classes, normalisation, augmentation, train, test }: Decoded,
  fingerprint: string,
): Promise<void> => {
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
  await makeFolder(folder);
  const aside = `${path}.${randomUUID()}.part`;
  try {
    const file = await open(aside, 'wx');
    try {
      // By the file system's own clock: machines that share it may be hours apart.
      await removeLeavings(folder, (await file.stat()).mtimeMs).catch(() => undefined);
      for (const bytes of [MAGIC, length, headerBytes]) await writeFully(file, bytes);
      for (const part of [train, test]) {
        await writeFully(file, part.images);
        await writeFully(file, bytesOf(part.labels));
      }
      const size = image.height * image.width * image.channels;
      const sums = Buffer.concat([train, test].map(({ images }) => sumsOf(images, size)));
      await writeFully(file, sums);
      await writeFully(file, digestOf(headerBytes, bytesOf(train.labels), bytesOf(test.labels), sums));
    } finally {
      await file.close();
    }
    await rename(aside, path);
  } catch (thrown) {
    await rm(aside, { force: true }).catch(() => undefined);
    throw thrown;
  }
};

const sizeOf = ({ train, test }: Decoded): number => train.images.length + test.images.length;

/**
 * The data set of an entry: from the cache when its packed file is there, whole and not stale, else made, checked,
 * given its fingerprint and packed. A cache that cannot be read or written is no failure, only a note.
 */
export const cached = async (
  entry: CacheEntry,
  { cache, onNote, inMemory = IN_MEMORY }: LoadOptions,
  make: () => Promise<Decoded>,
): Promise<Dataset> => {
  const folder = cache ?? dataCacheFolder();
  const path = folder === false ? undefined : entryFile(folder, entry);
  if (path !== undefined) {
    const found = await readPacked(path, entry, inMemory).catch(() => undefined);
    if (found !== undefined) return found;
  }
  const decoded = await make();
  checkDecoded(decoded, entry.path);
  const fingerprint = fingerprintOf(decoded);
  const dataset: Dataset = { name: entry.name, ...decoded, fingerprint };
  if (folder === false || path === undefined) return dataset;
  try {
    await writePacked(folder, path, entry.stamp, decoded, fingerprint);
    // A large set does not stay in memory the first time either.
    const packed = sizeOf(decoded) > inMemory ? await readPacked(path, entry, inMemory) : undefined;
    return packed ?? dataset;
  } catch (thrown) {
    onNote?.(`The decoded data set was not kept for the next time: ${(thrown as Error).message}`);
    return dataset;
  }
};
