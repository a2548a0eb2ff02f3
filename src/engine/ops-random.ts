import * as tf from '@tensorflow/tfjs';
import { type Key, key, normals, uniforms } from '../core/random.js';
import { isNative } from './backend.js';
import { statelessNormal, statelessUniform } from './ops-native.js';

/** The pure-JavaScript engine has no stateless generator: it reads the seed, and cannot be traced. */
export const keyOf = (use: string, seed: tf.Tensor1D): Key => key(`${use}/${seed.dataSync().join('/')}`);

/**
 * Numbers in [0, 1) that depend on seed (int32 [2]) alone, float32. One seed gives one draw, whatever it is used for.
 */
export const standardUniform = (shape: readonly number[], seed: tf.Tensor1D, use = 'uniform'): tf.Tensor =>
  isNative()
    ? statelessUniform(shape, seed)
    : tf.tensor(
        uniforms(keyOf(use, seed), tf.util.sizeFromShape([...shape]), 0.5).map((u) => u + 0.5),
        [...shape],
        'float32',
      );

/** Normal numbers of mean 0 and variance 1 that depend on seed (int32 [2]) alone, float32. */
export const standardNormal = (shape: readonly number[], seed: tf.Tensor1D): tf.Tensor =>
  isNative()
    ? statelessNormal(shape, seed)
    : tf.tensor(normals(keyOf('normal', seed), tf.util.sizeFromShape([...shape])), [...shape], 'float32');

/**
 * Another seed, for one draw more: seeds of other numbers draw independently of it. 0 is the seed itself, and another
 * seed's another is that of the sum of their numbers: whoever hands on a seed leaves a wide gap.
 */
export const anotherSeed = (seed: tf.Tensor1D, number: number): tf.Tensor1D =>
  tf.add(seed, tf.tensor1d([Math.imul(number, 0x9e37_79b1) | 0, Math.imul(number, 0x85eb_ca6b) | 0], 'int32'));

/** Odd factors, which multiply modulo 2³² without losing anything, drawn once and for all. */
const factors = (name: string, count: number): Int32Array => {
  const next = key(`factors/${name}`).uniform();
  return Int32Array.from({ length: count }, () => Math.floor((next() - 0.5) * 2 ** 32) | 1);
};

/**
 * Every bit of the result depends on all of the hash: rounds of x (2x + 1) modulo 2³², which loses nothing and is far
 * from linear (RC6's mixing), after each of which the two halves change places.
 */
const mixed = (hash: tf.Tensor): tf.Tensor =>
  Array.from({ length: 4 }).reduce<tf.Tensor>((x) => {
    const half = tf.scalar(2 ** 16, 'int32');
    const squared = tf.mul(x, tf.add(tf.add(x, x), tf.scalar(1, 'int32')));
    return tf.add(tf.mul(squared, half), tf.floorDiv(squared, half));
  }, hash);

/**
 * The upper 23 bits as a number in (0, 1), whose ends would be infinite noise; of 24 bits and a half float32 loses the
 * half.
 */
export const openFraction = (hash: tf.Tensor): tf.Tensor =>
  tf.div(tf.add(tf.cast(tf.floorDiv(hash, tf.scalar(2 ** 9, 'int32')), 'float32'), 2 ** 22 + 0.5), 2 ** 23);

/**
 * Normal numbers of mean 0 and variance 1 for each image, which depend on its bytes and on seed alone: the same image
 * has the same noise in any batch, and one that differs in a single byte has another.
 *
 * @param images pixels in [0, 1], [batch, height, width, channels]; they count as the bytes next to them
 * @param count numbers an image
 * @param seed int32 [2]
 * @returns [batch, count]
 */
export const normalByImage = (images: tf.Tensor4D, count: number, seed: tf.Tensor1D): tf.Tensor2D =>
  tf.tidy(() => {
    const [batch] = images.shape;
    const size = images.size / batch;
    const bytes = tf.cast(tf.round(tf.mul(tf.reshape(images, [batch, size]), 255)), 'int32');
    const numbers = tf.tensor2d(factors('numbers', count), [1, count], 'int32');
    const [radius, angle] = [0, 1].map((half) => {
      const own = tf.sum(tf.mul(bytes, tf.tensor2d(factors(`bytes ${half}`, size), [1, size], 'int32')), 1, true);
      const seeded = [half, 1 - half].reduce((hash, at) => mixed(tf.add(hash, tf.slice(seed, at, 1))), mixed(own));
      return openFraction(mixed(tf.add(seeded, numbers)));
    }) as [tf.Tensor, tf.Tensor];
    // Box-Muller.
    return tf.mul(tf.sqrt(tf.mul(tf.log(radius), -2)), tf.cos(tf.mul(angle, 2 * Math.PI)));
  });
