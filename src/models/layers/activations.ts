import * as tf from '@tensorflow/tfjs';
import * as ops from '../../engine/ops.js';
import type { Shape } from '../network.js';
import { type Layer, type LayerContext, stateless } from './layer.js';

const unchanged = ({ input }: LayerContext): Shape => input;

const activation =
  (name: ops.Activation, run: (x: tf.Tensor) => tf.Tensor): Layer =>
  ({ input }) => ({ output: input, variables: [], nature: 'rises', activation: name, run });

/** max(x, 0). */
export const relu: Layer = activation('relu', ops.relu);

/** At most 6; its gradient at 0 and at 6 is 0. */
export const relu6: Layer = activation('relu6', ops.relu6);

/** x where positive, else slope · x; default slope 0.01, PyTorch's. */
export const leakyRelu = (slope = 0.01): Layer =>
  stateless(unchanged, (x) => ops.leakyRelu(x, slope), slope >= 0 ? 'rises' : undefined);

/** Hyperbolic tangent. */
export const tanh: Layer = stateless(unchanged, (x) => tf.tanh(x));

/** x Φ(x), where Φ is the standard normal distribution function: PyTorch's exact one. */
export const gelu: Layer = stateless(unchanged, ops.gelu);

/** Every number times a factor. */
export const scaled = (factor: number): Layer =>
  stateless(unchanged, (x) => tf.mul(x, factor), factor >= 0 ? 'rises' : undefined);

/** 1 / (1 + e⁻ˣ). */
export const sigmoid: Layer = stateless(unchanged, (x) => tf.sigmoid(x));
