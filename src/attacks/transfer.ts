import * as tf from '@tensorflow/tfjs';
import { anyDataset, defineAttack, option, positive, required } from '../public/plugin.js';
import { answersTo } from '../public/synthesis.js';
import { classifier, crossEntropy, distillationKl } from '../public/train.js';
import { answers } from './knockoff.js';

/**
 * Distillation on out-of-distribution images, by an attacker who has none of the victim's: τ² KL(victim ‖ student) on
 * another data set's training images, brought to the victim's size and channels, in as many steps as honest training
 * takes; or CE(student, the victim's class), where that is all that is asked. The victim is asked about every augmented batch. What a
 * data-free attack must beat to be worth its trouble.
 */
export const transfer = defineAttack({
  name: 'transfer',
  source: import.meta.url,
  about: "Distillation on out-of-distribution images, brought to the size of the victim's",
  paper: 'Distillation on unrelated data, with which Fang et al., Data-free adversarial distillation, 2019, compare',
  cost: 'an answer to each image of a step, in as many steps as honest training takes',
  options: {
    images: required(anyDataset, 'The images that the attacker has; their labels are not looked at'),
    temperature: option(positive, 4, 'τ, at which both are softened'),
    answers,
  },
  needs: ({ answers }) => answers,
  data: ({ images }) => ({ kind: 'other', images }),
  make: ({ temperature, answers: asked }) => ({
    steal: (victim, learner, { fit, data, fullStepsPerEpoch }) =>
      fit(
        'student',
        classifier({
          learner,
          data: data.train,
          stepsPerEpoch: fullStepsPerEpoch,
          victim,
          target: ({ victim, pixels }) => ({ teacher: answersTo(victim, asked, pixels) }),
          loss: ({ logits, target: { teacher } }) =>
            asked === 'label'
              ? { loss: crossEntropy(logits, tf.argMax(teacher, 1)) }
              : distillationKl({ logits, teacher, temperature }),
        }),
      ),
  }),
});
