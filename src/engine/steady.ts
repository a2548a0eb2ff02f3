import * as tf from '@tensorflow/tfjs';
import { backend } from './backend.js';
import { multiplies, product } from './ops-convolve.js';
import { execute1, longProductsBy, roundsToBfloat16, steadyKernels } from './ops-native.js';
import { hasOwn, sum } from './ops-own.js';

/*
 * TensorFlow adds up in another order with another number of threads where a sum is long and its results are few: in products of
 * matrices, and in sums over all of a tensor. These are made of operations of our own, whose order does not depend on it, so that
 * a step gives the same bits on any number of threads.
 */

/** A sum of so many numbers may be shared among threads … */
const longSum = 1024;
/** … unless there are so many sums that each thread has some. */
const manyResults = 1 << 17;
/** A sum over all of a tensor of so many, or of two tensors of so many each, is shared among threads. */
const manyNumbers = 1 << 15;

/** a · b, either transposed or not, where its sums are long and few; else undefined. */
const longProduct = (a: tf.Tensor, b: tf.Tensor, transposeA: boolean, transposeB: boolean): tf.Tensor | undefined => {
  const [m = 0, k = 0] = transposeA ? [...a.shape].reverse() : a.shape;
  const n = transposeB ? (b.shape[0] as number) : (b.shape[1] as number);
  if (k < longSum || m * n > manyResults || a.dtype !== 'float32' || b.dtype !== 'float32') return undefined;
  if (roundsToBfloat16() || !hasOwn() || !multiplies()) return undefined;
  return tf.tidy(() => product(transposeA ? tf.transpose(a) : a, transposeB ? tf.transpose(b) : b));
};

/** The sum of all numbers of a tensor, where they are many; else undefined. */
const longTotalOf = (x: tf.Tensor): tf.Tensor | undefined => {
  if (x.size < manyNumbers || x.dtype !== 'float32' || !hasOwn()) return undefined;
  let columns = 256;
  while (x.size % columns !== 0) columns -= 1;
  return tf.tidy(() => tf.sum(execute1('UndistillChannelSums', [tf.reshape(x, [-1, columns])], {})));
};

type Kernel = Parameters<typeof tf.registerKernel>[0]['kernelFunc'];

/** Replaces a kernel by one that may leave the work to what was there. */
const before = (name: string, kernel: (args: Parameters<Kernel>[0]) => tf.Tensor | undefined): void => {
  const theirs = tf.getKernel(name, 'tensorflow')?.kernelFunc as Kernel;
  tf.unregisterKernel(name, 'tensorflow');
  tf.registerKernel({
    kernelName: name,
    backendName: 'tensorflow',
    kernelFunc: (args) => kernel(args) ?? theirs(args),
  });
};

/** Has tfjs's kernels, and our own, give the same bits with any number of threads, and in a graph as one by one. */
export const steadyArithmetic = (): void => {
  steadyKernels();
  if (backend().isUsingGpuDevice) return;
  longProductsBy(longProduct);
  before('BatchMatMul', ({ inputs, attrs }) => {
    const [a, b] = [inputs.a, inputs.b] as [tf.Tensor, tf.Tensor];
    if (a.size !== (a.shape.at(-1) as number) * (a.shape.at(-2) as number) || b.rank !== a.rank) return undefined;
    if (b.size !== (b.shape.at(-1) as number) * (b.shape.at(-2) as number)) return undefined;
    const { transposeA, transposeB } = attrs as unknown as { transposeA: boolean; transposeB: boolean };
    const flat = (x: tf.Tensor): tf.Tensor => tf.reshape(x, [x.shape.at(-2) as number, x.shape.at(-1) as number]);
    return tf.tidy(() => {
      const found = longProduct(flat(a), flat(b), transposeA, transposeB);
      return (found && tf.reshape(found, [...a.shape.slice(0, -2), ...found.shape])) as tf.Tensor;
    });
  });
  // Sums of gradients to images: in the same shares as what gave the two and what reads their sum, so near the threads that do.
  before('Add', ({ inputs }) => {
    const [a, b] = [inputs.a, inputs.b] as [tf.Tensor, tf.Tensor];
    const alike = a.dtype === 'float32' && b.dtype === 'float32' && tf.util.arraysEqual(a.shape, b.shape);
    return alike && a.size >= manyNumbers && hasOwn() ? sum(a, b) : undefined;
  });
  const overAll = ({ inputs, attrs }: Parameters<Kernel>[0]): tf.Tensor | undefined => {
    const x = inputs.x as tf.Tensor;
    const { axis, keepDims } = attrs as unknown as { axis: number | number[] | null; keepDims: boolean };
    const all = tf.util.parseAxisParam(axis as number[], x.shape).length === x.rank;
    return all && !keepDims ? longTotalOf(x) : undefined;
  };
  before('Sum', overAll);
  before('Mean', (args) => {
    const total = overAll(args);
    const mean = total && tf.mul(total, 1 / (args.inputs.x as tf.Tensor).size);
    total?.dispose();
    return mean;
  });
};
