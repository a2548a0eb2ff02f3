import { between, checked, nothingElse, positive } from '../core/check.js';
import { classifier } from '../train/classifier.js';
import { distillation } from '../train/losses.js';
import type { Attack, Labelled } from './attack.js';
import { checkPart, type Part, type ScratchOptions, scratch } from './scratch.js';

export interface KdOptions {
  /** τ_S > 0. */
  readonly temperature?: number;
  /** α in 0..1, the weight of the teacher's answers against the labels. */
  readonly alpha?: number;
  readonly label?: string;
}

/**
 * Knowledge distillation (Hinton et al. 2015), as the nasty teacher's students meet it:
 * α τ² KL(σ_τ(p_T) ‖ σ_τ(p_S)) + (1−α) CE(σ(p_S), y), the teacher asked about every augmented batch.
 *
 * Defaults are CIFAR-10's as released (`kdPresets.cifar10`).
 */
export const kd = (options: KdOptions = {}): Attack<'probabilities', Labelled> => distil('kd', options);

/**
 * Distillation by an attacker who owns part of the training images. Compared with a student trained on the labels of the
 * same images for the same number of steps.
 */
export const partialKd = ({
  fraction,
  how = 'stratified',
  steps = 'epochs',
  ...options
}: KdOptions & ScratchOptions & { readonly fraction: number }): Attack<'probabilities', Labelled> =>
  distil('partialKd', options, { fraction, how, steps });

const distil = (
  name: string,
  { temperature = kdPresets.cifar10.temperature, alpha = kdPresets.cifar10.alpha, label, ...unknown }: KdOptions,
  part?: Part,
): Attack<'probabilities', Labelled> => {
  nothingElse(name, unknown);
  checked(name, { temperature: positive, alpha: between(0, 1) }, { temperature, alpha });
  const { fraction, how, steps } = part ?? { fraction: 1, how: 'stratified', steps: 'epochs' };
  checkPart(name, { fraction, how, steps });
  return {
    name,
    params: { temperature, alpha, ...part },
    source: import.meta.url,
    needs: 'probabilities',
    data: { kind: 'labelled', fraction, how },
    baseline: scratch({ fraction, how, steps }),
    ...(label === undefined ? {} : { label }),
    steal: (victim, learner, { fit, data, fullStepsPerEpoch }) =>
      fit(
        'student',
        classifier({
          learner,
          data: data.train,
          validation: data.validation,
          stepsPerEpoch: steps === 'same' ? fullStepsPerEpoch : undefined,
          victim,
          target: ({ victim, pixels }) => ({ teacher: victim.logProbabilities(pixels) }),
          loss: ({ logits, target: { teacher }, batch: { labels } }) =>
            distillation({ logits, teacher, labels, temperature, alpha }),
        }),
      ),
  };
};

/** τ_S and α by data set, from Nasty Teacher's released `params.json` files. */
export const kdPresets = {
  cifar10: { temperature: 4, alpha: 0.9 },
  cifar100: { temperature: 20, alpha: 0.9 },
  tinyImageNet: { temperature: 20, alpha: 0.9 },
} as const;
