import {
  type Attack,
  between,
  defineAttack,
  distilBy,
  type Labelled,
  labelled,
  option,
  positive,
  required,
  share,
} from '../public/plugin.js';
import { distillation } from '../public/train.js';
import { type Part, partOf, partOptions, scratch } from './scratch.js';

const cifar10 = { temperature: 4, alpha: 0.9 } as const;

const options = {
  temperature: option(positive, cifar10.temperature, 'τ_S, at which both are softened'),
  alpha: option(between(0, 1), cifar10.alpha, "α, the weight of the teacher's answers against the labels"),
};

/** τ_S and α by data set, from Nasty Teacher's released `params.json` files. */
const presets = {
  cifar10,
  cifar100: { temperature: 20, alpha: 0.9 },
  tinyImageNet: { temperature: 20, alpha: 0.9 },
} as const;

const paper =
  'Hinton et al., Distilling the knowledge in a neural network, 2015; settings of Ma et al., Undistillable, ICLR 2021';

/**
 * Knowledge distillation (Hinton et al. 2015), as the nasty teacher's students meet it:
 * α τ² KL(σ_τ(p_T) ‖ σ_τ(p_S)) + (1−α) CE(σ(p_S), y), the teacher asked about every augmented batch.
 *
 * Defaults are CIFAR-10's as released (`kd.presets.cifar10`).
 */
export const kd = defineAttack({
  name: 'kd',
  source: import.meta.url,
  about: 'Distillation on all images: α τ² KL(teacher ‖ student) + (1−α) CE',
  paper,
  cost: 'an answer to each image in each epoch',
  options,
  presets,
  needs: 'probabilities',
  data: labelled,
  make: (chosen) => distil(chosen, {}),
});

/**
 * Distillation by an attacker who owns part of the training images. Compared with a student trained on the labels of
 * the same images for the same number of steps.
 */
export const partialKd = defineAttack({
  name: 'partialKd',
  source: import.meta.url,
  about: 'Distillation on a part of the images, compared with honest training on the same part',
  paper,
  cost: 'an answer to each image in each epoch',
  options: { ...options, fraction: required(share, 'Share of the training images'), ...partOptions },
  presets,
  needs: 'probabilities',
  data: partOf,
  make: ({ temperature, alpha, ...part }) => distil({ temperature, alpha }, part),
});

const distil = (
  settings: { readonly temperature: number; readonly alpha: number },
  part: Partial<Part>,
): Pick<Attack<'probabilities', Labelled>, 'baseline' | 'steal'> => ({
  baseline: scratch(part),
  ...distilBy(({ logits, teacher, labels }) => distillation({ logits, teacher, labels, ...settings }), part),
});
