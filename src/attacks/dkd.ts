import * as tf from '@tensorflow/tfjs';
import { atLeast, defineAttack, distilBy, labelled, option, positive, yesOrNo } from '../public/plugin.js';
import { crossEntropy, detach, klDivergence, recoveredLogits, soften } from '../public/train.js';
import { standardised } from './logit-standardisation.js';

/**
 * Decoupled knowledge distillation (Zhao et al., CVPR 2022): what the teacher says of the label against all else
 * (TCKD), and what it says of the other classes among themselves (NCKD), each with a weight of its own,
 *
 *   CE + min(epoch / warmup, 1) τ² (α TCKD + β NCKD),  epochs counted from 1,
 *
 * TCKD = KL of (p_y, 1 − p_y) and NCKD = KL of the other classes' probabilities, which are made to sum to 1; all
 * softened by τ. Plain distillation is TCKD + (1 − p_y) NCKD. Needs three classes.
 *
 * megvii-research/mdistiller a08d46f (DKD.py), for CIFAR-100; that code masks the label by −1000, this by −∞. What the
 * victim tells to be 0 stays so, at every τ; where it tells nothing of the other classes, nothing is learnt of them. Standardised logits have no
 * such zeros: there they are read as in `recoveredLogits`. `standardised` is sunshangquan/logit-standardization-KD f6e5aa5's. `targetOnly` is ours: a nasty teacher lies in what it says of
 * the other classes, which β = 0 does not listen to.
 */
export const dkd = defineAttack({
  name: 'dkd',
  source: import.meta.url,
  about: 'The label against all else, and the other classes among themselves, each with a weight of its own',
  paper: 'Zhao et al., Decoupled knowledge distillation, CVPR 2022',
  cost: 'an answer to each image in each epoch',
  options: {
    temperature: option(positive, 4, 'τ, at which both are softened'),
    alpha: option(atLeast(0), 1, 'α, the weight of the label against all else'),
    beta: option(atLeast(0), 8, 'β, the weight of the other classes among themselves'),
    warmup: option(atLeast(0), 20, 'Epochs in which both weights rise to these'),
    standardise: option(yesOrNo, false, 'Standardise the logits of both first, as `logitStandardisation` does'),
  },
  presets: {
    cifar100: {},
    cifar100ResNet: { beta: 2 },
    cifar100Wide: { beta: 6 },
    standardised: { standardise: true, temperature: 2, alpha: 9, beta: 72 },
    targetOnly: { beta: 0 },
  },
  scaled: ({ warmup }, factor) => ({ warmup: factor * warmup }),
  needs: 'probabilities',
  data: labelled,
  make: ({ warmup, standardise, temperature, alpha, beta }) => ({
    refuses: ({ classes }) =>
      classes < 3 && beta > 0
        ? { reason: 'of two classes there are no others beside the label', remedy: 'Give beta 0, or use kd.' }
        : undefined,
    ...distilBy(({ logits, teacher, labels, epoch }) => {
      const { target, others } = decoupled({
        logits: standardise ? standardised(logits) : logits,
        teacher: standardise ? standardised(recoveredLogits(teacher)) : teacher,
        labels,
        temperature,
      });
      const hard = crossEntropy(logits, labels);
      const soft = tf.add(tf.mul(target, alpha), beta === 0 ? 0 : tf.mul(others, beta));
      const weight = warmup === 0 ? 1 : tf.minimum(tf.div(tf.add(epoch, 1), warmup), 1);
      return {
        loss: tf.add<tf.Scalar>(hard, tf.mul(tf.mul(soft, temperature ** 2), weight)),
        terms: { target, others, crossEntropy: hard },
      };
    }),
  }),
});

/**
 * TCKD and NCKD, batch means in nats, not multiplied by τ².
 *
 * @param logits the student's [batch, classes], at least three
 * @param teacher logits or log-probabilities [batch, classes], −∞ allowed; no gradient flows to it
 * @param labels int32 [batch]
 */
export const decoupled = ({
  logits,
  teacher,
  labels,
  temperature,
}: {
  readonly logits: tf.Tensor2D;
  readonly teacher: tf.Tensor2D;
  readonly labels: tf.Tensor1D;
  readonly temperature: number;
}): { readonly target: tf.Scalar; readonly others: tf.Scalar } => {
  const isLabel = tf.cast(tf.oneHot(labels, logits.shape[1]), 'bool');
  const apart = (x: tf.Tensor2D) => {
    const logP = soften(x, temperature);
    const label = tf.sum(tf.where(isLabel, logP, 0), 1, true);
    return { label, others: tf.where(isLabel, Number.NEGATIVE_INFINITY, logP) as tf.Tensor2D };
  };
  const split = ({ label, others }: ReturnType<typeof apart>, rest: tf.Tensor) => ({
    against: tf.concat([label, rest], 1) as tf.Tensor2D,
    among: tf.sub<tf.Tensor2D>(others, rest),
  });
  const [told, own] = [apart(detach(teacher)), apart(logits)];
  const s = split(own, tf.logSumExp(own.others, 1, true));
  // Of no others at all a sum's logarithm is −∞, which tf.logSumExp does not say.
  const t = split(told, tf.log(tf.sum(tf.exp(told.others), 1, true)));
  const tellsOthers = tf.greater(tf.max(told.others, 1, true), Number.NEGATIVE_INFINITY);
  const among = tf.where(tellsOthers, t.among, detach(s.among)) as tf.Tensor2D;
  return { target: klDivergence(t.against, s.against), others: klDivergence(among, s.among) };
};
