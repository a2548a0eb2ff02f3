import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { dirichlet, knownBy, meanOfLikely, recoverer, recoveryError } from '../../src/attacks/recovery.js';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { rounding } from '../../src/defenses/answers.js';
import { compose } from '../../src/defenses/compose.js';
import { canBeImitated, type Defense, imitated, partsOf } from '../../src/defenses/defense.js';
import { gaussianNoise } from '../../src/defenses/gaussian-noise.js';
import { grad2 } from '../../src/defenses/grad2.js';
import { keepArgmax } from '../../src/defenses/keep-argmax.js';
import { mad } from '../../src/defenses/mad.js';
import { modelGuard } from '../../src/defenses/model-guard.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import { stingy } from '../../src/defenses/stingy.js';
import { loadEngine } from '../../src/engine/engine.js';
import { expectClose, values } from '../train/tensors.js';

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

describe('after ModelGuard', () => {
  const next = key('answers').uniform();
  /** Clean answers of four classes around one of them, as a victim's are. */
  const drawn = (count: number) =>
    tf.tensor2d(
      Array.from({ length: count }, (_, i) => [
        ...dirichlet(
          [0, 1, 2, 3].map((k) => (k === i % 4 ? 6 : 1)),
          next,
        ),
      ]),
    );

  test('answers that are told with the least information are recovered closer to the clean ones', () => {
    const parts = partsOf(modelGuard({ epsilon: 0.5 }));
    tf.tidy(() => {
      const told = (clean: tf.Tensor2D) => tf.exp(imitated(parts, tf.log(clean))) as tf.Tensor2D;
      const [clean, table] = [drawn(60), drawn(3000)];
      const recovered = meanOfLikely(told(clean), knownBy({ clean: table, given: told(table) }));
      const apart = (found: tf.Tensor2D) => values(recoveryError(found, clean))[0] as number;
      expect(apart(told(clean))).toBeGreaterThan(0.4);
      expect(apart(recovered)).toBeLessThan(0.5 * apart(told(clean)));
      // The class that is told is the clean one, and stays.
      expect(values(tf.argMax(recovered, 1))).toEqual(values(tf.argMax(clean, 1)));
    });
  });

  test('answers that were given before cannot be imitated without what was asked before', () => {
    const can = (variant: 'W' | 'S') => canBeImitated(partsOf(modelGuard({ variant })));
    expect([can('W'), can('S')]).toEqual([true, false]);
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

  test('are told as the defence tells them, if it looks at nothing else', () => {
    tf.tidy(() => {
      const clean = tf.log(tf.tensor2d([[0.7, 0.2, 0.1]])) as tf.Tensor2D;
      const parts = partsOf(compose(mad({ oracle: 'extreme', epsilon: 0.2 }), rounding(1)));
      expectClose(values(tf.exp(imitated(parts, clean))), [0.6, 0.2, 0.2], 1e-6);
    });
    const can = (defense: Defense) => canBeImitated(partsOf(defense));
    expect([stingy(), keepArgmax({ defense: mad() }), compose(nasty(), rounding(2))].map(can)).toEqual([
      true,
      true,
      true,
    ]);
    expect([none(), nasty(), gaussianNoise(), grad2(), compose(stingy(), gaussianNoise())].map(can)).toEqual(
      Array(5).fill(false),
    );
    const looking: Defense = {
      ...stingy(),
      answers: {
        kind: 'pure',
        answer: ({ images, logProbabilities }) => ({
          logProbabilities: images.rank > 4 ? tf.neg(logProbabilities) : logProbabilities,
        }),
      },
    };
    expect(can(looking)).toBe(false);
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
