import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { highConfidence, labelOnly, rounding } from '../../src/defenses/answers.js';
import { compose } from '../../src/defenses/compose.js';
import { type Defense, partsOf } from '../../src/defenses/defense.js';
import { randomClass, withoutShare, withShare } from '../../src/defenses/gaussian-noise.js';
import { keepArgmax, repaired } from '../../src/defenses/keep-argmax.js';
import { leastLikely, mad, spread, towards, unspiked, unspread } from '../../src/defenses/mad.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import { dcp, perturbed, reverseSigmoid } from '../../src/defenses/reverse-sigmoid.js';
import { reversed, reversedLogits, sparse, stingy } from '../../src/defenses/stingy.js';
import { loadEngine } from '../../src/engine/engine.js';
import { soften } from '../../src/train/losses.js';
import { refusal } from '../failures.js';
import { expectClose, values } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

const log = (...rows: number[][]) => tf.log(tf.tensor2d(rows)) as tf.Tensor2D;
const told = (logP: tf.Tensor2D, temperature = 1) =>
  values(tf.exp(temperature === 1 ? logP : soften(logP, temperature)));
const clean = () => log([0.7, 0.2, 0.1]);

/** What a defence without anything prepared answers. */
const answer = (defense: Defense, logProbabilities: tf.Tensor2D, clean = logProbabilities): tf.Tensor2D =>
  defense.answers?.answer({
    logProbabilities,
    clean,
    images: tf.zeros([logProbabilities.shape[0], 2, 2, 1]),
    seed: tf.tensor1d([1, 2], 'int32'),
    secret: tf.tensor1d([3, 4], 'int32'),
    prepared: {},
    state: {},
    frozen: false,
    victim: {} as never,
  }).logProbabilities as tf.Tensor2D;

/** What a defence of several parts answers, none of which prepares anything. */
const throughAll = (defense: Defense, clean: tf.Tensor2D): tf.Tensor2D =>
  partsOf(defense).reduce((given, part) => answer(part, given, clean), clean);

/** What comes back of its answers. */
const recovered = (defense: Defense, answers: tf.Tensor2D): tf.Tensor2D =>
  defense.recover?.({})(answers) as tf.Tensor2D;

/** Answers of which one logit, each time another class's, is so far above the others, which lie between −1 and 1. */
const leading = (lead: number, classes = 10, count = 60): tf.Tensor2D => {
  const logits = Array.from({ length: count * classes }, (_, i) => {
    const [row, k] = [Math.floor(i / classes), i % classes];
    return k === row % classes ? 1 + lead : Math.sin(1 + i * i * 0.7 + 3 * i);
  });
  return tf.logSoftmax(tf.tensor2d(logits, [count, classes])) as tf.Tensor2D;
};

/** Of how many answers nothing is lost that a defence did to them, to a thousandth. */
const undone = (defense: Defense, clean: tf.Tensor2D): number => {
  const back = recovered(defense, answer(defense, clean));
  const apart = values(tf.max(tf.abs(tf.sub(tf.exp(back), tf.exp(clean))), 1));
  return apart.filter((each) => each < 1e-3).length;
};

describe('sparse answers', () => {
  const z = () => tf.logSoftmax(tf.tensor2d([[2, 1, 0.5, -1, 0]]));

  test('have the worked numbers at every temperature: what is 0 stays so', () => {
    tf.tidy(() => {
      const given = sparse(z(), 0.4);
      expectClose(told(given), [0.731059, 0.268941, 0, 0, 0], 2e-6);
      expectClose(told(given, 4), [0.562177, 0.437823, 0, 0, 0], 2e-6);
      expectClose(told(given, 20), [0.512497, 0.487503, 0, 0, 0], 2e-6);
      const distance = tf.sum(tf.abs(tf.sub(tf.exp(given), tf.exp(z()))));
      expectClose(values(distance), [0.45971], 2e-6);
    });
  });

  test('tell as many classes as the ratio says, one at least, and of equal ones the first', () => {
    tf.tidy(() => {
      const count = (ratio: number, classes: number) => {
        const row = tf.log(tf.fill([1, classes], 1 / classes)) as tf.Tensor2D;
        return told(sparse(row, ratio)).filter((each) => each > 0).length;
      };
      expect([count(0.2, 10), count(0.1, 10), count(0.3, 10), count(0.1, 200), count(0.01, 10), count(1, 7)]).toEqual([
        2, 1, 3, 20, 1, 7,
      ]);
      expectClose(told(sparse(log([0.2, 0.4, 0.4]), 0.34)), [0, 1, 0], 1e-6);
      expect(stingy().params).toEqual({ ratio: 0.2 });
    });
  });

  test('reversed have the worked numbers, and twice reversed are as they were', () => {
    tf.tidy(() => {
      expectClose(told(reversed(z())), [0.563021, 0.028031, 0.076197, 0.207124, 0.125627], 2e-6);
      expectClose(told(reversed(z()), 4), [0.282088, 0.133249, 0.171095, 0.219691, 0.193876], 2e-6);
      expectClose(told(reversed(reversed(z()))), told(z()), 1e-6);
      expectClose(told(recovered(reversedLogits(), answer(reversedLogits(), z()))), told(z()), 1e-6);
      // What the victim rules out stays ruled out.
      expectClose(told(reversed(log([0.6, 0.4, 0]))), [0.6, 0, 0.4], 1e-6);
    });
  });
});

describe('the reverse sigmoid', () => {
  test('has the worked numbers', () => {
    tf.tidy(() => {
      expectClose(told(perturbed(clean(), 0.21, 0.2)), [0.672107, 0.208562, 0.11933], 2e-6);
      expectClose(told(perturbed(clean(), 1, 1)), [1 / 3, 1 / 3, 1 / 3], 1e-5);
      expectClose(told(perturbed(clean(), 1, 0.1)), [0.635524, 0.219635, 0.144841], 2e-6);
      expectClose(told(perturbed(log([0.98, 0.015, 0.005]), 1, 0.1)), [0.77785, 0.103941, 0.118209], 2e-6);
      expectClose(told(perturbed(clean(), 0.64, 0.1)), [0.657765, 0.212862, 0.129373], 2e-6);
    });
  });

  test('answers uniformly at β = γ = 1, whatever was asked', () => {
    tf.tidy(() => {
      for (const row of [
        [0.7, 0.2, 0.1],
        [0.999, 0.0005, 0.0005],
        [0.4, 0.35, 0.25],
      ])
        expectClose(
          told(answer(reverseSigmoid(reverseSigmoid.presets.predictionPoisoning), log(row))),
          [1 / 3, 1 / 3, 1 / 3],
          1e-3,
        );
    });
  });

  test('is undone by who knows it', () => {
    tf.tidy(() => {
      const rows = log([0.7, 0.2, 0.1], [0.5, 0.3, 0.2]);
      const defense = reverseSigmoid(reverseSigmoid.presets.modelGuardCifar10);
      expectClose(told(recovered(defense, answer(defense, rows))), told(rows), 1e-3);
      // Where nothing is told, nothing comes back.
      const uniform = reverseSigmoid(reverseSigmoid.presets.predictionPoisoning);
      expectClose(told(recovered(uniform, answer(uniform, rows))), Array(6).fill(1 / 3), 1e-3);
    });
  });

  test('is undone where small probabilities and sure ones are told in the other order', () => {
    tf.tidy(() => {
      const sharp = tf.logSoftmax(tf.tensor2d([[10, 3, 2, 1, 0, 0, -1, -1, -2, -3]])) as tf.Tensor2D;
      for (const defense of [reverseSigmoid(), reverseSigmoid({ beta: 0.8 }), reverseSigmoid({ beta: 0.02 })])
        expectClose(told(recovered(defense, answer(defense, sharp))), told(sharp), 1e-3);
    });
  });

  test('comes back as an answer that would be told so, or as it was told; of a net that is sure, as nearly the clean one', () => {
    tf.tidy(() => {
      const l1 = (a: tf.Tensor2D, b: tf.Tensor2D) => tf.sum(tf.abs(tf.sub(tf.exp(a), tf.exp(b))), 1);
      for (const classes of [2, 10, 100])
        for (const defense of [reverseSigmoid(), reverseSigmoid({ beta: 0.8 }), dcp()]) {
          const clean = tf.logSoftmax(tf.randomNormal([32, classes], 0, 6, 'float32', classes)) as tf.Tensor2D;
          const given = answer(defense, clean);
          const back = recovered(defense, given);
          const wrong = tf.minimum(l1(answer(defense, back), given), l1(back, given));
          expect(tf.max(wrong).arraySync()).toBeLessThan(classes * 1e-4);
          const [before, after] = [l1(given, clean), l1(back, clean)].map((of) => tf.mean(of).arraySync() as number);
          expect(after).toBeLessThan(0.7 * (before as number));
        }
    });
  });

  test('of sure answers, which are as they were, is not undone', () => {
    tf.tidy(() => {
      for (const classes of [10, 20, 100, 200]) {
        const rest = Array(classes - 2).fill(1e-9);
        const rows = log([0.95, ...Array(classes - 1).fill(0.05 / (classes - 1))], [0.82, 0.18, ...rest]);
        expectClose(told(recovered(dcp(), answer(dcp(), rows))), told(rows), 1e-5);
      }
    });
  });

  test('of unsure answers alone: where the largest is below β', () => {
    tf.tidy(() => {
      expectClose(told(answer(dcp(), clean())), [0.647752, 0.215911, 0.136336], 2e-6);
      expectClose(told(answer(dcp({ beta: 0.5 }), clean())), [0.7, 0.2, 0.1], 1e-6);
    });
  });

  test('is finite where probabilities are 0 and 1', () => {
    tf.tidy(() => {
      for (const defense of [reverseSigmoid(), dcp(), reverseSigmoid({ beta: 5, gamma: 0.01 })]) {
        const found = told(answer(defense, log([1, 0, 0], [0.5, 0.5, 0])));
        expect(found.every((each) => each >= 0 && each <= 1)).toBe(true);
        const back = recovered(defense, answer(defense, log([1, 0, 0])));
        expect(told(back).every(Number.isFinite)).toBe(true);
      }
    });
  });
});

describe('prediction poisoning', () => {
  const four = () => tf.tensor2d([[0.55, 0.25, 0.15, 0.05]]);

  test('has the worked numbers of the extreme oracle', () => {
    tf.tidy(() => {
      const y = tf.tensor2d([[0.7, 0.2, 0.1]]);
      for (const [epsilon, expected] of [
        [0.2, [0.622222, 0.177778, 0.2]],
        [0.5, [0.505556, 0.144444, 0.35]],
        [1, [0.311111, 0.088889, 0.6]],
      ] as const)
        expectClose(values(towards(y, leastLikely(y), epsilon)), expected, 2e-6);
    });
  });

  /** ‖u/‖u‖ − v/‖v‖‖², u = p − y*, v = p − y: what both oracles make large. */
  const turned = (target: tf.Tensor2D, y: tf.Tensor2D): number => {
    const [u, v] = [target, y].map((of) => tf.sub(1 / y.shape[1], of)) as [tf.Tensor, tf.Tensor];
    const size = (of: tf.Tensor) => tf.sqrt(tf.sum(tf.square(of)));
    return values(tf.sum(tf.square(tf.sub(tf.div(u, size(u)), tf.div(v, size(v))))))[0] as number;
  };

  test('turns the gradient by the worked numbers', () => {
    tf.tidy(() => {
      const y = tf.tensor2d([[0.7, 0.2, 0.1]]);
      expectClose([turned(leastLikely(y), y)], [3.257237], 5e-6);
      expectClose([turned(spread(four(), 'turn'), four())], [1.999981], 2e-5);
    });
  });

  test('has the worked numbers of the argmax oracle', () => {
    tf.tidy(() => {
      expectClose(values(spread(four(), 'turn')), [1 / 3, 0, 1 / 3, 1 / 3], 1e-5);
      expectClose(values(towards(four(), spread(four(), 'turn'), 0.5)), [0.433929, 0.116071, 0.248214, 0.201786], 5e-6);
      expectClose(values(towards(four(), spread(four(), 'turn'), 1)), [0.333336, 0, 0.333332, 0.333332], 5e-6);
      expectClose(values(spread(four(), 'stretch')), [1, 0, 0, 0], 1e-6);
    });
  });

  test('chooses as an exhaustive search does', () => {
    tf.tidy(() => {
      const rows = [
        [0.4, 0.3, 0.2, 0.06, 0.04],
        [0.9, 0.04, 0.03, 0.02, 0.01],
        [0.05, 0.3, 0.1, 0.35, 0.2],
        [0.25, 0.2, 0.2, 0.2, 0.15],
      ];
      for (const objective of ['turn', 'stretch'] as const)
        for (const y of rows) {
          const top = y.indexOf(Math.max(...y));
          const value = (target: number[]): number => {
            const [u, v] = [target, y].map((each) => each.map((p) => 1 / 5 - p)) as [number[], number[]];
            const dot = (a: number[], b: number[]) => a.reduce((sum, each, k) => sum + each * (b[k] as number), 0);
            if (objective === 'stretch') return dot(u, u) - 2 * dot(u, v) + dot(v, v);
            return -dot(u, v) / Math.sqrt(dot(u, u) * dot(v, v));
          };
          const sets = Array.from({ length: 32 }, (_, bits) => bits).filter(
            (bits) => bits & (1 << top) && !(objective === 'turn' && bits === 31),
          );
          const targets = sets.map((bits) => {
            const size = y.filter((_, k) => bits & (1 << k)).length;
            return y.map((_, k) => (bits & (1 << k) ? 1 / size : 0));
          });
          const best = Math.max(...targets.map(value));
          const found = values(spread(tf.tensor2d([y]), objective));
          expect(value(found)).toBeGreaterThan(best - 1e-4);
          expect(found.indexOf(Math.max(...found))).toBe(top);
        }
    });
  });

  test('inverts exactly until it was moved all the way', () => {
    tf.tidy(() => {
      const rows = log([0.7, 0.2, 0.1], [0.6, 0.25, 0.15], [0.04, 0.9, 0.06]);
      const defense = mad({ oracle: 'extreme', epsilon: 0.5 });
      expectClose(told(recovered(defense, answer(defense, rows))), told(rows), 2e-5);
      expectClose(told(unspiked(log([0.505556, 0.144444, 0.35]), 0.5)), [0.7, 0.2, 0.1], 2e-5);
      // Moved all the way, the answer is the target's, and nothing is left of the clean one.
      const whole = mad({ oracle: 'extreme', epsilon: 2 });
      expectClose(told(answer(whole, log([0.7, 0.2, 0.1]))), [0, 0, 1], 1e-6);
      const nothing = told(recovered(whole, answer(whole, log([0.7, 0.2, 0.1], [0.04, 0.9, 0.06]))));
      expect(nothing.every((each) => each >= 0 && each <= 1)).toBe(true);
      // Two clean answers may give the same one; then it is the surer.
      const unsure = log([0.4, 0.35, 0.25]);
      const other = told(recovered(defense, answer(defense, unsure)));
      expectClose(told(answer(defense, log(other))), told(answer(defense, unsure)), 2e-5);
      expect(mad()).toMatchObject({ preserves: 'label', params: { epsilon: 1, oracle: 'argmax', objective: 'turn' } });
    });
  });

  test.each([
    ['extreme', 'turn', 0.2],
    ['extreme', 'turn', 1],
    ['argmax', 'turn', 0.2],
    ['argmax', 'turn', 1],
    ['argmax', 'stretch', 0.2],
  ] as const)('is undone of every sure answer: the %s oracle, by %s, at ε %d', (oracle, objective, epsilon) => {
    tf.tidy(() => {
      expect(undone(mad({ oracle, objective, epsilon }), leading(6))).toBe(60);
    });
  });

  test('inverts the argmax oracle too', () => {
    tf.tidy(() => {
      for (const objective of ['turn', 'stretch'] as const) {
        const told = answer(mad({ epsilon: 0.5, objective }), tf.log(four()) as tf.Tensor2D);
        expectClose(values(tf.exp(unspread(told, 0.5, objective))), [0.55, 0.25, 0.15, 0.05], 2e-5);
      }
      // By its length it is everyone but the runner-up of a sure answer.
      const sure = log([0.7, 0.28, 0.01, 0.01]);
      expectClose(values(spread(tf.exp(sure), 'stretch')), [1 / 3, 0, 1 / 3, 1 / 3], 1e-4);
      for (const epsilon of [0.1, 0.3]) {
        const given = answer(mad({ epsilon, objective: 'stretch' }), sure);
        expectClose(values(tf.exp(unspread(given, epsilon, 'stretch'))), [0.7, 0.28, 0.01, 0.01], 2e-5);
      }
      // Moved all the way, nothing is left of the clean answer.
      const target = spread(four(), 'turn');
      expectClose(values(tf.exp(unspread(tf.log(target) as tf.Tensor2D, 2, 'turn'))), values(target), 1e-5);
    });
  });

  test.each(
    [3, 4, 10].flatMap((classes) => (['turn', 'stretch'] as const).map((objective) => [classes, objective] as const)),
  )('of %d classes gives clean answers that are told as these were, by %s', (classes, objective) => {
    tf.tidy(() => {
      const wave = (i: number) => (3 + (Math.floor(i / classes) % 4)) * Math.sin(i * i + 0.3 * i);
      const scores = Array.from({ length: 24 * classes }, (_, i) => wave(i) + (i % classes === 1 ? 3 : 0));
      const rows = tf.logSoftmax(tf.tensor2d(scores, [24, classes])) as tf.Tensor2D;
      const defense = mad({ epsilon: 0.3, objective });
      const given = answer(defense, rows);
      const back = recovered(defense, given);
      const apart = (a: tf.Tensor2D, b: tf.Tensor2D) => values(tf.max(tf.abs(tf.sub(tf.exp(a), tf.exp(b))), 1));
      const [again, left] = [apart(answer(defense, back), given), apart(back, given)];
      // By its length the oracle may leave out more classes than are tried: such an answer comes back as it is.
      expect(again.every((each, row) => each < 1e-4 || (objective === 'stretch' && left[row] === 0))).toBe(true);
      // Several may be told as one, and the surest need not be the one that was.
      const error = values(tf.max(tf.abs(tf.sub(tf.exp(back), tf.exp(rows))), 1));
      expect(error.filter((each) => each < 1e-3).length).toBeGreaterThan(12);
    });
  });

  test.each([13, 16, 40])(
    'of %d classes gives answers that are told as these were, or leaves them as they are',
    (classes) => {
      tf.tidy(() => {
        const wave = (i: number) => (3 + (Math.floor(i / classes) % 4)) * Math.sin(i * i + 0.3 * i);
        const scores = Array.from({ length: 24 * classes }, (_, i) => wave(i) + (i % classes === 1 ? 12 : 0));
        const defense = mad({ epsilon: 0.3 });
        const given = answer(defense, tf.logSoftmax(tf.tensor2d(scores, [24, classes])) as tf.Tensor2D);
        const back = recovered(defense, given);
        const apart = (a: tf.Tensor2D, b: tf.Tensor2D) => values(tf.max(tf.abs(tf.sub(tf.exp(a), tf.exp(b))), 1));
        const [told, left] = [apart(answer(defense, back), given), apart(back, given)];
        expect(told.every((each, row) => each < 1e-4 || left[row] === 0)).toBe(true);
        expect(told.filter((each) => each < 1e-4).length).toBeGreaterThan(6);
      });
    },
  );

  test.each([2, 3, 10, 200])(
    'of %d classes stays within ε, a distribution, and keeps the label by its argmax oracle',
    (classes) => {
      tf.tidy(() => {
        const logits = tf.tensor2d(
          Array.from({ length: 4 * classes }, (_, i) => 3 * Math.sin(i * i + 1)),
          [4, classes],
        );
        const logP = tf.logSoftmax(logits);
        for (const objective of ['turn', 'stretch'] as const) {
          const given = tf.exp(answer(mad({ epsilon: 0.5, objective }), logP));
          expectClose(values(tf.sum(given, 1)), [1, 1, 1, 1], 1e-5);
          expect(Math.max(...values(tf.sum(tf.abs(tf.sub(given, tf.exp(logP))), 1)))).toBeLessThan(0.5 + 1e-4);
          expect(values(tf.argMax(given, 1))).toEqual(values(tf.argMax(logP, 1)));
        }
      });
    },
  );
});

describe('a class at random', () => {
  test('has the worked numbers', () => {
    tf.tidy(() => {
      expectClose(told(withShare(clean(), tf.tensor2d([[9, 2, 1]]), 0.25)), [0.525, 0.4, 0.075], 2e-6);
      expectClose(told(withoutShare(log([0.525, 0.4, 0.075]), 0.25)), [0.7, 0.2, 0.1], 2e-6);
    });
  });

  test.each([0.2, 0.5, 1])('is found in every sure answer, and taken back: ε %d', (epsilon) => {
    tf.tidy(() => {
      for (const draw of ['fresh', 'sticky'] as const)
        expect(undone(randomClass({ epsilon, draw }), leading(4))).toBe(60);
    });
  });

  test('of unsure answers is taken back from the one that leaves the surest; of all or nothing there is none', () => {
    tf.tidy(() => {
      // Told of (0.4, 0.3, 0.3) with class 1 drawn, and of (0.067, 0.633, 0.3) with class 0.
      expectClose(told(withoutShare(log([0.3, 0.475, 0.225]), 0.25)), [0.0666667, 0.6333333, 0.3], 2e-6);
      expect(undone(randomClass({ epsilon: 0.5 }), leading(0.5))).toBeLessThan(60);
      expect(undone(randomClass({ epsilon: 0 }), leading(0.5))).toBe(60);
      const all = answer(randomClass({ epsilon: 2 }), leading(1));
      expectClose(told(withoutShare(all, 1)), told(all), 0);
      // No class has as much as the share, so that nothing of the kind was done to it.
      expectClose(told(withoutShare(log([0.4, 0.3, 0.3]), 0.45)), [0.4, 0.3, 0.3], 1e-7);
      // Of two classes the other one is drawn.
      expectClose(told(withoutShare(log([0.45, 0.55]), 0.5)), [0.9, 0.1], 2e-6);
      // Answers of a class alone are told as two that are alike.
      const certain = answer(randomClass({ epsilon: 1 }), log([1, 0, 0], [0, 0, 1]));
      expectClose(values(tf.sum(tf.exp(withoutShare(certain, 0.5)), 1)), [1, 1], 1e-6);
    });
  });

  test('is never the most likely one, and any of the others', () => {
    tf.tidy(() => {
      const many = tf.tile(clean(), [200, 1]) as tf.Tensor2D;
      const places = values(tf.argMax(tf.sub(tf.exp(answer(randomClass({ epsilon: 1 }), many)), tf.exp(many)), 1));
      expect(new Set(places)).toEqual(new Set([1, 2]));
    });
  });
});

test('a cutoff tells what reaches it, and all classes alike where nothing does', () => {
  tf.tidy(() => {
    expectClose(told(answer(highConfidence(), clean())), [0.7, 0, 0], 1e-6);
    expectClose(told(answer(highConfidence(), log([0.24, 0.2, 0.2, 0.18, 0.18]))), Array(5).fill(0.2), 1e-6);
    expectClose(told(answer(highConfidence(0), clean())), [0.7, 0.2, 0.1], 1e-6);
  });
});

describe('keeping the label', () => {
  test('is for what changes probabilities', () => {
    for (const inner of [labelOnly(), nasty(), compose(nasty(), none()), compose(randomClass(), labelOnly())])
      expect(refusal(() => keepArgmax({ defense: inner })).what).toMatch(/it changes no probabilities/);
    expect(refusal(() => keepArgmax({ defense: randomClass(), lead: 0 })).what).toMatch(/^lead is 0/);
  });

  test('has the worked numbers', () => {
    tf.tidy(() => {
      const found = repaired(log([0.3, 0.7, 0]), clean(), 1e-4);
      expectClose(told(found), [0.477822, 0.477722, 0.044456], 2e-6);
      expectClose(values(tf.sum(tf.abs(tf.sub(tf.exp(found), tf.exp(clean()))))), [0.555444], 5e-6);
    });
  });

  test('changes nothing where the label is kept already, and gives the clean answer where it leads by less', () => {
    tf.tidy(() => {
      expectClose(told(repaired(log([0.5, 0.3, 0.2]), clean(), 1e-4)), [0.5, 0.3, 0.2], 1e-6);
      expectClose(told(repaired(log([0, 1, 0]), log([0.34, 0.339, 0.321]), 0.1)), [0.34, 0.339, 0.321], 1e-6);
      // A distribution that tells nothing is made to sum to 1 first.
      expectClose(told(repaired(log([0.2, 0, 0]), clean(), 1e-4)), [1, 0, 0], 1e-6);
    });
  });

  test('of any wrapper: its label is the clean one', () => {
    tf.tidy(() => {
      const rows = tf.logSoftmax(
        tf.tensor2d(
          Array.from({ length: 40 }, (_, i) => 2 * Math.sin(3 * i + i * i)),
          [8, 5],
        ),
      );
      for (const inner of [
        mad({ oracle: 'extreme', epsilon: 2 }),
        reverseSigmoid({ beta: 3, gamma: 1 }),
        randomClass({ epsilon: 2 }),
      ]) {
        const defense = keepArgmax({ defense: inner });
        expect(values(tf.argMax(answer(inner, rows), 1))).not.toEqual(values(tf.argMax(rows, 1)));
        expect(values(tf.argMax(throughAll(defense, rows), 1))).toEqual(values(tf.argMax(rows, 1)));
        expect(defense.preserves).toBe('label');
      }
    });
  });

  test("of several: the label is the net's, and not that of the defence before the last", () => {
    tf.tidy(() => {
      const rows = log([0.7, 0.2, 0.1], [0.1, 0.5, 0.4]);
      const spiked = mad({ oracle: 'extreme', epsilon: 2 });
      expect(values(tf.argMax(answer(spiked, rows), 1))).toEqual([2, 0]);
      for (const defense of [
        keepArgmax({ defense: compose(spiked, rounding(1)) }),
        compose(spiked, keepArgmax({ defense: rounding(1) })),
        compose(keepArgmax({ defense: spiked }), stingy({ ratio: 0.4 })),
      ])
        expect(values(tf.argMax(throughAll(defense, rows), 1))).toEqual([0, 1]);
    });
  });
});
