import * as tf from '@tensorflow/tfjs';
import { anotherSeed, normalByImage, standardNormal } from '../public/ops.js';
import { atLeast, choice, defineDefense, option, positive } from '../public/plugin.js';
import { crossEntropy, normalisePixels, unrecorded } from '../public/train.js';
import { taughtBy } from './training.js';

/**
 * A teacher that sees each image through a random net, and learnt to (MeCo, Wang et al., NeurIPS 2023): V(x + s P(x)), P a tiny convolutional
 * net whose weights are drawn for each image. It is trained by CE(V(x)) + CE(V(x + s P(x))) + 0.001 mean |V(x + s P(x)) − V(x)|, V's
 * answers being logits, with s = 0.5.
 *
 * P is two residual blocks, x + a f(x), f a convolution of kernel 1 to 2 channels, batch norm, ReLU, one of kernel 3 and dilation 2, batch
 * norm, ReLU, one of kernel 1 back, batch norm; a is uniform in 0.3 … 0.6. Batch norms are over each image by itself, and weights are
 * normal: a batch norm takes away how large they are.
 *
 * joey-wang123/DFME-DRO 05e7e67 (teacher-train_DRO.py). There x is first moved by a step up the loss, which is inert as released: a mean's
 * gradient is divided by the batch once more and multiplied by 10⁻⁴. It is left out. The released evaluation of DFME
 * leaves the queries by which gradients are estimated undefended; here every question is answered through P. `fresh`, as
 * released, draws P at every call, which many calls average out. Ours, for want of a source: the residual is added to x, a is drawn for
 * each block and image, weights are normal, and images are changed as the net takes them, normalised; and `sticky`, by which P
 * belongs to the image's bytes.
 */
export const meco = defineDefense({
  name: 'meco',
  source: import.meta.url,
  about: 'A teacher that sees each image through a random net, and learnt to',
  paper: 'Wang et al., MeCo, NeurIPS 2023',
  options: {
    strength: option(positive, 0.27, "s, the random net's share in what is seen when answering"),
    taught: option(positive, 0.5, '… and in training'),
    consistency: option(atLeast(0), 0.001, 'Weight of the difference that it makes to logits in training'),
    draw: option(choice('fresh', 'sticky'), 'fresh', 'Anew at every call, or once for the bytes of an image'),
  },
  presets: { cifar10: {}, cifar100: { strength: 0.2 } },
  exposes: 'probabilities',
  make: ({ strength, taught, consistency, draw }) => ({
    protect: ({ learner }, context) =>
      context.fit(
        'teacher',
        taughtBy(learner, context, {}, ({ pass, images, labels, seed }) => {
          const [batch, , , channels] = images.shape;
          const drawn = standardNormal([batch, numbersOf(channels)], anotherSeed(seed, 1)) as tf.Tensor2D;
          const changed = unrecorded(() => through(images, drawn, taught));
          const plain = pass(images).logits;
          return consistent({ plain, changed: pass(changed).logits, labels }, consistency);
        }),
      ),
    answers: {
      kind: 'random',
      slow: true,
      positive: true,
      asksAnew: true,
      answer: ({ images, seed, secret, victim: { network, variables, normalisation } }) => {
        const [batch, , , channels] = images.shape;
        const count = numbersOf(channels);
        const drawn =
          draw === 'fresh'
            ? (standardNormal([batch, count], seed) as tf.Tensor2D)
            : normalByImage(images, count, secret);
        const seen = through(normalisePixels(images, normalisation), drawn, strength);
        return { logProbabilities: tf.logSoftmax(network.apply(variables, seen, { mode: 'eval' }).logits) };
      },
    },
  }),
});

/** The training's loss, of logits [batch, classes] with and without the random net. */
export const consistent = (
  {
    plain,
    changed,
    labels,
  }: { readonly plain: tf.Tensor2D; readonly changed: tf.Tensor2D; readonly labels: tf.Tensor1D },
  weight: number,
) => {
  const terms = {
    crossEntropy: crossEntropy(plain, labels),
    changedCrossEntropy: crossEntropy(changed, labels),
    difference: tf.mean<tf.Scalar>(tf.abs(tf.sub(changed, plain))),
  };
  const loss = tf.addN([terms.crossEntropy, terms.changedCrossEntropy, tf.mul(terms.difference, weight)]) as tf.Scalar;
  return { loss, terms };
};

/** Channels inside a block. */
const narrow = 2;

/** Of a block's numbers: those of its three convolutions, and two that its scale is drawn with. */
const partsOf = (channels: number) => [channels * narrow, 9 * narrow * narrow, narrow * channels, 2] as const;

/** Numbers of a random net. */
export const numbersOf = (channels: number): number => 2 * partsOf(channels).reduce((sum, each) => sum + each, 0);

/**
 * x + s P(x), each image by a net of its own.
 *
 * @param images [batch, height, width, channels]
 * @param drawn standard normal numbers [batch, numbers of a net]
 */
export const through = (images: tf.Tensor4D, drawn: tf.Tensor2D, strength: number): tf.Tensor4D =>
  tf.tidy(() => {
    const blocks = tf.split(drawn, 2, 1) as tf.Tensor2D[];
    const changed = blocks.reduce((x, numbers) => block(x, numbers), images);
    return tf.add(images, tf.mul(changed, strength));
  });

/** x + a f(x). */
const block = (x: tf.Tensor4D, numbers: tf.Tensor2D): tf.Tensor4D => {
  const channels = x.shape[3];
  const [into, around, back, scale] = tf.split(numbers, [...partsOf(channels)], 1) as [
    tf.Tensor2D,
    tf.Tensor2D,
    tf.Tensor2D,
    tf.Tensor2D,
  ];
  const inner = tf.relu(levelled(mixed(x, into, narrow)));
  const wider = tf.relu(levelled(mixed(neighbours(inner), around, narrow)));
  const f = levelled(mixed(wider, back, channels));
  // Of two normal numbers, exp(−(a² + b²) / 2) is uniform in 0 … 1.
  const uniform = tf.exp(tf.mul(tf.sum(tf.square(scale), 1), -0.5));
  const a = tf.add(tf.mul(uniform, 0.3), 0.3);
  return tf.add(x, tf.mul(f, tf.reshape(a, [-1, 1, 1, 1])));
};

/** Each pixel's channels by a matrix of the image's own, [batch, from · to]. */
const mixed = (x: tf.Tensor4D, matrices: tf.Tensor2D, to: number): tf.Tensor4D => {
  const [batch, height, width, from] = x.shape;
  const pixels = tf.reshape(x, [batch, height * width, from]);
  const product = tf.matMul(pixels, tf.reshape(matrices, [batch, from, to]));
  return tf.reshape(product, [batch, height, width, to]);
};

/** Of each pixel the channels of the nine around it, two apart; black outside. [batch, height, width, 9 · channels] */
const neighbours = (x: tf.Tensor4D): tf.Tensor4D => {
  const [batch, height, width, channels] = x.shape;
  const padded = tf.pad4d(x, [
    [0, 0],
    [2, 2],
    [2, 2],
    [0, 0],
  ]);
  const offsets = [0, 2, 4];
  const views = offsets.flatMap((down) =>
    offsets.map((right) => tf.slice(padded, [0, down, right, 0], [batch, height, width, channels])),
  );
  return tf.concat(views, 3);
};

/** Each channel of each image to mean 0 and variance 1: a batch norm of one image. */
const levelled = (x: tf.Tensor4D): tf.Tensor4D => {
  const { mean, variance } = tf.moments(x, [1, 2], true);
  return tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, 1e-5)));
};
