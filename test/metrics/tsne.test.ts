import { describe, expect, test } from 'vitest';
import { key, normals } from '../../src/core/random.js';
import { affinities, descent, tsne } from '../../src/metrics/tsne.js';

/** Clouds of points around the corners of a simplex, `apart` standard deviations from each other; `label` is i % clouds. */
const clouds = ({ count = 60, dimensions = 8, number = 3, apart = 20 } = {}): Float32Array => {
  const points = normals(key('clouds'), count * dimensions);
  for (let i = 0; i < count; i++) {
    const corner = i * dimensions + (i % number);
    points[corner] = (points[corner] as number) + apart;
  }
  return points;
};

describe('affinities', () => {
  const near = affinities(clouds(), 8, 10);

  test('are symmetric, of sum 1, none with itself', () => {
    expect(near.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 8);
    for (let i = 0; i < 60; i++) {
      expect(near[i * 60 + i]).toBe(0);
      for (let j = 0; j < i; j++) expect(near[i * 60 + j]).toBe(near[j * 60 + i]);
    }
  });

  test('of points alike are alike; of a perplexity of all others nearly so', () => {
    const alike = affinities(new Float32Array(5 * 2).fill(1), 2, 3);
    for (let j = 1; j < 5; j++) expect(alike[j]).toBeCloseTo(1 / 20, 12);
  });

  test('give each point the neighbours that were asked for', () => {
    // Two points at 1 and two far away: with a perplexity of 1 only the nearest counts.
    const pairs = affinities(Float32Array.from([0, 1, 100, 101]), 1, 1.0001);
    expect(pairs[1]).toBeCloseTo(0.25, 3);
    expect(pairs[2]).toBeLessThan(1e-3);
  });
});

test('the gradient is that of the divergence', () => {
  const near = affinities(clouds({ count: 12 }), 8, 3);
  const map = Float64Array.from(normals(key('map'), 24));
  const { gradient } = descent(near, map, 1);
  const step = 1e-5;
  for (let c = 0; c < map.length; c++) {
    const at = (change: number) =>
      descent(
        near,
        map.map((value, i) => (i === c ? value + change : value)),
        1,
      ).divergence;
    expect(gradient[c]).toBeCloseTo((at(step) - at(-step)) / (2 * step), 6);
  }
});

describe('a map', () => {
  const map = tsne(clouds(), 8, { key: key('map') });
  const at = (i: number) => [map.points[2 * i] as number, map.points[2 * i + 1] as number] as const;
  const distance = (i: number, j: number) => Math.hypot(at(i)[0] - at(j)[0], at(i)[1] - at(j)[1]);

  test('keeps together what is near, and apart what is not', () => {
    for (let i = 0; i < 60; i++) {
      const others = Array.from({ length: 60 }, (_, j) => j).filter((j) => j !== i);
      const nearest = others.sort((a, b) => distance(i, a) - distance(i, b)).slice(0, 10);
      expect(nearest.map((j) => j % 3)).toEqual(Array(10).fill(i % 3));
    }
  });

  test('is the same from the same key, another from another; centred', () => {
    expect(tsne(clouds(), 8, { key: key('map') })).toEqual(map);
    expect(tsne(clouds(), 8, { key: key('other') }).points).not.toEqual(map.points);
    expect(map.points.reduce((sum, value) => sum + value, 0)).toBeCloseTo(0, 8);
  });

  test('has less divergence the longer it is drawn, and a perplexity that its points allow', () => {
    const early = tsne(clouds(), 8, { key: key('map'), iterations: 10 });
    expect(map.divergence).toBeLessThan(early.divergence);
    expect(map.divergence).toBeGreaterThan(0);
    expect(map.perplexity).toBeCloseTo(59 / 3, 12);
    expect(tsne(clouds(), 8, { key: key('map'), perplexity: 5, iterations: 1 }).perplexity).toBe(5);
  });

  test('of points alike is finite; of too few, or of what is not finite, there is none', () => {
    expect(tsne(new Float32Array(10).fill(3), 2, { key: key('map') }).points.every(Number.isFinite)).toBe(true);
    expect(() => tsne(new Float32Array(6), 2, { key: key('map') })).toThrow('4 or more points');
    expect(() => tsne(new Float32Array(8).fill(Number.NaN), 2, { key: key('map') })).toThrow('not finite');
  });
});
