import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { loadEngine } from '../../src/engine/engine.js';
import { type ResizedCrop, resizedView, type Shift, shiftedView } from '../../src/engine/ops.js';
import { expectClose, values, wave } from '../train/tensors.js';
import { useBackend } from './backends.js';

beforeAll(async () => {
  await loadEngine();
});

const seedOf = (a: number, b: number) => tf.tensor1d([a, b], 'int32');
const [n, h, w, c] = [64, 5, 6, 2];
const numbers = Array.from({ length: n * h * w * c }, (_, i) => 1 + (i % 251));
const images = () => tf.tensor4d(numbers, [n, h, w, c]);
const mirrored = (): tf.Tensor4D => tf.reverse(images(), 2);
/** The numbers of each image. */
const each = (of: tf.Tensor4D): number[][] => {
  const flat = values(of);
  return Array.from({ length: of.shape[0] }, (_, i) =>
    flat.slice((i * flat.length) / of.shape[0], ((i + 1) * flat.length) / of.shape[0]),
  );
};

describe.each(['tensorflow', 'cpu'])('on %s', (backend) => {
  useBackend(backend);

  describe('shiftedView', () => {
    test('moves and mirrors nothing where it is not to', () => {
      expect(values(shiftedView(images(), { crop: 0, flip: false }, seedOf(1, 2)))).toEqual(numbers);
    });

    test('moves every image by whole pixels, zeros coming in, and mirrors half of them; all ways occur', () => {
      const crop = 1;
      const pixel = (image: number, y: number, x: number, channel: number) =>
        y < 0 || x < 0 || y >= h || x >= w ? 0 : numbers[((image * h + y) * w + x) * c + channel];
      const found = each(shiftedView(images(), { crop, flip: true }, seedOf(1, 2)));
      const ways = found.map((own, image) =>
        [-1, 0, 1].flatMap((down) =>
          [-1, 0, 1].flatMap((right) =>
            [false, true].flatMap((flipped) => {
              const same = own.every((value, at) => {
                const [channel, x, y] = [at % c, Math.floor(at / c) % w, Math.floor(at / (c * w))];
                // As the crop of a padded image that is then mirrored: see cropFlip.
                return value === pixel(image, y + down, right + (flipped ? w - 1 - x : x), channel);
              });
              return same ? [`${down} ${right} ${flipped}`] : [];
            }),
          ),
        ),
      );
      for (const way of ways) expect(way).toHaveLength(1);
      // Of 18 ways, 64 images have all but few.
      expect(new Set(ways.flat()).size).toBeGreaterThan(14);
      const flipped = ways.flat().filter((way) => way.endsWith('true')).length;
      expect(Math.abs(flipped - 32)).toBeLessThan(5 * 4);
    });

    test('is drawn by the seed alone', () => {
      const drawn = (seed: number) => values(shiftedView(images(), { crop: 2, flip: true }, seedOf(seed, 1)));
      expect(drawn(1)).toEqual(drawn(1));
      expect(drawn(1)).not.toEqual(drawn(2));
    });
  });

  describe('resizedView', () => {
    test('of all of an image is the image, mirrored or not', () => {
      expect(values(resizedView(images(), { area: [1, 1], flip: false }, seedOf(1, 2)))).toEqual(numbers);
      const found = each(resizedView(images(), { area: [1, 1], flip: true }, seedOf(1, 2)));
      const [plain, other] = [each(images()), each(mirrored())];
      const flipped = found.map((own, i) => {
        expect([plain[i]?.join(), other[i]?.join()]).toContain(own.join());
        return own.join() === other[i]?.join();
      });
      expect(Math.abs(flipped.filter(Boolean).length - 32)).toBeLessThan(5 * 4);
    });

    test('of a slope is a slope, less steep by the part’s share of the side', () => {
      const side = 16;
      const slope = tf.tile(tf.reshape(tf.range(0, side), [1, 1, side, 1]), [400, side, 1, 1]) as tf.Tensor4D;
      const falls = each(resizedView(slope, { area: [0.25, 1], flip: false }, seedOf(3, 4))).map((own) => {
        const row = own.slice(0, side);
        // Every row is alike, and the two at the ends may lie outside of the image, which has nothing there.
        for (let y = 1; y < side; y++) expectClose(own.slice(y * side, (y + 1) * side), row, 1e-5);
        const steps = row.slice(2, -1).map((x, i) => x - (row[i + 1] as number));
        for (const step of steps) expectClose([step], [steps[0] as number], 1e-4);
        expect(Math.min(...row)).toBeGreaterThanOrEqual(0);
        expect(Math.max(...row)).toBeLessThanOrEqual(side - 1);
        return steps[0] as number;
      });
      for (const fall of falls) {
        expect(fall).toBeGreaterThan(0.5 - 1e-4);
        expect(fall).toBeLessThan(1 + 1e-4);
      }
      // The share of the area is uniform in ¼ … 1: five standard errors of 400.
      const share = falls.reduce((sum, fall) => sum + fall ** 2, 0) / falls.length;
      expect(Math.abs(share - 0.625)).toBeLessThan((5 * 0.75) / Math.sqrt(12 * 400));
    });

    test('takes its part from anywhere in the image', () => {
      const side = 16;
      const slope = tf.tile(tf.reshape(tf.range(0, side), [1, 1, side, 1]), [400, side, 1, 1]) as tf.Tensor4D;
      const view = each(resizedView(slope, { area: [0.25, 0.25], flip: false }, seedOf(5, 6)));
      const begins = view.map((own) => own[1] as number);
      // Pixel 1 is at ¾ − ½ beyond the beginning, which is uniform in 0 … 8.
      const mean = begins.reduce((sum, x) => sum + x, 0) / 400;
      expect(Math.abs(mean - 4.25)).toBeLessThan((5 * 8) / Math.sqrt(12 * 400));
      expect(Math.max(...begins) - Math.min(...begins)).toBeGreaterThan(7.5);
    });
  });

  test.each([
    [
      'shiftedView',
      (x: tf.Tensor4D, seed: tf.Tensor1D) => shiftedView(x, { crop: 1, flip: true } satisfies Shift, seed),
    ],
    [
      'resizedView',
      (x: tf.Tensor4D, seed: tf.Tensor1D) =>
        resizedView(x, { area: [0.25, 1], flip: true } satisfies ResizedCrop, seed),
    ],
  ] as const)('%s has the gradient of its numbers', (_, view) => {
    const [shape, seed] = [[3, 4, 4, 2] as [number, number, number, number], seedOf(7, 8)];
    const weights = tf.tensor4d(wave(96, 1), shape);
    const f = (x: tf.Tensor4D) => tf.sum(tf.mul(view(x, seed), weights)) as tf.Scalar;
    const at = wave(96, 2);
    const gradient = values(tf.grad((x: tf.Tensor) => f(x as tf.Tensor4D))(tf.tensor4d(at, shape)));
    // It is linear, so that a difference of any length is exact.
    const differences = at.map((_, i) => {
      const moved = (by: number) =>
        values(
          f(
            tf.tensor4d(
              at.map((x, j) => (i === j ? x + by : x)),
              shape,
            ),
          ),
        )[0] as number;
      return (moved(1) - moved(-1)) / 2;
    });
    expectClose(gradient, differences, 1e-5);
    expect(gradient.some((each) => each !== 0)).toBe(true);
  });
});
