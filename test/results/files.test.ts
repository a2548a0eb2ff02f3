import { beforeEach, describe, expect, test } from 'vitest';
import { decodeMatrix } from '../../src/cli/run-folder.js';
import { inFile } from '../../src/core/check.js';
import { FailureError } from '../../src/core/errors.js';
import { type PlanFile, planSchema } from '../../src/harness/plan-file.js';
import { metrics } from '../../src/metrics/metric.js';
import { declared } from '../../src/metrics/quantity.js';
import { chartsOf } from '../../src/report/charts/charts.js';
import { csvOf } from '../../src/report/charts/render.js';
import { csv } from '../../src/report/csv.js';
import { diagnosticsCsv, diagnosticsLayout } from '../../src/report/diagnostics.js';
import { pageOf } from '../../src/report/html/model.js';
import { bodyView } from '../../src/report/html/view.js';
import { inMarkdown, markdown } from '../../src/report/markdown.js';
import { table } from '../../src/report/table.js';
import { tex } from '../../src/report/tex.js';
import { columnsOf } from '../../src/results/columns.js';
import { diagnosticsFile } from '../../src/results/files.js';
import type { Matrix } from '../../src/results/types.js';
import { changed, placesIn, wrong } from '../mutations.js';
import { example as diagnosed } from '../report/diagnostics.js';
import { runOf } from '../report/html/runs.js';
import { example, result } from '../report/matrix.js';

const mean = { mean: 0.5, sd: 0.1, interval: [0.4, 0.6], count: 2 } as const;
const measures = { images: 10, last: 0.5, best: 0.6, metrics: { accuracy: 0.5, klToVictim: 0.1 } };

/** A matrix in which every field is there. */
const full: Matrix = {
  ...example,
  attacks: example.attacks.map((attack) => ({ name: 'kd', role: 'attack', baseline: 'scratch', ...attack })),
  defenses: example.defenses.map((defense) => ({ name: 'none', role: 'identity', ...defense })),
  budget: 100,
  metrics: metrics.map((metric) => ({ ...declared(metric), ...(metric.only ? { only: metric.only } : {}) })),
  victims: example.victims.map((victim) => ({
    ...victim,
    ...{ accuracy: mean, toUndefended: mean, metrics: { klToVictim: mean }, published: 0.9 },
    seeds: [
      { seed: '0', warnings: ['w'], reason: 'r', measures, divergence: { kl: 1, normal: 2 }, queries: 1, seconds: 1 },
    ],
  })),
  cells: example.cells.map((cell) => ({
    ...cell,
    ...{ reason: 'r', accuracy: mean, toBaseline: mean, toLabelSmoothing: mean, toUndefended: mean, queries: mean },
    ...{ forward: mean, backward: mean, published: 0.9, metrics: { klToVictim: mean } },
    seeds: [
      result('0', 0.9, {
        ...{ reason: 'r', student: measures, teacherAccuracy: 0.9, toBaseline: 0.1, toLabelSmoothing: 0.1 },
        ...{ toUndefended: 0.1, queries: 1, forward: 1, backward: 1, budget: 1, seconds: 1, stepsPerSecond: 1 },
        ...{ answers: { l1: 1, kl: 1, changed: 1 }, trainImages: 1, warnings: ['w'] },
      }),
    ],
  })),
  scores: [
    {
      ...{ defense: 'none', student: 'small', attack: 'kd', harm: mean, teacherCost: mean, toLabelSmoothing: mean },
      ...{ undistillable: 'undecided', seedsToTell: 40, verdict: 'x' },
    },
  ],
  reproduction: [{ what: 'kd', paper: 0.9, ours: mean, difference: 0.1, tolerance: 0.01, verdict: 'within' }],
  effects: [{ what: 'kd', paper: -0.1, ours: mean, difference: 0.1, direction: 'opposite' }],
  reduced: '5 %',
  published: 'Table 1',
  provenance: example.provenance.map((each) => ({
    ...each,
    processor: 'x',
    git: { commit: 'abc', dirty: false },
  })),
};

const logs = [{ stage: 'seed-0/teacher', kind: 'teacher', epochs: [{ epoch: 0, metrics: { accuracy: 0.5 } }] }];

/** All that is made of a matrix. */
const shown = (of: Matrix): void => {
  table(of);
  for (const { name } of columnsOf(of)) table(of, { metric: name, undefended: true });
  markdown(of);
  csv(of);
  tex(of);
  const charts = chartsOf(of, logs);
  charts.forEach(csvOf);
  bodyView(pageOf(runOf({ matrix: of, charts })), { live: false });
};

/** Reads a value; what is refused is refused with the file and the field. */
const read = <Value>(decode: () => Value, field: string): Value | undefined => {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof FailureError)) throw error;
    const { kind, what, where, remedy } = error.failure;
    expect(kind).toBe('usage');
    expect(where).toMatch(/^run\/file\.json/);
    if (field !== 'version') expect(`${where}: ${what}`).toContain(field);
    expect(remedy).toContain('Run the experiment again');
    return undefined;
  }
};

// The test runner is told between two tests how far they are.
beforeEach(() => new Promise(setImmediate));

const asText = (path: readonly (string | number)[]): string => path.join('.');

describe('a matrix.json', () => {
  const places = placesIn(full);

  test('of version 0.1, whose verdict was whether a mean is below 0, has that of its seeds', () => {
    const [score] = full.scores ?? [];
    const { seedsToTell: _, ...old } = { ...score, undistillable: true };
    const read = decodeMatrix(JSON.stringify({ ...full, scores: [old] }), 'run/file.json');
    // 0.5 within 0.4 to 0.6.
    expect(read.scores?.[0]).toMatchObject({ undistillable: 'no', verdict: expect.stringContaining('Distillable: ') });
  });

  test('is read as it was written', () => {
    expect(decodeMatrix(JSON.stringify(full), 'run/file.json')).toEqual(JSON.parse(JSON.stringify(full)));
    shown(full);
    const infinite = changed(full, ['cells', 0, 'accuracy', 'mean'], Number.POSITIVE_INFINITY);
    expect(decodeMatrix(JSON.stringify(infinite), 'run/file.json').cells[0]?.accuracy?.mean).toBeNaN();
    expect(places.length).toBeGreaterThan(150);
  });

  test.each(places.map((path) => [asText(path), path] as const))('with another %s is refused or shown', (_, path) => {
    for (const value of wrong) {
      const text = JSON.stringify(changed(full, path, value));
      const field = String(path.findLast((part) => typeof part === 'string'));
      const of = read(() => decodeMatrix(text, 'run/file.json'), field);
      if (of !== undefined) shown(of);
    }
  });

  test('whose parameters are nested as deep as nothing that is written is refused, not overflowed by', () => {
    const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
    const text = (depth: number) =>
      JSON.stringify(changed(full, ['attacks', 0, 'params'], { a: 'deep' })).replace('"deep"', nested(depth));
    expect(read(() => decodeMatrix(text(100_000), 'run/file.json'), 'attacks')).toBeUndefined();
    shown(decodeMatrix(text(90), 'run/file.json'));
  });

  test.each(['', 'null', '5', '"x"', '[]', '{}', '{"version":1}', '{"version":2}', '{"version":1,"cells":{}}'])(
    '%j is none',
    (text) => {
      expect(() => decodeMatrix(text, 'run/file.json')).toThrow(/^run\/file\.json/);
    },
  );
});

const plan = {
  version: 1,
  experiment: 'example',
  stages: [{ id: 'a', label: 'seed-0/none/small/kd', kind: 'steal', inputs: { victim: 'b' }, parts: {} }],
  cells: [
    {
      ...{ attack: 'kd', defense: 'none', student: 'small', seed: '0', reason: 'r' },
      stages: { steal: 'a', measure: 'b', baseline: 'c', baselineMeasure: 'd', images: 'e', inspect: 'f' },
    },
  ],
  victims: [{ defense: 'none', seed: '0', train: 'a', evaluate: 'b', answer: 'c', measure: 'd', divergence: 'e' }],
  code: { a: { 'x.ts': 'b' } },
};

describe('a plan.json', () => {
  test.each(placesIn(plan).map((path) => [asText(path), path] as const))(
    'with another %s is refused or shown',
    (_, path) => {
      for (const value of [...wrong, '../../elsewhere']) {
        const field = String(path.findLast((part) => typeof part === 'string'));
        const file = JSON.parse(JSON.stringify(changed(plan, path, value)));
        const of = read(() => inFile('run/file.json', planSchema, file, 'Run the experiment again.'), field) as
          | PlanFile
          | undefined;
        if (of === undefined) continue;
        const stages = new Map([['a', { state: 'begun', logs: [{ fit: '', epochs: [] }] } as const]]);
        for (const matrix of [{ matrix: full }, {}])
          bodyView(pageOf(runOf({ ...matrix, plan: of, stages })), { live: true });
      }
    },
  );

  test('names no folder outside the store', () => {
    const outside = changed(plan, ['stages', 0, 'id'], '../../elsewhere');
    expect(() => inFile('p', planSchema, outside, '')).toThrow('p: stages: 0: id is "../../elsewhere"');
  });
});

describe('a diagnostics.json', () => {
  test.each(placesIn(diagnosed).map((path) => [asText(path), path] as const))(
    'with another %s is refused or shown',
    (_, path) => {
      for (const value of wrong) {
        const file = JSON.parse(JSON.stringify(changed(diagnosed, path, value)));
        const field = String(path.findLast((part) => typeof part === 'string'));
        const remedy = 'Run the experiment again.';
        // Of points and images that are not as many either may be what is wrong.
        const of = read(
          () => inFile('run/file.json', diagnosticsFile, file, remedy),
          field === 'points' ? 'maps' : field,
        );
        if (of === undefined) continue;
        diagnosticsCsv(of);
        inMarkdown(diagnosticsLayout(of));
        chartsOf(example, [], of).forEach(csvOf);
      }
    },
  );
});
