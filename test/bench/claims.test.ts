import { describe, expect, test } from 'vitest';
import { claimsOf, verdictOf } from '../../bench/verdicts.js';
import { boardsOf } from '../../src/results/boards.js';
import { rankingOf } from '../../src/results/rank.js';
import { ranked, students } from '../report/ranked.js';

/** `ranked` by the names of a ranking's defences and attackers. */
const renamed = JSON.parse(
  JSON.stringify(ranked)
    .replaceAll('"reversed"', '"nasty(omega 0.04)"')
    .replaceAll('"useless"', '"reversedLogits"')
    .replaceAll('"kd(temperature 4)"', '"kd(temperature 4, alpha 0.9)"'),
) as typeof ranked;

const rows = claimsOf(boardsOf(rankingOf(renamed))).flatMap((block) => block.rows);
const found = (what: string) => rows.find(({ label }) => label === what)?.cells.at(-1);

describe('a claim', () => {
  const lower = { text: 'below 0', holds: (value: number) => value < 0 };
  const at = (mean: number, interval?: readonly [number, number]) =>
    verdictOf({ mean, count: interval === undefined ? 1 : 3, ...(interval === undefined ? {} : { interval }) }, lower);

  test('held where the whole interval is as claimed, and did not where none of it is', () => {
    expect(at(-2, [-3, -1])).toBe('held');
    expect(at(-2, [-5, 1])).toBe('in direction');
    expect(at(2, [-1, 5])).toBe('not seen');
    expect(at(2, [1, 3])).toBe('did not hold');
  });

  test('of one or two seeds says so, whatever their interval', () => {
    expect([at(-1), at(1)]).toEqual(['in direction, of one seed', 'not seen, of one seed']);
    expect(verdictOf({ mean: -1, count: 2, interval: [-1, -1] }, lower)).toBe('in direction, of two seeds');
  });

  test('is compared seed by seed, of teachers, of passive students and of the strongest', () => {
    // Teachers 98 %; students 60 % and, of the strongest, 86 and 90 %; alone 80 %.
    expect(found('nasty(omega 0.04): the teacher, minus the undefended one')).toBe(
      '±0.00 (±0.00 to ±0.00): in direction, of two seeds',
    );
    expect(found("nasty(omega 0.04): a passive attacker's student, minus trained alone")).toBe(
      '−20.00 (−20.00 to −20.00): in direction, of two seeds',
    );
    expect(found("nasty(omega 0.04): the strongest attacker's, minus trained alone")).toBe(
      '+8.00 (−17.41 to +33.41): not seen, of two seeds',
    );
  });

  test('of how many times as high an error is has an interval above 0', () => {
    const poisoned = 'mad(epsilon 0.5, oracle extreme)';
    const of = {
      ...ranked,
      defenses: ranked.defenses.flatMap((each) =>
        each.label === 'none' ? [each, { ...each, role: undefined, label: poisoned } as unknown as typeof each] : [],
      ),
      cells: [
        students('kd(temperature 4)', 'none', [0.9, 0.9], [0.9, 0.9]),
        students('kd(temperature 4)', poisoned, [0.8, 0.2], [0.8, 0.2]),
      ],
    };
    const said = claimsOf(boardsOf(rankingOf(of)))
      .flatMap((block) => block.rows)
      .find(({ label }) => label === `${poisoned}: a passive student’s error, over that without a defence`);
    // Errors of 10 % become 20 and 80 %, twice and eight times as high: four times in the geometric mean.
    expect(said?.cells.at(-1)).toMatch(/^4\.00 \(0\.\d\d to \d+\.\d\d\): in direction, of two seeds$/);
  });

  test('of what a ranking has not is left open', () => {
    expect(found('nasty(omega 0.01): the teacher, minus the undefended one')).toBe('–');
    expect(found('reversedLogits, undone: the student, minus that of the answers as they are')).toBe('–');
  });

  test('of all defences is of the one that is furthest off', () => {
    // The other's teacher is a point lower, so that it does not keep every label.
    expect(rows.find(({ label }) => label.startsWith('wrappers that leave'))?.cells.at(-1)).toBe(
      'nasty(omega 0.04) +6.00 (−6.71 to +18.71): in direction, of two seeds',
    );
  });

  test('is compared at the L1 that was measured, between strengths and from no defence on', () => {
    const kd = 'kd(temperature 4)';
    const wrapper = (label: string, name: string, params: object) =>
      ({ label, name, exposes: 'probabilities', params }) as (typeof ranked)['defenses'][number];
    const of = {
      ...ranked,
      defenses: [
        ...ranked.defenses.filter(({ label }) => label === 'none'),
        wrapper('mad(epsilon 1, oracle argmax)', 'mad', { epsilon: 1, oracle: 'argmax' }),
        wrapper('mine', 'grad2', { epsilon: 0.2 }),
        wrapper('noise', 'randomClass', { epsilon: 0.5 }),
      ],
      cells: [
        students(kd, 'none', [0.9, 0.9], [0.9, 0.9]),
        students(kd, 'mad(epsilon 1, oracle argmax)', [0.5, 0.7], [0.5, 0.7], 1),
        students(kd, 'mine', [0.6, 0.6], [0.6, 0.6], 0.5),
        students(kd, 'noise', [0.8, 0.8], [0.8, 0.8], 0.5),
      ],
    };
    const told = claimsOf(boardsOf(rankingOf(of))).flatMap((block) => block.rows);
    const saidOf = (what: string) => told.find(({ label }) => label === what)?.cells.at(-1);
    // Halfway to 50 and 70 % from 90 it is at 70 and 80, by seed.
    expect(
      saidOf('grad2(epsilon 0.2): a passive student, minus that behind mad(oracle argmax) of the same L1'),
    ).toMatch(/^−15\.00 \(/);
    // Noise was not tried so far from the clean answers.
    expect(
      saidOf('mad(epsilon 1, oracle argmax): a passive student, minus that behind a class at random of the same L1'),
    ).toBe('–');
  });
});
