import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { defineAttack } from '../../src/attacks/define.js';
import { atLeast, belowOne, between, choice, positive, says, share, wholeAtLeast } from '../../src/core/check.js';
import { option, optional, required, wordsOf } from '../../src/core/options.js';
import { determined, isDeclared, madeWith } from '../../src/core/plugin.js';
import { defineDefense } from '../../src/defenses/define.js';
import { anyNetwork, defineNetwork } from '../../src/models/define.js';
import { classifier, features, flatten, sequential } from '../../src/models/layers.js';
import { cosine } from '../../src/train/schedules.js';
import { refusal } from '../failures.js';
import { tiny } from '../run/helpers.js';

const steal = () => async () => ({ _tag: 'Left', left: 'never' }) as never;

/** An attack with an option of each sort. */
const example = defineAttack({
  name: 'example',
  source: 'here',
  about: 'An example',
  options: {
    rate: option(positive, 0.5, 'How fast'),
    steps: optional(wholeAtLeast(1), 'Default: as many as there are'),
    mode: option(choice('slow', 'fast'), 'slow', 'How'),
    pair: option(v.tuple([belowOne, belowOne]), [0.9, 0.999], 'Two of them'),
    net: optional(anyNetwork, 'Another net'),
    inner: optional(v.strictObject({ scale: atLeast(0), every: wholeAtLeast(1) }), 'More'),
    every: optional(wholeAtLeast(1), 'How often it is looked at'),
    raw: v.optional(v.pipe(v.number(), v.minValue(3), v.description('Of valibot alone')), 7),
  },
  presets: { quick: { rate: 2, mode: 'fast' } },
  cosmetic: ['every'],
  scaled: ({ steps, every }, factor) => ({ steps: steps && factor * steps, every: every && factor * every }),
  needs: 'label',
  data: { kind: 'none' },
  make: ({ mode, rate }) => ({ ...(mode === 'fast' ? { name: 'fastExample' } : {}), refuses: () => `${rate}`, steal }),
});

const insisting = defineDefense({
  name: 'insisting',
  source: 'here',
  about: 'It insists',
  options: {
    digits: required(wholeAtLeast(0), 'Decimal places'),
    how: option(choice('up', 'down'), 'up', 'Which way'),
  },
  positional: 'digits',
  exposes: 'label',
  make: () => ({}),
});

describe('a plugin that is declared', () => {
  test('has defaults, and its options as parameters: null where one is undefined, and none that changes nothing', () => {
    expect(example()).toMatchObject({ name: 'example', source: 'here', needs: 'label', data: { kind: 'none' } });
    expect(Object.entries(example({ every: 3 }).params)).toEqual([
      ['rate', 0.5],
      ['steps', null],
      ['mode', 'slow'],
      ['pair', [0.9, 0.999]],
      ['net', null],
      ['inner', null],
      ['raw', 7],
    ]);
    const net = tiny();
    expect(example({ net, rate: undefined }).params).toMatchObject({ net, rate: 0.5 });
    expect(example({ net }).params.net).toBe(net);
  });

  test('has a label where it is given one, which is no parameter', () => {
    expect(example({ label: 'mine' })).toMatchObject({ label: 'mine', params: example().params });
    expect('label' in example()).toBe(false);
  });

  test('hands its options to what is made, which may change its name', () => {
    expect(example({ rate: 3 }).refuses?.(undefined as never, undefined as never, undefined as never)).toBe('3');
    expect(example(example.presets.quick)).toMatchObject({ name: 'fastExample', params: { rate: 2, mode: 'fast' } });
  });

  test('scales by its own rule, with what else it was given', () => {
    const half = example({ steps: 8, rate: 2, label: 'mine' }).scaled?.(0.5);
    expect(half).toMatchObject({ label: 'mine', params: { steps: 4, rate: 2 } });
    expect(example().scaled?.(0.5).params).toEqual(example().params);
    expect(insisting(2).scaled).toBeUndefined();
  });

  test('may be given its one option alone', () => {
    expect(insisting(2)).toEqual(insisting({ digits: 2 }));
    expect(insisting({ digits: 2, how: 'down' }).params).toEqual({ digits: 2, how: 'down' });
  });

  test('stays as it was made, with the lists, records and functions in it; a copy may be changed', () => {
    const pooled = defineAttack({
      name: 'pooled',
      source: 'here',
      about: 'It has a pool',
      options: { shares: option(v.array(share), [0.5, 1], 'Shares') },
      needs: 'label',
      data: { kind: 'none' },
      make: () => ({ pool: { params: {}, make: () => undefined as never }, steal }),
    });
    const plugin = pooled();
    const assignments: readonly (readonly [object, object])[] = [
      [plugin, { steal: () => undefined }],
      [plugin.pool as object, { make: () => undefined }],
      [plugin.params.shares as object, [1]],
      [cosine({ rate: 1 }), { at: () => 1 }],
    ];
    for (const [to, fields] of assignments)
      expect(() => Object.assign(to, fields)).toThrow(/^Cannot assign to read only property/);
    expect({ ...plugin, steal: 1 }.steal).toBe(1);
  });

  test('leaves what it is handed as it is: plugins of whoever wrote them, and what has a state', () => {
    const net = { ...tiny(), name: 'own' };
    example({ net });
    net.name = 'other';
    const state = new Map();
    const counting = defineDefense({
      name: 'counting',
      source: 'here',
      about: 'It counts',
      exposes: 'label',
      make: () => ({ state }) as object,
    });
    counting();
    expect(state.set('answers', 1).size).toBe(1);
  });

  test('says what it is, and is called as it is', () => {
    expect(example.name).toBe('example');
    expect(isDeclared(example)).toBe(true);
    expect(isDeclared(() => example())).toBe(false);
    expect(example.declaration).toMatchObject({ kind: 'attack', name: 'example', about: 'An example' });
    expect('paper' in example.declaration).toBe(false);
  });
});

describe('a network that is declared', () => {
  const made = defineNetwork({
    name: 'flat',
    source: 'here',
    about: 'Flat',
    options: { width: option(wholeAtLeast(1), 3, 'Width') },
    make: ({ width }) => ({
      layers: sequential(flatten, features, classifier('fc')),
      check: ({ height }) => (height === width ? undefined : 'it does not fit'),
    }),
  });

  test('is built of its layers, where an image fits', () => {
    expect(made()).toMatchObject({ name: 'flat', params: { width: 3 }, source: 'here' });
    const built = made({ width: 2 }).build({ height: 2, width: 2, channels: 1 }, 5);
    expect(built.variables.map(({ shape }) => shape)).toEqual([[4, 5], [5]]);
    expect(refusal(() => made().build({ height: 2, width: 2, channels: 1 }, 5)).what).toBe('it does not fit');
  });

  test('may build itself, and takes no label', () => {
    const { build } = tiny();
    const own = defineNetwork({ name: 'own', source: 'here', about: 'Own', make: () => ({ build }) });
    expect(own()).toEqual({ name: 'own', params: {}, source: 'here', build });
    expect(refusal(() => own({ label: 'x' } as never)).what).toBe('label is none of its options');
  });
});

describe('options are refused with the plugin, the place, the value and what to give', () => {
  test.each<readonly [unknown, string]>([
    [{ rate: 0 }, 'example: rate is 0. Give a number above 0.'],
    [{ rate: Number.POSITIVE_INFINITY }, 'example: rate is Infinity. Give a number above 0.'],
    [{ rate: '4' }, 'example: rate is "4". Give a number above 0.'],
    [{ steps: 1.5 }, 'example: steps is 1.5. Give a whole number of at least 1.'],
    [{ mode: 'medium' }, 'example: mode is "medium". Give slow or fast.'],
    [{ pair: [0.5, 1] }, 'example: pair: 1 is 1. Give a number of at least 0 and below 1.'],
    [{ pair: [0.5] }, 'example: pair: 1 is undefined. Give a number of at least 0 and below 1.'],
    [{ net: tiny }, 'example: net: this is no network. Give a network, such as plainCnn().'],
    [{ inner: { scale: -1, every: 1 } }, 'example: inner: scale is -1. Give a number of at least 0.'],
    [{ inner: { scale: 1 } }, 'example: inner: every is undefined. Give a whole number of at least 1.'],
    [
      { inner: { scale: 1, every: 1, rate: 1 } },
      'example: inner: rate is none of its options. Correct the name, or take it out: it has scale, every.',
    ],
    [
      { raet: 1 },
      'example: raet is none of its options. Correct the name, or take it out: it has rate, steps, mode, pair, net, inner, every, raw, label, budget.',
    ],
    [
      { rate: -1, raet: 1 },
      'example: raet is none of its options. Correct the name, or take it out: it has rate, steps, mode, pair, net, inner, every, raw, label, budget.',
    ],
    [{ raw: 2 }, 'example: raw is 2. Invalid value: Expected >=3 but received 2.'],
    [{ label: 3 }, 'example: label is 3. Give a text.'],
    [4, 'example: these are no options. Give them by name: example({ … }).'],
    [null, 'example: these are no options. Give them by name: example({ … }).'],
    [[], 'example: these are no options. Give them by name: example({ … }).'],
  ])('%j', (given, said) => {
    const { kind, where, what, remedy } = refusal(() => example(given as never));
    expect(kind).toBe('experiment');
    expect(`${where}: ${what}. ${remedy}`).toBe(said);
  });

  test('missing, where one is insisted on', () => {
    for (const given of [{}, undefined]) {
      expect(refusal(() => insisting(given as never))).toMatchObject({
        where: 'insisting',
        what: 'digits is undefined',
        remedy: 'Give a whole number of at least 0.',
      });
    }
  });
});

test('a plugin that holds itself is known by its functions, and frozen', () => {
  const inner: Record<string, unknown> = { of: () => 1 };
  inner.self = inner;
  const plugin = determined({ params: {}, inner });
  expect(madeWith(inner.of as object)).toBe(plugin);
  expect(Object.isFrozen(inner)).toBe(true);
});

test('conditions hold of what they say', () => {
  const held = (schema: v.GenericSchema, values: readonly unknown[]) => values.filter((value) => v.is(schema, value));
  const numbers = [-1, 0, 0.5, 1, 2, Number.NaN, Number.POSITIVE_INFINITY, '1', undefined];
  expect(held(positive, numbers)).toEqual([0.5, 1, 2]);
  expect(held(atLeast(0), numbers)).toEqual([0, 0.5, 1, 2]);
  expect(held(between(0, 1), numbers)).toEqual([0, 0.5, 1]);
  expect(held(share, numbers)).toEqual([0.5, 1]);
  expect(held(belowOne, numbers)).toEqual([0, 0.5]);
  expect(held(wholeAtLeast(1), numbers)).toEqual([1, 2]);
  expect(held(choice(1, 2, 'x'), [...numbers, 'x'])).toEqual([1, 2, 'x']);
  expect(says(choice(1, 2, 'x'))).toBe('1, 2 or x');
});

test('an option in words', () => {
  const [rate, steps] = wordsOf(example.declaration.options);
  expect(rate).toEqual({ name: 'rate', takes: 'a number above 0', about: 'How fast', required: false, initial: 0.5 });
  expect(steps).toMatchObject({ required: false, initial: undefined });
  expect(wordsOf(insisting.declaration.options)[0]).toMatchObject({ required: true, about: 'Decimal places' });
  expect(wordsOf(example.declaration.options).at(-1)).toMatchObject({ about: 'Of valibot alone', initial: 7 });
});

// Nothing here runs: `tsc --noEmit` is the test.
const refusedByTypes = [
  // @ts-expect-error: it insists on digits
  () => insisting(),
  // @ts-expect-error: it insists on digits
  () => insisting({ how: 'up' }),
  // @ts-expect-error: a misspelt option
  () => example({ raet: 1 }),
  // @ts-expect-error: none of the choices
  () => example({ mode: 'medium' }),
  // @ts-expect-error: a preset that is not there
  () => example(example.presets.slow),
  // @ts-expect-error: an option alone where none may be
  () => example(1),
  () =>
    defineAttack({
      name: 'x',
      source: 'here',
      about: 'It asked for labels only',
      needs: 'label',
      data: { kind: 'none' },
      // @ts-expect-error: and so gets no probabilities
      make: () => ({ steal: (victim) => victim.logProbabilities }),
    }),
];

test('what must not compile does not', () => {
  expect(refusedByTypes.length).toBe(7);
});
