import { describe, expect, test } from 'vitest';
import { kd, partialKd } from '../../src/attacks/kd.js';
import { scratch } from '../../src/attacks/scratch.js';
import { nasty } from '../../src/defenses/nasty.js';
import { none } from '../../src/defenses/none.js';
import type { Source } from '../../src/experiment/identity.js';
import { plan } from '../../src/experiment/plan.js';
import { sweep } from '../../src/experiment/sweep.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { refusal } from '../failures.js';
import { learnerOf, made, thirds, tiny } from '../run/helpers.js';

test('one axis: a plugin for each value', () => {
  expect(sweep(nasty, { omega: [0, 0.001, 0.1] }).map(({ params }) => params.omega)).toEqual([0, 0.001, 0.1]);
});

test('several axes: each combination, the last axis changing fastest', () => {
  const all = sweep(partialKd, { temperature: [1, 20], alpha: [0.1, 0.5, 0.9], steps: ['same'] }, { fraction: 0.3 });
  expect(all.map(({ params }) => [params.temperature, params.alpha])).toEqual([
    [1, 0.1],
    [1, 0.5],
    [1, 0.9],
    [20, 0.1],
    [20, 0.5],
    [20, 0.9],
  ]);
  for (const { params } of all) expect(params).toMatchObject({ fraction: 0.3, steps: 'same' });
});

test('rows and columns are called by what differs, and networks by their name', () => {
  const of = made({
    defenses: [none(), ...sweep(nasty, { adversary: [tiny(3), plainCnn()] }, { omega: 0.1 })],
    attacks: [scratch(), ...sweep(kd, { temperature: [1, 4], alpha: [0.1, 0.9] })],
  });
  expect(of.defenses.map(({ label }) => label)).toEqual([
    'none',
    'nasty(adversary tiny, hidden 3)',
    'nasty(adversary plainCnn, width 32)',
  ]);
  expect(of.attacks.map(({ label }) => label)).toEqual([
    'scratch',
    'kd(temperature 1, alpha 0.1)',
    'kd(temperature 1, alpha 0.9)',
    'kd(temperature 4, alpha 0.1)',
    'kd(temperature 4, alpha 0.9)',
  ]);
});

test('a sweep is one graph: teachers, adversaries and honest students are trained once', () => {
  const { stages } = plan(
    made({
      students: [learnerOf(tiny(4))],
      defenses: [none(), ...sweep(nasty, { adversary: [tiny(3)], omega: [0, 0.1, 0.2] })],
      attacks: [scratch(), ...sweep(kd, { alpha: [0.1, 0.5, 0.9] })],
    }),
    {
      data: thirds(),
      others: new Map(),
      code: { modules: new Map<string, Source>() },
      harness: { training: '', measuring: '' },
      engine: 'tensorflow-cpu',
    },
  );
  const count = (kind: string): number => stages.filter(({ work }) => work.kind === kind).length;
  expect(count('teacher')).toBe(2);
  expect(count('protect')).toBe(3);
  expect(count('steal')).toBe(1 + 3 * 4);
});

describe('refused, with the plugin, the axis and what to do', () => {
  // What is refused here does not compile either, but experiment files run without a type check.
  const untyped = sweep as (make: unknown, axes?: unknown, rest?: unknown) => unknown;

  test.each<[string, () => unknown, string]>([
    ['no axis', () => untyped(kd, {}), 'sweep(kd): there is no axis'],
    ['no axes at all', () => untyped(kd), 'sweep(kd): there is no axis'],
    ['an empty axis', () => untyped(kd, { alpha: [0.1], temperature: [] }), 'sweep(kd): temperature has no values'],
    ['one value', () => untyped(kd, { alpha: 0.1 }), 'sweep(kd): alpha has no values'],
    ['text', () => untyped(kd, { alpha: '0.1' }), 'sweep(kd): alpha has no values'],
    ['a plugin with its brackets', () => untyped(kd(), { alpha: [0.1] }), 'sweep: there is no plugin to sweep'],
    [
      'an unknown option of a network',
      () => untyped(plainCnn, { wide: [3, 4] }),
      'plainCnn: wide is none of its options',
    ],
    ['an unknown option', () => untyped(kd, { aplha: [0.1] }), 'kd: aplha is none of its options'],
    ['an unknown fixed option', () => untyped(kd, { alpha: [0.1] }, { tau: 4 }), 'kd: tau is none of its options'],
    ['a value out of range', () => untyped(nasty, { omega: [0, -0.1] }), 'nasty: omega is -0.1'],
    [
      'an axis that is fixed',
      () => untyped(kd, { alpha: [0.1] }, { alpha: 0.9 }),
      'sweep(kd): alpha is an axis and a fixed option',
    ],
    ['one label', () => untyped(kd, { alpha: [0.1] }, { label: 'kd' }), 'sweep(kd): one label cannot name them all'],
    ['labels', () => untyped(kd, { label: ['a', 'b'] }), 'sweep(kd): one label cannot name them all'],
    [
      'a value twice',
      () => sweep(nasty, { omega: [0.1, 0.2, 0.1] }, { initFrom: 'baseline' }),
      'sweep(nasty): nasty(omega 0.1, temperature 4, initFrom baseline, warmUpEpochs 0) comes twice',
    ],
    [
      'a network twice',
      () => sweep(nasty, { adversary: [tiny(3), tiny(3)] }),
      'sweep(nasty): nasty(omega 0.04, temperature 4, adversary tiny, hidden 3, initFrom random, warmUpEpochs 0) comes twice',
    ],
    ['an axis that nobody reads', () => untyped(() => plainCnn(), { wide: [3, 4] }), 'plainCnn(width 32) comes twice'],
  ])('%s', (_, run, said) => {
    const { kind, where, what, remedy } = refusal(run);
    expect(kind).toBe('experiment');
    expect(`${where}: ${what}`).toContain(said);
    expect(remedy, 'a remedy').toBeTruthy();
  });
});
