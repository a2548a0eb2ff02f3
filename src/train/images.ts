import * as tf from '@tensorflow/tfjs';
import type { Key } from '../core/random.js';
import { trainingBatches } from '../data/batches.js';
import type { Augmentation, Examples, Normalisation } from '../data/dataset.js';
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

/** Raw images as a tensor. */
export const pixels = (images: Float32Array, { height, width, channels }: ImageShape): tf.Tensor4D =>
  tf.tensor4d(images, [images.length / (height * width * channels), height, width, channels]);

/** A set's images in batches, shuffled anew in each pass; labels only where the set has them. */
export const imageSource = <Batch extends UnlabelledBatch>(
  { examples, indices, shape, labelled }: ImageSet<Batch>,
  batchSize: number,
  key: Key,
): Source<Batch> => {
  // Where there are no labels, zeros take their place and go no further.
  const batches = trainingBatches({ labels: new Uint8Array(examples.count), ...examples }, shape, {
    batchSize,
    key,
    indices,
  });
  return {
    steps: batches.perEpoch,
    at: (step) => {
      const { images, labels, count } = batches.at(step);
      const batch = { images: pixels(images, shape), ...(labelled ? { labels: tf.tensor1d(labels, 'int32') } : {}) };
      return { batch: batch as UnlabelledBatch as Batch, images: count };
    },
  };
};
