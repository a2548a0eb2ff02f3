import * as tf from '@tensorflow/tfjs';
import { atLeast, defineAttack, labelled, option, optional } from '../public/plugin.js';
import { classifier, crossEntropy, normalisePixels } from '../public/train.js';
import { anyPairs, attentionBetween, namesOf, pairsOf, whyNoPairs } from './activation-pairs.js';

/**
 * Attention transfer (Zagoruyko and Komodakis, ICLR 2017) with the victim's weights at hand: the student learns from labels, and
 * to look where the victim looks,
 *
 *   CE + λ Σ over pairs of activations of mean (Q_student − Q_victim)²,  Q as in `attentionMap`.
 *
 * It does not look at the victim's answers, so that a lie in its last layer does not reach the student. By the form and
 * the weight of HobbitLong/RepDistiller b84f547, where the activations of all stages but the first and the last are
 * compared; here those of each size, the last of it.
 */
export const attentionTransfer = defineAttack({
  name: 'attentionTransfer',
  source: import.meta.url,
  about: "Labels, and activations that look where the victim's do; its answers are not looked at",
  paper: 'Zagoruyko and Komodakis, Paying more attention to attention, ICLR 2017; weight of RepDistiller',
  cost: 'a pass of each image in each epoch through the victim',
  options: {
    weight: option(atLeast(0), 1000, 'λ, the weight of the attention maps'),
    pairs: optional(anyPairs, "Activations that are compared; default: for each size of the student's, the nearest"),
  },
  presets: { cifar100: {} },
  needs: 'weights',
  data: labelled,
  make: ({ weight, pairs }) => ({
    refuses: (victim, student) => whyNoPairs(victim, student, pairs ?? pairsOf(victim, student)),
    steal: (victim, learner, { fit, data }) => {
      const compared = pairs ?? pairsOf(victim.network, learner.network);
      return fit(
        'student',
        classifier({
          learner,
          data: data.train,
          validation: data.validation,
          victim,
          activations: namesOf(compared, 'student'),
          target: ({ victim, pixels }) => {
            const images = normalisePixels(pixels, victim.normalisation);
            return { seen: victim.apply(images, { activations: namesOf(compared, 'victim') }).activations ?? {} };
          },
          loss: ({ logits, output, target: { seen }, batch: { labels } }) => {
            const attention = attentionBetween(compared, output.activations ?? {}, seen);
            const hard = crossEntropy(logits, labels);
            return {
              loss: tf.add<tf.Scalar>(hard, tf.mul(attention, weight)),
              terms: { attention, crossEntropy: hard },
            };
          },
        }),
      );
    },
  }),
});
