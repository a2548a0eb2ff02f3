import { describe, expect, test } from 'vitest';
import { boardsOf, dominated, mainThreat, standingAt } from '../../src/results/boards.js';
import { merged, rankingOf } from '../../src/results/rank.js';
import type { Entry } from '../../src/results/ranking.js';
import type { LearnerSummaries } from '../../src/results/types.js';
import { cell, result } from '../report/matrix.js';
import { ranked as matrix, students } from '../report/ranked.js';

const ranking = rankingOf(matrix);
const entryOf = (defense: string) => {
  const found = ranking.entries.find((each) => each.defense === defense);
  if (found === undefined) throw new Error(`no ${defense}`);
  return found;
};
const own = (defense: string, access: 'label' | 'probabilities' | 'weights' = 'probabilities') =>
  standingAt(entryOf(defense), { access, has: 'own' });

describe('the strongest attacker', () => {
  test('is the best on held-out images, and its worth that on the reported ones', () => {
    const standing = own('reversed');
    expect(standing).toMatchObject({ attack: 'inverseKd', chosenOn: 'heldOut', missing: [] });
    expect(standing?.accuracy.mean).toBeCloseTo(0.88);
    expect(standing?.highest).toMatchObject({ attack: 'dfme', accuracy: { mean: 0.89 } });
  });

  test('is the best on the reported ones where one has no others, and says so', () => {
    const cells = matrix.cells.map((each) =>
      each.attack === 'dfme' && each.defense === 'reversed' ? students('dfme', 'reversed', [0.89, 0.89]) : each,
    );
    const standing = rankingOf({ ...matrix, cells }).entries[1]?.scores.at(-1);
    expect(standing).toMatchObject({ attack: 'dfme', chosenOn: 'reported' });
    expect(standing).not.toHaveProperty('highest');
  });

  test('is compared seed by seed: with the undefended, with students on labels and on smoothed ones, with a passive one', () => {
    const standing = own('reversed');
    expect(standing?.undefended).toMatchObject({ attack: 'kd(temperature 4)' });
    // −.04 and −.02; t(.975, 1) = 12.706, the deviation .01414.
    expect(standing?.harm?.mean).toBeCloseTo(-0.03);
    expect(standing?.harm?.interval?.[0]).toBeCloseTo(-0.03 - 12.7062 * 0.01, 5);
    expect(standing?.toBaseline?.mean).toBeCloseTo(0.08);
    // The better of the two on held-out images is .3.
    expect(standing?.toLabelSmoothing?.mean).toBeCloseTo(0.05);
    expect(standing?.toLabelSmoothing?.sd).toBeCloseTo(0.014142, 5);
    expect(standing?.toLabelOnly?.mean).toBeCloseTo(0.06);
    expect(standing?.passive).toMatchObject({ attack: 'kd(temperature 4)', accuracy: { mean: 0.6 } });
    expect(standing?.gap?.mean).toBeCloseTo(0.28);
  });

  test('asks for no more than is said, and has no more', () => {
    expect(own('none', 'label')).toMatchObject({ attack: 'hardLabel' });
    expect(own('none')).toMatchObject({ attack: 'kd(temperature 4)' });
    expect(own('none', 'weights')).toMatchObject({ attack: 'fitNet' });
    // Who may take the weights takes what there is, and the undefended teacher gives more.
    expect(own('reversed', 'weights')).toMatchObject({ attack: 'inverseKd', undefended: { attack: 'fitNet' } });
    expect(standingAt(entryOf('none'), { access: 'probabilities', has: 'none' })).toMatchObject({ attack: 'dfme' });
    expect(entryOf('none').scores.map(({ access, has }) => `${access} ${has}`)).toEqual([
      'probabilities none',
      'label own',
      'probabilities own',
      'weights own',
    ]);
    expect(entryOf('labelOnly').scores.map(({ attack }) => attack)).toEqual(['hardLabel', 'hardLabel', 'hardLabel']);
  });

  /** The undefended teacher's students, those of some attacks others. */
  const undefended = (...changed: readonly (typeof matrix.cells)[number][]) =>
    standingAt(
      rankingOf({
        ...matrix,
        cells: matrix.cells.map(
          (each) =>
            changed.find(
              ({ attack, defense, student }) =>
                attack === each.attack && defense === each.defense && student === each.student,
            ) ?? each,
        ),
      }).entries[0] ?? { scores: [] },
      { access: 'probabilities', has: 'own' },
    );

  test('is not chosen by the one seed that an attacker has which failed in others', () => {
    const failed = cell('hardLabel', 'none', [
      result('0', 0.5, { student: { images: 1, last: 0.5, metrics: { accuracy: 0.5 }, heldOut: 0.5 } }),
      { seed: '1', status: 'failed', reason: 'NaN', warnings: [] },
    ]);
    // By seed 0 alone it would be `dfme`.
    const standing = undefended(
      { ...failed, reason: 'NaN' },
      students('kd(temperature 4)', 'none', [0.8, 0.9], [0.8, 0.9]),
      students('dfme', 'none', [0.82, 0.5], [0.82, 0.5]),
    );
    expect(standing).toMatchObject({ attack: 'kd(temperature 4)', missing: ['hardLabel'] });
  });

  test('of equals is the first, and the others are named', () => {
    const standing = undefended(
      students('hardLabel', 'none', [0.7, 0.8], [0.1, 0.7]),
      students('kd(temperature 4)', 'none', [0.8, 0.9], [0.7, 0.1]),
      students('dfme', 'none', [0.9, 0.9], [0.3, 0.5]),
    );
    expect(standing).toMatchObject({
      attack: 'hardLabel',
      equals: [
        { attack: 'kd(temperature 4)', accuracy: { mean: expect.closeTo(0.85) } },
        { attack: 'dfme', accuracy: { mean: expect.closeTo(0.9) } },
      ],
      highest: { attack: 'dfme' },
    });
    expect(own('none')).not.toHaveProperty('equals');
  });

  test('lacks those that failed in a seed, but not those that cannot be tried', () => {
    expect(own('useless')?.missing).toEqual(['dfme']);
    expect(own('reversed', 'weights')?.missing).toEqual([]);
  });
});

test('of a run of some of its seeds, the others are not missing', () => {
  const cells = matrix.cells.map((each) => ({
    ...each,
    seeds: each.seeds.map((seed) =>
      seed.seed === '0'
        ? seed
        : { seed: seed.seed, status: each.attack === 'dfme' ? ('n/a' as const) : ('not run' as const), warnings: [] },
    ),
  }));
  const { runs, entries } = rankingOf({ ...matrix, cells });
  expect(runs[0]?.seeds).toEqual(['0']);
  expect(entries.flatMap(({ scores }) => scores.flatMap(({ missing }) => missing))).toEqual([]);
});

test('of a run under way, attackers are compared over the seeds that all of them have', () => {
  const cells = matrix.cells.map((each) =>
    each.attack === 'hardLabel' && each.defense === 'reversed'
      ? students('hardLabel', 'reversed', [0.8, 0.99], [0.8, 0.99])
      : { ...each, seeds: each.seeds.filter(({ seed }) => seed === '0') },
  );
  const found = rankingOf({ ...matrix, cells }).entries.find(({ defense }) => defense === 'reversed');
  expect(standingAt(found ?? { scores: [] }, { access: 'probabilities', has: 'own' })?.attack).toBe('inverseKd');
});

describe('the passive attacker', () => {
  /** The same with the students of `kd` at other settings, in the order of `strongest`. */
  const swept = (defense: { readonly name: string; readonly params: unknown }) => {
    const kd = (temperature: number, alpha = 0.9) => ({
      ...{ label: `kd ${temperature} ${alpha}`, name: 'kd', needs: 'probabilities', owns: 'all', data: 'labelled' },
      params: { temperature, alpha },
    });
    const rows = [kd(1), kd(4), kd(20), kd(4, 0.1)] as (typeof matrix.attacks)[number][];
    const swept = rankingOf({
      ...matrix,
      attacks: [...matrix.attacks.filter(({ name }) => name !== 'kd'), ...rows],
      defenses: matrix.defenses.map((each) => (each.label === 'reversed' ? { ...each, ...defense } : each)),
      cells: [...matrix.cells, ...rows.map(({ label }) => students(label, 'reversed', [0.5, 0.5], [0.5, 0.5]))],
    });
    const entry = swept.entries.find(({ defense }) => defense === 'reversed');
    return standingAt(entry ?? { scores: [] }, { access: 'probabilities', has: 'own' })?.passive?.attack;
  };

  test.each([
    ['mad', {}, 'kd 4 0.9'],
    ['stingy', { ratio: 0.2 }, 'kd 20 0.9'],
    ['nasty', { temperature: 20 }, 'kd 20 0.9'],
    ['nasty', { temperature: 4 }, 'kd 4 0.9'],
    ['mildlyNasty', { temperature: 1.5 }, 'kd 1 0.9'],
    [
      'composed',
      {
        parts: [
          { name: 'rounding', params: {} },
          { name: 'nasty', params: { temperature: 20 } },
        ],
      },
      'kd 20 0.9',
    ],
    ['keepArgmax', { defense: { name: 'stingy', params: { ratio: 0.2 } } }, 'kd 20 0.9'],
  ])('of %s %o is at the temperature of its paper', (name, params, passive) => {
    expect(swept({ name, params })).toBe(passive);
  });

  test('who asks for labels alone takes them', () => {
    expect(own('reversed', 'label')?.passive?.attack).toBe('hardLabel');
  });

  test('listens to probabilities where there are such', () => {
    const row = (answers: string) => ({
      ...{ label: answers, name: 'knockoff', owns: 'other images', data: 'other', params: { answers } },
      needs: answers === 'label' ? 'label' : 'probabilities',
    });
    const rows = [row('label'), row('probabilities')] as (typeof matrix.attacks)[number][];
    const { entries } = rankingOf({
      ...matrix,
      attacks: [...matrix.attacks, ...rows],
      cells: [...matrix.cells, ...rows.map(({ label }) => students(label, 'none', [0.7, 0.7]))],
    });
    const at = (access: 'label' | 'probabilities', has: 'own' | 'other') =>
      standingAt(entries[0] ?? { scores: [] }, { access, has })?.passive?.attack;
    expect([at('label', 'other'), at('probabilities', 'other')]).toEqual(['label', 'probabilities']);
    // Who has the victim's images does not ask about others.
    expect(at('label', 'own')).toBe('hardLabel');
  });
});

test('scores are made of what was measured, whatever a file says of them', () => {
  const lying = {
    ...ranking,
    entries: ranking.entries.map((each) => ({ ...each, cost: {}, scores: [] })),
  };
  expect(merged([JSON.parse(JSON.stringify(lying))])).toEqual(JSON.parse(JSON.stringify(ranking)));
});

test('what a defence costs is its teacher’s accuracy and its answers’ distance; labels alone have none', () => {
  expect(entryOf('reversed').cost).toMatchObject({ teacher: { mean: 0.98 }, l1: { mean: 0.1 } });
  expect(entryOf('none').cost.l1?.mean).toBe(0);
  expect(entryOf('labelOnly').cost).not.toHaveProperty('l1');
});

describe('a board', () => {
  const [board] = boardsOf(ranking);

  test('is about attackers behind an interface who have most', () => {
    expect(board && mainThreat(board)).toEqual({ access: 'probabilities', has: 'own' });
  });

  test('names what is dominated, and by what', () => {
    const worse = dominated(ranking.entries, { access: 'probabilities', has: 'own' });
    expect([...worse].map(([entry, by]) => [entry.defense, by.defense])).toEqual([['useless', 'reversed']]);
  });

  test('names who is dominated by none itself, and takes no rounding for a difference', () => {
    const [like] = ranking.entries.filter(({ defense }) => defense === 'reversed');
    const standing = like && standingAt(like, { access: 'probabilities', has: 'own' });
    if (like === undefined || standing === undefined) throw new Error('no such entry');
    const entry = (defense: string, teacher: number, l1: number, student: number) => ({
      ...like,
      defense,
      cost: { teacher: { mean: teacher, count: 2 }, l1: { mean: l1, count: 2 } },
      scores: [{ ...standing, accuracy: { mean: student, count: 2 } }],
    });
    const told = (...entries: readonly Entry[]) =>
      [...dominated(entries, { access: 'probabilities', has: 'own' })].map(([each, by]) => [each.defense, by.defense]);
    // In the order in which the dominated one would be found first.
    expect(
      told(entry('worst', 0.97, 0.3, 0.9), entry('middle', 0.98, 0.2, 0.9), entry('best', 0.98, 0.1, 0.8)),
    ).toEqual([
      ['worst', 'best'],
      ['middle', 'best'],
    ]);
    expect(told(entry('one', 0.1 + 0.2, 0.1, 0.8), entry('other', 0.3, 0.1, 0.8))).toEqual([]);
  });

  test('compares teachers that were trained anew with each other, and not with what is told otherwise', () => {
    const trained = (label: string, accuracy: number) => ({
      ...matrix.victims.find(({ defense }) => defense === 'reversed'),
      ...{ defense: label, exposes: 'probabilities' },
      seeds: ['0', '1'].map((seed) => ({
        ...{ seed, warnings: [], divergence: { kl: 1 } },
        measures: { images: 100, last: accuracy, metrics: { accuracy, answerL1: 0.3 } },
      })),
    });
    const { entries } = rankingOf({
      ...matrix,
      victims: matrix.victims.map((each) =>
        each.defense === 'reversed'
          ? trained('reversed', 0.98)
          : each.defense === 'useless'
            ? trained('useless', 0.97)
            : each,
      ),
    });
    expect(entries[1]?.teacher.l1).toEqual({});
    expect(entries[1]?.cost).not.toHaveProperty('l1');
    // One teacher for both seeds has no spread.
    const one = rankingOf({
      ...matrix,
      victims: matrix.victims.map((each) => ({
        ...each,
        seeds: each.seeds.map((of) => (of.seed === '1' ? { ...of, sameAs: '0' } : of)),
      })),
    });
    expect(one.entries[1]?.cost).toMatchObject({ teacher: { count: 1 }, toUndefended: { count: 1 }, l1: { count: 1 } });
    // A run of one seed measures no divergence.
    const alone = matrix.victims.map((each) =>
      each.defense === 'reversed' ? { ...each, retrained: true as const } : each,
    );
    expect(rankingOf({ ...matrix, victims: alone }).entries[1]?.teacher.l1).toEqual({});
    const worse = dominated(entries, { access: 'probabilities', has: 'own' });
    // Neither by the undefended teacher, whose answers are as they are, nor by labels alone.
    expect([...worse].map(([entry, by]) => [entry.defense, by.defense])).toEqual([['useless', 'reversed']]);
  });

  test('holds runs of one setting with the same attackers, each once', () => {
    const another = rankingOf({ ...matrix, experiment: 'another' });
    expect(boardsOf(merged([ranking, another, ranking]))).toMatchObject([{ entries: { length: 8 } }]);
    const { attacks } = matrix;
    const learnersOf = (epochs: number, width = 4): LearnerSummaries => ({
      teacher: { network: { name: 'plainCnn', params: {} }, recipe: { epochs } },
      students: Object.fromEntries(
        matrix.students.map((label) => [label, { network: { name: 'plainCnn', params: { width } }, recipe: {} }]),
      ),
    });
    const boardsWith = (...all: readonly LearnerSummaries[]) =>
      boardsOf(merged(all.map((learners, i) => rankingOf({ ...matrix, experiment: `${i}`, learners }))));
    expect(boardsWith(learnersOf(3), learnersOf(3))).toHaveLength(1);
    // By the same labels, a teacher of other epochs and a student of another width.
    expect(boardsWith(learnersOf(3), learnersOf(4))).toHaveLength(2);
    expect(boardsWith(learnersOf(3), learnersOf(3, 64))).toHaveLength(2);
    // Of several students each is its own.
    const more = learnersOf(3);
    const aside = { network: { name: 'leNet5', params: {} } };
    expect(boardsWith(more, { ...more, students: { ...more.students, aside } })).toHaveLength(1);
    for (const other of [
      { ...matrix, teacher: 'small' },
      { ...matrix, data: { ...matrix.data, fingerprint: 'other' } },
      { ...matrix, attacks: attacks.filter(({ label }) => label !== 'fitNet') },
    ])
      expect(boardsOf(merged([ranking, rankingOf(other)]))).toHaveLength(2);
  });
});

test('the id of a run is that of its numbers, not of when and how fast they were made', () => {
  const [slow] = rankingOf({
    ...matrix,
    provenance: [],
    cells: matrix.cells.map((each) => ({ ...each, seeds: each.seeds.map((seed) => ({ ...seed, seconds: 9 })) })),
  }).runs;
  expect(slow?.id).toBe(ranking.runs[0]?.id);
  expect(rankingOf({ ...matrix, seeds: ['0'] }).runs[0]?.id).not.toBe(slow?.id);
});
