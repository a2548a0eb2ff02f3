import { describe, expect, it } from 'vitest';
import { key } from '../../src/core/random.js';
import { type Batch, evaluationBatches, trainingBatches } from '../../src/data/batches.js';
import type { Examples } from '../../src/data/dataset.js';
import { refusal } from '../failures.js';

const image = { height: 2, width: 1, channels: 3 };

/** Image i has i in its first byte and 255 − i in its last. */
const examplesOf = (count: number): Examples => ({
  images: Uint8Array.from({ length: count * 6 }, (_, i) => (i % 6 === 0 ? i / 6 : i % 6 === 5 ? 255 - (i - 5) / 6 : 9)),
  labels: Uint8Array.from({ length: count }, (_, i) => i % 10),
  count,
});

const firstBytes = ({ images, count }: Batch): number[] =>
  Array.from({ length: count }, (_, i) => images[i * 6] as number);

describe('training batches', () => {
  const examples = examplesOf(70);
  const batches = trainingBatches(examples, image, { batchSize: 32, key: key('train') });

  it('hold every image once an epoch, with its label, raw', () => {
    const epoch = [...batches.epoch(0)];
    expect(epoch.map(({ count }) => count)).toEqual([32, 32, 6]);
    expect(epoch.flatMap(firstBytes).sort((a, b) => a - b)).toEqual([...Array(70).keys()]);
    for (const batch of epoch) {
      expect(batch.images.length).toBe(batch.count * 6);
      firstBytes(batch).forEach((i, row) => {
        expect(batch.labels[row]).toBe(i % 10);
        expect(batch.images[row * 6 + 5]).toBe(255 - i);
      });
    }
  });

  it('come in another order each epoch, by the key alone', () => {
    const [a, b] = [0, 1].map((epoch) => [...batches.epoch(epoch)].flatMap(firstBytes));
    expect(a).not.toEqual(b);
    const again = trainingBatches(examples, image, { batchSize: 32, key: key('train') });
    expect([...again.epoch(1)].flatMap(firstBytes)).toEqual(b);
    const other = trainingBatches(examples, image, { batchSize: 32, key: key('other') });
    expect([...other.epoch(0)].flatMap(firstBytes)).not.toEqual(a);
  });

  it('can be had out of order', () => {
    const inOrder = [...batches.epoch(0), ...batches.epoch(1), ...batches.epoch(2)];
    const fresh = trainingBatches(examples, image, { batchSize: 32, key: key('train') });
    for (const step of [8, 0, 4, 7, 1]) expect(fresh.at(step)).toEqual(inOrder[step]);
    expect([...fresh.indices(2, 2)]).toEqual(firstBytes(inOrder[8] as Batch));
    expect(() => fresh.batch(0, 3)).toThrow(RangeError);
  });

  it('stay as they are when the next one is made', () => {
    const first = batches.batch(0, 0);
    const copy = first.images.slice();
    batches.batch(0, 1);
    expect(first.images).toEqual(copy);
  });

  it('drop a last batch of one image, and only that', () => {
    const sizes = (count: number) =>
      [...trainingBatches(examplesOf(count), image, { batchSize: 32, key: key('a') }).epoch(0)].map(
        ({ count }) => count,
      );
    expect(sizes(65)).toEqual([32, 32]);
    expect(sizes(66)).toEqual([32, 32, 2]);
    expect(sizes(64)).toEqual([32, 32]);
    expect(trainingBatches(examplesOf(65), image, { batchSize: 32, key: key('a') }).count).toBe(64);
  });

  it('use the given images only', () => {
    const indices = Int32Array.from([3, 5, 8, 13]);
    const some = trainingBatches(examples, image, { batchSize: 2, key: key('a'), indices });
    expect([...some.epoch(0)].flatMap(firstBytes).sort((a, b) => a - b)).toEqual([3, 5, 8, 13]);
    expect(() =>
      trainingBatches(examples, image, { batchSize: 2, key: key('a'), indices: Int32Array.of(70, 1) }),
    ).toThrow('image 70 of 70 does not exist');
  });

  it('refuse a batch size of 1, a broken one, and one larger than the data', () => {
    for (const batchSize of [1, 0, 2.5, Number.NaN]) {
      expect(refusal(() => trainingBatches(examples, image, { batchSize, key: key('a') }))).toMatchObject({
        kind: 'experiment',
        where: `batchSize: ${batchSize}`,
        what: 'a training batch is a whole number of at least 2 images',
      });
    }
    expect(refusal(() => trainingBatches(examples, image, { batchSize: 71, key: key('a') })).what).toBe(
      'a batch of 71 is larger than the training data, 70 images',
    );
  });
});

describe('evaluation batches', () => {
  it('keep the order and the last batch, whatever its size', () => {
    const batches = evaluationBatches(examplesOf(33), image, { batchSize: 16 });
    expect([...batches.epoch(0)].map(({ count }) => count)).toEqual([16, 16, 1]);
    expect([...batches.epoch(0)].flatMap(firstBytes)).toEqual([...Array(33).keys()]);
    expect(batches.perEpoch).toBe(3);
  });

  it('may be larger than the data', () => {
    const batches = evaluationBatches(examplesOf(5), image, { batchSize: 16, indices: Int32Array.of(4, 2) });
    expect([...batches.epoch(0)].map(firstBytes)).toEqual([[4, 2]]);
  });
});
