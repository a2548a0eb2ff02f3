import { expect, test } from 'vitest';
import { joined } from '../../src/results/join.js';
import type { Matrix } from '../../src/results/types.js';
import { refusal } from '../failures.js';
import { example, only } from '../report/matrix.js';

const part = (name: string, matrix: Matrix) => ({ name, matrix });
const halves = (change: (second: Matrix) => Matrix = (second) => second) =>
  [part('a', only(example, '0')), part('b', change(only(example, '1')))] as const;

test('seeds that were run apart are one run, with means over all of them', () => {
  const whole = joined([part('whole', example)]);
  const { reproduction: _, effects: __, published: ___, ...settings } = example;
  expect(whole).toMatchObject({ experiment: settings.experiment, seeds: ['0', '1'] });
  expect(joined([...halves()])).toEqual(whole);
  const kd = whole.cells.find(({ attack, defense }) => attack === 'kd' && defense === 'none');
  expect(kd?.accuracy).toMatchObject({
    count: 2,
    mean: example.cells.find((each) => each.attack === 'kd')?.accuracy?.mean,
  });
  expect(whole.best.find(({ defense }) => defense === 'none')?.attack).toBe(example.best[0]?.attack);
});

test('each metric by which a part was measured is one of the whole, whichever part comes first', () => {
  const extra = { name: 'extra', unit: 'share', better: 'higher', describe: 'More.' } as const;
  const measured = (of: Matrix): Matrix => ({
    ...of,
    metrics: [...(of.metrics ?? []), extra],
    cells: of.cells.map((cell) => ({
      ...cell,
      seeds: cell.seeds.map((each) => ({
        ...each,
        ...(each.student && { student: { ...each.student, metrics: { ...each.student.metrics, extra: 0.25 } } }),
      })),
    })),
  });
  const [a, b] = halves(measured);
  for (const parts of [[a, b] as const, [b, a] as const]) {
    const { metrics, cells } = joined([...parts]);
    expect(metrics?.map(({ name }) => name)).toContain('extra');
    expect(cells.find(({ attack, defense }) => attack === 'kd' && defense === 'none')?.metrics.extra).toMatchObject({
      mean: 0.25,
      count: 1,
    });
  }
});

test('why a seed has no numbers is kept, be it that another run has not begun it', () => {
  const saying = (status: 'failed' | 'not run', reason?: string) => (of: Matrix) => ({
    ...of,
    cells: of.cells.map((cell) => ({
      ...cell,
      seeds: [{ seed: '1', status, warnings: [], ...(reason === undefined ? {} : { reason }) }],
    })),
  });
  const [first, ...failed] = [...halves(saying('failed', 'it is at chance'))];
  const begun = part('begun', saying('not run')(only(example, '1')));
  const whole = joined([first, begun, ...failed]);
  for (const { seeds } of whole.cells)
    expect(seeds.find(({ seed }) => seed === '1')).toMatchObject({ status: 'failed', reason: 'it is at chance' });
});

test('of a seed that two runs have parts of, what is finished counts', () => {
  const nothing = (of: Matrix): Matrix => ({
    ...of,
    cells: of.cells.map((cell) => ({
      ...cell,
      seeds: cell.seeds.map(({ seed }) => ({ seed, status: 'not run', warnings: [] })),
    })),
  });
  const begun = part('begun', nothing(example));
  const whole = joined([part('whole', example)]);
  const done = ({ cells }: Matrix) => cells.filter(({ status }) => status === 'done').map(({ accuracy }) => accuracy);
  expect(done(joined([begun, part('whole', example)]))).toEqual(done(whole));
});

test('runs of other settings are refused by the names of these, and a seed that came out otherwise by its cell', () => {
  const other = halves((second) => ({ ...second, teacher: 'other', data: { ...second.data, fraction: 1 } }));
  expect(refusal(() => joined([...other]))).toMatchObject({
    kind: 'usage',
    where: 'a, b',
    what: 'they differ in data.fraction, teacher',
  });
  const again = {
    ...example,
    cells: example.cells.map((cell) => ({
      ...cell,
      seeds: cell.seeds.map((of) => ({
        ...of,
        ...(of.student && { student: { ...of.student, metrics: { accuracy: 0.5 } } }),
      })),
    })),
  };
  expect(refusal(() => joined([part('a', example), part('b', again)]))).toMatchObject({
    kind: 'usage',
    what: 'seed 0 was run more than once, with other numbers',
    where: 'scratch on none',
  });
});
