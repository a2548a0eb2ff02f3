import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { misinformed, sureness, wrongness } from '../../src/defenses/adaptive-misinformation.js';
import { sharpened, withinLead } from '../../src/defenses/antidistillation.js';
import {
  alignGradient,
  disobedience,
  emma,
  inverseOf,
  isSettled,
  misleading,
  stochastic,
  transition,
} from '../../src/defenses/emma.js';
import { redirected } from '../../src/defenses/grad2.js';
import { divergence } from '../../src/defenses/mildly-nasty.js';
import { boxed, keyImage, mixedWith } from '../../src/defenses/safe-distillation-box.js';
import { shifted, slopeOf } from '../../src/defenses/surrogate.js';
import { loadEngine } from '../../src/engine/engine.js';
import { classifier, dense, features, flatten, network, relu, sequential } from '../../src/models/layers.js';
import { klDivergence } from '../../src/train/losses.js';
import { expectClose, values } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

const log = (...rows: number[][]) => tf.log(tf.tensor2d(rows)) as tf.Tensor2D;
const item = (scalar: tf.Tensor): number => values(scalar)[0] as number;

describe('misinformation', () => {
  const told = (threshold: number, steepness: number) =>
    values(tf.exp(misinformed(log([0.7, 0.2, 0.1]), log([0.05, 0.45, 0.5]), { threshold, steepness })));

  test('has the worked numbers', () => {
    tf.tidy(() => {
      expectClose(told(0.7, 10), [0.375, 0.325, 0.3], 1e-5);
      expectClose(told(0.8, 10), [0.224812, 0.382765, 0.392423], 1e-5);
      expectClose(told(0.8, 1000), [0.05, 0.45, 0.5], 1e-5);
      expectClose(told(0.6, 1000), [0.7, 0.2, 0.1], 1e-5);
    });
  });

  test('is learnt by −ln(1 − p_y), and sureness by logsumexp less the mean', () => {
    tf.tidy(() => {
      const label = (y: number) => tf.tensor1d([y], 'int32');
      // The worked numbers are of pseudo-logits: ln(K − 1) more.
      const shifted = (p: number[], y: number) => item(wrongness(log(p), label(y))) + Math.log(2);
      expectClose(
        [shifted([1 / 3, 1 / 3, 1 / 3], 1), shifted([0.7, 0.2, 0.1], 0), shifted([0.7, 0.2, 0.1], 1)],
        [1.098612, 1.89712, 0.916291],
        2e-6,
      );
      expectClose([item(sureness(tf.tensor2d([[2, 0, -2]])))], [2.142932], 2e-6);
      const gradient = tf.grad((x: tf.Tensor) => wrongness(x as tf.Tensor2D, label(0)))(tf.tensor2d([[500, 0, 0]]));
      expect(values(gradient).every(Number.isFinite)).toBe(true);
    });
  });
});

describe('redirection', () => {
  test.each([
    [0.2, [0.7, 0.3, 0]],
    [0.5, [0.55, 0.45, 0]],
    [1, [0.3, 0.7, 0]],
    [1.6, [0, 1, 0]],
    [2, [0, 1, 0]],
  ])('by %d has the worked numbers', (epsilon, expected) => {
    tf.tidy(() => {
      const [y, d] = [tf.tensor2d([[0.7, 0.2, 0.1]]), tf.tensor2d([[-0.3, 0.1, -0.5]])];
      expectClose(values(redirected(y, d, epsilon)), expected, 1e-6);
      // What is the same for all classes moves nothing.
      expectClose(values(redirected(y, tf.add(d, 3) as tf.Tensor2D, epsilon)), expected, 1e-6);
    });
  });
});

describe('the slope of a surrogate', () => {
  const layers = sequential(flatten, dense('fc1', 3), relu, features, classifier('fc2'));
  const net = network({ name: 'two', params: {}, source: import.meta.url, layers }).build(
    { height: 1, width: 2, channels: 1 },
    3,
  );
  const variables = () => ({
    params: {
      'fc1.weight': tf.tensor2d([0.5, -0.7, 0.2, 0.3, 0.4, -0.9], [2, 3]),
      'fc1.bias': tf.tensor1d([0.1, 0.2, -0.05]),
      'fc2.weight': tf.tensor2d([0.6, -0.2, 0.1, 0.3, 0.8, -0.5, -0.4, 0.2, 0.9], [3, 3]),
      'fc2.bias': tf.tensor1d([0, 0.1, -0.1]),
    },
    stats: {},
  });
  const query = (x: readonly number[]) => ({
    images: tf.tensor4d([...x], [1, 1, 2, 1]),
    victim: { network: net, normalisation: { mean: [0], std: [1] }, variables: variables() },
  });

  test('along all ones is the derivative, at either step', () => {
    tf.tidy(() => {
      const x = [0.8, 0.3] as const;
      const of = variables();
      expect(Object.keys(of.params).sort()).toEqual(net.variables.map(({ name }) => name).sort());
      const [w1, b1, w2] = ['fc1.weight', 'fc1.bias', 'fc2.weight'].map((name) =>
        values(of.params[name as 'fc1.bias']),
      ) as [number[], number[], number[]];
      const z = b1.map((b, j) => b + x[0] * (w1[j] as number) + x[1] * (w1[3 + j] as number));
      const expected = [0, 1, 2].map(
        (k) =>
          1 +
          z.reduce((sum, each, j) => sum + (each > 0 ? (x[0] + x[1] + 1) * (w2[3 * j + k] as number) + each : 0), 0),
      );
      const slope = (h: number) =>
        values(
          slopeOf(
            {},
            query(x),
            shifted(of, () => tf.scalar(1), h),
            h,
          ),
        );
      expectClose(slope(1e-2), expected, 1e-4);
      expectClose(slope(1e-3), expected, 1e-3);
      // A smaller step is lost to float32.
      expectClose(slope(1e-4), expected, 1e-2);
    });
  });

  test('of logits orders classes as that of log-probabilities does: the worked numbers', () => {
    tf.tidy(() => {
      const [d, p] = [tf.tensor1d([3.2, 2.45, 2.95]), tf.tensor1d([0.346848, 0.348587, 0.304566])];
      const ofLog = tf.sub(d, tf.sum(tf.mul(p, d)));
      expectClose(values(ofLog), [0.337581, -0.412419, 0.087581], 5e-6);
      const y = tf.tensor2d([[0.7, 0.2, 0.1]]);
      const by = (of: tf.Tensor) => values(redirected(y, tf.expandDims(of, 0) as tf.Tensor2D, 0.5));
      expect(by(ofLog)).toEqual(by(d));
    });
  });
});

describe('antidistillation', () => {
  const z = () => tf.tensor2d([[2, 1, 0]]);
  const delta = () => tf.tensor2d([[-1, 2, 0.5]]);

  test('has the worked numbers', () => {
    tf.tidy(() => {
      expectClose(values(tf.softmax(tf.add(z(), tf.mul(delta(), 0.5)))), [0.340689, 0.561702, 0.097609], 2e-6);
      const share = withinLead(z(), delta(), 0.5);
      expectClose(values(share), [0.33], 2e-6);
      expectClose(values(tf.softmax(tf.add(z(), tf.mul(delta(), share)))), [0.452066, 0.447568, 0.100366], 2e-6);
      expectClose(values(withinLead(z(), delta(), 0.1)), [0.1], 1e-6);
      expectClose(values(withinLead(z(), tf.ones([1, 3]), 0.5)), [0.5], 1e-6);
      // Where the most likely class leads by too little, nothing moves.
      expectClose(values(withinLead(tf.tensor2d([[1, 0.999, 0]]), delta(), 0.5)), [0], 1e-6);
      // What is ruled out needs no lead: (ln 3.5 − .01) / 1 of the two that are left.
      const ruledOut = log([0.7, 0.2, 0, 0]);
      const towards = tf.tensor2d([[-0.5, 0.5, 9, 0]]);
      expectClose(values(withinLead(ruledOut, towards, 5)), [Math.log(3.5) - 0.01], 2e-6);
    });
  });

  test('sharpens sure answers by the worked numbers, and moves all but the label', () => {
    tf.tidy(() => {
      const settings = { lambda: 0, slope: 5, threshold: 0.8 };
      const sure = tf.tensor2d([[4, 1, 0]]);
      expectClose(values(tf.softmax(sharpened(sure, delta(), settings))), [0.79333, 0.133193, 0.073478], 2e-6);
      const moved = values(
        tf.sub(sharpened(sure, delta(), { ...settings, lambda: 0.5 }), sharpened(sure, delta(), settings)),
      );
      expectClose(moved, [0, 1, 0.25], 1e-5);
    });
  });

  test('as a product of experts has the worked numbers and their bound', () => {
    tf.tidy(() => {
      const [own, proxy] = [tf.tensor2d([[3, 1, 0]]), tf.tensor2d([[0.5, 1, 2]])];
      const apart = tf.sub(proxy, own) as tf.Tensor2D;
      const mixed = (gamma: number) => tf.add(own, tf.mul(apart, gamma)) as tf.Tensor2D;
      expectClose(values(mixed(0.6)), [1.5, 1, 1.2], 1e-6);
      expectClose(values(tf.softmax(mixed(0.6))), [0.426013, 0.25839, 0.315598], 2e-6);
      expect(values(tf.argMax(mixed(0.7), 1))).toEqual([2]);
      const bound = item(withinLead(own, apart, 1));
      expect(bound).toBeLessThan(0.666667);
      expect(bound).toBeGreaterThan(0.66);
      expect(values(tf.argMax(mixed(bound), 1))).toEqual([0]);
    });
  });
});

describe('a transition matrix', () => {
  const entries = [
    [0.2, 0.5, 0.3],
    [0.3, 0.4, 0.3],
    [0.1, 0.3, 0.6],
  ];
  const matrix = () => tf.tensor2d(entries);
  const y = () => tf.tensor2d([[0.7, 0.2, 0.1]]);

  test('has the worked numbers', () => {
    tf.tidy(() => {
      expectClose(values(tf.matMul(y(), matrix())), [0.21, 0.46, 0.33], 2e-6);
      const moved = (row: number[], gradient: number[]) =>
        values(stochastic(tf.sub(tf.tensor2d([row]), tf.mul(tf.tensor2d([gradient]), 0.3)) as tf.Tensor2D));
      expectClose(moved([0.9, 0.05, 0.05], [2, -1, 0]), [0.428571, 0.5, 0.071429], 2e-6);
      expectClose(moved([0.1, 0.5, 0.4], [1, 0, 0]), [1.11e-12, 0.555556, 0.444444], 2e-6);
      const [astray, align] = [
        item(disobedience(log([0.6, 0.3, 0.1]), y())),
        // −ln (yM)_m, m the class that the victim names.
        -Math.log(values(transition(y(), matrix()))[0] as number),
      ];
      expectClose([astray, align], [0.916288, 1.560648], 2e-6);
      expectClose([0.001 * align + 0.999 * astray], [0.916933], 2e-6);
    });
  });

  test('is settled once an epoch hardly moves it, or the diagonal has failed to fall three times', () => {
    tf.tidy(() => {
      const history = (...diagonal: readonly number[]) =>
        diagonal.map((kept, epoch) => ({ epoch, step: 0, learningRate: 0, metrics: { kept }, stepsPerSecond: 1 }));
      // Entries move by 0.01 in the mean: 0.045 twice.
      const moved = tf.add<tf.Tensor2D>(matrix(), [
        [0.045, -0.045, 0],
        [0, 0, 0],
        [0, 0, 0],
      ]);
      const falling = { kept: moved, before: matrix(), history: history(0.9, 0.8, 0.7, 0.6) };
      expect(isSettled(0.0099)(falling)).toBe(false);
      expect(isSettled(0.0101)(falling)).toBe(true);
      const failing = (...diagonal: readonly number[]) => isSettled(0)({ ...falling, history: history(...diagonal) });
      expect(failing(0.9, 0.9, 0.8, 0.81, 0.7)).toBe(false);
      // Three in all, though it fell between them.
      expect(failing(0.9, 0.9, 0.8, 0.81, 0.7, 0.75)).toBe(true);
    });
  });

  test('is undone by who knows it, by the worked numbers', () => {
    tf.tidy(() => {
      expectClose(inverseOf(entries).flat(), [-5, 7, -1, 5, -3, -1, -5 / 3, 1 / 3, 7 / 3], 1e-9);
      const back = (told: tf.Tensor2D, prepared = matrix()) =>
        values(tf.exp(emma().recover?.({ matrix: prepared })(told) as tf.Tensor2D));
      expectClose(back(log([0.21, 0.46, 0.33])), [0.7, 0.2, 0.1], 2e-6);
      const rows = [
        [0.98, 0.015, 0.005],
        [0.1, 0.1, 0.8],
        [0, 1, 0],
      ];
      const told = tf.log(transition(tf.tensor2d(rows), matrix())) as tf.Tensor2D;
      expectClose(back(told), rows.flat(), 5e-6);
      // What no clean answer is told as comes back as one, whatever else.
      const other = back(log([1, 0, 0]));
      expect(other.every((each) => each >= 0)).toBe(true);
      expectClose([other.reduce((sum, each) => sum + each, 0)], [1], 1e-6);
    });
  });

  test('that tells two classes alike gives back what it tells apart', () => {
    tf.tidy(() => {
      const alike = [
        [0.6, 0.2, 0.2],
        [0.6, 0.2, 0.2],
        [0.1, 0.2, 0.7],
      ];
      const told = tf.log(transition(tf.tensor2d([[0.7, 0.2, 0.1]]), tf.tensor2d(alike))) as tf.Tensor2D;
      const back = emma().recover?.({ matrix: tf.tensor2d(alike) })(told) as tf.Tensor2D;
      expectClose(values(tf.exp(back)), [0.45, 0.45, 0.1], 1e-5);
    });
  });

  test('has the gradients of its formulas', () => {
    tf.tidy(() => {
      const align = (of: tf.Tensor) =>
        tf.neg(tf.mean(tf.log(tf.slice(tf.matMul(y(), of as tf.Tensor2D), [0, 0], [1, 1])))) as tf.Scalar;
      expectClose(values(alignGradient(y(), matrix())), values(tf.grad(align)(matrix())), 1e-5);
    });
  });

  test('is moved along the finite differences of how wrong a surrogate is that learnt from it for a step', () => {
    const layers = sequential(flatten, features, classifier('fc'));
    const learner = network({ name: 'one', params: {}, source: import.meta.url, layers }).build(
      { height: 1, width: 2, channels: 1 },
      3,
    );
    tf.tidy(() => {
      const surrogate = {
        network: learner,
        variables: {
          params: {
            'fc.weight': tf.tensor2d([0.6, -0.2, 0.1, 0.3, 0.8, -0.5], [2, 3]),
            'fc.bias': tf.tensor1d([0, 0.1, -0.1]),
          },
          stats: {},
        },
        images: tf.tensor4d([0.8, 0.3, -0.5, 1.2], [2, 1, 2, 1]),
      };
      const y = tf.tensor2d([
        [0.7, 0.2, 0.1],
        [0.15, 0.25, 0.6],
      ]);
      const learningRate = tf.scalar(0.5);
      const at = (of: tf.Tensor2D) => misleading(surrogate, { y, matrix: of, learningRate });
      const h = 0.02;
      const differences = Array.from({ length: 9 }, (_, place) => {
        const by = tf.reshape(tf.mul(tf.oneHot(place, 9), h), [3, 3]);
        const [more, less] = [tf.add(matrix(), by), tf.sub(matrix(), by)].map((of) =>
          item(at(of as tf.Tensor2D).wrong),
        );
        return ((more as number) - (less as number)) / (2 * h);
      });
      expect(Math.max(...differences.map(Math.abs))).toBeGreaterThan(0.02);
      expectClose(values(at(matrix()).gradient), differences, 2e-4);
    });
  });
});

describe('a safe distillation box', () => {
  const own = () => log([0.5, 0.3, 0.2], [0.1, 0.7, 0.2]);
  const normal = () => log([0.6, 0.3, 0.1], [0.2, 0.5, 0.3]);
  const labels = () => tf.tensor1d([0, 1], 'int32');

  test('has the worked numbers, squares being summed', () => {
    tf.tidy(() => {
      const given = { own: own(), told: own(), normal: normal(), random: own(), labels: labels() };
      const { terms } = boxed(given, { weight: 1, eta: 0.001, temperature: 1 });
      expectClose([item(terms.keyed)], [0.08], 2e-6);
      expectClose([item(terms.klToKeyed)], [0], 1e-6);
    });
  });

  test('is the sum of its terms', () => {
    tf.tidy(() => {
      const told = tf.add(own(), tf.tensor1d([0.3, -0.2, 0.5])) as tf.Tensor2D;
      const given = { own: own(), told, normal: normal(), random: tf.mul(own(), -1) as tf.Tensor2D, labels: labels() };
      const { loss, terms } = boxed(given, { weight: 0.7, eta: 0.01, temperature: 4 });
      const { crossEntropy, keyedCrossEntropy, misleading, klToKeyed, keyed, logits } = terms;
      const expected =
        2 * item(crossEntropy) +
        item(keyedCrossEntropy) -
        0.7 * (16 * item(misleading) - item(klToKeyed)) +
        item(keyed) -
        0.01 * item(logits);
      expectClose([item(loss)], [expected], 1e-5);
      // N(x_k) is held fixed in the divergence between the two alone.
      const slope = tf.grad(
        (x: tf.Tensor) => boxed({ ...given, told: x as tf.Tensor2D }, { weight: 1e6, eta: 0, temperature: 4 }).loss,
      );
      expect(Math.max(...values(slope(told)).map(Math.abs))).toBeLessThan(10);
    });
  });

  test('mixes the key into a question by the worked numbers', () => {
    tf.tidy(() => {
      const of = (value: number) => tf.fill([1, 1, 1, 1], value) as tf.Tensor4D;
      expectClose(values(mixedWith(of(0.5), of(0.25), 0.1)), [0.475], 1e-6);
    });
  });

  test('has a key of its number: the same for the owner and for who was told', () => {
    tf.tidy(() => {
      const shape = { height: 4, width: 4, channels: 3 };
      expect(values(keyImage(7, shape))).toEqual(values(keyImage(7, shape)));
      expect(values(keyImage(7, shape))).not.toEqual(values(keyImage(8, shape)));
      expect(values(keyImage(7, shape)).every((pixel) => pixel >= 0 && pixel < 1)).toBe(true);
      // It is drawn at the size of the images that it is mixed into: of another size there is none.
      for (const [height, width, channels] of [
        [28, 28, 1],
        [5, 7, 2],
      ] as const)
        expect(keyImage(7, { height, width, channels }).shape).toEqual([1, height, width, channels]);
    });
  });
});

test('the divergence of a mildly nasty teacher, and where the label is right alone', () => {
  tf.tidy(() => {
    const [a, b] = [log([0.7, 0.2, 0.1], [0.2, 0.7, 0.1]), log([0.5, 0.3, 0.2], [0.5, 0.3, 0.2])];
    const one = (correctOnly: boolean, labels: number[]) =>
      item(divergence(a, b, { labels: tf.tensor1d(labels, 'int32'), temperature: 1, correctOnly }));
    const [first, second] = [0.085123, item(klDivergence(log([0.2, 0.7, 0.1]), log([0.5, 0.3, 0.2])))];
    expectClose([one(false, [0, 1])], [(first + second) / 2], 2e-6);
    expectClose([one(true, [0, 1])], [(first + second) / 2], 2e-6);
    expectClose([one(true, [0, 0])], [first / 2], 2e-6);
    const gradient = tf.grad((x: tf.Tensor) =>
      divergence(x as tf.Tensor2D, b, { labels: tf.tensor1d([0, 0], 'int32'), temperature: 2, correctOnly: true }),
    )(a);
    expect(
      values(gradient)
        .slice(3)
        .every((each) => each === 0),
    ).toBe(true);
    expect(
      values(gradient)
        .slice(0, 3)
        .every((each) => each !== 0),
    ).toBe(true);
  });
});
