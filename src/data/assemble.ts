import { createHash } from 'node:crypto';
import { endianness, totalmem } from 'node:os';
import { bytesOf } from '../core/bytes.js';
import { attempt, type Refusal, refusal, type Task } from '../core/errors.js';
import { counted, firstFew } from '../core/text.js';
import type { ImageShape } from '../models/network.js';
import { type Dataset, type Examples, type Normalisation, noAugmentation } from './dataset.js';

/** A data set before it has a name and a fingerprint: what a format's reader makes. */
export type Decoded = Omit<Dataset, 'name' | 'fingerprint' | 'train' | 'test'> & {
  readonly train: DecodedExamples;
  readonly test: DecodedExamples;
};

export type DecodedExamples = Examples<Uint8Array>;

/** The images of a data set of one's own; normalisation and augmentation may be left out. */
export type Collected = Pick<Decoded, 'image' | 'classes' | 'train' | 'test'> &
  Partial<Pick<Decoded, 'normalisation' | 'augmentation'>>;

/** Throws a failure of kind `data`. */
export const refuse: Refusal = refusal('data');

/** An array for `count` labels of that many classes. */
export const labelArray = (count: number, classes: number): Uint8Array | Uint16Array =>
  classes <= 256 ? new Uint8Array(count) : new Uint16Array(count);

/** More than this is not kept in memory as one array. */
const mostBytes = 2 ** 32;

/** Half of the memory that this process may have: while a set is decoded, as much again is needed. */
export const roomFor = (): number =>
  // It is constrained to 0, or to far more than there is, where nothing constrains it.
  Math.min(mostBytes, totalmem() / 2, (process.constrainedMemory() || Number.POSITIVE_INFINITY) / 2);

/** `1.5 GiB`. */
export const showGiB = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

/** What to do about images that are not those of a data set of this name. */
export const readAsFolder = 'Read another data set with `imageFolder({ path })`.';

/** Throws a failure of kind `data` where images are not in colour, `side` high and wide, as those of the set of that title are. */
export const checkSize = (
  { height, width, channels }: ImageShape,
  side: number,
  title: string,
  where: string,
): void => {
  if (height === side && width === side && channels === 3) return;
  refuse(`its images are ${height}×${width}×${channels}, and ${title}'s are ${side}×${side}×3`, where, readAsFolder);
};

/** Throws a failure of kind `data`, before anything is allocated, where so many images are too large to be decoded. */
export const checkRoom = (
  count: number,
  { height, width, channels }: ImageShape,
  where: string,
  room = roomFor(),
): void => {
  const bytes = count * height * width * channels;
  if (bytes <= room) return;
  refuse(
    `${counted(count, 'image')} of ${height}×${width} need ${showGiB(bytes)} of memory, and ${showGiB(room)} are the most that is decoded here`,
    where,
    'Give a smaller `size`, or fewer images.',
  );
};

const checkExamples = (
  part: 'training' | 'test',
  examples: Examples,
  { image, classes }: Pick<Dataset, 'image' | 'classes'>,
  where: string,
): void => {
  const { count, images, labels } = examples;
  if (count === 0) refuse(`the ${part} set has no images`, where, 'Check that the files are complete.');
  const pixels = count * image.height * image.width * image.channels;
  if (images.length !== pixels || labels.length !== count) {
    refuse(
      `the ${part} set has ${images.length} bytes of pixels and ${labels.length} labels for ${count} images`,
      where,
    );
  }
  const counts = new Array<number>(classes.length).fill(0);
  labels.forEach((label, i) => {
    if (label >= classes.length) {
      refuse(
        `label ${label} of ${part} image ${i} is out of range: there are ${counted(classes.length, 'class', 'classes')}, 0 to ${classes.length - 1}`,
        where,
        'The file is damaged, or belongs to another data set.',
      );
    }
    counts[label] = (counts[label] as number) + 1;
  });
  const missing = classes.filter((_, c) => counts[c] === 0);
  if (part === 'training' && missing.length > 0) {
    refuse(
      `${missing.length} of ${classes.length} classes have no training image: ${firstFew(missing)}`,
      where,
      'Check that the files are complete.',
    );
  }
};

/** The classes of images of which nothing is known: training images alone, for whoever asks a victim about them. */
export const unlabelled: readonly string[] = ['unlabelled'];

export const isUnlabelled = ({ classes }: Pick<Dataset, 'classes'>): boolean =>
  classes.length === 1 && classes[0] === unlabelled[0];

/** Throws a failure of kind `data` naming `where` unless shapes, counts and labels fit each other. */
export const checkDecoded = (decoded: Omit<Dataset, 'name' | 'fingerprint'>, where: string): void => {
  const { image, classes, normalisation } = decoded;
  const labelled = !isUnlabelled(decoded);
  if (labelled && classes.length < 2) refuse('a data set needs at least two classes', where);
  const { mean, std } = normalisation;
  if (mean.length !== image.channels || std.length !== image.channels) {
    refuse(`normalisation has ${mean.length} means and ${std.length} stds for ${image.channels} channels`, where);
  }
  if (![...mean, ...std].every(Number.isFinite) || std.some((value) => value <= 0)) {
    refuse(`normalisation needs finite means and positive stds; found ${mean} and ${std}`, where);
  }
  checkExamples('training', decoded.train, decoded, where);
  if (labelled) checkExamples('test', decoded.test, decoded, where);
};

/** Labels as little-endian bytes, so that the fingerprint is the same on every machine. */
const labelBytes = ({ labels }: Examples): Uint8Array => {
  const bytes = bytesOf(labels);
  return labels.BYTES_PER_ELEMENT === 1 || endianness() === 'LE' ? bytes : Buffer.from(bytes).swap16();
};

/** sha256 (hexadecimal) over shape, classes, normalisation, augmentation, and the pixels and labels of both parts. */
export const fingerprintOf = ({ image, classes, normalisation, augmentation, train, test }: Decoded): string => {
  const { height, width, channels } = image;
  const header = [
    'undistill data 1',
    [height, width, channels],
    classes,
    [normalisation.mean, normalisation.std],
    [
      augmentation.crop,
      augmentation.flip,
      ...(augmentation.rotate ? [augmentation.rotate] : []),
      ...(augmentation.border === 'reflect' ? [augmentation.border] : []),
    ],
    [train.count, test.count],
  ];
  const hash = createHash('sha256').update(`${JSON.stringify(header)}\n`);
  for (const part of [train, test]) hash.update(part.images).update(labelBytes(part));
  return hash.digest('hex');
};

/**
 * Mean and standard deviation (of the population) of each channel over all pixels of the training images, on the scale
 * 0..1, rounded to 4 decimals as published constants are. A constant channel gets std 1: it stays constant, at 0.
 */
export const measuredNormalisation = ({ images }: DecodedExamples, channels: number): Normalisation => {
  // Counting values first keeps the sums exact.
  const counts = Array.from({ length: channels }, () => new Float64Array(256));
  for (let c = 0; c < channels; c++) {
    const count = counts[c] as Float64Array;
    for (let i = c; i < images.length; i += channels) {
      const value = images[i] as number;
      count[value] = (count[value] as number) + 1;
    }
  }
  const total = images.length / channels;
  const moments = counts.map((count) => {
    const mean = count.reduce((sum, n, value) => sum + n * value, 0) / total;
    const variance = count.reduce((sum, n, value) => sum + n * (value - mean) ** 2, 0) / total;
    return { mean: mean / 255, std: Math.sqrt(variance) / 255 };
  });
  const round = (value: number): number => Math.round(value * 1e4) / 1e4;
  return { mean: moments.map(({ mean }) => round(mean)), std: moments.map(({ std }) => round(std) || 1) };
};

/**
 * What a data set's `load` gives, of images in memory: checked, with the normalisation measured on the training images
 * and no augmentation unless they are given, and known by its content.
 *
 * @param name the set's own, as it stands in tables
 * @param read gives images as bytes 0 … 255, [count, height, width, channels] flat, and one label an image; what it
 *   throws, and shapes, counts or labels that do not fit each other, are a failure of kind `data`
 */
export const datasetOf = (name: string, read: () => Promise<Collected> | Collected): Task<Dataset> =>
  attempt('data', async () => {
    const collected = await read();
    const decoded: Decoded = {
      normalisation: measuredNormalisation(collected.train, collected.image.channels),
      augmentation: noAugmentation,
      ...collected,
    };
    checkDecoded(decoded, name);
    return { name, ...decoded, fingerprint: fingerprintOf(decoded) };
  });
