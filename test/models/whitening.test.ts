import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { key, normals } from '../../src/core/random.js';
import { loadEngine } from '../../src/engine/engine.js';
import { conv, fitLayers, whitened } from '../../src/models/layers.js';
import { values, wave } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine();
});

const input = { kind: 'image', height: 9, width: 8, channels: 3 } as const;
/** Neighbours are alike, as in pictures. */
const images = () => {
  const noise = normals(key('noise'), 700 * 9 * 8 * 3);
  return tf.tensor4d(
    noise.map((value, i) => 0.3 * value + Math.sin(i / 900) + (noise[i - 3] ?? 0)),
    [700, 9, 8, 3],
  );
};

describe('whitened', () => {
  const epsilon = 1e-6;
  const fitted = fitLayers(whitened('w', { kernel: 2, epsilon }), { where: 'test', input });

  test('gives patches whose second moments are the identity, and all of it again with the sign turned', () => {
    tf.tidy(() => {
      const start = fitted.init(key('init'), images);
      const variables = { ...start, params: { 'w.bias': tf.zeros([24]) } };
      const { y, stats } = fitted.run(variables, images(), { mode: 'train' });
      const flat = tf.reshape(y, [-1, 24]);
      const moments = values(tf.div(tf.matMul(flat, flat, true), flat.shape[0] as number));
      for (let i = 0; i < 24; i++)
        for (let j = 0; j < 24; j++) {
          const wanted = i === j ? 1 : i % 12 === j % 12 ? -1 : 0;
          expect(moments[24 * i + j]).toBeCloseTo(wanted, 2);
        }
      // Fixed, and part of the state all the same.
      expect(values(stats['w.weight'] as tf.Tensor)).toEqual(values(start.stats['w.weight'] as tf.Tensor));
      expect(Object.keys(start.params)).toEqual(['w.bias']);
    });
  });

  test('divides each eigenvector by √(eigenvalue + ε): what it gives has the second moment 1 − ε |kernel|²', () => {
    const large = 0.05;
    const damped = fitLayers(whitened('w', { kernel: 2, epsilon: large }), { where: 'test', input });
    tf.tidy(() => {
      const start = damped.init(key('init'), images);
      const kernels = values(start.stats['w.weight'] as tf.Tensor);
      const { y } = damped.run({ ...start, params: { 'w.bias': tf.zeros([24]) } }, images(), { mode: 'train' });
      const moments = values(tf.mean(tf.square(tf.reshape(y, [-1, 24])), 0));
      const expected = moments.map(
        (_, out) => 1 - large * kernels.reduce((sum, each, i) => sum + (i % 24 === out ? each ** 2 : 0), 0),
      );
      for (const [out, moment] of moments.entries()) expect(moment).toBeCloseTo(expected[out] as number, 3);
      // The smallest eigenvalues are of the size of ε.
      expect(Math.min(...expected)).toBeLessThan(0.95);
    });
  });

  test('begins with the largest eigenvalue, at random without images, and the same for the same', () => {
    const kernels = (seen?: () => tf.Tensor4D) => {
      const { params, stats } = fitted.init(key('init'), seen);
      const found = values(stats['w.weight'] as tf.Tensor);
      tf.dispose([params, stats]);
      return found;
    };
    const found = kernels(images);
    const norm = (out: number) => Math.hypot(...found.filter((_, i) => i % 24 === out));
    // Kernels are the shorter the larger their eigenvalue.
    for (let out = 1; out < 12; out++) expect(norm(out)).toBeGreaterThan(norm(out - 1));
    expect(kernels(images)).toEqual(found);
    expect(kernels()).not.toEqual(found);
    expect(kernels()).toEqual(kernels());
  });
});

describe('a convolution that begins as the identity', () => {
  test.each([
    [3, 5],
    [5, 3],
    [4, 4],
  ])('from %i to %i channels', (from, to) => {
    tf.tidy(() => {
      const fitted = fitLayers(conv('c', to, { kernel: 3, padding: 1, initial: 'dirac' }), {
        where: 'test',
        input: { kind: 'image', height: 4, width: 4, channels: from },
      });
      const x = tf.tensor4d(wave(2 * 16 * from, 1), [2, 4, 4, from]);
      const { y } = fitted.run(fitted.init(key('init')), x, { mode: 'eval' });
      const same = Math.min(from, to);
      const first = (of: tf.Tensor) => values(tf.slice(of as tf.Tensor4D, [0, 0, 0, 0], [2, 4, 4, same]));
      expect(first(y)).toEqual(first(x));
    });
  });
});
