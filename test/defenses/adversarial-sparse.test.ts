import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import type { OptionsOf } from '../../src/core/plugin.js';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { adversarialSparse, ascended, exponentialDivergence, sparsely } from '../../src/defenses/adversarial-sparse.js';
import type { Defense } from '../../src/defenses/defense.js';
import { loadEngine } from '../../src/engine/engine.js';
import { fromBytes, rows } from '../../src/engine/ops.js';
import type { EpochRecord } from '../../src/train/fit-log.js';
import { type LabelledBatch, unpacked } from '../../src/train/images.js';
import { crossEntropy } from '../../src/train/losses.js';
import { built, context, endOf, sets, succeed } from '../train/bench.js';
import { expectClose, values, wave } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

const item = (scalar: tf.Tensor): number => values(scalar)[0] as number;

describe('the exponential divergence', () => {
  const z = () => tf.tensor2d([[2, 1, 0.5, -1]]);
  const target = () => sparsely(tf.tensor2d([[1.5, 0.2, -0.3, 0.8]]), { temperature: 6, k: 2 });

  test('has the worked numbers', () => {
    tf.tidy(() => {
      expectClose(values(target()), [0.529134, 0, 0, 0.470866], 2e-6);
      const divergence = item(exponentialDivergence(z(), target(), 6));
      expectClose([divergence, 0.05 * 36 * divergence], [0.323545, 0.582381], 2e-6);
    });
  });

  test('has the gradient −e^q by the softened answer', () => {
    tf.tidy(() => {
      // ∂/∂z_j of p_k is p_k ([j = k] − p_j) / τ.
      const p = values(tf.softmax(tf.div(z(), 6)));
      const byP = [-1.697461, -1, -1, -1.601381];
      const mean = p.reduce((sum, each, k) => sum + each * (byP[k] as number), 0);
      const expected = p.map((each, k) => (each * ((byP[k] as number) - mean)) / 6);
      const slope = tf.grad((x: tf.Tensor) => exponentialDivergence(x as tf.Tensor2D, target(), 6))(z());
      expectClose(values(slope), expected, 2e-6);
    });
  });

  test('has the gradient of finite differences, of a batch', () => {
    tf.tidy(() => {
      const logits = tf.tensor2d(wave(12, 1, 3), [3, 4]);
      const q = sparsely(tf.tensor2d(wave(12, 2, 3), [3, 4]), { temperature: 2, k: 3 });
      const loss = (x: tf.Tensor) => exponentialDivergence(x as tf.Tensor2D, q, 2);
      const h = 1e-2;
      const differences = Array.from({ length: 12 }, (_, i) => {
        const by = tf.tensor2d(
          Array.from({ length: 12 }, (_, j) => (i === j ? h : 0)),
          [3, 4],
        );
        return (item(loss(tf.add(logits, by))) - item(loss(tf.sub(logits, by)))) / (2 * h);
      });
      expectClose(values(tf.grad(loss)(logits)), differences, 1e-4);
    });
  });

  test.each([2, 200])('of %i classes draws towards as many as there are', (classes) => {
    tf.tidy(() => {
      const q = sparsely(tf.tensor2d(wave(3 * classes, 3, 9), [3, classes]), { temperature: 30, k: 7 });
      expectClose(values(tf.sum(q, 1)), [1, 1, 1], 1e-5);
      expect(values(tf.sum(tf.cast(tf.greater(q, 0), 'float32'), 1))).toEqual(Array(3).fill(Math.min(7, classes)));
    });
  });
});

describe('adversarial images', () => {
  const weights = () => tf.tensor2d(wave(12, 4, 2), [4, 3]);
  const logitsOf = (images: tf.Tensor4D) => tf.matMul(tf.reshape(images, [-1, 4]), weights()) as tf.Tensor2D;
  const images = () => tf.tensor4d(wave(8, 5, 0.9), [2, 2, 2, 1]);
  const labels = () => tf.tensor1d([0, 2], 'int32');
  const bounds = (low: number, high: number) => ({ low: tf.scalar(low), high: tf.scalar(high) });

  test('go along the sign of the gradient, no further than ε and never out of the bounds', () => {
    tf.tidy(() => {
      const slope = tf.grad((x: tf.Tensor) => crossEntropy(logitsOf(x as tf.Tensor4D), labels()))(images());
      const once = ascended(
        logitsOf,
        { images: images(), labels: labels() },
        { epsilon: 1, step: 0.01, steps: 1, ...bounds(-9, 9) },
      );
      expectClose(values(tf.sub(once, images())), values(tf.mul(tf.sign(slope), 0.01)), 1e-6);
      const far = ascended(
        logitsOf,
        { images: images(), labels: labels() },
        { epsilon: 0.3, step: 0.1, steps: 10, ...bounds(-9, 9) },
      );
      expectClose([item(tf.max(tf.abs(tf.sub(far, images()))))], [0.3], 1e-5);
      const cut = values(
        ascended(
          logitsOf,
          { images: images(), labels: labels() },
          { epsilon: 0.3, step: 0.1, steps: 10, ...bounds(0, 1) },
        ),
      );
      expect(Math.min(...cut)).toBe(0);
      const loss = (of: tf.Tensor4D) => item(crossEntropy(logitsOf(of), labels()));
      expect(loss(far)).toBeGreaterThan(loss(images()) + 0.1);
    });
  });

  /** What a protection logs, and the first batch of its fit beside the adversarial images that belong to it. */
  const protectedBy = async (options: OptionsOf<typeof adversarialSparse>) => {
    const learner = built({ epochs: 1 });
    const variables = learner.network.init(key('teacher'));
    const pairs: (readonly [own: number[], adversarial: number[]])[] = [];
    const tried = context(key('stage'), {
      fitting: async (_, { source, frozen }, run) => {
        const { data, at } = source(key('batches'));
        const { batch } = at(0);
        tf.tidy(() => {
          const { images, answers } = unpacked<LabelledBatch>(data.own, batch.own);
          const places = tf.cast(tf.squeeze(answers as tf.Tensor2D, [1]), 'int32') as tf.Tensor1D;
          const adversarial = fromBytes(rows(frozen.images as tf.Tensor, places));
          tf.unstack(images).forEach((own, i) => {
            pairs.push([values(own), values(tf.slice(adversarial, i, 1))]);
          });
        });
        dispose([data, batch]);
        return run();
      },
    });
    const { protect } = adversarialSparse(options) as Required<Pick<Defense, 'protect'>>;
    const given = { ...tried, ...sets, adversary: { learner, variables } };
    const { history } = endOf(await succeed(protect({ learner, variables }, given)));
    dispose(variables);
    return { pairs, metrics: (history[0] as EpochRecord).metrics };
  };

  test('come in a batch beside the images that they were made of', async () => {
    const { pairs } = await protectedBy({ steps: 2, step: 0.05 });
    expect(pairs.length).toBe(16);
    // Two steps, and half a byte for rounding.
    const reach = 255 * 0.1 * Math.max(...sets.train.normalisation.std) + 0.51;
    for (const [own, adversarial] of pairs) {
      const apart = Math.max(...own.map((each, i) => Math.abs(each - (adversarial[i] as number))));
      expect(apart).toBeLessThanOrEqual(reach);
      expect(apart).toBeGreaterThan(1);
    }
  });

  test('are of other images, and cut in normalised space, as released', async () => {
    const { aligned, range } = adversarialSparse.presets.released;
    const small = { steps: 2, step: 0.05, k: 1 };
    const usual = await protectedBy(small);
    const unaligned = await protectedBy({ ...small, aligned });
    const cut = await protectedBy({ ...small, range });
    expect(unaligned.metrics.divergence).not.toBe(usual.metrics.divergence);
    // What is darker than the mean is the mean.
    const { mean } = sets.train.normalisation;
    const darkest = Math.min(...cut.pairs.flatMap(([, adversarial]) => adversarial));
    expect(darkest).toBeGreaterThanOrEqual(255 * Math.min(...mean) - 0.51);
    expect(Math.min(...usual.pairs.flatMap(([, adversarial]) => adversarial))).toBeLessThan(darkest);
  });
});
