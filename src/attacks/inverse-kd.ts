import { between, defineAttack, distilBy, labelled, option, positive } from '../public/plugin.js';
import { distillation } from '../public/train.js';

/**
 * Distillation from answers of which the defence is undone first, by an attacker who knows it and its parameters: α τ² KL(recovered ‖
 * student) + (1−α) CE. A defence with a known inverse has it (`recover`); others are not attacked so.
 */
export const inverseKd = defineAttack({
  name: 'inverseKd',
  source: import.meta.url,
  about: 'Distillation from answers of which the defence is undone first, where its inverse is known',
  paper: 'Ours',
  cost: 'an answer to each image in each epoch',
  options: {
    temperature: option(positive, 4, 'τ, at which both are softened'),
    alpha: option(between(0, 1), 0.9, "α, the weight of the victim's answers against the labels"),
  },
  needs: 'probabilities',
  data: labelled,
  make: ({ temperature, alpha }) => ({
    knows: 'inverse',
    ...distilBy(({ logits, teacher, labels }) => distillation({ logits, teacher, labels, temperature, alpha }), {
      hear: (victim, pixels, { recover = (answers) => answers }) => recover(victim.logProbabilities(pixels)),
    }),
  }),
});
