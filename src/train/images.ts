import * as tf from '@tensorflow/tfjs';
import type { Key } from '../core/random.js';
import { type Batches, trainingBatches } from '../data/batches.js';
import type { Augmentation, Examples, Normalisation } from '../data/dataset.js';
import * as ops from '../engine/ops.js';
import type { ImageShape } from '../models/network.js';
import type { Source } from './fit.js';

/** Raw pixels 0..255, [batch, height, width, channels], as float32. */
export type UnlabelledBatch = { readonly images: tf.Tensor4D };
/** … and int32 class indices [batch]. */
export type LabelledBatch = UnlabelledBatch & { readonly labels: tf.Tensor1D };

/** Images that somebody owns, by index into `examples`. The type of its batches says whether labels come with them. */
export interface ImageSet<Batch extends UnlabelledBatch = LabelledBatch> {
  readonly examples: Batch extends LabelledBatch ? Examples : Omit<Examples, 'labels'>;
  readonly indices: Int32Array;
  readonly shape: ImageShape;
  readonly normalisation: Normalisation;
  readonly augmentation: Augmentation;
  readonly labelled: Batch extends LabelledBatch ? true : false;
}

/** (pixel / 255 − mean) / std, per channel. */
export const normalise = (pixels: tf.Tensor4D, { mean, std }: Normalisation): tf.Tensor4D =>
  pixels.sub(tf.tensor1d(mean.map((m) => 255 * m))).mul(tf.tensor1d(std.map((s) => 1 / (255 * s))));

/**
 * A batch as it reaches a step: raw bytes [batch, height, width, channels] with their labels, or where it lies among the
 * images that are on the device already, int32 [batch].
 */
export type RawBatch =
  | { readonly bytes: tf.Tensor4D; readonly labels?: tf.Tensor1D }
  | { readonly places: tf.Tensor1D };

/** A set's images on the device, for batches that say places; nothing for batches that bring their own. */
export type Resident = { readonly bytes?: tf.Tensor4D; readonly labels?: tf.Tensor1D };

/** The batch itself, for a step to compute with. */
export const unpacked = <Batch extends UnlabelledBatch>(data: Resident, batch: RawBatch): Batch => {
  const { bytes, labels } =
    'places' in batch
      ? {
          bytes: ops.rows(data.bytes as tf.Tensor4D, batch.places),
          labels: data.labels && ops.rows(data.labels, batch.places),
        }
      : batch;
  return { images: ops.fromBytes(bytes), ...(labels === undefined ? {} : { labels }) } as UnlabelledBatch as Batch;
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

/** A set's images in batches, shuffled anew in each pass; labels only where the set has them. */
export const imageSource = (
  { examples, indices, shape, labelled }: ImageSet<LabelledBatch> | ImageSet<UnlabelledBatch>,
  { batch: batchSize, key, resident = ops.onDevice() && examples.images.length <= residentLimit }: SourceOptions,
): Source<RawBatch, Resident> => {
  // Where there are no labels, zeros take their place and go no further.
  const all = { labels: new Uint8Array(examples.count), ...examples };
  const batches = trainingBatches(all, shape, { batchSize, key, indices });
  const withLabels = (labels: Int32Array) => (labelled ? { labels: tf.tensor1d(labels, 'int32') } : {});
  return {
    steps: batches.perEpoch,
    data: resident ? { bytes: bytesOf(all.images.slice(), shape), ...withLabels(Int32Array.from(all.labels)) } : {},
    at: (step) => (resident ? placesAt(batches, step) : broughtAt(batches, step, shape, withLabels)),
  };
};

const placesAt = (batches: Batches, step: number) => {
  const places = batches.indices(Math.floor(step / batches.perEpoch), step % batches.perEpoch);
  return { batch: { places: tf.tensor1d(places.slice(), 'int32') }, images: places.length };
};

const broughtAt = (
  batches: Batches,
  step: number,
  shape: ImageShape,
  withLabels: (labels: Int32Array) => { readonly labels?: tf.Tensor1D },
) => {
  const { images, labels, count } = batches.at(step);
  return { batch: { bytes: bytesOf(images, shape), ...withLabels(labels) }, images: count };
};
