import { keyImage, mixedWith } from '../defenses/safe-distillation-box.js';
import { between, defineAttack, distilBy, labelled, option, positive, wholeAtLeast } from '../public/plugin.js';
import { distillation } from '../public/train.js';

/**
 * No attacker, but the student whom the owner of a safe distillation box told the key: it mixes the key image into each question, and
 * learns the answer for the image as it is. The box must teach this one as an undefended teacher would. With another key it
 * is an attacker's guess.
 */
export const authorisedKd = defineAttack({
  name: 'authorisedKd',
  source: import.meta.url,
  about: 'Distillation by who knows the key of a safe distillation box',
  paper: 'Ye et al., Safe distillation box, AAAI 2022',
  cost: 'an answer to each image in each epoch',
  options: {
    key: option(wholeAtLeast(0), 0, 'The number that the key image is drawn from'),
    mixed: option(between(0, 1), 0.1, "m, the key's share in a question"),
    temperature: option(positive, 4, 'τ, at which both are softened'),
    alpha: option(between(0, 1), 0.9, "α, the weight of the teacher's answers against the labels"),
  },
  needs: 'probabilities',
  data: labelled,
  make: ({ key, mixed, temperature, alpha }) =>
    distilBy(({ logits, teacher, labels }) => distillation({ logits, teacher, labels, temperature, alpha }), {
      hear: (victim, pixels) => victim.logProbabilities(mixedWith(pixels, keyImage(key, victim.input), mixed)),
    }),
});
