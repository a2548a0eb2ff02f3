import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import { backend, isNative } from './backend.js';
import * as convolving from './ops-convolve.js';
import * as native from './ops-native.js';
import type { Activation } from './ops-own.js';
import * as own from './ops-own.js';

/**
 * The operations that networks are made of, with PyTorch's arithmetic, on images [batch, height, width, channels].
 *
 * Where TensorFlow runs, each is one native operation or few, with a native gradient (ops-native.ts); elsewhere it is
 * composed of tfjs's own operations. Both give the same numbers to rounding. All of them are pure: nothing reads a
 * tensor's value, so a step made of them can be traced. Shapes are the caller's business and merely asserted by the
 * engine. Only first derivatives are defined.
 */

export { isNative } from './backend.js';
export {
  type Augmenting,
  augment,
  type CropFlip,
  cropFlip,
  type Jitter,
  jitter,
  rotate,
} from './ops-augment.js';
export type { Activation } from './ops-own.js';
export { anotherSeed, normalByImage, standardNormal, standardUniform } from './ops-random.js';
export { mirrorBordered, type ResizedCrop, resizedView, type Shift, shiftedView } from './ops-views.js';

/** Stride and padding of a convolution. */
export interface ConvOptions {
  /** In both directions; default 1. */
  readonly stride?: number;
  /** Zeros added on each of the four sides, as in PyTorch (TensorFlow's SAME pads differently at stride 2); default 0. */
  readonly padding?: number;
}

const padImage = (x: tf.Tensor4D, padding: number): tf.Tensor4D =>
  padding === 0
    ? x
    : tf.pad4d(x, [
        [0, 0],
        [padding, padding],
        [padding, padding],
        [0, 0],
      ]);

type Convolution = (x: tf.Tensor4D, filter: tf.Tensor4D) => tf.Tensor4D;

/** A convolution in groups as one for each of them. */
const groupByGroup = (x: tf.Tensor4D, filter: tf.Tensor4D, groups: number, convolve: Convolution): tf.Tensor4D =>
  tf.tidy(() => {
    const filters = tf.split<tf.Tensor4D>(filter, groups, 3);
    const parts = tf.split<tf.Tensor4D>(x, groups, 3).map((part, i) => convolve(part, filters[i] as tf.Tensor4D));
    return tf.concat(parts, 3);
  });

const groupsOf = (x: tf.Tensor4D, filter: tf.Tensor4D): number => x.shape[3] / filter.shape[2];

const plainConv2d = (x: tf.Tensor4D, filter: tf.Tensor4D, stride: number, padding: number): tf.Tensor4D =>
  tf.tidy(() => {
    const padded = padImage(x, padding);
    const groups = groupsOf(x, filter);
    const convolve: Convolution = (part, own) => tf.conv2d(part, own, stride, 'valid');
    return groups === 1 ? convolve(padded, filter) : groupByGroup(padded, filter, groups, convolve);
  });

const nativeConv2d = (
  x: tf.Tensor4D,
  filter: tf.Tensor4D,
  stride: number,
  padding: number,
  tells = false,
): tf.Tensor4D => {
  // A border as wide as the kernel is written into the image: no convolution of ours goes beyond it.
  if (padding >= Math.min(filter.shape[0], filter.shape[1]))
    return tf.tidy(() => nativeConv2d(padImage(x, padding), filter, stride, 0, tells));
  const [count, height, width, channels] = x.shape;
  const [kh, kw, from, to] = filter.shape;
  // A kernel as large as the image sees it once: that is one product.
  if (kh * kw > 1 && padding === 0 && kh === height && kw === width && from === channels)
    return tf.tidy(() => {
      const size = kh * kw * from;
      return nativeConv2d(tf.reshape(x, [count, 1, 1, size]), tf.reshape(filter, [1, 1, size, to]), 1, 0, tells);
    });
  const attributes = { stride, padding, x: x.shape };
  if (own.convolvesBfloat16(x.shape, filter.shape, attributes))
    return own.bfloat16Conv({ x, filter }, { ...attributes, filter: filter.shape })[0] as tf.Tensor4D;
  if (own.convolves3x3(x.shape, filter.shape, attributes))
    return own.conv3x3({ x, filter }, { upsampled: false, groups: groupsOf(x, filter), tells })[0] as tf.Tensor4D;
  if (convolving.convolvesDepthwise(x.shape, filter.shape, attributes))
    return convolving.depthwise({ x, filter }, { ...attributes, filter: filter.shape, tells })[0] as tf.Tensor4D;
  if (convolving.convolvesByProducts(x.shape, filter.shape, attributes))
    return convolving.conv({ x, filter }, { ...attributes, filter: filter.shape, tells })[0] as tf.Tensor4D;
  const groups = groupsOf(x, filter);
  if (groups > 1 && groups === x.shape[3] && groups === filter.shape[3]) {
    const kernels: tf.Tensor4D = tf.reshape(filter, [kh, kw, groups, 1]);
    const [y] = native.depthwiseConv2d({ x, filter: kernels }, { ...attributes, filter: kernels.shape });
    kernels.dispose();
    return y as tf.Tensor4D;
  }
  if (groups > 1 && !native.hasGroups())
    return groupByGroup(x, filter, groups, (part, own) => nativeConv2d(part, own, stride, padding));
  return native.conv2d({ x, filter }, { ...attributes, filter: filter.shape })[0] as tf.Tensor4D;
};

/**
 * Cross-correlation of x [n, h, w, in] with filter [kh, kw, in / groups, out], without bias. Output side: ⌊(side + 2
 * padding − k) / stride⌋ + 1. The number of groups follows from the shapes: in must be a multiple of the filter's input
 * channels, and out of the number of groups. As many groups as channels, in and out, are a depthwise convolution.
 *
 * @param tells where a batch norm in training comes next and nothing between: it need not read the result for its moments
 */
export const conv2d = (
  x: tf.Tensor4D,
  filter: tf.Tensor4D,
  { stride = 1, padding = 0, tells }: ConvOptions & own.Telling = {},
): tf.Tensor4D =>
  isNative() ? nativeConv2d(x, filter, stride, padding, tells) : plainConv2d(x, filter, stride, padding);

/**
 * Runs `body` with the factors of convolutions and dense layers, and of their gradients, rounded to bfloat16. Our own
 * convolutions sum them in float32 and give float32; TensorFlow's kernels (dense layers, and convolutions that ours do not
 * do) round their results to bfloat16 too. Everything else is float32. Gradients count as within when they are taken there.
 *
 * @throws FailureError on the pure-JavaScript engine
 */
export const inBfloat16 = <A>(body: () => A): A => {
  if (!isNative()) {
    throw new FailureError(
      failure('engine', 'the pure-JavaScript engine has no bfloat16', {
        where: 'precision: bfloat16',
        remedy: 'Install TensorFlow (npx undistill engine install), or train in float32.',
      }),
    );
  }
  return native.withBfloat16Products(body);
};

/** Whether the operations compute on a device with memory of its own. */
export const onDevice = (): boolean => isNative() && backend().isUsingGpuDevice;

/**
 * Bytes as a tensor. It holds one byte each where TensorFlow runs, although tfjs knows no such type and calls it int32: it is
 * good for `rows` and `fromBytes` alone. The array must not be written to afterwards.
 */
export const bytes = (data: Uint8Array, shape: readonly number[]): tf.Tensor =>
  isNative() ? native.bytes(data, shape) : tf.tensor(Int32Array.from(data), [...shape], 'int32');

/** The numbers 0..255 of `bytes` as float32. */
export const fromBytes = <T extends tf.Tensor>(x: T): T =>
  (isNative() ? native.fromBytes({ x }, {})[0] : tf.cast(x, 'float32')) as T;

/** The entries of x [n, …] at int32 indices [b], in their order: [b, …]. Without gradient. */
export const rows = <T extends tf.Tensor>(x: T, indices: tf.Tensor1D): T =>
  (isNative() ? native.rows({ x, indices }, {})[0] : tf.gather(x, indices)) as T;

/** What is looked up by nearness: values [count, width] by keys [columns, count], in the ascending order of their groups [count]. */
export type Known = {
  readonly keys: tf.Tensor2D;
  readonly groups: tf.Tensor1D;
  readonly values: tf.Tensor2D;
};

/**
 * The mean value of the keys that are nearest to each row: those of its group where that has any, within a Manhattan distance (the sum over
 * columns of how far apart they are), or no farther than the nearest is. Without gradient.
 *
 * @param rows [n, columns]
 * @param ownGroup [n]
 * @param within a distance of at least 0
 * @returns [n, width]; not-a-number where a row is
 */
export const meanOfNearest = (
  rows: tf.Tensor2D,
  ownGroup: tf.Tensor1D,
  { keys, groups, values }: Known,
  within: number,
): tf.Tensor2D => {
  if (hasOwn()) return own.meanOfNearest({ rows, ownGroup, keys, groups, values }, { within })[0] as tf.Tensor2D;
  return tf.tidy(() => {
    const key = tf.unstack(keys, 0);
    // Column by column: all at once are many.
    const distance = tf
      .unstack(rows, 1)
      .map((each, k) => [tf.expandDims(each, 1), tf.expandDims(key[k] as tf.Tensor, 0)] as const)
      .reduce<tf.Tensor>((sum, [a, b]) => tf.add(sum, tf.abs(tf.sub(a, b))), tf.scalar(0));
    const sameGroup = tf.equal(tf.expandDims(ownGroup, 1), tf.expandDims(groups, 0));
    const counts = tf.logicalOr(sameGroup, tf.logicalNot(tf.any(sameGroup, 1, true)));
    const counted = tf.where(counts, distance, tf.scalar(Number.POSITIVE_INFINITY));
    const limit = tf.maximum(tf.min(counted, 1, true), within);
    const near = tf.cast(tf.lessEqual(counted, limit), 'float32') as tf.Tensor2D;
    return tf.div(tf.matMul(near, values), tf.sum(near, 1, true));
  });
};

/** Runs `f`, and on what it gives the activation, if there is one. */
const activated = <T extends tf.Tensor>(activation: Activation | undefined, f: () => T): T => {
  const x = f();
  if (activation === undefined) return x;
  const y = { relu, relu6 }[activation](x);
  x.dispose();
  return y;
};

/** Whether TensorFlow runs and has our own operations. */
export const hasOwn = (): boolean => isNative() && own.hasOwn();

/** Adds bias [c] along the last axis, and does what follows it. */
export const biasAdd = <T extends tf.Tensor>(x: T, bias: tf.Tensor1D, activation?: Activation): T => {
  if (!hasOwn())
    return activated(activation, () => (isNative() ? native.biasAdd({ x, bias }, {})[0] : tf.add(x, bias)) as T);
  const [y] =
    activation === undefined ? own.biasAdd({ x, bias }, {}) : own.biasAddActivated({ x, bias }, { activation });
  return y as T;
};

/** x itself, where a bias [c] would have no effect on what is made of it: the bias has a gradient, of zeros. */
export const asZeroTerm = <T extends tf.Tensor>(bias: tf.Tensor1D, x: T): T =>
  tf.customGrad((...[same]) => ({
    value: (same as tf.Tensor).clone(),
    gradFunc: (dy) => [dy.clone(), tf.zeros(bias.shape)],
  }))(x, bias) as T;

/** Sum of two tensors of one shape, and what follows it. */
export const add = <T extends tf.Tensor>(a: T, b: T, activation?: Activation): T => {
  if (hasOwn()) return (activation === undefined ? own.plus({ a, b }, {}) : own.add({ a, b }, { activation }))[0] as T;
  return activated(activation, () => (isNative() ? native.add({ a, b }, {})[0] : tf.add(a, b)) as T);
};

/** x [n, in] · weight [in, out] + bias [out]. */
export const dense = (x: tf.Tensor2D, weight: tf.Tensor2D, bias: tf.Tensor1D): tf.Tensor2D =>
  isNative()
    ? (native.dense({ x, weight, bias }, {})[0] as tf.Tensor2D)
    : tf.tidy(() => tf.add(tf.matMul(x, weight), bias) as tf.Tensor2D);

/** A batch norm's variables, each [channels]: γ, β and the running statistics. */
export interface BatchNormVariables {
  readonly scale: tf.Tensor;
  readonly offset: tf.Tensor;
  readonly mean: tf.Tensor;
  readonly variance: tf.Tensor;
}

/** How batch norms divide, and what comes after them. */
export interface BatchNormOptions {
  /** Added to the variance; default 1e-5, PyTorch's. */
  readonly epsilon?: number;
  /** The new batch's share in the running statistics; default 0.1, PyTorch's. */
  readonly momentum?: number;
  /** What follows it; default nothing. */
  readonly activation?: Activation | undefined;
}

/** The normalised batch, and the running statistics after it, [channels] each. */
export interface BatchNormResult<T extends tf.Tensor> {
  readonly y: T;
  readonly mean: tf.Tensor1D;
  readonly variance: tf.Tensor1D;
}

/** Vectors [n, c] as images of one pixel, since the fused operations know images only. */
const asImages = (x: tf.Tensor): tf.Tensor4D =>
  (x.rank === 4 ? x : tf.reshape(x, [x.shape[0] as number, 1, 1, x.shape[1] as number])) as tf.Tensor4D;

/** Runs `f` on x as images and gives its first result x's own shape back. */
const onImages = (x: tf.Tensor, f: (images: tf.Tensor4D) => tf.Tensor[]): tf.Tensor[] => {
  if (x.rank === 4) return f(x as tf.Tensor4D);
  const images = asImages(x);
  const [y, ...others] = f(images) as [tf.Tensor, ...tf.Tensor[]];
  const shaped = tf.reshape(y, x.shape);
  images.dispose();
  y.dispose();
  return [shaped, ...others];
};

const plainBatchNormTrain = (
  x: tf.Tensor,
  { scale, offset, mean, variance }: BatchNormVariables,
  epsilon: number,
  momentum: number,
): tf.Tensor[] =>
  tf.tidy(() => {
    const count = x.size / scale.size;
    const batch = moments(x);
    const y = tf.batchNorm(x, batch.mean, batch.variance, offset as tf.Tensor1D, scale as tf.Tensor1D, epsilon);
    const unbiased = tf.mul(batch.variance, count / Math.max(1, count - 1));
    const moved = (old: tf.Tensor, now: tf.Tensor) => tf.add(tf.mul(old, 1 - momentum), tf.mul(now, momentum));
    return [y, moved(mean, batch.mean), moved(variance, unbiased)];
  });

/**
 * Batch norm in training: x [n, h, w, c] or [n, c] is normalised by its own mean and biased variance per channel. Also
 * gives the running statistics after this batch, old · (1 − momentum) + new · momentum, with the unbiased variance as
 * PyTorch has it. Gradients flow through y alone.
 */
export const batchNormTrain = <T extends tf.Tensor2D | tf.Tensor4D>(
  x: T,
  variables: BatchNormVariables,
  { epsilon = 1e-5, momentum = 0.1, activation }: BatchNormOptions = {},
): BatchNormResult<T> => {
  const [y, mean, variance] = hasOwn()
    ? firsts(3, own.batchNormTrain({ x, ...variables }, { epsilon, momentum, activation }))
    : otherBatchNormTrain(x, variables, { epsilon, momentum, activation });
  return { y: y as T, mean: mean as tf.Tensor1D, variance: variance as tf.Tensor1D };
};

/** The first of several tensors; the others, which are only for the gradient, it keeps by itself. */
const firsts = (count: number, tensors: tf.Tensor[]): tf.Tensor[] => {
  tf.dispose(tensors.slice(count));
  return tensors.slice(0, count);
};

const otherBatchNormTrain = (
  x: tf.Tensor,
  variables: BatchNormVariables,
  { epsilon, momentum, activation }: Required<Pick<BatchNormOptions, 'epsilon' | 'momentum'>> & BatchNormOptions,
): tf.Tensor[] => {
  const [normalised, ...statistics] = isNative()
    ? onImages(x, (images) => firsts(3, native.batchNormTrain({ x: images, ...variables }, { epsilon, momentum })))
    : plainBatchNormTrain(x, variables, epsilon, momentum);
  return [activated(activation, () => normalised as tf.Tensor), ...statistics];
};

/**
 * Batch norm in evaluation: scale · (x − mean) / √(variance + epsilon) + offset, for x [n, h, w, c] or [n, c]. The
 * running statistics are constants; x, scale and offset have gradients.
 */
export const batchNormEval = <T extends tf.Tensor2D | tf.Tensor4D>(
  x: T,
  variables: BatchNormVariables,
  { epsilon = 1e-5, activation }: Omit<BatchNormOptions, 'momentum'> = {},
): T =>
  hasOwn()
    ? (firsts(1, own.normalise({ x, ...variables }, { epsilon, activation, moments: false }))[0] as T)
    : activated(activation, () => otherBatchNormEval(x, variables, epsilon));

const otherBatchNormEval = <T extends tf.Tensor>(x: T, variables: BatchNormVariables, epsilon: number): T => {
  if (isNative())
    return onImages(x, (images) => native.batchNormEval({ x: images, ...variables }, { epsilon, momentum: 0 }))[0] as T;
  const { scale, offset, mean, variance } = variables as Record<keyof BatchNormVariables, tf.Tensor1D>;
  return tf.batchNorm(x as tf.Tensor, mean, variance, offset, scale, epsilon) as T;
};

/** `batchNormEval` as y, with mean and biased variance of x itself: gradients flow through all three. */
export const batchNormWithMoments = <T extends tf.Tensor2D | tf.Tensor4D>(
  x: T,
  variables: BatchNormVariables,
  { epsilon = 1e-5, activation }: Omit<BatchNormOptions, 'momentum'> = {},
): BatchNormResult<T> => {
  if (!hasOwn()) return { ...moments(x), y: batchNormEval(x, variables, { epsilon, activation }) };
  const [y, mean, variance] = own.normalise({ x, ...variables }, { epsilon, activation, moments: true });
  return { y: y as T, mean: mean as tf.Tensor1D, variance: variance as tf.Tensor1D };
};

/** Whether nothing is differentiated, and operations of our own are there for that. */
export const onlyAnswers = (): boolean => isNative() && !tf.engine().isTapeOn();

/**
 * A convolution of an image, the batch norm before it and what is done with its result at once, where that is less work and nothing
 * is differentiated. Else undefined.
 */
export const finishedConv2d = (
  x: tf.Tensor4D,
  filter: tf.Tensor4D,
  beside: convolving.Beside,
  { stride = 1, padding = 0 }: ConvOptions = {},
): tf.Tensor4D | undefined =>
  onlyAnswers() ? convolving.finishedConv(x, filter, beside, { stride, padding }) : undefined;

/** The same of two convolutions one after the other, by filters of 3×3. */
export const finishedConv2dTwice = (
  x: tf.Tensor4D,
  filter: tf.Tensor4D,
  twice: convolving.Twice,
  { stride = 1, padding = 0 }: ConvOptions = {},
): tf.Tensor4D | undefined =>
  onlyAnswers() ? convolving.finishedConvTwice(x, filter, twice, { stride, padding }) : undefined;

export type { Norm } from './ops-convolve.js';

/**
 * A batch norm in training, what follows it and the convolution after that at once, where that is less work: the convolution's
 * result, and the running statistics after it. Else undefined.
 */
export const normalisedConv2d = (
  x: tf.Tensor4D,
  filter: tf.Tensor4D,
  variables: BatchNormVariables,
  {
    stride = 1,
    padding = 0,
    epsilon = 1e-5,
    momentum = 0.1,
    activation,
    tells,
  }: ConvOptions & BatchNormOptions & own.Telling = {},
): BatchNormResult<tf.Tensor4D> | undefined => {
  if (!isNative()) return undefined;
  const way = convolving.wayOfNormalised(x.shape, filter.shape, { stride, padding });
  if (way === undefined) return undefined;
  const attributes = { way, stride, padding, x: x.shape, filter: filter.shape, epsilon, momentum, activation, tells };
  const inputs = { x, filter, ...variables };
  const [y, mean, variance] = firsts(3, convolving.normalisedConvTrain(inputs, attributes));
  return { y: y as tf.Tensor4D, mean: mean as tf.Tensor1D, variance: variance as tf.Tensor1D };
};

/** max(x, 0); its gradient at 0 is 0. */
export const relu = <T extends tf.Tensor>(x: T): T => (isNative() ? (native.relu({ x }, {})[0] as T) : tf.relu(x));

// tfjs's own has a gradient of 1 at 6.
const plainRelu6 = tf.customGrad((...[x, save]) => {
  const y = tf.relu6(x as tf.Tensor);
  (save as (tensors: tf.Tensor[]) => void)([y]);
  const inside = (kept: tf.Tensor) => tf.logicalAnd(tf.greater(kept, 0), tf.less(kept, 6));
  return { value: y, gradFunc: (dy: tf.Tensor, [kept]: tf.Tensor[]) => tf.mul(dy, inside(kept as tf.Tensor)) };
});

/** min(max(x, 0), 6); its gradient at 0 and at 6 is 0. */
export const relu6 = <T extends tf.Tensor>(x: T): T =>
  isNative() ? (native.relu6({ x }, {})[0] as T) : (plainRelu6(x) as T);

/** x where positive, else slope · x; default slope 0.01, PyTorch's. */
export const leakyRelu = <T extends tf.Tensor>(x: T, slope = 0.01): T =>
  isNative() ? (native.leakyRelu({ x }, { alpha: slope })[0] as T) : tf.leakyRelu(x, slope);

const plainGelu = tf.customGrad((...[x, save]) => {
  const value = x as tf.Tensor;
  const below = (of: tf.Tensor) => tf.mul(tf.add(tf.erf(tf.mul(of, Math.SQRT1_2)), 1), 0.5);
  (save as (tensors: tf.Tensor[]) => void)([value]);
  return {
    value: tf.mul(value, below(value)),
    gradFunc: (dy: tf.Tensor, [kept]: tf.Tensor[]) => {
      const of = kept as tf.Tensor;
      const density = tf.mul(tf.exp(tf.mul(tf.square(of), -0.5)), 1 / Math.sqrt(2 * Math.PI));
      return tf.mul(dy, tf.add(below(of), tf.mul(of, density)));
    },
  };
});

/** x Φ(x), where Φ is the standard normal distribution function: PyTorch's `GELU()`, by the error function. */
export const gelu = <T extends tf.Tensor>(x: T): T =>
  tf.tidy(() => (hasOwn() ? (own.gelu({ x }, {})[0] as T) : (plainGelu(x) as T)));

/**
 * Batch norm in training, as `batchNormTrain`, and the maximum over windows of 2×2 at once, where that is less work: its result
 * and the running statistics. Else undefined.
 */
export const batchNormPoolTrain = (
  x: tf.Tensor4D,
  variables: BatchNormVariables,
  { epsilon = 1e-5, momentum = 0.1, activation }: BatchNormOptions = {},
): BatchNormResult<tf.Tensor4D> | undefined => {
  const [, height, width] = x.shape;
  if (!hasOwn() || height % 2 !== 0 || width % 2 !== 0) return undefined;
  const [y, mean, variance] = firsts(3, own.batchNormPoolTrain({ x, ...variables }, { epsilon, momentum, activation }));
  return { y: y as tf.Tensor4D, mean: mean as tf.Tensor1D, variance: variance as tf.Tensor1D };
};

/**
 * Batch norm in evaluation, as `batchNormEval`, of images with a bias added where there is one, and the maximum over windows of 2×2 at
 * once, where nothing is differentiated. Else undefined.
 */
export const batchNormPoolEval = (
  x: tf.Tensor4D,
  variables: BatchNormVariables & { readonly bias?: tf.Tensor | undefined },
  { epsilon = 1e-5, activation }: Omit<BatchNormOptions, 'momentum'> = {},
): tf.Tensor4D | undefined =>
  onlyAnswers() && hasOwn() ? own.normalisePool(x, variables, { epsilon, activation }) : undefined;

/** Maximum over windows, and an activation; what does not fill a window is left out (PyTorch's floor mode). */
export const maxPool = (x: tf.Tensor4D, size = 2, stride = size, activation?: Activation): tf.Tensor4D =>
  size === 2 && stride === 2 && (x.shape[3] >= 16 || activation !== undefined) && hasOwn()
    ? (own.maxPool({ x }, { activation })[0] as tf.Tensor4D)
    : activated(activation, () => otherMaxPool(x, size, stride));

const otherMaxPool = (x: tf.Tensor4D, size: number, stride: number): tf.Tensor4D =>
  isNative()
    ? (firsts(1, native.maxPool({ x }, { size, stride, x: x.shape }))[0] as tf.Tensor4D)
    : tf.maxPool(x, size, stride, 'valid');

/** Mean over windows; what does not fill a window is left out. */
export const avgPool = (x: tf.Tensor4D, size = 2, stride = size): tf.Tensor4D =>
  isNative()
    ? (native.avgPool({ x }, { size, stride, x: x.shape })[0] as tf.Tensor4D)
    : tf.avgPool(x, size, stride, 'valid');

// tfjs's own resizing has another gradient where images are not square.
const plainUpsample = (x: tf.Tensor4D, factor: number): tf.Tensor4D =>
  tf.tidy(() => {
    const [n, h, w, c] = x.shape;
    const wide = tf.tile(tf.reshape(x, [n * h * w, 1, c]), [1, factor, 1]);
    const high = tf.tile(tf.reshape(wide, [n * h, 1, factor * w * c]), [1, factor, 1]);
    return tf.reshape(high, [n, factor * h, factor * w, c]);
  });

/**
 * Each pixel `factor` times in each direction: [n, h, w, c] to [n, factor · h, factor · w, c]. PyTorch's
 * `interpolate(scale_factor=factor)`, whose mode is nearest.
 *
 * @param factor a power of two, by which the mean of the gradient's windows is made their sum without rounding
 */
export const upsample = (x: tf.Tensor4D, factor = 2): tf.Tensor4D => {
  tf.util.assert(Number.isInteger(Math.log2(factor)) && factor > 0, () => `${factor} is no power of two`);
  return isNative() ? (native.upsample({ x }, { factor, x: x.shape })[0] as tf.Tensor4D) : plainUpsample(x, factor);
};

/** x with each border's pixels once more beside it: [n, h, w, c] to [n, h + 2, w + 2, c]. */
const withBorder = (x: tf.Tensor4D): tf.Tensor4D =>
  [1, 2].reduce((image, axis) => {
    const last = (image.shape[axis] as number) - 1;
    const edge = (at: number) => {
      const size = image.shape.map((side, i) => (i === axis ? 1 : side));
      return tf.slice(image, [0, axis === 1 ? at : 0, axis === 2 ? at : 0, 0], size);
    };
    return tf.concat([edge(0), image, edge(last)], axis);
  }, x);

/**
 * Twice the sides by linear interpolation: [n, h, w, c] to [n, 2 h, 2 w, c]. PyTorch's `interpolate(scale_factor=2,
 * mode='bilinear')`, without aligned corners: in each direction ¼ of the neighbour's and ¾ of the pixel's own. That is what
 * two means of neighbours make of pixels that are one twice; tfjs's resizing has the gradient of other coordinates.
 */
export const upsampleBilinear = (x: tf.Tensor4D): tf.Tensor4D =>
  tf.tidy(() => avgPool(avgPool(withBorder(upsample(x)), 2, 1), 2, 1));

/** Which of a kernel's three rows (or columns) add up to each of four: between two pixels that are one twice, some fall together. */
const together = [
  [0, 0, 1],
  [0, 1, 1],
  [1, 1, 0],
  [1, 0, 0],
];

/** [3, 3, in, out] to the [4, 4, out, in] of the transposed convolution of stride 2 that enlarges and convolves at once. */
const enlargingFilter = (filter: tf.Tensor4D): tf.Tensor4D =>
  tf.tidy(() => {
    const [, , from, to] = filter.shape;
    const sums = together.flatMap((rows) => {
      return together.map((columns) => rows.flatMap((row) => columns.map((column) => row * column)));
    });
    const places = tf.matMul(tf.tensor2d(sums), tf.reshape(filter, [9, from * to]));
    return tf.transpose(tf.reshape(places, [4, 4, from, to]), [0, 1, 3, 2]);
  });

/**
 * `conv2d(upsample(x), filter, { padding: 1 })` for x [n, h, w, in] and filter [3, 3, in, out]: [n, 2 h, 2 w, out]. A
 * kernel's nine places see four pixels of the small image, so that it is done as one transposed convolution of that one, with 4
 * products for each pixel instead of 9, where it is not done by Winograd's method with 2.25. Equal to rounding.
 */
export const upsampledConv2d = (x: tf.Tensor4D, filter: tf.Tensor4D): tf.Tensor4D => {
  if (!isNative()) return tf.tidy(() => plainConv2d(upsample(x), filter, 1, 1));
  const [n, h, w, c] = x.shape;
  if (own.convolves3x3([n, 2 * h, 2 * w, c], filter.shape, { stride: 1, padding: 1 }))
    return own.conv3x3({ x, filter }, { upsampled: true })[0] as tf.Tensor4D;
  // Of few channels, by what gives the same bits with any number of threads.
  if (convolving.convolvesByProducts([n, 2 * h, 2 * w, c], filter.shape, { stride: 1, padding: 1 }))
    return tf.tidy(() => nativeConv2d(upsample(x), filter, 1, 1));
  const enlarging = enlargingFilter(filter);
  const output = [n, 2 * h, 2 * w, filter.shape[3]];
  const [y] = native.conv2dTransposed({ x, filter: enlarging }, { output, filter: enlarging.shape });
  enlarging.dispose();
  return y as tf.Tensor4D;
};

/**
 * PyTorch's `conv_transpose2d` of kernel 4, stride 2 and padding 1: x [n, h, w, in] and filter [4, 4, out, in] to [n, 2 h, 2 w,
 * out].
 */
export const transposedConv2d = (x: tf.Tensor4D, filter: tf.Tensor4D): tf.Tensor4D => {
  const [n, h, w] = x.shape;
  const output: [number, number, number, number] = [n, 2 * h, 2 * w, filter.shape[2]];
  return isNative()
    ? (native.conv2dTransposed({ x, filter }, { output, filter: filter.shape })[0] as tf.Tensor4D)
    : tf.conv2dTranspose(x, filter, output, 2, 'same');
};

/** The first half of the channels and the second: [n, h, w, 2 c] to two [n, h, w, c]. */
export const halves = (x: tf.Tensor4D): [tf.Tensor4D, tf.Tensor4D] =>
  tf.split<tf.Tensor4D>(x, 2, 3) as [tf.Tensor4D, tf.Tensor4D];

/**
 * Channels of a and of b in turn: two [n, h, w, c] to [n, h, w, 2 c]. It is what ShuffleNet's shuffle of two groups makes of
 * a and b one after the other.
 */
export const interleave = (a: tf.Tensor4D, b: tf.Tensor4D): tf.Tensor4D => {
  if (hasOwn()) return own.interleave({ a, b }, {})[0] as tf.Tensor4D;
  const [n, h, w, c] = a.shape;
  return isNative()
    ? (native.interleave({ a, b }, { a: a.shape })[0] as tf.Tensor4D)
    : tf.tidy(() => tf.reshape(tf.stack([a, b], 4), [n, h, w, 2 * c]));
};

/** The halves of what `interleave` gives: two [n, h, w, c] to two. */
export const shuffledHalves = (a: tf.Tensor4D, b: tf.Tensor4D): [tf.Tensor4D, tf.Tensor4D] => {
  if (hasOwn() && a.shape[3] % 2 === 0) return own.shuffle({ a, b }, {}) as [tf.Tensor4D, tf.Tensor4D];
  const whole = interleave(a, b);
  const both = halves(whole);
  whole.dispose();
  return both;
};

/** Mean over height and width: [n, h, w, c] to [n, c]. */
export const globalMean = (x: tf.Tensor4D): tf.Tensor2D =>
  isNative() ? (native.globalMean({ x }, { x: x.shape })[0] as tf.Tensor2D) : tf.mean(x, [1, 2]);

/** [n, h, w, c] to [n, h · w · c], in that order. */
export const flatten = (x: tf.Tensor4D): tf.Tensor2D => tf.reshape(x, [x.shape[0], x.size / x.shape[0]]);

/** Over the last axis: tfjs's own, a native kernel where TensorFlow runs. */
export const softmax = <T extends tf.Tensor>(x: T): T => tf.softmax(x);

/** Over the last axis; a row may hold −∞, which stays −∞, next to one finite value. */
export const logSoftmax = <T extends tf.Tensor>(x: T): T =>
  isNative() ? (native.logSoftmax({ x }, {})[0] as T) : (tf.logSoftmax(x) as T);

/** Mean and biased variance per channel, over all other axes of x [n, h, w, c] or [n, c], with gradients: two [c]. */
export const moments = (x: tf.Tensor): { readonly mean: tf.Tensor1D; readonly variance: tf.Tensor1D } => {
  if (!isNative()) {
    const axes = x.shape.map((_, axis) => axis).slice(0, -1);
    const { mean, variance } = tf.moments(x, axes);
    return { mean: mean as tf.Tensor1D, variance: variance as tf.Tensor1D };
  }
  const images = asImages(x);
  const [mean, variance] = native.moments({ x: images }, { x: images.shape });
  if (images !== x) images.dispose();
  return { mean: mean as tf.Tensor1D, variance: variance as tf.Tensor1D };
};

/** Mean and biased variance of each image's channels, over height and width of x [n, h, w, c], with gradients: two [n, c]. */
export const momentsByImage = (x: tf.Tensor4D): { readonly mean: tf.Tensor2D; readonly variance: tf.Tensor2D } => {
  if (!isNative()) return tf.moments(x, [1, 2]) as { mean: tf.Tensor2D; variance: tf.Tensor2D };
  const [mean, variance] = native.momentsByImage({ x }, { x: x.shape });
  return { mean: mean as tf.Tensor2D, variance: variance as tf.Tensor2D };
};

/** Steps of optimisers, where `hasOwn`. */
export { adamStep, momentumStep } from './ops-own.js';
