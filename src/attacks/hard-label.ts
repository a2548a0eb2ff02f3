import { defineAttack, unlabelled } from '../public/plugin.js';
import { classifier, crossEntropy } from '../public/train.js';

/**
 * The student learns the class the victim names for each augmented image, by cross-entropy: all that an interface which
 * tells labels alone gives away. The attacker needs images but no labels, and so cannot choose a checkpoint.
 */
export const hardLabel = defineAttack({
  name: 'hardLabel',
  source: import.meta.url,
  about: "The victim's class for each image, as a label",
  paper: 'Ours, as the floor for what labels alone give away',
  cost: 'an answer to each image in each epoch',
  needs: 'label',
  data: unlabelled,
  make: () => ({
    steal: (victim, learner, { fit, data }) =>
      fit(
        'student',
        classifier({
          learner,
          data: data.train,
          victim,
          target: ({ victim, pixels }) => ({ labels: victim.labels(pixels) }),
          loss: ({ logits, target: { labels } }) => ({ loss: crossEntropy(logits, labels) }),
        }),
      ),
  }),
});
