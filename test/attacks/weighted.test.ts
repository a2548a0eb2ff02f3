import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { reweightedKd, weightedKl, weightsOf } from '../../src/attacks/reweighted-kd.js';
import { type Factors, mapped, transitionKd } from '../../src/attacks/transition-kd.js';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import { klDivergence, soften } from '../../src/train/losses.js';
import { publish, retire } from '../../src/train/oracle.js';
import { constant } from '../../src/train/schedules.js';
import { built, context, data as images, normalised, sets, succeed } from '../train/bench.js';
import { expectClose, values } from '../train/tensors.js';
import { aged } from './stepping.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

const log = (...rows: number[][]) => tf.log(tf.tensor2d(rows)) as tf.Tensor2D;

describe('reweighting', () => {
  test('has the worked numbers, with the released sign and with the other', () => {
    tf.tidy(() => {
      const a = tf.tensor1d([-0.5, 0.1, 2]);
      expectClose(values(weightsOf(a, 0.5)), [0.513681, 0.693397, 1.792922], 2e-6);
      expectClose(values(weightsOf(tf.neg(a), 0.5)), [1.479784, 1.096251, 0.423965], 2e-6);
      // Beyond ±10 all are alike.
      expectClose(values(weightsOf(tf.tensor1d([50, 11]), 0.5)), [1, 1], 1e-6);
    });
  });

  test('with equal weights is distillation, and counts a row by its own', () => {
    tf.tidy(() => {
      const logits = tf.tensor2d([
        [1, 0, -1],
        [0.3, 0.2, 2],
      ]);
      const teacher = log([0.7, 0.3, 0], [0.1, 0.1, 0.8]);
      const kl = (...weights: number[]) =>
        values(weightedKl({ logits, teacher, weights: tf.tensor1d(weights), temperature: 4 }))[0] as number;
      const plain = values(klDivergence(soften(teacher, 4), soften(logits, 4)));
      expectClose([kl(1, 1)], plain, 1e-6);
      expectClose([kl(2, 0) + kl(0, 2)], [2 * (plain[0] as number)], 1e-6);
      const slope = tf.grad((x: tf.Tensor) =>
        weightedKl({ logits: x as tf.Tensor2D, teacher, weights: tf.tensor1d([1, 0]), temperature: 4 }),
      )(logits);
      expect(values(slope).every(Number.isFinite)).toBe(true);
      expect(values(slope).slice(3).map(Math.abs)).toEqual([0, 0, 0]);
    });
  });
});

test('weights differ on a net with batch norms, whose running statistics are of no image yet', async () => {
  const network = normalised(4).build(images.image, 3);
  const variables = aged(network, 'victim');
  const victim = publish({ network, variables, normalisation: images.normalisation, access: 'probabilities' });
  const learner = { ...built({ epochs: 1 }), network };
  const spread = async (beta: number) => {
    const { last, best, history } = await succeed(
      reweightedKd({ beta, images: 20 }).steal(victim, learner, { ...context(), data: sets } as never),
    );
    dispose([last, ...(best === undefined ? [] : [best.kept])]);
    return history[0]?.metrics.spread as number;
  };
  expect(await spread(0)).toBeLessThan(1e-3);
  expect(await spread(0.5)).toBeGreaterThan(0.1);
  retire(victim);
  dispose(variables);
});

describe('a map of answers for each class', () => {
  const labels = () => tf.tensor1d([0, 2], 'int32');
  const answers = () => log([0.7, 0.2, 0.1], [0.7, 0.2, 0.1]);
  const factors = (value: number): Factors => ({
    u: tf.mul(tf.ones([9, 1]), value) as tf.Tensor2D,
    v: tf.ones([9, 1]) as tf.Tensor2D,
  });
  const settings = { temperature: 1, asReleased: false };

  test('of nothing but the identity, rows summing to 1, has the worked numbers', () => {
    tf.tidy(() => {
      const q = values(tf.exp(mapped(answers(), labels(), factors(0), settings)));
      // e / (e + 2) on the diagonal and 1 / (e + 2) beside it.
      const [own, other] = [Math.E / (Math.E + 2), 1 / (Math.E + 2)];
      const expected = [0.7, 0.2, 0.1].map((each) => each * own + (1 - each) * other);
      expectClose(q, [...expected, ...expected], 1e-6);
    });
  });

  test('is that of the row’s label, and gives distributions', () => {
    tf.tidy(() => {
      const u = tf.tensor2d(Array.from({ length: 18 }, (_, i) => [Math.sin(i)]).flat(), [9, 2]);
      const v = tf.tensor2d(Array.from({ length: 18 }, (_, i) => [Math.cos(3 * i)]).flat(), [9, 2]);
      const q = tf.exp(mapped(answers(), labels(), { u, v }, { temperature: 4, asReleased: false }));
      expectClose(values(tf.sum(q, 1)), [1, 1], 1e-6);
      const [first, second] = [values(q).slice(0, 3), values(q).slice(3)];
      expect(Math.max(...first.map((each, k) => Math.abs(each - (second[k] as number))))).toBeGreaterThan(0.01);
    });
  });

  test('as released softens what it gives once more, by the worked numbers', () => {
    tf.tidy(() => {
      expectClose(values(tf.exp(soften(tf.tensor2d([[0.7, 0.2, 0.1]]), 4))), [0.364537, 0.321703, 0.31376], 2e-6);
      // The map of the first label is of the scores I + u vᵀ, u (1, 0, 0) and v (0, 1, 0): 1 more in its first row and second column.
      const uneven = {
        u: tf.concat([tf.ones([1, 1]), tf.zeros([8, 1])]),
        v: tf.concat([tf.zeros([1, 1]), tf.ones([1, 1]), tf.zeros([7, 1])]),
      };
      const map = (asReleased: boolean) =>
        values(tf.exp(mapped(answers(), labels(), uneven as Factors, { temperature: 1, asReleased }))).slice(0, 3);
      const scores = tf.exp(
        tf.tensor2d([
          [1, 1, 0],
          [0, 1, 0],
          [0, 0, 1],
        ]),
      );
      const given = (axis: number) =>
        values(tf.matMul(tf.tensor2d([[0.7, 0.2, 0.1]]), tf.div(scores, tf.sum(scores, axis, true)) as tf.Tensor2D));
      expectClose(map(false), given(1), 1e-6);
      const released = given(0).map(Math.exp);
      const whole = released.reduce((sum, each) => sum + each, 0);
      expectClose(
        map(true),
        released.map((each) => each / whole),
        1e-6,
      );
    });
  });

  test('moves the factors of the labels that are there alone, and no answer', () => {
    tf.tidy(() => {
      const { u, v } = factors(0.3);
      const student = soften(
        tf.tensor2d([
          [1, 0, 0.5],
          [0, 1, 0.2],
        ]),
        4,
      );
      const slope = tf.grad((x: tf.Tensor) =>
        klDivergence(
          mapped(
            answers(),
            labels(),
            { u: x as tf.Tensor2D, v: tf.mul(v, tf.range(0, 9).expandDims(1)) },
            { temperature: 4, asReleased: false },
          ),
          student,
        ),
      )(u);
      const moved = values(slope).map((each) => Math.abs(each) > 1e-7);
      expect(moved.slice(3, 6)).toEqual([false, false, false]);
      expect(moved.slice(0, 3).concat(moved.slice(6))).toEqual(Array(6).fill(true));
    });
  });

  test('is learnt at a rate of its own, whatever the student’s', async () => {
    const network = normalised(4).build(images.image, 3);
    const variables = aged(network, 'victim');
    const victim = publish({ network, variables, normalisation: images.normalisation, access: 'probabilities' });
    const seen: number[][] = [];
    const tried = context(key('stage'), {
      fitting: (_, spec, run) => {
        const { step } = spec;
        Object.assign(spec, {
          step: (...given: Parameters<typeof step>) => {
            const before = given[1].maps.factors.u as tf.Tensor;
            const after = step(...given);
            seen.push(values(tf.sub(after.state.maps.factors.u, before)));
            return after;
          },
        });
        return run();
      },
    });
    const learner = built({ schedule: constant(1e-6), epochs: 1 });
    const { last, best } = await succeed(
      transitionKd({ rate: 0.01 }).steal(victim, learner, { ...tried, data: sets, fullStepsPerEpoch: 3 } as never),
    );
    retire(victim);
    dispose([last, ...(best === undefined ? [] : [best.kept]), variables]);
    // Adam's first step is as long as its rate, where there is a gradient.
    const moved = (seen[0] as number[]).filter((each) => Math.abs(each) > 1e-8).map(Math.abs);
    expect(moved.length).toBeGreaterThan(8);
    expectClose(
      moved,
      moved.map(() => 0.01),
      1e-4,
    );
  });
});
