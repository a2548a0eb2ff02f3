import * as tf from '@tensorflow/tfjs';
import { atLeast, defineAttack, distilBy, labelled, option, positive } from '../public/plugin.js';
import { rowNorms } from '../public/synthesis.js';
import { crossEntropy, detach, soften } from '../public/train.js';

/**
 * DIST (Huang et al., NeurIPS 2022): the student's probabilities need only correlate with the teacher's,
 *
 *   λ_CE CE + τ² (β (1 − mean over images of ρ over classes) + γ (1 − mean over classes of ρ over the batch)),
 *
 * ρ Pearson's correlation of probabilities softened by τ. The second mean is one of the batch: a last batch that is
 * smaller counts differently, and one of a single image correlates with nothing.
 *
 * hunto/image_classification_sota (dist_kd.py); the released weight of 2 on both terms is in β and γ here.
 */
export const dist = defineAttack({
  name: 'dist',
  source: import.meta.url,
  about: "The student's probabilities are to correlate with the teacher's, over classes and over the batch",
  paper: 'Huang et al., Knowledge distillation from a stronger teacher, NeurIPS 2022',
  cost: 'an answer to each image in each epoch',
  options: {
    temperature: option(positive, 4, 'τ, at which both are softened'),
    beta: option(atLeast(0), 2, 'β, the weight of correlation over the classes of an image'),
    gamma: option(atLeast(0), 2, 'γ, the weight of correlation over the images of a batch'),
    labelWeight: option(atLeast(0), 1, 'λ_CE, the weight of the labels'),
  },
  presets: { cifar100: {}, imageNet: { temperature: 1 } },
  needs: 'probabilities',
  data: labelled,
  make: ({ temperature, beta, gamma, labelWeight }) => ({
    refuses: ({ classes }, _, { recipe: { batch } }) => {
      if (classes < 3 && beta > 0)
        return { reason: 'over two classes every correlation is 1 or −1', remedy: 'Give beta 0, or use kd.' };
      return batch < 3 && gamma > 0
        ? {
            reason: 'over a batch of two images every correlation is 1 or −1',
            remedy: 'Give the student a larger batch, or gamma 0.',
          }
        : undefined;
    },
    ...distilBy(({ logits, teacher, labels }) => {
      const { inter, intra } = correlationLosses({ logits, teacher, temperature });
      const hard = crossEntropy(logits, labels);
      const soft = tf.add(tf.mul(inter, beta), tf.mul(intra, gamma));
      return {
        loss: tf.add<tf.Scalar>(tf.mul(soft, temperature ** 2), tf.mul(hard, labelWeight)),
        terms: { inter, intra, crossEntropy: hard },
      };
    }),
  }),
});

/**
 * 1 − ρ, meant over images (`inter`: over the classes of each) and over classes (`intra`: over the batch); 0 … 2 each,
 * not multiplied by τ².
 *
 * @param logits the student's [batch, classes]
 * @param teacher logits or log-probabilities [batch, classes], −∞ allowed; no gradient flows to it
 */
export const correlationLosses = ({
  logits,
  teacher,
  temperature,
}: {
  readonly logits: tf.Tensor2D;
  readonly teacher: tf.Tensor2D;
  readonly temperature: number;
}): { readonly inter: tf.Scalar; readonly intra: tf.Scalar } => {
  const [p, q] = [tf.exp(soften(detach(teacher), temperature)), tf.exp(soften(logits, temperature))];
  return { inter: apart(p, q), intra: apart(tf.transpose(p), tf.transpose(q)) };
};

/** 1 − the mean of the rows' correlations; a row that does not vary has none. */
const apart = (p: tf.Tensor2D, q: tf.Tensor2D): tf.Scalar => {
  const [x, y] = [p, q].map((each) => tf.sub(each, tf.mean(each, 1, true))) as [tf.Tensor2D, tf.Tensor2D];
  const correlations = tf.div(tf.sum(tf.mul(x, y), 1), tf.add(tf.mul(rowNorms(x), rowNorms(y)), 1e-8));
  return tf.sub<tf.Scalar>(1, tf.mean(correlations));
};
