import type { ImageShape } from '../models/network.js';

/** Bits after the binary point of a filter weight: 8 bits of pixel and 22 of weight fit into an int32. */
const PRECISION = 22;

/** For each output position, the first input position that it reads and the weights (summing to 1) of those that follow. */
interface Filter {
  readonly first: Int32Array;
  readonly taps: number;
  /** [output positions, taps], in units of 2^-22, zero where fewer are needed. */
  readonly weights: Int32Array;
}

/**
 * The triangle filter with half-pixel centres: output i reads around (i + ½)·from/to. When shrinking, the triangle is
 * widened by from/to, so that every input pixel counts; when growing it is ordinary bilinear interpolation, and beyond
 * the border the outermost pixel counts.
 */
const triangleFilter = (from: number, to: number): Filter => {
  const scale = from / to;
  const width = Math.max(scale, 1);
  const taps = Math.min(from, Math.ceil(width) * 2 + 1);
  const first = new Int32Array(to);
  const weights = new Int32Array(to * taps);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const begin = Math.max(0, Math.floor(centre - width + 0.5));
    const end = Math.min(from, Math.floor(centre + width + 0.5));
    const raw = Array.from({ length: end - begin }, (_, t) =>
      Math.max(0, 1 - Math.abs((begin + t - centre + 0.5) / width)),
    );
    const total = raw.reduce((sum, weight) => sum + weight, 0);
    // Reading never goes beyond the last position, so the window is moved left where it would.
    first[i] = Math.min(begin, from - taps);
    raw.forEach((weight, t) => {
      const at = begin + t - (first[i] as number);
      weights[i * taps + at] = Math.round((weight / total) * 2 ** PRECISION);
    });
  }
  return { first, taps, weights };
};

/**
 * Applies a filter along one axis of data seen as [before, axis, after]; the result is rounded to 0..255.
 */
const applyFilter = (
  source: Uint8Array,
  target: Uint8Array,
  { first, taps, weights }: Filter,
  [before, axis, after]: readonly [number, number, number],
): void => {
  const half = 1 << (PRECISION - 1);
  const outputs = first.length;
  let write = 0;
  for (let b = 0; b < before; b++) {
    for (let i = 0; i < outputs; i++) {
      const start = (b * axis + (first[i] as number)) * after;
      for (let a = 0; a < after; a++) {
        let sum = half;
        for (let t = 0; t < taps; t++) {
          sum += (source[start + t * after + a] as number) * (weights[i * taps + t] as number);
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
  const narrowed = new Uint8Array(height * to.width * channels);
  const size = to.height * to.width * channels;
  for (let n = 0; n < count; n++) {
    const image = images.subarray(n * height * width * channels, (n + 1) * height * width * channels);
    applyFilter(image, narrowed, across, [height, width, channels]);
    applyFilter(narrowed, resized.subarray(n * size, (n + 1) * size), down, [1, height, to.width * channels]);
  }
  return resized;
};
