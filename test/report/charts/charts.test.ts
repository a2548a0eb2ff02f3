import { PNG } from 'pngjs';
import * as vega from 'vega';
import { compile } from 'vega-lite';
import { describe, expect, test } from 'vitest';
import type { Row } from '../../../src/report/charts/chart.js';
import { type Chart, chartsOf, type TrainingLog } from '../../../src/report/charts/charts.js';
import { diagnosticsCharts } from '../../../src/report/charts/diagnostics.js';
import { heatMap } from '../../../src/report/charts/heat-map.js';
import { measuresChart } from '../../../src/report/charts/measures.js';
import { parameterCharts } from '../../../src/report/charts/parameters.js';
import { csvOf, pngOf, svgOf } from '../../../src/report/charts/render.js';
import { tradeoffChart } from '../../../src/report/charts/tradeoff.js';
import { trainingCharts } from '../../../src/report/charts/training.js';
import type { Matrix } from '../../../src/results/types.js';
import { example as diagnosed, hostile as hostileTeacher } from '../diagnostics.js';
import { example } from '../matrix.js';
import { attacksOf, matrixOf, omegas } from './matrices.js';

const rowsOf = (chart: Chart | undefined): readonly Row[] | undefined => chart?.spec.data.values;

/** In percent, of two values that are 0.02 apart. */
const sd = Number((100 * Math.hypot(0.01, 0.01)).toFixed(4));
const only = (charts: readonly Chart[]): Chart => {
  expect(charts).toHaveLength(1);
  return charts[0] as Chart;
};
/** Rows without what is the same in all of them. */
const brief = (chart: Chart) => rowsOf(chart)?.map(({ line, value, accuracy }) => [line, value, accuracy]);
const marks = ({ spec }: Chart): string =>
  JSON.stringify('layer' in spec ? spec.layer.map((each) => ('mark' in each ? each.mark : undefined)) : undefined);
const scaleOf = ({ spec }: Chart) => /"field":"value",.*?"scale":(\{.*?\})/.exec(JSON.stringify(spec))?.[1];

describe('what else is measured', () => {
  const both = { agreement: { mean: 0.9, sd: 0.01, count: 2 }, klToVictim: { mean: 0.25, count: 1 } };
  const of: Matrix = {
    ...example,
    cells: example.cells.map((each) => (each.accuracy === undefined ? each : { ...each, metrics: both })),
  };

  test('is a panel a metric, with a point a cell', () => {
    const chart = only(measuresChart(of));
    const rows = rowsOf(chart) ?? [];
    expect(rows.filter(({ attack, defense }) => attack === 'kd' && defense === 'none')).toEqual([
      {
        ...{ metric: 'agreement with victim, %', attack: 'kd', defense: 'none', value: 90, low: 89, high: 91 },
        ...{ said: '90.00 ± 1.00', seeds: 2 },
      },
      { metric: 'KL to victim, nats', attack: 'kd', defense: 'none', value: 0.25, said: '0.250', seeds: 1 },
    ]);
    expect(chart.description).toContain('KL to victim, nats: Mean KL(victim ‖ student)');
    expect(chartsOf(of, []).map(({ name }) => name)).toContain('measures');
  });

  test('is drawn of numbers only, and by student where there are several', () => {
    expect(measuresChart(example)).toEqual([]);
    const infinite = { ...of, cells: [{ ...of.cells[3], metrics: { klToVictim: { mean: Number.NaN, count: 1 } } }] };
    expect(measuresChart(infinite as Matrix)).toEqual([]);
    const [first] = rowsOf(only(measuresChart({ ...of, students: ['small', 'large'] }))) ?? [];
    expect(first?.attack).toBe('scratch, small');
  });

  test('is what vega-lite compiles without a warning', () => {
    const said: unknown[] = [];
    const note = (...args: readonly unknown[]) => {
      said.push(args);
      return logger;
    };
    const logger = { level: () => 0, error: note, warn: note, info: () => logger, debug: () => logger };
    compile(only(measuresChart(of)).spec, { logger: logger as never });
    expect(said).toEqual([]);
  });
});

describe('accuracy by a parameter', () => {
  test('of a defence: the student, its teacher and the student trained alone, mean and deviation over seeds', () => {
    const chart = only(parameterCharts(omegas()));
    expect(chart.title).toBe('Accuracy by omega of nasty');
    const row = (line: string, role: string, value: number, accuracy: number, deviation = sd) => ({
      panel: 'small',
      line,
      role,
      value,
      accuracy,
      sd: deviation,
      low: Number((accuracy - deviation).toFixed(4)),
      high: Number((accuracy + deviation).toFixed(4)),
      seeds: 2,
    });
    expect(rowsOf(chart)).toEqual([
      row('kd', 'student', 0, 75),
      row('kd', 'student', 0.01, 74),
      row('kd', 'student', 0.1, 61),
      row('teacher', 'teacher', 0, 81),
      row('teacher', 'teacher', 0.01, 80, 0),
      row('teacher', 'teacher', 0.1, 79),
      row('trained alone', 'baseline', 0, 71),
      row('trained alone', 'baseline', 0.01, 71),
      row('trained alone', 'baseline', 0.1, 71),
    ]);
    expect(marks(chart)).toContain('area');
    expect(chart.description).toContain('small, kd: 75.00 % at 0, 61.00 % at 0.1.');
    expect(chart.description).toContain('mean ± standard deviation over 2 seeds');
  });

  test('of an attack: a line a column, by each value of what else differs; honest students that are alike are one line', () => {
    const kd = (temperature: number, alpha: number, none: number) => ({
      params: { temperature, alpha, fraction: 1 },
      none,
      nasty: none - 0.1,
      alone: 0.7,
    });
    const chart = only(
      parameterCharts(
        attacksOf({
          a: kd(20, 0.1, 0.8),
          b: kd(1, 0.1, 0.6),
          c: kd(4, 0.1, 0.7),
          d: kd(1, 0.9, 0.5),
          e: kd(4, 0.9, 0.4),
        }),
      ),
    );
    expect(chart.title).toBe('Accuracy by temperature of kd');
    expect(brief(chart)).toEqual([
      ['none, alpha 0.1', 1, 60],
      ['none, alpha 0.9', 1, 50],
      ['none, alpha 0.1', 4, 70],
      ['none, alpha 0.9', 4, 40],
      ['none, alpha 0.1', 20, 80],
      ['nasty, alpha 0.1', 1, 50],
      ['nasty, alpha 0.9', 1, 40],
      ['nasty, alpha 0.1', 4, 60],
      ['nasty, alpha 0.9', 4, 30],
      ['nasty, alpha 0.1', 20, 70],
      ['trained alone', 1, 70],
      ['trained alone', 4, 70],
      ['trained alone', 20, 70],
    ]);
  });

  test('the student trained alone on as many images has its own value at each fraction', () => {
    const kd = (fraction: number, alone: number) => ({ params: { fraction }, none: alone + 0.1, nasty: alone, alone });
    const chart = only(parameterCharts(attacksOf({ a: kd(0.1, 0.4), b: kd(0.5, 0.5), c: kd(0.9, 0.6) })));
    expect(
      rowsOf(chart)
        ?.filter(({ role }) => role === 'baseline')
        .map(({ accuracy }) => accuracy),
    ).toEqual([40, 50, 60]);
  });

  test('budgets of attacks are one chart for all, by the answers that were asked for', () => {
    const kd = (budget: number) => ({ params: { budget }, none: budget / 1e4, nasty: budget / 2e4, alone: 0.7 });
    const matrix = attacksOf({ a: kd(1000), b: kd(2000), c: kd(4000) });
    const asked = matrix.cells.map((cell) => ({
      ...cell,
      queries: { mean: cell.attack === 'c' ? 3968 : 1000, count: 1 },
    }));
    const chart = only(parameterCharts({ ...matrix, cells: asked }));
    expect(chart.title).toBe('Accuracy by number of queries');
    expect(rowsOf(chart)?.map(({ panel, line, value, accuracy }) => [panel, line, value, accuracy])).toEqual([
      ['none', 'kd', 1000, 10],
      ['none', 'kd', 1000, 20],
      ['none', 'kd', 3968, 40],
      ['nasty', 'kd', 1000, 5],
      ['nasty', 'kd', 1000, 10],
      ['nasty', 'kd', 3968, 20],
    ]);
    expect(JSON.stringify(chart.spec)).toContain('"type":"log"');
    // A black box that was not asked has no place there.
    expect(parameterCharts(matrix)).toEqual([]);
  });

  test('one seed has no band', () => {
    const kd = (alpha: number) => ({ params: { alpha }, none: 0.7, nasty: 0.6, alone: 0.65 });
    const chart = only(parameterCharts(attacksOf({ a: kd(0.1), b: kd(0.5), c: kd(0.9) })));
    expect(marks(chart)).not.toContain('area');
    expect(csvOf(chart).split('\r\n')[0]).toBe('panel,line,role,value,accuracy,seeds');
    expect(chart.description).not.toContain('standard deviation');
  });

  test.each<[readonly number[], string]>([
    [[1, 4, 20], '"zero":false'],
    [[0, 0.01, 0.04], '"zero":false'],
    [[0.001, 0.01, 0.1], '"type":"log"'],
    [[0, 0.001, 0.1], '"type":"symlog","constant":0.001'],
    [[-100, 0, 1], '"type":"symlog","constant":1'],
  ])('values of %j have the axis %s', (values, scale) => {
    const attacks = values.map((alpha) => [`kd ${alpha}`, { params: { alpha }, none: 0.7, nasty: 0.6, alone: 0.65 }]);
    expect(scaleOf(only(parameterCharts(attacksOf(Object.fromEntries(attacks)))))).toContain(scale);
  });

  test('two numbers are no course, and neither is what never changes', () => {
    const kd = (alpha: number) => ({ params: { alpha, temperature: 4 }, none: 0.7, nasty: 0.6, alone: 0.65 });
    expect(parameterCharts(attacksOf({ a: kd(0.1), b: kd(0.9) }))).toEqual([]);
    expect(parameterCharts(example)).toEqual([]);
  });

  test('networks are dots by name, and a number within them is a course of its own', () => {
    const nasty = (adversary: unknown, accuracy: number) => ({
      name: 'nasty',
      params: { adversary },
      teacher: [accuracy],
    });
    const net = (width: number) => ({ name: 'plainCnn', params: { width } });
    const of = (nets: readonly unknown[]) => {
      const labels = nets.map((_, i) => `nasty ${i}`);
      return matrixOf({
        defenses: Object.fromEntries(nets.map((each, i) => [labels[i], nasty(each, 0.8 + i / 100)])),
        attacks: {
          kd: { name: 'kd', accuracy: Object.fromEntries(labels.map((label, i) => [label, [0.7 + i / 100]])) },
        },
      });
    };
    const [byNet, ...others] = parameterCharts(of([null, net(8), { name: 'resNeXt29', params: {} }]));
    expect(others).toEqual([]);
    expect(brief(byNet as Chart)).toEqual([
      ['kd', 'default', 70],
      ['kd', 'plainCnn(width 8)', 71],
      ['kd', 'resNeXt29', 72],
      ['teacher', 'default', 80],
      ['teacher', 'plainCnn(width 8)', 81],
      ['teacher', 'resNeXt29', 82],
    ]);
    expect(marks(byNet as Chart)).not.toContain('line');
    const titles = parameterCharts(of([net(8), net(16), net(32)])).map(({ title }) => title);
    expect(titles).toEqual(['Accuracy by adversary of nasty', 'Accuracy by width of nasty']);
  });

  test('what is not finished is left out, and what an older version wrote has no sweeps', () => {
    const whole = omegas();
    const half: Matrix = {
      ...whole,
      cells: whole.cells.map(({ accuracy, ...each }) =>
        each.attack === 'kd' && each.defense === 'nasty(omega 0.01)'
          ? { ...each, seeds: [] }
          : ({ ...each, accuracy } as typeof each),
      ),
      victims: whole.victims.slice(0, 2),
    };
    expect(brief(only(parameterCharts(half)))).toEqual([
      ['kd', 0, 75],
      ['kd', 0.1, 61],
      ['teacher', 0, 81],
      ['trained alone', 0, 71],
      ['trained alone', 0.1, 71],
    ]);
    expect(parameterCharts({ ...whole, defenses: whole.defenses.map(({ name, ...each }) => each) })).toEqual([]);
  });
});

test('utility against distillability: a point a defence, and the student trained alone', () => {
  const chart = only(tradeoffChart(omegas()));
  expect(rowsOf(chart)).toHaveLength(4);
  expect(rowsOf(chart)?.[3]).toEqual({
    student: 'small',
    defense: 'nasty(omega 0.1)',
    teacher: 79,
    teacher_sd: sd,
    teacher_low: expect.closeTo(79 - sd, 4),
    teacher_high: expect.closeTo(79 + sd, 4),
    best_student: 61,
    best_student_sd: sd,
    best_student_low: expect.closeTo(61 - sd, 4),
    best_student_high: expect.closeTo(61 + sd, 4),
    attack: 'kd',
    seeds: 2,
  });
  expect(JSON.stringify(chart.spec)).toContain('{"student":"small","alone":71}');
  // All in one place: each has its name all the same.
  const crowd = Array.from({ length: 40 }, (_, i) => `a defence with a name of its own, ${i}`);
  const crowded = matrixOf({
    defenses: Object.fromEntries(crowd.map((label) => [label, { name: 'nasty', teacher: [0.8, 0.82] }])),
    attacks: { kd: { name: 'kd', accuracy: Object.fromEntries(crowd.map((label) => [label, [0.7, 0.72]])) } },
  });
  const drawn = JSON.stringify(only(tradeoffChart(crowded)).spec);
  for (const label of crowd) expect(drawn).toMatch(new RegExp(`"defense":"${label}","teacher":81,[^}]*"at":`));
  expect(tradeoffChart({ ...omegas(), best: [] })).toEqual([]);
  expect(tradeoffChart({ ...omegas(), victims: [] })).toEqual([]);
});

test('the heat map has every cell, with its difference where there is one and its status where there is no number', () => {
  const chart = only(heatMap(example));
  expect(rowsOf(chart)).toHaveLength(example.cells.length);
  expect(rowsOf(chart)?.find(({ attack, defense }) => attack === 'kd' && defense === 'nasty')).toEqual({
    student: 'small',
    attack: 'kd',
    defense: 'nasty',
    status: 'done',
    accuracy: 85,
    seeds: 1,
    difference: -5,
    number: '85.00',
    sign: '−5.00',
  });
  expect(rowsOf(chart)?.find(({ attack, defense }) => attack === 'kd' && defense === 'a|b')).toEqual({
    student: 'small',
    attack: 'kd',
    defense: 'a|b',
    status: 'n/a',
    number: 'n/a',
    sign: '',
  });
  expect(chart.description).toContain('broken on none, small: failed.');
});

const log = (
  stage: string,
  kind: string,
  accuracies: readonly number[],
  validation?: readonly number[],
): TrainingLog => ({
  stage,
  kind,
  epochs: accuracies.map((accuracy, epoch) => ({
    epoch,
    metrics: { loss: 1, accuracy },
    ...(validation === undefined ? {} : { validation: validation[epoch] as number }),
  })),
});

describe('training curves', () => {
  test('of teachers by defence and of students by victim, on training and held-out images, over seeds', () => {
    const charts = trainingCharts(example, [
      log('seed-0/teacher', 'teacher', [0.5, 0.7], [0.4, 0.6]),
      log('seed-1/teacher', 'teacher', [0.6], [0.5]),
      log('seed-0/nasty/teacher', 'protect', [0.3]),
      log('seed-0/none/small/kd', 'steal', [0.2]),
      log('seed-0/small/scratch', 'steal', [0.1]),
    ]);
    const rows = charts.map((chart) =>
      rowsOf(chart)?.map(({ panel, line, value, accuracy, seeds }) => [panel, line, value, accuracy, seeds]),
    );
    expect(charts.map(({ title }) => title)).toEqual(['Training of teachers', 'Training of students']);
    expect(rows).toEqual([
      [
        ['training images', 'teacher', 1, 55, 2],
        ['training images', 'teacher', 2, 70, 1],
        ['training images', 'nasty/teacher', 1, 30, 1],
        ['held-out images', 'teacher', 1, 45, 2],
        ['held-out images', 'teacher', 2, 60, 1],
      ],
      [
        ['training images: none/small', 'kd', 1, 20, 1],
        ['training images: small', 'scratch', 1, 10, 1],
      ],
    ]);
  });

  test('long ones are thinned out, and end with the last epoch', () => {
    const epochs = Array.from({ length: 1001 }, (_, i) => i / 1001);
    const chart = only(trainingCharts(example, [log('seed-0/teacher', 'teacher', epochs)]));
    expect(rowsOf(chart)?.length).toBeLessThanOrEqual(201);
    expect(rowsOf(chart)?.at(-1)?.value).toBe(1001);
  });

  test('of more epochs than a call takes arguments are drawn', () => {
    const accuracies = Array.from({ length: 200 }, (_, epoch) => epoch / 200);
    const logs = Array.from({ length: 700 }, (_, i) => log(`seed-0/none/small/kd${i}`, 'steal', accuracies));
    expect(rowsOf(only(trainingCharts(example, logs)))).toHaveLength(700 * 200);
  });

  test('of students without labels and without images are of their loss', () => {
    const losses = [1.5, 0.25].map((loss, epoch) => ({ epoch, metrics: { loss } }));
    const chart = only(
      trainingCharts(example, [
        { stage: 'seed-0/none/small/hardLabel', kind: 'steal', epochs: losses },
        { stage: 'seed-1/none/small/hardLabel', kind: 'steal', epochs: losses.slice(0, 1) },
        { stage: 'seed-0/none/small/dafl', kind: 'steal', epochs: [{ epoch: 0, metrics: { loss: Number.NaN } }] },
      ]),
    );
    expect(chart.title).toBe('Loss of students without labels');
    expect(rowsOf(chart)?.map(({ line, value, loss, sd }) => [line, value, loss, sd])).toEqual([
      ['hardLabel', 1, 1.5, 0],
      ['hardLabel', 2, 0.25, undefined],
    ]);
    expect(chart.description).toContain('hardLabel: 1.50 at 1, 0.250 at 2');
  });

  test('logs without numbers, of other stages and of no epoch draw nothing', () => {
    expect(
      trainingCharts(example, [
        { stage: 'seed-0/x/small/dafl', kind: 'steal', epochs: [{ epoch: 0, metrics: {} }] },
        { stage: 'seed-0/teacher', kind: 'teacher', epochs: [] },
        log('seed-0/teacher/evaluate', 'evaluate', [0.5]),
      ]),
    ).toEqual([]);
  });
});

describe('what teachers answer', () => {
  const titled = (title: RegExp, of = diagnosed): Chart | undefined =>
    diagnosticsCharts(of).find((chart) => title.test(chart.title));
  const { responses: _, maps: __, ...bare } = diagnosed;
  /** The two teachers by other names. */
  const renamed = ([one, other]: readonly [string, string]): typeof diagnosed =>
    JSON.parse(JSON.stringify(diagnosed), (name, value) =>
      name !== 'defense' ? value : value === 'none' ? one : other,
    );

  test('by temperature: a point a teacher, temperature and measure, of the normal teacher without KL', () => {
    const rows = rowsOf(titled(/temperature$/)) as readonly Row[];
    expect(rows).toHaveLength(4 + 3);
    expect(rows.filter(({ measure }) => String(measure).startsWith('KL'))).toEqual([
      { teacher: hostileTeacher, temperature: 4, measure: 'KL from the normal teacher (nats)', mean: 1.25, seeds: 1 },
    ]);
  });

  test('by temperature over seeds has a deviation to either side', () => {
    const teachers = diagnosed.teachers.map((teacher) => ({
      ...teacher,
      answers: teacher.answers.map((answer) => ({ ...answer, entropy: { mean: 0.5, sd: 0.125, count: 2 } })),
    }));
    const [row] = rowsOf(titled(/temperature$/, { ...diagnosed, teachers })) as readonly Row[];
    expect(row).toMatchObject({ mean: 0.5, sd: 0.125, low: 0.375, high: 0.625, seeds: 2 });
  });

  test('by temperature are drawn without a warning where no seed is a second one', async () => {
    const { spec } = titled(/temperature$/) as Chart;
    const said: unknown[] = [];
    const logger = vega.logger(vega.Warn, 'log', (_method, _level, args) => said.push(args));
    const view = new vega.View(vega.parse(compile(spec).spec), { renderer: 'none', logger });
    await view.runAsync();
    view.finalize();
    expect(said).toEqual([]);
  });

  test('to single images: a bar a class, and classes of one name apart', () => {
    const rows = rowsOf(titled(/at temperature 4$/)) as readonly Row[];
    expect(rows).toHaveLength(6);
    expect(new Set(rows.map((row) => row.class))).toEqual(new Set([hostileTeacher, '1 cat', '2 cat']));
    expect(rows[0]).toMatchObject({ teacher: 'none', softened: 0.45, bar: "the image's class" });
    expect(rowsOf(titled(/^Logits/))?.[0]).toMatchObject({ logit: 2 });
  });

  test('maps have a point an image, coloured by class; of 200 classes no legend', () => {
    expect(rowsOf(titled(/^Where/))).toHaveLength(8);
    const classes = Array.from({ length: 200 }, (_, i) => `class ${i}`);
    const hasLegend = (of: typeof diagnosed) => !JSON.stringify(titled(/^Where/, of)?.spec).includes('"legend":null');
    expect(hasLegend({ ...diagnosed, classes })).toBe(false);
    expect(hasLegend(diagnosed)).toBe(true);
  });

  test('of seven teachers the first six are shown, and it is said', () => {
    const teachers = Array.from({ length: 7 }, (_, i) =>
      diagnosed.teachers.slice(0, 1).map((teacher) => ({ ...teacher, defense: `no ${i}` })),
    ).flat();
    const subtitle = JSON.stringify(titled(/^Where/, { ...diagnosed, teachers })?.spec.title);
    expect(subtitle).toContain('the first 6 of 7 teachers');
  });

  test('stand in the order of the run, whatever their names', async () => {
    const chart = titled(/^Where/, renamed(['zebra', 'ant'])) as Chart;
    const svg = await svgOf(chart);
    expect(svg.indexOf('>zebra<')).toBeGreaterThan(0);
    expect(svg.indexOf('>zebra<')).toBeLessThan(svg.indexOf('>ant<'));
  });

  test('without images there are no bars and no maps', () => {
    expect(diagnosticsCharts(bare).map(({ title }) => title)).toEqual(["Teachers' answers by temperature"]);
    expect(diagnosticsCharts({ ...bare, teachers: [] })).toEqual([]);
  });
});

const hostile = [
  `<script>alert("x")</script>`,
  `a/b\\c'"`,
  '../../etc',
  '🦊 & Söhne',
  'line\nbreak\u0001\ud800',
  'CON',
];

/** A matrix in which everything that has a name has a hostile one. */
const hostileMatrix = (): Matrix => {
  const [attack, defense, word, fox, broken] = hostile as [string, string, string, string, string];
  const labels = [defense, word, fox];
  return {
    ...matrixOf({
      student: broken,
      defenses: Object.fromEntries(
        labels.map((label, i) => [label, { name: attack, params: { [fox]: i, [word]: 'same' }, teacher: [0.8] }]),
      ),
      attacks: {
        [attack]: { name: attack, accuracy: Object.fromEntries(labels.map((label) => [label, [0.7]])), alone: [0.75] },
      },
    }),
    teacher: attack,
    data: { name: fox, fingerprint: '', fraction: 1, validation: 0 },
  };
};

const hostileLogs = hostile.map((name) => log(`seed-0/${name}/${name}/${name}`, 'steal', [0.5, 0.6], [0.5, 0.5]));

const all: readonly (readonly [string, readonly Chart[]])[] = [
  ['a sweep', chartsOf(omegas(), [])],
  ['a matrix with failures', chartsOf(example, [log('seed-0/teacher', 'teacher', [0.5, 0.7], [0.4, 0.6])])],
  ['hostile names', chartsOf(hostileMatrix(), hostileLogs)],
  ['diagnosed teachers', chartsOf(omegas(), [], diagnosed)],
];

describe.each(all)('the charts of %s', (_, charts) => {
  test('have names of their own that every file system takes', () => {
    expect(charts.length).toBeGreaterThan(1);
    for (const { name } of charts) expect(name).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
    expect(new Set(charts.map(({ name }) => name)).size).toBe(charts.length);
  });

  test('are JSON, and what vega-lite makes of them needs no warning', () => {
    for (const { spec } of charts) {
      expect(JSON.parse(JSON.stringify(spec))).toEqual(spec);
      const said: unknown[] = [];
      const note = (...args: readonly unknown[]) => {
        said.push(args);
        return logger;
      };
      const logger = { level: () => 0, error: note, warn: note, info: () => logger, debug: () => logger };
      compile(spec, { logger: logger as never });
      expect(said).toEqual([]);
    }
  });

  test('say nothing to the pointer that is taken for a title or the address of a picture', () => {
    const tips = (value: unknown): readonly (string | undefined)[] => {
      if (typeof value !== 'object' || value === null) return [];
      const own = 'tooltip' in value && Array.isArray(value.tooltip) ? value.tooltip : [];
      return [...own.map(({ field, title }) => title ?? field), ...Object.values(value).flatMap(tips)];
    };
    expect(charts.flatMap(({ spec }) => tips(spec)).filter((name) => ['title', 'image'].includes(name ?? ''))).toEqual(
      [],
    );
  });

  test('are drawn as SVG and as PNG of twice the size', async () => {
    for (const chart of charts) {
      const svg = await svgOf(chart);
      const [, width, height] = /<svg[^>]* width="(\d+)" height="(\d+)"/.exec(svg) ?? [];
      const png = PNG.sync.read(await pngOf(svg));
      expect([png.width, png.height]).toEqual([2 * Number(width), 2 * Number(height)]);
      expect(png.data.includes(0), 'ink').toBe(true);
    }
  });
});

test('names are text in an SVG, whatever is in them', async () => {
  const [chart] = heatMap(hostileMatrix());
  const svg = await svgOf(chart as Chart);
  expect(svg).not.toContain('<script');
  expect(svg).toContain('&lt;script&gt;');
  expect(svg).toContain('🦊 &amp; Söhne');
  expect(svg).not.toMatch(/[^\P{Cc}\n]|\p{Surrogate}/u);
});

test.each(['constructor', 'toString', '__proto__', 'hasOwnProperty', 'if'])(
  '%s is a name like any other',
  async (name) => {
    const renamed = (was: string): Matrix => JSON.parse(JSON.stringify(example).replaceAll(`"${was}"`, `"${name}"`));
    for (const was of ['kd', 'none', 'nasty', 'small', 'scratch']) {
      const of = renamed(was);
      const logs = ['teacher', 'steal'].map((kind) => ({
        stage: kind === 'teacher' ? `seed-0/${name}` : `seed-0/${name}/${name}`,
        kind,
        epochs: [0, 1].map((epoch) => ({ epoch, metrics: { accuracy: epoch / 2 } })),
      }));
      const charts = chartsOf(of, logs);
      expect(charts.map((chart) => chart.name)).toEqual(chartsOf(example, logs).map((chart) => chart.name));
      for (const chart of charts) expect(await svgOf(chart)).toContain('<svg');
      const [map] = charts;
      expect(csvOf(map as Chart)).toContain(`${name},`);
      expect(csvOf(map as Chart)).not.toContain('\u00a0');
      if (was === 'small') continue;
      // The axes have their names in the matrix's order.
      const svg = await svgOf(map as Chart);
      const said = [...svg.matchAll(/>([^<>]+)<\/text>/g)].map(([, text = '']) => text.trim());
      for (const labels of [of.attacks, of.defenses].map((all) => all.map(({ label }) => label)))
        expect(said.filter((text) => labels.includes(text)).filter((text, i, all) => all.indexOf(text) === i)).toEqual(
          expect.arrayContaining([...labels]),
        );
      const places = of.defenses.map(({ label }) => said.indexOf(label));
      expect(places).toEqual([...places].sort((a, b) => a - b));
    }
  },
);

test('the data of a chart are RFC 4180: quotes doubled, lines ended by CR and LF, nothing where there is nothing', () => {
  const [chart] = heatMap(hostileMatrix());
  const text = csvOf(chart as Chart);
  expect(text.split('\r\n')[0]).toBe('student,attack,defense,status,accuracy,seeds,difference,number,sign');
  expect(text.split('\r\n')[1]).toBe(
    `"line\nbreak\u0001\ud800","<script>alert(""x"")</script>","a/b\\c'""",done,70,1,-5,70.00,−5.00`,
  );
  expect(csvOf(only(heatMap(example)))).toContain('small,kd,a|b,n/a,,,,n/a,,\r\n');
});

test('of nothing there are no charts', () => {
  const empty: Matrix = {
    ...example,
    attacks: [],
    defenses: [],
    students: [],
    seeds: [],
    victims: [],
    cells: [],
    best: [],
  };
  expect(chartsOf(empty, [])).toEqual([]);
  const notRun: Matrix = {
    ...omegas(),
    cells: omegas().cells.map(({ attack, defense, student }) => ({
      attack,
      defense,
      student,
      status: 'not run',
      seeds: [],
      metrics: {},
    })),
    victims: [],
    best: [],
  };
  expect(chartsOf(notRun, [])).toEqual([]);
});
