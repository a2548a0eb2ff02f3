import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { FailureError } from '../../src/core/errors.js';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { labelOnly, rounding, topK } from '../../src/defenses/answers.js';
import { compose } from '../../src/defenses/compose.js';
import type { Defense } from '../../src/defenses/defense.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import { type Access, publish, rank, restrict, type Victim } from '../../src/defenses/victim.js';
import { loadEngine } from '../../src/engine/engine.js';
import { built, normalised } from '../train/bench.js';
import { expectClose, values } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine();
});

const images = (): tf.Tensor4D => tf.zeros([1, 1, 1, 1]);

/** A victim that has these probabilities for one image, whatever it shows. */
const saying = (probabilities: readonly number[]): Victim<'probabilities'> => ({
  frozen: {},
  labels: () => tf.argMax(tf.tensor2d([[...probabilities]]), 1),
  logProbabilities: () => tf.log(tf.tensor2d([[...probabilities]])),
});
const told = (defense: Defense<'probabilities'>, probabilities: readonly number[]): number[] =>
  tf.tidy(() => {
    const wrapped = defense.expose?.(saying(probabilities)) as Victim<'probabilities'>;
    return values(tf.exp(wrapped.logProbabilities(wrapped.frozen, images())));
  });

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
    const label = tf.tidy(() => {
      const wrapped = rounding(1).expose?.(saying([0.33, 0.34, 0.33])) as Victim<'probabilities'>;
      return values(wrapped.labels(wrapped.frozen, images()));
    });
    expect(label).toEqual([1]);
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
  const network = normalised().build({ height: 4, width: 4, channels: 1 }, 3);

  test('is computed from its weights in evaluation mode: probabilities from logits, labels from both', () => {
    tf.tidy(() => {
      const variables = network.init(key('victim'));
      const victim = publish(network, variables, { mean: [0.5], std: [0.25] });
      const some = tf.randomNormal([2, 4, 4, 1], 0, 1, 'float32', 1) as tf.Tensor4D;
      const logits = victim.logits(victim.frozen, some);
      expect(victim.variables(victim.frozen)).toBe(variables);
      expectClose(values(logits), values(network.apply(variables, some, { mode: 'eval' }).logits));
      expectClose(values(tf.exp(victim.logProbabilities(victim.frozen, some))), values(tf.softmax(logits)));
      expect(values(victim.labels(victim.frozen, some))).toEqual(values(tf.argMax(logits, 1)));
      dispose(variables);
    });
  });

  test.each<readonly [Access, readonly string[]]>([
    ['none', ['frozen']],
    ['label', ['frozen', 'labels']],
    ['probabilities', ['frozen', 'labels', 'logProbabilities']],
    ['logits', ['frozen', 'labels', 'logProbabilities', 'logits']],
    ['weights', ['frozen', 'labels', 'logProbabilities', 'logits', 'network', 'normalisation', 'variables']],
  ])('at %s, an attacker can call no more than that', (access, answers) => {
    const variables = network.init(key('victim'));
    expect(Object.keys(restrict(publish(network, variables, { mean: [0.5], std: [0.25] }), access)).sort()).toEqual(
      answers,
    );
    dispose(variables);
  });

  test('through a wrapper is what the wrapper says, at run time as in the types', () => {
    const variables = network.init(key('victim'));
    const victim = publish(network, variables, { mean: [0.5], std: [0.25] });
    for (const defense of [labelOnly(), rounding(2), topK(2)] as Defense[]) {
      const open = Object.keys(defense.expose?.(victim) ?? {}).sort();
      expect(open).toEqual(Object.keys(restrict(victim, defense.exposes)).sort());
    }
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
    const both = (first: Defense<'probabilities'>, second: Defense<'probabilities'>) => ({
      ...second,
      expose: (victim: Victim<'probabilities'>) =>
        second.expose?.(first.expose?.(victim) as Victim<'probabilities'>) as Victim<'probabilities'>,
    });
    // The two largest, rounded, are 0.5 and 0.3; of the rounded ones, two are 0.3 and one of these is told.
    expectClose(told(both(topK(2), rounding(1)), [0.26, 0.48, 0.26]), [0.3, 0.5, 0]);
    expectClose(told(both(rounding(1), topK(1)), [0.26, 0.48, 0.26]), [0, 0.5, 0]);
  });

  test('are refused in an order that cannot be: probabilities of labels', () => {
    const refused = (() => {
      try {
        return compose(labelOnly(), rounding(2));
      } catch (error) {
        return (error as FailureError).failure;
      }
    })();
    expect(refused).toMatchObject({
      kind: 'experiment',
      what: 'rounding wraps probabilities, and the defences before it give label only',
      remedy: 'Put the defence that gives least last.',
    });
    expect(() => (compose as (...parts: Defense[]) => Defense)()).toThrow(FailureError);
    // Training after wrapping is fine: what is wrapped is the last teacher.
    expect(compose(labelOnly(), nasty()).exposes).toBe('label');
  });
});

test('access levels are ordered', () => {
  const levels: Access[] = ['none', 'label', 'probabilities', 'logits', 'weights'];
  expect(levels.map((level) => rank[level])).toEqual([0, 1, 2, 3, 4]);
  expect(built().network.name).toBe('normalised');
});
