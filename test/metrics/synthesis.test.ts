import { describe, expect, test } from 'vitest';
import {
  type Bytes,
  batchNormDistances,
  classBalance,
  classHistogram,
  clippedShare,
  diagnosticsOf,
  diversity,
  imageMetrics,
  meanConfidence,
  meanVariation,
  nearestTraining,
  variation,
  verifierAccuracy,
} from '../../src/metrics/synthesis.js';
import type { Logits } from '../../src/train/logits.js';

/** Rows that are surely of these classes. */
const sure = (labels: readonly number[], classes: number): Logits => ({
  values: Float32Array.from(
    labels.flatMap((label) => Array.from({ length: classes }, (_, k) => (k === label ? 9 : 0))),
  ),
  classes,
});
/** Rows whose largest probability, of two, is so large. */
const of = (shares: readonly number[]): Logits => ({
  values: Float32Array.from(shares.flatMap((share) => [Math.log(share), Math.log(1 - share)])),
  classes: 2,
});
/** Images of the same size, each of one grey. */
const plain = (greys: readonly number[], size = 4): Bytes => ({
  images: Uint8Array.from(greys.flatMap((grey) => Array<number>(size).fill(grey))),
  size,
});
const times = <T>(count: number, value: T): T[] => Array<T>(count).fill(value);

describe('the classes of synthesised images', () => {
  const names = ['cat', 'dog', 'owl', 'eel'];
  const histogram = (counts: readonly number[]) =>
    classHistogram(
      sure(
        counts.flatMap((count, label) => times(count, label)),
        4,
      ),
      names,
    );

  test('are counted by what the victim takes the images for', () => {
    expect(histogram([3, 2, 3, 2])).toEqual({
      value: [3, 2, 3, 2],
      of: names,
      sentence: 'the victim sees 4 of 4 classes, most often cat (30.0 %)',
      warning: false,
    });
  });

  test('have collapsed when one class has more than half of the images', () => {
    expect(histogram([1, 2, 1, 0]).warning).toBe(false);
    expect(histogram([1, 3, 1, 0])).toMatchObject({
      sentence: 'collapsed: the victim takes 60.0 % of the images for dog',
      warning: true,
    });
  });

  test('are balanced by the entropy of their shares, over that of even ones', () => {
    const balance = (counts: readonly number[]) =>
      classBalance(
        sure(
          counts.flatMap((count, label) => times(count, label)),
          4,
        ),
      );
    expect(balance([3, 3, 3, 3])).toEqual({
      value: expect.closeTo(1, 12),
      sentence: 'the classes that the victim sees are 100.0 % balanced',
      warning: false,
    });
    // Two of four classes alike: ln 2 / ln 4. Too few, once there are twice as many images as classes.
    expect(balance([2, 2, 0, 0])).toMatchObject({ value: expect.closeTo(0.5, 12), warning: false });
    expect(balance([4, 4, 0, 0])).toMatchObject({
      sentence: 'the classes that the victim sees are 50.0 % balanced: the images have collapsed into few of them',
      warning: true,
    });
    expect(balance([4, 4, 0, 0]).value).toBeCloseTo(0.5, 12);
    // Three alike: ln 3 / ln 4 = 0.79. With the third half as often: 1.05 / ln 4 = 0.76; and a sixth: 0.70.
    expect(balance([3, 3, 3, 0])).toMatchObject({ value: expect.closeTo(Math.log(3) / Math.log(4), 12) });
    expect(balance([4, 4, 2, 0]).warning).toBe(false);
    expect(balance([6, 6, 1, 0]).warning).toBe(true);
    // One class alone, or none at all.
    expect(balance([9, 0, 0, 0])).toMatchObject({ value: 0, warning: true });
    expect(classBalance({ values: Float32Array.of(Number.NaN, 0), classes: 2 }).value).toBe(0);
  });

  test('count an image of which the victim says nothing for none', () => {
    const { values } = sure([0, 1, 2, 3], 4);
    values[5] = Number.NaN;
    expect(classHistogram({ values, classes: 4 }, names)).toMatchObject({ value: [1, 0, 1, 1] });
  });
});

test('the victim’s confidence is the mean of its largest probabilities, and too little below a half', () => {
  const three = (rows: readonly (readonly number[])[]): Logits => ({
    values: Float32Array.from(rows.flat().map(Math.log)),
    classes: 3,
  });
  expect(meanConfidence(of([0.9, 0.3]))).toEqual({
    value: expect.closeTo(0.8, 6),
    sentence: 'the victim is 80.0 % sure on average',
    warning: false,
  });
  const even = [1 / 3, 1 / 3, 1 / 3];
  expect(meanConfidence(three([even, [0.1, 0.69, 0.21]])).warning).toBe(false);
  expect(meanConfidence(three([even, [0.1, 0.65, 0.25]]))).toMatchObject({
    value: expect.closeTo((1 / 3 + 0.65) / 2, 6),
    sentence: 'the victim is 49.2 % sure on average: its answers teach little',
    warning: true,
  });
});

test('a verifier’s accuracy is the share of the images that it takes for their class, and too little below a half', () => {
  const verifier = sure([0, 1, 2, 0], 3);
  expect(verifierAccuracy(verifier, [0, 1, 2, 1])).toMatchObject({ value: 0.75 });
  expect(verifierAccuracy(verifier, [0, 1, 0, 1])).toEqual({
    value: 0.5,
    sentence: 'another net, trained on real images, agrees on the class of 50.0 %',
    warning: false,
  });
  expect(verifierAccuracy(verifier, [0, 2, 0, 1])).toEqual({
    value: 0.25,
    sentence:
      'another net, trained on real images, agrees on the class of 25.0 %: what the victim sees in them is its own',
    warning: true,
  });
});

test('the distance of batch norms is that of real images or a few times it, and far at more than ten times', () => {
  expect(batchNormDistances({ bn1: 3, bn2: 1 }, { bn1: 1, bn2: 1 })).toEqual({
    value: [3, 1],
    of: ['bn1', 'bn2'],
    sentence: 'statistics of 2 batch norms are off by 4.00, 2.0 times as much as those of real images',
    warning: false,
  });
  expect(batchNormDistances({ bn1: 10 }, { bn1: 1 }).warning).toBe(false);
  expect(batchNormDistances({ bn1: 10.01 }, { bn1: 1 })).toMatchObject({ value: [10.01], warning: true });
});

describe('diversity', () => {
  test('is the mean distance of two images, in shares of white', () => {
    // 0 and 51, 0 and 102, 51 and 102: 0.2, 0.4 and 0.2.
    expect(diversity(plain([0, 51, 102]), plain([0, 51]))).toEqual({
      value: expect.closeTo(0.8 / 3, 12),
      sentence: 'two images differ by 0.27 on average, two real ones by 0.20',
      warning: false,
    });
    // The root of the mean square: half of the pixels differ by 1.
    const halves = { images: Uint8Array.of(0, 0, 0, 255), size: 2 };
    expect(diversity(halves, halves).value).toBeCloseTo(Math.SQRT1_2, 12);
  });

  test('is too little under a quarter of that of real images', () => {
    const real = plain([0, 200]);
    expect(diversity(plain([0, 50]), real).warning).toBe(false);
    expect(diversity(plain([0, 49]), real)).toMatchObject({
      value: 49 / 255,
      sentence: 'two images differ by 0.19 on average, two real ones by 0.78: they are all alike',
      warning: true,
    });
  });

  test('is that of the first hundred, and of a single image 0', () => {
    const alike = times(100, 7);
    expect(diversity(plain([...alike, 255]), plain([...alike, 0])).value).toBe(0);
    expect(diversity(plain([...alike.slice(1), 255]), plain([0, 1])).value).toBeGreaterThan(0);
    expect(diversity(plain([7]), plain([9]))).toMatchObject({ value: 0, warning: false });
  });
});

describe('total variation', () => {
  test('is the mean difference of neighbours to the right and below, within an image and a channel', () => {
    // Two grey images of 2×3: four neighbours to the right and three below each.
    const images = Uint8Array.of(0, 51, 0, 0, 51, 0, 255, 255, 255, 0, 0, 0);
    expect(meanVariation({ images, size: 6 }, 3, 1)).toBeCloseTo((4 * 0.2 + 3 * 1) / 14, 12);
    // An image of 1×2 in colour: each channel by itself.
    expect(meanVariation({ images: Uint8Array.of(0, 100, 200, 51, 100, 251), size: 6 }, 2, 3)).toBeCloseTo(0.4 / 3, 12);
    expect(meanVariation({ images: Uint8Array.of(0, 255), size: 1 }, 1, 1)).toBe(0);
  });

  test('is told beside that of real images, and warns of nothing', () => {
    expect(variation(0.123, 0.045)).toEqual({
      value: 0.123,
      sentence: 'neighbouring pixels differ by 0.12 on average, in real images by 0.045',
      warning: false,
    });
  });
});

describe('the nearest training image', () => {
  const train = plain([100, 200]);

  test('is as far away as it is, on average', () => {
    expect(nearestTraining(plain([0, 151, 255]), train)).toEqual({
      value: expect.closeTo((100 + 49 + 55) / 3 / 255, 12),
      sentence: 'the nearest training image is 0.27 away on average',
      warning: false,
    });
  });

  test('that hardly differs makes an image a copy', () => {
    // 5 of 255 are less than two hundredths, and 6 more.
    expect(nearestTraining(plain([106, 194, 0]), train).warning).toBe(false);
    expect(nearestTraining(plain([105, 194, 200]), train)).toMatchObject({
      sentence: expect.stringMatching(/; 2 of 3 images are copies of one$/),
      warning: true,
    });
  });

  test('is looked for for the first twenty images', () => {
    const far = times(20, 0);
    expect(nearestTraining(plain([...far, 100]), train).warning).toBe(false);
    expect(nearestTraining(plain([...far.slice(1), 100]), train).warning).toBe(true);
  });
});

test('values that a byte cannot hold are too many above a tenth', () => {
  expect(clippedShare(0.1)).toEqual({
    value: 0.1,
    sentence: '10.0 % of the values were darker than black or brighter than white, and clipped',
    warning: false,
  });
  expect(clippedShare(0.101).warning).toBe(true);
});

describe('the table of what is looked at in synthesised images', () => {
  const synthesis = {
    victim: sure([0, 1], 2),
    verifier: sure([0, 0], 2),
    labels: [0, 1],
    classes: ['cat', 'dog'],
    made: plain([0, 255]),
    real: plain([0, 100]),
    train: plain([0, 100]),
    shape: { width: 2, channels: 1 },
    clipped: 0.5,
  };

  test('has each number with what it is, but for those that do not apply', () => {
    const found = diagnosticsOf({ ...synthesis, distances: { made: { bn: 1 }, real: { bn: 1 } } });
    expect(found.map(({ name }) => name)).toEqual(imageMetrics.map(({ name }) => name));
    expect(found.find(({ name }) => name === 'balance')).toMatchObject({ value: 1, unit: 'share', better: 'higher' });
    expect(found.find(({ name }) => name === 'verifier accuracy')?.value).toBe(0.5);
    expect(found.find(({ name }) => name === 'clipped')?.warning).toBe(true);
    for (const one of found) expect(JSON.parse(JSON.stringify(one))).toEqual(one);
    expect(diagnosticsOf(synthesis).map(({ name }) => name)).not.toContain('batch-norm distance');
  });

  test('says in a sentence what each number is', () => {
    for (const { name, describe: sentence } of imageMetrics) expect(sentence, name).toMatch(/^[A-Z].{20,}\.$/);
    expect(new Set(imageMetrics.map(({ name }) => name)).size).toBe(imageMetrics.length);
  });
});
