import { describe, expect, it } from 'vitest';
import { cellId, victimId } from '../../../src/report/html/addresses.js';
import { curveSvg, curvesOf } from '../../../src/report/html/curves.js';
import { flattened } from '../../../src/report/html/facts.js';
import { pageOf } from '../../../src/report/html/model.js';
import { classOf } from '../../../src/report/html/scale.js';
import { readLog } from '../../../src/report/logs.js';
import { cell, example, result } from '../matrix.js';
import { crossed, hostile, log, plan, runOf } from './runs.js';

const page = pageOf(runOf({ matrix: example }));
const shown = (attack: string, defense: string, of = page) => {
  const table = of.tables[0];
  const column = table?.columns.findIndex(({ label }) => label === defense) ?? -1;
  return table?.rows.find(({ label }) => label === attack)?.cells[column];
};
const detail = (id: string, of = page) => of.details.find((each) => each.id === id);

describe('the page of a run', () => {
  it('stands under a title that is given, or the experiment has, or its name', () => {
    const titled = runOf({ matrix: { ...example, title: 'Table 1' } });
    expect([page.title, pageOf(titled).title, pageOf(titled, 'Mine').title]).toEqual(['example', 'Table 1', 'Mine']);
  });

  it('says in words what was tested', () => {
    expect(page.lead.join(' ')).toBe(
      '3 attacks try to copy the teacher big into small, once behind each of 3 defences. 1 honest student trained without the teacher shows what stealing must beat. Accuracy is on test images of mnist. Every number is a mean over up to 2 seeds.',
    );
    const single = { ...example, seeds: ['0'], cells: [cell('kd', 'none', [result('0', 0.9)])] };
    expect(pageOf(runOf({ matrix: single })).lead.join(' ')).toContain(
      'Every number is from 1 seed, which cannot tell a small difference from chance.',
    );
    const begun = { ...example, cells: [cell('kd', 'none', [result('0', 0.9)])] };
    expect(pageOf(runOf({ matrix: begun })).lead.at(-1)).toMatch(/^Every number is from 1 of 2 seeds, which cannot/);
    const whole = { ...example, cells: [cell('kd', 'none', [result('0', 0.9), result('1', 0.9)])] };
    expect(pageOf(runOf({ matrix: whole })).lead.at(-1)).toBe('Every number is a mean over 2 seeds.');
  });

  it('says from which defence the most is stolen, and from which the least', () => {
    expect(page.conclusions).toEqual([]);
    const best = [
      ...example.best,
      { defense: 'nasty', student: 'small', attack: 'kd', accuracy: { mean: 0.85, count: 1 } },
    ];
    expect(pageOf(runOf({ matrix: { ...example, best } })).conclusions).toEqual([
      'The most is stolen from none: kd reaches 93.00 %. The least is stolen from nasty: kd reaches 85.00 %, and the teacher gives up 1.00 points for it. The seeds do not tell the two apart.',
    ]);
    const two = { ...example, best, students: ['small', 'large'] };
    expect(pageOf(runOf({ matrix: two })).conclusions[0]).toContain('The most is stolen into small from none');
  });

  it('says of each defence what it costs and what the best attack on it reaches', () => {
    expect(page.findings.map(({ defense, teacher }) => [defense, teacher])).toEqual([
      ['none', 'teacher 98.00 %'],
      ['nasty', 'teacher 97.00 % (−1.00)'],
      ['a|b', 'teacher failed'],
    ]);
    expect(page.findings[0]?.attacks).toMatchObject([
      { attack: 'kd', accuracy: '93.00 %', sentence: '2.00 points better than the same student trained alone' },
    ]);
    expect(page.findings[1]?.attacks).toEqual([]);
    expect(page.findings.every(({ answers }) => answers === undefined)).toBe(true);
    const of = (mean: number) => ({ mean, count: 2 });
    const metrics = { answerL1: of(0.959), answerKl: of(1.645), calibrationError: of(0.1638) };
    const victims = example.victims.map((victim) => ({ ...victim, metrics }));
    expect(pageOf(runOf({ matrix: { ...example, victims } })).findings[1]?.answers).toBe(
      'answers L1 0.96 and KL 1.65 nats from clean ones; calibration error 16.38 %',
    );
    const best = [{ defense: 'nasty', student: 'small', attack: 'kd', accuracy: { mean: 0.85, count: 1 } }];
    expect(pageOf(runOf({ matrix: { ...example, best } })).findings[1]?.attacks[0]?.sentence).toBe(
      '5.00 points worse than the same student trained alone, on one seed',
    );
  });

  it('shows a mean, its deviation and the difference, and why there is none', () => {
    expect(shown('kd', 'none')).toMatchObject({ mean: '93.00', deviation: '± 0.00', difference: 0.02, value: 0.93 });
    expect(shown('kd', 'nasty')).toMatchObject({ mean: '85.00', reason: '1 of 2 seeds: seed 1 loss, "said" NaN' });
    expect(shown('kd', 'a|b')).toMatchObject({ status: 'n/a', reason: 'kd needs probabilities; a|b exposes label' });
    expect(shown('partialKd', 'nasty')).toMatchObject({ status: 'not run' });
    expect(shown('broken', 'none')).toMatchObject({ status: 'failed', reason: 'no | good' });
    expect(shown('broken', 'nasty')).toBeUndefined();
    expect(page.tables[0]?.columns[2]).toMatchObject({ status: 'failed', reason: 'seed 0: loss became NaN' });
    expect(page.tables[0]?.best).toEqual([{ attack: 'kd', mean: '93.00' }, undefined, undefined]);
  });

  it('has a detail for each cell and each teacher, each with an address of its own', () => {
    const ids = page.details.map(({ id }) => id);
    expect(new Set(ids).size).toBe(example.cells.length + 3);
    expect(ids).toContain('cell/small/kd/a%7Cb');
    const { head, lines } = detail('cell/small/kd/nasty')?.seeds ?? { head: [], lines: [] };
    expect(head).toEqual(['0', '1']);
    expect(lines.slice(0, 2)).toEqual([
      { title: 'status', values: ['done', 'failed: loss, "said" NaN'] },
      { title: 'accuracy, %', describe: expect.stringContaining('Higher is better.'), values: ['85.00', '–'] },
    ]);
    expect(detail(victimId('nasty'))?.warnings).toEqual(['seed 0: not nasty: too small']);
    expect(page.warnings).toEqual(['nasty, seed 0: not nasty: too small']);
  });

  it('shows a cell whose labels are in no list', () => {
    const foreign = cell('other', 'elsewhere', [result('9', 0.5)], { student: 'stranger' });
    const of = pageOf(runOf({ matrix: { ...example, cells: [...example.cells, foreign] } }));
    expect(of.tables.map(({ student }) => student)).toEqual(['small', 'stranger']);
    expect(of.tables[1]?.rows.map(({ label }) => label)).toEqual(['other']);
    expect(of.tables[1]?.columns.map(({ label, status }) => [label, status]).at(-1)).toEqual(['elsewhere', 'not run']);
    expect(of.tables[1]?.rows[0]?.cells.at(-1)?.reason).toBe(
      'foreign: the run lists no attack other, no defence elsewhere, no student stranger',
    );
    expect(detail(cellId(foreign), of)?.title).toBe('other on elsewhere');
  });

  it('does not take for foreign what was added to the plan since', () => {
    const added = { attack: 'added', defense: 'none', student: 'small', seed: '0', reason: 'needs weights' };
    const of = pageOf(runOf({ matrix: example, plan: { ...plan, cells: [...plan.cells, added] } }));
    expect(shown('added', 'none', of)).toMatchObject({ status: 'n/a', reason: 'needs weights' });
  });

  it('says with a number of a paper where it is from, and has a minus sign below zero', () => {
    const published = 'Table 1; quoted from memory, unverified';
    const accuracy = { mean: 0.01, sd: 0.02, interval: [-0.02, 0.04], count: 2 } as const;
    const cells = [cell('kd', 'none', [result('0', 0.01)], { accuracy, published: 0.9 })];
    const victims = example.victims.slice(0, 1).map((victim) => ({ ...victim, published: 0.99 }));
    const of = pageOf(runOf({ matrix: { ...example, cells, victims, published } }));
    const facts = (id: string) => Object.fromEntries(detail(id, of)?.facts ?? []);
    expect(facts('cell/small/kd/none')).toMatchObject({
      'accuracy, %': '1.00 ± 2.00 (95 % interval −2.00 to 4.00)',
      'a paper reports': `90.00 % (${published})`,
    });
    expect(facts(victimId('none'))['a paper reports']).toBe(`99.00 % (${published})`);
  });

  it('is a page also of nothing, of a matrix without cells and of one that lacks fields', () => {
    expect(pageOf(runOf()).lead).toEqual(['There is nothing in this run yet.']);
    expect(pageOf(runOf()).title).toBe('example');
    expect(pageOf(runOf({ matrix: { ...example, cells: [], victims: [], best: [] } })).tables[0]?.rows).toEqual([]);
    expect(pageOf(runOf({ matrix: { version: 1, cells: [] } as never })).tables).toEqual([]);
  });

  it('shows the plan of a run that has no matrix yet, and how far it is', () => {
    const of = pageOf(
      runOf({
        plan,
        stages: new Map([
          ['teacher-0', { state: 'finished', logs: [{ fit: '', epochs: log }] }],
          ['kd-0', { state: 'begun', logs: [{ fit: '', epochs: log.slice(0, 2) }] }],
        ]),
      }),
    );
    expect(of.lead).toEqual([
      'Planned: 1 attack, honest students among them, on 1 defence, over 2 seeds. Nothing is measured yet.',
    ]);
    expect(of.progress).toEqual({
      finished: 1,
      of: 4,
      begun: ['seed-0/none/small/kd: 2 epochs, accuracy 60.00 %'],
    });
    expect(shown('kd', 'none', of)).toMatchObject({ status: 'not run' });
    expect(detail('cell/small/kd/none', of)?.curves[0]?.curves.map(({ metric }) => metric)).toEqual([
      'accuracy',
      'loss',
    ]);
    expect(detail('teacher/none', of)?.curves[0]?.curves).toHaveLength(2);
  });

  it('says nothing of progress when all is done, or nothing is left to be made', () => {
    const { attacks, ...rest } = example;
    const decided = example.cells.filter(
      ({ status, seeds }) => status !== 'not run' && seeds.every((of) => of.status !== 'not run'),
    );
    const labels = new Set(decided.map(({ attack }) => attack));
    const over = { ...rest, attacks: attacks.filter(({ label }) => labels.has(label)), cells: decided };
    expect(pageOf(runOf({ matrix: over, plan: { ...plan, cells: [] } })).progress).toBeUndefined();
    const begun = { ...over, cells: over.cells.map((of) => ({ ...of, status: 'not run' as const })) };
    expect(pageOf(runOf({ matrix: begun, plan: { ...plan, cells: [] } })).progress).toBeDefined();
    const stages = new Map(plan.stages.map(({ id }) => [id, { state: 'finished' as const, logs: [] }]));
    expect(pageOf(runOf({ plan, stages })).progress).toBeUndefined();
  });

  it('puts published numbers beside its own, with a verdict on those that were run', () => {
    expect(page.reproduction).toBeUndefined();
    const { reproduction } = pageOf(
      runOf({
        matrix: {
          ...example,
          published: 'Ma et al.; quoted from memory, unverified',
          reduced: 'fewer epochs',
          reproduction: [
            {
              what: 'kd',
              paper: 0.95,
              ours: { mean: 0.93, sd: 0.01, count: 2 },
              difference: -0.02,
              tolerance: 0.01,
              verdict: 'outside',
            },
            { what: 'dafl', paper: 0.95, tolerance: 0.01, verdict: 'not run' },
          ],
          effects: [
            { what: 'a − b', paper: -0.1, ours: { mean: -0.2, count: 1 }, difference: -0.1, direction: 'same' },
          ],
        },
      }),
    );
    expect(reproduction).toEqual({
      source: 'Ma et al.; quoted from memory, unverified',
      reduced: 'fewer epochs',
      numbers: [
        {
          what: 'kd',
          paper: '95.00',
          ours: '93.00 ± 1.00',
          difference: '−2.00',
          verdict: { good: false, text: 'outside ± 1.00' },
        },
        { what: 'dafl', paper: '95.00', ours: 'not run', difference: '' },
      ],
      effects: [
        {
          what: 'a − b',
          paper: '−10.00',
          ours: '−20.00',
          difference: '−10.00',
          verdict: { good: true, text: 'same direction, on one seed' },
        },
      ],
    });
  });

  it('keeps hostile names apart', () => {
    const of = pageOf(runOf({ matrix: crossed(hostile) }));
    const ids = of.details.map(({ id }) => id);
    expect(new Set(ids).size).toBe(hostile.length ** 2 + hostile.length);
    expect(ids.every((id) => /^(cell|teacher)(\/[\w.~!*'()%-]+)+$/.test(id))).toBe(true);
  });

  it('shows parameters by their path, a plugin by its name', () => {
    expect(
      flattened({ a: 1, none: null, list: [1, 2], empty: [], net: { name: 'cnn', params: { width: 4 } } }),
    ).toEqual([
      ['a', '1'],
      ['none', 'none'],
      ['list', '1, 2'],
      ['empty', 'none'],
      ['net › name', 'cnn'],
      ['net › width', '4'],
    ]);
  });
});

describe('a log', () => {
  it('is read as far as it is written', () => {
    const whole = '{"epoch":0,"metrics":{"loss":1,"broken":null},"validation":0.5}';
    expect(readLog(`${whole}\n{"epoch":1,"metrics":{"lo`)).toEqual([
      { epoch: 0, metrics: { loss: 1 }, validation: 0.5 },
    ]);
    expect(readLog('')).toEqual([]);
    expect(readLog('null\n[]\n{"epoch":"1"}\n')).toEqual([]);
  });
});

describe('curves', () => {
  it('are a chart a metric and a line a seed, with accuracy on held-out images dashed', () => {
    const [own] = curvesOf([
      { seed: '0', logs: [{ fit: '', epochs: log }] },
      { seed: '1', logs: [{ fit: '', epochs: log.slice(0, 1) }] },
    ]);
    expect(own?.curves.map(({ metric, lines }) => [metric, lines.map(({ label }) => label)])).toEqual([
      ['accuracy', ['seed 0', 'seed 0, held out', 'seed 1', 'seed 1, held out']],
      ['loss', ['seed 0', 'seed 1']],
    ]);
    expect(own?.curves[0]?.lines.map(({ dashed }) => dashed)).toEqual([false, true, false, true]);
  });

  it('are drawn also of one point, of equal values and of none that is finite', () => {
    const flat = curvesOf([
      {
        seed: '0',
        logs: [{ fit: 'images-0', epochs: [{ epoch: 0, metrics: { a: 1, b: Number.POSITIVE_INFINITY } }] }],
      },
    ]);
    expect(flat).toMatchObject([{ fit: 'images-0', curves: [{ metric: 'a' }] }]);
    const [curve] = flat[0]?.curves ?? [];
    if (curve === undefined) throw new Error('no curve');
    const { text } = curveSvg(curve);
    const [line] = curve.lines;
    const below = curveSvg({ metric: 'kl', lines: line === undefined ? [] : [{ ...line, points: [[0, -0.00002]] }] });
    expect(below.text).toContain('>−2.0e−5<');
    expect(text).toContain('<circle');
    expect(text).not.toMatch(/NaN|Infinity/);
  });

  it('have no more points than can be seen, the first and the last among them', () => {
    const epochs = Array.from({ length: 10_000 }, (_, epoch) => ({ epoch, metrics: { loss: epoch } }));
    const [loss] = curvesOf([{ seed: '0', logs: [{ fit: '', epochs }] }])[0]?.curves ?? [];
    const points = loss?.lines[0]?.points ?? [];
    expect(points).toHaveLength(80);
    expect([points[0], points.at(-1)]).toEqual([
      [0, 0],
      [9999, 9999],
    ]);
  });
});

describe('the colours of differences', () => {
  it('go from next to nothing in four steps to both sides', () => {
    expect([0, 0.002, 0.0025, 0.02, 0.05, 0.5].map(classOf)).toEqual(['d0', 'd0', 'd1', 'd2', 'd3', 'd4']);
    expect([-0.002, -0.5].map(classOf)).toEqual(['d0', 'd-4']);
    expect([undefined, Number.NaN].map(classOf)).toEqual(['', '']);
  });
});
