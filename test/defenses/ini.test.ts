import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { angle, drawing, isolation, leading, linear, projections } from '../../src/defenses/ini.js';
import { loadEngine } from '../../src/engine/engine.js';
import { classifier, conv, features, flatten, network, sequential, tanh } from '../../src/models/layers.js';
import type { Variables } from '../../src/models/network.js';
import { expectClose, values, wave } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

const item = (scalar: tf.Tensor): number => values(scalar)[0] as number;
const named = (...numbers: number[]) => ({
  first: tf.tensor1d(numbers.slice(0, 2)),
  last: tf.tensor1d(numbers.slice(2)),
});

/** Derivatives of a function of [rows, columns] numbers by each of them. */
const differences = (f: (at: tf.Tensor2D) => tf.Scalar, at: tf.Tensor2D, step: number): number[] =>
  Array.from({ length: at.size }, (_, i) => {
    const by = tf.tensor2d(
      Array.from({ length: at.size }, (_, j) => (i === j ? step : 0)),
      at.shape,
    );
    return (item(f(tf.add(at, by))) - item(f(tf.sub(at, by)))) / (2 * step);
  });

test('the angle of two gradients has the worked numbers', () => {
  tf.tidy(() => {
    const { cosine, gradient } = angle(named(1, 2, 2), named(2, 0, 1));
    expectClose([item(cosine)], [0.596285], 2e-6);
    expectClose(
      [gradient.first, gradient.last].flatMap((each) => values(each as tf.Tensor)),
      [0.231889, -0.132508, 0.016563],
      2e-6,
    );
  });
});

describe('isolation', () => {
  const copied = () => tf.tensor2d([[0.5, -0.2, 0.1]]);

  test('has the worked numbers', () => {
    tf.tidy(() => {
      const told = tf.log(tf.tensor2d([[0.7, 0.2, 0.1]])) as tf.Tensor2D;
      expectClose([item(isolation(told, copied()))], [0.519791], 2e-6);
      // Of logits their softmax counts alone.
      expectClose([item(isolation(tf.add(told, 3), copied()))], [0.519791], 2e-6);
    });
  });

  test('has the gradient of finite differences', () => {
    tf.tidy(() => {
      const [told, other] = [1, 2].map((phase) => tf.tensor2d(wave(8, phase, 2), [2, 4])) as [tf.Tensor2D, tf.Tensor2D];
      const loss = (at: tf.Tensor2D) => isolation(at, other);
      const slope = tf.grad((at: tf.Tensor) => loss(at as tf.Tensor2D))(told);
      expectClose(values(slope), differences(loss, told, 1e-2), 1e-4);
    });
  });
});

describe('PCGrad', () => {
  const any = (n: number) => tf.tensor2d(wave(n * n, 4), [n, n]);

  test('has the worked numbers', () => {
    tf.tidy(() => {
      // Of (1, 0) and (−1, 1).
      const gram = tf.tensor2d([
        [1, -1],
        [-1, 2],
      ]);
      const [a, b] = values(projections(gram, any(2))) as [number, number];
      expectClose([a - b, b], [0.25, 0.75], 1e-6);
    });
  });

  test('is the mean of gradients that do not point against each other, one against itself among them', () => {
    tf.tidy(() => {
      const gram = tf.tensor2d([
        [1, 0.5, 0],
        [0.5, 2, 0.1],
        [0, 0.1, 3],
      ]);
      expectClose(values(projections(gram, any(3))), [1 / 3, 1 / 3, 1 / 3], 1e-6);
      expectClose(values(projections(tf.zeros([3, 3]), any(3))), [1 / 3, 1 / 3, 1 / 3], 1e-6);
    });
  });

  test('goes by the order that was drawn, as number by number', () => {
    tf.tidy(() => {
      const g = [
        [1, 0, 0.2],
        [-1, 1, 0],
        [-0.5, -1, 0.3],
      ];
      const dot = (a: number[], b: number[]) => a.reduce((sum, each, k) => sum + each * (b[k] as number), 0);
      const gram = tf.tensor2d(g.map((a) => g.map((b) => dot(a, b))));
      const projected = (orders: number[][]) => {
        const each = g.map((own, i) =>
          (orders[i] as number[]).reduce((at, j) => {
            const other = g[j] as number[];
            const against = j === i ? 0 : Math.min(0, dot(at, other)) / dot(other, other);
            return at.map((value, k) => value - against * (other[k] as number));
          }, own),
        );
        return [0, 1, 2].map((k) => each.reduce((sum, one) => sum + (one[k] as number) / 3, 0));
      };
      const found = (orders: number[][]) => {
        const drawn = orders.map((order) => order.map((_, j) => 1 - order.indexOf(j) / 10));
        const shares = values(projections(gram, tf.tensor2d(drawn)));
        return [0, 1, 2].map((k) => shares.reduce((sum, share, i) => sum + share * (g[i]?.[k] as number), 0));
      };
      const forward = Array(3).fill([0, 1, 2]) as number[][];
      const backward = Array(3).fill([2, 1, 0]) as number[][];
      expectClose(found(forward), projected(forward), 1e-5);
      expectClose(found(backward), projected(backward), 1e-5);
      expect(Math.abs((found(forward)[0] as number) - (found(backward)[0] as number))).toBeGreaterThan(1e-3);
    });
  });
});

describe('what answers do to an attacker', () => {
  const attacker = network({
    name: 'smooth',
    source: import.meta.url,
    layers: sequential(conv('conv', 3, { kernel: 3 }), tanh, flatten, features, classifier('fc')),
  }).build({ height: 4, width: 4, channels: 1 }, 3);
  const images = () => tf.tensor4d(wave(64, 1), [4, 4, 4, 1]);
  const told = () => tf.tensor2d(wave(12, 2, 1.5), [4, 3]);
  const labels = tf.tensor1d([0, 2, 1, 0], 'int32');
  const withThief = (body: (variables: Variables) => void) => {
    const variables = attacker.init(key('attacker'));
    tf.tidy(() => body(variables));
    dispose(variables);
  };

  test('by the linear loss has the gradient of the cosine itself', () => {
    withThief((variables) => {
      const at = (logits: tf.Tensor2D) => leading(attacker, variables, images(), { told: logits, labels });
      const { slope } = at(told());
      const found = values(tf.grad((logits: tf.Tensor) => linear(logits as tf.Tensor2D, slope))(told()));
      const expected = differences((logits) => at(logits).cosine, told(), 3e-2);
      expectClose(found, expected, 2e-3);
      expect(Math.max(...expected.map(Math.abs))).toBeGreaterThan(0.02);
    });
  });

  test('by the linear loss has the gradient of the mean size of its gradient', () => {
    withThief((variables) => {
      const at = (logits: tf.Tensor2D) => drawing(attacker, variables, images(), logits);
      const { slope } = at(told());
      const found = values(tf.grad((logits: tf.Tensor) => linear(logits as tf.Tensor2D, slope))(told()));
      const expected = differences((logits) => at(logits).size, told(), 1e-2);
      expectClose(found, expected, 5e-4);
      expect(Math.max(...expected.map(Math.abs))).toBeGreaterThan(0.005);
    });
  });
});
