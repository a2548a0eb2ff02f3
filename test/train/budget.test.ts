import * as tf from '@tensorflow/tfjs';
import { describe, expect, test, vi } from 'vitest';
import type { AnyAttack, AttackContext } from '../../src/attacks/attack.js';
import { kd } from '../../src/attacks/kd.js';
import { noise } from '../../src/attacks/noise.js';
import { type Oracle, sessionOf, type Victim } from '../../src/train/oracle.js';
import { fresh, tiring } from '../defenses/answering.js';
import { asking, fitted, hostOf, killedAt, pictures, useVictims } from './asking.js';
import { type AnySpec, built, context, endOf, failureOf, sets, theftOf } from './bench.js';
import { how } from './runners.js';

vi.mock('../../src/engine/runner.js', () => import('./runners.js'));
const ways = ['eager', 1, 3] as const;

const all = useVictims('eager');

const tooSmall = (budget: number) => ({
  _tag: 'Failure',
  kind: 'plugin',
  what: `a budget of ${budget} answers ends before the first step`,
  remedy: 'Give a larger budget, or the attack a smaller batch.',
});

/** The sizes of the batches that an attack's fit goes through. */
const watched = (sizes: number[]) => (_: string, spec: AnySpec, run: () => Promise<unknown>) => {
  const { source } = spec;
  Object.assign(spec, {
    source: (key: Parameters<typeof source>[0]) => {
      const whole = source(key);
      return {
        ...whole,
        at: (step: number, atMost?: number) => {
          const found = whole.at(step, atMost);
          sizes[step] = found.images;
          return found;
        },
      };
    },
  });
  return run();
};

/** A theft from a victim that gives so many answers. */
const stolen = async (attack: AnyAttack, budget: number, epochs = 4) => {
  const sizes: number[] = [];
  const tried = context(undefined, { fitting: watched(sizes) as never });
  const victim = all.of(attack.needs, { budget });
  const given: AttackContext = { ...tried, data: sets as never, fullStepsPerEpoch: 3 };
  const theft = endOf(await theftOf(attack, victim, built({ epochs }), given));
  expect(sessionOf(victim).asked).toEqual({ queries: theft.queries, forward: 0, backward: 0 });
  return { ...theft, sizes: sizes.slice(0, theft.steps) };
};

describe('a budget of answers', () => {
  // Thirty-four images a pass, in batches of 16, 16 and 2.
  test.each([
    [50, [16, 16, 2, 16]],
    [49, [16, 16, 2, 15]],
    [33, [16, 15, 2]],
    [17, [15, 2]],
    [16, [16]],
    [15, [15]],
    [3, [3]],
    [2, [2]],
  ])('of %i is used up by distillation, in batches of at least two', async (budget, sizes) => {
    const theft = await stolen(kd(), budget);
    expect(theft).toMatchObject({ queries: budget, images: budget, steps: sizes.length, ended: 'budget' });
    expect(theft.sizes).toEqual(sizes);
    expect(theft.history.at(-1)?.step).toBe(sizes.length);
    expect(theft.history.every(({ metrics }) => Object.values(metrics).every(Number.isFinite))).toBe(true);
  });

  test('that is as large as what is asked, or larger, changes nothing', async () => {
    const { seconds: _, history, ...free } = await stolen(kd(), 1000, 2);
    expect(free.queries).toBe(68);
    expect(free).not.toHaveProperty('ended');
    const { seconds: __, history: other, ...exact } = await stolen(kd(), 68, 2);
    expect(exact).toEqual(free);
    expect(other.length).toBe(history.length);
  });

  test.each([
    [50, 3],
    [48, 3],
    [33, 2],
    [17, 1],
    [16, 1],
  ])('of %i lets steps on noise ask as many whole batches of 16 as it holds: %i', async (budget, steps) => {
    const theft = await stolen(noise({ steps: 20 }), budget);
    expect(theft).toMatchObject({ steps, queries: 16 * steps, ended: 'budget' });
  });

  test('that is smaller than one step ends the theft with what to do', async () => {
    expect(await failureOf(() => stolen(kd(), 1))).toMatchObject(tooSmall(1));
    expect(await failureOf(() => stolen(noise({ steps: 20 }), 15))).toMatchObject(tooSmall(15));
  });

  const seven = (oracle: Oracle<'label'>, pixels: tf.Tensor4D) =>
    [1, 2, 3, 4, 5, 6, 7].map(() => oracle.labels(pixels));

  test.each(ways)('is counted in answers, of which a step may ask several an image (%s)', async (way) => {
    how.stride = way;
    const fixed = (budget: number) =>
      fitted(asking(all.of('label', { budget }), seven, { source: pictures(true), epochs: 3 }));
    // Steps of 28.
    expect(await fixed(100)).toMatchObject({ steps: 3, images: 12, queries: 84, ended: 'budget' });
    expect(await fixed(84)).toMatchObject({ steps: 3, queries: 84, ended: 'budget' });
    expect(await failureOf(() => fixed(27))).toMatchObject(tooSmall(27));
    // Batches of 4, 4 and 2, and then of 3, for which 23 answers are left.
    const victim = all.of('label', { budget: 93 });
    expect(await fitted(asking(victim, seven))).toMatchObject({ steps: 4, images: 13, queries: 91, ended: 'budget' });
  });

  test.each(ways)('ends several steps of a call where it is used up (%s)', async (way) => {
    how.stride = way;
    const ask = (oracle: Oracle<'probabilities'>, pixels: tf.Tensor4D) => [oracle.logProbabilities(pixels)];
    const run = (budget: number) =>
      fitted(asking(all.of('probabilities', { budget, wrappers: [tiring, fresh] }), ask, { epochs: 5 }));
    const found = [];
    for (const budget of [37, 36, 35, 30, 22, 12, 2]) {
      const { execution: _, ...result } = await run(budget);
      expect(result).toMatchObject({ queries: budget, images: budget, ended: 'budget' });
      found.push(result);
    }
    how.stride = 'eager';
    const [largest] = found;
    const { execution: _, ...expected } = await run(37);
    expect(largest).toEqual(expected);
  });

  test.each(ways)('is the same after a kill in the middle: bits, count and end (%s)', async (way) => {
    how.stride = way;
    const ask = (oracle: Oracle<'probabilities'>, pixels: tf.Tensor4D) => [oracle.logProbabilities(pixels)];
    const of = (victim: Victim<'probabilities'>) => asking(victim, ask, { epochs: 5 });
    const victim = () => all.of('probabilities', { budget: 37, wrappers: [tiring, fresh] });
    const whole = await fitted(of(victim()));
    expect(whole).toMatchObject({ queries: 37, ended: 'budget' });
    for (const at of [1, 5, whole.steps - 1]) {
      const host = hostOf({ checkpointEvery: 2 });
      await expect(fitted(killedAt(of(victim()), at), host)).rejects.toThrow('killed');
      const resumed = victim();
      expect(await fitted(of(resumed), host)).toEqual(whole);
      expect(sessionOf(resumed).asked.queries).toBe(37);
    }
  });

  test('is of all fits together', async () => {
    const ask = (oracle: Oracle<'label'>, pixels: tf.Tensor4D) => [oracle.labels(pixels)];
    const victim = all.of('label', { budget: 25 });
    expect(await fitted(asking(victim, ask))).toMatchObject({ queries: 20, steps: 6 });
    expect(await fitted(asking(victim, ask))).toMatchObject({ queries: 5, steps: 2, ended: 'budget' });
    // Nothing is left: the fit is over before it begins, with the state that it began with.
    const empty = await fitted(asking(victim, ask));
    expect(empty).toMatchObject({ queries: 0, steps: 0, images: 0, ended: 'budget', history: [] });
    // A fit that asks nothing goes on.
    expect(await fitted(asking(victim, () => []))).toMatchObject({ queries: 0, steps: 6 });
    expect(sessionOf(victim).asked.queries).toBe(25);
  });

  test('leaves no tensor where its first step is refused', async () => {
    const victim = all.of('label', { budget: 9 });
    const alive = tf.memory().numTensors;
    const beyond = asking(victim, (oracle, pixels) => [(oracle as Oracle<'logits'>).logits(pixels)]);
    expect((await failureOf(() => fitted(beyond))).what).toContain('it asks the victim for logits');
    expect(tf.memory().numTensors).toBe(alive);
  });

  test('is none for whoever holds the weights', async () => {
    const victim = all.of('weights', { budget: 3 });
    const found = await fitted(asking(victim, (oracle, pixels) => [oracle.logits(pixels)]));
    expect(found).toMatchObject({ queries: 0, forward: 20, steps: 6 });
    expect(found).not.toHaveProperty('ended');
  });
});
