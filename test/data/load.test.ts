import { describe, expect, test } from 'vitest';
import type { Dataset } from '../../src/data/dataset.js';
import { load } from '../../src/data/load.js';
import { dataOf, thirds } from '../run/helpers.js';
import { failureOf } from '../train/bench.js';

const sound = thirds({ train: 30, test: 6 });

const failed = (changes: Partial<Dataset>) => failureOf(load(dataOf({ ...sound, ...changes })));

test('a data set of one’s own is what its load gives', async () => {
  expect(await load(dataOf(sound))).toBe(sound);
});

test.each<readonly [changes: object, where: string, what: string]>([
  [{ classes: 'many' }, '', 'classes is "many"'],
  [{ image: { height: 0, width: 1, channels: 1 } }, ': image', 'height is 0'],
])('a data set of one’s own that is none is refused as data: %j', async (changes, where, what) => {
  expect(await failed(changes)).toMatchObject({ kind: 'data', where: `data: thirds: load${where}`, what });
});

describe('a data set of one’s own that contradicts itself is refused', () => {
  const { train } = sound;
  test.each<readonly [what: string, changes: Partial<Dataset>, says: string]>([
    ['no test images', { test: { ...sound.test, count: 0 } }, 'the test set has no images'],
    [
      'fewer labels',
      { train: { ...train, labels: train.labels.slice(1) } },
      `the training set has ${train.images.length} bytes of pixels and 29 labels for 30 images`,
    ],
    [
      'fewer pixels',
      { train: { ...train, images: new Uint8Array(3) } },
      'the training set has 3 bytes of pixels and 30 labels for 30 images',
    ],
    [
      'a label of no class',
      { train: { ...train, labels: train.labels.map(() => 200) } },
      'label 200 of training image 0 is out of range: there are 3 classes, 0 to 2',
    ],
    ['one class', { classes: ['a'] }, 'a data set needs at least two classes'],
    [
      'means of other channels',
      { normalisation: { mean: [0, 0, 0, 0, 0], std: [1, 1, 1, 1, 1] } },
      `normalisation has 5 means and 5 stds for ${sound.image.channels} channels`,
    ],
  ])('%s', async (_, changes, says) => {
    const failure = await failed(changes);
    expect(failure).toMatchObject({ kind: 'data', where: 'data: thirds: load' });
    expect(failure.what).toContain(says);
  });
});
