import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Pixels } from '../../src/data/dataset.js';
import { imagesAt, onlyImages, pixelFile, sumsOf } from '../../src/data/pixels.js';
import { failureOf, temporaryFolder } from './helpers.js';

const path = join(temporaryFolder(), 'pixels');
const bytes = Uint8Array.from({ length: 20 }, (_, i) => i);
writeFileSync(path, Buffer.concat([Buffer.from('head'), bytes, Buffer.from('tail')]));

const kinds: readonly (readonly [string, Pixels])[] = [
  ['memory', bytes],
  ['a file', pixelFile(path, { start: 4, count: 5, size: 4, sums: sumsOf(bytes, 4) })],
];

describe.each(kinds)('pixels in %s', (_, pixels) => {
  it('give any images, in any order', () => {
    expect([...imagesAt(pixels, 4, Int32Array.of(4, 0, 0))]).toEqual([16, 17, 18, 19, 0, 1, 2, 3, 0, 1, 2, 3]);
    expect(imagesAt(pixels, 4, [])).toEqual(new Uint8Array());
  });

  it('are handed over without the others', () => {
    const own = onlyImages(pixels, 4, Int32Array.of(3, 1));
    expect(own.length).toBe(8);
    expect([...own.slice()]).toEqual([12, 13, 14, 15, 4, 5, 6, 7]);
    expect([...imagesAt(own, 4, [1])]).toEqual([4, 5, 6, 7]);
    expect([...imagesAt(onlyImages(own, 4, Int32Array.of(1)), 4, [0])]).toEqual([4, 5, 6, 7]);
  });

  it('are copied', () => {
    pixels.slice(0, 4).fill(99);
    imagesAt(pixels, 4, [0]).fill(99);
    expect([...pixels.slice(0, 2)]).toEqual([0, 1]);
    expect(pixels.slice(18, 30).length).toBe(2);
  });
});

describe('a file of pixels', () => {
  it('that is not there is an error of the system, and one that is a folder a failure', async () => {
    const place = { start: 0, count: 1, size: 1, sums: sumsOf(Uint8Array.of(0), 1) };
    expect(() => pixelFile(`${path}-not`, place)).toThrow('ENOENT');
    const folder = pixelFile(join(path, '..'), place);
    expect((await failureOf(() => folder.slice())).kind).toBe('data');
  });
});
