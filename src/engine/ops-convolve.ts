import * as tf from '@tensorflow/tfjs';
import {
  type ConvAttributes,
  conv2dForward,
  conv2dGradient,
  execute,
  execute1,
  hasGroups,
  operation,
  roundsToBfloat16,
  type Values,
} from './ops-native.js';
import {
  type Activated,
  activationValue,
  capability,
  convolves3x3,
  executeTelling,
  groupsValue,
  hasOwn,
  statistics,
  type Telling,
} from './ops-own.js';

/**
 * Convolutions of our own (native/) beside those by Winograd's method: of 1×1 and at a stride, as products of matrices, and
 * depthwise ones; and each of them with the batch norm and the activation before it, whose result is then nowhere in memory.
 */

const placesOf = ({ stride, padding }: { readonly stride: number; readonly padding: number }): Values => ({
  stride: { int: stride },
  padding: { int: padding },
});

const sidesOf = ([, height = 0, width = 0]: readonly number[]): Values => ({
  height: { int: height },
  width: { int: width },
});

/** Of a convolution, in how many groups it is. */
const groupsOf = ({ x, filter }: ConvAttributes): number => (x[3] as number) / (filter[2] as number);

/** Whether the processor has AVX-512 or AVX2, one of which `conv` needs. */
export const multiplies = capability(
  () => execute1('UndistillConv', [tf.zeros([1, 4, 4, 16]), tf.zeros([1, 1, 16, 16])], productsValues(1, 0, 1)),
  /has neither AVX-512 nor AVX2/,
);

/** Two matrices' product. */
export const product = (a: tf.Tensor, b: tf.Tensor): tf.Tensor => {
  const [m = 0, k = 0] = a.shape;
  const n = b.shape[1] as number;
  const found = execute1(
    'UndistillConv',
    [tf.reshape(a, [m, 1, 1, k]), tf.reshape(b, [1, 1, k, n])],
    productsValues(1, 0, 1),
  );
  return tf.reshape(found, [m, n]);
};

const productsValues = (stride: number, padding: number, groups: number): Values => ({
  ...placesOf({ stride, padding }),
  ...groupsValue(groups),
});

/** Whether `conv` does such a convolution: of a square kernel, in float32, on a processor with AVX-512 or AVX2. */
export const convolvesByProducts = (
  [n = 0, h = 0, w = 0, c = 0]: readonly number[],
  [kh = 0, kw, from = 0, to = 0]: readonly number[],
  { padding }: { readonly stride: number; readonly padding: number },
): boolean =>
  kh === kw &&
  kh > 0 &&
  padding < kh &&
  from > 0 &&
  to > 0 &&
  c % from === 0 &&
  to % (c / from) === 0 &&
  n > 0 &&
  Math.min(h, w) > 0 &&
  Math.min(h, w) + 2 * padding >= kh &&
  !roundsToBfloat16() &&
  hasOwn() &&
  multiplies();

/** Kernels of 1, and of 3 at a stride. */
const isSmall = (kernel: number | undefined, stride: number): boolean => kernel === 1 || (kernel === 3 && stride > 1);

/** Of so few channels that products of vectors of pixels are faster than any of vectors of channels: `GathersInPlanes` of native/planes.cc. */
const inPlanes = (attributes: ConvAttributes, given: number, result: number): boolean =>
  groupsOf(attributes) === 1 &&
  attributes.stride === 1 &&
  (attributes.filter[0] as number) <= 5 &&
  (given * result <= 128 || (result <= 4 && given <= 128));

/** Whether products of matrices are faster than TensorFlow's convolution, and its gradient to the images. */
const byMatrices = (attributes: ConvAttributes): boolean => {
  const { filter, stride } = attributes;
  return filter[0] === 1 || (groupsOf(attributes) > 1 ? !hasGroups() : isSmall(filter[0], stride));
};

/**
 * As `conv2d`, by products of matrices or, telling nothing, of planes. The gradient to the filter is always of our own: TensorFlow takes its
 * sums in another order with another number of threads.
 */
export const conv = operation<ConvAttributes & Telling, 'x' | 'filter'>('OwnConv', {
  inputs: ['x', 'filter'],
  forward: (inputs, attributes) => {
    const values = productsValues(attributes.stride, attributes.padding, groupsOf(attributes));
    const [, , from = 0, to = 0] = attributes.filter;
    if (byMatrices(attributes)) return [executeTelling('UndistillConv', inputs, values, attributes)];
    if (inPlanes(attributes, from, to)) return [execute1('UndistillConv', inputs, values)];
    return [conv2dForward(...(inputs as [tf.Tensor, tf.Tensor]), attributes)];
  },
  saved: { inputs: ['x', 'filter'] },
  gradient: ([dy], [x, filter], attributes) => {
    const values = productsValues(attributes.stride, attributes.padding, groupsOf(attributes));
    const [kernel = 0, , from = 0, to = 0] = attributes.filter;
    const theirs = conv2dGradient(dy as tf.Tensor, x as tf.Tensor, filter as tf.Tensor, attributes);
    if (roundsToBfloat16()) return theirs;
    return {
      x: () =>
        byMatrices(attributes) || inPlanes(attributes, to, from)
          ? execute1('UndistillConvToImages', [dy, filter] as tf.Tensor[], { ...values, ...sidesOf(attributes.x) })
          : theirs.x(),
      filter: () => execute1('UndistillConvToFilter', [x, dy] as tf.Tensor[], { ...values, kernel: { int: kernel } }),
    };
  },
});

/** Whether `depthwise` does such a convolution: by kernels of 3, of channels enough for a vector. */
export const convolvesDepthwise = (
  [n = 0, h = 0, w = 0, c = 0]: readonly number[],
  [kh, kw, from, to]: readonly number[],
  { padding }: { readonly padding: number },
): boolean =>
  kh === 3 &&
  kw === 3 &&
  from === 1 &&
  to === c &&
  c >= 16 &&
  n > 0 &&
  padding < 3 &&
  Math.min(h, w) + 2 * padding >= 3 &&
  !roundsToBfloat16() &&
  hasOwn();

/** Each channel of x [n, h, w, c] by a kernel of its own, of filter [3, 3, 1, c]. */
export const depthwise = operation<ConvAttributes & Telling, 'x' | 'filter'>('OwnDepthwise', {
  inputs: ['x', 'filter'],
  forward: (inputs, attributes) => [executeTelling('UndistillDepthwise', inputs, placesOf(attributes), attributes)],
  saved: { inputs: ['x', 'filter'] },
  gradient: ([dy], [x, filter], attributes) => ({
    x: () =>
      execute1('UndistillDepthwiseToImages', [dy, filter] as tf.Tensor[], {
        ...placesOf(attributes),
        ...sidesOf(attributes.x),
      }),
    filter: () => execute1('UndistillDepthwiseToFilter', [x, dy] as tf.Tensor[], placesOf(attributes)),
  }),
});

/** By which of our own operations a convolution is done. */
type Way = 'Conv3x3' | 'Conv' | 'Depthwise';

interface NormalisedAttributes extends ConvAttributes, Activated, Telling {
  readonly way: Way;
  readonly epsilon: number;
  readonly momentum: number;
}

/** By which of our own operations a convolution of a normalised image is done at once with the norm, if that is less work. */
export const wayOfNormalised = (
  x: readonly number[],
  filter: readonly number[],
  places: { readonly stride: number; readonly padding: number },
): Way | undefined => {
  if (roundsToBfloat16()) return undefined;
  const [kernel, , from = 0] = filter;
  if (convolves3x3(x, filter, places)) return 'Conv3x3';
  if (convolvesDepthwise(x, filter, places)) return 'Depthwise';
  const whole = kernel === 1 && places.stride === 1 && places.padding === 0;
  const inGroups = kernel !== 1 && x[3] !== from;
  if (!isSmall(kernel, places.stride) || inGroups) return undefined;
  return convolvesByProducts(x, filter, places) && (whole || from % 16 === 0) ? 'Conv' : undefined;
};

/** By which of our own operations a convolution of an image as it is is done forwards; undefined: by TensorFlow's. */
const wayOfPlain = (attributes: ConvAttributes): Way | undefined => {
  const { x, filter } = attributes;
  if (roundsToBfloat16()) return undefined;
  if (convolves3x3(x, filter, attributes)) return 'Conv3x3';
  if (convolvesDepthwise(x, filter, attributes)) return 'Depthwise';
  return convolvesByProducts(x, filter, attributes) && byMatrices(attributes) ? 'Conv' : undefined;
};

/** A batch norm by running statistics, each [channels], and what follows it. */
export interface Norm extends Activated {
  readonly variables: readonly [scale: tf.Tensor, offset: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor];
  readonly epsilon: number;
}

/** What is done beside a convolution: before it, and with its result. */
export interface Beside {
  readonly before?: Norm | undefined;
  readonly after?: Norm | undefined;
  /** Added behind that norm, before its activation: of the result's shape. */
  readonly plus?: tf.Tensor | undefined;
}

/** The inputs and attributes that say what is done beside convolutions; of what is not, `nothing` in place of numbers. */
const besides = (...norms: readonly (readonly [prefix: string, norm: Norm | undefined])[]) => {
  const nothing = tf.zeros([0]);
  const inputs = norms.map(([, norm]) => norm?.variables ?? Array.from({ length: 4 }, () => nothing));
  const values = norms.map(
    ([prefix, norm]): Values => ({
      [`${prefix}epsilon`]: { float: norm?.epsilon ?? 0 },
      [`${prefix}activation`]: activationValue(norm?.activation).activation as Values[string],
    }),
  );
  return { nothing, inputs, values: Object.assign({}, ...values) as Values };
};

/**
 * A convolution, the batch norm before it and what is done with its result, where nothing is differentiated; undefined where no
 * operation of our own does that.
 */
export const finishedConv = (
  x: tf.Tensor4D,
  filter: tf.Tensor4D,
  { before, after, plus }: Beside,
  { stride, padding }: { readonly stride: number; readonly padding: number },
): tf.Tensor4D | undefined => {
  const attributes = { stride, padding, x: x.shape, filter: filter.shape };
  const way =
    before === undefined ? wayOfPlain(attributes) : wayOfNormalised(x.shape, filter.shape, { stride, padding });
  if (way === undefined) return undefined;
  const { nothing, inputs, values } = besides(['', before], ['after_', after]);
  const y = execute1(`UndistillFinished${way}`, [x, filter, ...inputs.flat(), plus ?? nothing], {
    ...(way === 'Conv3x3' ? {} : placesOf(attributes)),
    ...(way === 'Depthwise' ? {} : groupsValue(groupsOf(attributes))),
    ...values,
  });
  nothing.dispose();
  return y as tf.Tensor4D;
};

/** Two convolutions by 3×3 filters, one after the other, with what is around and between them. */
export interface Twice extends Omit<Beside, 'after'> {
  readonly between: Norm;
  readonly second: tf.Tensor4D;
  readonly after?: Norm | undefined;
}

/** `finishedConv` and another one of its result, where what is between the two need not go to memory; else undefined. */
export const finishedConvTwice = (
  x: tf.Tensor4D,
  filter: tf.Tensor4D,
  { before, between, second, after, plus }: Twice,
  places: { readonly stride: number; readonly padding: number },
): tf.Tensor4D | undefined => {
  const through = [...x.shape.slice(0, 3), filter.shape[3]];
  const first = { ...places, x: x.shape, filter: filter.shape };
  if (roundsToBfloat16() || groupsOf(first) > 1 || through[3] !== second.shape[2]) return undefined;
  if (!convolves3x3(x.shape, filter.shape, places) || !convolves3x3(through, second.shape, places)) return undefined;
  const { nothing, inputs, values } = besides(['', before], ['between_', between], ['after_', after]);
  const [ofBefore = [], ofBetween = [], ofAfter = []] = inputs;
  const y = execute1(
    'UndistillFinishedConv3x3Twice',
    [x, filter, ...ofBefore, ...ofBetween, second, ...ofAfter, plus ?? nothing],
    values,
  );
  nothing.dispose();
  return y as tf.Tensor4D;
};

const normalisedValues = ({ way, epsilon, activation, tells: _, ...attributes }: NormalisedAttributes): Values => ({
  ...(way === 'Conv3x3' ? { to_bfloat16: { bool: false }, upsampled: { bool: false } } : placesOf(attributes)),
  ...(way === 'Depthwise' ? {} : groupsValue(groupsOf(attributes))),
  epsilon: { float: epsilon },
  ...activationValue(activation),
});

/** x, filter, scale, offset, mean and variance to the convolution of x normalised. */
const normalisedForward = (inputs: readonly tf.Tensor[], attributes: NormalisedAttributes): tf.Tensor =>
  executeTelling(
    `UndistillNormalised${attributes.way}`,
    inputs,
    {
      ...normalisedValues(attributes),
      ...(attributes.way === 'Conv3x3' ? { transposed: { bool: false } } : {}),
    },
    attributes,
  );

/** x, the gradient to the result, scale, offset, mean and variance to the gradient to the filter. */
const normalisedToFilter = (inputs: readonly tf.Tensor[], attributes: NormalisedAttributes): tf.Tensor =>
  execute1(`UndistillNormalised${attributes.way}ToFilter`, inputs, {
    ...normalisedValues(attributes),
    ...(attributes.way === 'Conv' ? { kernel: { int: attributes.filter[0] as number } } : {}),
  });

/**
 * dy, filter, x, scale, offset, mean and 1 / deviation of x to the gradients to x, scale and offset; a depthwise one to that to
 * the filter as well, which needs what these need.
 */
const throughNormalised = (inputs: readonly tf.Tensor[], attributes: NormalisedAttributes): tf.Tensor[] => {
  const { way } = attributes;
  const activated = activationValue(attributes.activation);
  const groups = groupsValue(groupsOf(attributes));
  const values = { ...activated, ...placesOf(attributes), ...sidesOf(attributes.x) };
  if (way === 'Depthwise') return execute('UndistillNormalisedDepthwiseToBoth', inputs, values, 4);
  if (way === 'Conv') return execute('UndistillNormalisedConvToImages', inputs, { ...values, ...groups }, 3);
  return execute('UndistillNormalisedConv3x3ToImages', inputs, { ...activated, ...groups }, 3);
};

type NormalisedInput = 'x' | 'filter' | 'scale' | 'offset' | 'mean' | 'variance';
const normalisedInputs = ['x', 'filter', 'scale', 'offset', 'mean', 'variance'] as const;

/**
 * `batchNormTrain`, what follows it and a convolution. Outputs: the convolution's, new running mean and variance, three for the
 * gradient.
 */
export const normalisedConvTrain = operation<NormalisedAttributes, NormalisedInput>('OwnNormalisedConvTrain', {
  inputs: normalisedInputs,
  forward: ([x, filter, scale, offset, ...running], attributes) => {
    const [mean, variance, inverse, newMean, newVariance] = statistics(
      [x, ...running] as [tf.Tensor, tf.Tensor, tf.Tensor],
      attributes,
    );
    const y = normalisedForward([x, filter, scale, offset, mean, variance] as tf.Tensor[], attributes);
    return [y, newMean, newVariance, mean, variance, inverse];
  },
  saved: { inputs: ['x', 'filter', 'scale', 'offset'], outputs: [false, false, false, true, true, true] },
  gradient: ([dy], [x, filter, scale, offset, mean, variance, inverse], attributes) => {
    const inputs = [dy, filter, x, scale, offset, mean, inverse] as tf.Tensor[];
    const [toX, toScale, toOffset, toFilter] = throughNormalised(inputs, attributes) as [
      ...[tf.Tensor, tf.Tensor, tf.Tensor],
      tf.Tensor?,
    ];
    return {
      x: () => toX,
      filter: () => toFilter ?? normalisedToFilter([x, dy, scale, offset, mean, variance] as tf.Tensor[], attributes),
      scale: () => toScale,
      offset: () => toOffset,
    };
  },
});
