import * as tf from '@tensorflow/tfjs';
import { EigenvalueDecomposition, Matrix } from 'ml-matrix';
import { floatsOf } from '../core/tree.js';
import type { Initial } from './network.js';

/** Images whose patches are in memory at a time. */
const imagesAtOnce = 500;

/**
 * Kernels that whiten patches of images, [kernel, kernel, channels, 2 · kernel² · channels]: the eigenvectors v of the patches'
 * second moments XᵀX / n, which are not centred, each divided by √(eigenvalue + ε), the largest eigenvalue first; and behind all of
 * them −v. Where there are no images they begin as PyTorch's kernels do, at random.
 *
 * Source: airbench (KellerJordan/cifar10-airbench), with ε 5·10⁻⁴ on the normalised images.
 */
export const whitening =
  (kernel: number, epsilon: number, otherwise: Initial): Initial =>
  (key, size, images) => {
    if (images === undefined) return otherwise(key, size);
    const seen = images();
    const moments = secondMoments(seen, kernel);
    seen.dispose();
    const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(moments, { assumeSymmetric: true });
    const order = realEigenvalues
      .map((_, i) => i)
      .sort((a, b) => (realEigenvalues[b] as number) - (realEigenvalues[a] as number));
    const kernels = new Float32Array(size);
    order.forEach((vector, out) => {
      const scale = 1 / Math.sqrt(Math.max(0, realEigenvalues[vector] as number) + epsilon);
      for (let i = 0; i < order.length; i++) {
        const value = eigenvectorMatrix.get(i, vector) * scale;
        kernels[i * 2 * order.length + out] = value;
        kernels[i * 2 * order.length + order.length + out] = -value;
      }
    });
    return kernels;
  };

/** XᵀX / n of all patches of a size, each a row of X in the order (height, width, channel). */
const secondMoments = (images: tf.Tensor4D, kernel: number): Matrix => {
  const [count, height, width, channels] = images.shape;
  const [down, across, size] = [height - kernel + 1, width - kernel + 1, kernel * kernel * channels];
  const sums = new Float64Array(size * size);
  for (let from = 0; from < count; from += imagesAtOnce) {
    const some = Math.min(imagesAtOnce, count - from);
    const part = floatsOf(() => {
      const shifted = Array.from({ length: kernel * kernel }, (_, place) =>
        tf.slice(images, [from, Math.floor(place / kernel), place % kernel, 0], [some, down, across, channels]),
      );
      const patches = tf.reshape(tf.concat(shifted, 3), [some * down * across, size]);
      return tf.matMul(patches, patches, true);
    });
    part.forEach((value, i) => {
      sums[i] = (sums[i] as number) + value / (count * down * across);
    });
  }
  return Matrix.from1DArray(size, size, sums);
};
