import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { dispose } from '../../src/core/tree.js';
import { rounding } from '../../src/defenses/answers.js';
import { compose } from '../../src/defenses/compose.js';
import type { Defense, DefenseContext, Teacher } from '../../src/defenses/defense.js';
import { wrappersOf } from '../../src/defenses/defense.js';
import { gaussianNoise } from '../../src/defenses/gaussian-noise.js';
import { grad2 } from '../../src/defenses/grad2.js';
import { canBeImitated, imitationOf } from '../../src/defenses/imitation.js';
import { mad } from '../../src/defenses/mad.js';
import { meco } from '../../src/defenses/meco.js';
import { modelGuard } from '../../src/defenses/model-guard.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import { stingy } from '../../src/defenses/stingy.js';
import { loadEngine } from '../../src/engine/engine.js';
import type { Context } from '../../src/train/context.js';
import { aged } from '../attacks/stepping.js';
import { built, context, data, imagesOf, normalised, succeed } from '../train/bench.js';
import { expectClose, values } from '../train/tensors.js';
import { fresh, sticking, tiring } from './answering.js';

const learner = built();
const setOf = imagesOf(data);
const train = setOf(0, 32);
let teacher: Teacher;
let before = 0;
beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});
beforeEach(() => {
  before = tf.memory().numTensors;
  teacher = { learner, variables: aged(learner.network, 'stand-in') };
});
afterEach(() => {
  dispose(teacher.variables);
  expect(tf.memory().numTensors).toBe(before);
});

const strangers = { ...setOf(0, 8), labelled: false as const };
const copyOf = (defense: Defense, tried = context()) =>
  imitationOf(wrappersOf(defense), { teacher, train, validation: undefined }, tried, {
    outliersOf: ({ outliers }) => (outliers === undefined ? {} : { outliers: strangers as never }),
    ran: (start) => succeed(start()),
  });

/** A context that notes the names of values, those within loops as well. */
const naming = <C extends Context>(of: C, names: string[]): C => ({
  ...of,
  value: (name, make) => {
    names.push(name);
    return of.value(name, make);
  },
  loop: (name, { body, ...loop }) =>
    of.loop(name, { ...loop, body: (state, i, inner) => body(state, i, naming(inner, names)) }),
});

/** What a copy makes of some answers, twice; probabilities. */
const toldTwice = async (defense: Defense, clean: number[][] = [[0.7, 0.2, 0.1]]) => {
  const copy = await copyOf(defense);
  try {
    return tf.tidy(() => {
      const pixels = tf.fill<tf.Rank.R4>([clean.length, 4, 4, 1], 0.5);
      const told = () => values(tf.exp(copy.tell(tf.log(tf.tensor2d(clean)), pixels)));
      return [told(), told()] as const;
    });
  } finally {
    copy.release();
  }
};

const answering = ({ answers }: { readonly answers: Defense['answers'] }): Defense =>
  ({ ...stingy(), answers }) as Defense;

test('is of what changes answers, but of what asks the net anew', () => {
  const can = [stingy(), compose(nasty(), rounding(2)), gaussianNoise(), grad2(), modelGuard({ variant: 'S' })];
  expect(can.map(canBeImitated)).toEqual(Array(can.length).fill(true));
  expect([none(), nasty(), meco(), { ...grad2(), adversary: normalised() }].map(canBeImitated)).toEqual(
    Array(4).fill(false),
  );
});

test('tells what the defences tell, one after the other', async () => {
  const [told] = await toldTwice(compose(mad({ oracle: 'extreme', epsilon: 0.2 }), rounding(1)));
  expectClose(told, [0.6, 0.2, 0.2], 1e-6);
});

test('prepares of the net and the images of the attacker, under names of its own, and looks at them', async () => {
  const given: { readonly net: Teacher; readonly context: DefenseContext }[] = [];
  const looking: Defense = {
    ...grad2(),
    outliers: { name: 'strangers' } as never,
    prepare: async (net: Teacher, context: DefenseContext) => {
      given.push({ net, context });
      return { half: tf.scalar(await context.value('half', async () => 0.5)) };
    },
    answers: {
      kind: 'pure',
      answer: ({ images, prepared, victim, clean }) => {
        expect(victim.variables).toBe(teacher.variables);
        const light = tf.mul(tf.mean(images), (prepared as { readonly half: tf.Scalar }).half);
        return { logProbabilities: tf.log(tf.fill(clean.shape, values(light)[0] as number)) };
      },
    },
  };
  const tried = context();
  const names: string[] = [];
  const copy = await copyOf(looking, naming(tried, names));
  const told = tf.tidy(() =>
    values(tf.exp(copy.tell(tf.log(tf.tensor2d([[0.7, 0.2, 0.1]])), tf.fill([1, 4, 4, 1], 0.5)))),
  );
  copy.release();
  expectClose(told, [0.25, 0.25, 0.25], 1e-6);
  expect(names).toEqual(['imitation-1-half']);
  expect(given).toMatchObject([
    { net: teacher, context: { train, validation: undefined, adversary: teacher, outliers: strangers } },
  ]);
  expect(given[0]?.context.key.path).not.toBe(tried.key.path);
});

test('draws with numbers of its own: anew at every call, or the same for an image', async () => {
  const [once, again] = await toldTwice(answering(fresh));
  expect(once).not.toEqual(again);
  const [stuck, still] = await toldTwice(answering(sticking));
  expect(stuck).toEqual(still);
});

test('of what remembers was asked about the images once, and is asked no more', async () => {
  const [told, again] = await toldTwice(answering(tiring));
  expect(again).toEqual(told);
  // 32 questions before make the first class likelier by 0.32 and the images' brightness.
  const light = Math.log((told[0] as number) / (told[1] as number)) - Math.log(3.5) - 0.32;
  expect(light).toBeGreaterThan(0.05);
  expect(light).toBeLessThan(1);
});

test('of answers that were given before gives those', async () => {
  const [told] = await toldTwice(modelGuard({ variant: 'S', epsilon: 2 }), [
    [0.7, 0.2, 0.1],
    [0.6, 0.3, 0.1],
    [0.1, 0.2, 0.7],
  ]);
  // Within an L1 distance of 2 every answer of a class is the first that was given of it.
  expect(told.slice(0, 3)).toEqual(told.slice(3, 6));
  expect(told.slice(0, 3)).not.toEqual([0.7, 0.2, 0.1].map(Math.fround));
});

test('frees what it had prepared where a later part fails', async () => {
  const failing: Defense = { ...grad2(), prepare: () => Promise.reject(new Error('no')) };
  const prepared: Defense = { ...grad2(), prepare: async () => ({ made: tf.scalar(1) }) };
  await expect(copyOf(compose(prepared, failing))).rejects.toThrow('no');
});

test('keeps what is made in a loop apart as well, and images to itself', async () => {
  const tried = context();
  const looping = (name: string): Defense => ({
    ...grad2(),
    name,
    prepare: async (_, own) => {
      await own.images('pictures', async () => ({ images: new Uint8Array(), labels: [], updates: 0 }) as never);
      expect(await own.pool()).toEqual([]);
      return own.loop('turns', {
        count: 2,
        init: () => ({ turn: tf.scalar(0) }),
        body: async ({ turn }, _, inner) => ({
          turn: tf.scalar((turn.dataSync()[0] as number) + (await inner.value('one', async () => 1))),
        }),
      });
    },
  });
  const names: string[] = [];
  const copy = await copyOf(compose(looping('a'), looping('b')), naming(tried, names));
  copy.release();
  expect(names).toEqual(['imitation-1-one', 'imitation-1-one', 'imitation-2-one', 'imitation-2-one']);
  expect(await tried.pool()).toEqual([]);
});
