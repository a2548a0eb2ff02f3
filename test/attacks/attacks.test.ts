import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import type { AnyAttack, AttackContext } from '../../src/attacks/attack.js';
import { hardLabel } from '../../src/attacks/hard-label.js';
import { kd, partialKd } from '../../src/attacks/kd.js';
import { inverseKnockoff, knockoff } from '../../src/attacks/knockoff.js';
import { labelSmoothing, scratch } from '../../src/attacks/scratch.js';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { labelOnly, rounding, topK } from '../../src/defenses/answers.js';
import type { Defense } from '../../src/defenses/defense.js';
import { loadEngine } from '../../src/engine/engine.js';
import type { Variables } from '../../src/models/network.js';
import { classifier } from '../../src/train/classifier.js';
import { logitsOn } from '../../src/train/evaluate.js';
import { normalisePixels } from '../../src/train/images.js';
import { crossEntropy, distillation } from '../../src/train/losses.js';
import { publish, retire, sessionOf, type Victim } from '../../src/train/oracle.js';
import { dataOf } from '../run/helpers.js';
import { built, context, data, endOf, numbersOf, opened, setOf, sets, succeed, type Tried } from '../train/bench.js';
import { expectClose } from '../train/tensors.js';

const learner = built({ epochs: 2 });
const { network } = learner;
// Not the student's: the victim normalises by itself.
const normalisation = { mean: [0.5], std: [0.25] };
let teacher: Variables;
beforeAll(async () => {
  await loadEngine();
  teacher = network.init(key('teacher'));
});

/** The teacher as the attack asks it, behind a defence. */
const victimOf = ({ needs }: AnyAttack, { answers, name, preserves }: Partial<Defense> = {}): Victim =>
  publish({
    network,
    variables: teacher,
    normalisation,
    access: needs,
    wrappers: answers === undefined ? [] : [{ name: name as string, answers, preserves, prepared: {} }],
  });

const steal = async (attack: AnyAttack, defense: Partial<Defense> = {}, tried: Tried = context()) => {
  const victim = victimOf(attack, defense);
  const given: AttackContext = { ...tried, data: sets as never, fullStepsPerEpoch: 5 };
  const stolen = endOf(await succeed(attack.steal(victim, learner, given)));
  const { asked } = sessionOf(victim);
  retire(victim);
  return { ...stolen, asked };
};

/** What the teacher computes of pixels in [0, 1]. */
const answered = (variables: Variables, pixels: tf.Tensor4D) =>
  network.apply(variables, normalisePixels(pixels, normalisation), { mode: 'eval' }).logits;

const close = (actual: Record<string, number[]>, expected: Record<string, number[]>, tolerance: number) => {
  expect(Object.keys(actual)).toEqual(Object.keys(expected));
  for (const [name, values] of Object.entries(actual)) expectClose(values, expected[name] as number[], tolerance);
};

describe('distillation', () => {
  const byHand = async (temperature: number, alpha: number) => {
    const tried = context();
    const spec = classifier({
      learner,
      data: sets.train,
      frozen: teacher,
      // The teacher's own logits, not the probabilities it publishes.
      target: ({ frozen, pixels }) => ({ logits: answered(frozen, pixels) }),
      loss: ({ logits, target, batch: { labels } }) =>
        distillation({ logits, teacher: target.logits, labels, temperature, alpha }),
    });
    return endOf(await succeed(tried.fit('student', spec)));
  };

  test.each([
    [4, 0.9],
    [20, 0.9],
    [1, 1],
    [0.5, 0.3],
  ])('from published probabilities is that from logits (temperature %d, alpha %d)', async (temperature, alpha) => {
    const [stolen, expected] = [await steal(kd({ temperature, alpha })), await byHand(temperature, alpha)];
    close(stolen.last, expected.last, 2e-5);
    expect(stolen.history.map(({ metrics }) => Object.keys(metrics))).toEqual([
      ['loss', 'kl', 'crossEntropy', 'accuracy'],
      ['loss', 'kl', 'crossEntropy', 'accuracy'],
    ]);
  });

  test('asks about every augmented image of every epoch', async () => {
    const { queries, images, asked } = await steal(kd());
    expect([queries, images]).toEqual([2 * 34, 2 * 34]);
    expect(asked).toEqual({ queries: 2 * 34, forward: 0, backward: 0 });
  });

  test('has the paper’s CIFAR-10 settings by default', () => {
    expect(kd().params).toEqual({ temperature: 4, alpha: 0.9 });
    expect(partialKd({ fraction: 0.1 }).params).toEqual({
      temperature: 4,
      alpha: 0.9,
      fraction: 0.1,
      how: 'stratified',
      steps: 'epochs',
    });
  });

  test.each([
    ['rounded to whole numbers', rounding(0)],
    ['rounded to one digit', rounding(1)],
    ['the largest alone', topK(1)],
  ])('stays finite where probabilities are told to be 0 (%s)', async (_, defense) => {
    for (const attack of [kd(), kd({ temperature: 20, alpha: 1 })]) {
      const { last, history } = await steal(attack, defense);
      expect(Object.values(last).flat().every(Number.isFinite)).toBe(true);
      expect(history.every(({ metrics }) => Object.values(metrics).every(Number.isFinite))).toBe(true);
    }
  });

  test('for as many steps as on all images, when asked to', async () => {
    expect((await steal(partialKd({ fraction: 0.5, steps: 'same' }))).steps).toBe(2 * 5);
    expect((await steal(partialKd({ fraction: 0.5 }))).steps).toBe(2 * 3);
  });
});

describe('hard labels', () => {
  /** A victim that calls everything by its last class. */
  const stubborn: Partial<Defense> = {
    name: 'stubborn',
    answers: {
      kind: 'pure',
      answer: ({ logProbabilities: { shape } }) => ({
        logProbabilities: tf.log(tf.oneHot(tf.fill([shape[0]], 2, 'int32'), shape[1]).cast('float32')) as tf.Tensor2D,
      }),
    },
  };

  test('are the victim’s, not the true ones', async () => {
    const given = { ...context(), data: sets as never, fullStepsPerEpoch: 3 };
    const victim = victimOf(hardLabel(), stubborn) as Victim<'label'>;
    const result = await succeed(hardLabel().steal(victim, built({ epochs: 6 }), given));
    retire(victim);
    const logits = logitsOn(network, result.last, setOf(data.test));
    const answers = Array.from({ length: 12 }, (_, i) => {
      const row = logits.subarray(3 * i, 3 * i + 3);
      return row.indexOf(Math.max(...row));
    });
    expect(answers).toEqual(new Array(12).fill(2));
    dispose(result.last);
  });

  test('train as the same labels would by cross-entropy', async () => {
    const tried = context();
    const spec = classifier({
      learner,
      data: sets.train,
      frozen: teacher,
      target: ({ frozen, pixels }) => ({ labels: tf.argMax<tf.Tensor1D>(answered(frozen, pixels), 1) }),
      loss: ({ logits, target }) => ({ loss: crossEntropy(logits, target.labels) }),
    });
    const byHand = endOf(await succeed(tried.fit('student', spec)));
    expect((await steal(hardLabel())).last).toEqual(byHand.last);
    expect((await steal(hardLabel(), labelOnly())).last).toEqual(byHand.last);
  });

  test('cost one query an image and epoch, and no checkpoint is chosen with them', async () => {
    const { queries, best, asked } = await steal(hardLabel());
    expect([queries, best]).toEqual([2 * 34, undefined]);
    expect(asked).toEqual({ queries: 2 * 34, forward: 0, backward: 0 });
    expect(hardLabel().data.kind).toBe('unlabelled');
  });
});

describe('a knockoff of answers that are undone', () => {
  const images = dataOf(data);
  const sharpened = (answers: tf.Tensor2D, by: number) => tf.logSoftmax(tf.mul(answers, by)) as tf.Tensor2D;
  const sure: Partial<Defense> = {
    name: 'sure',
    answers: {
      kind: 'pure',
      answer: ({ logProbabilities }) => ({ logProbabilities: sharpened(logProbabilities, 20) }),
    },
    recover: () => (answers) => sharpened(answers, 1 / 20),
  };
  const stolen = async (attack: AnyAttack, defense: Partial<Defense> = {}) => {
    const given = { ...context(), recover: attack.knows === 'inverse' ? defense.recover?.({}) : undefined };
    const { last, asked } = await steal(attack, defense, given as Tried);
    return { last, asked };
  };

  test('is that of the undefended victim, and the other attacker falls for the defence', async () => {
    const { last: clean, asked } = await stolen(knockoff({ images }));
    const { last: undone, ...beside } = await stolen(inverseKnockoff({ images }), sure);
    close(undone, clean, 1e-5);
    expect(beside).toEqual({ asked });
    const { last: fooled } = await stolen(knockoff({ images }), sure);
    expect(() => close(fooled, clean, 1e-2)).toThrow();
  });

  test('undoes some hundred answers at once: an inverse may take much memory', async () => {
    const indices = Int32Array.from({ length: 600 }, (_, i) => sets.train.indices[i % 34] as number);
    const many = { ...sets, train: { ...sets.train, indices } };
    const lots: number[] = [];
    const recover = (answers: tf.Tensor2D) => {
      lots.push(answers.shape[0]);
      return sharpened(answers, 1 / 20);
    };
    const from = async (attack: AnyAttack, defense: Partial<Defense>) => {
      const victim = victimOf(attack, defense);
      const known = attack.knows === 'inverse' ? recover : undefined;
      const given: AttackContext = { ...context(), data: many as never, fullStepsPerEpoch: 5, recover: known };
      return endOf(await succeed(attack.steal(victim, learner, given)).finally(() => retire(victim))).last;
    };
    close(await from(inverseKnockoff({ images }), sure), await from(knockoff({ images }), {}), 1e-3);
    expect(lots).toEqual([256, 256, 88]);
  });
});

describe('honest training', () => {
  test('asks nobody, is the same whoever the victim is, and chooses its best checkpoint by held-out images', async () => {
    const given: AttackContext = { ...context(), data: sets as never, fullStepsPerEpoch: 5 };
    const nobody = {} as Victim<'none'>;
    const { seconds: _, history: __, ...alone } = endOf(await succeed(scratch().steal(nobody, learner, given)));
    const { seconds: ___, history: ____, asked, ...beside } = await steal(scratch());
    expect(alone).toEqual(beside);
    expect(alone).toMatchObject({ queries: 0, forward: 0, backward: 0 });
    expect(asked).toEqual({ queries: 0, forward: 0, backward: 0 });
    expect(alone.best).toBeDefined();
  });

  test('starts where the student of any attack starts, with the same batches: differences are paired', async () => {
    const tried = context();
    await steal(scratch(), {}, tried);
    await steal(kd(), {}, tried);
    const [one, two] = tried.specs.map(({ init, source }) => {
      const state = init(key('a'));
      const from = source(key('b'));
      const { batch } = opened(from, 0);
      const text = [numbersOf(state.variables), Array.from(batch.images.dataSync())];
      dispose([state.slots, state.step, batch, from.data]);
      return text;
    });
    expect(one).toEqual(two);
  });

  test('on smoothed labels has the loss of (1−ε) one-hot + ε/K', async () => {
    // At a rate of 0 the loss of the first epoch is that of the fresh net: a straight line in ε.
    const still = { ...learner, recipe: { ...learner.recipe, schedule: { ...learner.recipe.schedule, at: () => 0 } } };
    const loss = async (attack: AnyAttack) => {
      const given = { ...context(), data: { train: { ...sets.train, augmentation: { crop: 0, flip: false } } } };
      const fitted = endOf(await succeed(attack.steal({} as Victim, still, given as never)));
      return fitted.history[0]?.metrics.loss as number;
    };
    const [none, half, all] = [
      await loss(scratch({ fraction: 1 })),
      await loss(labelSmoothing({ epsilon: 0.5 })),
      await loss(labelSmoothing({ epsilon: 1 })),
    ];
    expect(half).toBeCloseTo((none + all) / 2, 5);
    expect(all).not.toBeCloseTo(none, 3);
    expect(labelSmoothing().params).toMatchObject({ epsilon: 0.1 });
  });

  test('ends when it stays at chance, and an attack does not: a defence may hold it there', async () => {
    const tried = context();
    await steal(scratch(), {}, tried);
    await steal(labelSmoothing(), {}, tried);
    await steal(kd(), {}, tried);
    await steal(hardLabel(), {}, tried);
    expect(tried.specs.map(({ stopAtChance }) => stopAtChance?.classes)).toEqual([3, 3, undefined, undefined]);
  });
});
