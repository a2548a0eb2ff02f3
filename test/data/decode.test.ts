import { describe, expect, it } from 'vitest';
import type { ImagePlan } from '../../src/data/decode.js';
import { decodeImages } from '../../src/data/decode.js';
import { failureOf, pngOf } from './helpers.js';

const planOf = (count: number): ImagePlan => ({
  classes: ['a', 'b'],
  train: Array.from({ length: count }, (_, i) => ({ path: `${i}.png`, label: i % 2 })),
  test: [],
});

/** Files all alike; tells how many were read. */
const sourceOf = (bytes: Uint8Array, count: number) => {
  let taken = 0;
  async function* read() {
    for (let i = 0; i < count; i++) {
      taken++;
      yield { path: `${i}.png`, bytes };
    }
  }
  return { source: { path: '/data/set', read }, taken: () => taken };
};

describe('images that are too many for the memory', () => {
  const most = /^\d\.\d GiB are the most that is decoded here$/;

  it('at the size that is asked for are refused before one is read', async () => {
    const { source, taken } = sourceOf(pngOf(4, 4, [1, 2, 3]), 5000);
    const { what, where, remedy } = await failureOf(() => decodeImages(source, planOf(5000), 1024, {}));
    const [need, room] = what.split(', and ');
    expect([need, where]).toEqual(['5,000 images of 1024×1024 need 4.9 GiB of memory', '/data/set']);
    expect(room).toMatch(most);
    expect(remedy).toBe('Give a smaller `size`, or fewer images.');
    expect(taken()).toBe(0);
  });

  it('as they are, are refused when the first few were decoded', async () => {
    const { source, taken } = sourceOf(pngOf(2048, 2048, [7, 7, 7], 0), 1999);
    const { what } = await failureOf(() => decodeImages(source, planOf(1999), undefined, {}));
    expect(what).toMatch(/^1,999 images of 2048×2048 need 7\.8 GiB of memory/);
    // 64 megapixels at a time.
    expect(taken()).toBeLessThan(100);
  });
});
