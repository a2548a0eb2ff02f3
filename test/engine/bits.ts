import { createHash } from 'node:crypto';
import type * as tf from '@tensorflow/tfjs';
import { entries, type Tree } from '../../src/core/tree.js';

/** Numbers one by one, or what stands for them where they are many. */
const bits = (tensor: tf.Tensor): readonly (number | string)[] => {
  const data = tensor.dataSync().slice() as Float32Array | Int32Array | Uint8Array;
  if (data.length > 1000) return [createHash('sha256').update(data).digest('hex')];
  return Array.from(data instanceof Float32Array ? new Int32Array(data.buffer) : data);
};

/** Every tensor of a tree: its path, type, shape and bits, so that NaN equals itself and −0 is not 0. */
export const bitsOf = (of: Tree) => entries(of).map(([path, leaf]) => [path, leaf.dtype, leaf.shape, bits(leaf)]);
