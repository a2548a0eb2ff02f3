import * as tf from '@tensorflow/tfjs';
import { belowOne, between, defineAttack, distilBy, labelled, option, positive } from '../public/plugin.js';
import { besideLabels, detach, klDivergence, soften } from '../public/train.js';

/**
 * Distillation from the answers that are surest: of each batch the share with the smallest largest probability is not listened to, against
 * defences that mislead where the victim is unsure. α τ² KL(teacher ‖ student) over the others, and (1−α) CE over all.
 */
export const sureKd = defineAttack({
  name: 'sureKd',
  source: import.meta.url,
  about:
    'Distillation from the most confident answers of each batch: against defences that mislead where the victim is not confident',
  paper: 'Ours',
  cost: 'an answer to each image in each epoch',
  options: {
    without: option(belowOne, 0.2, 'Share of the answers of a batch that are left out, the least confident ones'),
    temperature: option(positive, 4, 'τ, at which both are softened'),
    alpha: option(between(0, 1), 0.9, "α, the weight of the victim's answers against the labels"),
  },
  needs: 'probabilities',
  data: labelled,
  make: ({ without, temperature, alpha }) =>
    distilBy(({ logits, teacher, labels }) => {
      const kl = klOfSurest({ logits, teacher, temperature, without });
      return besideLabels({ kl, logits, labels, temperature, alpha });
    }),
});

/**
 * KL(teacher ‖ student), both softened, over all rows but the ⌊without · batch⌋ whose largest probability is smallest, and such as are as
 * unsure as the last of them; one row at least counts. The mean over the rows that count, in nats.
 *
 * @param logits the student's [batch, classes]
 * @param teacher log-probabilities [batch, classes]; no gradient flows to it
 */
export const klOfSurest = ({
  logits,
  teacher,
  temperature,
  without,
}: {
  readonly logits: tf.Tensor2D;
  readonly teacher: tf.Tensor2D;
  readonly temperature: number;
  readonly without: number;
}): tf.Scalar => {
  const batch = logits.shape[0];
  const sureness = tf.max(teacher, 1, true);
  // The last place of those that count, in their order.
  const kept = Math.max(1, batch - Math.floor(without * batch));
  const least = tf.min(tf.topk(tf.reshape(sureness, [batch]) as tf.Tensor1D, kept).values);
  const counts = tf.greaterEqual(sureness, least);
  const student = soften(logits, temperature);
  // A row that is its own target has no divergence, and no gradient.
  const target = tf.where(counts, soften(detach(teacher), temperature), detach(student)) as tf.Tensor2D;
  const share = tf.mean(tf.cast(counts, 'float32'));
  return tf.div<tf.Scalar>(klDivergence(target, student), share);
};
