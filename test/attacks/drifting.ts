import * as tf from '@tensorflow/tfjs';
import { constant, crossEntropy, type Synthesiser, valueAndGradient } from 'undistill';

type Drifting = { readonly images: tf.Tensor4D };

/** A user's own synthesiser: plain descent on pixels towards what the victim takes for the class asked for. */
export const drifting = (iterations = 4): Synthesiser<Drifting, 'weights'> => ({
  batch: 6,
  phases: [{ iterations, schedule: constant(5) }],
  init: (key, { input: { height, width, channels } }) => {
    const next = key.uniform();
    const pixels = Float32Array.from({ length: 6 * height * width * channels }, () => 2 * next() - 1);
    return { images: tf.tensor4d(pixels, [6, height, width, channels]) };
  },
  images: (_, { images }) => images,
  step: (_, __, { victim, state: { images }, labels, learningRate }) => {
    const { loss, gradients, aux } = valueAndGradient(
      (params) => {
        const { logits } = victim.apply(params.images as tf.Tensor4D);
        return { loss: crossEntropy(logits, labels), aux: { logits } };
      },
      { images },
    );
    const moved = tf.sub<tf.Tensor4D>(images, tf.mul(gradients.images as tf.Tensor4D, learningRate));
    return { state: { images: moved }, shown: { images, teacher: aux.logits }, metrics: { loss } };
  },
});
