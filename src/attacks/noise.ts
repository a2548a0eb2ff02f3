import * as tf from '@tensorflow/tfjs';
import { standardNormal } from '../public/ops.js';
import { defineAttack, option, optional, positive, wholeAtLeast } from '../public/plugin.js';
import { constantSource, scheduleSlice } from '../public/synthesis.js';
import {
  averagedBy,
  type ClassifierState,
  distillationKl,
  initialState,
  type NoTensors,
  normalisePixels,
  toPixels,
  updateOn,
} from '../public/train.js';
import { paysFor } from './joint.js';

/**
 * Distillation on nothing: the victim is asked about images of normal noise, cut off at black and
 * white, fresh at every step. The floor for data-free
 * attacks; DAFL's paper has 88.01 % for it on MNIST and 14.89 % on CIFAR-10.
 */
export const noise = defineAttack({
  name: 'noise',
  source: import.meta.url,
  about: 'Distillation on normal noise, fresh at every step: the floor for attacks without data',
  paper: 'Chen et al., Data-free learning of student networks (DAFL), ICCV 2019',
  cost: 'an answer to each image of a step, in as many steps as honest training takes',
  options: {
    temperature: option(positive, 1, 'τ, at which both are softened'),
    steps: optional(wholeAtLeast(1), 'Default: as many as the student takes when trained honestly'),
  },
  scaled: ({ steps }, factor) => ({ steps: steps && Math.max(1, Math.round(factor * steps)) }),
  needs: 'probabilities',
  data: { kind: 'none' },
  make: ({ temperature, steps }) => ({
    refuses: (_, __, { recipe: { batch }, ...circumstances }) =>
      paysFor(batch, circumstances, 'a step asks', 'Give a larger budget, or the student a smaller batch.'),
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
          return { state: averagedBy(recipe, updated.state, total), metrics: { loss: updated.loss, ...updated.terms } };
        },
        victim,
        init: (key) => initialState(recipe, network.init(key)),
        source: constantSource((): NoTensors => ({}), recipe.batch, total),
        ...scheduleSlice(recipe, { steps: total, before: 0, total }),
        keep: ({ variables }) => variables,
      });
    },
  }),
});
