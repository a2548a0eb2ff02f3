import type * as tf from '@tensorflow/tfjs';
import { positive, wholeAtLeast } from '../core/check.js';
import { option, optional } from '../core/options.js';
import type { Tree } from '../core/tree.js';
import { standardNormal } from '../engine/ops.js';
import type { Named } from '../models/network.js';
import { type ClassifierState, initialState, updateOn } from '../train/classifier.js';
import type { FitSpec } from '../train/fit.js';
import { distillationKl } from '../train/losses.js';
import { defineAttack } from './define.js';
import { constantSource, scheduleSlice } from './synthesis.js';

/** What a batch of noise brings: nothing, since the step draws it. */
type Drawn = { readonly [name: string]: never };

/**
 * Distillation on nothing: the victim is asked about images of normal noise, fresh at every step. The floor for data-free
 * attacks; DAFL's paper has 88.01 % for it on MNIST and 14.89 % on CIFAR-10.
 */
export const noise = defineAttack({
  name: 'noise',
  source: import.meta.url,
  about: 'Distillation on normal noise, fresh at every step: the floor for attacks without data',
  paper: 'Chen et al., Data-free learning of student networks (DAFL), ICCV 2019',
  options: {
    temperature: option(positive, 1, 'τ, at which both are softened'),
    steps: optional(wholeAtLeast(1), 'Default: as many as the student takes when trained honestly'),
  },
  scaled: ({ steps }, factor) => ({ steps: steps && Math.max(1, Math.round(factor * steps)) }),
  needs: 'probabilities',
  data: { kind: 'none' },
  make: ({ temperature, steps }) => ({
    steal: (victim, learner, { fit, fullStepsPerEpoch }) => {
      const { network, recipe } = learner;
      const { height, width, channels } = network.input;
      const total = steps ?? recipe.epochs * fullStepsPerEpoch;
      const spec: FitSpec<Tree, ClassifierState, Drawn, ClassifierState['variables']> = {
        step: ({ frozen }, state, _, { learningRate, seed }) => {
          const images = standardNormal([recipe.batch, height, width, channels], seed) as tf.Tensor4D;
          const teacher = victim.logProbabilities(frozen, images);
          const updated = updateOn(learner, state, images, learningRate, ({ logits }) =>
            distillationKl({ logits, teacher, temperature }),
          );
          return { state: updated.state, metrics: { loss: updated.loss, ...updated.terms } as Named };
        },
        frozen: victim.frozen,
        init: (key) => initialState(recipe.optimizer, network.init(key)),
        source: constantSource<Drawn>(() => ({}), recipe.batch, total),
        ...scheduleSlice(recipe, { steps: total, before: 0, total }),
        queriesPerImage: 1,
        keep: ({ variables }) => variables,
      };
      return fit('student', spec);
    },
  }),
});
