import { describe, expect, test } from 'vitest';
import type { AnyAttack } from '../../src/attacks/attack.js';
import { passiveAttacks, strongest, type Thief } from '../../src/experiment/strongest.js';
import { askingAgain, fashionMnist, gaussianNoise, labelSmoothing, none, scratch } from '../../src/index.js';
import { rank } from '../../src/train/oracle.js';
import { dataOf, made, refusal, thirds } from '../run/helpers.js';

const images = dataOf({ ...thirds({ size: 8 }), name: 'others', fingerprint: 'others' });
const thieves: readonly Thief[] = [{}, { has: 'other', images }, { has: 'none' }, { has: 'none', size: 'small' }];
const textOf = ({ name, params }: AnyAttack): string => JSON.stringify([name, params]);

describe('the strongest attackers', () => {
  test.each(thieves)('of %o are attacks of one experiment, each once', (thief) => {
    const all = strongest(thief);
    const { attacks } = made({ attacks: [scratch(), labelSmoothing(), ...all] });
    expect(attacks).toHaveLength(all.length + 2);
    expect(new Set(all.map(textOf)).size).toBe(all.length);
    // A first look is a part of the whole.
    const quick = strongest({ ...thief, extent: 'quick' });
    expect(quick.length).toBeLessThan(all.length);
    expect(all.map(textOf)).toEqual(expect.arrayContaining(quick.map(textOf)));
    expect(quick.some(({ name }) => passiveAttacks.some((passive) => passive === name))).toBe(true);
  });

  test.each(thieves)('of %o ask for no more than they may, and own what they have', (thief) => {
    for (const access of ['label', 'probabilities', 'weights'] as const) {
      const all = strongest({ ...thief, access });
      expect(all.length).toBeGreaterThan(0);
      for (const { needs, data } of all) {
        expect(rank[needs]).toBeLessThanOrEqual(rank[access]);
        const { has = 'own' } = thief;
        expect(has === 'own' ? ['labelled', 'unlabelled'] : [has]).toContain(data.kind);
      }
    }
  });

  test('have the budget that is named, where they ask a black box', () => {
    for (const thief of thieves)
      for (const { needs, budget } of strongest({ ...thief, budget: 1000 }))
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
    expect(refusal(() => strongest({ has: 'other' }))).toMatchObject({ what: 'there are no images of something else' });
    expect(refusal(() => strongest({ images: fashionMnist() }))).toMatchObject({
      what: 'it has own images, and others are named',
    });
    expect(refusal(() => strongest({ budget: 0 }))).toMatchObject({ what: 'budget is 0' });
    expect(refusal(() => strongest({ extend: 'quick' } as Thief))).toMatchObject({
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
