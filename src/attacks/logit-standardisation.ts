import * as tf from '@tensorflow/tfjs';
import { atLeast, defineAttack, distilBy, labelled, option, positive } from '../public/plugin.js';
import { crossEntropy, distillationKl, recoveredLogits } from '../public/train.js';

/**
 * Distillation of standardised logits (Sun et al., CVPR 2024): λ_CE CE + λ_KD τ² KL(teacher ‖ student) of
 * z′ = (z − mean) / (10⁻⁷ + std) over the classes, the deviation unbiased. The student need not copy how large the
 * teacher's logits are, only how they lie: what a defence does to their scale is lost on it.
 *
 * sunshangquan/logit-standardization-KD f6e5aa5 (KD.py), for CIFAR-100. Log-probabilities stand for logits, from which
 * they differ by a constant a row; what is told to be 0 is read as in `recoveredLogits`.
 */
export const logitStandardisation = defineAttack({
  name: 'logitStandardisation',
  source: import.meta.url,
  about: 'Distillation of logits that are brought to mean 0 and deviation 1 first: how large they are is not copied',
  paper: 'Sun et al., Logit standardization in knowledge distillation, CVPR 2024',
  cost: 'an answer to each image in each epoch',
  options: {
    temperature: option(positive, 2, 'τ, at which both are softened'),
    kdWeight: option(atLeast(0), 9, "λ_KD, the weight of the teacher's answers"),
    labelWeight: option(atLeast(0), 0.1, 'λ_CE, the weight of the labels'),
  },
  presets: { cifar100: {} },
  needs: 'probabilities',
  data: labelled,
  make: ({ temperature, kdWeight, labelWeight }) => ({
    refuses: ({ classes }) =>
      classes < 3
        ? { reason: 'two logits that are standardised are the same whatever they were', remedy: 'Use kd.' }
        : undefined,
    ...distilBy(({ logits, teacher, labels }) => {
      const { loss: soft, terms } = distillationKl({
        logits: standardised(logits),
        teacher: standardised(recoveredLogits(teacher)),
        temperature,
      });
      const hard = crossEntropy(logits, labels);
      return {
        loss: tf.add<tf.Scalar>(tf.mul(soft, kdWeight), tf.mul(hard, labelWeight)),
        terms: { ...terms, crossEntropy: hard },
      };
    }),
  }),
});

/**
 * (z − mean) / (10⁻⁷ + std) of each row, std the unbiased deviation: [batch, classes] -> [batch, classes]. Equal logits
 * give 0, and no gradient that is not finite.
 */
export const standardised = (logits: tf.Tensor2D): tf.Tensor2D => {
  const centred = tf.sub<tf.Tensor2D>(logits, tf.mean(logits, 1, true));
  const variance = tf.div(tf.sum(tf.square(centred), 1, true), logits.shape[1] - 1);
  return tf.div(centred, tf.add(tf.sqrt(tf.add(variance, 1e-14)), 1e-7));
};
