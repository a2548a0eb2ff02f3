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

/** `train` normalises by the batch and moves the running statistics; `eval` normalises by the running statistics. */
export type Mode = 'train' | 'eval';

/** How a network is applied, and what it gives besides its answer. */
export interface ApplyOptions {
  readonly mode: Mode;
  readonly taps?: boolean;
  readonly activations?: readonly string[];
}

/** One batch norm's input: mean and biased variance over batch, height and width; shape [channels] each. */
export type BatchStats = { readonly mean: tf.Tensor1D; readonly variance: tf.Tensor1D };

export interface Output {
  /** [batch, classes] */
  readonly logits: tf.Tensor2D;
  /** What the head's first dense layer receives: [batch, features]. */
  readonly features: tf.Tensor2D;
  /** Running statistics after this batch in `train` mode; the given ones in `eval` mode. */
  readonly stats: Named;
  /** By batch norm's name (`layer1.0.bn1`), in the order of computation; present when asked for, in both modes, with gradients. */
  readonly taps?: { readonly [batchNorm: string]: BatchStats };
}

/** How a variable is laid out here, so that it can be exported to PyTorch and back. */
export interface VariableSpec {
  readonly name: string;
  /** Shape here. */
  readonly shape: readonly number[];
  readonly kind: 'param' | 'stat';
  readonly layout:
    | 'conv' // [kh, kw, in, out] here, [out, in, kh, kw] in PyTorch
    | 'dense' // [in, out] here, [out, in] in PyTorch
    | { readonly flattened: ImageShape } // dense after a flatten: rows in (height, width, channel) order here, (channel, height, width) in PyTorch
    | 'plain'; // the same in both
}

/** A network for one image shape and number of classes: `init` and `apply` are pure. */
export interface Network {
  readonly name: string;
  readonly input: ImageShape;
  readonly classes: number;
  readonly variables: readonly VariableSpec[];
  /** Fresh variables, owned by the caller; the same key gives the same bits. */
  init(key: Key): Variables;
  /** images: [batch, height, width, channels], normalised. */
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
