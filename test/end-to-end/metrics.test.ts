import { expect, test } from 'vitest';
import { ownFrames } from '../../src/core/errors.js';
import { accuracyOverViews, experiment, kd, learner, type Metric, none, scratch } from '../../src/index.js';
import { csv } from '../../src/report/csv.js';
import { pageOf } from '../../src/report/html/model.js';
import { report } from '../../src/report/html/report.js';
import { table } from '../../src/report/table.js';
import { runOf } from '../report/html/runs.js';
import { brierScore } from './fixtures/brier.js';
import { data, recipe, tiny } from './fixtures/plugins.js';
import { ran, temporaryFolder } from './helpers.js';

const of = (metrics: readonly Metric[]) =>
  experiment({
    name: 'measured',
    data,
    teacher: learner(tiny(), recipe()),
    students: [learner(tiny(2), recipe(2))],
    defenses: [none()],
    attacks: [scratch(), kd()],
    seeds: [0],
    metrics,
  });

test('a user’s own metric is measured of what is stored, and is in every table and file', async () => {
  const root = temporaryFolder();
  await ran(of([]), root);
  const { by, matrix } = await ran(of([brierScore]), root);
  // Nothing is trained or evaluated again.
  for (const [label, { status }] of Object.entries(by))
    expect([label, status]).toEqual([label, label.endsWith('/measure/brierScore') ? 'done' : 'cached']);

  const score = matrix.cells.find(({ attack }) => attack === 'kd')?.metrics.brierScore?.mean as number;
  expect(score).toBeGreaterThan(0);
  expect(score).toBeLessThan(2);
  expect(matrix.victims[0]?.metrics?.brierScore?.mean).toBeGreaterThan(0);
  const file = JSON.parse(JSON.stringify(matrix));
  expect(file.metrics.at(-1)).toEqual({
    name: 'brierScore',
    title: 'brier score',
    unit: 'number',
    better: 'lower',
    describe: brierScore.describe,
  });
  const [head = '', ...lines] = csv(file).split('\r\n');
  const place = head.split(',').indexOf('brier_score');
  expect(lines.map((line) => line.split(',')[place])).toContain(String(score));
  expect(head.split(',')).toContain('teacher_brier_score');
  const run = runOf({ matrix: file });
  const detail = pageOf(run).details.find(({ id }) => id === 'cell/tiny/kd/none');
  expect(Object.fromEntries(detail?.facts ?? [])['brier score']).toBe(score.toFixed(3));
  const { html } = await report(run);
  expect(html).toContain(brierScore.describe);
  expect(html).toContain('brier score');
  expect(table(file, { metric: 'brierScore' })).toMatch(new RegExp(`^kd +${score.toFixed(3)}$`, 'm'));

  // Taking it out again makes nothing: the measures without it are still there.
  const without = await ran(of([]), root);
  expect(Object.values(without.by).every(({ status }) => status === 'cached')).toBe(true);
});

test('a metric that fails names itself and its line, and leaves all other numbers as they are', async () => {
  const root = temporaryFolder();
  const throwing = () => {
    throw new Error('out of range');
  };
  const broken = { ...brierScore, name: 'broken', of: throwing };
  const { by, matrix } = await ran(of([broken, brierScore]), root);
  const why = 'the metric broken threw: out of range';
  const failed = by['seed-0/none/tiny/kd/measure/broken'];
  expect(failed).toMatchObject({ status: 'failed', failure: { kind: 'plugin', what: why } });
  const trace = failed?.status === 'failed' ? failed.failure.trace : undefined;
  expect(ownFrames(trace ?? '')[0]).toMatch(/^(.+ \()?test\/end-to-end\/metrics\.test\.ts:\d+:\d+\)?$/);

  const cell = matrix.cells.find(({ attack }) => attack === 'kd');
  expect(cell?.status).toBe('done');
  expect(Object.keys(cell?.metrics ?? {})).toEqual(expect.arrayContaining(['accuracy', 'brierScore']));
  expect(cell?.metrics).not.toHaveProperty('broken');
  expect(cell?.seeds[0]?.warnings).toEqual([why]);
  const victim = matrix.victims[0];
  expect(victim?.accuracy?.mean).toBeGreaterThan(0);
  expect(victim?.seeds[0]).toMatchObject({ warnings: [why] });

  // Mended, it alone is measured.
  const mended = await ran(of([{ ...broken, of: () => 1 }, brierScore]), root);
  for (const [label, { status }] of Object.entries(mended.by))
    expect([label, status]).toEqual([label, label.endsWith('/measure/broken') ? 'done' : 'cached']);
  expect(mended.matrix.cells.map(({ metrics }) => metrics.broken?.mean)).toEqual([1, 1]);
});

test('accuracy over views evaluates models once more, and trains none', async () => {
  const root = temporaryFolder();
  const plainly = await ran(of([]), root);
  const { by, matrix } = await ran(of([accuracyOverViews]), root);
  for (const [label, { status }] of Object.entries(by))
    expect([label, status]).toEqual([label, /\/(measure(\/\w+)?|evaluate)$/.test(label) ? 'done' : 'cached']);
  for (const [i, cell] of matrix.cells.entries()) {
    expect(cell.metrics.accuracyOverViews?.mean).toBeGreaterThan(0);
    expect(cell.metrics.accuracyOverViews?.mean).toBeLessThanOrEqual(1);
    // What else is known of them is as before.
    expect(cell.metrics.accuracy).toEqual(plainly.matrix.cells[i]?.metrics.accuracy);
  }
  expect(matrix.victims[0]?.metrics?.accuracyOverViews?.mean).toBeGreaterThan(0);
});
