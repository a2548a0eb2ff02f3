import { describe, expect, test } from 'vitest';
import { checkedBy } from '../../src/results/check.js';
import { merged, rankingOf } from '../../src/results/rank.js';
import type { Entry, Ranking } from '../../src/results/ranking.js';
import { ranked as matrix } from '../report/ranked.js';

const mine = rankingOf(matrix);
const first = rankingOf({
  ...matrix,
  seeds: ['0'],
  cells: matrix.cells.map((cell) => ({ ...cell, seeds: cell.seeds.filter(({ seed }) => seed === '0') })),
});

/** What was sent, with one defence's entry changed. */
const sent = (defense: string, change: (entry: Entry) => Partial<Entry>): Ranking => {
  const copy = JSON.parse(JSON.stringify(mine)) as Ranking;
  return {
    ...copy,
    entries: copy.entries.map((entry) => (entry.defense === defense ? { ...entry, ...change(entry) } : entry)),
  };
};

/** With the accuracy of one student of one seed changed, or without it. */
const withStudent = (attack: string, numbers: Record<string, number>) => (entry: Entry) => ({
  students: entry.students.map((each) => (each.attack === attack ? { ...each, accuracy: numbers } : each)),
});

describe('a ranking that was sent', () => {
  test('is the same as one of the same run, and as one of fewer seeds as far as they go', () => {
    const whole = checkedBy(
      mine,
      sent('none', () => ({})),
    );
    expect(whole).toMatchObject({ different: [], lacking: 0 });
    expect(whole.same).toBeGreaterThan(100);
    const part = checkedBy(first, mine);
    expect(part.different).toEqual([]);
    expect(part.same + part.lacking).toBe(whole.same);
    expect(part.lacking).toBeGreaterThan(50);
  });

  test('is not where a student, a teacher or a distance is another', () => {
    const other = sent('reversed', withStudent('inverseKd', { 0: 0.5, 1: 0.9 }));
    for (const here of [mine, first])
      expect(checkedBy(here, other).different).toContain(
        'inverseKd on reversed, small: accuracy, seed 0: 0.5, here 0.86',
      );
    const teacher = sent('reversed', ({ teacher }) => ({ teacher: { ...teacher, l1: { 0: 0, 1: 0 } } }));
    expect(checkedBy(first, teacher).different).toContain('teacher of reversed: L1 of answers, seed 0: 0, here 0.1');
  });

  test('is not where a student is left out', () => {
    const without = sent('reversed', ({ students }) => ({
      students: students.filter(({ attack }) => attack !== 'inverseKd'),
    }));
    expect(checkedBy(first, without).different).toContain(
      'inverseKd on reversed, small: accuracy, seed 0: left out, here 0.86',
    );
  });

  test('is not where its scores or costs are not those of its own numbers, whatever was made here', () => {
    const score = sent('reversed', ({ scores }) => ({
      scores: scores.map((each) => ({ ...each, accuracy: { ...each.accuracy, mean: 0.1 } })),
    }));
    const cost = sent('useless', ({ cost }) => ({ cost: { ...cost, toUndefended: { mean: 0, count: 2 } } }));
    for (const here of [mine, first]) {
      expect(checkedBy(here, score).different).toEqual([
        expect.stringMatching(/^entry 2, reversed, small: scores\.\d\.accuracy\.mean is 0\.1, of its own numbers 0\./),
      ]);
      expect(checkedBy(here, cost).different).toEqual([
        expect.stringMatching(/^entry 3, useless, small: cost\.toUndefended\./),
      ]);
    }
  });

  test('is not where its hash is another, of a run that was made here as a whole', () => {
    const [run] = mine.runs;
    const forged = {
      ...mine,
      runs: mine.runs.map((each) => ({ ...each, id: 'forged' })),
      entries: mine.entries.map((each) => ({ ...each, run: 'forged' })),
    };
    expect(checkedBy(mine, forged).different).toEqual([`the numbers of example have the hash forged, here ${run?.id}`]);
    expect(checkedBy(first, forged).different).toEqual([]);
  });

  /** The run that was sent with something else said of it. */
  const run = (change: Partial<Ranking['runs'][number]>): Ranking => ({
    ...mine,
    runs: mine.runs.map((each) => ({ ...each, ...change })),
  });

  test.each([
    ['another name', { experiment: 'renamed' }, 'the run of renamed: experiment is "renamed", here "example"'],
    [
      'another recipe',
      { learners: { teacher: { network: { name: 'plainCnn', params: {} } }, students: {} } },
      'the run of example: learners is {"teacher":{"network":{"name":"plainCnn","params":{}}},"students":{}}, here nothing',
    ],
    ['a budget', { budget: 5 }, 'the run of example: budget is 5, here nothing'],
    ['shorter schedules', { reduced: 'a tenth' }, 'the run of example: reduced is "a tenth", here nothing'],
    [
      'fewer attackers',
      { attackers: (mine.runs[0]?.attackers ?? []).slice(0, 1) },
      'the run of example: attackers.1 is nothing',
    ],
  ])('is not where its run has %s', (_, change, said) => {
    for (const here of [mine, first])
      expect(checkedBy(here, run(change)).different).toContainEqual(expect.stringContaining(said));
  });

  test('is not where a defence is left out', () => {
    const without = { ...mine, entries: mine.entries.filter(({ defense }) => defense !== 'useless') };
    for (const here of [mine, first]) expect(checkedBy(here, without).different).toContain('useless, small: left out');
  });

  test('is not where a defence or a student is said to be something else', () => {
    const told = sent('labelOnly', () => ({ exposes: 'weights' }));
    const role = sent('none', ({ students }) => ({
      students: students.map(({ role: _, ...each }) => each),
    }));
    const status = sent('useless', ({ students }) => ({
      students: students.map((each) => (each.attack === 'dfme' ? { ...each, status: 'n/a' as const } : each)),
    }));
    for (const here of [mine, first]) {
      expect(checkedBy(here, told).different).toContain('labelOnly, small: exposes is "weights", here "label"');
      expect(checkedBy(here, role).different).toContain('ls .1 on none, small: role is nothing, here "reference"');
      expect(checkedBy(here, status).different).toContain('dfme on useless, small: status is n/a, here done');
    }
  });

  test('holds other runs too, which were not made here', () => {
    const other = (name: string): Ranking => ({
      ...mine,
      runs: mine.runs.map((run) => ({ ...run, id: name, experiment: name, data: { ...run.data, fingerprint: name } })),
      entries: mine.entries.map((entry) => ({ ...entry, run: name, students: [] })),
    });
    const both = {
      ...mine,
      runs: [...other('other').runs, ...mine.runs],
      entries: [...other('other').entries, ...mine.entries],
    };
    const alone = checkedBy(mine, mine);
    expect(checkedBy(mine, { ...both, entries: merged([both]).entries })).toMatchObject({
      same: alone.same,
      different: [],
    });
  });

  test('of something else has nothing to compare', () => {
    expect(checkedBy({ ...mine, entries: [] }, mine)).toMatchObject({ same: 0, different: [] });
  });
});
