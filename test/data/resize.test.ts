import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { resizeBilinear } from '../../src/data/resize.js';

const grey = (height: number, width: number) => ({ height, width, channels: 1 });

describe('resizeBilinear', () => {
  it('enlarges 2×2 to 4×4 with half-pixel centres', () => {
    // Rows first: 0, 25, 75, 100 and 200, 162.5 (163), 87.5 (88), 50; then 1/4 and 3/4 of these, rounded.
    const resized = resizeBilinear(Uint8Array.of(0, 100, 200, 50), grey(2, 2), { height: 4, width: 4 });
    expect([...resized]).toEqual([0, 25, 75, 100, 50, 60, 78, 88, 150, 129, 85, 63, 200, 163, 88, 50]);
  });

  it('shrinks by the mean of what a pixel covers, weighted by nearness', () => {
    // Output 0 of 4 → 2 is centred at 1, the triangle reaches to −1 and 3: inputs 0, 1, 2 weigh 3/4, 3/4, 1/4 of 7/4.
    const resized = resizeBilinear(Uint8Array.of(0, 70, 140, 210), grey(1, 4), { height: 1, width: 2 });
    expect([...resized]).toEqual([50, 160]);
  });

  it('keeps channels apart and images apart', () => {
    const images = Uint8Array.of(10, 200, 30, 10, 200, 30, 90, 80, 70, 90, 80, 70);
    const resized = resizeBilinear(images, { height: 1, width: 2, channels: 3 }, { height: 2, width: 3 });
    expect([...resized.subarray(0, 18)]).toEqual(new Array(6).fill([10, 200, 30]).flat());
    expect([...resized.subarray(18)]).toEqual(new Array(6).fill([90, 80, 70]).flat());
  });

  it('copies when the size is right already', () => {
    const images = Uint8Array.of(1, 2, 3, 4);
    const resized = resizeBilinear(images, grey(2, 2), { height: 2, width: 2 });
    expect(resized).toEqual(images);
    expect(resized).not.toBe(images);
  });

  it('keeps constant images constant, and stays within the range of an image', () => {
    const side = fc.integer({ min: 1, max: 12 });
    fc.assert(
      fc.property(
        side,
        side,
        side,
        side,
        fc.infiniteStream(fc.integer({ min: 0, max: 255 })),
        (h, w, toH, toW, values) => {
          const image = Uint8Array.from({ length: h * w }, () => values.next().value as number);
          const resized = resizeBilinear(image, grey(h, w), { height: toH, width: toW });
          expect(resized.length).toBe(toH * toW);
          expect(Math.min(...resized)).toBeGreaterThanOrEqual(Math.min(...image));
          expect(Math.max(...resized)).toBeLessThanOrEqual(Math.max(...image));
        },
      ),
    );
  });
});
