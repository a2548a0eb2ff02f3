import { wholeAtLeast, wholeBetween } from '../core/check.js';
import { option } from '../core/options.js';
import { type Key, key } from '../core/random.js';
import { datasetOf } from './assemble.js';
import { defineDataset, pixels } from './define.js';

/** What is drawn: the classes, of which an image has that of its foremost shape. */
export const shapes = ['ellipse', 'rectangle', 'triangle'] as const;

type ShapeKind = (typeof shapes)[number];

/** Whether a shape that fills the square from −1 to 1 covers a place in it. */
export const covers = (shape: ShapeKind, u: number, v: number): boolean => {
  if (shape === 'ellipse') return u * u + v * v <= 1;
  if (shape === 'rectangle') return Math.abs(u) <= 1 && Math.abs(v) <= 1;
  return v <= 1 && Math.abs(u) <= (v + 1) / 2;
};

/**
 * Drawn shapes: ellipses, rectangles and triangles of any colour, size and direction, on a ground of one colour. For an attacker who
 * has no photograph at all (`dfms`), as Sanyal et al. (CVPR 2022) have 50,000 of; how theirs are drawn was not found, so that these
 * are ours.
 */
export const drawnShapes = defineDataset({
  name: 'drawnShapes',
  source: import.meta.url,
  about: 'Drawn ellipses, rectangles and triangles, for an attacker without photographs',
  options: {
    train: option(wholeBetween(3, 1e6), 50_000, 'Training images'),
    test: option(wholeBetween(3, 1e6), 1000, 'Test images'),
    size: option(pixels, 32, 'Height and width'),
    channels: option(wholeBetween(1, 64), 3, 'Channels'),
    most: option(wholeAtLeast(1), 4, 'Shapes in an image, at most; one at least'),
    seed: option(wholeAtLeast(0), 0, 'Other drawings'),
  },
  make: ({ train, test, size, channels, most, seed }) => ({
    load: () =>
      datasetOf('drawnShapes', () => {
        const part = (name: string, count: number) => {
          const from = key(`drawn shapes ${seed}`).split(name);
          const images = new Uint8Array(count * size * size * channels);
          const labels = new Uint8Array(count);
          for (let i = 0; i < count; i++) {
            const canvas = images.subarray(i * size * size * channels, (i + 1) * size * size * channels);
            labels[i] = drawn(canvas, from.split(i), { size, channels, most });
          }
          return { images, labels, count };
        };
        return {
          image: { height: size, width: size, channels },
          classes: shapes,
          train: part('train', train),
          test: part('test', test),
        };
      }),
  }),
});

/** Draws an image onto a canvas, and gives its class. */
const drawn = (
  canvas: Uint8Array,
  from: Key,
  { size, channels, most }: { readonly size: number; readonly channels: number; readonly most: number },
): number => {
  const next = from.uniform();
  const colour = (): Uint8Array => Uint8Array.from({ length: channels }, () => 256 * next());
  const ground = colour();
  for (let at = 0; at < canvas.length; at += channels) canvas.set(ground, at);
  let label = 0;
  for (let left = 1 + Math.floor(most * next()); left > 0; left--) {
    label = Math.floor(shapes.length * next());
    const shape = shapes[label] as ShapeKind;
    const [x, y, angle] = [size * next(), size * next(), 2 * Math.PI * next()];
    // Half a shape's sides: an eighth to a half of the image's.
    const [a, b] = [size * (1 + 3 * next()), size * (1 + 3 * next())].map((each) => each / 8) as [number, number];
    const own = colour();
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    // No part of it is further from its middle than its corners.
    const reach = Math.hypot(a, b);
    const [first, last] = [
      (middle: number) => Math.max(0, Math.floor(middle - reach)),
      (middle: number) => Math.min(size - 1, Math.ceil(middle + reach)),
    ];
    for (let row = first(y); row <= last(y); row++)
      for (let column = first(x); column <= last(x); column++) {
        const [dx, dy] = [column + 0.5 - x, row + 0.5 - y];
        if (!covers(shape, (cos * dx + sin * dy) / a, (cos * dy - sin * dx) / b)) continue;
        const at = (row * size + column) * channels;
        for (let c = 0; c < channels; c++) canvas[at + c] = own[c] as number;
      }
  }
  return label;
};
