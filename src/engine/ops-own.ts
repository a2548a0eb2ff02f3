import * as tf from '@tensorflow/tfjs';
import { backend, isUnderXla } from './backend.js';
import {
  type BatchNormInput,
  batchNormInputs,
  type ConvAttributes,
  conv2dGradient,
  execute,
  execute1,
  operation,
  roundsToBfloat16,
  type Values,
} from './ops-native.js';

/**
 * Operations of our own (native/): what batch norms, biases, residual sums and optimisers do to large tensors, each in one
 * or two passes over memory where TensorFlow's operations take several; 3×3 convolutions by Winograd's method; convolutions
 * of bfloat16 by matrix instructions (AMX). They run on processors alone.
 */

/** What may follow a batch norm or a sum at no cost. */
export type Activation = 'relu' | 'relu6';

export const activationValue = (activation: Activation | undefined): Values => ({
  activation: { int: activation === undefined ? 0 : { relu: 1, relu6: 2 }[activation] },
});

let there: boolean | undefined;

/** Whether these operations can be called: the engine has them, and computes on a processor. */
export const hasOwn = (): boolean => {
  if (backend().isUsingGpuDevice || isUnderXla()) return false;
  there ??= tf.tidy(() => {
    try {
      return execute('UndistillSum', [tf.scalar(1), tf.scalar(1)], activationValue(undefined), 1).length === 1;
    } catch {
      return false;
    }
  });
  return there;
};

export interface Activated {
  readonly activation: Activation | undefined;
}

/** Whether an operation also tells the batch norm after it mean and variance of what it gives, which it takes as it writes. */
export interface Telling {
  readonly tells?: boolean | undefined;
}

/** What was told of tensors, by their data: mean and biased variance by channel, kept for the batch norm that takes them. */
const told = new WeakMap<object, readonly [tf.Tensor, tf.Tensor]>();

/** The result of an operation that may tell its moments. */
export const executeTelling = (
  name: string,
  inputs: readonly tf.Tensor[],
  values: Values,
  { tells = false }: Telling,
): tf.Tensor => {
  if (!tells) return execute1(name, inputs, values);
  const [y, mean, variance] = execute(`${name}Moments`, inputs, values, 3) as [tf.Tensor, tf.Tensor, tf.Tensor];
  told.set(y.dataId, [tf.keep(mean), tf.keep(variance)]);
  return y;
};

/**
 * x [..., c] and running mean and variance to mean, biased variance and 1 / deviation of x, and new running mean and
 * variance. Where x was given by what tells its moments, it is not read again.
 */
export const statistics = (
  [x, ...running]: readonly [tf.Tensor, tf.Tensor, tf.Tensor],
  { epsilon, momentum }: { readonly epsilon: number; readonly momentum: number },
): [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor] => {
  const values = { epsilon: { float: epsilon }, momentum: { float: momentum } };
  const moments = told.get(x.dataId);
  type All = [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
  if (moments === undefined) return execute('UndistillStatistics', [x, ...running], values, 5) as All;
  told.delete(x.dataId);
  const count = { int: x.size / moments[0].size };
  const others = execute('UndistillRunningStatistics', [...moments, ...running], { ...values, count }, 3);
  return [...moments, ...others] as All;
};

const isTold = (x: tf.Tensor): boolean => told.has(x.dataId);

/** As `batchNormTrain` of TensorFlow's operations, for x [..., c]. Outputs: y, new running mean and variance, two for the gradient. */
export const batchNormTrain = operation<BatchNormAttributes, BatchNormInput>('OwnBatchNormTrain', {
  inputs: batchNormInputs,
  forward: (inputs, { epsilon, momentum, activation }) => {
    const [x, scale, offset, ...running] = inputs as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
    if (isTold(x)) {
      const [mean, variance, inverse, newMean, newVariance] = statistics([x, ...running], { epsilon, momentum });
      const values = normaliseValues({ epsilon, activation, moments: false });
      const [y, ...zeros] = execute('UndistillNormalise', [x, scale, offset, mean, variance], values, 3);
      tf.dispose([variance, ...zeros]);
      return [y as tf.Tensor, newMean, newVariance, mean, inverse];
    }
    return batchNormOf('UndistillBatchNorm', inputs, { epsilon, momentum, activation });
  },
  saved: { inputs: ['x', 'scale', 'offset'], outputs: [false, false, false, true, true] },
  gradient: ([dy], saved, { activation }) => {
    const [x, scale, offset] = batchNormGradient([dy, ...saved] as tf.Tensor[], activation);
    return { x: () => x, scale: () => scale, offset: () => offset };
  },
});

/** dy, x, scale, offset, mean and 1 / deviation to the gradients to x, scale and offset, with mean and deviation those of x. */
export const batchNormGradient = (
  inputs: tf.Tensor[],
  activation: Activation | undefined,
  name = 'UndistillBatchNormGrad',
) => execute(name, inputs, activationValue(activation), 3) as [tf.Tensor, tf.Tensor, tf.Tensor];

interface BatchNormAttributes extends Activated {
  readonly epsilon: number;
  readonly momentum: number;
}

const batchNormOf = (
  name: string,
  inputs: readonly tf.Tensor[],
  { epsilon, momentum, activation }: BatchNormAttributes,
): tf.Tensor[] =>
  execute(
    name,
    inputs,
    { epsilon: { float: epsilon }, momentum: { float: momentum }, ...activationValue(activation) },
    5,
  );

/** The same, and the largest number of each window of 2×2 of it; for images of even height and width. */
export const batchNormPoolTrain = operation<BatchNormAttributes, BatchNormInput>('OwnBatchNormPoolTrain', {
  inputs: batchNormInputs,
  forward: (inputs, attributes) => batchNormOf('UndistillBatchNormPool', inputs, attributes),
  saved: { inputs: ['x', 'scale', 'offset'], outputs: [false, false, false, true, true] },
  gradient: ([dy], saved, { activation }) => {
    const inputs = [dy, ...saved] as tf.Tensor[];
    const [x, scale, offset] = batchNormGradient(inputs, activation, 'UndistillBatchNormPoolGrad');
    return { x: () => x, scale: () => scale, offset: () => offset };
  },
});

/** The largest number of each window of 2×2, and an activation after it. Where numbers are equal the first one's is the gradient. */
export const maxPool = operation<Activated, 'x'>('OwnMaxPool', {
  inputs: ['x'],
  forward: (inputs, { activation }) => [execute1('UndistillMaxPool', inputs, activationValue(activation))],
  saved: { inputs: ['x'] },
  gradient: ([dy], [x], { activation }) => ({
    x: () => execute1('UndistillMaxPoolGrad', [dy, x] as tf.Tensor[], activationValue(activation)),
  }),
});

interface NormaliseAttributes extends Activated {
  readonly epsilon: number;
  readonly moments: boolean;
}

const normaliseValues = ({ epsilon, moments, activation }: NormaliseAttributes): Values => ({
  epsilon: { float: epsilon },
  moments: { bool: moments },
  ...activationValue(activation),
});

/**
 * x [..., c] normalised by the given mean and variance, which are constants. Outputs: y, and where `moments` are asked for
 * the mean and the biased variance of x itself. Gradients with respect to x, through all three, and to scale and offset.
 */
export const normalise = operation<NormaliseAttributes, BatchNormInput>('OwnNormalise', {
  inputs: batchNormInputs,
  forward: (inputs, attributes) => execute('UndistillNormalise', inputs, normaliseValues(attributes), 3),
  saved: { inputs: batchNormInputs, outputs: [false, true, false] },
  gradient: ([dy, ...toMoments], [x, scale, offset, mean, variance, own], attributes) => {
    const toVariable = (which: 1 | 2) => () => {
      const inverse = tf.rsqrt(tf.add(variance as tf.Tensor, attributes.epsilon));
      return batchNormGradient([dy, x, scale, offset, mean, inverse] as tf.Tensor[], attributes.activation)[which];
    };
    return {
      x: () =>
        execute1(
          'UndistillNormaliseGrad',
          [dy, x, scale, offset, mean, variance, own, ...toMoments] as tf.Tensor[],
          normaliseValues(attributes),
        ),
      scale: toVariable(1),
      offset: toVariable(2),
    };
  },
});

/**
 * The largest number of each window of 2×2 of x [n, h, w, c], with a bias added where there is one, normalised by the given mean and
 * variance; and an activation after it. It has no gradient.
 */
export const normalisePool = (
  x: tf.Tensor4D,
  {
    bias,
    scale,
    offset,
    mean,
    variance,
  }: Omit<Record<BatchNormInput, tf.Tensor>, 'x'> & { readonly bias?: tf.Tensor | undefined },
  { epsilon, activation }: Activated & { readonly epsilon: number },
): tf.Tensor4D => {
  const nothing = tf.zeros([0]);
  const inputs = [x, bias ?? nothing, scale, offset, mean, variance];
  const y = execute1('UndistillNormalisePool', inputs, { epsilon: { float: epsilon }, ...activationValue(activation) });
  nothing.dispose();
  return y as tf.Tensor4D;
};

/** The sum of two tensors of one shape. */
export const sum = (a: tf.Tensor, b: tf.Tensor): tf.Tensor =>
  execute1('UndistillSum', [a, b], activationValue(undefined));

/** Two tensors of one shape. */
export const plus = operation<object, 'a' | 'b'>('OwnPlus', {
  inputs: ['a', 'b'],
  forward: ([a, b]) => [sum(a as tf.Tensor, b as tf.Tensor)],
  gradient: ([dy]) => ({ a: () => (dy as tf.Tensor).clone(), b: () => (dy as tf.Tensor).clone() }),
});

/** … and what follows their sum. */
export const add = operation<{ readonly activation: Activation }, 'a' | 'b'>('OwnAdd', {
  inputs: ['a', 'b'],
  forward: (inputs, { activation }) => [execute1('UndistillSum', inputs, activationValue(activation))],
  saved: { outputs: [true] },
  gradient: ([dy], [y], { activation }) => {
    const name = { relu: 'ReluGrad', relu6: 'Relu6Grad' }[activation];
    const through = execute1(name, [dy, y] as tf.Tensor[], { T: { dtype: 'float32' } });
    return { a: () => through, b: () => through.clone() };
  },
});

/** x times the standard normal distribution function of x, to 10⁻⁷. */
export const gelu = operation<object, 'x'>('OwnGelu', {
  inputs: ['x'],
  forward: (inputs) => [execute1('UndistillGelu', inputs, {})],
  saved: { inputs: ['x'] },
  gradient: ([dy], [x]) => ({ x: () => execute1('UndistillGeluGrad', [dy, x] as tf.Tensor[], {}) }),
});

/** Adds bias [c] to the last axis of x. */
export const biasAdd = operation<object, 'x' | 'bias'>('OwnBiasAdd', {
  inputs: ['x', 'bias'],
  forward: (inputs) => [execute1('UndistillBias', inputs, activationValue(undefined))],
  gradient: ([dy]) => ({
    x: () => (dy as tf.Tensor).clone(),
    bias: () => execute1('UndistillChannelSums', [dy as tf.Tensor], {}),
  }),
});

/** The same, and an activation after it. */
export const biasAddActivated = operation<{ readonly activation: Activation }, 'x' | 'bias'>('OwnBiasAddActivated', {
  inputs: ['x', 'bias'],
  forward: (inputs, { activation }) => [execute1('UndistillBias', inputs, activationValue(activation))],
  saved: { outputs: [true] },
  gradient: ([dy], [y], { activation }) => {
    const [x, bias] = execute('UndistillBiasGrad', [dy, y] as tf.Tensor[], activationValue(activation), 2) as [
      tf.Tensor,
      tf.Tensor,
    ];
    return { x: () => x, bias: () => bias };
  },
});

/** What an operation is told of the number of groups. */
export const groupsValue = (groups: number): Values => ({ groups: { int: groups } });

/** On fewer pixels than these TensorFlow's convolution is faster, and on shorter sides. */
const leastPixels = 128;
const leastSide = 3;

/**
 * Whether `conv3x3` does such a convolution, and faster than TensorFlow: one of kernel 3, stride 1 and padding 1, with as many
 * channels a group as make a vector, on a processor with AVX-512.
 */
export const convolves3x3 = (
  [n = 0, h = 0, w = 0, c = 0]: readonly number[],
  [kh, kw, from = 0, to = 0]: readonly number[],
  { stride, padding }: { readonly stride: number; readonly padding: number },
): boolean => {
  if (kh !== 3 || kw !== 3 || stride !== 1 || padding !== 1 || c % from !== 0) return false;
  const many = (channels: number) => channels > 0 && channels % 16 === 0;
  if (!many(from) || !many((to * from) / c) || Math.min(h, w) < leastSide || n * h * w < leastPixels) return false;
  return hasOwn() && processorHasAvx512();
};

/** Whether the processor does what `run` asks for, which is refused with `refusal` where it cannot. Asked once. */
export const capability = (run: () => tf.Tensor, refusal: RegExp): (() => boolean) => {
  let known: boolean | undefined;
  return () => {
    known ??= tf.tidy(() => {
      try {
        return run().size > 0;
      } catch (error) {
        if (refusal.test(String(error))) return false;
        throw error;
      }
    });
    return known;
  };
};

/** Whether the processor has AVX-512, which `conv3x3` needs. */
const processorHasAvx512 = capability(
  () => convolve(tf.zeros([1, 4, 4, 16]), tf.zeros([3, 3, 16, 16])),
  /has no AVX-512/,
);

export const bfloat16Value = (): Values => ({ to_bfloat16: { bool: roundsToBfloat16() } });

/** Images by a filter; transposed, the gradient to the result by the filter to that to the images. */
export const convolve = (
  x: tf.Tensor,
  filter: tf.Tensor,
  {
    transposed = false,
    upsampled = false,
    groups = 1,
    tells,
  }: Partial<Winograd> & { readonly transposed?: boolean } = {},
): tf.Tensor =>
  executeTelling(
    'UndistillConv3x3',
    [x, filter],
    {
      ...groupsValue(groups),
      ...bfloat16Value(),
      transposed: { bool: transposed },
      upsampled: { bool: upsampled },
    },
    { tells },
  );

interface Winograd extends Telling {
  readonly upsampled: boolean;
  /** Default 1. */
  readonly groups?: number;
}

/**
 * As `conv2d`, by Winograd's F(4×4, 3×3): a quarter of the products. Equal to rounding; what is not a finite number spreads
 * over its tile of 4×4. Where bfloat16 is asked for, images and filter are rounded to it; products, sums and results are
 * float32. Upsampled, each pixel of x stands for four, which are nowhere in memory.
 */
export const conv3x3 = operation<Winograd, 'x' | 'filter'>('OwnConv3x3', {
  inputs: ['x', 'filter'],
  forward: ([x, filter], how) => [convolve(x as tf.Tensor, filter as tf.Tensor, how)],
  saved: { inputs: ['x', 'filter'] },
  gradient: ([dy], [x, filter], { upsampled, groups = 1 }) => ({
    x: () => convolve(dy as tf.Tensor, filter as tf.Tensor, { transposed: true, upsampled, groups }),
    filter: () =>
      execute1('UndistillConv3x3ToFilter', [x, dy] as tf.Tensor[], {
        ...bfloat16Value(),
        ...groupsValue(groups),
        upsampled: { bool: upsampled },
      }),
  }),
});

/**
 * Whether `bfloat16Conv` does such a convolution: of factors rounded to bfloat16 (`roundsToBfloat16`), with a square filter, no
 * groups and output channels by 16s, on a processor with AMX.
 */
export const convolvesBfloat16 = (
  [n = 0, h = 0, w = 0, c = 0]: readonly number[],
  [kh = 0, kw, from, to = 0]: readonly number[],
  { padding }: { readonly padding: number },
): boolean =>
  roundsToBfloat16() &&
  kh === kw &&
  kh <= 16 &&
  padding < kh &&
  from === c &&
  to > 0 &&
  to % 16 === 0 &&
  n > 0 &&
  Math.min(h, w) > 0 &&
  Math.min(h, w) + 2 * padding >= kh &&
  hasOwn() &&
  processorHasAmx();

const processorHasAmx = capability(
  () => convolveBfloat16(tf.zeros([1, 4, 4, 16]), tf.zeros([1, 1, 16, 16]), { stride: 1, padding: 0 }),
  /has no AMX/,
);

const convolveBfloat16 = (x: tf.Tensor, filter: tf.Tensor, { stride, padding }: { stride: number; padding: number }) =>
  execute1('UndistillBfloat16Conv', [x, filter], { stride: { int: stride }, padding: { int: padding } });

/**
 * As `conv2d`, of factors rounded to bfloat16, with sums and results of float32, which TensorFlow's convolution would round too.
 * What is not a finite number spreads to pixels beside it.
 */
export const bfloat16Conv = operation<ConvAttributes, 'x' | 'filter'>('OwnBfloat16Conv', {
  inputs: ['x', 'filter'],
  forward: ([x, filter], how) => [convolveBfloat16(x as tf.Tensor, filter as tf.Tensor, how)],
  saved: { inputs: ['x', 'filter'] },
  gradient: ([dy], [x, filter], attributes) => {
    const plain = conv2dGradient(dy as tf.Tensor, x as tf.Tensor, filter as tf.Tensor, attributes);
    if (!roundsToBfloat16()) return plain;
    const values = { stride: { int: attributes.stride }, padding: { int: attributes.padding } };
    const [, height = 0, width = 0, channels = 0] = attributes.x;
    const [kernel = 0] = attributes.filter;
    return {
      x: () =>
        // The pixels of images themselves have few channels.
        channels % 16 !== 0
          ? plain.x()
          : execute1('UndistillBfloat16ConvToImages', [dy, filter] as tf.Tensor[], {
              ...values,
              height: { int: height },
              width: { int: width },
            }),
      filter: () =>
        execute1('UndistillBfloat16ConvToFilter', [x, dy] as tf.Tensor[], { ...values, kernel: { int: kernel } }),
    };
  },
});

/** A parameter with its gradient and its velocity, of float32 and one shape. */
export interface Moving {
  readonly param: tf.Tensor;
  readonly gradient: tf.Tensor;
  readonly velocity: tf.Tensor;
}

/**
 * SGD with momentum μ and weight decay λ, PyTorch's: d = gradient + λ param, velocity' = μ velocity + d, and
 * param' = param − rate · velocity', or with Nesterov param − rate · (d + μ velocity').
 */
export const momentumStep = (
  { param, gradient, velocity }: Moving,
  rate: tf.Scalar,
  { momentum, nesterov, decay }: { readonly momentum: number; readonly nesterov: boolean; readonly decay: number },
): Omit<Moving, 'gradient'> => {
  const [moved, speed] = execute(
    'UndistillMomentum',
    [param, gradient, velocity, rate],
    { momentum: { float: momentum }, decay: { float: decay }, nesterov: { bool: nesterov } },
    2,
  ) as [tf.Tensor, tf.Tensor];
  return { param: moved, velocity: speed };
};

/** A parameter with its gradient and the running means of that and of its square, of float32 and one shape. */
export interface Adapting {
  readonly param: tf.Tensor;
  readonly gradient: tf.Tensor;
  readonly mean: tf.Tensor;
  readonly square: tf.Tensor;
}

/**
 * Adam with weight decay λ in the gradient, PyTorch's: d = gradient + λ param, mean' = β₁ mean + (1 − β₁) d,
 * square' = β₂ square + (1 − β₂) d², and param' = param − rate · scale · mean' / (√square' + floor), where scale and floor
 * are the step's corrections.
 */
export const adamStep = (
  { param, gradient, mean, square }: Adapting,
  { rate, scale, floor }: { readonly rate: tf.Scalar; readonly scale: tf.Scalar; readonly floor: tf.Scalar },
  { beta1, beta2, decay }: { readonly beta1: number; readonly beta2: number; readonly decay: number },
): Omit<Adapting, 'gradient'> => {
  const [moved, first, second] = execute(
    'UndistillAdam',
    [param, gradient, mean, square, rate, scale, floor],
    {
      decay: { float: decay },
      mean_kept: { float: beta1 },
      mean_taken: { float: 1 - beta1 },
      square_kept: { float: beta2 },
      square_taken: { float: 1 - beta2 },
    },
    3,
  ) as [tf.Tensor, tf.Tensor, tf.Tensor];
  return { param: moved, mean: first, square: second };
};

/** The mean of the values [count, width] of the keys [columns, count] that are nearest to each of the rows [n, columns]. No gradient. */
export const meanOfNearest = operation<{ readonly within: number }, 'rows' | 'ownGroup' | 'keys' | 'groups' | 'values'>(
  'OwnMeanOfNearest',
  {
    inputs: ['rows', 'ownGroup', 'keys', 'groups', 'values'],
    forward: (inputs, { within }) => [execute1('UndistillMeanOfNearest', inputs, { within: { float: within } })],
  },
);

/** Channels of a and of b in turn: two [n, h, w, c] to [n, h, w, 2 c]. */
export const interleave = operation<object, 'a' | 'b'>('OwnInterleave', {
  inputs: ['a', 'b'],
  forward: (inputs) => [execute1('UndistillInterleave', inputs, {})],
  gradient: ([dy]) => {
    const [a, b] = execute('UndistillEveryOther', [dy as tf.Tensor], {}, 2) as [tf.Tensor, tf.Tensor];
    return { a: () => a, b: () => b };
  },
});

/** The same as its two halves, of an even number of channels: two [n, h, w, c] to two. */
export const shuffle = operation<object, 'a' | 'b'>('OwnShuffle', {
  inputs: ['a', 'b'],
  forward: (inputs) => execute('UndistillShuffle', inputs, {}, 2),
  gradient: (dys) => {
    const [a, b] = execute('UndistillUnshuffle', dys, {}, 2) as [tf.Tensor, tf.Tensor];
    return { a: () => a, b: () => b };
  },
});
