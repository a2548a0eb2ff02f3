import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { derivationOf } from '../../src/engine/derivation.js';
import { loadEngine } from '../../src/engine/engine.js';
import { standardNormal } from '../../src/engine/ops.js';

let before: number;
beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});
beforeEach(() => {
  before = tf.memory().numTensors;
});
afterEach(() => {
  expect(tf.memory().numTensors).toBe(before);
});

type Given = { readonly a: tf.Tensor; readonly deep: { readonly b: tf.Tensor }; readonly seed: tf.Tensor1D };

/** How what a body gives follows from a, b and a seed. */
const derived = (body: (given: Given) => tf.Tensor | readonly tf.Tensor[], size = 3) => {
  const given: Given = {
    a: tf.range(0, size),
    deep: { b: tf.range(1, size + 1) },
    seed: tf.tensor1d([1, 2], 'int32'),
  };
  try {
    return derivationOf(given, (copies) => tf.tidy(() => [body(copies)].flat() as tf.Tensor[]));
  } finally {
    tf.dispose([given.a, given.deep.b, given.seed]);
  }
};

test('says which inputs a result depends on, through everything in between', () => {
  expect(derived(({ a }) => a.exp().mul(2))?.inputs).toEqual(['a']);
  expect(derived(({ a, deep: { b } }) => a.add(b.square()))?.inputs).toEqual(['a', 'deep/b']);
  expect(derived(({ seed }) => standardNormal([2], seed))?.inputs).toEqual(['seed']);
  expect(derived(() => tf.tensor1d([1, 2]))?.inputs).toEqual([]);
  expect(derived(({ a, seed }) => [a.exp(), standardNormal([2], seed)])?.inputs).toEqual(['a', 'seed']);
});

test('is the same whatever is computed beside it, and in whatever order', () => {
  const plain = derived(({ a, deep: { b } }) => a.exp().add(b.sqrt()));
  const beside = derived(({ a, deep: { b }, seed }) => {
    const [root, noise] = [b.sqrt(), standardNormal([5], seed)];
    noise.sum();
    a.mul(7);
    return a.exp().add(root);
  });
  expect(plain).toEqual(beside);
  expect(plain?.hash).toMatch(/^[0-9a-f]{64}$/);
});

test.each<readonly [string, (given: Given) => tf.Tensor, number]>([
  ['another operation', ({ a, deep: { b } }) => a.sqrt().add(b.sqrt()), 3],
  ['another input', ({ a, deep: { b } }) => a.exp().add(a.sqrt().add(b.mul(0))), 3],
  ['operands the other way round', ({ a, deep: { b } }) => b.sqrt().add(a.exp()), 3],
  ['another constant', ({ a, deep: { b } }) => a.exp().add(b.sqrt().mul(2)), 3],
  ['another attribute', ({ a, deep: { b } }) => a.exp().add(b.sqrt()).sum(0, true), 3],
  ['another shape', ({ a, deep: { b } }) => a.exp().add(b.sqrt()), 4],
])('is another one for %s', (_, body, size) => {
  expect(derived(body, size)?.hash).not.toBe(derived(({ a, deep: { b } }) => a.exp().add(b.sqrt()))?.hash);
});

test('tells constants apart by their numbers', () => {
  const times = (factor: number) => derived(({ a }) => a.mul(tf.tensor1d([1, 2, factor])))?.hash;
  expect(times(3)).toBe(times(3));
  expect(times(3)).not.toBe(times(4));
});

test('is none of what is more than arithmetic', () => {
  expect(derived(({ a }) => tf.scalar(a.dataSync()[0] as number))).toBeUndefined();
  expect(derived(({ a }) => a.mul(Math.random()))).toBeUndefined();
});

test('leaves nothing when the body throws', () => {
  const careless = () =>
    derived(({ a }) => {
      a.exp();
      throw new Error('careless');
    });
  expect(careless).toThrow('careless');
});
