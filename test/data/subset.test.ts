import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { key } from '../../src/core/random.js';
import { sample, split, subset } from '../../src/data/subset.js';
import { refusal } from '../failures.js';

const counts = (labels: ArrayLike<number>, indices: Int32Array): number[] => {
  const result: number[] = [];
  for (const index of indices) {
    const label = labels[index] as number;
    result[label] = (result[label] ?? 0) + 1;
  }
  return Array.from(result, (count) => count ?? 0);
};

const anyLabels = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 300 });
const how = fc.constantFrom('stratified' as const, 'shuffled' as const);

describe('subset', () => {
  it('has ⌊p·N⌋ different images, and lies in every larger one of the same seed', () => {
    fc.assert(
      fc.property(
        anyLabels,
        how,
        fc.integer(),
        fc.integer({ min: 1, max: 100 }),
        fc.integer({ min: 1, max: 100 }),
        (labels, how, seed, p, q) => {
          const [small, large] = [Math.min(p, q), Math.max(p, q)];
          fc.pre(Math.floor((small * labels.length) / 100) > 0);
          const part = subset(labels, { fraction: small / 100, how, seed });
          const more = subset(labels, { fraction: large / 100, how, seed });
          expect(part.length).toBe(Math.floor((small * labels.length) / 100));
          expect(more.length).toBe(Math.floor((large * labels.length) / 100));
          expect(new Set(more).size).toBe(more.length);
          expect([...more.slice(0, part.length)]).toEqual([...part]);
        },
      ),
    );
  });

  it('gives each class its share, rounded up or down, when stratified', () => {
    fc.assert(
      fc.property(anyLabels, fc.integer(), fc.integer({ min: 1, max: 100 }), (labels, seed, p) => {
        const size = Math.floor((p * labels.length) / 100);
        fc.pre(size > 0);
        const all = counts(
          labels,
          Int32Array.from(labels, (_, i) => i),
        );
        const part = counts(labels, subset(labels, { fraction: p / 100, how: 'stratified', seed }));
        all.forEach((count, label) => {
          expect(Math.abs((part[label] ?? 0) - (count * size) / labels.length)).toBeLessThan(1);
        });
      }),
    );
  });

  it('is exactly balanced on balanced data', () => {
    const labels = Uint8Array.from({ length: 50_000 }, (_, i) => i % 10);
    expect(counts(labels, subset(labels, { fraction: 0.1, how: 'stratified', seed: 1 }))).toEqual(
      new Array(10).fill(500),
    );
    const shuffled = subset(labels, { fraction: 0.1, how: 'shuffled', seed: 1 });
    expect(shuffled.length).toBe(5000);
    expect(new Set(counts(labels, shuffled)).size).toBeGreaterThan(1);
  });

  it('is another one for another seed and the same one for the same', () => {
    const labels = Uint8Array.from({ length: 1000 }, (_, i) => i % 10);
    for (const how of ['stratified', 'shuffled'] as const) {
      const [a, b, c] = [7, 7, 8].map((seed) => [...subset(labels, { fraction: 0.2, how, seed })]);
      expect(a).toEqual(b);
      expect(a).not.toEqual(c);
    }
  });

  it('takes all for a fraction of 1, and decimal fractions at their word', () => {
    const labels = new Uint8Array(100);
    expect([...subset(labels, { fraction: 1, how: 'stratified', seed: 0 })].sort((a, b) => a - b)).toEqual([
      ...Array(100).keys(),
    ]);
    expect(subset(labels, { fraction: 0.29, how: 'shuffled', seed: 0 }).length).toBe(29);
  });

  it('chooses among given images only', () => {
    const labels = Uint8Array.from({ length: 100 }, (_, i) => i % 2);
    const among = Int32Array.from({ length: 50 }, (_, i) => 2 * i);
    for (const how of ['stratified', 'shuffled'] as const) {
      const part = subset(labels, { fraction: 0.5, how, seed: 3, among });
      expect(part.length).toBe(25);
      expect(part.every((index) => index % 2 === 0)).toBe(true);
    }
  });

  it.each([0, -0.1, 1.01, Number.NaN, Number.POSITIVE_INFINITY])('refuses a fraction of %s', (fraction) => {
    expect(refusal(() => subset([0, 1], { fraction, how: 'shuffled', seed: 0 }))).toMatchObject({
      kind: 'experiment',
      where: `fraction: ${fraction}`,
      what: 'a fraction of the data is greater than 0 and at most 1',
    });
  });

  it('refuses a subset without images', () => {
    expect(refusal(() => subset([0, 1, 0], { fraction: 0.3, how: 'stratified', seed: 0 })).what).toBe(
      'a share of 0.3 of 3 images is no image',
    );
  });
});

describe('sample', () => {
  it('has so many of the images in their order, of all classes where these come one after the other', () => {
    const indices = Int32Array.from({ length: 1000 }, (_, i) => 2 * i);
    const some = sample(indices, 100, key('a'));
    expect(some).toHaveLength(100);
    expect([...some]).toEqual([...new Set(some)].sort((a, b) => a - b));
    expect(some.every((index) => indices.includes(index))).toBe(true);
    expect(new Set(Array.from(some, (index) => Math.floor(index / 200)))).toHaveLength(10);
    expect(sample(indices, 100, key('a'))).toEqual(some);
    expect(sample(indices, 100, key('b'))).not.toEqual(some);
  });

  it('has all where there are no more', () => {
    expect(sample(Int32Array.of(3, 5, 9), 5000, key('a'))).toEqual(Int32Array.of(3, 5, 9));
  });
});

describe('split', () => {
  it('parts the images in two, stratified, by the key alone', () => {
    fc.assert(
      fc.property(anyLabels, fc.string(), fc.integer({ min: 0, max: 99 }), (labels, path, p) => {
        const held = Math.floor((p * labels.length) / 100);
        fc.pre(p === 0 || held > 0);
        const { train, validation } = split(labels, p / 100, key(path));
        expect(validation.length).toBe(held);
        expect([...train, ...validation].sort((a, b) => a - b)).toEqual([...labels.keys()]);
        const part = counts(labels, validation);
        counts(
          labels,
          Int32Array.from(labels, (_, i) => i),
        ).forEach((count, label) => {
          expect(Math.abs((part[label] ?? 0) - (count * held) / labels.length)).toBeLessThan(1);
        });
        expect(split(labels, p / 100, key(path))).toEqual({ train, validation });
      }),
    );
  });

  it('splits a plain count, and a subset', () => {
    const plain = split(100, 0.1, key('a'));
    expect([plain.train.length, plain.validation.length]).toEqual([90, 10]);
    expect(plain.validation).not.toEqual(split(100, 0.1, key('b')).validation);
    const among = Int32Array.from([5, 6, 7, 8]);
    const part = split(new Uint8Array(10), 0.5, key('a'), among);
    expect([...part.train, ...part.validation].sort()).toEqual([5, 6, 7, 8]);
  });

  it('refuses fractions that hold out everything, or nothing although asked to', () => {
    expect(refusal(() => split(10, 1, key('a'))).what).toBe(
      'the share held out for validation is at least 0 and below 1',
    );
    expect(refusal(() => split(10, Number.NaN, key('a'))).kind).toBe('experiment');
    expect(refusal(() => split(10, 0.01, key('a'))).what).toBe('a share of 0.01 of 10 images is no image');
  });
});
