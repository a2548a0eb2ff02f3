import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { OptionsOf } from '../../src/core/plugin.js';
import { disturbed, gaussianNoise } from '../../src/defenses/gaussian-noise.js';
import { compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import { loadEngine } from '../../src/engine/engine.js';
import { normalByImage } from '../../src/engine/ops.js';
import { openFraction } from '../../src/engine/ops-random.js';
import type { Answers, Query } from '../../src/train/oracle.js';
import { bitsOf } from '../engine/bits.js';
import { refusal } from '../failures.js';
import { expectClose, values } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine();
});

beforeEach(() => tf.engine().startScope());
afterEach(() => tf.engine().endScope());

const seedOf = (a: number, b: number) => tf.tensor1d([a, b], 'int32');
const logs = (...rows: number[][]) => tf.log<tf.Tensor2D>(tf.tensor2d(rows));
const probabilities = (given: tf.Tensor2D) => values(tf.exp(given));

/** Images of 4×4 bytes, of which the first two tell which one it is and the others are alike. */
const numbered = (count: number, from = 0): tf.Tensor4D => {
  const bytes = new Float32Array(count * 16).fill(100 / 255);
  for (let i = 0; i < count; i++) {
    bytes[16 * i] = ((i + from) % 256) / 255;
    bytes[16 * i + 1] = Math.floor((i + from) / 256) / 255;
  }
  return tf.tensor4d(bytes, [count, 4, 4, 1]);
};

interface Asking {
  readonly images?: tf.Tensor4D;
  readonly seed?: tf.Tensor1D;
  readonly secret?: tf.Tensor1D;
}

const [clean, few] = [[0.6, 0.3, 0.1], 4];
/** What a defence gives of the same clean answer to each image. */
const asked = (
  options: OptionsOf<typeof gaussianNoise>,
  { images = numbered(few), seed = seedOf(1, 2), secret = seedOf(3, 4) }: Asking = {},
): tf.Tensor2D => {
  const { answer } = gaussianNoise(options).answers as Answers;
  const logProbabilities = tf.log<tf.Tensor2D>(tf.tile(tf.tensor2d([clean]), [images.shape[0], 1]));
  return answer({ logProbabilities, images, seed, secret } as Query).logProbabilities;
};

describe('noise on probabilities', () => {
  test('is added, cut at 0 and rescaled, as in the toolbox', () => {
    const given = disturbed(logs([0.7, 0.2, 0.1]), tf.tensor2d([[-0.05, 0.02, -0.15]]));
    expectClose(probabilities(given), [0.747126, 0.252874, 0], 2e-6);
    expect(values(given)[2]).toBe(Number.NEGATIVE_INFINITY);
  });

  test('that leaves nothing gives the clean answer, in that row alone', () => {
    const given = disturbed(
      logs([0.7, 0.2, 0.1], [0.7, 0.2, 0.1]),
      tf.tensor2d([
        [-0.7, -0.3, -0.2],
        [0, 0, -0.2],
      ]),
    );
    expectClose(probabilities(given), [0.7, 0.2, 0.1, 7 / 9, 2 / 9, 0], 1e-6);
  });

  test('of no deviation, or a negative one, is refused', () => {
    for (const sd of [0, -0.1, Number.NaN]) expect(refusal(() => gaussianNoise({ sd })).what).toContain('sd is');
  });
});

describe.each(['tensorflow', 'cpu'])('on %s', (backend) => {
  beforeEach(async () => void (await tf.setBackend(backend)));
  afterEach(async () => void (await tf.setBackend('tensorflow')));

  test('fresh noise is drawn by the seed of the call alone', () => {
    const one = values(asked({}));
    expect(values(asked({}, { secret: seedOf(5, 6) }))).toEqual(one);
    expect(values(asked({}, { seed: seedOf(1, 3) }))).not.toEqual(one);
    // The same image four times has four draws.
    const rows = values(asked({}, { images: tf.tile(numbered(1), [4, 1, 1, 1]) }));
    expect(new Set([0, 1, 2, 3].map((i) => rows.slice(3 * i, 3 * i + 3).join())).size).toBe(4);
  });

  test('sticky noise is the same for an image in any batch and at any call', () => {
    const sticky = (asking: Asking) => values(asked({ draw: 'sticky' }, asking));
    const one = sticky({});
    expect(sticky({ seed: seedOf(7, 8) })).toEqual(one);
    const turned = [3, 2, 1, 0].flatMap((i) => one.slice(3 * i, 3 * i + 3));
    // To rounding: a logarithm is another one by a bit at another place of a vector.
    expectClose(sticky({ images: tf.reverse(numbered(few), 0) }), turned, 1e-6);
    expectClose(sticky({ images: numbered(1, 2) }), one.slice(6, 9), 1e-6);
    // The bytes decide: what is nearer to them than to any other is the same image.
    expect(sticky({ images: tf.add(numbered(few), 0.4 / 255) })).toEqual(one);
  });

  test('sticky noise is another one where a single byte differs, and for another secret', () => {
    const sticky = (asking: Asking) => values(asked({ draw: 'sticky' }, asking));
    const image = numbered(1);
    const [one] = [sticky({ images: image })];
    for (let at = 0; at < 16; at++) {
      const bumped = tf.add(
        image,
        tf.reshape(tf.oneHot(tf.scalar(at, 'int32'), 16).cast('float32').div(255), [1, 4, 4, 1]),
      );
      expect(sticky({ images: bumped as tf.Tensor4D }), `byte ${at}`).not.toEqual(one);
    }
    for (const secret of [seedOf(3, 5), seedOf(4, 4), seedOf(-3, 4)])
      expect(sticky({ images: image, secret })).not.toEqual(one);
  });

  test.each(['fresh', 'sticky'] as const)('%s noise is as large as asked for', (draw) => {
    // So small that nothing is cut: then what is left of it after rescaling is known, n − p Σ n.
    const [count, sd] = [4000, 0.01];
    const given = asked({ draw, sd }, { images: numbered(count) });
    const noise = values(tf.sub(tf.exp(given), tf.tensor2d([clean])));
    clean.forEach((p, k) => {
      const own = Array.from({ length: count }, (_, i) => noise[3 * i + k] as number);
      const mean = own.reduce((sum, x) => sum + x, 0) / count;
      const variance = own.reduce((sum, x) => sum + (x - mean) ** 2, 0) / count;
      const expected = sd ** 2 * ((1 - p) ** 2 + 2 * p ** 2);
      // Five standard errors, and for the mean the second order of rescaling, at most 3 p σ².
      expect(Math.abs(mean)).toBeLessThan(5 * Math.sqrt(expected / count) + 3 * sd ** 2);
      expect(Math.abs(variance / expected - 1)).toBeLessThan(5 * Math.sqrt(2 / count) + 12 * sd);
    });
  });
});

test('a step of it is the same bits as a graph', () => {
  const step = (_: object, state: { readonly images: tf.Tensor4D }, __: object, { seed }: { seed: tf.Tensor1D }) => {
    const { images } = state;
    const [fresh, sticky] = (['fresh', 'sticky'] as const).map((draw) =>
      asked({ draw }, { images, seed, secret: seed }),
    );
    return { state: { images }, metrics: { fresh: fresh as tf.Tensor, sticky: sticky as tf.Tensor } };
  };
  const runs = [eager(step, {}), compile(step, {})].map((runner) => {
    runner.load({ images: numbered(few) });
    const bits = [1, 2].map((seed) => {
      const found = runner.run([{ batch: {}, inputs: { learningRate: tf.scalar(0), seed: seedOf(seed, 9) } }]);
      return bitsOf(found);
    });
    expect(bits[0]).not.toEqual(bits[1]);
    runner.dispose();
    return bits;
  });
  expect(runs[1]).toEqual(runs[0]);
});

describe('normalByImage', () => {
  const [count, classes] = [20_000, 10];
  /** [classes][images] of images that differ in a byte or two. */
  const drawn = (seed: readonly [number, number]): number[][] =>
    values(tf.transpose(normalByImage(numbered(count), classes, seedOf(...seed))) as tf.Tensor2D).reduce<number[][]>(
      (columns, x, i) => {
        if (i % count === 0) columns.push([]);
        (columns.at(-1) as number[]).push(x);
        return columns;
      },
      [],
    );
  const moment = (x: readonly number[], n: number) => x.reduce((sum, each) => sum + each ** n, 0) / x.length;
  const product = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, each, i) => sum + each * (y[i] ?? 0), 0) / Math.min(x.length, y.length);
  // Standard errors of the moments of that many normal numbers; everything lies within five of them.
  const errors = { mean: 1, variance: Math.sqrt(2), skewness: Math.sqrt(15), kurtosis: Math.sqrt(96), correlation: 1 };
  const within = (what: keyof typeof errors, found: number, expected: number, of: string) =>
    expect(Math.abs(found - expected) * Math.sqrt(count), `${what} of ${of}`).toBeLessThan(5 * errors[what]);

  test('is normal over images that are nearly alike, and independent between classes, images and seeds', () => {
    const [one, other, further] = [drawn([1, 2]), drawn([1, 3]), drawn([2, 2])] as [number[][], number[][], number[][]];
    one.forEach((x, k) => {
      within('mean', moment(x, 1), 0, `class ${k}`);
      within('variance', moment(x, 2), 1, `class ${k}`);
      within('skewness', moment(x, 3), 0, `class ${k}`);
      within('kurtosis', moment(x, 4), 3, `class ${k}`);
      for (let l = k + 1; l < classes; l++) {
        within('correlation', product(x, one[l] as number[]), 0, `classes ${k} and ${l}`);
        // Not only their signs: how large they are as well.
        const [sx, sy] = [x, one[l] as number[]].map((z) => z.map((each) => (each ** 2 - 1) / Math.SQRT2));
        within('correlation', product(sx as number[], sy as number[]), 0, `squares of classes ${k} and ${l}`);
      }
      for (const lag of [1, 2, 255, 256, 257])
        within('correlation', product(x.slice(lag), x), 0, `class ${k}, images ${lag} apart`);
      within('correlation', product(x, other[k] as number[]), 0, `class ${k}, seeds`);
      within('correlation', product(x, further[k] as number[]), 0, `class ${k}, seeds further apart`);
    });
  });

  test('is finite whatever the hash: an end of the interval would be infinite', () => {
    const ends = tf.tensor1d([-(2 ** 31), -(2 ** 31) + 511, -1, 0, 2 ** 31 - 1], 'int32');
    const found = values(openFraction(ends));
    expectClose(found, [2 ** -24, 2 ** -24, 0.5 - 2 ** -24, 0.5 + 2 ** -24, 1 - 2 ** -24], 0);
    for (const each of found) expect(Number.isFinite(Math.sqrt(-2 * Math.log(each)))).toBe(true);
  });
});
