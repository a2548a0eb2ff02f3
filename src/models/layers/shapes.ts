import * as tf from '@tensorflow/tfjs';
import * as ops from '../../engine/ops.js';
import type { Shape } from '../network.js';
import { type BoundLayer, imageAt, type Layer, type LayerContext, misfit, show, stateless, windows } from './layer.js';
import { withActivation } from './order.js';

/** Max-pooling without overlap; a remainder at the edge is dropped. */
export const maxPool =
  (size: number): Layer =>
  (site) => {
    const { channels } = imageAt(site, `max-pool ${size}`);
    const output: Shape = { kind: 'image', ...windows(site, `max-pool ${size}`, size, size, 0), channels };
    const fitted = (activation?: ops.Activation): BoundLayer => ({
      output,
      variables: [],
      ...(activation === undefined ? { nature: 'selects', pools: size } : {}),
      with: withActivation(activation, fitted),
      run: (x) => ops.maxPool(x as tf.Tensor4D, size, size, activation),
    });
    return fitted();
  };

/** Means of windows without overlap, PyTorch's `AvgPool2d(size)`; a remainder at the edge is dropped. */
export const avgPool = (size: number): Layer =>
  stateless(
    (site) => {
      const layer = `average-pool ${size}`;
      return { kind: 'image', ...windows(site, layer, size, size, 0), channels: imageAt(site, layer).channels };
    },
    (x) => ops.avgPool(x as tf.Tensor4D, size),
  );

/** Each pixel twice in each direction: PyTorch's `interpolate(scale_factor=2)`, whose mode is nearest. */
export const upsample: Layer = stateless(
  (site) => twice(site, 'upsample'),
  (x) => ops.upsample(x as tf.Tensor4D),
);

/** Twice the sides: PyTorch's `Upsample(scale_factor=2, mode='bilinear')`, which does not align corners. */
export const upsampleBilinear: Layer = stateless(
  (site) => twice(site, 'bilinear upsample'),
  (x) => ops.upsampleBilinear(x as tf.Tensor4D),
);

const twice = (site: LayerContext, layer: string): Shape => {
  const { height, width, channels } = imageAt(site, layer);
  return { kind: 'image', height: 2 * height, width: 2 * width, channels };
};

/** Mean over height and width, so that images of any size fit. */
export const globalMean: Layer = stateless(
  (site) => ({ kind: 'vector', size: imageAt(site, 'global mean').channels }),
  (x) => ops.globalMean(x as tf.Tensor4D),
);

/** An image as a vector, in (height, width, channel) order. */
export const flatten: Layer = stateless(
  (site) => {
    const { height, width, channels } = imageAt(site, 'flatten');
    const flattened = { height, width, channels };
    return { kind: 'vector', size: height * width * channels, ...(height * width > 1 ? { flattened } : {}) };
  },
  (x) => ops.flatten(x as tf.Tensor4D),
);

/** A vector's numbers as an image, in (height, width, channel) order; PyTorch's `view` has (channel, height, width). */
export const unflatten =
  (height: number, width: number, channels: number): Layer =>
  ({ input, prefix }) => {
    const image = { kind: 'image', height, width, channels } as const;
    if (input.kind !== 'vector' || input.size !== height * width * channels)
      throw misfit(`${show(input)} do not make an image of ${show(image)}`, `${prefix}unflatten`);
    return {
      output: image,
      variables: [],
      run: (x) => tf.reshape(x, [x.shape[0] as number, height, width, channels]),
    };
  };
