import * as v from 'valibot';
import { between, choice, numeric, positive, wholeAtLeast, yesOrNo } from '../core/check.js';
import type { Task } from '../core/errors.js';
import { pluginOption } from '../core/plugin.js';
import type { ImageShape } from '../models/network.js';

/**
 * Pixels of many images, uint8, [count, height, width, channels] flat: a `Uint8Array`, or bytes that stay in a file. A slice
 * is a copy.
 */
export interface Pixels {
  readonly length: number;
  slice(begin?: number, end?: number): Uint8Array;
}

/** Labelled images. Read-only by agreement: the arrays are shared by every stage of a process. */
export interface Examples<Images extends Pixels = Pixels> {
  /** uint8, [count, height, width, channels] flat, channels interleaved, 0 (black) … 255. */
  readonly images: Images;
  /** One index into the classes an image; 8 bits for up to 256 classes, else 16. */
  readonly labels: Uint8Array | Uint16Array;
  readonly count: number;
}

/** Per-channel constants on the scale 0..1: normalised = (pixel / 255 − mean) / std. */
export interface Normalisation {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** Random changes of a training image, drawn inside the step; nothing of it touches validation or test images. */
export interface Augmentation {
  /** Pixels of padding on each side before a random crop back to size (before normalisation, as torchvision); 0: none. */
  readonly crop: number;
  /** What they are padded with: zeros, which are black, or the image mirrored at its edge pixels; default `black`. */
  readonly border?: 'black' | 'reflect';
  /**
   * Mirror left-right with probability one half; or `alternating`: each image is drawn to be mirrored in the even epochs
   * or in the odd ones, so that two epochs see both (airbench, KellerJordan/cifar10-airbench).
   */
  readonly flip: boolean | 'alternating';
  /** Degrees, either way, by which an image is turned about its centre before that (bilinear, black outside); default 0. */
  readonly rotate?: number;
}

/** Images as they are. */
export const noAugmentation: Augmentation = { crop: 0, flip: false };

/** A data set as it was read: training and test images with their labels. */
export interface Dataset {
  readonly name: string;
  readonly image: ImageShape;
  /** Class names in label order. */
  readonly classes: readonly string[];
  readonly normalisation: Normalisation;
  readonly augmentation: Augmentation;
  readonly train: Examples;
  readonly test: Examples;
  /** sha256 of everything above that a result depends on. */
  readonly fingerprint: string;
}

export interface LoadOptions {
  /** Called while images are decoded, every few hundred images and at the end; never when the set comes from the cache. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Called with a sentence a person should see that is no failure: files ignored, a cache that cannot be written. */
  readonly onNote?: ((note: string) => void) | undefined;
  /** The folder of decoded sets; false: neither read nor written. Default: `data` in the per-user cache. */
  readonly cache?: string | false | undefined;
  /** A larger set than so many bytes stays in its file in the cache, and is read batch by batch. Default: 512 MiB. */
  readonly inMemory?: number | undefined;
}

/** A data set as a value in an experiment: `cifar10({ path })`. Nothing is read before `load`. */
export interface DatasetPlugin {
  readonly name: string;
  /** What the images depend on (a size), and not where the files lie: a set that is moved stays the same set. */
  readonly params: Readonly<Record<string, unknown>>;
  /** Its module's `import.meta.url`, so that what was trained on an older version's images is not reused. */
  readonly source: string;
  /** The same data set read from another file or folder (`--data PATH`); a relative path starts at the working folder. */
  from?(path: string): DatasetPlugin;
  /** Fails with kind `data`, naming the file and the remedy; nothing is half-loaded. */
  load(options?: LoadOptions): Task<Dataset>;
}

/** A data set among a plugin's options. */
export const anyDataset = pluginOption<DatasetPlugin>(
  (value) => typeof (value as DatasetPlugin | undefined)?.load === 'function',
  'this is no data set',
  'a data set, such as mnist()',
);

/** How images are changed, among a plugin's options. */
export const anyAugmentation: v.GenericSchema<Augmentation> = v.pipe(
  v.strictObject({
    crop: wholeAtLeast(0),
    border: v.exactOptional(choice('black', 'reflect')),
    flip: v.union([yesOrNo, v.literal('alternating')]),
    rotate: v.exactOptional(between(0, 180)),
  }),
  v.title('an augmentation, such as { crop: 4, flip: true }'),
);

/** How pixels are normalised, among a plugin's options. */
export const anyNormalisation: v.GenericSchema<Normalisation> = v.pipe(
  v.strictObject({ mean: v.array(numeric('a number')), std: v.array(positive) }),
  v.title('{ mean, std } with a number for each channel, on the scale 0 to 1'),
);
