import * as tf from '@tensorflow/tfjs';
import {
  atLeast,
  defineAttack,
  type ImageShape,
  labelled,
  layers,
  type Network,
  option,
  optional,
} from '../public/plugin.js';
import { classifier, crossEntropy, normalisePixels, withHeads, withoutHeads } from '../public/train.js';
import { anyPair, imageAt, type Pair, pairsOf, whyNoPairs } from './activation-pairs.js';

/** The name of the layers that bring the student's activation to the victim's. */
const regressor = 'regressor';

/**
 * FitNets (Romero et al., ICLR 2015) with the victim's weights at hand, in one stage: the student learns from labels, and an
 * activation of its own, through a convolution, batch norm and ReLU, is to be the victim's,
 *
 *   CE + λ mean (regressor(a_student) − a_victim)²,
 *
 * the mean over all elements. The regressor is dropped after training. It does not look at the victim's answers, so that a lie
 * in its last layer does not reach the student.
 *
 * By the form and the weight of HobbitLong/RepDistiller b84f547: the convolution is of 3×3 with stride 2 where the student's sides are
 * twice the victim's, a transposed one of 4×4 where they are half, and of kernel 1 + s − t where they are larger otherwise.
 */
export const fitNet = defineAttack({
  name: 'fitNet',
  source: import.meta.url,
  about: "Labels, and an activation from which a regressor makes the victim's; its answers are not looked at",
  paper: 'Romero et al., FitNets: Hints for thin deep nets, ICLR 2015; weight of RepDistiller',
  cost: 'a pass of each image in each epoch through the victim',
  options: {
    weight: option(atLeast(0), 100, 'λ, the weight of the hint'),
    pair: optional(anyPair, "The activations, the victim's and the student's; default: those of the middle size"),
  },
  presets: { cifar100: {} },
  needs: 'weights',
  data: labelled,
  make: ({ weight, pair }) => {
    const pairOf = (victim: Network, student: Network): Pair | undefined => {
      if (pair !== undefined) return pair;
      const all = pairsOf(victim, student);
      return all[(all.length - 1) >> 1];
    };
    return {
      refuses: (victim, student) => {
        const chosen = pairOf(victim, student);
        const why = whyNoPairs(victim, student, chosen === undefined ? [] : [chosen]);
        if (chosen === undefined || why !== undefined) return why;
        const [theirs, own] = chosen;
        const [to, from] = [imageAt(victim, theirs) as ImageShape, imageAt(student, own) as ImageShape];
        return regression(from, to) === undefined
          ? `no regressor brings the ${from.height}×${from.width} of ${own} to the ${to.height}×${to.width} of ${theirs}`
          : undefined;
      },
      steal: (victim, { network, recipe }, { fit, data }) => {
        const [theirs, own] = pairOf(victim.network, network) as Pair;
        const [to, from] = [imageAt(victim.network, theirs) as ImageShape, imageAt(network, own) as ImageShape];
        const learner = {
          recipe,
          network: withHeads(network, { [regressor]: { from: own, layers: regression(from, to) as layers.Layer } }),
        };
        const spec = classifier({
          learner,
          data: data.train,
          validation: data.validation,
          victim,
          target: ({ victim, pixels }) => {
            const images = normalisePixels(pixels, victim.normalisation);
            return { hint: victim.apply(images, { activations: [theirs] }).activations?.[theirs] as tf.Tensor4D };
          },
          loss: ({ logits, output, target: { hint }, batch: { labels } }) => {
            const guided = output.heads?.[regressor] as tf.Tensor;
            return hinted({ hard: crossEntropy(logits, labels), guided, hint, weight });
          },
        });
        return fit('student', { ...spec, keep: ({ variables }) => withoutHeads(network, variables) });
      },
    };
  },
});

/** CE + λ mean (guided − hint)², the mean over all elements; both of one shape. */
export const hinted = ({
  hard,
  guided,
  hint,
  weight,
}: {
  readonly hard: tf.Scalar;
  readonly guided: tf.Tensor;
  readonly hint: tf.Tensor;
  readonly weight: number;
}) => {
  const distance = tf.mean<tf.Scalar>(tf.square(tf.sub(guided, hint)));
  return {
    loss: tf.add<tf.Scalar>(hard, tf.mul(distance, weight)),
    terms: { hint: distance, crossEntropy: hard },
  };
};

const { batchNorm, conv, relu, sequential, transposedConv } = layers;

/** Layers from one size of images to another with the channels of the latter; undefined where there are none. */
export const regression = (from: ImageShape, to: ImageShape): layers.Layer | undefined => {
  const both = (fits: (s: number, t: number) => boolean): boolean =>
    fits(from.height, to.height) && fits(from.width, to.width);
  const convolution = (): layers.Layer | undefined => {
    const { channels } = to;
    if (both((s, t) => s === 2 * t)) return conv('0', channels, { kernel: 3, stride: 2, padding: 1, bias: true });
    if (both((s, t) => 2 * s === t)) return transposedConv('0', channels, { bias: true });
    const more = from.height - to.height;
    return more >= 0 && both((s, t) => s - t === more)
      ? conv('0', channels, { kernel: 1 + more, bias: true })
      : undefined;
  };
  const first = convolution();
  return first && sequential(first, batchNorm('1'), relu);
};
