import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { AnyAttack, Ownership } from '../../src/attacks/attack.js';
import { kd } from '../../src/attacks/kd.js';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import type { Dataset } from '../../src/data/dataset.js';
import { resizeBilinear } from '../../src/data/resize.js';
import { loadEngine } from '../../src/engine/engine.js';
import {
  allImages,
  countInUse,
  type DataInUse,
  dataFor,
  evaluationSets,
  ownedImages,
  stepsPerPass,
  type TrainingSet,
} from '../../src/experiment/data-access.js';
import { type ImageSet, imageSource } from '../../src/train/images.js';
import { dataOf, learnerOf, thirds } from '../run/helpers.js';
import { opened } from '../train/bench.js';

beforeAll(async () => {
  await loadEngine();
});

const data = thirds({ train: 300, test: 30 });
const inUse = (changes: Partial<DataInUse['experiment']> = {}): DataInUse => ({
  data,
  experiment: { fraction: 1, validation: 0.1, report: 'test', ...changes },
});
const part = (fraction: number, how: 'stratified' | 'shuffled' = 'stratified'): Ownership => ({
  kind: 'labelled',
  fraction,
  how,
});
const indices = (set: ImageSet | undefined): Set<number> => new Set(set?.indices);
const everything = ({ train, validation }: TrainingSet): number[] => [...train.indices, ...(validation?.indices ?? [])];
const within = (small: Set<number>, large: Set<number>): boolean => [...small].every((each) => large.has(each));

/** What an attack that declares this is handed; read as if it declared everything. */
const handed = (owned: Ownership, of = inUse(), seed = 0): Partial<TrainingSet> =>
  dataFor({ ...kd(), data: owned } as AnyAttack, ownedImages(of, owned, seed)) as Partial<TrainingSet>;

/** Large enough that some of 30 held-out images are in it. */
const fraction = fc.integer({ min: 5, max: 100 }).map((percent) => percent / 100);
const how = fc.constantFrom('stratified' as const, 'shuffled' as const);
const seed = fc.nat({ max: 20 });

describe('the images in use', () => {
  test('are all but those held out, each once', () => {
    const all = allImages(inUse());
    expect([all.train.indices.length, all.validation?.indices.length]).toEqual([270, 30]);
    expect(new Set(everything(all)).size).toBe(300);
  });

  test('are a share of them, stratified, for every stage and seed', () => {
    const all = allImages(inUse({ fraction: 0.5 }));
    expect([all.train.indices.length, all.validation?.indices.length]).toEqual([135, 15]);
    const classes = Array.from(everything(all), (index) => data.train.labels[index]);
    expect([0, 1, 2].map((label) => classes.filter((each) => each === label).length)).toEqual([50, 50, 50]);
    expect(within(indices(all.train), indices(allImages(inUse()).train))).toBe(false);
    expect(everything(allImages(inUse({ fraction: 0.5 })))).toEqual(everything(all));
  });

  test('are as many as is said before they are chosen', () => {
    fc.assert(
      fc.property(fraction, fc.integer({ min: 0, max: 90 }), (used, held) => {
        const of = inUse({ fraction: used, validation: held / 100 });
        const counts = countInUse(data.train.count, of.experiment);
        fc.pre(held === 0 || counts.validation > 0);
        const { train, validation } = allImages(of);
        expect(counts).toEqual({ train: train.indices.length, validation: validation?.indices.length ?? 0 });
      }),
    );
  });

  test('may all be for training', () => {
    const all = allImages(inUse({ validation: 0 }));
    expect(all.validation).toBeUndefined();
    expect(all.train.indices.length).toBe(300);
  });

  test('are augmented for training and never when held out', () => {
    const { train, validation } = allImages(inUse());
    expect(train.augmentation).toEqual({ crop: 0, flip: true });
    expect(validation?.augmentation).toEqual({ crop: 0, flip: false });
    for (const set of Object.values(evaluationSets(inUse())))
      expect(set.augmentation).toEqual({ crop: 0, flip: false });
  });
});

describe('a share of them', () => {
  test("is nested, lies within the victim's training images, and never touches the victim's held-out ones", () => {
    fc.assert(
      fc.property(fraction, fraction, how, seed, fc.constantFrom(1, 0.5), (a, b, way, of, used) => {
        const images = inUse({ fraction: used });
        const [small, large] = [Math.min(a, b), Math.max(a, b)].map((each) => ownedImages(images, part(each, way), of));
        const all = allImages(images);
        expect(within(indices(small?.train), indices(large?.train))).toBe(true);
        expect(within(indices(small?.validation), indices(large?.validation))).toBe(true);
        expect(within(indices(large?.train), indices(all.train))).toBe(true);
        expect(within(indices(large?.validation), indices(all.validation))).toBe(true);
        expect(large?.train.indices.length).toBe(Math.floor(Number((Math.max(a, b) * 270 * used).toPrecision(12))));
      }),
      { numRuns: 60 },
    );
  });

  test('depends on the seed and the way of choosing', () => {
    const chosen = (of: number, way: 'stratified' | 'shuffled') =>
      [...ownedImages(inUse(), part(0.5, way), of).train.indices].join();
    expect(new Set([chosen(0, 'stratified'), chosen(1, 'stratified'), chosen(0, 'shuffled')]).size).toBe(3);
    expect(chosen(0, 'shuffled')).toBe(chosen(0, 'shuffled'));
  });

  test('of a few held-out images may be none of them: then there is no validation', () => {
    const few = ownedImages(inUse({ validation: 0.02 }), part(0.1), 0);
    expect(few.validation).toBeUndefined();
    expect(few.train.indices.length).toBe(29);
  });
});

describe('what an attack is handed', () => {
  /** The images of a set as text, in its order. */
  const pictures = ({ examples, indices: own, shape }: ImageSet): string[] => {
    const size = shape.height * shape.width * shape.channels;
    return Array.from(own, (index) => examples.images.slice(index * size, (index + 1) * size).join());
  };

  test('is the images it owns in their order with their labels, and no others beside them', () => {
    fc.assert(
      fc.property(fraction, how, seed, (share, way, of) => {
        const owned = ownedImages(inUse(), part(share, way), of);
        const { train, validation } = handed(part(share, way), inUse(), of);
        for (const [set, from] of [
          [train, owned.train],
          [validation, owned.validation],
        ] as const) {
          if (set === undefined || from === undefined) throw new Error('a set is missing');
          expect(set.indices.length).toBeGreaterThan(0);
          expect(set.examples.count).toBe(from.indices.length);
          expect(set.examples.images.length).toBe(from.indices.length * 16);
          expect(pictures(set)).toEqual(pictures(from));
          expect(Array.from(set.examples.labels)).toEqual(Array.from(from.indices, (i) => data.train.labels[i]));
        }
        expect(pictures(train as ImageSet).some((each) => pictures(validation as ImageSet).includes(each))).toBe(false);
      }),
      { numRuns: 30 },
    );
  });

  test('is nothing when it declared nothing', () => {
    expect(handed({ kind: 'none' })).toEqual({});
  });

  test('has no labels anywhere when it declared none, and nothing held out', () => {
    const { train, ...rest } = handed({ kind: 'unlabelled', fraction: 0.5, how: 'stratified' });
    expect(rest).toEqual({});
    expect(Object.keys(train?.examples ?? {}).sort()).toEqual(['count', 'images']);
    expect(train?.labelled).toBe(false);
    expect(train?.indices.length).toBe(135);
  });

  test('makes the same batches as the images where they lie', () => {
    const owned = ownedImages(inUse(), part(0.5), 3);
    const { train } = handed(part(0.5), inUse(), 3);
    const batches = (set: ImageSet) => {
      const source = imageSource(set, { batch: 16, key: key('batches'), resident: false });
      return Array.from({ length: source.steps }, (_, step) => {
        const { batch, images } = opened(source, step);
        const text = [batch.images.dataSync().join(), batch.labels.dataSync().join(), images];
        dispose(batch);
        return text;
      });
    };
    expect(batches(train as ImageSet)).toEqual(batches(owned.train));
  });
});

describe('out-of-distribution images', () => {
  const grey = thirds({ train: 30, test: 6 });
  /** Coloured images of 2×2, as if at random, beside which the labels mean nothing. */
  const coloured: Dataset = {
    ...thirds({ train: 5, test: 5 }),
    image: { height: 2, width: 2, channels: 3 },
    normalisation: { mean: [0.1, 0.2, 0.3], std: [1, 1, 1] },
    augmentation: { crop: 1, flip: false },
    train: {
      images: Uint8Array.from({ length: 5 * 12 }, (_, i) => (Math.imul(i + 1, 0x9e3779b1) >>> 16) % 256),
      labels: Uint8Array.of(9, 9, 9, 9, 9),
      count: 5,
    },
  };
  const handedOf = (victim: Dataset, other: Dataset): Partial<TrainingSet> => {
    const images = dataOf(other);
    const of: DataInUse = { ...inUse(), data: victim, others: new Map([[images, other]]) };
    return handed({ kind: 'other', images }, of);
  };

  test('are all of the other training images in their order, without labels, and nothing held out', () => {
    const { train, ...rest } = handedOf(data, grey);
    expect(rest).toEqual({});
    expect(train?.labelled).toBe(false);
    expect(Object.keys(train?.examples ?? {}).sort()).toEqual(['count', 'images']);
    expect(train?.examples.images).toEqual(grey.train.images);
    expect(Array.from(train?.indices ?? [])).toEqual(Array.from({ length: 30 }, (_, i) => i));
    expect(train?.examples.count).toBe(30);
  });

  test('come in the size, the normalisation and with the changes of the victim’s', () => {
    const { train } = handedOf(coloured, grey);
    expect(train?.shape).toEqual(coloured.image);
    expect(train?.normalisation).toEqual(coloured.normalisation);
    expect(train?.augmentation).toEqual(coloured.augmentation);
  });

  test('become coloured, each channel alike', () => {
    const { train } = handedOf(coloured, grey);
    const small = resizeBilinear(grey.train.images.slice(), grey.image, coloured.image);
    expect(small.length).toBe(30 * 4);
    expect(Array.from(train?.examples.images.slice() ?? [])).toEqual(
      Array.from(small).flatMap((pixel) => [pixel, pixel, pixel]),
    );
  });

  test('become grey by their luma, at the victim’s size', () => {
    const { train } = handedOf(grey, coloured);
    const large = resizeBilinear(coloured.train.images.slice(), coloured.image, grey.image);
    const luma = Array.from({ length: 5 * 16 }, (_, i) => {
      const [red, green, blue] = large.subarray(3 * i, 3 * i + 3);
      return Math.round(0.299 * (red as number) + 0.587 * (green as number) + 0.114 * (blue as number));
    });
    expect(Array.from(train?.examples.images.slice() ?? [])).toEqual(luma);
    expect(train?.shape).toEqual(grey.image);
    // White stays white, and green is brighter than blue.
    const pure: Dataset = {
      ...coloured,
      image: { height: 1, width: 4, channels: 3 },
      train: {
        images: Uint8Array.of(255, 255, 255, 0, 255, 0, 0, 0, 255, 255, 0, 0),
        labels: Uint8Array.of(0),
        count: 1,
      },
    };
    const victim: Dataset = { ...grey, image: { height: 1, width: 4, channels: 1 } };
    expect(Array.from(handedOf(victim, pure).train?.examples.images.slice() ?? [])).toEqual([255, 150, 29, 76]);
  });

  test('make batches without labels', () => {
    const { train } = handedOf(grey, coloured);
    const source = imageSource(train as ImageSet, { batch: 2, key: key('batches'), resident: false });
    const { batch } = source.at(0);
    expect(Object.keys(batch)).toEqual(['bytes']);
    dispose(batch);
  });

  test('that were not loaded are a mistake of whoever plans', () => {
    expect(() => handed({ kind: 'other', images: dataOf(grey) })).toThrow('the images of thirds were not loaded');
  });
});

describe('what models are evaluated on', () => {
  test('is the test images and those held out from training', () => {
    const sets = evaluationSets(inUse());
    expect(Object.keys(sets)).toEqual(['test', 'validation']);
    expect(sets.test?.examples).toBe(data.test);
    expect(sets.test?.indices.length).toBe(30);
    expect(sets.validation?.indices).toEqual(allImages(inUse()).validation?.indices);
  });

  test('is not the test images while settings are chosen', () => {
    expect(Object.keys(evaluationSets(inUse({ report: 'validation' })))).toEqual(['validation']);
    expect(Object.keys(evaluationSets(inUse({ validation: 0 })))).toEqual(['test']);
  });
});

test('steps of one pass are counted as batches are made', () => {
  fc.assert(
    fc.property(fraction, fc.integer({ min: 2, max: 14 }), (share, batch) => {
      const { train } = ownedImages(inUse(), part(share), 0);
      fc.pre(batch <= train.indices.length);
      expect(stepsPerPass(train, learnerOf(undefined, { batch }))).toBe(
        imageSource(train, { batch, key: key('a') }).steps,
      );
    }),
  );
});
