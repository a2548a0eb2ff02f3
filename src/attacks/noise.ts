import * as tf from '@tensorflow/tfjs';
import { checked, nothingElse, positive, wholeAtLeast } from '../core/check.js';
import { standardNormal } from '../engine/ops.js';
import { type ClassifierState, initialState, updateOn } from '../train/classifier.js';
import { normalisePixels, toPixels } from '../train/images.js';
import { distillationKl } from '../train/losses.js';
import type { NoTensors } from '../train/source.js';
import { constantSource, scheduleSlice } from '../train/synthesis.js';
import type { Attack } from './attack.js';

export interface NoiseOptions {
  /** τ > 0. */
  readonly temperature?: number;
  /** Default: as many as the student takes when trained honestly. */
  readonly steps?: number;
  readonly label?: string;
}

/**
 * Distillation on nothing: the victim is asked about images of normal noise (in the student's normalisation, cut off at black and white), fresh at every step. The floor for data-free
 * attacks; DAFL's paper has 88.01 % for it on MNIST and 14.89 % on CIFAR-10.
 */
export const noise = (options: NoiseOptions = {}): Attack<'probabilities', { readonly kind: 'none' }> => {
  const { temperature = 1, steps, label, ...unknown } = options;
  nothingElse('noise', unknown);
  checked('noise', { temperature: positive, steps: wholeAtLeast(1) }, { temperature, steps: steps ?? 1 });
  return {
    name: 'noise',
    params: { temperature, steps: steps ?? null },
    source: import.meta.url,
    needs: 'probabilities',
    data: { kind: 'none' },
    ...(label === undefined ? {} : { label }),
    scaled: (factor) =>
      noise({ ...options, ...(steps === undefined ? {} : { steps: Math.max(1, Math.round(factor * steps)) }) }),
    steal: (victim, learner, { fit, fullStepsPerEpoch, normalisation }) => {
      const { network, recipe } = learner;
      const { height, width, channels } = network.input;
      const total = steps ?? recipe.epochs * fullStepsPerEpoch;
      return fit('student', {
        step: ({ victim }, state: ClassifierState, _: NoTensors, { learningRate, seed }) => {
          const drawn = standardNormal([recipe.batch, height, width, channels], seed) as tf.Tensor4D;
          // What an interface takes: noise beyond black and white is cut off, for the victim and for the student alike.
          const pixels = tf.clipByValue(toPixels(drawn, normalisation), 0, 1);
          const teacher = victim.logProbabilities(pixels);
          const images = normalisePixels(pixels, normalisation);
          const updated = updateOn(learner, state, images, learningRate, ({ logits }) =>
            distillationKl({ logits, teacher, temperature }),
          );
          return { state: updated.state, metrics: { loss: updated.loss, ...updated.terms } };
        },
        victim,
        init: (key) => initialState(recipe.optimizer, network.init(key)),
        source: constantSource((): NoTensors => ({}), recipe.batch, total),
        ...scheduleSlice(recipe, { steps: total, before: 0, total }),
        keep: ({ variables }) => variables,
      });
    },
  };
};
