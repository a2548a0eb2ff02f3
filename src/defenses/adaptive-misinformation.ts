import * as tf from '@tensorflow/tfjs';
import {
  anyDataset,
  atLeast,
  between,
  type DefenseContext,
  defineDefense,
  option,
  optional,
  positive,
  type Teacher,
  type Variables,
  wholeAtLeast,
} from '../public/plugin.js';
import { classifier, crossEntropy, normalisePixels } from '../public/train.js';
import { taughtBy } from './training.js';

/**
 * Adaptive misinformation (Kariyappa and Qureshi, CVPR 2020): where the victim is unsure, another net answers, which learnt to be wrong:
 * y′ = (1 − a) y + a softmax(f̂(x)), a = σ(ν (τ − max y)). f̂ minimises −ln(1 − p_y) on the training images. With `outliers` the
 * victim is trained to be unsure of such: CE + λ mean(logsumexp z − mean z) of them.
 *
 * sanjaykariyappa/adaptive_misinformation c2a3e1b; the threshold by data set is Yoruko-Tang/ModelGuard's, but
 * for MNIST's. Both expose the victim to outliers (SVHN, KMNIST), which `outliers` names. f̂ learns from training images
 * alone, as in the latter, where the former has outliers too. Outliers are passed with the training images, as one batch, as in both. The gate is on
 * the victim's own sureness: one that is less sure, as a nasty teacher, opens it more often, for its users too.
 */
export const adaptiveMisinformation = defineDefense({
  name: 'adaptiveMisinformation',
  source: import.meta.url,
  about: 'Where the victim is not confident, a net that learnt to be wrong answers',
  paper: 'Kariyappa and Qureshi, Defending against model stealing attacks with adaptive misinformation, CVPR 2020',
  options: {
    threshold: option(between(0, 1), 0.7, 'τ, the largest probability below which the victim counts as not confident'),
    steepness: option(positive, 1000, 'ν, how sudden the change is'),
    epochs: optional(wholeAtLeast(1), "Epochs of the wrong net; default: the teacher's recipe's"),
    outliers: optional(anyDataset, 'Images that the victim is trained to be not confident of; default: none'),
    exposure: option(atLeast(0), 1, 'λ, the weight of its sureness of them'),
  },
  presets: {
    cifar10: {},
    cifar100: { threshold: 0.4 },
    cub: { threshold: 0.3 },
    caltech: { threshold: 0.25 },
    mnist: { threshold: 0.99, steepness: 10_000, epochs: 20 },
    mnistSmall: { epochs: 2 },
  },
  scaled: ({ epochs }, factor) => ({ epochs: epochs && Math.max(1, Math.round(factor * epochs)) }),
  exposes: 'probabilities',
  make: ({ threshold, steepness, epochs, outliers, exposure }) => ({
    ...(outliers === undefined
      ? {}
      : {
          outliers,
          protect: ({ learner }: Teacher, context: DefenseContext) =>
            context.fit(
              'teacher',
              taughtBy(learner, context, {}, ({ passTogether, images, labels, outliers: strange }) => {
                const [own, other] = passTogether(images, strange as tf.Tensor4D);
                const hard = crossEntropy(own, labels);
                const sure = sureness(other);
                return {
                  loss: tf.add<tf.Scalar>(hard, tf.mul(sure, exposure)),
                  terms: { crossEntropy: hard, sureness: sure },
                };
              }),
            ),
        }),
    preparedBy: { epochs },
    prepare: async ({ learner }, { fit, train }) => {
      const recipe = { ...learner.recipe, epochs: epochs ?? learner.recipe.epochs };
      const { last } = await fit(
        'misinformation',
        classifier({
          learner: { network: learner.network, recipe },
          data: train,
          loss: ({ logits, batch: { labels } }) => ({ loss: wrongness(logits, labels) }),
        }),
      );
      return last;
    },
    answers: {
      kind: 'pure',
      slow: true,
      answer: ({ logProbabilities, images, prepared, victim: { network, normalisation } }) => {
        const seen = normalisePixels(images, normalisation);
        const wrong = tf.logSoftmax(network.apply(prepared as Variables, seen, { mode: 'eval' }).logits);
        return { logProbabilities: misinformed(logProbabilities, wrong, { threshold, steepness }) };
      },
    },
  }),
});

/** −ln(1 − p_y), the batch mean: small where the label is ruled out; logits [batch, classes]. */
export const wrongness = (logits: tf.Tensor2D, labels: tf.Tensor1D): tf.Scalar => {
  const isLabel = tf.cast(tf.oneHot(labels, logits.shape[1]), 'bool');
  const others = tf.logSumExp(tf.where(isLabel, Number.NEGATIVE_INFINITY, logits), 1);
  return tf.mean<tf.Scalar>(tf.sub(tf.logSumExp(logits, 1), others));
};

/** (1 − a) y + a ŷ, a = σ(ν (τ − max y)); log-probabilities [batch, classes]. */
export const misinformed = (
  logProbabilities: tf.Tensor2D,
  wrong: tf.Tensor2D,
  { threshold, steepness }: Readonly<Record<'threshold' | 'steepness', number>>,
): tf.Tensor2D => {
  const most = tf.exp(tf.max(logProbabilities, 1, true));
  const share = tf.sigmoid(tf.mul(tf.sub(threshold, most), steepness));
  const [y, other] = [tf.exp(logProbabilities), tf.exp(wrong)];
  return tf.log(tf.add(tf.mul(y, tf.sub(1, share)), tf.mul(other, share))) as tf.Tensor2D;
};

/** The mean over images of logsumexp z − mean z: least for equal logits. */
export const sureness = (logits: tf.Tensor2D): tf.Scalar =>
  tf.mean<tf.Scalar>(tf.sub(tf.logSumExp(logits, 1), tf.mean(logits, 1)));
