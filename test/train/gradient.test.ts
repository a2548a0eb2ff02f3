import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { loadEngine } from '../../src/engine/engine.js';
import type { Named } from '../../src/models/network.js';
import { valueAndGradient } from '../../src/train/gradient.js';
import { detach } from '../../src/train/losses.js';
import { expectClose, leaked, values } from './tensors.js';

beforeAll(async () => {
  await loadEngine();
});

const parabola = (params: Named) => {
  const square = tf.square(params.x as tf.Tensor);
  return { loss: tf.sum(square) as tf.Scalar, aux: { square, twice: [tf.mul(params.x as tf.Tensor, 2)] } };
};

test('the value, the gradient of every parameter and the side outputs', () => {
  tf.tidy(() => {
    // loss = Σ x² + y, so d/dx = 2x, d/dy = 1
    const { loss, gradients, aux } = valueAndGradient(
      (params) => {
        const { loss: squares, aux } = parabola(params);
        return { loss: tf.add(squares, params.y as tf.Tensor) as tf.Scalar, aux };
      },
      { x: tf.tensor1d([1, -2, 3]), y: tf.scalar(5) },
    );
    expect(values(loss)).toEqual([19]);
    expect(values(gradients.x as tf.Tensor)).toEqual([2, -4, 6]);
    expect(values(gradients.y as tf.Tensor)).toEqual([1]);
    expect(values(aux.square)).toEqual([1, 4, 9]);
    expect(values(aux.twice[0] as tf.Tensor)).toEqual([2, -4, 6]);
  });
});

test('a parameter that the loss does not depend on gets zeros, even when that is all of them', () => {
  tf.tidy(() => {
    const params = { x: tf.tensor1d([1, 2]), unused: tf.ones([2, 2]) };
    const { gradients } = valueAndGradient(parabola, params);
    expect(values(gradients.unused as tf.Tensor)).toEqual([0, 0, 0, 0]);
    expect(gradients.unused?.shape).toEqual([2, 2]);
    const nothing = valueAndGradient(() => ({ loss: tf.scalar(3), aux: {} }), params);
    expect(values(nothing.gradients.x as tf.Tensor)).toEqual([0, 0]);
  });
});

test('one tensor under two names is two parameters', () => {
  tf.tidy(() => {
    const shared = tf.scalar(3);
    const { gradients } = valueAndGradient(
      ({ a, b }) => ({ loss: tf.add(tf.mul(a as tf.Tensor, 2), tf.square(b as tf.Tensor)) as tf.Scalar, aux: {} }),
      { a: shared, b: shared },
    );
    expectClose(values(gradients.a as tf.Tensor), [2]);
    expectClose(values(gradients.b as tf.Tensor), [6]);
  });
});

test('side outputs may be the loss, a parameter or a tensor from outside, and the originals live on', () => {
  const outside = tf.scalar(7);
  const x = tf.tensor1d([1, 2]);
  const count = leaked(() =>
    tf.tidy(() => {
      const { aux } = valueAndGradient(
        (params) => {
          const { loss } = parabola(params);
          return { loss, aux: { loss, x: params.x as tf.Tensor, outside } };
        },
        { x },
      );
      tf.dispose(aux);
      return [];
    }),
  );
  expect(count).toBe(0);
  expect(values(outside)).toEqual([7]);
  expect(values(x)).toEqual([1, 2]);
  tf.dispose([outside, x]);
});

test('nothing is left behind, inside tf.tidy and outside, and when the loss throws', () => {
  const params = { x: tf.tensor1d([1, 2]), unused: tf.ones([3]) };
  expect(leaked(() => tf.tidy(() => void valueAndGradient(parabola, params)) as unknown as tf.TensorContainer)).toBe(0);
  expect(leaked(() => valueAndGradient(parabola, params) as unknown as tf.TensorContainer)).toBe(0);
  expect(
    leaked(() => {
      expect(() =>
        tf.tidy(
          () =>
            void valueAndGradient(() => {
              throw new Error('a plugin');
            }, params),
        ),
      ).toThrow('a plugin');
      return [];
    }),
  ).toBe(0);
  expect(() => valueAndGradient(() => ({ loss: tf.ones([2]) as tf.Tensor as tf.Scalar, aux: {} }), params)).toThrow(
    /a loss is a scalar/,
  );
  tf.dispose(params);
});

test.each<[string, boolean, (w: tf.Tensor) => tf.Tensor]>([
  ['a mean', true, (w) => w],
  ['a mean beside one without a gradient', true, (w) => tf.add(w, tf.round(w))],
  ['the places of the largest', false, (w) => tf.cast(tf.argMax(tf.reshape(w, [1, 2]), 1), 'float32')],
  ['what is rounded', false, (w) => tf.mul(tf.round(w), 2)],
  ['what is detached', false, (w) => tf.square(detach(w))],
  ['something else', false, () => tf.ones([2])],
])('a loss that is of %s: whether a gradient reaches the weights is %s', (_, reached, of) => {
  tf.tidy(() => {
    const { reaches, gradients } = valueAndGradient(({ w }) => ({ loss: tf.mean(of(w as tf.Tensor)), aux: {} }), {
      w: tf.tensor1d([0.3, 0.6]),
    });
    expect(reaches).toBe(reached);
    expect(values(gradients.w as tf.Tensor).some((each) => each !== 0)).toBe(reached);
  });
});

test('a loss through an operation that has no gradient is refused by its name', () => {
  const before = tf.memory().numTensors;
  expect(() =>
    tf.tidy(() => {
      const unequal = ({ w }: Named) => ({
        loss: tf.mean<tf.Scalar>(tf.cast(tf.notEqual(w as tf.Tensor, 1), 'float32')),
        aux: {},
      });
      valueAndGradient(unequal, { w: tf.tensor1d([1, 2]) });
    }),
  ).toThrow(/its loss goes through NotEqual, which has no gradient/);
  expect(tf.memory().numTensors).toBe(before);
});
