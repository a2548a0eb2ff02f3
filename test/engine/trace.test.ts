import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { backend, DTYPES } from '../../src/engine/backend.js';
import { loadEngine } from '../../src/engine/engine.js';
import { formsOf, NotTraceable, type TracedNode, trace } from '../../src/engine/trace.js';
import { leaked, values } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine();
});

type Body = (given: readonly [tf.Tensor, tf.Tensor]) => readonly tf.Tensor[];

const scoped = <A>(body: () => A): A => tf.tidy(() => body() as tf.TensorContainer) as A;

/** Traces a computation on [1, 2] and [10, 20], or on what is given. */
const traced = (body: Body, given?: readonly tf.Tensor[]) =>
  scoped(() => {
    const { result, trace: noted } = trace(
      given ?? [tf.tensor1d([1, 2]), tf.tensor1d([10, 20])],
      (copies) => body(copies as readonly tf.Tensor[] as readonly [tf.Tensor, tf.Tensor]),
      (tensors) => tensors,
    );
    return { results: result.map(values), ...noted };
  });

const named = (nodes: readonly TracedNode[]) =>
  nodes.map((node) => (node.kind === 'operation' ? node.name : node.kind));
const constants = (nodes: readonly TracedNode[]) =>
  nodes.flatMap((node) => (node.kind === 'constant' ? [Array.from(node.data)] : []));

describe('a trace', () => {
  test('is the operations in their order, each with the outputs that it takes', () => {
    const { nodes, outputs, results } = traced(([x, y]) => [tf.add(tf.mul(x, y), x)]);
    expect(named(nodes)).toEqual(['input', 'input', 'Mul', 'Add']);
    expect(nodes.slice(2).map((node) => node.kind === 'operation' && node.inputs)).toEqual([
      [
        { node: 0, output: 0 },
        { node: 1, output: 0 },
      ],
      [
        { node: 2, output: 0 },
        { node: 0, output: 0 },
      ],
    ]);
    expect(outputs).toEqual([{ node: 3, output: 0 }]);
    expect(results).toEqual([[11, 42]]);
  });

  test('has the types and shapes of inputs and outputs, also where tfjs does not know the type', () => {
    const bytes = backend().createOutputTensor({
      id: backend().binding.createTensor([2], DTYPES.uint8, Uint8Array.of(7, 9)),
      dtype: DTYPES.uint8,
      shape: [2],
    });
    const given = [tf.tensor2d([[1, 2, 3]]), bytes, tf.tensor1d([true], 'bool')];
    const { nodes } = traced(([x]) => [tf.topk(x, 2).indices], given);
    expect(formsOf({ nodes, outputs: [] })).toEqual([
      { kind: 'input', dtype: DTYPES.float32, shape: [1, 3] },
      { kind: 'input', dtype: DTYPES.uint8, shape: [2] },
      { kind: 'input', dtype: DTYPES.bool, shape: [1] },
    ]);
    expect(nodes.find((node) => node.kind === 'operation')).toMatchObject({
      name: 'TopKV2',
      outputs: [
        { dtype: DTYPES.float32, shape: [1, 2] },
        { dtype: DTYPES.int32, shape: [1, 2] },
      ],
    });
    tf.dispose(given);
  });

  test('tells the outputs of one operation apart', () => {
    const { nodes, outputs } = traced(([x]) => {
      const { values: largest, indices } = tf.topk(x, 1);
      return [indices, largest];
    });
    const at = named(nodes).indexOf('TopKV2');
    expect(outputs).toEqual([
      { node: at, output: 1 },
      { node: at, output: 0 },
    ]);
  });

  test('tells inputs apart that share their memory, and a clone from nothing else', () => {
    const x = tf.tensor1d([1, 2]);
    const given = [x, x.clone(), x];
    const { outputs, results } = traced((copies) => [...copies].reverse().map((copy) => copy.clone()), given);
    expect(outputs).toEqual([2, 1, 0].map((node) => ({ node, output: 0 })));
    expect(results).toEqual([
      [1, 2],
      [1, 2],
      [1, 2],
    ]);
    tf.dispose(given);
  });

  test('keeps constants as they were, whatever is written to their arrays later', () => {
    const array = Float32Array.of(3, 4);
    const { nodes, results } = traced(([x]) => [tf.add(x, tf.tensor1d(array)), tf.tensor1d([5], 'int32')]);
    array.fill(9);
    expect(constants(nodes)).toEqual([[3, 4], [5]]);
    expect(nodes.filter(({ kind }) => kind === 'constant')).toMatchObject([
      { dtype: DTYPES.float32, shape: [2] },
      { dtype: DTYPES.int32, shape: [1] },
    ]);
    expect(results).toEqual([[4, 6], [5]]);
  });

  test('is the same for the same computation, and gives the numbers of the computation itself', () => {
    const body: Body = ([x, y]) => [tf.grad((of: tf.Tensor) => tf.exp(tf.mul(of, y)).sum())(x.div(10))];
    const [one, other] = [traced(body), traced(body)];
    expect(one).toEqual(other);
    const direct = scoped(() => values((body([tf.tensor1d([1, 2]), tf.tensor1d([10, 20])]) as [tf.Tensor])[0]));
    expect(one.results).toEqual([direct]);
  });

  test('may read what JavaScript has itself, and draw by a seed', () => {
    const { results } = traced(([x]) => {
      const [own] = values(tf.tensor1d([7])) as [number];
      return [x.mul(own), tf.randomUniform([2], 0, 1, 'float32', 5)];
    });
    expect(results[0]).toEqual([7, 14]);
    expect(results[1]).toEqual(values(tf.randomUniform([2], 0, 1, 'float32', 5)));
  });
});

describe('no trace is made of a computation that', () => {
  const foreign = () => {
    const tensor = tf.tensor1d([3, 4]);
    // Only when it has been used does TensorFlow have it; before, it is an array of JavaScript like any constant.
    tensor.add(1).dispose();
    return tf.keep(tensor);
  };
  let other: tf.Tensor;
  beforeAll(() => {
    other = foreign();
  });

  const bodies: readonly (readonly [string, Body, RegExp])[] = [
    ['reads what it was given', ([x]) => [x.mul(x.dataSync()[0] as number)], /reads a tensor's values/],
    ['reads what it computed', ([x]) => [x.mul(x.sum().arraySync() as number)], /reads a tensor's values/],
    ['draws from Math.random', ([x]) => [x.mul(Math.random())], /generator of JavaScript/],
    ['draws without a seed', ([x]) => [x.add(tf.randomUniform([2]))], /generator of JavaScript/],
    ['draws normally without a seed', ([x]) => [x.add(tf.randomNormal([2]))], /generator of JavaScript/],
    ['uses a tensor of somebody else', ([x]) => [x.add(other)], /not given and did not compute/],
    ['gives back a tensor of somebody else', ([x]) => [x, other.clone()], /not given and did not compute/],
  ];

  test.each(bodies)('%s', (_, body, message) => {
    const attempt = () => traced(body);
    expect(attempt).toThrow(NotTraceable);
    expect(attempt).toThrow(message);
  });
});

describe('after a trace', () => {
  const failing = () => {
    throw new Error('a plugin');
  };
  const reading: Body = ([x]) => [x.mul(x.dataSync()[0] as number)];

  test.each<readonly [string, Body, string | undefined]>([
    ['that succeeded', ([x, y]) => [tf.add(x, y)], undefined],
    ['that was refused', reading, 'reads'],
    ['that failed', failing, 'a plugin'],
  ])('%s the generator and the binding are what they were, and no tensor is left', (_, body, message) => {
    const { random } = Math;
    const { binding } = backend();
    const attempt = () =>
      leaked(() => {
        if (message === undefined) traced(body);
        else expect(() => traced(body)).toThrow(message);
        return [];
      });
    expect(attempt()).toBe(0);
    expect(Math.random).toBe(random);
    expect(backend().binding).toBe(binding);
    expect(values(tf.tensor1d([1]).add(1))).toEqual([2]);
  });

  test('its inputs are still alive, and its results are the caller’s', () => {
    const x = tf.tensor1d([1, 2]);
    const before = tf.memory().numTensors;
    const { result } = trace(
      [x],
      ([copy]) => [tf.add(copy as tf.Tensor, 1)],
      (sums) => sums,
    );
    expect(tf.memory().numTensors).toBe(before + 1);
    expect(values(x)).toEqual([1, 2]);
    expect(values(result[0] as tf.Tensor)).toEqual([2, 3]);
    tf.dispose([x, ...result]);
  });
});
