import * as tf from '@tensorflow/tfjs';
import { between, defineAttack, distilBy, type Heard, labelled, option, positive } from '../public/plugin.js';
import { besideLabels, detach, klDivergence, soften } from '../public/train.js';

/**
 * Distillation from the mean of the softened answers to a batch's images of the same label: what a defence adds to single answers is averaged
 * away, and what is left is how classes are alike. α τ² KL(mean ‖ student) + (1−α) CE.
 *
 * Linfeng-Ye/CMIM 2c34234 (stingy/train_avg_stingy.py, "Avg"), which has τ = 4 and α = 0.9; its KL is a mean over classes too, here a sum.
 */
export const classMeanKd = defineAttack({
  name: 'classMeanKd',
  source: import.meta.url,
  about: "Distillation from the mean of the answers to a batch's images of the same label",
  paper: 'As in the code of CMIM, 2025 (arXiv 2507.00012), its Avg',
  cost: 'an answer to each image in each epoch',
  options: {
    temperature: option(positive, 4, 'τ, at which both are softened'),
    alpha: option(between(0, 1), 0.9, "α, the weight of the victim's answers against the labels"),
  },
  needs: 'probabilities',
  data: labelled,
  make: ({ temperature, alpha }) => distilBy((heard) => distilledFromMeans(heard, { temperature, alpha })),
});

/** α τ² KL(mean ‖ student) + (1−α) CE. */
export const distilledFromMeans = (
  { logits, teacher, labels }: Pick<Heard, 'logits' | 'teacher' | 'labels'>,
  { temperature, alpha }: { readonly temperature: number; readonly alpha: number },
) => {
  const mean = tf.log(meanOfClass(tf.exp(soften(detach(teacher), temperature)), labels)) as tf.Tensor2D;
  const kl = klDivergence(mean, soften(logits, temperature));
  return besideLabels({ kl, logits, labels, temperature, alpha });
};

/** Each row replaced by the mean of the rows of the same label: probabilities [batch, classes], labels int32 [batch]. */
export const meanOfClass = (probabilities: tf.Tensor2D, labels: tf.Tensor1D): tf.Tensor2D => {
  const isSame = tf.cast(tf.equal(tf.expandDims(labels, 1), tf.expandDims(labels, 0)), 'float32') as tf.Tensor2D;
  return tf.div(tf.matMul(isSame, probabilities), tf.sum(isSame, 1, true));
};
