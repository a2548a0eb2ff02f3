import { anyDataset, defineAttack, option, positive, required } from '../public/plugin.js';
import { classifier, distillationKl } from '../public/train.js';

/**
 * Distillation on images of something else, by an attacker who has none of the victim's: τ² KL(victim ‖ student) on
 * another data set's training images, brought to the victim's size and channels, in as many steps as honest training
 * takes. What a data-free attack must beat to be worth its trouble.
 */
export const transfer = defineAttack({
  name: 'transfer',
  source: import.meta.url,
  about: "Distillation on images of something else, brought to the size of the victim's",
  options: {
    images: required(anyDataset, 'The images that the attacker has; their labels are not looked at'),
    temperature: option(positive, 4, 'τ, at which both are softened'),
  },
  needs: 'probabilities',
  data: ({ images }) => ({ kind: 'other', images }),
  make: ({ temperature }) => ({
    steal: (victim, learner, { fit, data, fullStepsPerEpoch }) =>
      fit(
        'student',
        classifier({
          learner,
          data: data.train,
          stepsPerEpoch: fullStepsPerEpoch,
          victim,
          target: ({ victim, pixels }) => ({ teacher: victim.logProbabilities(pixels) }),
          loss: ({ logits, target: { teacher } }) => distillationKl({ logits, teacher, temperature }),
        }),
      ),
  }),
});
