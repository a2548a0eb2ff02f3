import * as tf from '@tensorflow/tfjs';
import { unitRows } from './synthesis-losses.js';

/**
 * Where a net looks: the mean of the squared activation over its channels, as one vector of Euclidean length 1 an image.
 * [batch, height, width, channels] -> [batch, height · width].
 */
export const attentionMap = (activation: tf.Tensor4D): tf.Tensor2D =>
  unitRows(tf.reshape(tf.mean(tf.square(activation), 3), [activation.shape[0], -1]));

/**
 * Attention transfer of one pair of activations (Zagoruyko and Komodakis, ICLR 2017, in the form of HobbitLong/RepDistiller
 * b84f547): the mean over images and places of (Q_student − Q_victim)², Q their `attentionMap`s. The larger one is brought
 * to the size of the smaller by `adaptivePool` first. The channels may differ.
 */
export const attentionDistance = (student: tf.Tensor4D, victim: tf.Tensor4D): tf.Scalar => {
  const height = Math.min(student.shape[1], victim.shape[1]);
  const width = Math.min(student.shape[2], victim.shape[2]);
  const [q, p] = [student, victim].map((each) => attentionMap(adaptivePool(each, height, width)));
  return tf.mean<tf.Scalar>(tf.square(tf.sub(q as tf.Tensor, p as tf.Tensor)));
};

/** PyTorch's `adaptive_avg_pool2d`: the mean of each of height × width equal parts, which overlap where none are equal. */
export const adaptivePool = (images: tf.Tensor4D, height: number, width: number): tf.Tensor4D =>
  pooledAlong(pooledAlong(images, 1, height), 2, width);

const pooledAlong = (images: tf.Tensor4D, axis: 1 | 2, parts: number): tf.Tensor4D => {
  const size = images.shape[axis];
  if (size === parts) return images;
  const means = Array.from({ length: parts }, (_, i) => {
    const from = Math.floor((i * size) / parts);
    const length = Math.ceil(((i + 1) * size) / parts) - from;
    const begin = axis === 1 ? [0, from, 0, 0] : [0, 0, from, 0];
    return tf.mean(tf.slice(images, begin, axis === 1 ? [-1, length, -1, -1] : [-1, -1, length, -1]), axis, true);
  });
  return tf.concat(means, axis) as tf.Tensor4D;
};
