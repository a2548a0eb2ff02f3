import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { loadEngine } from '../../src/engine/engine.js';
import { normalise } from '../../src/train/images.js';
import { picturesOf } from '../../src/train/pictures.js';

beforeAll(async () => {
  await loadEngine();
});

const constants = {
  1: { mean: [0.1307], std: [0.3081] },
  3: { mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.243, 0.261] },
} as const;

describe.each([1, 3] as const)('images of %i channels', (channels) => {
  test('come back from normalised space to the byte', () => {
    const every = fc.uint8Array({ minLength: 24 * channels, maxLength: 24 * channels });
    fc.assert(
      fc.property(every, (bytes) => {
        const normalised = tf.tidy(() =>
          normalise(tf.tensor4d(Float32Array.from(bytes), [2, 3, 4, channels]), constants[channels]),
        );
        const pictures = picturesOf(normalised, constants[channels]);
        normalised.dispose();
        expect([...pictures.images]).toEqual([...bytes]);
        expect(pictures).toMatchObject({ shape: { height: 3, width: 4, channels }, clipped: 0 });
      }),
      { numRuns: 30 },
    );
  });

  test('are clipped where a byte holds no such value, and their share is told', () => {
    const { mean, std } = constants[channels];
    const values = [-0.01, 0, 1, 1.01].flatMap((pixel) => mean.map((m, c) => (pixel - m) / (std[c] as number)));
    const images = tf.tensor4d(values, [1, 1, 4, channels]);
    const { images: bytes, clipped } = picturesOf(images, constants[channels]);
    images.dispose();
    expect([...bytes]).toEqual([0, 0, 255, 255].flatMap((byte) => Array(channels).fill(byte)));
    expect(clipped).toBe(0.5);
  });
});
