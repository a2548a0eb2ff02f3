import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { dirichlet, knownBy, meanOfLikely, recoverer, recoveryError } from '../../src/attacks/recovery.js';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import type { Defense } from '../../src/defenses/defense.js';
import { grad2 } from '../../src/defenses/grad2.js';
import { type Imitation, imitationOf } from '../../src/defenses/imitation.js';
import { modelGuard } from '../../src/defenses/model-guard.js';
import { loadEngine } from '../../src/engine/engine.js';
import { built, context, data, imagesOf, succeed } from '../train/bench.js';
import { expectClose, values } from '../train/tensors.js';
import { aged } from './stepping.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

describe('Bayesian recovery', () => {
  const recovered = (clean: number[][], given: number[][], told: number[]) =>
    tf.tidy(() =>
      values(meanOfLikely(tf.tensor2d([told]), knownBy({ clean: tf.tensor2d(clean), given: tf.tensor2d(given) }))),
    );

  test('has the worked numbers', () => {
    const clean = [
      [0.7, 0.2, 0.1],
      [0.6, 0.3, 0.1],
      [0.5, 0.4, 0.1],
    ];
    const given = [
      [0.5, 0.3, 0.2],
      [0.503, 0.297, 0.2],
      [0.45, 0.35, 0.2],
    ];
    expectClose(recovered(clean, given, [0.5, 0.3, 0.2]), [0.65, 0.25, 0.1], 1e-5);
    const other = [
      [0.8, 0.15, 0.05],
      [0.6, 0.3, 0.1],
      [0.9, 0.05, 0.05],
      [0.45, 0.35, 0.2],
      [0.5, 0.1, 0.4],
    ];
    const made = [
      [0.7, 0.2, 0.1],
      [0.7, 0.2, 0.1],
      [0.9, 0.05, 0.05],
      [0.45, 0.35, 0.2],
      [0.705, 0.2, 0.095],
    ];
    // A hundredth and no more in float32.
    expectClose(recovered(other, made, [0.7001, 0.2, 0.0999]), [0.633333, 0.183333, 0.183333], 1e-5);
  });

  test('takes the nearest where nothing is near, and the same class where there is one', () => {
    const clean = [
      [0.9, 0.1],
      [0.6, 0.4],
      [0.2, 0.8],
    ];
    expectClose(
      recovered(
        clean,
        [
          [0.9, 0.1],
          [0.52, 0.48],
          [0.49, 0.51],
        ],
        [0.5, 0.5],
      ),
      [0.6, 0.4],
      1e-6,
    );
    expectClose(recovered(clean.slice(0, 2), clean.slice(0, 2), [0.1, 0.9]), [0.6, 0.4], 1e-6);
  });
});

describe('answers that are told', () => {
  const next = key('answers').uniform();
  /** Clean answers of three classes around one of them, as a victim's are. */
  const drawn = (count: number) =>
    tf.tensor2d(
      Array.from({ length: count }, (_, i) => [
        ...dirichlet(
          [0, 1, 2].map((k) => (k === i % 3 ? 6 : 1)),
          next,
        ),
      ]),
    );
  const learner = built();
  const setOf = imagesOf(data);

  /** The mean L1 distance to the clean answers of what a victim tells, and of what is recovered of it with a copy of its defence. */
  const distances = async (defense: Defense) => {
    const before = tf.memory().numTensors;
    const copyOf = (named: string) => {
      const teacher = { learner, variables: aged(learner.network, named) };
      const on = { teacher, train: setOf(0, 32), validation: undefined };
      const copy = imitationOf([defense], on, context(key(named)), {
        outliersOf: () => ({}),
        ran: (start) => succeed(start()),
      });
      return copy.finally(() => dispose(teacher.variables));
    };
    // The victim's own, and an attacker's, whose net is another.
    const [victim, thief] = [await copyOf('victim'), await copyOf('thief')];
    const found = tf.tidy(() => {
      const pixels = (count: number) =>
        tf.tensor4d(
          Float32Array.from(
            { length: count * 16 },
            (_, i) => ((data.train.images as Uint8Array)[i % (40 * 16)] as number) / 255,
          ),
          [count, 4, 4, 1],
        );
      const toldBy = ({ tell }: Imitation, clean: tf.Tensor2D) =>
        tf.exp(tell(tf.log(clean), pixels(clean.shape[0]))) as tf.Tensor2D;
      const [clean, table] = [drawn(40), drawn(3000)];
      const told = toldBy(victim, clean);
      const recovered = meanOfLikely(told, knownBy({ clean: table, given: toldBy(thief, table) }));
      const apart = (answers: tf.Tensor2D) => values(recoveryError(answers, clean))[0] as number;
      const correct = values(tf.mean(tf.cast(tf.equal(tf.argMax(recovered, 1), tf.argMax(clean, 1)), 'float32')));
      return { told: apart(told), recovered: apart(recovered), correct: correct[0] as number };
    });
    victim.release();
    thief.release();
    expect(tf.memory().numTensors).toBe(before);
    return found;
  };

  test('with the least information are recovered closer to the clean ones, and their class stays', async () => {
    const { told, recovered, correct } = await distances(modelGuard({ epsilon: 0.5 }));
    expect(told).toBeGreaterThan(0.4);
    expect(recovered).toBeLessThan(0.5 * told);
    expect(correct).toBe(1);
  });

  test('as a surrogate of another net would have them are recovered closer to the clean ones, and most of their classes', async () => {
    const { told, recovered, correct } = await distances(grad2({ epsilon: 1, surrogateEpochs: 1 }));
    expect(told).toBeGreaterThan(0.7);
    expect(recovered).toBeLessThan(0.5 * told);
    expect(correct).toBeGreaterThan(0.8);
  });
});

describe('imagined answers', () => {
  test('have the mean and the variance of a Dirichlet distribution', () => {
    const next = key('dirichlet').uniform();
    for (const parameters of [
      [6, 3, 1],
      [0.3, 0.2, 0.1],
    ]) {
      const all = parameters.reduce((sum, each) => sum + each, 0);
      const drawn = Array.from({ length: 20_000 }, () => dirichlet(parameters, next));
      for (const [k, parameter] of parameters.entries()) {
        const each = drawn.map((row) => row[k] as number);
        const mean = each.reduce((sum, x) => sum + x, 0) / each.length;
        const variance = each.reduce((sum, x) => sum + (x - mean) ** 2, 0) / each.length;
        const expected = parameter / all;
        expect(mean).toBeCloseTo(expected, 1.8);
        expect(Math.abs(variance - (expected * (1 - expected)) / (all + 1))).toBeLessThan(0.01);
      }
    }
    expect(dirichlet([0, 0, 1e-300], next)).toEqual([0, 0, 1]);
  });
});

test('the net that recovers has as many parameters as the released one', () => {
  const size = (classes: number): number => {
    const variables = recoverer(classes).init(key('net'));
    const count = Object.values(variables.params).reduce((sum, each) => sum + each.size, 0);
    dispose(variables);
    return count;
  };
  expect([size(10), size(100)]).toEqual([10_718, 682_796]);
});
