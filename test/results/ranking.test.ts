import { describe, expect, test } from 'vitest';
import { boardsOf, dominated, mainThief, rankingOf, standingAt, together } from '../../src/results/ranking.js';
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

  test('lacks those that failed in a seed, but not those that cannot be tried', () => {
    expect(own('useless')?.missing).toEqual(['dfme']);
    expect(own('reversed', 'weights')?.missing).toEqual([]);
  });
});

test('what a defence costs is its teacher’s accuracy and its answers’ distance; labels alone have none', () => {
  expect(entryOf('reversed').cost).toMatchObject({ teacher: { mean: 0.98 }, l1: { mean: 0.1 } });
  expect(entryOf('none').cost.l1?.mean).toBe(0);
  expect(entryOf('labelOnly').cost).not.toHaveProperty('l1');
});

describe('a board', () => {
  const [board] = boardsOf(ranking);

  test('is about attackers behind an interface who have most', () => {
    expect(board && mainThief(board)).toEqual({ access: 'probabilities', has: 'own' });
  });

  test('names what is dominated, and by what', () => {
    const worse = dominated(ranking.entries, { access: 'probabilities', has: 'own' });
    expect([...worse].map(([entry, by]) => [entry.defense, by.defense])).toEqual([['useless', 'reversed']]);
  });

  test('holds runs of one setting with the same attackers, each once', () => {
    const another = rankingOf({ ...matrix, experiment: 'another' });
    expect(boardsOf(together([ranking, another, ranking]))).toMatchObject([{ entries: { length: 8 } }]);
    const { attacks } = matrix;
    for (const other of [
      { ...matrix, teacher: 'small' },
      { ...matrix, data: { ...matrix.data, fingerprint: 'other' } },
      { ...matrix, attacks: attacks.filter(({ label }) => label !== 'fitNet') },
    ])
      expect(boardsOf(together([ranking, rankingOf(other)]))).toHaveLength(2);
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
