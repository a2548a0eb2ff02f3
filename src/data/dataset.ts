import type { Task } from '../core/errors.js';
import type { ImageShape } from '../models/network.js';

/** Labelled images: uint8, [count, height, width, channels] flat, and one label an image. */
export interface Examples {
  readonly images: Uint8Array;
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
  /** Pixels of zero padding on each side before a random crop back to size (before normalisation, as torchvision); 0: none. */
  readonly crop: number;
  /** Mirror left-right with probability one half. */
  readonly flip: boolean;
}

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

/** A data set as a value in an experiment: `cifar10({ path })`. Nothing is read before `load`. */
export interface DatasetPlugin {
  readonly name: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** The same data set read from another file or folder (`--data PATH`). */
  from?(path: string): DatasetPlugin;
  load(): Task<Dataset>;
}
