import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { key, permutation, uniforms } from '../../src/core/random.js';
import { loadEngine } from '../../src/engine/engine.js';
import * as ops from '../../src/engine/ops.js';

beforeAll(async () => {
  await loadEngine();
});

afterEach(async () => {
  await tf.setBackend('tensorflow');
});

interface Input {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Uniform in ±1. */
const random = (name: string, ...shape: number[]): Input => ({
  shape,
  data: uniforms(key(name), sizeOf(shape), 1),
});

const positive = (input: Input): Input => ({ ...input, data: input.data.map((value) => 0.5 + Math.abs(value)) });

/** Distinct numbers at least 0.08 apart and away from 0 and 6, so that no kink is within a finite difference. */
const spread = (name: string, ...shape: number[]): Input => ({
  shape,
  data: Float32Array.from(permutation(key(name), sizeOf(shape)), (rank) => (rank - sizeOf(shape) / 3 + 0.5) * 0.08),
});

interface Case {
  readonly name: string;
  readonly inputs: readonly Input[];
  readonly run: (inputs: tf.Tensor[]) => tf.Tensor | tf.Tensor[];
  /** How many of the inputs have gradients (the first ones); default all. */
  readonly differentiable?: number;
  /** Of the difference between engines, where sums are long; default 1e-5. */
  readonly tolerance?: number;
}

const norm = ([x, scale, offset, mean, variance]: tf.Tensor[]) =>
  [x, { scale, offset, mean, variance }] as unknown as [tf.Tensor4D, ops.BatchNormVariables];

const channels = (n: number) => [
  positive(random('scale', n)),
  random('offset', n),
  random('mean', n),
  positive(random('variance', n)),
];

const conv = (name: string, x: Input, filter: Input, options?: ops.ConvOptions): Case => ({
  name: `conv2d ${name}`,
  inputs: [x, filter],
  run: ([a, b]) => ops.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, options),
});

const cases: readonly Case[] = [
  conv('3×3 padding 1', random('x', 2, 6, 5, 3), random('f', 3, 3, 3, 4), { padding: 1 }),
  conv('3×3 stride 2 padding 1, even', random('x', 2, 6, 8, 3), random('f', 3, 3, 3, 4), { stride: 2, padding: 1 }),
  conv('3×3 stride 2 padding 1, odd', random('x', 2, 7, 5, 3), random('f', 3, 3, 3, 4), { stride: 2, padding: 1 }),
  {
    ...conv('3×3 padding 1, by Winograd', random('x', 3, 14, 14, 32), random('f', 3, 3, 32, 48), { padding: 1 }),
    tolerance: 3e-5,
  },
  conv('1×1 stride 2', random('x', 2, 6, 5, 3), random('f', 1, 1, 3, 4), { stride: 2 }),
  conv('1×1 padding 1', random('x', 1, 3, 4, 3), random('f', 1, 1, 3, 2), { padding: 1 }),
  conv('5×5 valid', random('x', 2, 7, 6, 2), random('f', 5, 5, 2, 3)),
  conv('5×5 padding 2 stride 3', random('x', 2, 7, 6, 2), random('f', 5, 5, 2, 3), { padding: 2, stride: 3 }),
  conv('2 groups', random('x', 2, 5, 5, 4), random('f', 3, 3, 2, 6), { padding: 1, stride: 2 }),
  conv('2 groups of 2, at the sides named SAME', random('x', 2, 5, 4, 4), random('f', 3, 3, 2, 6), { padding: 1 }),
  conv('3 groups, 1×1', random('x', 2, 3, 4, 6), random('f', 1, 1, 2, 3)),
  conv('depthwise', random('x', 2, 5, 6, 3), random('f', 3, 3, 1, 3), { padding: 1 }),
  conv('depthwise stride 2, even', random('x', 2, 6, 4, 3), random('f', 3, 3, 1, 3), { padding: 1, stride: 2 }),
  conv('depthwise stride 2, odd', random('x', 2, 5, 7, 2), random('f', 3, 3, 1, 2), { padding: 1, stride: 2 }),
  conv('depthwise stride 2, both', random('x', 2, 4, 5, 2), random('f', 3, 3, 1, 2), { padding: 1, stride: 2 }),
  conv('depthwise 5×5 at 3', random('x', 2, 7, 6, 2), random('f', 5, 5, 1, 2), { padding: 2, stride: 3 }),
  conv('as many groups as channels, 2 from each', random('x', 2, 5, 4, 2), random('f', 3, 3, 1, 4), { padding: 1 }),
  {
    name: 'halves',
    inputs: [random('x', 2, 3, 2, 6)],
    run: ([x]) => ops.halves(x as tf.Tensor4D),
  },
  {
    name: 'interleave',
    inputs: [random('a', 2, 3, 2, 5), random('b', 2, 3, 2, 5)],
    run: ([a, b]) => ops.interleave(a as tf.Tensor4D, b as tf.Tensor4D),
  },
  {
    name: 'biasAdd on images',
    inputs: [random('x', 2, 3, 2, 4), random('b', 4)],
    run: ([x, b]) => ops.biasAdd(x as tf.Tensor, b as tf.Tensor1D),
  },
  {
    name: 'biasAdd with ReLU6',
    inputs: [spread('x', 3, 2, 5, 4), random('b', 4)],
    run: ([x, b]) => ops.biasAdd(x as tf.Tensor, b as tf.Tensor1D, 'relu6'),
  },
  {
    name: 'add',
    inputs: [random('x', 2, 3), random('b', 2, 3)],
    run: ([a, b]) => ops.add(a as tf.Tensor, b as tf.Tensor),
  },
  {
    name: 'add of a tensor to itself',
    inputs: [random('x', 2, 3)],
    run: ([x]) => ops.add(x as tf.Tensor, x as tf.Tensor),
  },
  {
    name: 'dense',
    inputs: [random('x', 3, 5), random('w', 5, 4), random('b', 4)],
    run: ([x, w, b]) => ops.dense(x as tf.Tensor2D, w as tf.Tensor2D, b as tf.Tensor1D),
  },
  {
    name: 'batchNormTrain on images',
    inputs: [random('x', 3, 2, 4, 3), ...channels(3)],
    run: (inputs) => ops.batchNormTrain(...norm(inputs)).y,
    differentiable: 3,
  },
  {
    name: 'batchNormTrain on vectors',
    inputs: [random('x', 6, 3), ...channels(3)],
    run: (inputs) => ops.batchNormTrain(...norm(inputs)).y,
    differentiable: 3,
  },
  {
    name: 'batchNormEval on images',
    inputs: [random('x', 3, 2, 4, 3), ...channels(3)],
    run: (inputs) => ops.batchNormEval(...norm(inputs)),
    differentiable: 3,
  },
  {
    name: 'batchNormEval on vectors',
    inputs: [random('x', 6, 3), ...channels(3)],
    run: (inputs) => ops.batchNormEval(...norm(inputs)),
    differentiable: 3,
  },
  {
    name: 'batchNormTrain with ReLU',
    inputs: [random('x', 3, 2, 4, 3), ...channels(3)],
    run: (inputs) => ops.batchNormTrain(...norm(inputs), { activation: 'relu' }).y,
    differentiable: 3,
  },
  {
    name: 'batchNormTrain of many channels',
    inputs: [random('x', 5, 3, 3, 130), ...channels(130)],
    run: (inputs) => ops.batchNormTrain(...norm(inputs)).y,
    differentiable: 3,
  },
  {
    name: 'batchNormEval with ReLU6',
    inputs: [random('x', 3, 2, 4, 3), ...channels(3)],
    run: (inputs) => ops.batchNormEval(...norm(inputs), { activation: 'relu6' }),
    differentiable: 3,
  },
  {
    name: 'batchNormEval and moments with ReLU',
    inputs: [random('x', 7, 2, 4, 3), ...channels(3)],
    run: (inputs) => {
      const { y, mean, variance } = ops.batchNormWithMoments(...norm(inputs), { activation: 'relu' });
      return [y, mean, variance];
    },
    differentiable: 3,
  },
  {
    name: 'batchNormEval and moments of vectors',
    inputs: [random('x', 6, 3), ...channels(3)],
    run: (inputs) => {
      const { y, mean, variance } = ops.batchNormWithMoments(...norm(inputs));
      return [y, mean, variance];
    },
    differentiable: 3,
  },
  {
    name: 'add with ReLU',
    inputs: [spread('x', 2, 3, 5), spread('b', 2, 3, 5)],
    run: ([a, b]) => ops.add(a as tf.Tensor, b as tf.Tensor, 'relu'),
  },
  { name: 'relu', inputs: [spread('x', 2, 3, 3, 2)], run: ([x]) => ops.relu(x as tf.Tensor) },
  { name: 'relu6', inputs: [spread('x', 4, 5, 4, 2)], run: ([x]) => ops.relu6(x as tf.Tensor) },
  { name: 'leakyRelu', inputs: [spread('x', 2, 3, 3, 2)], run: ([x]) => ops.leakyRelu(x as tf.Tensor, 0.2) },
  { name: 'maxPool 2', inputs: [spread('x', 2, 4, 6, 3)], run: ([x]) => ops.maxPool(x as tf.Tensor4D) },
  { name: 'maxPool 2, odd', inputs: [spread('x', 2, 5, 7, 2)], run: ([x]) => ops.maxPool(x as tf.Tensor4D) },
  { name: 'maxPool 3 at 2', inputs: [spread('x', 2, 7, 5, 2)], run: ([x]) => ops.maxPool(x as tf.Tensor4D, 3, 2) },
  { name: 'avgPool 2, odd', inputs: [random('x', 2, 5, 7, 2)], run: ([x]) => ops.avgPool(x as tf.Tensor4D) },
  { name: 'globalMean', inputs: [random('x', 2, 3, 4, 5)], run: ([x]) => ops.globalMean(x as tf.Tensor4D) },
  { name: 'upsampleBilinear', inputs: [random('x', 2, 3, 4, 3)], run: ([x]) => ops.upsampleBilinear(x as tf.Tensor4D) },
  {
    name: 'moments of each image',
    inputs: [random('x', 3, 4, 2, 3)],
    run: ([x]) => {
      const { mean, variance } = ops.momentsByImage(x as tf.Tensor4D);
      return [mean, variance];
    },
  },
  { name: 'flatten', inputs: [random('x', 2, 3, 4, 5)], run: ([x]) => ops.flatten(x as tf.Tensor4D) },
  { name: 'softmax', inputs: [random('x', 3, 5)], run: ([x]) => ops.softmax(x as tf.Tensor) },
  { name: 'logSoftmax', inputs: [random('x', 3, 5)], run: ([x]) => ops.logSoftmax(x as tf.Tensor) },
  {
    name: 'moments of images',
    inputs: [random('x', 3, 4, 2, 3)],
    run: ([x]) => {
      const { mean, variance } = ops.moments(x as tf.Tensor);
      return [mean, variance];
    },
  },
  {
    name: 'moments of vectors',
    inputs: [random('x', 5, 3)],
    run: ([x]) => {
      const { mean, variance } = ops.moments(x as tf.Tensor);
      return [mean, variance];
    },
  },
];

const tensorOf = ({ shape, data }: Input) => tf.tensor(data, [...shape]);

const listed = <A>(value: A | A[]): A[] => (Array.isArray(value) ? value : [value]);

/** The weights that turn an operation's outputs into one number: a different one for every element. */
const cotangent = (shape: readonly number[], which: number): Float32Array =>
  uniforms(key(`cotangent/${which}`), sizeOf(shape), 1);

/** Outputs, and gradients of their weighted sum with respect to the differentiable inputs, on the current backend. */
const evaluate = ({ inputs, run, differentiable = inputs.length }: Case) => {
  const tensors = inputs.map(tensorOf);
  const outputs = listed(run(tensors)).map((tensor) => ({
    shape: tensor.shape,
    data: tensor.dataSync() as Float32Array,
  }));
  const { grads } = tf.valueAndGrads(
    (...wanted) =>
      listed(run([...wanted, ...tensors.slice(differentiable)]))
        .map((y, i) => tf.sum(tf.mul(y, tf.tensor(cotangent(y.shape, i), y.shape))))
        .reduce((a, b) => tf.add(a, b)) as tf.Scalar,
  )(tensors.slice(0, differentiable));
  return {
    outputs,
    gradients: grads.map((tensor) => ({ shape: tensor.shape, data: tensor.dataSync() as Float32Array })),
  };
};

const evaluated = (operation: Case) => {
  // Captured, not returned: tf.tidy walks what it returns, numbers too, one by one.
  let found = {} as ReturnType<typeof evaluate>;
  tf.tidy(() => {
    found = evaluate(operation);
  });
  return found;
};

const expectClose = (found: Input, wanted: Input, tolerance: number) => {
  expect(found.shape).toEqual(wanted.shape);
  for (let i = 0; i < wanted.data.length; i++) {
    const [a, b] = [found.data[i] as number, wanted.data[i] as number];
    if (!(Math.abs(a - b) <= tolerance * (1 + Math.abs(b)))) expect.fail(`element ${i}: ${a}, not ${b}`);
  }
};

describe.each(cases)('$name', (operation) => {
  const { tolerance = 1e-5 } = operation;
  it('native and plain agree, forwards and backwards', async () => {
    const native = evaluated(operation);
    await tf.setBackend('cpu');
    const plain = evaluated(operation);
    native.outputs.forEach((output, i) => {
      expectClose(output, plain.outputs[i] as Input, tolerance);
    });
    native.gradients.forEach((gradient, i) => {
      expectClose(gradient, plain.gradients[i] as Input, tolerance);
    });
  });

  it.each(['tensorflow', 'cpu'])('%s gradients are those of finite differences', async (backend) => {
    await tf.setBackend(backend);
    tf.tidy(() => {
      const { gradients } = evaluate(operation);
      // The weighted sum in double precision: only the operation itself is in float32.
      const total = (inputs: readonly Input[]) => {
        let sum = 0;
        listed(operation.run(inputs.map(tensorOf))).forEach((y, which) => {
          const weights = cotangent(y.shape, which);
          y.dataSync().forEach((value: number, i: number) => {
            sum += value * (weights[i] as number);
          });
        });
        return sum;
      };
      const step = 0.02;
      gradients.forEach((gradient, which) => {
        // Three random directions in each input.
        for (const direction of ['a', 'b', 'c']) {
          const along = uniforms(key(direction), gradient.data.length, 1);
          const moved = (sign: number) =>
            total(
              operation.inputs.map((input, i) =>
                i === which
                  ? { ...input, data: input.data.map((value, j) => value + sign * step * (along[j] as number)) }
                  : input,
              ),
            );
          const difference = (moved(1) - moved(-1)) / (2 * step);
          const product = gradient.data.reduce((sum, value, j) => sum + value * (along[j] as number), 0);
          expect(Math.abs(difference - product)).toBeLessThan(5e-3 * (1 + Math.abs(difference)));
        }
      });
    });
  });

  it('creates its outputs and nothing else, with and without gradients', () => {
    const tensors = operation.inputs.map(tensorOf);
    const count = tf.memory().numTensors;
    const outputs = listed(operation.run(tensors));
    // Without any tidy. Batch norm hands back its running statistics too, which the table leaves aside.
    const extra = operation.name.startsWith('batchNormTrain') ? 2 : 0;
    expect(tf.memory().numTensors).toBe(count + outputs.length + extra);
    tf.dispose(outputs);
    const before = tf.memory();
    const { differentiable = tensors.length } = operation;
    const loss = (...wanted: tf.Tensor[]) =>
      listed(operation.run([...wanted, ...tensors.slice(differentiable)]))
        .map((y) => tf.sum(tf.square(y)))
        .reduce((a, b) => tf.add(a, b)) as tf.Scalar;
    const { value, grads } = tf.valueAndGrads(loss)(tensors.slice(0, differentiable));
    tf.dispose([value, ...grads]);
    expect(tf.memory().numTensors).toBe(before.numTensors);
    expect(tf.memory().numDataBuffers).toBe(before.numDataBuffers);
    tf.dispose(tensors);
  });
});

describe('PyTorch’s arithmetic', () => {
  it.each(['tensorflow', 'cpu'])('%s: padding 1 at stride 2 starts at the border (worked number)', async (backend) => {
    await tf.setBackend(backend);
    // 1…16 in rows of 4, a kernel of ones: windows centred on (0,0), (0,2), (2,0), (2,2).
    // TensorFlow's SAME would centre them on (1,1) … and give 54, 45, 81, 66 or the like.
    const x = tf.range(1, 17).reshape([1, 4, 4, 1]) as tf.Tensor4D;
    const y = ops.conv2d(x, tf.ones([3, 3, 1, 1]), { stride: 2, padding: 1 });
    // (1+2+5+6), (2+3+4+6+7+8), (5+6+9+10+13+14), (6+7+8+10+11+12+14+15+16)
    expect([...y.dataSync()]).toEqual([14, 30, 57, 99]);
  });

  it.each(['tensorflow', 'cpu'])('%s: the running variance is unbiased, the normaliser is not', async (backend) => {
    await tf.setBackend(backend);
    // Batch of 4 values 1, 2, 3, 6: mean 3, biased variance 3.5, unbiased 14/3.
    const x = tf.tensor2d([1, 2, 3, 6], [4, 1]);
    const one = tf.ones([1]);
    const { y, mean, variance } = ops.batchNormTrain(x, {
      scale: one,
      offset: tf.zeros([1]),
      mean: tf.tensor1d([10]),
      variance: one,
    });
    expect(mean.dataSync()[0]).toBeCloseTo(0.9 * 10 + 0.1 * 3, 5);
    expect(variance.dataSync()[0]).toBeCloseTo(0.9 + (0.1 * 14) / 3, 5);
    expect(y.dataSync()[0]).toBeCloseTo(-2 / Math.sqrt(3.5 + 1e-5), 5);
    expect(y.shape).toEqual([4, 1]);
  });

  it('the gradient of ReLU at 0 is 0', () => {
    const gradient = tf.grad((x) => ops.relu(x).sum())(tf.tensor1d([-1, 0, 1]));
    expect([...gradient.dataSync()]).toEqual([0, 0, 1]);
  });

  it.each(['tensorflow', 'cpu'])('%s: the gradient of ReLU6 is 0 at both ends', async (backend) => {
    await tf.setBackend(backend);
    const gradient = tf.grad((x) => ops.relu6(x).sum())(tf.tensor1d([-1, 0, 1e-6, 5.9999, 6, 7]));
    expect([...gradient.dataSync()]).toEqual([0, 0, 1, 1, 0, 0]);
  });

  it.each(['tensorflow', 'cpu'])('%s: interleaved channels come in turn, and halves are halves', async (backend) => {
    await tf.setBackend(backend);
    const [a, b] = [tf.tensor4d([1, 2, 3, 4], [1, 1, 2, 2]), tf.tensor4d([5, 6, 7, 8], [1, 1, 2, 2])];
    const y = ops.interleave(a, b);
    expect([y.shape, ...y.dataSync()]).toEqual([[1, 1, 2, 4], 1, 5, 2, 6, 3, 7, 4, 8]);
    expect(ops.halves(y).map((half) => [...half.dataSync()])).toEqual([
      [1, 5, 3, 7],
      [2, 6, 4, 8],
    ]);
  });
});

describe('the mean of the nearest', () => {
  const known = () => ({
    keys: tf.tensor2d([
      [0, 1, 2, 2.25],
      [0, 0, 1, 1],
    ]),
    groups: tf.tensor1d([0, 0, 0, 3]),
    values: tf.tensor2d([
      [1, 10],
      [2, 20],
      [3, 30],
      [5, 50],
    ]),
  });
  const near = (row: readonly number[], group: number, within: number) => [
    ...ops.meanOfNearest(tf.tensor2d([...row], [1, 2]), tf.tensor1d([group]), known(), within).dataSync(),
  ];

  it.each(['tensorflow', 'cpu'])('%s: is of all within the distance, or of the nearest alone', async (backend) => {
    await tf.setBackend(backend);
    // To (2, 1): 3, 2 and 0, and 0.25 in the other group; to (0.5, 0): 0.5, 0.5 and 2.5.
    expect(near([2, 1], 0, 2)).toEqual([2.5, 25]);
    expect(near([2, 1], 0, 1.9)).toEqual([3, 30]);
    expect(near([0.5, 0], 0, 0.2)).toEqual([1.5, 15]);
    expect(near([0.5, 0], 3, 0.2)).toEqual([5, 50]);
    // Of a group without keys, all count.
    expect(near([2, 1], 2, 0.25)).toEqual([4, 40]);
    expect(near([Number.NaN, 0], 0, 1)).toEqual([Number.NaN, Number.NaN]);
  });

  it('is the same by our own operation and by those of TensorFlow.js, of more keys than a block holds', async () => {
    const [rows, keys, values] = [random('rows', 7, 20), random('keys', 20, 2500), random('values', 2500, 3)];
    const tensor = ({ data, shape }: Input): tf.Tensor2D => tf.tensor2d(data, shape as [number, number]);
    const meansOf = async (backend: string): Promise<number[]> => {
      await tf.setBackend(backend);
      const groups = tf.tensor1d(Float32Array.from({ length: 2500 }, (_, i) => (i < 1200 ? 1 : 4)));
      const own = tf.tensor1d([1, 4, 4, 1, 0, 2, 9]);
      return [0, 9, 100].flatMap((within) => [
        ...ops
          .meanOfNearest(tensor(rows), own, { keys: tensor(keys), groups, values: tensor(values) }, within)
          .dataSync(),
      ]);
    };
    const [ours, theirs] = [await meansOf('tensorflow'), await meansOf('cpu')];
    expect(ours.length).toBe(63);
    ours.forEach((each, i) => {
      expect(each).toBeCloseTo(theirs[i] as number, 5);
    });
  });

  it('is refused of keys that are in no order', async () => {
    await tf.setBackend('tensorflow');
    const apart = { ...known(), groups: tf.tensor1d([0, 3, 0, 3]) };
    expect(() => ops.meanOfNearest(tf.tensor2d([[2, 1]]), tf.tensor1d([0]), apart, 1)).toThrow(
      'keys are not in the order of their groups',
    );
  });
});

it('without oneDNN, groups are convolved one by one, with the same numbers', () => {
  const grouped = conv('', random('x', 2, 5, 4, 6), random('f', 3, 3, 2, 9), { padding: 1, stride: 2 });
  const [together, apart] = [undefined, '0'].map((oneDnn) => {
    vi.stubEnv('TF_ENABLE_ONEDNN_OPTS', oneDnn);
    return evaluated(grouped);
  });
  vi.unstubAllEnvs();
  for (const part of ['outputs', 'gradients'] as const)
    apart?.[part].forEach((found, i) => {
      expectClose(found, together?.[part][i] as Input, 1e-5);
    });
});

it('gradients of an unwanted input are not computed', () => {
  const x: tf.Tensor4D = tf.ones([1, 4, 4, 1]);
  const names: string[] = [];
  const backend = tf.backend() as unknown as { executeMultipleOutputs: (name: string, ...rest: unknown[]) => unknown };
  const original = backend.executeMultipleOutputs;
  backend.executeMultipleOutputs = function (name, ...rest) {
    names.push(name);
    return original.call(this, name, ...rest);
  };
  try {
    tf.grad((filter) => ops.conv2d(x, filter as tf.Tensor4D).sum())(tf.ones([3, 3, 1, 1]));
  } finally {
    backend.executeMultipleOutputs = original;
  }
  // TensorFlow's or our own.
  expect(names.filter((name) => /ToFilter|BackpropFilter/.test(name)).length).toBe(1);
  expect(names.filter((name) => /ToImages|BackpropInput/.test(name))).toEqual([]);
});
