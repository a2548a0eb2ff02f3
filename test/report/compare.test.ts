import { describe, expect, test } from 'vitest';
import { comparisonHtml, comparisonMarkdown, comparisonText } from '../../src/report/compare.js';
import { compared } from '../../src/results/compare.js';
import { studentQuantile } from '../../src/results/spread.js';
import type { Matrix } from '../../src/results/types.js';
import { cell, example, result } from './matrix.js';

/** The same with another temperature, and kd on none better by 0.01 and 0.03. */
const other: Matrix = {
  ...example,
  attacks: example.attacks.map((attack) =>
    attack.label === 'kd' ? { ...attack, params: { temperature: 20 } } : attack,
  ),
  cells: [
    ...example.cells.filter(({ attack, defense }) => attack !== 'kd' || defense !== 'none'),
    cell('kd', 'none', [result('0', 0.94), result('1', 0.96)]),
    cell('dkd', 'none', [result('0', 0.9)]),
  ],
};

const both = compared([
  { name: 'run', matrix: example },
  { name: 'run', matrix: other },
]);

describe('runs beside each other', () => {
  test('have names of their own, and the settings in which they differ and no others', () => {
    expect(both.runs).toEqual(['run', 'run (2)']);
    expect(both.settings).toEqual([{ name: 'attack kd.params.temperature', values: [undefined, '20'] }]);
    const trainedFor = (epochs: number) => ({
      ...example,
      learners: {
        teacher: {
          network: { name: 'plainCnn', params: {} },
          recipe: { epochs, optimizer: { source: String(epochs) } },
        },
        students: { small: { network: { name: 'plainCnn', params: { width: epochs } } } },
      },
    });
    const trained = compared([3, 4].map((epochs) => ({ name: 'a', matrix: trainedFor(epochs) })));
    expect(trained.settings).toEqual([
      { name: 'trained teacher.recipe.epochs', values: ['3', '4'] },
      { name: 'student small.network.params.width', values: ['3', '4'] },
    ]);
    const untold = [
      { name: 'a', matrix: trainedFor(3) },
      { name: 'b', matrix: example },
    ];
    expect(compared(untold).settings).toEqual([]);
    expect(
      compared([
        { name: 'a', matrix: example },
        { name: 'b', matrix: example },
      ]).settings,
    ).toEqual([]);
  });

  test('have their cells side by side, with differences seed by seed', () => {
    const at = (attack: string, defense: string) =>
      both.cells.find((each) => each.attack === attack && each.defense === defense)?.of;
    const [first, second] = at('kd', 'none') ?? [];
    expect(first?.accuracy.mean).toBeCloseTo(0.93, 12);
    expect(first).not.toHaveProperty('difference');
    // 0.01 and 0.03.
    const half = (studentQuantile(1) * Math.SQRT2 * 0.01) / Math.SQRT2;
    expect(second?.difference).toMatchObject({ mean: expect.closeTo(0.02, 12), count: 2 });
    expect(second?.difference?.interval).toEqual([expect.closeTo(0.02 - half, 9), expect.closeTo(0.02 + half, 9)]);
    // What the first run has not stands beside nothing.
    expect(at('dkd', 'none')).toEqual([undefined, { accuracy: { mean: 0.9, count: 1 } }]);
    // A seed that failed in both is no pair.
    expect(at('kd', 'nasty')?.[1]?.difference).toEqual({ mean: 0, count: 1 });
  });

  test('are shown as text, Markdown and a page', () => {
    const text = comparisonText(both);
    expect(text).toMatch(/^attack kd\.params\.temperature +\S+ +20$/m);
    expect(text).toMatch(/^kd on none +93\.00 ± 0\.00 +95\.00 ± 1\.41 \(\+2\.00, −10\.71 to \+14\.71\)$/m);
    expect(comparisonMarkdown(both)).toContain('| dkd on none | – | 90.00 |');
    const hostile = compared(['<script>', 'b'].map((name) => ({ name, matrix: example })));
    const page = comparisonHtml(hostile);
    expect(page).toContain('<bdi>&lt;script&gt;</bdi>');
    expect(page).not.toContain('<script');
    expect(page).toContain('None.');
  });

  test('fit the terminal: what is too wide for a row stands below each other, and no word of it is lost', () => {
    const long = compared(
      ['a run of the first kind', 'a run of the other kind'].map((name, i) => ({
        name,
        matrix: {
          ...(i === 0 ? example : other),
          students: i === 0 ? ['small'] : Array.from({ length: 40 }, (_, at) => `net-${at}`),
        },
      })),
    );
    for (const width of [200, 120, 80, 40, 20]) {
      const lines = comparisonText(long, width).split('\n');
      expect(Math.max(...lines.map((line) => [...line].length))).toBeLessThanOrEqual(width);
      for (const word of ['net-0', 'net-39', '+2.00', 'seed.']) expect(lines.join('\n')).toContain(word);
    }
    expect(comparisonText(long, 120)).toContain(
      [
        'setting                        a run of the first kind   a run of the other kind',
        'students                       ["small"]                 ["net-0","net-1","net-2","net-3","net-4","net-5","net-6",',
        `${' '.repeat(57)}"net-7","net-8","net-9","net-10","net-11","net-12","net-13",`,
      ].join('\n'),
    );
    expect(comparisonText(long, 60)).toContain(
      [
        'kd on none',
        '   a run of the first     93.00 ± 0.00',
        '   kind',
        '   a run of the other     95.00 ± 1.41 (+2.00, −10.71 to',
        '   kind                   +14.71)',
      ].join('\n'),
    );
  });

  test('have no row of which no run has a number, and say so', () => {
    const drawn = [comparisonText(both), comparisonMarkdown(both), comparisonHtml(both)];
    for (const text of drawn) {
      // kd and partialKd on a|b, partialKd on nasty, and what is broken; the teacher of a|b.
      expect(text).toContain('4 rows left out, of which no run has a number.');
      expect(text).toContain('1 row left out, of which no run has a number.');
      expect(text).not.toContain('broken');
    }
    const nothing = compared(
      ['a', 'b'].map((name) => ({ name, matrix: { ...example, cells: example.cells.slice(-1) } })),
    );
    expect(comparisonMarkdown(nothing)).toContain('## Student small\n\n1 row left out');
  });
});
