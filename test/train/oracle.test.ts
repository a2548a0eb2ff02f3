import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { answerShift } from '../../src/metrics/divergence.js';
import { readShift } from '../../src/train/answer-shift.js';
import { valueAndGradient } from '../../src/train/gradient.js';
import { normalisePixels } from '../../src/train/images.js';
import type { Logits } from '../../src/train/logits.js';
import {
  type Access,
  type Answers,
  accessOf,
  budgetOf,
  checkShift,
  type Oracle,
  type Query,
  sessionOf,
  tensorsOf,
  type Victim,
  type WeightOracle,
  type Wrapper,
} from '../../src/train/oracle.js';
import { fresh, sticking, tiring, turning, wrapper } from '../defenses/answering.js';
import { refusal } from '../failures.js';
import { asking, fitted, hostOf, image, inStep, killedAt, network, normalisation, useVictims } from './asking.js';
import { failureOf } from './bench.js';
import { how } from './runners.js';
import { expectClose, values } from './tensors.js';

vi.mock('../../src/engine/runner.js', () => import('./runners.js'));
const ways = ['eager', 1, 3] as const;

const all = useVictims(1);
beforeEach(() => {
  tf.engine().startScope();
});
afterEach(() => {
  tf.engine().endScope();
});

const asPixels = (of: readonly number[], images = 1): tf.Tensor4D =>
  tf.tensor4d(
    Float32Array.from({ length: images * 16 }, (_, i) => of[i % of.length] as number),
    [images, 4, 4, 1],
  );
const some = (images = 3) => asPixels([0.1, 0.9, 0.4, 0.6, 0.2, 0.8, 0.5], images);

/** The victim's net, applied by hand. */
const byHand = (victim: Victim, pixels: tf.Tensor4D) =>
  network.apply(tensorsOf(victim).variables, normalisePixels(pixels, normalisation), { mode: 'eval' });

const blackBoxes = ['label', 'probabilities', 'logits'] as const;
const asked = (queries: number, forward = 0, backward = 0) => ({ queries, forward, backward });

/** The most that a victim of an access tells, in a fit. */
const telling = (access: Access) => {
  const ask = (oracle: Oracle<'logits'>, pixels: tf.Tensor4D): readonly tf.Tensor[] => {
    if (access === 'label') return [oracle.labels(pixels)];
    return [access === 'probabilities' ? oracle.logProbabilities(pixels) : oracle.logits(pixels)];
  };
  return ask as never;
};

describe('what is asked is counted', () => {
  // Two passes of 4, 4 and 2 images.
  test.each(blackBoxes.flatMap((access) => ways.map((way) => [access, way] as const)))(
    'an image of every call, of a black box that gives %s, with steps that run as %s',
    async (access, way) => {
      how.stride = way;
      const victim = all.of(access);
      const result = await fitted(asking(victim, telling(access)));
      expect(result).toMatchObject({
        steps: 6,
        images: 20,
        ...asked(20),
        execution: way === 'eager' ? 'eager' : 'graph',
      });
      expect(sessionOf(victim).asked).toEqual(asked(20));
    },
  );

  test.each(ways)('twice, when a step asks twice; a label and probabilities of one image are two (%s)', async (way) => {
    how.stride = way;
    const victim = all.of('probabilities');
    const twice = asking(victim, (oracle, pixels) => [oracle.labels(pixels), oracle.logProbabilities(pixels)]);
    expect(await fitted(twice)).toMatchObject(asked(40));
    // Of part of the images.
    const part = asking(victim, (oracle, pixels) => [
      oracle.logProbabilities(pixels),
      oracle.labels(tf.slice(pixels, 0, 1)),
    ]);
    expect(await fitted(part)).toMatchObject(asked(20 + 6));
    expect(sessionOf(victim).asked).toEqual(asked(40 + 26));
  });

  test.each(ways)('never, when a step asks nothing (%s)', async (way) => {
    how.stride = way;
    for (const access of [...blackBoxes, 'weights'] as const) {
      const victim = all.of(access);
      expect(await fitted(asking(victim, () => []))).toMatchObject({ steps: 6, ...asked(0) });
      expect(sessionOf(victim).asked).toEqual(asked(0));
    }
  });

  const differentiating = (loss: (oracle: WeightOracle, pixels: tf.Tensor4D) => tf.Scalar) =>
    asking(all.of('weights'), (oracle, pixels) => {
      const { gradients } = valueAndGradient(
        ({ pixels: moved }) => ({ loss: loss(oracle, moved as tf.Tensor4D), aux: {} }),
        { pixels },
      );
      return [gradients.pixels as tf.Tensor];
    });

  test.each(ways)('as passes, of weights that are at hand: back only where a gradient flows (%s)', async (way) => {
    how.stride = way;
    const forward = asking(all.of('weights'), (oracle, pixels) => [oracle.apply(pixels).logits, oracle.labels(pixels)]);
    expect(await fitted(forward)).toMatchObject(asked(0, 40));
    const both = differentiating((oracle, pixels) => oracle.apply(pixels).logits.square().mean());
    expect(await fitted(both)).toMatchObject(asked(0, 20, 20));
    // Of features and logits together it is one pass back.
    const features = differentiating((oracle, pixels) => {
      const { logits, features: found } = oracle.apply(pixels);
      return tf.add(logits.mean(), found.square().mean());
    });
    expect(await fitted(features)).toMatchObject(asked(0, 20, 20));
    const answers = differentiating((oracle, pixels) => oracle.logProbabilities(pixels).square().mean());
    expect(await fitted(answers)).toMatchObject(asked(0, 20, 20));
    const elsewhere = differentiating((oracle, pixels) =>
      tf.add(pixels.square().mean(), oracle.apply(some(2)).logits.mean()),
    );
    expect(await fitted(elsewhere)).toMatchObject(asked(0, 12, 0));
  });

  test.each(ways)('in a run that was killed and resumed as in one that was not (%s)', async (way) => {
    how.stride = way;
    const twice = (victim: Victim<'probabilities'>) =>
      asking(victim, (oracle, pixels) => [oracle.labels(pixels), oracle.logProbabilities(pixels)]);
    const whole = await fitted(twice(all.of('probabilities', { wrappers: [fresh] })));
    expect(whole.queries).toBe(40);
    expect(whole.shift.l1).toBeGreaterThan(0);
    for (const at of [1, 2, 5]) {
      const host = hostOf({ checkpointEvery: 2 });
      const wrappers = [fresh];
      await expect(fitted(killedAt(twice(all.of('probabilities', { wrappers })), at), host)).rejects.toThrow('killed');
      const victim = all.of('probabilities', { wrappers });
      expect(await fitted(twice(victim), host)).toEqual(whole);
      expect(sessionOf(victim).asked).toEqual(asked(40));
    }
  });
});

describe('a victim', () => {
  test('is asked about pixels: what lies outside of [0, 1] is cut off, and it normalises', () => {
    const pixels = asPixels([-0.5, 0.2, 1.5, 1, 0]);
    const shown = asPixels([0, 0.2, 1, 1, 0]);
    for (const access of blackBoxes) {
      const victim = all.of(access) as Victim<'logits'>;
      const { logits } = byHand(victim, shown);
      inStep(victim, (oracle) => {
        expect(values(oracle.labels(pixels))).toEqual(values(tf.argMax(logits, 1)));
        if (access === 'label') return;
        expectClose(values(oracle.logProbabilities(pixels)), values(tf.logSoftmax(logits)), 1e-5);
        if (access === 'logits') expectClose(values(oracle.logits(pixels)), values(logits), 1e-6);
      });
    }
    // Unlike the net itself, which takes what it is given.
    const victim = all.of('weights');
    inStep(victim, (oracle) => {
      const images = normalisePixels(pixels, normalisation);
      expectClose(values(oracle.apply(images).logits), values(byHand(victim, pixels).logits), 1e-6);
      expectClose(values(oracle.logits(pixels)), values(byHand(victim, shown).logits), 1e-6);
    });
  });

  test('tells what it takes, and no more than its access', () => {
    const seen = (access: Access) => Object.keys(all.of(access)).sort();
    expect(seen('none')).toEqual([]);
    for (const access of blackBoxes) expect(seen(access)).toEqual(['classes', 'input']);
    expect(seen('weights')).toEqual(['classes', 'input', 'network', 'normalisation']);
    expect(all.of('label')).toMatchObject({ input: image, classes: 3 });
    expect(all.of('label', { budget: 7 })).toMatchObject({ budget: 7 });
    expect([accessOf(all.of('logits')), budgetOf(all.of('logits', { budget: 7 }))]).toEqual(['logits', 7]);
    // Whoever holds the weights computes as much as they like.
    expect(budgetOf(all.of('weights', { budget: 7 }))).toBeUndefined();
  });

  test.each(blackBoxes)('that gives %s has no tensor, no net and no function in any of its properties', (access) => {
    const found: string[] = [];
    const walk = (value: unknown, path: string): void => {
      if (value instanceof tf.Tensor || typeof value === 'function') found.push(path);
      if (typeof value !== 'object' || value === null) return;
      for (let of: object | null = value; of !== null && of !== Object.prototype; of = Object.getPrototypeOf(of))
        for (const name of Reflect.ownKeys(of)) {
          const property = Object.getOwnPropertyDescriptor(of, name);
          // What it may not tell it refuses, and hands over nothing.
          if (property?.get !== undefined)
            expect(refusal(() => (value as Record<PropertyKey, unknown>)[name]).kind).toBe('plugin');
          else walk(property?.value, `${path}/${String(name)}`);
        }
    };
    const wrappers = access === 'logits' ? [] : [tiring];
    walk(all.of(access, { wrappers, budget: 9 }), 'victim');
    expect(found).toEqual([]);
    const victim = all.of(access);
    expect(refusal(() => (victim as unknown as WeightOracle).network)).toEqual({
      _tag: 'Failure',
      kind: 'plugin',
      what: `it asks the victim for network, and declares that it needs ${access}`,
      remedy: "Declare needs: 'weights', or do without.",
    });
  });

  test('is the one that was handed over, and no copy', async () => {
    const victim = all.of('label');
    const copy = { ...victim } as typeof victim;
    expect(await failureOf(fitted(asking(copy, telling('label'))))).toMatchObject({
      kind: 'plugin',
      what: 'this is no victim',
      remedy: 'Pass on the victim that the attack was handed, as it is.',
    });
  });
});

describe('an oracle refuses', () => {
  test.each<readonly [Access, string, Access]>([
    ['none', 'labels', 'label'],
    ['none', 'classes', 'label'],
    ['label', 'logProbabilities', 'probabilities'],
    ['label', 'logits', 'logits'],
    ['probabilities', 'logits', 'logits'],
    ['probabilities', 'apply', 'weights'],
    ['logits', 'variables', 'weights'],
    ['logits', 'network', 'weights'],
    ['logits', 'normalisation', 'weights'],
  ])('to give a plugin that needs %s its %s', (access, name, need) => {
    inStep(all.of(access), (oracle) => {
      expect(refusal(() => (oracle as unknown as Record<string, unknown>)[name])).toEqual({
        _tag: 'Failure',
        kind: 'plugin',
        what: `it asks the victim for ${name}, and declares that it needs ${access}`,
        remedy: `Declare needs: '${need}', or do without.`,
      });
    });
  });

  test('to be asked after the step that it was given to', () => {
    for (const access of [...blackBoxes, 'weights'] as const) {
      const { told: oracle } = inStep(all.of(access), (each) => each as unknown as Oracle<'label'>);
      expect(refusal(() => oracle.labels(some()))).toMatchObject({
        kind: 'plugin',
        what: 'an oracle was asked after the step that it was given to',
        remedy: 'Ask it inside the step only.',
      });
    }
  });

  const through = (ask: (pixels: tf.Tensor4D) => tf.Tensor) =>
    refusal(() =>
      valueAndGradient(
        ({ pixels }) => ({
          loss: ask(pixels as tf.Tensor4D)
            .square()
            .mean<tf.Scalar>(),
          aux: {},
        }),
        { pixels: some() },
      ),
    );

  test.each(['plain', 'wrapped'] as const)('a gradient through the answers of a black box (%s)', (kind) => {
    const what = {
      kind: 'plugin',
      what: 'a gradient was asked for through the answers of a black box',
      remedy: expect.stringContaining('forwardDifferences'),
    };
    const wrappers = kind === 'plain' ? [] : [turning, fresh];
    inStep(all.of('probabilities', { wrappers }), (oracle) =>
      expect(through((pixels) => oracle.logProbabilities(pixels))).toMatchObject(what),
    );
    if (kind === 'plain')
      inStep(all.of('logits'), (oracle) => expect(through((pixels) => oracle.logits(pixels))).toMatchObject(what));
  });

  test('no answer inside a loss that does not differentiate it', () => {
    inStep(all.of('probabilities', { wrappers: [fresh] }), (oracle) => {
      const shown = some();
      const { gradients, loss } = valueAndGradient(
        ({ pixels }) => ({
          loss: tf.add(oracle.logProbabilities(shown).sum(), (pixels as tf.Tensor).square().sum()) as tf.Scalar,
          aux: {},
        }),
        { pixels: some() },
      );
      expectClose(values(gradients.pixels as tf.Tensor), values(some().mul(2)));
      expect(Number.isFinite(values(loss)[0])).toBe(true);
    });
  });
});

describe('answers that are drawn', () => {
  const twice = (victim: Victim<'probabilities'>, seed: readonly [number, number] = [1, 2]) =>
    inStep(victim, (oracle) => [1, 2].map(() => values(oracle.logProbabilities(some()))) as [number[], number[]], {
      seed: tf.tensor1d([...seed], 'int32'),
    }).told;

  test('with the seed are others at every call of a step, and the same when the step is taken again', () => {
    const victim = all.of('probabilities', { wrappers: [fresh] });
    const [one, other] = twice(victim);
    expect(one).not.toEqual(other);
    expect(twice(victim)).toEqual([one, other]);
    expect(twice(victim, [1, 3])[0]).not.toEqual(one);
    // Two such defences draw apart.
    const composed = all.of('probabilities', { wrappers: [fresh, fresh] });
    const clean = values(tf.logSoftmax(byHand(victim, some()).logits));
    const noise = (given: number[]) => {
      const by = given.map((each, i) => each - (clean[i] as number));
      return by.map((each) => each - (by[0] as number));
    };
    expect(noise(twice(composed)[0])).not.toEqual(noise(one).map((each) => 2 * each));
  });

  test('with the secret are the same in all calls of a victim, and others of another', () => {
    const victim = all.of('probabilities', { wrappers: [sticking] });
    const [one, other] = twice(victim);
    expect(one).toEqual(other);
    expect(twice(victim, [7, 8])[0]).toEqual(one);
    expect(twice(all.of('probabilities', { wrappers: [sticking] }))[0]).toEqual(one);
    expect(twice(all.of('probabilities', { wrappers: [sticking], secret: [5, 7] }))[0]).not.toEqual(one);
  });
});

describe('answers that remember', () => {
  const ask = (oracle: Oracle<'probabilities'>, pixels: tf.Tensor4D) => [
    oracle.logProbabilities(pixels),
    oracle.logProbabilities(pixels),
  ];
  const remembered = (victim: Victim) =>
    (sessionOf(victim).memory as readonly { readonly seen?: tf.Tensor }[]).map(({ seen }) => seen && values(seen)[0]);

  test('hand their state from call to call in a step', () => {
    const victim = all.of('probabilities', { wrappers: [tiring] });
    const { told, memory } = inStep(victim, (oracle) => ask(oracle, some()).map(values));
    expect(told[0]).not.toEqual(told[1]);
    expect(values((memory as [{ seen: tf.Tensor }])[0].seen)).toEqual([6]);
    // The session has what it had: a step is pure.
    expect(remembered(victim)).toEqual([0]);
  });

  test('but nothing of what their owner looks at', () => {
    const victim = all.of('probabilities', { wrappers: [tiring] });
    const memory = sessionOf(victim).memory;
    const looked = inStep(victim, (oracle) => ask(oracle, some()), { frozen: true });
    expect(looked.memory).toBe(memory);
    const noted: boolean[] = [];
    const watching = wrapper('watching', {
      kind: 'pure',
      answer: ({ logProbabilities, frozen }) => {
        noted.push(frozen);
        return { logProbabilities };
      },
    });
    const watched = all.of('probabilities', { wrappers: [watching] });
    inStep(watched, (oracle) => oracle.labels(some()), { frozen: true });
    inStep(watched, (oracle) => oracle.labels(some()));
    expect(noted).toEqual([true, false]);
  });

  test('from step to step and from fit to fit, compiled as eager, killed and resumed', async () => {
    const wrappers = [tiring, fresh, turning, tiring];
    const run = async (way: (typeof ways)[number], kill?: number) => {
      how.stride = way;
      const [victim, host] = [all.of('probabilities', { wrappers }), hostOf({ checkpointEvery: 2 })];
      if (kill !== undefined) {
        await expect(fitted(killedAt(asking(victim, ask), kill), host)).rejects.toThrow('killed');
        // A fit that did not end left nothing.
        expect([sessionOf(victim).asked, remembered(victim)]).toEqual([asked(0), [0, undefined, undefined, 0]]);
      }
      const first = await fitted(asking(victim, ask), host);
      expect(remembered(victim)).toEqual([40, undefined, undefined, 40]);
      const second = await fitted(asking(victim, ask, { epochs: 1 }));
      expect(remembered(victim)).toEqual([60, undefined, undefined, 60]);
      const { execution: _, ...one } = first;
      const { execution: __, ...other } = second;
      return { one, other, asked: sessionOf(victim).asked };
    };
    const whole = await run('eager');
    expect(whole.asked).toEqual(asked(60));
    expect(whole.one.last).not.toEqual(whole.other.last);
    for (const way of ways) for (const kill of [undefined, 1, 3, 5]) expect(await run(way, kill)).toEqual(whole);
    // Another victim has its own memory.
    const apart = await fitted(asking(all.of('probabilities', { wrappers }), ask, { epochs: 1 }));
    expect(apart.last).not.toEqual(whole.other.last);
  });
});

describe('defences in a row', () => {
  const labels = (access: 'label' | 'probabilities', wrappers: readonly Wrapper[]) =>
    inStep(all.of(access, { wrappers }) as Victim<'label'>, (oracle) => values(oracle.labels(some()))).told;
  const probabilities = (wrappers: readonly Wrapper[]) =>
    inStep(all.of('probabilities', { wrappers }), (oracle) => values(oracle.logProbabilities(some()))).told;
  const kept: Wrapper = { ...turning, name: 'kept', preserves: 'label' };

  test('answer one after the other', () => {
    const noted: number[][] = [];
    const noting = (name: string) =>
      wrapper(name, {
        kind: 'pure',
        answer: ({ logProbabilities }) => {
          noted.push(values(logProbabilities));
          return { logProbabilities };
        },
      });
    const given = probabilities([noting('one'), turning, noting('two'), sticking, noting('three'), fresh]);
    const clean = probabilities([]);
    expect(noted[0]).toEqual(clean);
    expectClose(
      noted[1] as number[],
      clean.map((_, i) => clean[3 * Math.floor(i / 3) + ((i + 2) % 3)] as number),
    );
    expect(noted[2]).not.toEqual(noted[1]);
    expect(given).not.toEqual(noted[2]);
  });

  test('leave the label before those that preserve it, up to one that does not', () => {
    const clean = labels('label', []);
    const turned = clean.map((label) => (label + 1) % 3);
    for (const access of ['label', 'probabilities'] as const) {
      expect(labels(access, [turning])).toEqual(turned);
      expect(labels(access, [kept])).toEqual(clean);
      expect(labels(access, [kept, kept])).toEqual(clean);
      expect(labels(access, [turning, kept])).toEqual(turned);
      // The one that does not takes in what the other gave.
      expect(labels(access, [kept, turning])).toEqual(clean.map((label) => (label + 2) % 3));
    }
    expect(probabilities([kept])).toEqual(probabilities([turning]));
  });

  test('are known the query: pixels as they were cut off, the secret, the net and what was prepared', () => {
    const seen: Query[] = [];
    const curious = wrapper(
      'curious',
      {
        kind: 'pure',
        answer: (query) => {
          seen.push(query);
          return { logProbabilities: query.logProbabilities };
        },
      },
      { prepared: { key: tf.scalar(3) } },
    );
    const asking = all.of('probabilities', { wrappers: [curious] });
    inStep(asking, (oracle) => oracle.logProbabilities(asPixels([-1, 0.5, 2])));
    const [{ images, secret, prepared, victim, state }] = seen as [Query];
    expect(values(images)).toEqual(values(asPixels([0, 0.5, 1])));
    expect(values(secret)).toEqual([5, 6]);
    expect(values((prepared as { readonly key: tf.Tensor }).key)).toEqual([3]);
    expect(victim).toEqual({ network, normalisation, variables: tensorsOf(asking).variables });
    expect(state).toEqual({});
  });
});

/** A defence that says this, whatever it is asked about. */
const saying = (name: string, given: () => tf.Tensor, answers: Partial<Answers> = {}): Wrapper =>
  wrapper(name, { kind: 'pure', answer: () => ({ logProbabilities: given() as tf.Tensor2D }), ...answers });
/** A net that has these probabilities for every image. */
const certain = (...probabilities: number[]) => {
  const logits = (images: number) => tf.tile(tf.log(tf.tensor2d([probabilities])), [images, 1]) as tf.Tensor2D;
  return {
    ...network,
    apply: (_: unknown, images: tf.Tensor4D) => ({
      logits: logits(images.shape[0]),
      features: logits(images.shape[0]),
      stats: {},
    }),
  };
};

describe('by how much answers were changed', () => {
  const shiftOf = (wrappers: readonly Wrapper[], net = certain(0.7, 0.2, 0.1), images = 1) => {
    const { shift } = inStep(all.of('probabilities', { wrappers, network: net }), (oracle) =>
      oracle.logProbabilities(some(images)),
    );
    return shift === undefined ? undefined : readShift(values(shift));
  };
  const row = (...p: number[]) => saying('row', () => tf.log(tf.tensor2d([p])));

  test('is the ℓ1 distance, KL(given ‖ clean) and the changed labels', () => {
    // |.525 − .7| + |.4 − .2| + |.075 − .1| = .4; the label stays.
    const kl = (q: readonly number[], p: readonly number[]) =>
      q.reduce((sum, each, i) => sum + (each === 0 ? 0 : each * Math.log(each / (p[i] as number))), 0);
    const p = [0.7, 0.2, 0.1];
    for (const [q, l1, changed] of [
      [[0.525, 0.4, 0.075], 0.4, 0],
      [[0.2, 0.7, 0.1], 1, 1],
      [[0, 1, 0], 1.6, 1],
      [[0.7, 0.2, 0.1], 0, 0],
    ] as const) {
      const found = shiftOf([row(...q)]);
      expect(found?.l1).toBeCloseTo(l1, 5);
      expect(found?.kl).toBeCloseTo(kl(q, p), 5);
      expect([found?.changed, found?.invalid]).toEqual([changed, 0]);
    }
    // Of a chain it is from the net's own answers to the last one's.
    expect(shiftOf([row(0.1, 0.1, 0.8), row(0.525, 0.4, 0.075)])?.l1).toBeCloseTo(0.4, 5);
  });

  test('is what a metric says of the same answers where they do not sum to 1, and of equals', () => {
    const clean = [0.35, 0.36, 0.29];
    for (const given of [
      [0.4, 0.4, 0.3],
      [0.4, 0.3, 0.3],
      [0, 0.36, 0],
    ]) {
      const wrapper = row(...given);
      const loose: Wrapper = { ...wrapper, answers: { ...wrapper.answers, unnormalised: true } };
      const { l1 = 0, kl = 0, changed } = shiftOf([loose], certain(...clean)) ?? {};
      const [p, q] = [clean, given].map((of) => ({ values: Float32Array.from(of, Math.log), classes: 3 }));
      const expected = answerShift(p as Logits, q as Logits);
      expect(l1).toBeCloseTo(expected.l1, 5);
      expect(kl).toBeCloseTo(expected.kl, 5);
      expect(changed).toBe(expected.changed);
    }
  });

  test('is summed over images, calls, steps and fits', async () => {
    expect(shiftOf([turning], certain(0.7, 0.2, 0.1), 5)).toMatchObject({ l1: expect.closeTo(5 * 1.2, 4), changed: 5 });
    const victim = all.of('probabilities', { wrappers: [turning], network: certain(0.7, 0.2, 0.1) });
    const ask = (oracle: Oracle<'probabilities'>, pixels: tf.Tensor4D) => [
      oracle.logProbabilities(pixels),
      oracle.labels(pixels),
    ];
    const { shift } = await fitted(asking(victim, ask));
    // (.1, .7, .2) instead of (.7, .2, .1): .6 + .5 + .1 = 1.2 for each of 40 answers.
    expect(shift.l1).toBeCloseTo(40 * 1.2, 3);
    expect(shift.changed).toBe(40);
    await fitted(asking(victim, ask));
    expect(sessionOf(victim).shift.l1).toBeCloseTo(80 * 1.2, 3);
    expect(sessionOf(victim).shift).toMatchObject({ changed: 80, invalid: 0 });
  });

  test('is nothing of a victim whose answers nobody changes', () => {
    expect(shiftOf([])).toBeUndefined();
  });
});

describe('answers that are none', () => {
  const ask = (oracle: Oracle<'probabilities'>, pixels: tf.Tensor4D) => [tf.zerosLike(oracle.logProbabilities(pixels))];
  const rows =
    (...p: number[]) =>
    (images = 4) =>
      tf.tile(tf.tensor2d([p]), [images, 1]);
  const fitting = (...wrappers: Wrapper[]) =>
    failureOf(fitted(asking(all.of('probabilities', { wrappers }), ask, { epochs: 1, steps: 1 })));

  /** What is wrong, by answers. */
  const faults: readonly (readonly [string, readonly number[], string])[] = [
    ['not a number', [0, Number.NaN, 0], 'what it gives class 1 is NaN, as is the logarithm of a negative number'],
    [
      'the logarithm of a negative one',
      [Math.log(-1), Math.log(0.5), Math.log(0.5)],
      'what it gives class 0 is NaN, as is the logarithm of a negative number',
    ],
    [
      'probabilities instead of their logarithms',
      [0.7, 0.2, 0.1],
      'its numbers are probabilities, and not their logarithms',
    ],
    [
      'such of which one is negative',
      [0.7, 0.55, -0.25],
      'its numbers are probabilities, of which that of class 2 is negative (-0.25), and not their logarithms',
    ],
    ['logarithms that sum to .9', [Math.log(0.5), Math.log(0.3), Math.log(0.1)], 'its probabilities sum to 0.9'],
    [
      'all of them 0',
      [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY],
      'its probabilities sum to 0',
    ],
    ['infinite', [0, 0, Number.POSITIVE_INFINITY], 'the probability that it gives class 2 is infinite'],
  ];

  test.each(faults)('are told from a distribution: %s', async (_, given, fault) => {
    expect(await fitting(turning, saying('careless', rows(...given)))).toEqual({
      _tag: 'Failure',
      kind: 'plugin',
      where: 'turning + careless',
      what: `4 of its answers in step 1 are no distribution; the first, to image 0 of its batch (from 0): ${fault}`,
      remedy: expect.stringContaining('logSoftmax'),
    });
  });

  test('are told by the image, also where several questions are asked in a step', async () => {
    const careless = wrapper('careless', {
      kind: 'pure',
      // Images lie in [0, 1]: the very dark one gives no probability that is one.
      answer: ({ images, logProbabilities }) => {
        const dark = tf.less(tf.mean(images, [1, 2, 3]), 0.01);
        return { logProbabilities: tf.where(tf.expandDims(dark, 1), Number.NaN, logProbabilities) as tf.Tensor2D };
      },
    });
    const victim = all.of('probabilities', { wrappers: [careless] });
    const light = tf.ones<tf.Rank.R4>([5, 4, 4, 1]);
    const one = tf.concat<tf.Tensor4D>([tf.ones([3, 4, 4, 1]), tf.zeros([2, 4, 4, 1])]);
    for (const asked of [[one], [light, one, light]]) {
      const { shift } = inStep(victim, (oracle) => {
        for (const pixels of asked) oracle.logProbabilities(pixels);
        return tf.zeros([1]);
      });
      const told = (shift as tf.Tensor).dataSync();
      expect(refusal(() => checkShift(victim, told))).toMatchObject({
        what: '2 of its answers are no distribution; the first, to image 3 of its batch (from 0): what it gives class 0 is NaN, as is the logarithm of a negative number',
        remedy: expect.stringContaining('Let no probability fall below 0'),
      });
    }
    tf.dispose([light, one]);
  });

  test('are told apart from a fit that diverges, which they let happen', async () => {
    const told = asking(
      all.of('probabilities', { wrappers: [saying('careless', rows(Number.NaN, 0, 0))] }),
      (oracle, pixels) => [oracle.logProbabilities(pixels)],
    );
    expect(await failureOf(fitted({ ...told, epochs: 1, steps: 1 }))).toMatchObject({
      kind: 'plugin',
      where: 'careless',
      what: expect.stringContaining('no distribution'),
    });
  });

  test('may sum to less where that is declared, and have a 0', async () => {
    const log = (p: readonly number[]) => saying('cut', rows(...p.map(Math.log)), { unnormalised: true });
    const invalid = (wrapped: Wrapper) => {
      const { shift } = inStep(all.of('probabilities', { wrappers: [wrapped] }), (oracle) => ask(oracle, some(4)));
      return readShift(values(shift as tf.Tensor)).invalid;
    };
    expect(
      [
        [0.5, 0.3, 0],
        [0.5, 0.5, 0.5],
        [0, 0, 1],
      ].map((p) => invalid(log(p))),
    ).toEqual([0, 0, 0]);
    for (const [p, fault] of [
      [[0, 0, 0], 'its probabilities sum to 0'],
      [[1.5, 0, 0], 'the probability that it gives class 0 is 1.5'],
      [[-1, 0.5, 0.5], 'what it gives class 0 is NaN, as is the logarithm of a negative number'],
    ] as const) {
      expect(invalid(log(p))).toBe(4);
      expect(await fitting(log(p))).toMatchObject({
        what: expect.stringContaining(fault),
        remedy: expect.stringContaining('probabilities of at most 1'),
      });
    }
  });

  test.each<readonly [string, () => tf.Tensor, string]>([
    ['for other images', () => tf.zeros([3, 3]), 'its answer is float32 [3,3], not float32 [4,3]'],
    ['of other classes', () => tf.zeros([4, 2]), 'its answer is float32 [4,2], not float32 [4,3]'],
    ['of whole numbers', () => tf.zeros([4, 3], 'int32'), 'its answer is int32 [4,3], not float32 [4,3]'],
    ['flat', () => tf.zeros([12]), 'its answer is float32 [12], not float32 [4,3]'],
    ['that are no tensor', () => 0.5 as never, 'its answer is 0.5, not float32 [4,3]'],
  ])('are refused: %s', async (_, given, what) => {
    expect(await fitting(saying('careless', given))).toEqual({
      _tag: 'Failure',
      kind: 'plugin',
      where: 'careless',
      what,
      remedy: 'Return one row of log-probabilities an image.',
    });
  });

  test('are refused with a state of a defence that has none, and without one of a defence that has', async () => {
    const { answers } = tiring;
    const forgetting: Wrapper = wrapper('forgetting', {
      ...answers,
      answer: (query) => ({ logProbabilities: answers.answer(query).logProbabilities }),
    });
    expect(await fitting(forgetting)).toMatchObject({
      kind: 'plugin',
      where: 'forgetting',
      what: 'its answers are stateful, and one came without a state',
      remedy: 'Return { logProbabilities, state }.',
    });
    const remembering = wrapper('remembering', {
      kind: 'pure',
      answer: ({ logProbabilities }) => ({ logProbabilities, state: { seen: tf.scalar(1) } }),
    });
    expect(await fitting(remembering)).toMatchObject({
      kind: 'plugin',
      where: 'remembering',
      what: 'its answers are pure, and one came with a state',
      remedy: "Declare kind: 'stateful', or leave the state out.",
    });
  });

  test('have no beginning: a stateful defence without init', () => {
    const { init: _, ...answers } = tiring.answers;
    expect(refusal(() => all.of('probabilities', { wrappers: [wrapper('endless', answers)] }))).toMatchObject({
      kind: 'plugin',
      where: 'endless',
      what: 'its answers are stateful, and it has no state to begin with',
      remedy: 'Give answers.init.',
    });
  });

  test('no sum of sound ones', () => {
    const victim = all.of('probabilities', { wrappers: [turning] });
    expect(() => checkShift(victim, [3, 1, 2, 0, 0, -1, -1, -1])).not.toThrow();
    expect(refusal(() => checkShift(victim, [3, 1, 2, 1, 0, -1, -1, -1])).where).toBe('turning');
  });
});
