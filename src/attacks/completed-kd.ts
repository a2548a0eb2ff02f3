import * as tf from '@tensorflow/tfjs';
import { logSoftmax } from '../public/ops.js';
import {
  belowOne,
  between,
  choice,
  defineAttack,
  distilBy,
  labelled,
  option,
  optional,
  positive,
  wholeAtLeast,
} from '../public/plugin.js';
import { besideLabels, detach, klDivergence, soften } from '../public/train.js';

/**
 * Distillation from answers that are told for some classes alone, as by a filter that keeps the largest or by a stingy teacher: what
 * the victim hid is not learnt as zero. With A the classes that are told, p_A and q_A the victim's and the student's
 * probabilities made to sum to 1 over them, and q the student's,
 *
 * - `masked`: KL(p_A ‖ q_A): nothing is learnt of the others;
 * - `ownTail`: KL(p′ ‖ q) with p′ = q(A) p_A on A, and q elsewhere: the student's own opinion, held fixed;
 * - `uniformTail`: the same with p′ = (1 − ρ) p_A on A, and ρ shared alike by the others, before it is softened;
 *
 * α τ² of it and (1 − α) CE, all softened by τ. Where one class alone is told, `masked` and `ownTail` would say nothing: such an answer is learnt
 * as a label, α −ln q of it at temperature 1. No published attack on such answers was found: this one is ours. Plain distillation,
 * `kd`, is the naive one, and differs from `masked` by −ln q(A).
 */
export const completedKd = defineAttack({
  name: 'completedKd',
  source: import.meta.url,
  about: 'Distillation from answers for some classes alone, of which the others are not learnt as zero',
  paper: 'Ours: no published attack on such answers was found',
  cost: 'an answer to each image in each epoch',
  options: {
    temperature: option(positive, 4, 'τ, at which both are softened'),
    alpha: option(between(0, 1), 0.9, "α, the weight of the teacher's answers against the labels"),
    completion: option(choice('masked', 'ownTail', 'uniformTail'), 'masked', 'What stands for what is not told'),
    tail: option(belowOne, 0.05, 'ρ, what `uniformTail` gives to the classes that are not told, of 1'),
    k: optional(wholeAtLeast(1), 'Classes that count as told at most, the largest; default: those that are not 0'),
  },
  // Of a stingy teacher, whose students have τ 20 on every data set as released.
  presets: { stingy: { temperature: 20, alpha: 0.9 } },
  needs: 'probabilities',
  data: labelled,
  make: ({ temperature, alpha, completion, tail, k }) => ({
    // Where all that is not 0 is told, and nothing is 0, it is `kd`.
    ...(k === undefined ? { knows: 'zeros' } : {}),
    refuses: ({ classes }) =>
      k !== undefined && k > classes
        ? { reason: `there are ${classes} classes, and k is ${k}`, remedy: 'Give a smaller k, or none.' }
        : undefined,
    ...distilBy(({ logits, teacher, labels }) => {
      const kl = completed({ logits, teacher, temperature, completion, tail, k });
      return besideLabels({ kl, logits, labels, temperature, alpha });
    }),
  }),
});

/**
 * The divergence from a completed answer to the student; the batch mean in nats, not multiplied by τ² (of which −ln q, where it is learnt as
 * a label, is divided by τ²).
 *
 * @param logits the student's [batch, classes]
 * @param teacher log-probabilities [batch, classes], −∞ for what is told to be 0; no gradient flows to it
 */
export const completed = ({
  logits,
  teacher,
  temperature,
  completion,
  tail,
  k,
}: {
  readonly logits: tf.Tensor2D;
  readonly teacher: tf.Tensor2D;
  readonly temperature: number;
  readonly completion: 'masked' | 'ownTail' | 'uniformTail';
  readonly tail: number;
  readonly k?: number | undefined;
}): tf.Scalar => {
  const classes = logits.shape[1];
  const kth = k === undefined ? least : tf.maximum(tf.min(tf.topk(teacher, k).values, 1, true), least);
  const isTold = tf.greaterEqual(teacher, kth);
  const among = (x: tf.Tensor2D, by = temperature): tf.Tensor2D =>
    soften(tf.where(isTold, x, Number.NEGATIVE_INFINITY) as tf.Tensor2D, by);
  const count = tf.sum(tf.cast(isTold, 'float32'), 1, true);
  const student = soften(logits, temperature);
  if (completion === 'uniformTail') {
    const told = among(detach(teacher), 1);
    const hidden = tf.sub(classes, count);
    const none = tf.equal(hidden, 0);
    const kept = tf.where(none, 0, Math.log(1 - tail));
    const shared = tf.log(tf.div(tail, tf.where(none, 1, hidden)));
    const filled = tf.where(isTold, tf.add(told, kept), tf.mul(tf.onesLike(told), shared)) as tf.Tensor2D;
    return klDivergence(soften(filled, temperature), student);
  }
  const told = among(detach(teacher));
  // Of one class alone p_A and q_A are 1 whatever is learnt: its answer is a label, which is not softened.
  const label = tf.sum(tf.where(isTold, logSoftmax(logits), 0), 1, true);
  const asLabel = tf.neg(tf.div(tf.mean(tf.where(tf.equal(count, 1), label, 0)), temperature ** 2));
  if (completion === 'masked') return tf.add(klDivergence(told, among(logits)), asLabel);
  const own = detach(student);
  const share = tf.log(tf.sum(tf.where(isTold, tf.exp(own), 0), 1, true));
  return tf.add(klDivergence(tf.where(isTold, tf.add(told, share), own) as tf.Tensor2D, student), asLabel);
};

/** Below every logarithm of a probability that float32 has. */
const least = -1e30;
