import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { loadEngine, useThreads } from '../../src/engine/engine.js';
import { expectClose, values, wave } from '../train/tensors.js';

const steps = fileURLToPath(new URL('./fixtures/steps.ts', import.meta.url));

/** What steps leave in a process of so many threads. */
const taken = async (threads: number, ...args: readonly string[]): Promise<Readonly<Record<string, unknown>>> => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', steps, ...args], {
    env: { ...process.env, TF_NUM_INTRAOP_THREADS: String(threads) },
    maxBuffer: 1 << 28,
  });
  return JSON.parse(stdout.slice(stdout.indexOf('{')));
};

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

test('steps give the same bits with any number of threads, and when it changes', async () => {
  const one = await taken(1);
  const other = await taken(3, 'changing');
  expect(Object.keys(other)).toEqual(Object.keys(one));
  for (const [name, bits] of Object.entries(one)) expect(other[name], name).toEqual(bits);
});

test('a number of threads that cannot be is refused, and any other may follow another', async () => {
  for (const count of [0, 513, Number.NaN]) expect(() => useThreads(count), `${count}`).toThrow(RangeError);
  const [a, b] = [tf.tensor2d(wave(32 * 2048, 1, 0.5), [32, 2048]), tf.tensor2d(wave(2048 * 64, 2, 0.5), [2048, 64])];
  const product = values(tf.matMul(a, b));
  for (const count of [4, 1, 3, (await loadEngine()).threads]) {
    useThreads(count);
    expect(values(tf.matMul(a, b)), `${count}`).toEqual(product);
  }
});

describe('long sums', () => {
  const matrix = (rows: number, columns: number, phase: number) =>
    tf.tensor2d(wave(rows * columns, phase, 0.5), [rows, columns]);
  /** In double precision. */
  const byHand = (a: readonly (readonly number[])[], b: readonly (readonly number[])[]): number[] =>
    a.flatMap((row) =>
      (b[0] as number[]).map((_, j) => row.reduce((sum, each, i) => sum + each * (b[i]?.[j] ?? Number.NaN), 0)),
    );

  test.each([
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ])('of a product are those of its definition (transposed %s, %s)', (transposeA, transposeB) => {
    const [a, b] = [matrix(3, 1500, 1), matrix(1500, 5, 2)];
    const given = [transposeA ? tf.transpose(a) : a, transposeB ? tf.transpose(b) : b] as [tf.Tensor2D, tf.Tensor2D];
    const product = tf.matMul(...given, transposeA, transposeB);
    expect(product.shape).toEqual([3, 5]);
    expectClose(values(product), byHand(a.arraySync(), b.arraySync()), 1e-3);
    // Of more dimensions, of which the first ones are 1.
    const deep = tf.matMul(given[0].expandDims(0), given[1].expandDims(0), transposeA, transposeB);
    expect([deep.shape, values(deep)]).toEqual([[1, 3, 5], values(product)]);
  });

  test.each([[[1000, 100]], [[100_003]], [[40, 50, 60]], [[2, 131, 311]]])(
    'over all of %j are those of its numbers',
    (shape) => {
      const size = shape.reduce((product, side) => product * side, 1);
      const x = tf.tensor(wave(size, 3, 1), shape);
      const exact = Array.from(x.dataSync()).reduce((sum, each) => sum + each, 0);
      expectClose(values(x.sum()), [exact], 0.05);
      expectClose(values(x.mean()), [exact / size], 1e-6);
      expect([x.sum().shape, x.mean().shape, x.sum(undefined, true).shape]).toEqual([[], [], shape.map(() => 1)]);
      // Their gradients are tfjs's own.
      expect(new Set(values(tf.grad((each) => each.mean())(x)))).toEqual(new Set([Math.fround(1 / size)]));
    },
  );
});
