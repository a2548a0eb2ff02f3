import * as tf from '@tensorflow/tfjs';
import { standardUniform } from './ops-random.js';

/**
 * Views of images that gradients flow through: every image is sampled at places of its own, row by row and column by
 * column.
 */

/**
 * Weights of `size` rows for each place (in rows, from 0): the two next to it, by their nearness. [batch, n] -> [batch,
 * n, size].
 */
const weightsAt = (places: tf.Tensor2D, size: number): tf.Tensor3D =>
  tf.relu(tf.sub(1, tf.abs(tf.sub(tf.expandDims(places, 2), tf.range(0, size))))) as tf.Tensor3D;

/**
 * Images [batch, h, w, c] as seen through weights of their rows [batch, n, h] and columns [batch, m, w]: [batch, n, m,
 * c].
 */
const resampled = (images: tf.Tensor4D, rows: tf.Tensor3D, columns: tf.Tensor3D): tf.Tensor4D => {
  const [batch, height, width, channels] = images.shape;
  const [n, m] = [rows.shape[1], columns.shape[1]];
  const tall = tf.reshape(tf.matMul(rows, tf.reshape(images, [batch, height, width * channels])), [
    batch,
    n,
    width,
    channels,
  ]);
  const turned = tf.reshape(tf.transpose(tall, [0, 2, 1, 3]), [batch, width, n * channels]) as tf.Tensor3D;
  const wide = tf.reshape(tf.matMul(columns, turned), [batch, m, n, channels]);
  return tf.transpose(wide, [0, 2, 1, 3]) as tf.Tensor4D;
};

/** 0 … size − 1, or backwards where an image is mirrored: [batch, size]. */
const along = (size: number, mirrored: tf.Tensor2D): tf.Tensor2D =>
  tf.abs(tf.sub(tf.mul(mirrored, size - 1), tf.range(0, size))) as tf.Tensor2D;

/** The draws of a view: [batch, 1] each, in [0, 1). */
const drawn = (batch: number, count: number, seed: tf.Tensor1D): readonly tf.Tensor2D[] =>
  tf.split(standardUniform([batch, count], seed, 'view') as tf.Tensor2D, count, 1);

const coin = (uniform: tf.Tensor2D, flip: boolean): tf.Tensor2D =>
  flip ? (tf.cast(tf.less(uniform, 0.5), 'float32') as tf.Tensor2D) : tf.zerosLike(uniform);

export interface Shift {
  /** Pixels by which an image moves at most in each direction; zeros come in. */
  readonly crop: number;
  /** Whether it is mirrored with probability 1/2. */
  readonly flip: boolean;
}

/**
 * The random crop of padded images and the mirroring that training uses (`cropFlip`), through which gradients flow.
 *
 * @param images [batch, height, width, channels]
 * @param seed int32 [2]; one draw for each image
 */
export const shiftedView = (images: tf.Tensor4D, { crop, flip }: Shift, seed: tf.Tensor1D): tf.Tensor4D => {
  const [batch, height, width] = images.shape;
  const [down, right, mirror] = drawn(batch, 3, seed) as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D];
  const moved = (u: tf.Tensor2D) => tf.sub(tf.floor(tf.mul(u, 2 * crop + 1)), crop);
  const rows = tf.add(tf.expandDims(tf.range(0, height), 0), moved(down)) as tf.Tensor2D;
  const columns = tf.add(along(width, coin(mirror, flip)), moved(right)) as tf.Tensor2D;
  return resampled(images, weightsAt(rows, height), weightsAt(columns, width));
};

export interface ResizedCrop {
  /** Smallest and largest share of the image's area, in (0, 1]. */
  readonly area: readonly [number, number];
  readonly flip: boolean;
}

/**
 * A random part of each image of its own proportions, brought to the image's size bilinearly, through which gradients
 * flow.
 *
 * @param images [batch, height, width, channels]
 * @param seed int32 [2]; one draw for each image
 */
export const resizedView = (images: tf.Tensor4D, { area, flip }: ResizedCrop, seed: tf.Tensor1D): tf.Tensor4D => {
  const [batch, height, width] = images.shape;
  const [share, down, right, mirror] = drawn(batch, 4, seed) as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D, tf.Tensor2D];
  const side = tf.sqrt(tf.add(tf.mul(share, area[1] - area[0]), area[0]));
  /** Where each pixel of the result comes from: the middle of its part. */
  const places = (size: number, offset: tf.Tensor2D, order: tf.Tensor2D): tf.Tensor2D => {
    const begin = tf.mul(tf.mul(offset, tf.sub(1, side)), size);
    const middle = tf.sub(tf.add(begin, tf.mul(tf.add(order, 0.5), side)), 0.5);
    return tf.clipByValue(middle, 0, size - 1) as tf.Tensor2D;
  };
  const none = tf.zerosLike(mirror);
  return resampled(
    images,
    weightsAt(places(height, down, along(height, none)), height),
    weightsAt(places(width, right, along(width, coin(mirror, flip))), width),
  );
};

/** Images with a border of a pixel that mirrors their edge: [n, h, w, c] to [n, h + 2, w + 2, c]. */
export const mirrorBordered = (images: tf.Tensor4D): tf.Tensor4D =>
  tf.mirrorPad(
    images,
    [
      [0, 0],
      [1, 1],
      [1, 1],
      [0, 0],
    ],
    'reflect',
  );
