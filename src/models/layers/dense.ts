import * as tf from '@tensorflow/tfjs';
import * as ops from '../../engine/ops.js';
import type { Initial } from '../network.js';
import { constant, kaimingUniform, normal } from './initial.js';
import { type Layer, misfit, show, type Variable } from './layer.js';

/** How a dense layer is laid out. */
export interface DenseLayer {
  /** `kaiming-normal`: weights from N(0, √(2 / in)), biases of 0. Of one's own: the weights, and biases of 0. */
  readonly initial?: 'pytorch' | 'kaiming-normal' | Initial;
  /** Default true. */
  readonly bias?: boolean;
}

/** Dense layer to `out` numbers. */
export const dense =
  (name: string, out: number, { initial = 'pytorch', bias: biased = true }: DenseLayer = {}): Layer =>
  ({ input, prefix }) => {
    if (input.kind !== 'vector') throw misfit(`it takes a vector, not an image of ${show(input)}`, `${prefix}${name}`);
    const weight = `${prefix}${name}.weight`;
    const bias = `${prefix}${name}.bias`;
    const { size, flattened } = input;
    const start =
      initial === 'pytorch'
        ? { weight: kaimingUniform(size), bias: kaimingUniform(size) }
        : {
            weight: initial === 'kaiming-normal' ? normal(Math.sqrt(2 / size)) : initial,
            bias: constant(0),
          };
    const weights: Variable = {
      name: weight,
      shape: [size, out],
      kind: 'param',
      layout: flattened ? { flattened } : 'dense',
      initial: start.weight,
    };
    const biases: Variable = { name: bias, shape: [out], kind: 'param', layout: 'plain', initial: start.bias };
    return {
      output: { kind: 'vector', size: out },
      variables: biased ? [weights, biases] : [weights],
      run: (x, { variables }) =>
        ops.dense(
          x as tf.Tensor2D,
          variables[weight] as tf.Tensor2D,
          biased ? (variables[bias] as tf.Tensor1D) : tf.zeros<tf.Rank.R1>([out]),
        ),
    };
  };

/** The last dense layer, to as many numbers as there are classes. */
export const classifier =
  (name: string, options?: DenseLayer): Layer =>
  (site) =>
    dense(name, site.classes, options)(site);
