import { classifier } from '../train/classifier.js';
import { crossEntropy } from '../train/losses.js';
import { type Attack, unlabelled } from './attack.js';

/**
 * The student learns the class the victim names for each augmented image, by cross-entropy: all that an interface which
 * tells labels alone gives away. The attacker needs images but no labels, and so cannot choose a checkpoint.
 */
export const hardLabel = (): Attack<'label', typeof unlabelled> => ({
  name: 'hardLabel',
  params: {},
  source: import.meta.url,
  needs: 'label',
  data: unlabelled,
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
});
