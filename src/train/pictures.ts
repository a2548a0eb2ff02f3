import type * as tf from '@tensorflow/tfjs';
import type { Normalisation } from '../data/dataset.js';
import type { ImageShape } from '../models/network.js';

/** Images that were made and not photographed: bytes [count, height, width, channels], as those of a data set. */
export interface Pictures {
  readonly images: Uint8Array;
  readonly shape: ImageShape;
  /** Share of the values that a byte cannot hold, being darker than black or brighter than white. */
  readonly clipped: number;
}

/** Normalised images as bytes, the nearest ones: `normalise` backwards. Reads the tensor. */
export const picturesOf = (images: tf.Tensor4D, { mean, std }: Normalisation): Pictures => {
  const [, height, width, channels] = images.shape;
  const bytes = new Uint8Array(images.size);
  let outside = 0;
  images.dataSync().forEach((value, i) => {
    const c = i % channels;
    const pixel = Math.round(255 * (value * (std[c] as number) + (mean[c] as number)));
    if (pixel < 0 || pixel > 255) outside += 1;
    bytes[i] = Math.min(255, Math.max(0, pixel));
  });
  return { images: bytes, shape: { height, width, channels }, clipped: outside / Math.max(1, bytes.length) };
};
