import type * as tf from '@tensorflow/tfjs';
import { checked, nothingElse, positive, wholeAtLeast } from '../core/check.js';
import type { Tree } from '../core/tree.js';
import { standardNormal } from '../engine/ops.js';
import type { Named } from '../models/network.js';
import { type ClassifierState, initialState, updateOn } from '../train/classifier.js';
import type { FitSpec } from '../train/fit.js';
import { distillationKl } from '../train/losses.js';
import type { Attack } from './attack.js';
import { constantSource, scheduleSlice } from './synthesis.js';

export interface NoiseOptions {
  /** τ > 0. */
  readonly temperature?: number;
  /** Default: as many as the student takes when trained honestly. */
  readonly steps?: number;
  readonly label?: string;
}

/** What a batch of noise brings: nothing, since the step draws it. */
type Drawn = { readonly [name: string]: never };

/**
 * Distillation on nothing: the victim is asked about images of normal noise, fresh at every step. The floor for data-free
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
  };
};
