import * as tf from '@tensorflow/tfjs';
import { isNative } from './backend.js';
import { mirror, roll, rows as rowsAt } from './ops-native.js';
import { keyOf, standardUniform } from './ops-random.js';

export interface CropFlip {
  /** Pixels added on each side before a window of the image's own size is cut out at a random place; 0: no crop. */
  readonly crop: number;
  /** What is added: zeros, or the image mirrored at its edge pixels, which is wider than the crop; default `black`. */
  readonly border?: 'black' | 'reflect' | undefined;
  /** Whether images are mirrored horizontally: each with probability 1/2, or those that are told, int32 [n] of 0 and 1. */
  readonly flip: boolean | tf.Tensor1D;
}

/**
 * Random crop and horizontal flip, drawn per image from seed (int32 [2]) alone. Images [n, h, w, c] of either dtype; the
 * result is like them. Zero is black before normalisation: augment raw images, as the released training code does.
 *
 * Every output pixel's place in the padded batch is computed, and all are fetched by one gather.
 */
export const cropFlip = (
  images: tf.Tensor4D,
  { crop, border = 'black', flip }: CropFlip,
  seed: tf.Tensor1D,
): tf.Tensor4D =>
  tf.tidy(() => {
    if (crop === 0 && flip === false) return images.clone();
    const [n, h, w, c] = images.shape;
    const padding = border === 'black' ? crop : 0;
    const [high, wide] = [h + 2 * padding, w + 2 * padding];
    // The generator's numbers stay below 1 by 2⁻²³, so a product with a small count stays below the count.
    const [down, right, mirror] = tf
      .unstack(standardUniform([3, n], seed, 'crop-flip'))
      .map((u) => tf.reshape(u, [n, 1, 1])) as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D];
    const offset = (u: tf.Tensor3D) => tf.cast(tf.floor(tf.mul(u, 2 * crop + 1)), 'int32');
    const image = tf.tensor3d(
      Int32Array.from({ length: n }, (_, i) => i * high * wide),
      [n, 1, 1],
    );
    const rows = tf.tensor3d(
      Int32Array.from({ length: h }, (_, y) => y),
      [1, h, 1],
    );
    const columns = tf.tensor3d(
      Int32Array.from({ length: w }, (_, x) => x),
      [1, 1, w],
    );
    const mirrored = typeof flip === 'boolean' ? tf.cast(tf.less(mirror, 0.5), 'int32') : tf.reshape(flip, [n, 1, 1]);
    // x, or w − 1 − x where mirrored: x + mirrored · (w − 1 − 2x).
    const along = flip
      ? tf.add(columns, tf.mul(mirrored, tf.sub(tf.scalar(w - 1, 'int32'), tf.mul(columns, tf.scalar(2, 'int32')))))
      : columns;
    /** Places in the padded images, along an axis of `size` pixels. */
    const placed = (places: tf.Tensor, u: tf.Tensor3D, size: number) =>
      padding === crop
        ? tf.add(places, offset(u))
        : reflected(tf.add(places, tf.sub(offset(u), tf.scalar(crop, 'int32'))), size);
    const row = tf.mul(placed(rows, down, h), tf.scalar(wide, 'int32'));
    const indices = tf.add(tf.add(image, row), placed(along, right, w));
    const padded =
      padding === 0
        ? images
        : tf.pad(images, [
            [0, 0],
            [padding, padding],
            [padding, padding],
            [0, 0],
          ]);
    return pixelsAt(tf.reshape(padded, [n * high * wide, c]), indices as tf.Tensor3D);
  });

/** Places that may be outside of `size` pixels, by less than these are, mirrored at the first and at the last of them. */
const reflected = (places: tf.Tensor, size: number): tf.Tensor => {
  const last = tf.scalar(size - 1, 'int32');
  return tf.sub(last, tf.abs(tf.sub(last, tf.abs(places))));
};

/** Rows of pixels [count, channels] by int32 indices [n, h, w]. tfjs's own gather reads the indices back to check them. */
const pixelsAt = (pixels: tf.Tensor2D, indices: tf.Tensor3D): tf.Tensor4D =>
  (isNative() ? rowsAt({ x: pixels, indices }, {})[0] : tf.gather(pixels, indices)) as tf.Tensor4D;

/**
 * Every image [n, h, w, c] (float32) turned about its centre by an angle of its own, uniform in −degrees … degrees and
 * drawn from seed (int32 [2]) alone. Bilinear; what comes from outside the image is zero (black before normalisation).
 *
 * Source: Nasty Teacher's recipe for Tiny-ImageNet, RandomRotation(20), which takes the nearest pixel by default.
 */
export const rotate = (images: tf.Tensor4D, degrees: number, seed: tf.Tensor1D): tf.Tensor4D =>
  tf.tidy(() => {
    if (degrees === 0) return images.clone();
    const [n, h, w, c] = images.shape;
    // One row of black all around: a place that is further out is moved onto it.
    const [high, wide] = [h + 2, w + 2];
    const angle = tf.mul(
      tf.sub(tf.reshape(standardUniform([1, n], seed, 'rotate'), [n, 1, 1]), 0.5),
      (degrees * Math.PI) / 90,
    );
    const [sin, cos] = [tf.sin(angle), tf.cos(angle)];
    const fromCentre = (size: number, shape: [number, number, number]) =>
      tf.tensor3d(
        Float32Array.from({ length: size }, (_, i) => i - (size - 1) / 2),
        shape,
      );
    const [down, right] = [fromCentre(h, [1, h, 1]), fromCentre(w, [1, 1, w])];
    /** Where pixels come from along one axis of the padded images: the pixel before, and the share of the one after. */
    const along = (offset: tf.Tensor, size: number) => {
      const place = tf.clipByValue(tf.add(offset, (size + 1) / 2), 0, size + 1);
      const before = tf.minimum(tf.floor(place), size);
      return { before: tf.cast(before, 'int32'), share: tf.expandDims(tf.sub(place, before), 3) };
    };
    const y = along(tf.add(tf.mul(cos, down), tf.mul(sin, right)), h);
    const x = along(tf.sub(tf.mul(cos, right), tf.mul(sin, down)), w);
    const image = tf.tensor3d(
      Int32Array.from({ length: n }, (_, i) => i * high * wide),
      [n, 1, 1],
    );
    const corner = tf.add(tf.add(image, tf.mul(y.before, tf.scalar(wide, 'int32'))), x.before);
    const padded = tf.pad(images, [
      [0, 0],
      [1, 1],
      [1, 1],
      [0, 0],
    ]);
    const pixels = tf.reshape(padded, [n * high * wide, c]) as tf.Tensor2D;
    const at = (offset: number) => pixelsAt(pixels, tf.add(corner, tf.scalar(offset, 'int32')) as tf.Tensor3D);
    const between = (a: tf.Tensor, b: tf.Tensor, share: tf.Tensor) => tf.add(a, tf.mul(tf.sub(b, a), share));
    const above = between(at(0), at(1), x.share);
    const below = between(at(wide), at(wide + 1), x.share);
    return between(above, below, y.share) as tf.Tensor4D;
  });

export interface Augmenting extends Omit<CropFlip, 'flip'> {
  /** Degrees by which every image is turned at most, either way, before it is cropped and mirrored; default 0. */
  readonly rotate?: number | undefined;
  /** `alternating`: those images are mirrored that are told. */
  readonly flip: boolean | 'alternating';
}

/**
 * Raw images as training sees them: turned, cropped and mirrored at random, all drawn from seed (int32 [2]) alone.
 *
 * @param mirrored int32 [n], 1 where an image is to be mirrored: for `alternating`
 */
export const augment = (
  images: tf.Tensor4D,
  { rotate: degrees = 0, flip, ...how }: Augmenting,
  seed: tf.Tensor1D,
  mirrored?: tf.Tensor1D,
): tf.Tensor4D => {
  const cropping = { ...how, flip: flip === 'alternating' ? (mirrored as tf.Tensor1D) : flip };
  return degrees === 0
    ? cropFlip(images, cropping, seed)
    : // The crop's numbers come from the seed itself.
      tf.tidy(() => cropFlip(rotate(images, degrees, tf.add(seed, tf.scalar(1, 'int32'))), cropping, seed));
};

export interface Jitter {
  /** Pixels that the batch is moved by at most, up or down and left or right, ≥ 0. */
  readonly reach: number;
  /** Whether the batch is mirrored horizontally with probability 1/2, after it was moved. */
  readonly flip: boolean;
}

/**
 * Rolls a whole batch of images [n, h, w, c] by the same two numbers, uniform among −reach … reach, drawn from seed (int32
 * [2]) alone; what leaves on one side comes in on the other. The gradient is rolled, and mirrored, back.
 *
 * Source: DeepInversion (Yin et al., CVPR 2020), whose released code rolls the images before every look at them.
 */
export const jitter = (images: tf.Tensor4D, how: Jitter, seed: tf.Tensor1D): tf.Tensor4D => {
  if (how.reach === 0 && !how.flip) return images.clone();
  return tf.tidy(() => (isNative() ? nativeJitter : plainJitter)(images, how, seed));
};

const nativeJitter = (images: tf.Tensor4D, { reach, flip }: Jitter, seed: tf.Tensor1D): tf.Tensor4D => {
  const drawn = standardUniform([3], seed);
  const rolled = (): tf.Tensor => {
    const steps = tf.floor(tf.mul(tf.slice(drawn, 0, 2), 2 * reach + 1));
    return roll({ x: images, shift: tf.cast(tf.sub(steps, reach), 'int32') }, {})[0] as tf.Tensor;
  };
  const moved = reach === 0 ? images : rolled();
  if (!flip) return moved as tf.Tensor4D;
  const mirrored = tf.less(tf.reshape(tf.slice(drawn, 2, 1), []), 0.5);
  return mirror({ x: moved, mirrored }, {})[0] as tf.Tensor4D;
};

const plainJitter = (images: tf.Tensor4D, { reach, flip }: Jitter, seed: tf.Tensor1D): tf.Tensor4D => {
  const next = keyOf('jitter', seed).uniform();
  const offset = () => Math.floor(next() * (2 * reach + 1)) - reach;
  const [down, right, mirrored] = [offset(), offset(), flip && next() < 0.5];
  /** Where each of `size` rows or columns comes from. */
  const origins = (size: number, shift: number, reversed: boolean) =>
    tf.tensor1d(
      Int32Array.from({ length: size }, (_, i) => {
        const place = (reversed ? size - 1 - i : i) - shift;
        return ((place % size) + size) % size;
      }),
      'int32',
    );
  const [, h, w] = images.shape;
  return tf.gather(tf.gather(images, origins(h, down, false), 1), origins(w, right, mirrored), 2);
};
