import { createHash } from 'node:crypto';
import * as tf from '@tensorflow/tfjs';
import { sha256 } from '../core/hash.js';
import { type Key, permutation } from '../core/random.js';
import { dispose, map, type Tree } from '../core/tree.js';
import { turns } from '../core/turns.js';
import { evaluationBatches, trainingBatches } from '../data/batches.js';
import type { Augmentation, Examples, Normalisation, Pixels } from '../data/dataset.js';
import { imagesAt } from '../data/pixels.js';
import * as ops from '../engine/ops.js';
import type { ImageShape } from '../models/network.js';
import type { Source } from './source.js';

/**
 * Raw pixels 0..255, [batch, height, width, channels], as float32; [batch, size] answers, of a set that has them stored;
 * int32 [batch], 1 where an image is to be mirrored, of one whose augmentation alternates.
 */
export type UnlabelledBatch = {
  readonly images: tf.Tensor4D;
  readonly answers?: tf.Tensor2D;
  readonly mirrored?: tf.Tensor1D;
};
/** … and int32 class indices [batch]. */
export type LabelledBatch = UnlabelledBatch & { readonly labels: tf.Tensor1D };

/** Images that somebody owns, by index into `examples`. The type of its batches says whether labels come with them. */
export interface ImageSet<Batch extends UnlabelledBatch = LabelledBatch> {
  readonly examples: Batch extends LabelledBatch ? Examples : Omit<Examples, 'labels'>;
  /** Which of the examples belong to the set. */
  readonly indices: Int32Array;
  readonly shape: ImageShape;
  readonly normalisation: Normalisation;
  /** Applied to training batches, inside the step. */
  readonly augmentation: Augmentation;
  readonly labelled: Batch extends LabelledBatch ? true : false;
  /**
   * What a victim answered about each image of `indices`, in their order, as `context.ask` gives it: they come with the
   * batches. Where a budget ended before the last of them, batches are of the images that were answered alone.
   */
  readonly answers?: StoredAnswers;
}

/** Answers to many images, flat, row by row: classes as numbers (size 1), or log-probabilities or logits (size K). */
export interface StoredAnswers {
  readonly values: Float32Array;
  readonly size: number;
}

/**
 * The images of a set that were answered, with their answers, as `context.ask` gives them: of the first ones where a
 * budget ended before the last.
 */
export const withAnswers = (
  set: ImageSet | ImageSet<UnlabelledBatch>,
  answers: StoredAnswers,
): ImageSet<UnlabelledBatch> => ({ ...set, labelled: false, answers });

/** The images that batches are made of. */
export const countOf = ({ indices, answers }: ImageSet | ImageSet<UnlabelledBatch>): number =>
  answers === undefined ? indices.length : answers.values.length / answers.size;

/** (pixel / 255 − mean) / std, per channel. */
export const normalise = (pixels: tf.Tensor4D, { mean, std }: Normalisation): tf.Tensor4D =>
  byChannel(
    pixels,
    mean.map((m) => 255 * m),
    std.map((s) => 1 / (255 * s)),
  );

/** (pixel − mean) / std, per channel, of pixels in [0, 1]. */
export const normalisePixels = (pixels: tf.Tensor4D, { mean, std }: Normalisation): tf.Tensor4D =>
  byChannel(
    pixels,
    mean,
    std.map((s) => 1 / s),
  );

/** (x − centre) · factor, per channel. */
const byChannel = (x: tf.Tensor4D, centre: readonly number[], factor: readonly number[]): tf.Tensor4D => {
  const [mean, scale] = [tf.tensor1d([...centre]), tf.tensor1d([...factor])];
  if (!ops.hasOwn()) return x.sub(mean).mul(scale);
  // A batch norm by numbers that are known goes through memory once, and gives the same bits.
  const [offset, variance] = [tf.zeros<tf.Rank.R1>([centre.length]), tf.ones<tf.Rank.R1>([centre.length])];
  return ops.batchNormEval(x, { scale, offset, mean, variance }, { epsilon: 0 });
};

/** `normalisePixels` backwards. What it gives may lie outside of [0, 1]. */
export const toPixels = (images: tf.Tensor4D, { mean, std }: Normalisation): tf.Tensor4D =>
  images.mul(tf.tensor1d([...std])).add(tf.tensor1d([...mean]));

/** What a set knows of an image besides its pixels. */
type Beside = { readonly labels?: tf.Tensor1D; readonly answers?: tf.Tensor2D };

/**
 * A batch as it reaches a step: raw bytes [batch, height, width, channels] with what is known of them, or where it lies
 * among the images that are on the device already, int32 [batch].
 */
export type RawBatch = (({ readonly bytes: tf.Tensor4D } & Beside) | { readonly places: tf.Tensor1D }) & {
  readonly mirrored?: tf.Tensor1D;
};

/** A set's images on the device, for batches that say places; nothing for batches that bring their own. */
export type Resident = { readonly bytes?: tf.Tensor4D } & Beside;

/** The batch itself, for a step to compute with. */
export const unpacked = <Batch extends UnlabelledBatch>(data: Resident, batch: RawBatch): Batch => {
  if (!('places' in batch)) {
    const { bytes, ...beside } = batch;
    return { images: ops.fromBytes(bytes), ...beside } as UnlabelledBatch as Batch;
  }
  const { bytes, ...beside } = data;
  const at = (tensor: tf.Tensor) => ops.rows(tensor, batch.places);
  return {
    images: ops.fromBytes(at(bytes as tf.Tensor4D) as tf.Tensor4D),
    ...map(beside, at),
    ...(batch.mirrored && { mirrored: batch.mirrored }),
  } as UnlabelledBatch as Batch;
};

/** Raw images as a tensor of bytes. */
export const bytesOf = (images: Uint8Array, { height, width, channels }: ImageShape): tf.Tensor4D =>
  ops.bytes(images, [images.length / (height * width * channels), height, width, channels]) as tf.Tensor4D;

/** Images that may lie on a device beside everything else, in bytes: two data sets of the size of Tiny-ImageNet. */
const residentLimit = 2 ** 31;

export interface SourceOptions {
  readonly batch: number;
  readonly key: Key;
  /** Keep all images on the device, and say which ones each batch takes. Default: on a graphics card, if they fit. */
  readonly resident?: boolean;
}

/** Examples for batches: where there are no labels, zeros take their place and go no further. */
export const withSomeLabels = (examples: ImageSet<UnlabelledBatch>['examples']): Examples => ({
  labels: new Uint8Array(examples.count),
  ...examples,
});

/** A set's images in batches, shuffled anew in each pass; labels and answers only where the set has them. */
export const imageSource = (
  set: ImageSet<LabelledBatch> | ImageSet<UnlabelledBatch>,
  { batch: batchSize, key, resident = ops.onDevice() && set.examples.images.length <= residentLimit }: SourceOptions,
): Source<RawBatch, Resident> => {
  const { examples, indices, shape, labelled, answers, augmentation } = set;
  const all = withSomeLabels(examples);
  const chosen = indices.subarray(0, countOf(set));
  const rows = answers === undefined ? undefined : rowsByExample(answers, chosen, examples.count);
  const batches = trainingBatches(all, shape, { batchSize, key, indices: chosen });
  const beside = (labels: Int32Array, places: Int32Array): Beside => ({
    ...(labelled ? { labels: tf.tensor1d(labels, 'int32') } : {}),
    ...(rows === undefined ? {} : { answers: rowsAt(rows, places) }),
  });
  const pass = (step: number) => [Math.floor(step / batches.perEpoch), step % batches.perEpoch] as const;
  const flips = augmentation.flip === 'alternating' ? alternatingFlips(key, all.count) : undefined;
  const mirrored = (step: number, places: Int32Array) =>
    flips && { mirrored: tf.tensor1d(flips(pass(step)[0], places), 'int32') };
  const placesAt = (step: number, atMost?: number) => {
    const places = batches.indices(...pass(step)).slice(0, atMost);
    return { batch: { places: tf.tensor1d(places, 'int32'), ...mirrored(step, places) }, images: places.length };
  };
  const broughtAt = (step: number, atMost?: number) => {
    const whole = batches.at(step);
    const count = Math.min(whole.count, atMost ?? whole.count);
    const bytes = bytesOf(whole.images.subarray(0, (whole.images.length / whole.count) * count), shape);
    const places = batches.indices(...pass(step)).subarray(0, count);
    return {
      batch: { bytes, ...beside(whole.labels.subarray(0, count), places), ...mirrored(step, places) },
      images: count,
    };
  };
  return {
    steps: batches.perEpoch,
    data: resident
      ? {
          bytes: bytesOf(all.images.slice(), shape),
          ...beside(
            Int32Array.from(all.labels),
            Int32Array.from({ length: all.count }, (_, i) => i),
          ),
        }
      : {},
    at: resident ? placesAt : broughtAt,
    // Of what is beside the images no question to a victim is made.
    identity: (leaf) => {
      if (leaf === 'mirrored') return `alternating from ${key.path}`;
      if (leaf === 'places') return `${batchSize} of ${sha256(bytesIn(chosen))}`;
      if (leaf !== 'bytes') return undefined;
      const everything = Int32Array.from({ length: all.count }, (_, i) => i);
      return resident
        ? imagesHash(all.images, shape, everything)
        : `${batchSize} of ${imagesHash(all.images, shape, chosen)}`;
    },
  };
};

/**
 * What comes of some images of a set as they are, in random order and a batch at a time: pixels in [0, 1], [batch, height, width, channels]. What
 * `use` makes on the way is freed, and what it gives is the caller's. Between batches others have their turn.
 *
 * @param images how many; all where the set has no more
 */
export const byPixels = async <Made extends Tree>(
  set: ImageSet | ImageSet<UnlabelledBatch>,
  { batch, images, key }: { readonly batch: number; readonly images?: number | undefined; readonly key: Key },
  use: (pixels: tf.Tensor4D) => Made,
): Promise<readonly Made[]> => {
  const { examples, indices, shape } = set;
  const places = permutation(key, countOf(set)).slice(0, images);
  const all = withSomeLabels(examples);
  const chosen = places.map((place) => indices[place] as number);
  const made: Made[] = [];
  const turn = turns();
  try {
    for (const { images } of evaluationBatches(all, shape, { batchSize: batch, indices: chosen }).epoch(0)) {
      made.push(tf.tidy(() => use(tf.div(ops.fromBytes(bytesOf(images, shape)), 255)) as tf.TensorContainer) as Made);
      await turn();
    }
    return made;
  } catch (error) {
    dispose(made);
    throw error;
  }
};

/** Which images are mirrored in an epoch, 1 or 0 for each place: drawn once for each, and turned about epoch by epoch. */
const alternatingFlips = (key: Key, count: number): ((epoch: number, places: Int32Array) => Int32Array) => {
  const next = key.split('flips').uniform();
  const first = Uint8Array.from({ length: count }, () => (next() < 0.5 ? 1 : 0));
  return (epoch, places) => places.map((place) => ((first[place] as number) + epoch) % 2);
};

/** The images at some indices, as one hash; a thousand are in memory at a time. */
export const imagesHash = (images: Pixels, { height, width, channels }: ImageShape, indices: Int32Array): string => {
  const hash = createHash('sha256');
  for (let at = 0; at < indices.length; at += 1000)
    hash.update(imagesAt(images, height * width * channels, indices.subarray(at, at + 1000)));
  return hash.digest('hex');
};

const bytesIn = ({ buffer, byteOffset, byteLength }: Int32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Answers to some of many images as rows for all of them: zeros, which no batch asks for, where there is none. */
const rowsByExample = ({ values, size }: StoredAnswers, indices: Int32Array, count: number): StoredAnswers => {
  const rows = new Float32Array(count * size);
  indices.forEach((place, row) => {
    rows.set(values.subarray(row * size, (row + 1) * size), place * size);
  });
  return { values: rows, size };
};

const rowsAt = ({ values, size }: StoredAnswers, places: Int32Array): tf.Tensor2D => {
  const rows = new Float32Array(places.length * size);
  places.forEach((place, i) => {
    rows.set(values.subarray(place * size, (place + 1) * size), i * size);
  });
  return tf.tensor2d(rows, [places.length, size]);
};
