import { decodeImage, type Image } from './images.js';
import { resizeBilinear } from './resize.js';

/** Encoded images, one after another, to be decoded together: few large messages cost threads less than many small ones. */
export interface Lot {
  readonly bytes: Uint8Array;
  /** Where each file ends. */
  readonly ends: readonly number[];
  /** Height and width to which every image is resized. */
  readonly size: number | undefined;
}

/** What a thread that decodes is sent after its last lot. */
export const END = 'end';

/** A file that is no image, and why. */
export interface Undecodable {
  readonly wrong: string;
}

const resized = (image: Image, size: number): Image => {
  const to = { height: size, width: size };
  return { ...image, ...to, pixels: resizeBilinear(image.pixels, image, to) };
};

const decodeOne = (bytes: Uint8Array, size: number | undefined): Image | Undecodable => {
  try {
    const image = decodeImage(bytes);
    return size === undefined ? image : resized(image, size);
  } catch (thrown) {
    return { wrong: (thrown as Error).message };
  }
};

/** The images of a lot in its order. */
export const decodeLot = ({ bytes, ends, size }: Lot): (Image | Undecodable)[] =>
  ends.map((end, i) => decodeOne(bytes.subarray(ends[i - 1] ?? 0, end), size));
