import * as tf from '@tensorflow/tfjs';
import { logSoftmax } from '../engine/ops.js';
import { ending } from './gradient.js';

/**
 * Losses are plain functions of tensors and means over the batch (never divided by the number of classes K). They read
 * no tensor's value, so they can be traced. Probabilities are handled as natural logarithms throughout.
 */

/** A sum of named terms, for logging each. The terms are unweighted batch means. */
export interface Terms<Name extends string> {
  /** Scalar. */
  readonly loss: tf.Scalar;
  readonly terms: { readonly [name in Name]: tf.Scalar };
}

/**
 * log softmax(x / τ) over the last axis: [B, K] -> [B, K].
 *
 * The same from logits and from log-probabilities, since the two differ by a constant a row. −∞ (a class that is ruled
 * out) stays −∞; a row needs one finite value.
 *
 * @example
 * ```ts
 * import * as tf from '@tensorflow/tfjs';
 * import { soften } from 'undistill/train';
 *
 * const answers = tf.log(tf.tensor2d([[0.7, 0.2, 0.1]]));
 * // √0.7 : √0.2 : √0.1, rescaled to sum to 1.
 * console.log(Array.from(tf.exp(soften(answers, 2)).dataSync(), (p) => p.toFixed(4)).join(' ')); // 0.5229 0.2795 0.1976
 * ```
 */
export const soften = (logits: tf.Tensor2D, temperature: number): tf.Tensor2D => {
  assertTemperature(temperature);
  return logSoftmax(temperature === 1 ? logits : tf.div<tf.Tensor2D>(logits, temperature));
};

/**
 * Cross-entropy with the labels: the batch mean of −Σ_k y_k log softmax(logits)_k, in nats, ≥ 0.
 *
 * @param logits [B, K], finite
 * @param labels int32 [B], in 0 … K−1
 * @param smoothing ε in 0 … 1: y = (1−ε) one-hot + ε/K, PyTorch's label smoothing
 *
 * @example
 * ```ts
 * import * as tf from '@tensorflow/tfjs';
 * import { crossEntropy } from 'undistill/train';
 *
 * const logits = tf.tensor2d([[1, 0.5, -0.5], [0, 1, 0.2]]);
 * const labels = tf.tensor1d([0, 1], 'int32');
 * console.log(crossEntropy(logits, labels).arraySync().toFixed(4)); // 0.6007
 * console.log(crossEntropy(logits, labels, { smoothing: 0.1 }).arraySync().toFixed(4)); // 0.6640
 * ```
 */
export const crossEntropy = (
  logits: tf.Tensor2D,
  labels: tf.Tensor1D,
  { smoothing = 0 }: { readonly smoothing?: number } = {},
): tf.Scalar => {
  tf.util.assert(
    labels.dtype === 'int32' && labels.shape[0] === logits.shape[0],
    () => `labels are int32 [${logits.shape[0]}], not ${labels.dtype} [${labels.shape}]`,
  );
  tf.util.assert(smoothing >= 0 && smoothing <= 1, () => `label smoothing lies in 0 … 1, not ${smoothing}`);
  const classes = logits.shape[1];
  const off = smoothing / classes;
  const target = tf.oneHot(labels, classes, 1 - smoothing + off, off, 'float32') as tf.Tensor2D;
  return softCrossEntropy(target, logSoftmax(logits));
};

/**
 * Kullback-Leibler divergence KL(p ‖ q): the batch mean of Σ_k p_k (log p_k − log q_k), in nats, ≥ 0 up to rounding.
 *
 * A class with p = 0 (log p = −∞, or too small for float32) adds nothing, to the value or to a gradient. The gradient
 * flows to both arguments; `detach` what is to be held fixed.
 *
 * @param logP [B, K] log-probabilities
 * @param logQ [B, K] log-probabilities; −∞ where p > 0 makes the divergence infinite
 *
 * @example
 * ```ts
 * import * as tf from '@tensorflow/tfjs';
 * import { klDivergence } from 'undistill/train';
 *
 * const p = tf.log(tf.tensor2d([[0.5, 0.5, 0]]));
 * const q = tf.log(tf.tensor2d([[0.25, 0.5, 0.25]]));
 * // 0.5 · log 2; a class with p = 0 adds nothing.
 * console.log(klDivergence(p, q).arraySync().toFixed(4)); // 0.3466
 * ```
 */
export const klDivergence = (logP: tf.Tensor2D, logQ: tf.Tensor2D): tf.Scalar => kl(logP, logQ) as tf.Scalar;

/**
 * Knowledge distillation, L = α τ² KL(teacher ‖ student) + (1−α) CE, both softened by τ in the first term.
 *
 * Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015), weighted as in Nasty Teacher's
 * released code (VITA-Group/Nasty-Teacher, train_kd.py).
 *
 * @param logits the student's [B, K]
 * @param teacher the teacher's logits or log-probabilities [B, K], −∞ allowed; no gradient flows to it
 * @param labels int32 [B]
 * @param temperature τ > 0
 * @param alpha α in 0 … 1
 *
 * @example
 * ```ts
 * import * as tf from '@tensorflow/tfjs';
 * import { distillation } from 'undistill/train';
 *
 * const { loss, terms } = distillation({
 *   logits: tf.tensor2d([[1, 0.5, -0.5], [0, 1, 0.2]]),
 *   teacher: tf.tensor2d([[2, 0, -1], [1, 2, -0.5]]),
 *   labels: tf.tensor1d([0, 1], 'int32'),
 *   temperature: 4,
 *   alpha: 0.5,
 * });
 * // 0.5 · 16 · KL + 0.5 · CE
 * console.log(terms.kl.arraySync().toFixed(6), terms.crossEntropy.arraySync().toFixed(6)); // 0.017310 0.600716
 * console.log(loss.arraySync().toFixed(6)); // 0.438839
 * ```
 */
export const distillation = ({
  logits,
  teacher,
  labels,
  temperature,
  alpha,
}: {
  readonly logits: tf.Tensor2D;
  readonly teacher: tf.Tensor2D;
  readonly labels: tf.Tensor1D;
  readonly temperature: number;
  readonly alpha: number;
}): Terms<'kl' | 'crossEntropy'> => {
  tf.util.assert(alpha >= 0 && alpha <= 1, () => `alpha lies in 0 … 1, not ${alpha}`);
  const kl = klDivergence(soften(detach(teacher), temperature), soften(logits, temperature));
  return besideLabels({ kl, logits, labels, temperature, alpha });
};

/**
 * α τ² · divergence + (1−α) · CE, as in `distillation`, of any divergence at τ.
 *
 * @param kl the batch mean, in nats
 * @param logits the student's [B, K]
 * @param labels int32 [B]
 * @param temperature τ > 0
 * @param alpha α in 0 … 1
 */
export const besideLabels = ({
  kl,
  logits,
  labels,
  temperature,
  alpha,
}: {
  readonly kl: tf.Scalar;
  readonly logits: tf.Tensor2D;
  readonly labels: tf.Tensor1D;
  readonly temperature: number;
  readonly alpha: number;
}): Terms<'kl' | 'crossEntropy'> =>
  weighted(
    { kl, crossEntropy: crossEntropy(logits, labels) },
    { kl: alpha * temperature ** 2, crossEntropy: 1 - alpha },
  );

/**
 * Distillation without labels: τ² KL(σ_τ(teacher) ‖ σ_τ(student)), the batch mean.
 *
 * @param logits the student's [B, K]
 * @param teacher the teacher's logits or log-probabilities [B, K]; no gradient flows to it
 * @param temperature τ > 0
 */
export const distillationKl = ({
  logits,
  teacher,
  temperature,
}: {
  readonly logits: tf.Tensor2D;
  readonly teacher: tf.Tensor2D;
  readonly temperature: number;
}): Terms<'kl'> => {
  const kl = klDivergence(soften(detach(teacher), temperature), soften(logits, temperature));
  return weighted({ kl }, { kl: temperature ** 2 });
};

/**
 * The nasty teacher's loss, L = CE − ω τ² KL(p_nasty ‖ p_adversary), which may well be negative.
 *
 * The gradient flows through both uses of p_nasty and none flows to the adversary, a fixed net in evaluation mode.
 * Nasty Teacher (Ma et al., ICLR 2021), as its released code has it (VITA-Group/Nasty-Teacher, train_nasty.py) but
 * without the constant of 100 that is added there.
 *
 * @param logits the nasty teacher's [B, K]
 * @param adversaryLogits [B, K]
 * @param labels int32 [B]
 * @param omega ω ≥ 0
 * @param temperature τ > 0
 */
export const nasty = ({
  logits,
  adversaryLogits,
  labels,
  omega,
  temperature,
}: {
  readonly logits: tf.Tensor2D;
  readonly adversaryLogits: tf.Tensor2D;
  readonly labels: tf.Tensor1D;
  readonly omega: number;
  readonly temperature: number;
}): Terms<'kl' | 'crossEntropy'> => {
  tf.util.assert(omega >= 0, () => `omega is at least 0, not ${omega}`);
  const kl = klDivergence(soften(logits, temperature), soften(detach(adversaryLogits), temperature));
  const ce = crossEntropy(logits, labels);
  return weighted({ kl, crossEntropy: ce }, { kl: -omega * temperature ** 2, crossEntropy: 1 });
};

/**
 * ln p − mean ln p of log-probabilities [batch, classes]: the logits but for their mean, exactly. What is told to be 0
 * counts as 10⁻⁷, or as the least that is told of the image where that is less.
 */
export const recoveredLogits = (logProbabilities: tf.Tensor2D): tf.Tensor2D => {
  const isZero = tf.equal(logProbabilities, Number.NEGATIVE_INFINITY);
  const least = tf.min(tf.where(isZero, tf.zerosLike(logProbabilities), logProbabilities), 1, true);
  const told = tf.where(isZero, tf.minimum(least, Math.log(1e-7)), logProbabilities);
  return tf.sub<tf.Tensor2D>(told, tf.mean(told, 1, true));
};

/** The same numbers with no gradient behind them. */
export const detach = <T extends tf.Tensor>(tensor: T): T => ending(cut(tensor) as T);

// A custom gradient's forward pass is one entry on the tape, and its backward pass is written out: about half the
// operations that differentiating the formula would take, and no 0 · ∞ on the way.

const cut = tf.customGrad((x) => ({
  value: (x as tf.Tensor).clone(),
  gradFunc: (dy: tf.Tensor) => tf.zerosLike(dy),
}));

const kl = tf.customGrad((...args) => {
  const [logP, logQ, save] = args as [tf.Tensor2D, tf.Tensor2D, tf.GradSaveFunc];
  const p = tf.exp(logP);
  // 0 · log 0 is 0: −∞ minus anything must not meet p = 0 in a product.
  const ratio = tf.where(tf.greater(p, 0), tf.sub(logP, logQ), tf.zerosLike(p));
  const perClass = tf.mul(p, ratio);
  save([p, perClass]);
  return {
    value: tf.div(tf.sum(perClass), logP.shape[0]),
    gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
      const [p, perClass] = saved as [tf.Tensor2D, tf.Tensor2D];
      const each = tf.div(dy, p.shape[0]);
      // d/d log p of p (log p − log q) is p (log p − log q) + p, and d/d log q is −p.
      return [tf.mul(tf.add(perClass, p), each), tf.mul(p, tf.neg(each))];
    },
  };
});

/** The batch mean of −Σ_k target_k log q_k, for a fixed target: [B, K], [B, K] -> scalar. */
const softCrossEntropy = (target: tf.Tensor2D, logQ: tf.Tensor2D): tf.Scalar =>
  tf.customGrad((...args) => {
    const [logQ, save] = args as unknown as [tf.Tensor2D, tf.GradSaveFunc];
    save([target]);
    return {
      value: tf.div(tf.sum(tf.mul(target, logQ)), -target.shape[0]),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => [tf.mul(saved[0] as tf.Tensor, tf.div(dy, -target.shape[0]))],
    };
  })(logQ) as tf.Scalar;

const weighted = <Name extends string>(
  terms: { readonly [name in Name]: tf.Scalar },
  weights: { readonly [name in Name]: number },
): Terms<Name> => {
  // A term of weight 0 is logged and left out of the sum, so that it costs no backward pass and 0 · ∞ cannot spoil it.
  const names = (Object.keys(terms) as Name[]).filter((name) => weights[name] !== 0);
  const parts = names.map((name) => (weights[name] === 1 ? terms[name] : tf.mul(terms[name], weights[name])));
  return { loss: parts.reduce((sum: tf.Tensor, part) => tf.add(sum, part)) as tf.Scalar, terms };
};

const assertTemperature = (temperature: number): void =>
  tf.util.assert(temperature > 0, () => `a temperature is above 0, not ${temperature}`);
