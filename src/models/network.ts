import type * as tf from '@tensorflow/tfjs';
import type { Key } from '../core/random.js';

/** Tensors by name. Names are PyTorch's `state_dict` names: `layer1.0.conv1.weight`, `bn1.running_mean`. */
export type Named = { readonly [name: string]: tf.Tensor };

/**
 * A network's variables. `params` are trained (and decayed); `stats` are batch norms' running mean and variance.
 * Convolution kernels are [height, width, in, out] and dense weights [in, out]; `toStateDict` gives PyTorch's layouts.
 */
export type Variables = { readonly params: Named; readonly stats: Named };

/** The shape of one image. */
export interface ImageShape {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

/** What flows between layers, without the batch. */
export type Shape =
  | ({ readonly kind: 'image' } & ImageShape)
  /** `flattened`: the image that a vector's entries come from, in (height, width, channel) order. */
  | { readonly kind: 'vector'; readonly size: number; readonly flattened?: ImageShape };

/** `train` normalises by the batch and moves the running statistics; `eval` normalises by the running statistics. */
export type Mode = 'train' | 'eval';

/** One batch norm's input: mean and biased variance over batch, height and width; shape [channels] each. */
export type BatchStats = { readonly mean: tf.Tensor1D; readonly variance: tf.Tensor1D };

/** The same image by image: mean and biased variance over height and width; shape [batch, channels] each. */
export type ImageStats = { readonly mean: tf.Tensor2D; readonly variance: tf.Tensor2D };

/** What a network is asked for, beside its logits. */
export interface ApplyOptions {
  /** How batch norms normalise. */
  readonly mode: Mode;
  /**
   * The statistics of what batch norms take in: of those over images (PyTorch's `BatchNorm2d`), or of `all`, also those
   * over vectors; default false. DeepInversion's code counts the former alone.
   */
  readonly batchStats?: boolean | 'all';
  /** The statistics of each image in what batch norms over images take in; default false. */
  readonly imageStats?: boolean;
  /** Names of `activations` that are wanted as well; default none. */
  readonly activations?: readonly string[];
}

/** What a network gives. */
export interface Output {
  /** [batch, classes] */
  readonly logits: tf.Tensor2D;
  /** What the head's first dense layer receives: [batch, features]. */
  readonly features: tf.Tensor2D;
  /** Running statistics after this batch in `train` mode; the given ones in `eval` mode. */
  readonly stats: Named;
  /**
   * By batch norm's name (`layer1.0.bn1`), in the order of computation; present when asked for, in both modes, with
   * gradients.
   */
  readonly batchStats?: { readonly [batchNorm: string]: BatchStats };
  /** The same, of each image. */
  readonly imageStats?: { readonly [batchNorm: string]: ImageStats };
  /** [batch, …] of `Network.activations`, by name; present when some are asked for, in both modes, with gradients. */
  readonly activations?: Named;
  /** By head's name, [batch, classes]: the logits of a network's auxiliary heads (`withHeads`), where it has some. */
  readonly heads?: { readonly [head: string]: tf.Tensor2D };
}

/** The first value of a variable of so many numbers; `images` as in `Network.init`. */
export type Initial = (key: Key, size: number, images?: () => tf.Tensor4D) => Float32Array;

/** How a variable is laid out here, so that it can be exported to PyTorch and back. */
export interface VariableSpec {
  readonly name: string;
  /** Shape here. */
  readonly shape: readonly number[];
  readonly kind: 'param' | 'stat';
  /**
   * Of a running statistic: what its batch norm normalises. PyTorch's `BatchNorm2d` is over images, `BatchNorm1d` over
   * vectors.
   */
  readonly over?: 'images' | 'vectors';
  readonly layout:
    | 'conv' // [kh, kw, in, out] here, [out, in, kh, kw] in PyTorch
    | 'dense' // [in, out] here, [out, in] in PyTorch
    | { readonly flattened: ImageShape } // dense after a flatten: rows in (height, width, channel) order here, (channel, height, width) in PyTorch
    | 'plain'; // the same in both
}

/** A network for one image shape and number of classes: `init` and `apply` are pure. */
export interface Network {
  readonly name: string;
  /** The shape of the images that it was built for. */
  readonly input: ImageShape;
  readonly classes: number;
  readonly variables: readonly VariableSpec[];
  /**
   * What can be asked for of what happens between images and logits, in the order of computation: the outputs of
   * modules, by PyTorch's names (`layer1`), with their shapes for images of `input`.
   */
  readonly activations: Readonly<Record<string, Shape>>;
  /**
   * Fresh variables, owned by the caller; the same key gives the same bits.
   *
   * @param images gives normalised images that it will be trained on, [n, height, width, channels] of the caller's, for layers
   * whose first values are made of such: `whitened`. Without, these begin at random.
   */
  init(key: Key, images?: () => tf.Tensor4D): Variables;
  /**
   * images: [batch, height, width, channels], normalised. The logits are the same bits whichever activations are asked
   * for.
   *
   * @throws FailureError of kind `plugin` when asked for an activation that it has not
   */
  apply(variables: Variables, images: tf.Tensor4D, options: ApplyOptions): Output;
}

/** A network as a value in an experiment: `preResNet(20)`. `build` fits it to the data. */
export interface NetworkPlugin {
  readonly name: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** `import.meta.url` of the module that defines it: a changed source retrains what it touches. */
  readonly source: string;
  /** Throws a `FailureError` of kind `experiment` when the shape does not fit. */
  build(input: ImageShape, classes: number): Network;
}
