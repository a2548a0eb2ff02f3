import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { labelOnly, rounding, topK } from '../../src/defenses/answers.js';
import { compose } from '../../src/defenses/compose.js';
import { type Defense, partsOf } from '../../src/defenses/defense.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import { loadEngine } from '../../src/engine/engine.js';
import type { Variables } from '../../src/models/network.js';
import { normalisePixels } from '../../src/train/images.js';
import {
  type Access,
  type Oracle,
  open,
  publish,
  rank,
  retire,
  tensorsOf,
  type Victim,
} from '../../src/train/oracle.js';
import { refusal } from '../failures.js';
import { built, normalised } from '../train/bench.js';
import { expectClose, values } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine();
});

const normalisation = { mean: [0.5], std: [0.25] };
const network = normalised().build({ height: 4, width: 4, channels: 1 }, 3);

/** What a defence puts before a victim. */
const wrappersOf = (defense: Defense) =>
  partsOf(defense).flatMap(({ name, answers, preserves }) =>
    answers === undefined ? [] : [{ name, answers, preserves, prepared: {} }],
  );

/** Asks a victim in one step; what it answers belongs to the enclosing scope, and the victim is retired. */
const asking = <A extends Access, Told>(victim: Victim<A>, ask: (oracle: Oracle<A>) => Told): Told => {
  const { oracle } = open(victim, { tensors: tensorsOf(victim), memory: {}, seed: tf.tensor1d([1, 2], 'int32') });
  const told = ask(oracle);
  retire(victim);
  return told;
};

/** A victim that has these probabilities for one image, whatever it shows, behind a defence. */
const saying = <A extends Access>(probabilities: readonly number[], access: A, defense: Defense) => {
  const logits = tf.log<tf.Tensor2D>(tf.tensor2d([[...probabilities]]));
  const net = { ...network, classes: probabilities.length, apply: () => ({ logits, features: logits, stats: {} }) };
  const wrappers = wrappersOf(defense);
  return publish({ network: net, variables: { params: {}, stats: {} }, normalisation, access, wrappers });
};
const image = (): tf.Tensor4D => tf.zeros([1, 4, 4, 1]);
const told = (defense: Defense, probabilities: readonly number[]): number[] =>
  tf.tidy(() =>
    asking(saying(probabilities, 'probabilities', defense), (oracle) =>
      values(tf.exp(oracle.logProbabilities(image()))),
    ),
  );
const called = (defense: Defense, probabilities: readonly number[]): number[] =>
  tf.tidy(() => asking(saying(probabilities, 'label', defense), (oracle) => values(oracle.labels(image()))));

describe('rounding', () => {
  test.each([
    [2, [0.704, 0.293, 0.003], [0.7, 0.29, 0]],
    [1, [0.704, 0.293, 0.003], [0.7, 0.3, 0]],
    [0, [0.704, 0.293, 0.003], [1, 0, 0]],
    [3, [0.7044, 0.2926, 0.003], [0.704, 0.293, 0.003]],
  ])('to %i digits', (digits, probabilities, expected) => {
    expectClose(told(rounding(digits), probabilities), expected, 1e-6);
  });

  test('tells the label alone where every probability rounds to 0', () => {
    expectClose(told(rounding(0), [0.3, 0.36, 0.34]), [0, 1, 0]);
  });

  test('leaves the label that of the unrounded answer', () => {
    expect(called(rounding(1), [0.33, 0.34, 0.33])).toEqual([1]);
    expect(told(rounding(1), [0.33, 0.34, 0.33])).toEqual(told(rounding(1), [0.34, 0.33, 0.33]));
  });
});

describe('the largest k', () => {
  test.each([
    [1, [0.2, 0.5, 0.3], [0, 0.5, 0]],
    [2, [0.2, 0.5, 0.3], [0, 0.5, 0.3]],
    [3, [0.2, 0.5, 0.3], [0.2, 0.5, 0.3]],
    [9, [0.2, 0.5, 0.3], [0.2, 0.5, 0.3]],
  ])('of k = %i are told as they are', (k, probabilities, expected) => {
    expectClose(told(topK(k), probabilities), expected);
  });

  test('are no more than k also where some are equal', () => {
    expect(told(topK(2), [0.25, 0.25, 0.25, 0.25]).filter((p) => p > 0).length).toBe(2);
    expect(told(topK(1), [0.5, 0.5]).filter((p) => p > 0).length).toBe(1);
  });
});

describe('what a victim answers', () => {
  const published = <Told>(access: Access, use: (victim: Victim<'weights'>, variables: Variables) => Told): Told => {
    const variables = network.init(key('victim'));
    const used = use(publish({ network, variables, normalisation, access }) as Victim<'weights'>, variables);
    dispose(variables);
    return used;
  };

  test('is computed from its weights in evaluation mode: probabilities from logits, labels from both', () => {
    tf.tidy(() =>
      published('weights', (victim, variables) => {
        const some = tf.randomUniform([2, 4, 4, 1], 0, 1, 'float32', 1) as tf.Tensor4D;
        const images = normalisePixels(some, normalisation);
        const expected = network.apply(variables, images, { mode: 'eval' }).logits;
        asking(victim, (oracle) => {
          const logits = oracle.logits(some);
          expect(oracle.variables).toBe(variables);
          expectClose(values(logits), values(expected));
          expectClose(values(oracle.apply(images).logits), values(expected));
          expectClose(values(tf.exp(oracle.logProbabilities(some))), values(tf.softmax(logits)));
          expect(values(oracle.labels(some))).toEqual(values(tf.argMax(logits, 1)));
        });
      }),
    );
  });

  test.each<readonly [Access, readonly string[]]>([
    ['none', []],
    ['label', ['classes', 'input', 'labels']],
    ['probabilities', ['classes', 'input', 'labels', 'logProbabilities']],
    ['logits', ['classes', 'input', 'labels', 'logProbabilities', 'logits']],
    [
      'weights',
      ['apply', 'classes', 'input', 'labels', 'logProbabilities', 'logits', 'network', 'normalisation', 'variables'],
    ],
  ])('at %s, an attacker can call no more than that', (access, answers) => {
    published(access, (victim) => {
      asking(victim, (oracle) => expect(Object.keys(oracle).sort()).toEqual(answers));
    });
  });

  test('through a wrapper is no more than what the wrapper says, at run time as in the types', () => {
    const variables = network.init(key('victim'));
    for (const defense of [rounding(2), topK(2)]) {
      expect(defense.exposes).toBe('probabilities');
      for (const access of ['logits', 'weights'] as const)
        expect(
          refusal(() => publish({ network, variables, normalisation, access, wrappers: wrappersOf(defense) })),
        ).toMatchObject({ kind: 'experiment', where: defense.name, what: `what wraps answers gives no ${access}` });
    }
    expect(labelOnly()).toMatchObject({ exposes: 'label', preserves: 'label' });
    expect(wrappersOf(labelOnly())).toEqual([]);
    dispose(variables);
  });
});

describe('several defences', () => {
  test('expose the least of what each exposes, and keep their order', () => {
    const all = compose(nasty(), rounding(2), topK(3), labelOnly());
    expect(all).toMatchObject({ name: 'nasty + rounding + topK + labelOnly', exposes: 'label' });
    expect(all.parts?.map(({ name }) => name)).toEqual(['nasty', 'rounding', 'topK', 'labelOnly']);
    expect(compose(nasty(), rounding(2)).exposes).toBe('probabilities');
    expect(compose(none(), nasty()).exposes).toBe('weights');
  });

  test('of several are one list', () => {
    expect(compose(compose(nasty(), rounding(2)), topK(1)).parts?.map(({ name }) => name)).toEqual([
      'nasty',
      'rounding',
      'topK',
    ]);
  });

  test('wrap one after the other', () => {
    // The two largest, rounded, are 0.5 and 0.3; of the rounded ones, two are 0.3 and one of these is told.
    expectClose(told(compose(topK(2), rounding(1)), [0.26, 0.48, 0.26]), [0.3, 0.5, 0]);
    expectClose(told(compose(rounding(1), topK(1)), [0.26, 0.48, 0.26]), [0, 0.5, 0]);
  });

  test.each<readonly [readonly unknown[], string]>([
    [[], 'compose: parts is []. Give defences.'],
    [[nasty(), { parts: undefined }], 'compose: parts: 1: this is no defence. Give a defence, such as nasty().'],
    [[5], 'compose: parts: 0: this is no defence. Give a defence, such as nasty().'],
  ])('are refused where they are none: %j', (parts, said) => {
    const { kind, where, what, remedy } = refusal(() => (compose as (...parts: unknown[]) => Defense)(...parts));
    expect(kind).toBe('experiment');
    expect(`${where}: ${what}. ${remedy}`).toBe(said);
  });

  test('are refused in an order that cannot be: probabilities of labels', () => {
    expect(refusal(() => compose(labelOnly(), rounding(2)))).toMatchObject({
      kind: 'experiment',
      what: 'rounding changes probabilities, and the defences before it give label only',
      remedy: 'Put the defence that gives least last.',
    });
    // Training after wrapping is fine: what is wrapped is the last teacher.
    expect(compose(labelOnly(), nasty()).exposes).toBe('label');
  });
});

test('access levels are ordered', () => {
  const levels: Access[] = ['none', 'label', 'probabilities', 'logits', 'weights'];
  expect(levels.map((level) => rank[level])).toEqual([0, 1, 2, 3, 4]);
  expect(built().network.name).toBe('normalised');
});
