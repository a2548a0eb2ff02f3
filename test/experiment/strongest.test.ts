import { describe, expect, test } from 'vitest';
import rankingFashion from '../../experiments/ranking-fashion.js';
import rankingMnist from '../../experiments/ranking-mnist.js';
import type { AnyAttack } from '../../src/attacks/attack.js';
import { defenses } from '../../src/cli/catalogue.js';
import { partsOf } from '../../src/defenses/defense.js';
import { passiveAttacks, type StrongestOptions, strongest } from '../../src/experiment/strongest.js';
import { askingAgain, fashionMnist, gaussianNoise, labelSmoothing, none, scratch } from '../../src/index.js';
import { rank } from '../../src/train/oracle.js';
import { refusal } from '../failures.js';
import { dataOf, made, thirds } from '../run/helpers.js';

const images = dataOf({ ...thirds({ size: 8 }), name: 'others', fingerprint: 'others' });
const threats: readonly StrongestOptions[] = [
  {},
  { has: 'other', images },
  { has: 'none' },
  { has: 'none', size: 'small' },
];
const textOf = ({ name, params }: AnyAttack): string => JSON.stringify([name, params]);

describe('the strongest attackers', () => {
  test.each(threats)('of %o are attacks of one experiment, each once', (threat) => {
    const all = strongest(threat);
    const { attacks } = made({ attacks: [scratch(), labelSmoothing(), ...all] });
    expect(attacks).toHaveLength(all.length + 2);
    expect(new Set(all.map(textOf)).size).toBe(all.length);
    // A first look is a part of the whole.
    const quick = strongest({ ...threat, extent: 'quick' });
    expect(quick.length).toBeLessThan(all.length);
    expect(all.map(textOf)).toEqual(expect.arrayContaining(quick.map(textOf)));
    expect(quick.some(({ name }) => passiveAttacks.some((passive) => passive === name))).toBe(true);
  });

  test.each(threats)('of %o ask for no more than they may, and own what they have', (threat) => {
    for (const access of ['label', 'probabilities', 'weights'] as const) {
      const all = strongest({ ...threat, access });
      expect(all.length).toBeGreaterThan(0);
      for (const { needs, data } of all) {
        expect(rank[needs]).toBeLessThanOrEqual(rank[access]);
        const { has = 'own' } = threat;
        expect(has === 'own' ? ['labelled', 'unlabelled'] : [has]).toContain(data.kind);
      }
    }
  });

  test('with the victim’s images are these, each at its setting', () => {
    const own: readonly (readonly [string, object])[] = [
      ['hardLabel', {}],
      ['labelKd', {}],
      ['kd', { temperature: 1, alpha: 0.9 }],
      ['kd', { temperature: 4, alpha: 0.9 }],
      ['kd', { temperature: 20, alpha: 0.9 }],
      ['askingAgain', { times: 8, of: 'same' }],
      ['completedKd', { completion: 'masked' }],
      ['sureKd', { without: 0.5 }],
      ['inverseKd', {}],
      ['bayesKd', {}],
      ['kd', { temperature: 2, alpha: 0.9 }],
      ['kd', { temperature: 8, alpha: 0.9 }],
      ['kd', { temperature: 4, alpha: 0.5 }],
      ['kd', { temperature: 4, alpha: 0.1 }],
      ['askingAgain', { of: 'views' }],
      ['completedKd', { completion: 'uniformTail', tail: 0.05 }],
      ['completedKd', { completion: 'uniformTail', tail: 0.1 }],
      ['completedKd', { completion: 'uniformTail', tail: 0.2 }],
      ['sureKd', { without: 0.2 }],
      ['classMeanKd', {}],
      ['ddaeKd', {}],
      ['transitionKd', {}],
      ['reweightedKd', { sign: 'useful' }],
      ['reweightedKd', { sign: 'released' }],
      ['skeptical', {}],
      ['dkd', { beta: 0, warmup: 0 }],
      ['logitStandardisation', {}],
      ['dist', {}],
      ['fitNet', {}],
      ['attentionTransfer', {}],
    ];
    const all = strongest();
    expect(all.map(({ name }) => name)).toEqual(own.map(([name]) => name));
    for (const [i, [name, params]] of own.entries()) expect(all[i]?.params, name).toMatchObject(params);
    expect(strongest({ extent: 'quick' }).map(textOf)).toEqual(all.slice(0, 10).map(textOf));
    // What is the same in all, unless it is said.
    for (const { name, params } of all)
      if ('temperature' in params && name !== 'kd')
        expect([name, params.temperature]).toEqual([name, name === 'logitStandardisation' ? 2 : 4]);
    expect(strongest({ has: 'other', images }).map(({ name, params }) => [name, params.answers ?? ''])).toEqual([
      ['knockoff', 'label'],
      ['knockoff', 'probabilities'],
      ['inverseKnockoff', ''],
      ['transfer', 'probabilities'],
      ['adaptiveKnockoff', 'probabilities'],
      ['dfms', ''],
    ]);
    expect(strongest({ has: 'none' }).map(({ name }) => name)).toEqual([
      ...['disguide', 'dfme', 'disguide', 'dafl', 'deepInversion', 'dualStudents', 'maze', 'dualStudents'],
      ...['zskt', 'dfad', 'dfq', 'cmi', 'fast'],
    ]);
  });

  test('meet every defence that there is, in the experiments of the ranking', () => {
    for (const of of [rankingMnist, rankingFashion]) {
      const tried = new Set(
        of.defenses.flatMap(({ defense }) => [defense.name, ...partsOf(defense).map(({ name }) => name)]),
      );
      const missing = defenses.map(({ declaration: { name } }) => name).filter((name) => !tried.has(name));
      // It is there as two at once.
      expect(missing.filter((name) => name !== 'compose')).toEqual([]);
      for (const { name } of [...strongest(), ...strongest({ has: 'other', images, extent: 'quick' })])
        expect(of.attacks.map(({ attack }) => attack.name)).toContain(name);
    }
  });

  test('without images and with a budget go on until it is spent, at small settings too', () => {
    const epochsOf = (options: Parameters<typeof strongest>[0]) =>
      strongest({ has: 'none', size: 'small', access: 'probabilities', ...options }).map(
        ({ params }) => (params as { readonly epochs?: number | null }).epochs ?? 'as the budget says',
      );
    expect(epochsOf({})).not.toContain('as the budget says');
    expect(new Set(epochsOf({ budget: 1_000_000 }))).toEqual(new Set(['as the budget says']));
  });

  test('have the budget that is named, where they ask a black box', () => {
    for (const threat of threats)
      for (const { needs, budget } of strongest({ ...threat, budget: 1000 }))
        expect(budget).toBe(needs === 'weights' ? undefined : 1000);
  });

  test('may be without some, by name', () => {
    expect(strongest({ except: ['skeptical'] }).map(({ name }) => name)).not.toContain('skeptical');
    expect(refusal(() => strongest({ except: ['sceptical'] }))).toMatchObject({
      what: 'sceptical is none of them',
      where: 'strongest: except',
      remedy: expect.stringContaining('skeptical'),
    });
  });

  test('are refused where what is said of them does not fit together', () => {
    expect(refusal(() => strongest({ has: 'other' }))).toMatchObject({
      what: 'there are no out-of-distribution images',
    });
    expect(refusal(() => strongest({ images: fashionMnist() }))).toMatchObject({
      what: 'it has own images, and others are named',
    });
    expect(refusal(() => strongest({ budget: 0 }))).toMatchObject({ what: 'budget is 0' });
    expect(refusal(() => strongest({ extend: 'quick' } as StrongestOptions))).toMatchObject({
      what: 'extend is none of its options',
    });
    expect(refusal(() => strongest({ access: 'logits' } as never))).toMatchObject({ what: 'access is "logits"' });
  });

  test('ask again only where an answer may be another one', () => {
    expect(askingAgain().knows).toBe('chance');
    expect(askingAgain(askingAgain.presets.modelGuard).knows).toBeUndefined();
    expect([none(), gaussianNoise()].map(({ answers }) => answers?.kind)).toEqual([undefined, 'random']);
  });
});
