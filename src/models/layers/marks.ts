import type * as tf from '@tensorflow/tfjs';
import { type Layer, misfit, show, stateless } from './layer.js';

/** Marks what flows here as the network's features, a vector: put it before the head's first dense layer. */
export const features: Layer = stateless(
  ({ input, prefix }) => {
    if (input.kind === 'vector') return input;
    throw misfit(
      `features are a vector, not an image of ${show(input)}`,
      `${prefix}features`,
      'Put globalMean or flatten before it.',
    );
  },
  (x, pass) => {
    pass.features = x as tf.Tensor2D;
    return x;
  },
);

/**
 * Marks what flows here as the network's activation of that name: `Network.activations` has it, and it is given to whoever
 * asks for it. Where it is asked for, nothing is fused across it: between a convolution with a bias and its batch norm, the
 * bias is then added where in training it is otherwise left out, and what follows is equal to rounding alone.
 */
export const marked =
  (name: string): Layer =>
  ({ input, prefix }) => {
    const full = `${prefix}${name}`;
    return {
      output: input,
      variables: [],
      activations: { [full]: input },
      mark: full,
      run: (x, { asked, activations }) => {
        if (asked.activations?.includes(full)) activations[full] = x.clone();
        return x;
      },
    };
  };
