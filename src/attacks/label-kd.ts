import * as tf from '@tensorflow/tfjs';
import { between, defineAttack, labelled, option } from '../public/plugin.js';
import { classifier, crossEntropy } from '../public/train.js';

/**
 * Distillation from the class that the victim names, by who has labels of its own beside it: α CE(student, the victim's class) + (1−α) CE(student,
 * label). `hardLabel` is α 1, by who has none. A temperature would change no one-hot answer, and is 1 for the student.
 */
export const labelKd = defineAttack({
  name: 'labelKd',
  source: import.meta.url,
  about: "The victim's class for each image, beside labels of one's own",
  paper: 'Ours, as the floor for what labels alone give who has labels too',
  cost: 'an answer to each image in each epoch',
  options: { alpha: option(between(0, 1), 0.9, "α, the weight of the victim's class against the labels") },
  needs: 'label',
  data: labelled,
  make: ({ alpha }) => ({
    steal: (victim, learner, { fit, data }) =>
      fit(
        'student',
        classifier({
          learner,
          data: data.train,
          validation: data.validation,
          victim,
          target: ({ victim, pixels }) => ({ named: victim.labels(pixels) }),
          loss: ({ logits, target: { named }, batch: { labels } }) => {
            const terms = { told: crossEntropy(logits, named), crossEntropy: crossEntropy(logits, labels) };
            return {
              loss: tf.add<tf.Scalar>(tf.mul(terms.told, alpha), tf.mul(terms.crossEntropy, 1 - alpha)),
              terms,
            };
          },
        }),
      ),
  }),
});
