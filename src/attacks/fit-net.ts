import * as tf from '@tensorflow/tfjs';
import { atLeast, defineAttack, type ImageShape, labelled, layers, option, optional } from '../public/plugin.js';
import { classifier, crossEntropy, normalisePixels, withHeads, withoutHeads } from '../public/train.js';
import { anyPairs, imageAt, type Pair, pairsOf, whyNoPairs } from './activation-pairs.js';

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
  options: {
    weight: option(atLeast(0), 100, 'λ, the weight of the hint'),
    pairs: optional(anyPairs, 'The activations, one pair; default: in the middle, those of the nearest sizes'),
  },
  needs: 'weights',
  data: labelled,
  make: ({ weight, pairs }) => {
    const pairOf = (...nets: Parameters<typeof pairsOf>): Pair => (pairs ?? pairsOf(...nets)).at(middle(nets)) as Pair;
    const middle = (nets: Parameters<typeof pairsOf>): number => ((pairs ?? pairsOf(...nets)).length - 1) >> 1;
    return {
      refuses: (victim, student) => {
        const why = whyNoPairs(victim, student, pairs ?? pairsOf(victim, student));
        if (why !== undefined) return why;
        const [theirs, own] = pairOf(victim, student);
        const [to, from] = [imageAt(victim, theirs) as ImageShape, imageAt(student, own) as ImageShape];
        return regression(from, to) === undefined
          ? `no regressor brings the ${from.height}×${from.width} of ${own} to the ${to.height}×${to.width} of ${theirs}`
          : undefined;
      },
      steal: (victim, { network, recipe }, { fit, data }) => {
        const [theirs, own] = pairOf(victim.network, network);
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
            const distance = tf.mean<tf.Scalar>(tf.square(tf.sub(guided, hint)));
            const hard = crossEntropy(logits, labels);
            return {
              loss: tf.add<tf.Scalar>(hard, tf.mul(distance, weight)),
              terms: { hint: distance, crossEntropy: hard },
            };
          },
        });
        return fit('student', { ...spec, keep: ({ variables }) => withoutHeads(network, variables) });
      },
    };
  },
});

const { batchNorm, conv, relu, sequential, transposedConv } = layers;

/** Layers from one size of images to another with the channels of the latter; undefined where there are none. */
const regression = (from: ImageShape, to: ImageShape): layers.Layer | undefined => {
  const [s, t] = [from.height, to.height];
  if (from.width - to.width !== s - t) return undefined;
  const convolution =
    s === 2 * t
      ? conv('0', to.channels, { kernel: 3, stride: 2, padding: 1, bias: true })
      : 2 * s === t
        ? transposedConv('0', to.channels, { bias: true })
        : s >= t
          ? conv('0', to.channels, { kernel: 1 + s - t, bias: true })
          : undefined;
  return convolution && sequential(convolution, batchNorm('1'), relu);
};
