import * as tf from '@tensorflow/tfjs';
import { augment } from '../public/ops.js';
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
import {
  batchesPerEpoch,
  type ClassifierState,
  classifier,
  clone,
  crossEntropy,
  type FitSpec,
  imageSource,
  initialState,
  type LabelledBatch,
  normalise,
  normalisePixels,
  type RawBatch,
  type Resident,
  type UnlabelledBatch,
  unpacked,
  unrecorded,
  valueAndGradient,
} from '../public/train.js';

/**
 * Adaptive misinformation (Kariyappa and Qureshi, CVPR 2020): where the victim is unsure, another net answers, which learnt to be wrong:
 * y′ = (1 − a) y + a softmax(f̂(x)), a = σ(ν (τ − max y)). f̂ minimises −ln(1 − p_y) on the training images. With `outliers` the
 * victim is trained to be unsure of such: CE + λ mean(logsumexp z − mean z) of them.
 *
 * sanjaykariyappa/adaptive_misinformation c2a3e1b; the threshold by data set is Yoruko-Tang/ModelGuard's. f̂ learns from training images
 * alone, as in the latter, where the former has outliers too. The gate is on the victim's own sureness: one that is less
 * sure, as a nasty teacher, opens it more often, for its users too.
 */
export const adaptiveMisinformation = defineDefense({
  name: 'adaptiveMisinformation',
  source: import.meta.url,
  about: 'Where the victim is unsure, a net that learnt to be wrong answers',
  paper: 'Kariyappa and Qureshi, Defending against model stealing attacks with adaptive misinformation, CVPR 2020',
  options: {
    threshold: option(between(0, 1), 0.7, 'τ, the largest probability below which the victim counts as unsure'),
    steepness: option(positive, 1000, 'ν, how sudden the change is'),
    epochs: optional(wholeAtLeast(1), "Epochs of the wrong net; default: the teacher's recipe's"),
    outliers: optional(anyDataset, 'Images that the victim is trained to be unsure of; default: none'),
    exposure: option(atLeast(0), 1, 'λ, the weight of its sureness of them'),
  },
  presets: { cifar10: {}, cifar100: { threshold: 0.4 }, mnist: { threshold: 0.99, epochs: 20 } },
  scaled: ({ epochs }, factor) => ({ epochs: epochs && Math.max(1, Math.round(factor * epochs)) }),
  exposes: 'probabilities',
  make: ({ threshold, steepness, epochs, outliers, exposure }) => ({
    ...(outliers === undefined
      ? {}
      : { outliers, protect: (teacher: Teacher, context: DefenseContext) => exposed(teacher, context, exposure) }),
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

type Both<Of> = { readonly own: Of; readonly other: Of };

/** The teacher trained anew with outlier exposure. */
const exposed = (
  { learner: { network, recipe } }: Teacher,
  { fit, train, outliers }: DefenseContext,
  weight: number,
) => {
  if (outliers === undefined) throw new Error('there are no outliers');
  const spec: FitSpec<Record<never, never>, ClassifierState, Both<RawBatch>, Variables, Both<Resident>> = {
    step: ({ data }, { variables, slots, step }, { own, other }, { learningRate, seed }) => {
      const { images, labels } = unpacked<LabelledBatch>(data.own, own);
      const seen = normalise(augment(images, train.augmentation, seed), train.normalisation);
      const outside = normalise(unpacked<UnlabelledBatch>(data.other, other).images, train.normalisation);
      const { loss, gradients, aux } = valueAndGradient((params) => {
        const inside = network.apply({ params, stats: variables.stats }, seen, { mode: 'train' });
        const stats = unrecorded(() => clone(inside.stats));
        const strange = network.apply({ params, stats }, outside, { mode: 'train' });
        const terms = { crossEntropy: crossEntropy(inside.logits, labels), sureness: sureness(strange.logits) };
        const accuracy = tf.mean(tf.cast(tf.equal(tf.argMax(inside.logits, 1), labels), 'float32'));
        const total = tf.add<tf.Scalar>(terms.crossEntropy, tf.mul(terms.sureness, weight));
        return { loss: total, aux: { stats: strange.stats, metrics: { ...terms, accuracy } } };
      }, variables.params);
      const updated = recipe.optimizer.update(gradients, slots, variables.params, learningRate);
      return {
        state: {
          variables: { params: updated.params, stats: aux.stats },
          slots: updated.state,
          step: tf.add<tf.Scalar>(step, 1),
        },
        metrics: { loss, ...aux.metrics },
      };
    },
    init: (key) => initialState(recipe.optimizer, network.init(key)),
    source: (key) => {
      const own = imageSource(train, { batch: recipe.batch, key: key.split('own') });
      const other = imageSource(outliers, { batch: recipe.batch, key: key.split('outliers') });
      return {
        data: { own: own.data, other: other.data },
        steps: own.steps,
        at: (step, atMost) => {
          const { batch, images } = own.at(step, atMost);
          return { batch: { own: batch, other: other.at(step).batch }, images };
        },
      };
    },
    epochs: recipe.epochs,
    stepsPerEpoch: batchesPerEpoch(train.indices.length, recipe.batch),
    schedule: recipe.schedule,
    keep: ({ variables }) => variables,
  };
  return fit('teacher', spec);
};
