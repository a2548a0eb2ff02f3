import { describe, expect, test } from 'vitest';
import { matrixSchema } from '../../schemas/generate.js';
import { metrics, otherColumns } from '../../src/metrics/metric.js';
import { declared, headerOf } from '../../src/metrics/quantity.js';
import { chartsOf } from '../../src/report/charts/charts.js';
import { csv } from '../../src/report/csv.js';
import { pageOf } from '../../src/report/html/model.js';
import { report } from '../../src/report/html/report.js';
import { headingOf, sentenceOf } from '../../src/report/numbers.js';
import { columnsOf, metricsOf, victimColumnsOf } from '../../src/results/columns.js';
import { lookup } from '../../src/results/lookup.js';
import type { Matrix } from '../../src/results/types.js';
import { withDetails } from '../report/html/details.js';
import { runOf } from '../report/html/runs.js';
import { cell, example, result } from '../report/matrix.js';

/** A student and a victim of whom every metric has a number. */
const numbers = Object.fromEntries(metrics.map(({ name }, i) => [name, (i + 1) / 100]));
const measures = { images: 10_000, last: 0.5, best: 0.6, metrics: numbers };
const measured: Matrix = {
  ...example,
  metrics: metrics.map((metric) => ({ ...declared(metric), ...(metric.only ? { only: metric.only } : {}) })),
  cells: [cell('kd', 'none', [result('0', 0.9, { student: measures })])],
  victims: [{ defense: 'none', exposes: 'weights', seeds: [{ seed: '0', warnings: [], measures }] }],
};

describe('every metric', () => {
  const [head = '', line = ''] = csv(measured).split('\r\n');
  const inFile = Object.fromEntries(head.split(',').map((name, i) => [name, line.split(',')[i]]));
  const page = pageOf(runOf({ matrix: measured }));
  const linesOf = (id: string) => page.details.find((each) => each.id === id)?.seeds.lines ?? [];
  const schema = JSON.stringify(matrixSchema(true));

  test.each(metrics.map((metric) => [metric.name, metric] as const))(
    '%s is in files, details and schema',
    (name, metric) => {
      const value = numbers[name];
      const detail = { title: headingOf(metric), describe: sentenceOf(metric) };
      if (metric.only !== 'victim') {
        expect(inFile[headerOf(metric)]).toBe(String(value));
        expect(linesOf('cell/small/kd/none')).toContainEqual(expect.objectContaining(detail));
      }
      if (metric.only !== 'student' && name !== 'accuracy')
        expect(inFile[`teacher_${headerOf(metric)}`]).toBe(String(value));
      if (metric.only !== 'student') expect(linesOf('teacher/none')).toContainEqual(expect.objectContaining(detail));
      expect(page.glossary).toContainEqual([headingOf(metric), sentenceOf(metric)]);
      expect(schema).toContain(
        JSON.stringify({ [name]: { $ref: '#/definitions/Spread', description: metric.describe } }).slice(1, -1),
      );
    },
  );

  test('has its sentence on the page', async () => {
    const { html } = await report(runOf({ matrix: measured }));
    const whole = withDetails(html);
    for (const { describe: sentence } of metrics) expect(whole).toContain(sentence.replaceAll("'", '&#39;'));
  });
});

test('a metric called like what every object inherits is told of those that have it', () => {
  const named = { name: 'constructor', unit: 'number', better: 'neither', describe: 'x' } as const;
  const of = { ...measured, metrics: [...(measured.metrics ?? []), named] };
  const page = pageOf(runOf({ matrix: of }));
  expect(JSON.stringify(page.details)).not.toContain('constructor');
  expect(csv(of)).not.toContain('native code');
  expect(chartsOf(of, []).find(({ name }) => name === 'measures')?.description ?? '').not.toContain('constructor');
});

test('columns have names of their own, which no metric may take, and a sentence each', () => {
  for (const columns of [columnsOf(measured), victimColumnsOf(measured)]) {
    expect(new Set(columns.map(({ name }) => name)).size).toBe(columns.length);
    for (const { name, describe: sentence } of columns) expect(sentence, name).toMatch(/^[A-Z].{15,}\.$/);
  }
  const others = [...columnsOf({ metrics: [] }), ...victimColumnsOf({ metrics: [] })].map(({ name }) => name);
  expect(new Set(others)).toEqual(new Set(otherColumns));
});

test('a file keeps the places of the columns it has had, and new ones come last', () => {
  const own = { name: 'own', unit: 'number', better: 'neither', describe: 'A number.' } as const;
  // One that would be called as another column is called another way.
  const seed = { ...own, name: 'seedOf', title: 'seed' } as const;
  const head = (csv({ ...measured, metrics: [...metricsOf(measured), own, seed] }).split('\r\n')[0] ?? '').split(',');
  expect(head.slice(0, 22).join()).toBe(
    'experiment,data,images,checkpoint,teacher,student,attack,defense,seed,status,reason,accuracy,accuracy_last,accuracy_best,difference_to_baseline,difference_to_label_smoothing,difference_to_undefended,agreement_with_victim,kl_to_victim_nats,kl_to_victim_at_temperature_4_nats,calibration_error_15_bins,negative_log_likelihood_nats',
  );
  expect(head.slice(22, 34).join()).toBe(
    'evaluated_images,training_images,queries,seconds,steps_per_second,teacher_accuracy,teacher_accuracy_last,teacher_accuracy_best,teacher_calibration_error_15_bins,teacher_negative_log_likelihood_nats,teacher_kl_to_adversary_nats,normal_teachers_kl_nats',
  );
  expect(head.slice(head.indexOf('warnings') + 1)).toEqual(
    expect.arrayContaining(['top_5_accuracy', 'l1_to_victim', 'own', 'metric_seed', 'teacher_own', 'teacher_seed']),
  );
  expect(new Set(head).size).toBe(head.length);
});

test('a file of an older version, which does not say what it was measured by, has the built-in metrics', () => {
  expect(metricsOf(example)).toBe(metrics);
});

test('cells are found by whose they are, and by their seed where they have one', () => {
  const cells = ['0', '1'].map((seed) => ({ attack: 'kd', defense: 'none', student: 'small', seed }));
  expect(lookup(cells)('kd', 'none', 'small', '1')).toBe(cells[1]);
  expect(lookup(cells)('kd', 'none', 'small')).toBeUndefined();
  const at = lookup(example.cells);
  for (const each of example.cells) expect(at(each.attack, each.defense, each.student)).toBe(each);
  expect(at(undefined, 'none', 'small')).toBeUndefined();
  const twice = [example.cells[0], { ...example.cells[0] }] as typeof example.cells;
  expect(lookup(twice)('scratch', 'none', 'small')).toBe(twice[0]);
});
