import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { trainingBatches } from '../../src/data/batches.js';
import { loadEngine } from '../../src/engine/engine.js';
import {
  byPixels,
  type ImageSet,
  imageSource,
  normalise,
  type UnlabelledBatch,
  unpacked,
} from '../../src/train/images.js';
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

describe.each([false, true])('stored answers (on the device: %s)', (resident) => {
  // Image i is the byte 10 i, and its answer is (i, −i).
  const set = (indices: readonly number[], answered: number): ImageSet<UnlabelledBatch> => ({
    examples: { images: Uint8Array.from({ length: 8 }, (_, i) => 10 * i), count: 8 },
    indices: Int32Array.from(indices),
    shape: { height: 1, width: 1, channels: 1 },
    normalisation: constants[1],
    augmentation: { crop: 0, flip: false },
    labelled: false,
    answers: { values: Float32Array.from(indices.slice(0, answered).flatMap((i) => [i, -i])), size: 2 },
  });
  const seen = (of: ImageSet<UnlabelledBatch>) => {
    const source = imageSource(of, { batch: 2, key: key('answers'), resident });
    const found = Array.from({ length: source.steps }, (_, step) => {
      const { batch } = source.at(step);
      const pairs = tf.tidy(() => {
        const { images, answers } = unpacked<UnlabelledBatch>(source.data, batch);
        const rows = (answers as tf.Tensor2D).arraySync();
        return Array.from(images.dataSync()).map((byte, i) => [byte / 10, ...(rows[i] as number[])]);
      });
      dispose(batch);
      return pairs;
    }).flat();
    dispose(source.data);
    return found.sort(([a = 0], [b = 0]) => a - b);
  };

  test('come with the images that they are about, whichever images those are', () => {
    expect(seen(set([6, 1, 3, 4], 4))).toEqual([1, 3, 4, 6].map((i) => [i, i, -i]));
  });

  test('that ended with a budget leave out the images that were not answered', () => {
    expect(seen(set([6, 1, 3, 4], 2))).toEqual([1, 6].map((i) => [i, i, -i]));
  });
});

describe.each([false, true])('alternating flips (on the device: %s)', (resident) => {
  test('mirror each image in every other epoch, half of them in the first', () => {
    const count = 203;
    const set: ImageSet = {
      examples: { images: new Uint8Array(count * 12), labels: new Uint8Array(count), count },
      indices: Int32Array.from({ length: count }, (_, i) => i),
      shape: { height: 2, width: 2, channels: 3 },
      normalisation: { mean: [0, 0, 0], std: [1, 1, 1] },
      augmentation: { crop: 0, flip: 'alternating' },
      labelled: true,
    };
    const options = { batch: 20, key: key('flips'), resident };
    const source = imageSource(set, options);
    const places = trainingBatches(set.examples, set.shape, { batchSize: 20, key: key('flips') });
    const epochs = [0, 1, 2].map((epoch) => {
      const mirrored = new Map<number, number>();
      for (let i = 0; i < source.steps; i++) {
        const { batch } = source.at(epoch * source.steps + i);
        const told = (batch.mirrored as tf.Tensor1D).dataSync();
        places.indices(epoch, i).forEach((place, row) => {
          mirrored.set(place, told[row] as number);
        });
        dispose(batch);
      }
      return mirrored;
    });
    const [first, second, third] = epochs as [Map<number, number>, Map<number, number>, Map<number, number>];
    for (const [place, told] of first) {
      expect(second.get(place)).toBe(1 - told);
      expect(third.get(place)).toBe(told);
    }
    const share = [...first.values()].filter((told) => told === 1).length / count;
    expect(Math.abs(share - 0.5)).toBeLessThan(0.15);
    dispose(source.data);
    expect(source.identity?.('mirrored')).not.toBe(
      imageSource(set, { ...options, resident: false, key: key('other') }).identity?.('mirrored'),
    );
  });
});

describe('some images by their pixels', () => {
  /** Of one pixel, whose value is the image's number. */
  const set: ImageSet<UnlabelledBatch> = {
    examples: { images: Uint8Array.from({ length: 10 }, (_, i) => i), count: 10 },
    indices: Int32Array.from([1, 3, 5, 7, 9]),
    shape: { height: 1, width: 1, channels: 1 },
    normalisation: { mean: [0], std: [1] },
    augmentation: { crop: 0, flip: true },
    labelled: false,
  };
  const seen = async (batch: number, images?: number) => {
    const before = tf.memory().numTensors;
    const found: number[][] = [];
    const made = await byPixels(set, { batch, images, key: key('pixels') }, (pixels) => {
      found.push([...pixels.dataSync()].map((each) => Math.round(255 * each)));
      return tf.mean(pixels);
    });
    expect(made).toHaveLength(found.length);
    dispose(made);
    expect(tf.memory().numTensors).toBe(before);
    return found;
  };

  test('has each once, in batches of which the last is smaller', async () => {
    const found = await seen(2);
    expect(found.map(({ length }) => length)).toEqual([2, 2, 1]);
    expect(found.flat().sort()).toEqual([1, 3, 5, 7, 9]);
    expect(found.flat()).not.toEqual([1, 3, 5, 7, 9]);
  });

  test.each([
    [1, 3, [1, 1, 1]],
    [500, 1, [1]],
    [4, 100, [4, 1]],
  ])('batches of %i of %i images', async (batch, images, sizes) => {
    expect((await seen(batch, images)).map(({ length }) => length)).toEqual(sizes);
  });

  test('frees what it made where a later batch fails', async () => {
    const before = tf.memory().numTensors;
    let batches = 0;
    const failing = byPixels(set, { batch: 2, key: key('pixels') }, (pixels) => {
      batches += 1;
      if (batches === 2) throw new Error('no');
      return tf.mean(pixels);
    });
    await expect(failing).rejects.toThrow('no');
    expect(tf.memory().numTensors).toBe(before);
  });
});
