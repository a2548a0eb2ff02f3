import type * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../../core/errors.js';
import type * as ops from '../../engine/ops.js';
import type {
  ApplyOptions,
  BatchStats,
  ImageShape,
  ImageStats,
  Initial,
  Mode,
  Named,
  Shape,
  VariableSpec,
} from '../network.js';

/** A variable's specification and its first value, in the layout of this framework. */
export interface Variable extends VariableSpec {
  readonly initial: Initial;
}

/** One pass through a network: what layers read, and where they leave what they found. */
export interface Pass {
  readonly variables: Named;
  readonly mode: Mode;
  readonly asked: Omit<ApplyOptions, 'mode'>;
  /** Running statistics after the pass. */
  readonly stats: Record<string, tf.Tensor>;
  /** What was asked for, by name. */
  readonly batchStats: Record<string, BatchStats>;
  readonly imageStats: Record<string, ImageStats>;
  readonly activations: Record<string, tf.Tensor>;
  features?: tf.Tensor2D;
}

/** A layer fitted to its input. `run` gives one new tensor, or its input, and leaves nothing else behind. */
export interface BoundLayer {
  readonly output: Shape;
  readonly variables: readonly Variable[];
  /** What `marked` layers in it, or it itself, let be asked for: shapes by name. */
  readonly activations?: Readonly<Record<string, Shape>>;
  /**
   * `selects`: max-pooling. `rises`: one non-decreasing function per channel, applied number by number, which therefore
   * commutes with max-pooling; `sequential` pools first.
   */
  readonly nature?: 'selects' | 'rises';
  /** Of an activation: which. */
  readonly activation?: ops.Activation;
  /** Of a convolution that nothing else is done with: its variable and its place. */
  readonly filter?: { readonly weight: string; readonly stride: number; readonly padding: number };
  /**
   * Of two layers that see the halves of an image's channels, and whose own come in turn: what they give for two images, which are
   * disposed of.
   */
  readonly ofHalves?: (given: Pair, pass: Pass) => Pair;
  /** Of a batch norm with a weight and a bias that nothing else is done with: its name. */
  readonly norm?: { readonly name: string; readonly epsilon: number };
  /** Of a bias that nothing else is done with: its variable. */
  readonly bias?: string;
  /** Where nothing is differentiated: the same, then something added, then an activation. */
  readonly adds?: (x: tf.Tensor, pass: Pass, plus: tf.Tensor, activation: ops.Activation | undefined) => tf.Tensor;
  /** Where only answers are wanted, and it is less work: the same of x with a bias added. */
  readonly ofBiased?: (x: tf.Tensor, pass: Pass, bias?: tf.Tensor) => tf.Tensor | undefined;
  /** Of max-pooling that nothing else is done with: height and width of its windows. */
  readonly pools?: number;
  /** The same, which also tells the batch norm after it mean and variance of what it gives, where it can. */
  readonly telling?: BoundLayer;
  /** Of what begins with a batch norm: it takes what it is told. */
  readonly listens?: true;
  /** Of a batch norm: the name of its running mean, and the new batch's share in it. */
  readonly running?: { readonly mean: string; readonly share: number };
  /** The same and what follows it at once, where that is less work. */
  readonly with?: (next: BoundLayer) => BoundLayer | undefined;
  /** Of `marked`: the name of the activation. Where nobody asks for it, it is left out. */
  readonly mark?: string;
  /** Of a sequence: its layers, in the order in which they were written. */
  readonly parts?: readonly BoundLayer[];
  run(x: tf.Tensor, pass: Pass): tf.Tensor;
}

/** What a layer needs to know to fit itself. */
export interface LayerContext {
  readonly input: Shape;
  /** Prepended to the names of variables: `layer1.0.`. */
  readonly prefix: string;
  readonly classes: number;
}

/** A part of a network, not yet fitted to what flows in: `sequential` and `network` do that. */
export type Layer = (site: LayerContext) => BoundLayer;

export const misfit = (
  what: string,
  where: string,
  remedy = 'Choose a network that takes such images, or bring the images to a size that fits.',
): FailureError => new FailureError(failure('experiment', what, { where, remedy }));

export const show = (shape: Shape): string =>
  shape.kind === 'image' ? `${shape.height}×${shape.width}×${shape.channels}` : `${shape.size} numbers`;

export const imageAt = ({ input, prefix }: LayerContext, layer: string): ImageShape => {
  if (input.kind !== 'image') throw misfit(`it takes an image, not ${show(input)}`, `${prefix}${layer}`);
  return input;
};

/** An image shape after windows of `kernel` at every `stride`. */
export const windows = (site: LayerContext, layer: string, kernel: number, stride: number, padding: number) => {
  const image = imageAt(site, layer);
  const side = (size: number) => Math.floor((size + 2 * padding - kernel) / stride) + 1;
  const [height, width] = [side(image.height), side(image.width)];
  if (height < 1 || width < 1) {
    throw misfit(
      `an image of ${show(site.input)} is too small for its ${kernel}×${kernel} window`,
      `${site.prefix}${layer}`,
    );
  }
  return { height, width };
};

/** A layer without variables. */
export const stateless = (
  output: (site: LayerContext) => Shape,
  run: BoundLayer['run'],
  nature?: BoundLayer['nature'],
): Layer => {
  return (site) => ({ output: output(site), variables: [], run, ...(nature === undefined ? {} : { nature }) });
};

/** Two images of one shape. */
export type Pair = readonly [tf.Tensor4D, tf.Tensor4D];

/** The activations of several layers. */
export const allOf = (layers: readonly (BoundLayer | undefined)[]): Readonly<Record<string, Shape>> =>
  Object.assign({}, ...layers.map((layer) => layer?.activations));

/** The channels of the image that reaches a layer, for layers whose make depends on them. */
export const channelsAt = (site: LayerContext): number => imageAt(site, 'block').channels;
