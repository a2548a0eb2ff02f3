import * as tf from '@tensorflow/tfjs';
import { logSoftmax } from '../engine/ops.js';
import type { BatchStats, Named } from '../models/network.js';
import { crossEntropy, klDivergence, soften } from './losses.js';

/**
 * What data-free attacks ask of the images that they make: plain functions of tensors, with gradients to the images or
 * the logits. They read no tensor's value, so they can be traced, and none is weighted: weights are the attack's.
 *
 * Sources: DeepInversion and Adaptive DeepInversion (Yin et al., CVPR 2020) and DAFL (Chen et al., ICCV 2019), each
 * with its released code.
 */

/** ‖x‖₂ = √Σx² over all of x. Its gradient is x/‖x‖, and 0 at x = 0, as in PyTorch. */
export const euclideanNorm = (x: tf.Tensor): tf.Scalar => tf.reshape(rowNorms(tf.reshape(x, [1, -1])), []);

/**
 * How rough images [n, h, w, c] are, by the differences between neighbours →, ↓, ↘ and ↙: the sum over the four
 * directions of the Euclidean norm of all differences in the whole batch (`l2`, which grows as √n), or of the mean of
 * their absolute values (`l1`). DeepInversion's R_TV; its experiments have `l2`.
 *
 * @param images sides of at least 2 pixels
 */
export const totalVariation = (images: tf.Tensor4D, form: 'l2' | 'l1'): tf.Scalar => {
  const [n, h, w, c] = images.shape;
  tf.util.assert(h > 1 && w > 1, () => `images of ${h}×${w} have no neighbours in all directions`);
  const differences = directions.map(([down, right]) => {
    const left = Math.max(0, -right);
    const window = (top: number, start: number) =>
      tf.slice(images, [0, top, start, 0], [n, h - down, w - Math.abs(right), c]);
    return tf.sub(window(0, left), window(down, left + right));
  });
  return total(differences.map((each) => (form === 'l2' ? euclideanNorm(each) : tf.mean<tf.Scalar>(absolute(each)))));
};

/** Rows down and columns right to the neighbour: →, ↓, ↘, ↙. */
const directions = [
  [0, 1],
  [1, 0],
  [1, 1],
  [1, -1],
] as const;

export interface BatchNormDistanceOptions {
  /** What the first batch norm's term is multiplied by; default 1. 10 in DeepInversion's code for ImageNet. */
  readonly firstMultiplier?: number;
}

/**
 * Batch norm by batch norm, how far the statistics of its inputs are from those of training: ‖running variance −
 * variance‖₂ + ‖running mean − mean‖₂, norms over channels that are not squared, the variance biased.
 *
 * DeepInversion's code counts batch norms over images alone (`BatchNorm2d`): ask the network for `batchStats: true`,
 * not for `all`.
 *
 * @param batchStats a network's, in evaluation mode; the first is the first in order of computation
 * @param running the network's `stats`
 */
export const batchNormDistances = (
  batchStats: Readonly<Record<string, BatchStats>>,
  running: Named,
  { firstMultiplier = 1 }: BatchNormDistanceOptions = {},
): Readonly<Record<string, tf.Scalar>> =>
  Object.fromEntries(
    Object.entries(batchStats).map(([name, found], i) => {
      const distance = distanceOf(found, running, name);
      return [name, i === 0 && firstMultiplier !== 1 ? tf.mul<tf.Scalar>(distance, firstMultiplier) : distance];
    }),
  );

/** The sum of `batchNormDistances`: DeepInversion's R_feature. `batchStats` of one batch norm at least. */
export const batchNormDistance = (
  batchStats: Readonly<Record<string, BatchStats>>,
  running: Named,
  options: BatchNormDistanceOptions = {},
): tf.Scalar => total(Object.values(batchNormDistances(batchStats, running, options)));

const distanceOf = ({ mean, variance }: BatchStats, running: Named, name: string): tf.Scalar => {
  const apart = (statistic: string, found: tf.Tensor1D) =>
    euclideanNorm(tf.sub(running[`${name}.${statistic}`] as tf.Tensor, found));
  return tf.add<tf.Scalar>(apart('running_var', variance), apart('running_mean', mean));
};

/**
 * Images [n, h, w, c] as one vector's Euclidean norm (`batch`, DeepInversion's code for CIFAR-10), or the mean of their
 * own (`image`, its code for ImageNet). R_ℓ2 in the paper.
 */
export const imageNorm = (images: tf.Tensor4D, form: 'batch' | 'image'): tf.Scalar =>
  form === 'batch' ? euclideanNorm(images) : tf.mean(rowNorms(tf.reshape(images, [images.shape[0], -1])));

/**
 * How much student and teacher disagree: the Jensen-Shannon divergence J = ½ KL(M ‖ P) + ½ KL(M ‖ Q) in the form and
 * with the settings of Adaptive DeepInversion's code, in nats. P and Q are the student's and the teacher's
 * probabilities at temperature 3 and M is their mean; logarithms are taken, and M weighs them, once all three are kept
 * within 0.01 … 0.99. The batch mean; gradients flow to both.
 *
 * The paper defines it with KL(P ‖ M) and KL(Q ‖ M). What is minimised there is 1 − J.
 *
 * @param student logits [B, K]
 * @param teacher logits [B, K]
 */
export const jensenShannon = (student: tf.Tensor2D, teacher: tf.Tensor2D): tf.Scalar => {
  const [p, q] = [student, teacher].map((logits) => tf.exp(soften(logits, 3))) as [tf.Tensor2D, tf.Tensor2D];
  const [logP, logQ, logM] = [p, q, tf.mul(tf.add(p, q), 0.5)].map((probabilities) =>
    tf.log(tf.clipByValue(probabilities, 0.01, 0.99)),
  ) as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D];
  return tf.mul(tf.add(klDivergence(logM, logP), klDivergence(logM, logQ)), 0.5);
};

/**
 * Cross-entropy of logits [B, K] with their own largest entries: small where each image is surely of some class. No
 * gradient flows to the choice. The batch mean, in nats; DAFL's L_oh.
 */
export const oneHotLoss = (logits: tf.Tensor2D): tf.Scalar => crossEntropy(logits, tf.argMax(logits, 1));

/** −mean |f| over the batch and its features [B, F], ≤ 0: what excites a network looks like its data. DAFL's L_a. */
export const activationLoss = (features: tf.Tensor2D): tf.Scalar => tf.neg(tf.mean<tf.Scalar>(absolute(features)));

/**
 * Σ_k p̄_k log₁₀ p̄_k of the mean answer p̄ to a batch, from −log₁₀ K (all classes alike) to 0: the information entropy
 * with its sign changed, in decimal digits. DAFL's L_ie.
 *
 * @param logits [B, K]
 */
export const informationEntropy = (logits: tf.Tensor2D): tf.Scalar => tf.div(imbalance(logits), Math.LN10);

/**
 * Σ_k p̄_k ln p̄_k of the mean answer p̄ to a batch, from −ln K (all classes alike) to 0, in nats: what DFQ and DFMS call
 * balance and diversity.
 *
 * @param logits [B, K]
 * @param floor added to p̄ in the logarithm alone; default none
 */
export const imbalance = (logits: tf.Tensor2D, floor = 0): tf.Scalar => {
  const mean = tf.mean(tf.exp(logSoftmax(logits)), 0);
  // 0 · log 0 is 0, and so is its gradient once it reaches probabilities that are 0.
  const logarithm = tf.log(floor === 0 ? tf.maximum(mean, smallestNormal) : tf.add(mean, floor));
  return tf.sum(tf.mul(mean, logarithm));
};

/** Of float32: below it TensorFlow may take numbers for 0. */
const smallestNormal = 2 ** -126;

const total = (scalars: readonly tf.Scalar[]): tf.Scalar => scalars.reduce((sum, each) => tf.add(sum, each));

/** The Euclidean norm of each row, whose gradient at 0 is 0: [n, m] -> [n]. */
export const rowNorms = tf.customGrad((...args) => {
  const [x, save] = args as unknown as [tf.Tensor2D, tf.GradSaveFunc];
  const norms = tf.sqrt(tf.sum(tf.square(x), 1));
  save([x, norms]);
  return {
    value: norms,
    gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
      const [x, norms] = saved as [tf.Tensor2D, tf.Tensor1D];
      const inverse = tf.where(tf.greater(norms, 0), tf.reciprocal(norms), tf.zerosLike(norms));
      return tf.mul(x, tf.expandDims(tf.mul(dy, inverse), 1));
    },
  };
}) as (x: tf.Tensor2D) => tf.Tensor1D;

/** Each row over its Euclidean norm; a row of zeros stays one. [n, m] -> [n, m]. */
export const unitRows = (x: tf.Tensor2D): tf.Tensor2D => tf.div(x, tf.maximum(tf.expandDims(rowNorms(x), 1), 1e-12));

/** |x|, whose gradient at 0 is 0 as in PyTorch; tfjs's is −1. */
export const absolute = tf.customGrad((...args) => {
  const [x, save] = args as unknown as [tf.Tensor, tf.GradSaveFunc];
  save([x]);
  return {
    value: tf.abs(x),
    gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => tf.mul(dy, tf.sign(saved[0] as tf.Tensor)),
  };
}) as <T extends tf.Tensor>(x: T) => T;
