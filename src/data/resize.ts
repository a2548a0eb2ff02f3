import type { ImageShape } from '../models/network.js';

/** Bits after the binary point of a filter weight: 8 bits of pixel and 22 of weight fit into an int32. */
const PRECISION = 22;

/** For each output position: where it begins to read, and the weights (summing to 1) of what it reads. */
interface Filter {
  readonly outputs: number;
  readonly taps: number;
  readonly first: Int32Array;
  /** [outputs, taps], in units of 2^-22; zero where an output needs fewer. */
  readonly weights: Int32Array;
}

/**
 * The triangle filter with half-pixel centres: output i reads around (i + ½)·from/to. When shrinking, the triangle is
 * widened by from/to, so that every input pixel counts; when growing it is ordinary bilinear interpolation. At the
 * border the weights of the pixels that exist are scaled up to 1.
 */
const triangleFilter = (from: number, to: number): Filter => {
  const scale = from / to;
  const width = Math.max(scale, 1);
  const rows = Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const begin = Math.max(0, Math.floor(centre - width + 0.5));
    const end = Math.min(from, Math.floor(centre + width + 0.5));
    const raw = Array.from({ length: end - begin }, (_, t) =>
      Math.max(0, 1 - Math.abs((begin + t - centre + 0.5) * (1 / width))),
    );
    const total = raw.reduce((sum, weight) => sum + weight, 0);
    const fixed = raw.map((weight) => Math.round((weight / total) * 2 ** PRECISION));
    const leading = fixed.findIndex((weight) => weight !== 0);
    const trailing = fixed.findLastIndex((weight) => weight !== 0);
    return { begin: begin + leading, weights: fixed.slice(leading, trailing + 1) };
  });
  const taps = Math.max(...rows.map(({ weights }) => weights.length));
  const first = new Int32Array(to);
  const weights = new Int32Array(to * taps);
  rows.forEach((row, i) => {
    // A window that would reach beyond the last position is moved back.
    first[i] = Math.min(row.begin, from - taps);
    weights.set(row.weights, i * taps + row.begin - (first[i] as number));
  });
  return { outputs: to, taps, first, weights };
};

/** Applies a filter along the middle axis of [before, axis, after]; the result, [before, outputs, after], is rounded to 0..255. */
const applyFilter = (
  source: Uint8Array,
  target: Uint8Array,
  { outputs, taps, first, weights }: Filter,
  [before, axis, after]: readonly [number, number, number],
): void => {
  const half = 1 << (PRECISION - 1);
  let write = 0;
  for (let b = 0; b < before; b++) {
    for (let i = 0; i < outputs; i++) {
      const start = (b * axis + (first[i] as number)) * after;
      const weight = i * taps;
      if (taps === 2) {
        // The common case, growing: unrolled, three times as fast.
        const weight0 = weights[weight] as number;
        const weight1 = weights[weight + 1] as number;
        for (let read = start; read < start + after; read++) {
          const sum = (source[read] as number) * weight0 + (source[read + after] as number) * weight1;
          target[write++] = Math.min(255, (sum + half) >> PRECISION);
        }
        continue;
      }
      for (let a = 0; a < after; a++) {
        let sum = half;
        let read = start + a;
        for (let t = 0; t < taps; t++) {
          sum = (sum + Math.imul(source[read] as number, weights[weight + t] as number)) | 0;
          read += after;
        }
        target[write++] = Math.min(255, sum >> PRECISION);
      }
    }
  }
};

/**
 * Images [count, height, width, channels] resized bilinearly, first along rows, then along columns, each rounded to
 * uint8: the arithmetic of Pillow's `resize(…, BILINEAR)`, which torchvision's `Resize` uses on images. Shrinking is
 * antialiased. A new array, also when nothing changes.
 */
export const resizeBilinear = (
  images: Uint8Array,
  from: ImageShape,
  to: { readonly height: number; readonly width: number },
): Uint8Array => {
  const { height, width, channels } = from;
  if (height === to.height && width === to.width) return images.slice();
  const count = images.length / (height * width * channels);
  const across = triangleFilter(width, to.width);
  const down = triangleFilter(height, to.height);
  const resized = new Uint8Array(count * to.height * to.width * channels);
  // A few images at a time: what lies between the two passes stays in the processor's cache.
  const together = Math.max(1, Math.floor(2 ** 16 / (height * to.width * channels)));
  const narrowed = new Uint8Array(together * height * to.width * channels);
  for (let n = 0; n < count; n += together) {
    const some = Math.min(together, count - n);
    const rest = images.subarray(n * height * width * channels);
    applyFilter(rest, narrowed, across, [some * height, width, channels]);
    applyFilter(narrowed, resized.subarray(n * to.height * to.width * channels), down, [
      some,
      height,
      to.width * channels,
    ]);
  }
  return resized;
};
