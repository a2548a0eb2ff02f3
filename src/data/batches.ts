import { FailureError, failure } from '../core/errors.js';
import { type Key, permutation } from '../core/random.js';
import type { ImageShape } from '../models/network.js';
import type { Examples } from './dataset.js';
import { imagesAt } from './pixels.js';

/** Images of one step, raw: neither augmented nor normalised, which happens inside the step. */
export interface Batch {
  /** [count, height, width, channels] flat. */
  readonly images: Uint8Array;
  /** [count] */
  readonly labels: Int32Array;
  readonly count: number;
}

/** Batches that can be had in any order: a resumed run asks for the one it stopped at. */
export interface Batches {
  /** Images an epoch. */
  readonly count: number;
  readonly perEpoch: number;
  /** Batch `index` (0 … perEpoch − 1) of epoch `epoch` (0 …). */
  batch(epoch: number, index: number): Batch;
  /** The batch of a step counted through all epochs from 0. */
  at(step: number): Batch;
  /** The batches of one epoch in order. */
  epoch(epoch: number): Generator<Batch, void, void>;
  /** Which images a batch has: indices into the examples. */
  indices(epoch: number, index: number): Int32Array;
}

/**
 * Copies images and labels into fresh arrays. They are not reused from batch to batch: a tensor made from a typed array
 * may keep it instead of copying it, so that writing into it again would change a batch still in use.
 */
export const gather = (examples: Examples, { height, width, channels }: ImageShape, indices: Int32Array): Batch => {
  const images = imagesAt(examples.images, height * width * channels, indices);
  return { images, labels: indices.map((index) => examples.labels[index] as number), count: indices.length };
};

const checkIndices = (examples: Examples, indices: Int32Array): void => {
  const bad = indices.find((index) => index < 0 || index >= examples.count);
  if (bad !== undefined) throw new RangeError(`image ${bad} of ${examples.count} does not exist`);
};

const batchesBy = (
  examples: Examples,
  image: ImageShape,
  perEpoch: number,
  batchSize: number,
  count: number,
  order: (epoch: number) => Int32Array,
): Batches => {
  const indices = (epoch: number, index: number): Int32Array => {
    if (index < 0 || index >= perEpoch) throw new RangeError(`batch ${index} of ${perEpoch} does not exist`);
    return order(epoch).subarray(index * batchSize, (index + 1) * batchSize);
  };
  const batch = (epoch: number, index: number): Batch => gather(examples, image, indices(epoch, index));
  return {
    count,
    perEpoch,
    batch,
    indices,
    at: (step) => batch(Math.floor(step / perEpoch), step % perEpoch),
    *epoch(epoch) {
      for (let index = 0; index < perEpoch; index++) yield batch(epoch, index);
    },
  };
};

const wrongBatchSize = (what: string, batchSize: number, remedy: string): FailureError =>
  new FailureError(failure('experiment', what, { where: `batchSize: ${batchSize}`, remedy }));

/**
 * Batches for training on `indices` (all images by default). Each epoch's order is drawn from `key` and the epoch's
 * number alone. The last, smaller batch of an epoch is kept, as PyTorch's DataLoader does by default (`drop_last=False`,
 * so the released loaders), unless it has one image only, which batch norm cannot normalise.
 *
 * Throws a `FailureError` of kind `experiment` when `batchSize` is not a whole number of at least 2 or larger than the data.
 */
export const trainingBatches = (
  examples: Examples,
  image: ImageShape,
  {
    batchSize,
    key,
    indices,
  }: { readonly batchSize: number; readonly key: Key; readonly indices?: Int32Array | undefined },
): Batches => {
  const chosen = indices ?? Int32Array.from({ length: examples.count }, (_, i) => i);
  checkIndices(examples, chosen);
  if (!Number.isInteger(batchSize) || batchSize < 2) {
    throw wrongBatchSize(
      'a training batch is a whole number of at least 2 images',
      batchSize,
      'Give a larger batchSize.',
    );
  }
  if (batchSize > chosen.length) {
    throw wrongBatchSize(
      `a batch of ${batchSize} is larger than the training data, ${chosen.length} images`,
      batchSize,
      'Give a smaller batchSize, or a larger part of the data.',
    );
  }
  const perEpoch = batchesPerEpoch(chosen.length, batchSize);
  // An order costs milliseconds and is asked for batch after batch: the latest one is kept.
  let latest: { readonly epoch: number; readonly order: Int32Array } | undefined;
  const order = (epoch: number): Int32Array => {
    if (latest?.epoch !== epoch) {
      const places = permutation(key.split(epoch), chosen.length);
      latest = { epoch, order: places.map((place) => chosen[place] as number) };
    }
    return latest.order;
  };
  return batchesBy(examples, image, perEpoch, batchSize, Math.min(chosen.length, perEpoch * batchSize), order);
};

/** Training batches that a number of images makes: the last may be smaller, but never a single image. */
export const batchesPerEpoch = (images: number, batchSize: number): number =>
  Math.floor(images / batchSize) + (images % batchSize >= 2 ? 1 : 0);

/** Batches for evaluation: every image of `indices` (all by default) once, in their order; the last may be smaller. */
export const evaluationBatches = (
  examples: Examples,
  image: ImageShape,
  { batchSize, indices }: { readonly batchSize: number; readonly indices?: Int32Array | undefined },
): Batches => {
  const chosen = indices ?? Int32Array.from({ length: examples.count }, (_, i) => i);
  checkIndices(examples, chosen);
  if (!Number.isInteger(batchSize) || batchSize < 1) {
    throw wrongBatchSize(
      'an evaluation batch is a whole number of at least 1 image',
      batchSize,
      'Give a larger batchSize.',
    );
  }
  return batchesBy(examples, image, Math.ceil(chosen.length / batchSize), batchSize, chosen.length, () => chosen);
};
