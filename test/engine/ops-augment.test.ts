import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { loadEngine } from '../../src/engine/engine.js';
import { augment, cropFlip, rotate } from '../../src/engine/ops.js';

beforeAll(async () => {
  await loadEngine();
});

afterEach(async () => {
  await tf.setBackend('tensorflow');
});

const [n, h, w, c] = [64, 5, 6, 2];
/** Every pixel of every image is different, and none is 0. */
const values = Float32Array.from({ length: n * h * w * c }, (_, i) => i + 1);
const images = () => tf.tensor4d(values, [n, h, w, c]);
const seedOf = (a: number, b: number) => tf.tensor1d([a, b], 'int32');

/** The crops and flips of one image of the batch that would give `found`, by trying all. */
const explain = (found: ArrayLike<number>, image: number, crop: number, border: 'black' | 'reflect' = 'black') => {
  const mirrored = (at: number, size: number) => (at < 0 ? -at : at >= size ? 2 * (size - 1) - at : at);
  const inside = (y: number, x: number, channel: number) => values[((image * h + y) * w + x) * c + channel];
  const source = (y: number, x: number, channel: number) => {
    if (border === 'reflect') return inside(mirrored(y, h), mirrored(x, w), channel);
    return y < 0 || x < 0 || y >= h || x >= w ? 0 : inside(y, x, channel);
  };
  const explanations: string[] = [];
  for (let down = -crop; down <= crop; down++) {
    for (let right = -crop; right <= crop; right++) {
      for (const mirrored of [false, true]) {
        let equal = true;
        for (let y = 0; y < h; y++) {
          for (let x = 0; x < w; x++) {
            for (let channel = 0; channel < c; channel++) {
              const from = source(y + down, right + (mirrored ? w - 1 - x : x), channel);
              equal &&= found[((image * h + y) * w + x) * c + channel] === from;
            }
          }
        }
        if (equal) explanations.push(`${down} ${right} ${mirrored}`);
      }
    }
  }
  return explanations;
};

describe.each(['tensorflow', 'cpu'])('cropFlip on %s', (backend) => {
  it('gives every image a crop and flip of its own, all of which occur', async () => {
    await tf.setBackend(backend);
    const drawn = cropFlip(images(), { crop: 1, flip: true }, seedOf(1, 2));
    expect(drawn.shape).toEqual([n, h, w, c]);
    const found = drawn.dataSync();
    const all = Array.from({ length: n }, (_, i) => explain(found, i, 1));
    for (const explanations of all) expect(explanations).toHaveLength(1);
    // 18 possibilities among 64 images: most occur.
    expect(new Set(all.flat()).size).toBeGreaterThan(12);
  });

  it('depends on the seed alone', async () => {
    await tf.setBackend(backend);
    const draw = (a: number, b: number) => [...cropFlip(images(), { crop: 2, flip: true }, seedOf(a, b)).dataSync()];
    expect(draw(1, 2)).toEqual(draw(1, 2));
    expect(draw(1, 2)).not.toEqual(draw(1, 3));
    expect(draw(1, 2)).not.toEqual(draw(2, 2));
  });

  it('crops from a border in which the image is mirrored at its edge pixels', async () => {
    await tf.setBackend(backend);
    const found = cropFlip(images(), { crop: 2, border: 'reflect', flip: true }, seedOf(1, 2)).dataSync();
    const all = Array.from({ length: n }, (_, i) => explain(found, i, 2, 'reflect'));
    for (const explanations of all) expect(explanations).toHaveLength(1);
    // 50 possibilities among 64 images.
    expect(new Set(all.flat()).size).toBeGreaterThan(25);
    // The same crops as from a black one.
    const black = cropFlip(images(), { crop: 2, flip: true }, seedOf(1, 2)).dataSync();
    expect(all).toEqual(Array.from({ length: n }, (_, i) => explain(black, i, 2)));
  });

  it('mirrors those images that it is told to', async () => {
    await tf.setBackend(backend);
    const which = Int32Array.from({ length: n }, (_, i) => (i % 3 === 0 ? 1 : 0));
    const found = augment(images(), { crop: 0, flip: 'alternating' }, seedOf(1, 2), tf.tensor1d(which, 'int32'));
    const kinds = Array.from({ length: n }, (_, i) => explain(found.dataSync(), i, 0).join());
    expect(kinds).toEqual(Array.from(which, (told) => `0 0 ${told === 1}`));
  });

  it('does only what is asked', async () => {
    await tf.setBackend(backend);
    const same = cropFlip(images(), { crop: 0, flip: false }, seedOf(3, 4));
    expect([...same.dataSync()]).toEqual([...values]);
    const flipped = cropFlip(images(), { crop: 0, flip: true }, seedOf(3, 4)).dataSync();
    const kinds = Array.from({ length: n }, (_, i) => explain(flipped, i, 0).join());
    expect(new Set(kinds)).toEqual(new Set(['0 0 false', '0 0 true']));
    const mirrored = kinds.filter((kind) => kind === '0 0 true').length;
    expect(mirrored).toBeGreaterThan(16);
    expect(mirrored).toBeLessThan(48);
  });

  it('keeps int32 images and leaves nothing behind', async () => {
    await tf.setBackend(backend);
    const whole = tf.tensor4d(values, [n, h, w, c], 'int32');
    const seed = seedOf(5, 6);
    const before = tf.memory().numTensors;
    const drawn = cropFlip(whole, { crop: 1, flip: true }, seed);
    expect(drawn.dtype).toBe('int32');
    drawn.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe.each(['tensorflow', 'cpu'])('rotate on %s', (backend) => {
  const [height, width] = [9, 12];
  /** Channels: 1, and the place along each axis from the centre; linear, so that bilinear values are exact. */
  const plane = () =>
    tf.tensor4d(
      Float32Array.from({ length: n * height * width * 3 }, (_, i) => {
        const [pixel, channel] = [Math.floor(i / 3), i % 3];
        const y = (Math.floor(pixel / width) % height) - (height - 1) / 2;
        const x = (pixel % width) - (width - 1) / 2;
        return [1, y, x][channel] as number;
      }),
      [n, height, width, 3],
    );

  it('turns every image by an angle of its own about its centre, with black around it', async () => {
    await tf.setBackend(backend);
    const found = rotate(plane(), 30, seedOf(1, 2)).dataSync();
    const angles = Array.from({ length: n }, (_, i) => {
      const at = (y: number, x: number) => 3 * ((i * height + y) * width + x);
      // One pixel right of the centre and half a pixel below it, whose neighbours lie inside.
      const [oneY, oneX] = [found[at(4, 6) + 1], found[at(4, 6) + 2]] as [number, number];
      const angle = Math.atan2(oneY, oneX);
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const [down, right] = [y - (height - 1) / 2, x - (width - 1) / 2];
          const fromY = Math.cos(angle) * down + Math.sin(angle) * right;
          const fromX = Math.cos(angle) * right - Math.sin(angle) * down;
          // Of the four pixels around a place at the edge, those that are outside give nothing.
          const inside = (place: number, size: number) =>
            Math.min(1, Math.max(0, Math.min(place + (size + 1) / 2, (size + 1) / 2 - place)));
          const share = inside(fromY, height) * inside(fromX, width);
          expect(found[at(y, x)]).toBeCloseTo(share, 4);
          if (share === 1) {
            expect(found[at(y, x) + 1]).toBeCloseTo(fromY, 4);
            expect(found[at(y, x) + 2]).toBeCloseTo(fromX, 4);
          }
        }
      }
      return (angle * 180) / Math.PI;
    });
    expect(Math.max(...angles)).toBeGreaterThan(20);
    expect(Math.max(...angles)).toBeLessThan(30);
    expect(Math.min(...angles)).toBeLessThan(-20);
    expect(Math.min(...angles)).toBeGreaterThan(-30);
    expect(new Set(angles).size).toBe(n);
  });

  it('depends on the seed alone, goes before crop and flip, and leaves nothing behind', async () => {
    await tf.setBackend(backend);
    const [raw, seed] = [plane(), seedOf(3, 4)];
    const before = tf.memory().numTensors;
    const draw = (how: { crop: number; flip: boolean; rotate?: number }) => {
      const drawn = augment(raw, how, seed);
      const values = [...drawn.dataSync()];
      drawn.dispose();
      return values;
    };
    const turned = draw({ crop: 0, flip: true, rotate: 20 });
    expect(turned).toEqual(draw({ crop: 0, flip: true, rotate: 20 }));
    expect(draw({ crop: 0, flip: true, rotate: 0 })).toEqual(draw({ crop: 0, flip: true }));
    expect(turned).not.toEqual(draw({ crop: 0, flip: true }));
    // Mirrored are those that are mirrored without a rotation: the row at the centre begins on the other side.
    const side = (values: readonly number[], i: number) =>
      Math.sign(values[3 * ((i * height + 4) * width + 2) + 2] ?? 0);
    const straight = draw({ crop: 0, flip: true });
    for (let i = 0; i < n; i++) expect(side(turned, i)).toBe(side(straight, i));
    expect(tf.memory().numTensors).toBe(before);
  });
});
