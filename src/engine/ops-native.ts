import * as tf from '@tensorflow/tfjs';
import { type Attribute, backend, DTYPES, isUnderXla, type Raw } from './backend.js';

/**
 * TensorFlow's own operations as tfjs kernels, each with its gradient: one table. A kernel runs through the eager API of
 * the native backend, so a tracer that wraps the binding sees exactly these operations. Gradients are functions that
 * tfjs calls only for the inputs that need one: no image gradient is computed at the first layer.
 *
 * Every kernel creates its outputs and nothing else; what it needs on the way is disposed of before it returns.
 */

/** An attribute's value, told apart by its kind; a list of numbers is a list attribute. */
type Value =
  | { readonly dtype: keyof typeof DTYPES }
  | { readonly int: number | readonly number[] }
  | { readonly float: number }
  | { readonly bool: boolean }
  | { readonly text: string };

const attribute = (name: string, value: Value): Attribute => {
  const { binding } = backend();
  if ('dtype' in value) {
    return { name, type: binding.TF_ATTR_TYPE, value: DTYPES[value.dtype] };
  }
  if ('int' in value) return { name, type: binding.TF_ATTR_INT, value: value.int };
  if ('float' in value) return { name, type: binding.TF_ATTR_FLOAT, value: value.float };
  if ('bool' in value) return { name, type: binding.TF_ATTR_BOOL, value: value.bool };
  return { name, type: binding.TF_ATTR_STRING, value: value.text };
};

export type Values = Readonly<Record<string, Value>>;

export const attributesOf = (values: Values): Attribute[] =>
  Object.entries(values).map(([key, value]) => attribute(key, value));

export const execute = (name: string, inputs: readonly tf.Tensor[], values: Values, outputs: number): tf.Tensor[] =>
  backend().executeMultipleOutputs(name, attributesOf(values), [...inputs], outputs);

/** Executes a native operation with one output. Attributes without a default must all be given. */
export const execute1 = (name: string, inputs: readonly tf.Tensor[], values: Values): tf.Tensor =>
  execute(name, inputs, values, 1)[0] as tf.Tensor;

/** Runs `f` with a shape as an int32 tensor, the way several operations want it. */
const withShape = <A>(shape: readonly number[], f: (shape: tf.Tensor) => A): A => {
  const tensor = tf.tensor1d([...shape], 'int32');
  const result = f(tensor);
  tensor.dispose();
  return result;
};

const float: Value = { dtype: 'float32' };

let bfloat16 = false;

/** Whether convolutions and products are to round their factors to bfloat16. */
export const roundsToBfloat16 = (): boolean => bfloat16;

/** Runs `body` with its convolutions, its matrix products and their gradients in bfloat16: see `product`. */
export const withBfloat16Products = <A>(body: () => A): A => {
  const before = bfloat16;
  bfloat16 = true;
  try {
    return body();
  } finally {
    bfloat16 = before;
  }
};

/**
 * A convolution or a product by TensorFlow's kernels, of float32 or, where that was asked for, of bfloat16: then its factors
 * are rounded to bfloat16, and so is its result, which is cast to float32 after it. tfjs does not have that type, so those
 * tensors stay inside the binding.
 */
const product = (name: string, inputs: readonly tf.Tensor[], values: Values): tf.Tensor => {
  if (!bfloat16) return execute1(name, inputs, { T: float, ...values });
  const { binding } = backend();
  const cast = (id: number, from: keyof typeof DTYPES, to: keyof typeof DTYPES): Raw => {
    const attributes = attributesOf({ SrcT: { dtype: from }, DstT: { dtype: to }, Truncate: { bool: false } });
    return binding.executeOp('Cast', attributes, [id], 1)[0] as Raw;
  };
  const ids = backend().getInputTensorIds(inputs);
  // Among the inputs are shapes, which are integers.
  const factors = ids.map((id, i) => (inputs[i]?.dtype === 'float32' ? cast(id, 'float32', 'bfloat16').id : id));
  const attributes = attributesOf({ T: { dtype: 'bfloat16' }, ...values });
  const [result] = binding.executeOp(name, attributes, factors, 1) as [Raw];
  const wide = cast(result.id, 'bfloat16', 'float32');
  for (const id of [result.id, ...factors.filter((factor, i) => factor !== ids[i])]) binding.deleteTensor(id);
  return backend().createOutputTensor(wide);
};
const nhwc: Value = { text: 'NHWC' };

interface Operation<Attributes, Input extends string> {
  readonly inputs: readonly Input[];
  readonly forward: (inputs: readonly tf.Tensor[], attributes: Attributes) => tf.Tensor[];
  /** Which inputs (by name) and outputs (by position) the gradient needs; they reach it in this order. */
  readonly saved?: { readonly inputs?: readonly Input[]; readonly outputs?: readonly boolean[] };
  /** `dys`: one gradient per output, zeros where nothing depends on it. Absent inputs have no gradient. */
  readonly gradient?: (
    dys: readonly tf.Tensor[],
    saved: readonly tf.Tensor[],
    attributes: Attributes,
  ) => Partial<Record<Input, () => tf.Tensor>>;
}

/** Makes an operation known to tfjs (kernel and gradient) and gives the function that runs it. */
export const operation = <Attributes extends object, Input extends string>(
  name: string,
  { inputs: names, forward, saved, gradient }: Operation<Attributes, Input>,
): ((inputs: Readonly<Record<Input, tf.Tensor>>, attributes: Attributes) => tf.Tensor[]) => {
  const kernelName = `undistill.${name}`;
  // A second copy of this module in one process (a bundled experiment) shares tfjs's registry.
  if (tf.getKernel(kernelName, 'tensorflow') === undefined) {
    tf.registerKernel({
      kernelName,
      backendName: 'tensorflow',
      kernelFunc: ({ inputs, attrs }) =>
        forward(
          names.map((input) => inputs[input] as tf.Tensor),
          attrs as Attributes,
        ),
    });
    tf.registerGradient({
      kernelName,
      inputsToSave: [...(saved?.inputs ?? [])],
      outputsToSave: [...(saved?.outputs ?? [])],
      gradFunc: (dy, kept, attrs) =>
        (gradient?.(Array.isArray(dy) ? dy : [dy], kept, attrs as Attributes) ?? {}) as Record<string, () => tf.Tensor>,
    });
  }
  return (inputs, attributes) => {
    const result = tf.engine().runKernel(kernelName, inputs, attributes as unknown as tf.NamedAttrMap) as
      | tf.Tensor
      | tf.Tensor[];
    return Array.isArray(result) ? result : [result];
  };
};

export interface ConvAttributes {
  readonly stride: number;
  /** Zeros on each of the four sides. */
  readonly padding: number;
  /** The tensor shapes, which the gradients need as such. */
  readonly x: readonly number[];
  readonly filter: readonly number[];
}

type Padding = 'SAME' | 'VALID' | { readonly explicit: number };

const convValues = (stride: number, padding: Padding): Values => ({
  strides: { int: [1, stride, stride, 1] },
  ...(typeof padding === 'string'
    ? { padding: { text: padding } }
    : {
        padding: { text: 'EXPLICIT' },
        explicit_paddings: {
          int: [0, 0, padding.explicit, padding.explicit, padding.explicit, padding.explicit, 0, 0],
        },
      }),
  data_format: nhwc,
  dilations: { int: [1, 1, 1, 1] },
});

/**
 * How many zeros a kernel lacks at its end, in height and width, for TensorFlow's SAME to put `padding` zeros before the
 * image. None at stride 1 or on odd sides, one at stride 2 on even ones, where SAME starts elsewhere than PyTorch; undefined
 * where zeros are of no help.
 */
const lackingForSame = ({ stride, padding, x: [, h = 0, w = 0], filter: [kh = 0, kw = 0] }: ConvAttributes) => {
  const lacking = (side: number, kernel: number) =>
    2 * padding + side - (Math.ceil(side / stride) - 1) * stride - kernel;
  const zeros = [lacking(h, kh), lacking(w, kw)] as const;
  return zeros.every((count) => count >= 0 && count < stride) ? zeros : undefined;
};

/**
 * The named padding that equals `padding` zeros on each side, if there is one. With it the gradients run in oneDNN on a
 * CPU; with EXPLICIT they take two to four times as long and refuse groups.
 */
const namedPadding = (attributes: ConvAttributes): 'SAME' | 'VALID' | undefined => {
  if (attributes.padding === 0) return 'VALID';
  return lackingForSame(attributes)?.every((zeros) => zeros === 0) ? 'SAME' : undefined;
};

const padded = ({ x: [n = 0, h = 0, w = 0, c = 0], padding }: ConvAttributes): readonly number[] => [
  n,
  h + 2 * padding,
  w + 2 * padding,
  c,
];

/** Has gradients of the same name with `BackpropInput` and `BackpropFilter` after it. */
type Convolution = 'Conv2D' | 'DepthwiseConv2dNative';

/** Runs `f` on images with a border of zeros. */
const withBorder = (x: tf.Tensor, width: number, f: (images: tf.Tensor) => tf.Tensor): tf.Tensor => {
  const side: [number, number] = [width, width];
  const images = tf.pad(x, [[0, 0], side, side, [0, 0]]);
  const result = f(images);
  images.dispose();
  return result;
};

/**
 * Runs `f` with the zeros at a depthwise kernel's end that it lacks for SAME. Forwards and to the images they cost less than
 * a border around these; in the kernel's own gradient they would cost more.
 */
const withZerosAfter = (
  convolution: Convolution,
  filter: tf.Tensor,
  attributes: ConvAttributes,
  f: (filter: tf.Tensor, attributes: ConvAttributes) => tf.Tensor,
): tf.Tensor => {
  const zeros = lackingForSame(attributes);
  if (convolution === 'Conv2D' || namedPadding(attributes) !== undefined || zeros === undefined)
    return f(filter, attributes);
  const larger = tf.pad(filter, [
    [0, zeros[0]],
    [0, zeros[1]],
    [0, 0],
    [0, 0],
  ]);
  const result = f(larger, { ...attributes, filter: larger.shape });
  larger.dispose();
  return result;
};

const convForward = (
  convolution: Convolution,
  x: tf.Tensor,
  filter: tf.Tensor,
  attributes: ConvAttributes,
): tf.Tensor => {
  const { stride, padding } = attributes;
  const run = (images: tf.Tensor, how: Padding) => product(convolution, [images, filter], convValues(stride, how));
  const name = namedPadding(attributes);
  if (name !== undefined) return run(x, name);
  // In a graph, oneDNN's depthwise convolution would be told of no padding at all.
  if (convolution === 'DepthwiseConv2dNative') return withBorder(x, padding, (images) => run(images, 'VALID'));
  return run(x, { explicit: padding });
};

const convInputGradient = (
  convolution: Convolution,
  filter: tf.Tensor,
  dy: tf.Tensor,
  attributes: ConvAttributes,
): tf.Tensor => {
  const { stride, padding } = attributes;
  const name = namedPadding(attributes);
  const gradient = (side: readonly number[], same: 'SAME' | 'VALID') =>
    withShape(side, (shape) => product(`${convolution}BackpropInput`, [shape, filter, dy], convValues(stride, same)));
  if (name !== undefined) return gradient(attributes.x, name);
  const whole = gradient(padded(attributes), 'VALID');
  const inner = tf.slice(whole, [0, padding, padding, 0], [...attributes.x]);
  whole.dispose();
  return inner;
};

const convFilterGradient = (
  convolution: Convolution,
  x: tf.Tensor,
  dy: tf.Tensor,
  attributes: ConvAttributes,
): tf.Tensor => {
  const { stride, padding } = attributes;
  const name = namedPadding(attributes);
  const gradient = (images: tf.Tensor, same: 'SAME' | 'VALID') =>
    withShape(attributes.filter, (shape) =>
      product(`${convolution}BackpropFilter`, [images, shape, dy], convValues(stride, same)),
    );
  return name === undefined ? withBorder(x, padding, (images) => gradient(images, 'VALID')) : gradient(x, name);
};

const convolution = (name: Convolution) =>
  operation<ConvAttributes, 'x' | 'filter'>(name, {
    inputs: ['x', 'filter'],
    forward: ([x, kernel], given) => [
      withZerosAfter(name, kernel as tf.Tensor, given, (filter, attributes) =>
        convForward(name, x as tf.Tensor, filter, attributes),
      ),
    ],
    saved: { inputs: ['x', 'filter'] },
    gradient: ([dy], [x, filter], attributes) =>
      gradientOf(name, dy as tf.Tensor, x as tf.Tensor, filter as tf.Tensor, attributes),
  });

const gradientOf = (name: Convolution, dy: tf.Tensor, x: tf.Tensor, kernel: tf.Tensor, given: ConvAttributes) => ({
  x: () => withZerosAfter(name, kernel, given, (filter, attributes) => convInputGradient(name, filter, dy, attributes)),
  filter: () => convFilterGradient(name, x, dy, given),
});

/** What `conv2d` gives, within another operation. */
export const conv2dForward = (x: tf.Tensor, filter: tf.Tensor, attributes: ConvAttributes): tf.Tensor =>
  convForward('Conv2D', x, filter, attributes);

/** The gradients of `conv2d` from that to its result. */
export const conv2dGradient = (dy: tf.Tensor, x: tf.Tensor, filter: tf.Tensor, attributes: ConvAttributes) =>
  gradientOf('Conv2D', dy, x, filter, attributes);

/** Inputs x [n, h, w, c] and filter [kh, kw, c/groups, out]. */
export const conv2d = convolution('Conv2D');

/** Each channel by a kernel of its own: inputs x [n, h, w, c] and filter [kh, kw, c, 1]. */
export const depthwiseConv2d = convolution('DepthwiseConv2dNative');

/**
 * The sum over all axes but the last. Flat, since TensorFlow's graph optimiser would join the sum over images with the
 * gradient of a filter and so round differently from the two one by one.
 */
const biasGradient = (dy: tf.Tensor): tf.Tensor => {
  const flat = tf.reshape(dy, [-1, dy.shape.at(-1) as number]);
  const sum = execute1('BiasAddGrad', [flat], { T: float, data_format: nhwc });
  flat.dispose();
  return sum;
};

/** Adds bias [c] to the last axis of x. */
export const biasAdd = operation<object, 'x' | 'bias'>('BiasAdd', {
  inputs: ['x', 'bias'],
  forward: (inputs) => [execute1('BiasAdd', inputs, { T: float, data_format: nhwc })],
  gradient: ([dy]) => ({ x: () => (dy as tf.Tensor).clone(), bias: () => biasGradient(dy as tf.Tensor) }),
});

/** Two tensors of one shape. tfjs's own gradient of a sum reshapes dy twice. */
export const add = operation<object, 'a' | 'b'>('Add', {
  inputs: ['a', 'b'],
  forward: (inputs) => [execute1('AddV2', inputs, { T: float })],
  gradient: ([dy]) => ({ a: () => (dy as tf.Tensor).clone(), b: () => (dy as tf.Tensor).clone() }),
});

type MatMul<Result> = (a: tf.Tensor, b: tf.Tensor, transposeA: boolean, transposeB: boolean) => Result;

let longProduct: MatMul<tf.Tensor | undefined> = () => undefined;

/** Has dense layers multiply by this where it gives a result. */
export const longProductsBy = (by: typeof longProduct): void => {
  longProduct = by;
};

const matMul: MatMul<tf.Tensor> = (a, b, transposeA, transposeB) =>
  longProduct(a, b, transposeA, transposeB) ??
  product('MatMul', [a, b], { transpose_a: { bool: transposeA }, transpose_b: { bool: transposeB } });

/** x [n, in] · weight [in, out] + bias [out]. */
export const dense = operation<object, 'x' | 'weight' | 'bias'>('Dense', {
  inputs: ['x', 'weight', 'bias'],
  forward: ([x, weight, bias]) => {
    const product = matMul(x as tf.Tensor, weight as tf.Tensor, false, false);
    const sum = execute1('BiasAdd', [product, bias as tf.Tensor], { T: float, data_format: nhwc });
    product.dispose();
    return [sum];
  },
  saved: { inputs: ['x', 'weight'] },
  gradient: ([dy], [x, weight]) => ({
    x: () => matMul(dy as tf.Tensor, weight as tf.Tensor, false, true),
    weight: () => matMul(x as tf.Tensor, dy as tf.Tensor, true, false),
    bias: () => biasGradient(dy as tf.Tensor),
  }),
});

export interface BatchNormAttributes {
  readonly epsilon: number;
  /** The new batch's share in the running statistics. */
  readonly momentum: number;
}

const batchNormValues = ({ epsilon }: Pick<BatchNormAttributes, 'epsilon'>, training: boolean): Values => ({
  T: float,
  U: float,
  epsilon: { float: epsilon },
  data_format: nhwc,
  is_training: { bool: training },
});

/** x normalised by its own statistics, new running mean, new running (unbiased) variance, and three for the gradient. */
const normalisedByItself = (inputs: readonly tf.Tensor[], attributes: BatchNormAttributes): tf.Tensor[] =>
  execute(
    'FusedBatchNormV3',
    inputs,
    { ...batchNormValues(attributes, true), exponential_avg_factor: { float: attributes.momentum } },
    6,
  );

/** x normalised by the given statistics. */
const normalisedBy = (inputs: readonly tf.Tensor[], attributes: Pick<BatchNormAttributes, 'epsilon'>): tf.Tensor => {
  const [y, ...others] = execute(
    'FusedBatchNormV3',
    inputs,
    { ...batchNormValues(attributes, false), exponential_avg_factor: { float: 1 } },
    6,
  ) as [tf.Tensor, ...tf.Tensor[]];
  tf.dispose(others);
  return y;
};

export type BatchNormInput = 'x' | 'scale' | 'offset' | 'mean' | 'variance';
export const batchNormInputs = ['x', 'scale', 'offset', 'mean', 'variance'] as const;

/**
 * Normalises by the batch. Outputs: y, new running mean, new running (unbiased) variance, and three that only the
 * gradient operation reads. Gradients with respect to x, scale and offset, through y alone.
 */
export const batchNormTrain = operation<BatchNormAttributes, BatchNormInput>('BatchNormTrain', {
  inputs: batchNormInputs,
  forward: normalisedByItself,
  saved: { inputs: ['x', 'scale'], outputs: [false, false, false, true, true, true] },
  gradient: ([dy], saved, attributes) => {
    // Computed here and not inside one of the functions below, whose scopes would dispose of the others' results.
    const [x, scale, offset, ...reserved] = execute(
      'FusedBatchNormGradV3',
      [dy, ...saved] as tf.Tensor[],
      batchNormValues(attributes, true),
      5,
    ) as [tf.Tensor, tf.Tensor, tf.Tensor, ...tf.Tensor[]];
    tf.dispose(reserved);
    return { x: () => x, scale: () => scale, offset: () => offset };
  },
});

/** Normalises by the given mean and variance, which are constants: gradients with respect to x, scale and offset. */
export const batchNormEval = operation<BatchNormAttributes, BatchNormInput>('BatchNormEval', {
  inputs: batchNormInputs,
  forward: (inputs, attributes) => [normalisedBy(inputs, attributes)],
  saved: { inputs: ['x', 'scale', 'mean', 'variance'] },
  gradient: ([dy], [x, scale, mean, variance], { epsilon }) => {
    const inverseDeviation = () => tf.rsqrt(tf.add(variance as tf.Tensor, epsilon));
    return {
      x: () => tf.mul(dy as tf.Tensor, tf.mul(scale as tf.Tensor, inverseDeviation())),
      scale: () => {
        const correlation = tf.sum(tf.mul(dy as tf.Tensor, tf.sub(x as tf.Tensor, mean as tf.Tensor)), [0, 1, 2]);
        return tf.mul(correlation, inverseDeviation());
      },
      offset: () => biasGradient(dy as tf.Tensor),
    };
  },
});

/** An activation whose gradient operation reads dy and the features (what they are: `saved`). */
const activation = <Attributes extends object>(
  name: string,
  gradientName: string,
  saved: 'input' | 'output',
  values: (attributes: Attributes) => Values,
) =>
  operation<Attributes, 'x'>(name, {
    inputs: ['x'],
    forward: (inputs, attributes) => [execute1(name, inputs, values(attributes))],
    saved: saved === 'input' ? { inputs: ['x'] } : { outputs: [true] },
    gradient: ([dy], [features], attributes) => ({
      x: () => execute1(gradientName, [dy, features] as tf.Tensor[], values(attributes)),
    }),
  });

// ReluGrad and Relu6Grad see the same signs and bounds in the output as in the input, and the output is kept anyway.
export const relu = activation('Relu', 'ReluGrad', 'output', () => ({ T: float }));
export const relu6 = activation('Relu6', 'Relu6Grad', 'output', () => ({ T: float }));
export const leakyRelu = activation<{ readonly alpha: number }>('LeakyRelu', 'LeakyReluGrad', 'input', ({ alpha }) => ({
  T: float,
  alpha: { float: alpha },
}));

export interface PoolAttributes {
  readonly size: number;
  readonly stride: number;
  readonly x: readonly number[];
}

const poolValues = ({ size, stride }: PoolAttributes): Values => ({
  T: float,
  ksize: { int: [1, size, size, 1] },
  strides: { int: [1, stride, stride, 1] },
  padding: { text: 'VALID' },
  data_format: nhwc,
});

/** What oneDNN's own operations are called by, beside their attributes. */
const oneDnnValues: Values = { _kernel: { text: 'MklNameChangeOp' } };

/** oneDNN's max-pooling and its gradient remember the places of the maxima as it likes them. */
const placesValues = (attributes: PoolAttributes): Values => ({
  ...poolValues(attributes),
  ...oneDnnValues,
  workspace_enabled: { bool: true },
});

let oneDnn: boolean | undefined;

/**
 * Whether TensorFlow has oneDNN's operations under its own names for them: on processors by Intel and AMD it does. They
 * give the same bits as the ordinary ones.
 */
export const hasOneDnn = (): boolean => {
  if (backend().isUsingGpuDevice || isUnderXla() || process.env.TF_ENABLE_ONEDNN_OPTS === '0') return false;
  oneDnn ??= tf.tidy(() => {
    try {
      const pool = { size: 1, stride: 1, x: [1, 1, 1, 1] };
      return execute('_MklNativeMaxPool', [tf.ones([1, 1, 1, 1])], placesValues(pool), 2).length === 2;
    } catch {
      return false;
    }
  });
  return oneDnn;
};

/** Whether a convolution in groups has gradients: on a processor it is oneDNN that has them. */
export const hasGroups = (): boolean => backend().isUsingGpuDevice || isUnderXla() || hasOneDnn();

/** Outputs: y and, with oneDNN, the places of the maxima, for which its gradient takes a fifth of the time. */
export const maxPool = operation<PoolAttributes, 'x'>('MaxPool', {
  inputs: ['x'],
  forward: (inputs, attributes) =>
    hasOneDnn()
      ? execute('_MklNativeMaxPool', inputs, placesValues(attributes), 2)
      : execute('MaxPool', inputs, poolValues(attributes), 1),
  saved: { inputs: ['x'], outputs: [true, true] },
  gradient: ([dy], [x, y, places], attributes) => ({
    x: () =>
      places === undefined
        ? execute1('MaxPoolGrad', [x, y, dy] as tf.Tensor[], poolValues(attributes))
        : execute1('_MklNativeMaxPoolGrad', [x, y, dy, places] as tf.Tensor[], placesValues(attributes)),
  }),
});

export const avgPool = operation<PoolAttributes, 'x'>('AvgPool', {
  inputs: ['x'],
  forward: (inputs, attributes) => [execute1('AvgPool', inputs, poolValues(attributes))],
  gradient: ([dy], _, attributes) => ({
    x: () =>
      withShape(attributes.x, (shape) => execute1('AvgPoolGrad', [shape, dy as tf.Tensor], poolValues(attributes))),
  }),
});

export interface UpsampleAttributes {
  readonly factor: number;
  readonly x: readonly number[];
}

/**
 * Each pixel `factor` times in each direction. Repeating is as fast as ResizeNearestNeighbor and leaves no question which
 * pixel is nearest. The gradient is a sum over windows, by way of their mean since that runs in oneDNN: on two cores in a
 * tenth of the time of a sum over axes, and, unlike ResizeNearestNeighborGrad, in one order on a graphics card too.
 */
export const upsample = operation<UpsampleAttributes, 'x'>('Upsample', {
  inputs: ['x'],
  forward: ([x], { factor, x: [n = 0, h = 0, w = 0, c = 0] }) => [
    tf.tidy(() => {
      const apart = tf.reshape(x as tf.Tensor, [n * h, 1, w, 1, c]);
      return tf.reshape(tf.tile(apart, [1, factor, 1, factor, 1]), [n, factor * h, factor * w, c]);
    }),
  ],
  gradient: ([dy], _, { factor }) => ({
    x: () => {
      const pool = { size: factor, stride: factor, x: (dy as tf.Tensor).shape };
      return tf.mul(execute1('AvgPool', [dy as tf.Tensor], poolValues(pool)), factor ** 2);
    },
  }),
});

/** With SAME padding, which at stride 2 and kernel 4 is one pixel on each side. */
const halving = convValues(2, 'SAME');

/**
 * The gradient of a convolution of kernel 4, stride 2 and padding 1 to its images, as an operation of its own: inputs x
 * [n, h, w, in] and filter [4, 4, out, in], output [n, 2 h, 2 w, out].
 */
export const conv2dTransposed = operation<
  { readonly output: readonly number[]; readonly filter: readonly number[] },
  'x' | 'filter'
>('Conv2DTransposed', {
  inputs: ['x', 'filter'],
  forward: ([x, filter], { output }) => [
    withShape(output, (shape) => product('Conv2DBackpropInput', [shape, filter, x] as tf.Tensor[], halving)),
  ],
  saved: { inputs: ['x', 'filter'] },
  gradient: ([dy], [x, filter], attributes) => ({
    x: () => product('Conv2D', [dy, filter] as tf.Tensor[], halving),
    filter: () =>
      withShape(attributes.filter, (shape) => product('Conv2DBackpropFilter', [dy, shape, x] as tf.Tensor[], halving)),
  }),
});

/** An operation with one output on that of another, which may be of a type that tfjs does not know. */
const chained = (inputs: readonly tf.Tensor[], first: [string, Values], second: [string, Values]): tf.Tensor => {
  const { binding } = backend();
  const run = ([name, values]: [string, Values], ids: readonly number[]): Raw =>
    binding.executeOp(name, attributesOf(values), ids, 1)[0] as Raw;
  const between = run(first, backend().getInputTensorIds(inputs));
  const result = run(second, [between.id]);
  binding.deleteTensor(between.id);
  return backend().createOutputTensor(result);
};

const complex: Value = { dtype: 'complex64' };

/** [n, h, w, 2 c] to [n, h, w, c]: the channels of even number, which are the real parts, or those of odd number. */
const everyOther = (x: tf.Tensor, part: 'Real' | 'Imag'): tf.Tensor => {
  const [n = 0, h = 0, w = 0, c = 0] = x.shape;
  const pairs = tf.reshape(x, [n, h, w, c / 2, 2]);
  if (isUnderXla()) return tf.unstack(pairs, 4)[part === 'Real' ? 0 : 1] as tf.Tensor;
  return chained([pairs], ['Bitcast', { T: float, type: complex }], [part, { T: complex, Tout: float }]);
};

/**
 * Channels of a and of b in turn: two [n, h, w, c] to [n, h, w, 2 c]. Two numbers side by side are a complex number, and
 * making those of two tensors takes a fifth of the time of a concatenation and a transposition. XLA, which sees through
 * the latter, has no such view of two numbers.
 */
export const interleave = operation<{ readonly a: readonly number[] }, 'a' | 'b'>('Interleave', {
  inputs: ['a', 'b'],
  forward: (inputs, { a: [n = 0, h = 0, w = 0, c = 0] }) => [
    tf.tidy(() => {
      const pairs = isUnderXla()
        ? tf.stack([...inputs], 4)
        : chained(inputs, ['Complex', { T: float, Tout: complex }], ['Bitcast', { T: complex, type: float }]);
      return tf.reshape(pairs, [n, h, w, 2 * c]);
    }),
  ],
  gradient: ([dy]) => ({
    a: () => everyOther(dy as tf.Tensor, 'Real'),
    b: () => everyOther(dy as tf.Tensor, 'Imag'),
  }),
});

const meanOver = (x: tf.Tensor, axes: number[]): tf.Tensor =>
  withShape(axes, (indices) =>
    execute1('Mean', [x, indices], { T: float, Tidx: { dtype: 'int32' }, keep_dims: { bool: false } }),
  );

/** Mean over height and width: [n, h, w, c] to [n, c]. */
export const globalMean = operation<{ readonly x: readonly number[] }, 'x'>('GlobalMean', {
  inputs: ['x'],
  forward: ([x]) => [meanOver(x as tf.Tensor, [1, 2])],
  gradient: ([dy], _, { x: [n = 0, h = 0, w = 0, c = 0] }) => ({
    x: () => tf.broadcastTo(tf.reshape(tf.div(dy as tf.Tensor, h * w), [n, 1, 1, c]), [n, h, w, c]),
  }),
});

/** Runs `f` with so many zeros. */
const withZeros = <A>(size: number, f: (zeros: tf.Tensor) => A): A => {
  const zeros = tf.zeros([size]);
  const result = f(zeros);
  zeros.dispose();
  return result;
};

/**
 * Mean and biased variance over batch, height and width: [n, h, w, c] to twice [c]. A training batch norm finds both in two
 * fifths of the time of a mean, a difference and another mean, although what it is there for is thrown away.
 */
export const moments = operation<{ readonly x: readonly number[] }, 'x'>('Moments', {
  inputs: ['x'],
  forward: ([x], { x: [n = 0, h = 0, w = 0, c = 0] }) => {
    const count = n * h * w;
    if (count === 1) return [tf.reshape(x as tf.Tensor, [c]), tf.zeros([c])];
    const [y, mean, unbiased, ...others] = withZeros(c, (zeros) =>
      normalisedByItself([x as tf.Tensor, zeros, zeros, zeros, zeros], { epsilon: 1, momentum: 1 }),
    ) as [tf.Tensor, tf.Tensor, tf.Tensor, ...tf.Tensor[]];
    const variance = tf.mul(unbiased, (count - 1) / count);
    tf.dispose([y, unbiased, ...others]);
    return [mean, variance];
  },
  saved: { inputs: ['x'], outputs: [true, false] },
  gradient: ([toMean, toVariance], [x, mean], { x: [n = 0, h = 0, w = 0, c = 0] }) => ({
    // (toMean + 2 (x − mean) toVariance) / count is a batch norm in evaluation: one pass over the large tensor.
    x: () => {
      const slope = tf.mul(toVariance as tf.Tensor, 2 / (n * h * w));
      const level = tf.div(toMean as tf.Tensor, n * h * w);
      return withZeros(c, (zeros) => normalisedBy([x, slope, level, mean, zeros] as tf.Tensor[], { epsilon: 1 }));
    },
  }),
});

/** Mean and biased variance over height and width: [n, h, w, c] to twice [n, c]. */
export const momentsByImage = operation<{ readonly x: readonly number[] }, 'x'>('MomentsByImage', {
  inputs: ['x'],
  forward: ([x], { x: [n = 0, , , c = 0] }) =>
    tf.tidy(() => {
      const mean = meanOver(x as tf.Tensor, [1, 2]);
      const deviations = tf.sub(x as tf.Tensor, tf.reshape(mean, [n, 1, 1, c]));
      return [mean, meanOver(tf.square(deviations), [1, 2])];
    }),
  saved: { inputs: ['x'], outputs: [true, false] },
  gradient: ([toMean, toVariance], [x, mean], { x: [n = 0, h = 0, w = 0, c = 0] }) => ({
    x: () =>
      tf.tidy(() => {
        const share = (dy: tf.Tensor | undefined, by: number) =>
          tf.reshape(tf.mul(dy as tf.Tensor, by / (h * w)), [n, 1, 1, c]);
        const deviations = tf.sub(x as tf.Tensor, tf.reshape(mean as tf.Tensor, [n, 1, 1, c]));
        return tf.add(tf.mul(deviations, share(toVariance, 2)), share(toMean, 1));
      }),
  }),
});

/** Random numbers that depend on seed (int32 [2]) alone. */
const stateless =
  (name: string) =>
  (shape: readonly number[], seed: tf.Tensor): tf.Tensor =>
    withShape(shape, (dimensions) =>
      execute1(name, [dimensions, seed], { dtype: float, T: { dtype: 'int32' }, Tseed: { dtype: 'int32' } }),
    );

/** Uniform in [0, 1). */
export const statelessUniform = stateless('StatelessRandomUniform');

/** Of mean 0 and variance 1. */
export const statelessNormal = stateless('StatelessRandomNormal');

/** Moved around by shift (int32 [2]) along height and width: what leaves on one side comes in on the other. */
const rolled = (x: tf.Tensor, shift: tf.Tensor): tf.Tensor =>
  withShape([1, 2], (axes) =>
    execute1('Roll', [x, shift, axes], {
      T: { dtype: x.dtype as keyof typeof DTYPES },
      Tshift: { dtype: 'int32' },
      Taxis: { dtype: 'int32' },
    }),
  );

/** Images [n, h, w, c] moved around, all by the same shift (int32 [2]); the gradient moves back. */
export const roll = operation<object, 'x' | 'shift'>('Roll', {
  inputs: ['x', 'shift'],
  forward: ([x, shift]) => [rolled(x as tf.Tensor, shift as tf.Tensor)],
  saved: { inputs: ['shift'] },
  gradient: ([dy], [shift]) => ({ x: () => rolled(dy as tf.Tensor, tf.neg(shift as tf.Tensor)) }),
});

/** x with left and right exchanged where `mirrored` (bool, a scalar) holds. */
const mirroredIf = (x: tf.Tensor, mirrored: tf.Tensor): tf.Tensor => {
  const T: Value = { dtype: x.dtype as keyof typeof DTYPES };
  const reversed = withShape([2], (axes) => execute1('ReverseV2', [x, axes], { T, Tidx: { dtype: 'int32' } }));
  const chosen = execute1('Select', [mirrored, reversed, x], { T });
  reversed.dispose();
  return chosen;
};

/** Images [n, h, w, c], all mirrored or none; the gradient mirrors back. */
export const mirror = operation<object, 'x' | 'mirrored'>('Mirror', {
  inputs: ['x', 'mirrored'],
  forward: ([x, mirrored]) => [mirroredIf(x as tf.Tensor, mirrored as tf.Tensor)],
  saved: { inputs: ['mirrored'] },
  gradient: ([dy], [mirrored]) => ({ x: () => mirroredIf(dy as tf.Tensor, mirrored as tf.Tensor) }),
});

/** A tensor of bytes, a type that tfjs takes for int32. */
export const bytes = (data: Uint8Array, shape: readonly number[]): tf.Tensor => {
  const id = backend().binding.createTensor(shape, DTYPES.uint8, data);
  return backend().createOutputTensor({ id, dtype: DTYPES.uint8, shape: [...shape] });
};

export const fromBytes = operation<object, 'x'>('FromBytes', {
  inputs: ['x'],
  forward: (inputs) => [execute1('Cast', inputs, { SrcT: { dtype: 'uint8' }, DstT: float, Truncate: { bool: false } })],
});

/** The entries of x [n, …] (of any type) at int32 indices of any shape. */
export const rows = operation<object, 'x' | 'indices'>('Rows', {
  inputs: ['x', 'indices'],
  forward: ([x, indices]) => {
    const axis = tf.scalar(0, 'int32');
    // The type of x is left to TensorFlow, which knows bytes where tfjs does not.
    const result = execute1('GatherV2', [x, indices, axis] as tf.Tensor[], {
      Tindices: { dtype: 'int32' },
      Taxis: { dtype: 'int32' },
      batch_dims: { int: 0 },
    });
    axis.dispose();
    return [result];
  },
});

/** Over the last axis; the gradient comes from the output: dy − softmax(x) Σ dy. */
export const logSoftmax = operation<object, 'x'>('LogSoftmax', {
  inputs: ['x'],
  forward: (inputs) => [execute1('LogSoftmax', inputs, { T: float })],
  saved: { outputs: [true] },
  gradient: ([dy], [y]) => ({
    x: () => tf.tidy(() => tf.sub(dy as tf.Tensor, tf.mul(tf.exp(y as tf.Tensor), tf.sum(dy as tf.Tensor, -1, true)))),
  }),
});

/**
 * Two of tfjs's own kernels made anew. In a graph TensorFlow has another softmax (oneDNN's), and sums of many tensors begin
 * with whichever one's memory is free: both would round differently there than called one by one.
 */
export const steadyKernels = (): void => {
  const anew = (kernelName: string, kernel: (inputs: readonly tf.Tensor[]) => tf.Tensor): void => {
    if (tf.getKernel(kernelName, 'tensorflow') !== undefined) tf.unregisterKernel(kernelName, 'tensorflow');
    tf.registerKernel({
      kernelName,
      backendName: 'tensorflow',
      kernelFunc: ({ inputs }) => kernel(Object.values(inputs) as tf.Tensor[]),
    });
  };
  anew('Softmax', ([logits]) => {
    const logarithms = execute1('LogSoftmax', [logits as tf.Tensor], { T: float });
    const probabilities = execute1('Exp', [logarithms], { T: float });
    logarithms.dispose();
    return probabilities;
  });
  anew('AddN', ([first, ...others]) =>
    others.reduce(
      (sum, other, i) => {
        const next = execute1('AddV2', [sum, other], { T: { dtype: other.dtype as keyof typeof DTYPES } });
        if (i > 0) sum.dispose();
        return next;
      },
      others.length === 0 ? (first as tf.Tensor).clone() : (first as tf.Tensor),
    ),
  );
};
