import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadEngine } from '../../src/engine/engine.js';
import * as ops from '../../src/engine/ops.js';
import { expectClose, leaked, values, wave } from '../train/tensors.js';
import { useBackend } from './backends.js';

beforeAll(async () => {
  await loadEngine();
});

const seedOf = (a: number, b: number) => tf.tensor1d([a, b], 'int32');

describe.each(['tensorflow', 'cpu'])('on %s', (backend) => {
  useBackend(backend);

  describe('standardNormal', () => {
    it('has mean 0, variance 1 and the tails of a normal distribution', () => {
      const drawn = values(ops.standardNormal([100, 100], seedOf(1, 2)));
      const mean = drawn.reduce((sum, x) => sum + x) / drawn.length;
      const variance = drawn.reduce((sum, x) => sum + (x - mean) ** 2, 0) / drawn.length;
      const beyond = drawn.filter((x) => Math.abs(x) > 1.96).length / drawn.length;
      // Within four standard errors of 10,000 numbers.
      expect(Math.abs(mean)).toBeLessThan(0.04);
      expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(2 / 1e4));
      expect(Math.abs(beyond - 0.05)).toBeLessThan(4 * Math.sqrt((0.05 * 0.95) / 1e4));
    });

    it('is float32 of the shape, depends on the seed alone and makes one tensor', () => {
      const drawn = ops.standardNormal([2, 3, 5], seedOf(3, 4));
      expect([drawn.dtype, drawn.shape]).toEqual(['float32', [2, 3, 5]]);
      expect(values(ops.standardNormal([2, 3, 5], seedOf(3, 4)))).toEqual(values(drawn));
      expect(values(ops.standardNormal([2, 3, 5], seedOf(3, 5)))).not.toEqual(values(drawn));
      expect(values(ops.standardNormal([2, 3, 5], seedOf(2, 4)))).not.toEqual(values(drawn));
      const seed = seedOf(1, 1);
      const before = tf.memory().numTensors;
      ops.standardNormal([7], seed);
      expect(tf.memory().numTensors).toBe(before + 1);
    });
  });

  describe('jitter', () => {
    const [n, h, w, c] = [2, 4, 5, 2];
    /** Every number is another one. */
    const numbers = Array.from({ length: n * h * w * c }, (_, i) => i + 1);
    const images = () => tf.tensor4d(numbers, [n, h, w, c]);

    /** The batch rolled down and to the right, then mirrored or not. */
    const moved = (down: number, right: number, mirrored: boolean): number[] =>
      numbers.map((_, at) => {
        const channel = at % c;
        const x = Math.floor(at / c) % w;
        const y = Math.floor(at / (c * w)) % h;
        const image = Math.floor(at / (c * w * h));
        const [row, column] = [(y - down + 4 * h) % h, ((mirrored ? w - 1 - x : x) - right + 4 * w) % w];
        return numbers[((image * h + row) * w + column) * c + channel] as number;
      });
    const places = (reach: number) => Array.from({ length: 2 * reach + 1 }, (_, i) => i - reach);
    /** The ways of moving that give `found`, by trying all. */
    const explain = (found: readonly number[], reach: number) =>
      places(reach).flatMap((down) =>
        places(reach).flatMap((right) =>
          [false, true].flatMap((mirrored) =>
            moved(down, right, mirrored).join() === found.join() ? [`${down} ${right} ${mirrored}`] : [],
          ),
        ),
      );
    const drawn = (how: ops.Jitter, seed: number) => values(ops.jitter(images(), how, seedOf(seed, 7 * seed)));

    it('moves all images alike, in all ways equally often', () => {
      const ways = Array.from({ length: 360 }, (_, seed) => explain(drawn({ reach: 1, flip: true }, seed), 1));
      for (const each of ways) expect(each).toHaveLength(1);
      const counts = new Map<string, number>();
      for (const [way] of ways) counts.set(way as string, (counts.get(way as string) ?? 0) + 1);
      // 18 ways, 20 times each if evenly: between 5 and 40 by four and a half standard deviations.
      expect(counts.size).toBe(18);
      for (const count of counts.values()) expect(count > 4 && count < 41).toBe(true);
    });

    it('does only what is asked', () => {
      expect(drawn({ reach: 0, flip: false }, 1)).toEqual(numbers);
      const seeds = Array.from({ length: 60 }, (_, i) => i);
      const flipped = seeds.map((seed) => explain(drawn({ reach: 0, flip: true }, seed), 0).join());
      expect(new Set(flipped)).toEqual(new Set(['0 0 false', '0 0 true']));
      const rolled = seeds.map((seed) => explain(drawn({ reach: 1, flip: false }, seed), 1).join());
      expect(rolled.every((way) => way.endsWith('false'))).toBe(true);
      expect(new Set(rolled).size).toBe(9);
    });

    it('goes around as often as it takes', () => {
      const ways = Array.from({ length: 40 }, (_, seed) => explain(drawn({ reach: 11, flip: true }, seed), 2));
      for (const each of ways) expect(each.length).toBeGreaterThan(0);
    });

    it('depends on the seed alone', () => {
      const how = { reach: 2, flip: true };
      expect(drawn(how, 1)).toEqual(drawn(how, 1));
      expect(new Set([1, 2, 3, 4].map((seed) => drawn(how, seed).join())).size).toBeGreaterThan(1);
    });

    it.each([0, 1, 2])('moves its gradient back, seed %d', (seed) => {
      const how = { reach: 2, flip: true };
      const weights = tf.tensor(wave(numbers.length, 3), [n, h, w, c]);
      const loss = (x: tf.Tensor) => tf.sum(tf.mul(ops.jitter(x as tf.Tensor4D, how, seedOf(seed, 5)), weights));
      const gradient = tf.grad(loss)(images());
      // A pixel's gradient lies where the pixel came from: moved as the images were, it is the weights.
      expect(values(ops.jitter(gradient as tf.Tensor4D, how, seedOf(seed, 5)))).toEqual(values(weights));
    });

    it.each([
      { reach: 0, flip: false },
      { reach: 2, flip: false },
      { reach: 0, flip: true },
      { reach: 2, flip: true },
    ])('has the gradient of finite differences and leaves nothing behind: %o', (how) => {
      const x = tf.tensor4d(wave(numbers.length, 1), [n, h, w, c]);
      const seed = seedOf(8, 9);
      const weights = tf.tensor(wave(numbers.length, 2), [n, h, w, c]);
      // Squared, so that the gradient is not the same everywhere.
      const loss = (of: tf.Tensor) =>
        tf.sum(tf.mul(tf.square(ops.jitter(of as tf.Tensor4D, how, seed)), weights)) as tf.Scalar;
      const along = tf.tensor4d(wave(numbers.length, 4), [n, h, w, c]);
      const at = (step: number) => values(loss(tf.add(x, tf.mul(along, step))))[0] as number;
      const slope = values(tf.sum(tf.mul(tf.grad(loss)(x), along)))[0] as number;
      expect(Math.abs(slope - (at(0.05) - at(-0.05)) / 0.1)).toBeLessThan(1e-3);
      expect(leaked(() => ops.jitter(x, how, seed))).toBe(0);
      expect(leaked(() => tf.grad(loss)(x))).toBe(0);
    });
  });

  describe('upsample', () => {
    it('repeats each pixel twice in each direction (worked number)', () => {
      const x = tf.tensor4d([1, 2, 3, 4, 5, 6], [1, 2, 3, 1]);
      const y = ops.upsample(x);
      expect(y.shape).toEqual([1, 4, 6, 1]);
      const rows = [
        [1, 1, 2, 2, 3, 3],
        [4, 4, 5, 5, 6, 6],
      ];
      expect(values(y)).toEqual([rows[0], rows[0], rows[1], rows[1]].flat());
    });

    it.each([2, 4])('%d times: its gradient is the sum over windows', (factor) => {
      const [n, h, w, c] = [2, 3, 2, 3];
      const x = tf.tensor4d(wave(n * h * w * c, 1), [n, h, w, c]);
      const weights = tf.tensor4d(wave(x.size * factor ** 2, 2), [n, factor * h, factor * w, c]);
      const loss = (of: tf.Tensor) => tf.sum(tf.mul(ops.upsample(of as tf.Tensor4D, factor), weights)) as tf.Scalar;
      const windows = tf.sum(tf.reshape(weights, [n, h, factor, w, factor * c]), 2);
      const sums = tf.sum(tf.reshape(windows, [n * h, w, factor, c]), 2);
      expectClose(values(tf.grad(loss)(x)), values(sums), 1e-6);
      expect(leaked(() => ops.upsample(x, factor))).toBe(0);
      expect(leaked(() => tf.grad(loss)(x))).toBe(0);
    });

    it('moves numbers without rounding', () => {
      const x = tf.tensor4d(wave(5 * 7 * 3 * 4, 1), [5, 7, 3, 4]);
      const [even, odd] = [0, 1].map((start) =>
        tf.stridedSlice(ops.upsample(x), [0, start, start, 0], [5, 14, 6, 4], [1, 2, 2, 1]),
      ) as [tf.Tensor, tf.Tensor];
      expect(values(even)).toEqual(values(x));
      expect(values(odd)).toEqual(values(x));
    });

    it('refuses a factor that is no power of two', () => {
      expect(() => ops.upsample(tf.ones([1, 2, 2, 1]), 3)).toThrow('3 is no power of two');
    });
  });

  describe('upsampledConv2d', () => {
    const [n, h, w, from, to] = [2, 3, 5, 2, 3];
    const x = () => tf.tensor4d(wave(n * h * w * from, 1), [n, h, w, from]);
    const filter = () => tf.tensor4d(wave(9 * from * to, 2), [3, 3, from, to]);
    const apart = (images: tf.Tensor4D, kernel: tf.Tensor4D) =>
      ops.conv2d(ops.upsample(images), kernel, { padding: 1 });

    it('one pixel (worked number)', () => {
      // 2 everywhere, inside a border of zeros: the four corners of the kernel's window 1 … 9.
      const kernel = tf.tensor4d([1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 3, 1, 1]);
      const y = ops.upsampledConv2d(tf.tensor4d([2], [1, 1, 1, 1]), kernel);
      expect(y.shape).toEqual([1, 2, 2, 1]);
      expect(values(y)).toEqual([2 * (5 + 6 + 8 + 9), 2 * (4 + 5 + 7 + 8), 2 * (2 + 3 + 5 + 6), 2 * (1 + 2 + 4 + 5)]);
    });

    it('is upsampling and a convolution, and so are its gradients', () => {
      expectClose(values(ops.upsampledConv2d(x(), filter())), values(apart(x(), filter())));
      const weights = tf.tensor4d(wave(n * 2 * h * 2 * w * to, 3), [n, 2 * h, 2 * w, to]);
      const gradients = (f: typeof apart) =>
        tf.grads((images, kernel) => tf.sum(tf.mul(f(images as tf.Tensor4D, kernel as tf.Tensor4D), weights)))([
          x(),
          filter(),
        ]) as [tf.Tensor, tf.Tensor];
      const [[toImages, toFilter], [images, kernel]] = [gradients(ops.upsampledConv2d), gradients(apart)];
      expectClose(values(toImages), values(images));
      expectClose(values(toFilter), values(kernel));
    });

    it('leaves nothing behind', () => {
      const inputs: [tf.Tensor, tf.Tensor] = [x(), filter()];
      const loss = (images: tf.Tensor, kernel: tf.Tensor) =>
        tf.sum(ops.upsampledConv2d(images as tf.Tensor4D, kernel as tf.Tensor4D)) as tf.Scalar;
      expect(leaked(() => ops.upsampledConv2d(inputs[0] as tf.Tensor4D, inputs[1] as tf.Tensor4D))).toBe(0);
      expect(leaked(() => tf.grads(loss)(inputs))).toBe(0);
    });
  });
});
