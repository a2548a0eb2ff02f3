import { Ajv } from 'ajv';
import { describe, expect, test } from 'vitest';
import { publishedSchema, rankingSchema, rankingSchemaPath } from '../../schemas/generate.js';
import { decodeRankable } from '../../src/cli/run-folder.js';
import { rankingCharts } from '../../src/report/charts/ranking.js';
import { csvOf, svgOf } from '../../src/report/charts/render.js';
import { rankingPage } from '../../src/report/html/ranking.js';
import { inMarkdown } from '../../src/report/markdown.js';
import { rankingLayout } from '../../src/report/ranking.js';
import { inText } from '../../src/report/table.js';
import { rankingOf } from '../../src/results/rank.js';
import type { Ranking } from '../../src/results/ranking.js';
import { ranked } from './ranked.js';

const ranking = rankingOf(ranked);
const empty: Ranking = { version: 1, runs: [], entries: [] };

describe('a ranking in words', () => {
  const { blocks, footnotes, notes } = rankingLayout(ranking);
  const [main, byThreat] = blocks;

  test('begins with the defence that leaves least, and says what the strongest attacker gets', () => {
    expect(main?.title).toBe(
      "student small, teacher big, on mnist; attackers: probabilities at most, with the victim's images",
    );
    expect(main?.rows.map(({ label }) => label)).toEqual(['labelOnly', 'reversed', 'useless', 'none']);
    expect(main?.rows[1]?.cells).toEqual([
      '98.00 ± 0.00 (±0.00)',
      '0.100 (0.250)',
      'inverseKd ¹',
      '88.00 ± 2.83',
      '43,200',
      '−3.00 (−15.71 to +9.71)',
      '+8.00 (−17.41 to +33.41)',
      '+5.00 (−7.71 to +17.71)',
      '+6.00 (−6.71 to +18.71)',
      '+28.00 (+2.59 to +53.41)',
      '',
    ]);
    expect(main?.rows[2]?.cells).toEqual(expect.arrayContaining(['kd(temperature 4) ²', 'reversed']));
    expect(main?.rows[3]?.cells[5]).toBe('');
    // Who asked for none, or of whom older versions do not tell.
    expect(main?.rows[3]?.cells[4]).toBe('–');
  });

  test('has the distance of a teacher that was trained anew to its own answers, and says so', () => {
    const of = rankingOf({
      ...ranked,
      victims: ranked.victims.map((each) => (each.defense === 'reversed' ? { ...each, retrained: true } : each)),
    });
    const entry = of.entries.find(({ defense }) => defense === 'reversed');
    expect(entry?.cost).toMatchObject({ ownL1: { mean: 0.1, count: 2 } });
    expect(entry?.cost).not.toHaveProperty('l1');
    const { blocks, footnotes } = rankingLayout(of);
    expect(blocks[0]?.rows[1]?.cells[1]).toBe('0.100 ¹ (0.250)');
    expect(footnotes[0]).toBe('To the clean answers of its own net, which was trained anew.');
    // It is dominated no more: beside the clean answers its own are not known.
    expect(blocks[0]?.rows[2]?.cells.at(-1)).toBe('');
  });

  test('has reservations: what is higher on the reported images, and what is missing', () => {
    expect(footnotes).toEqual([
      'On the reported images dfme is higher: 89.00.',
      'At least: of dfme numbers are missing.',
    ]);
    expect(notes.at(-1)).toMatch(
      /^example \([0-9a-f]{12}\): mnist, 20 % of the training images, 10 % .*; 2 seeds; 5 attackers;/,
    );
  });

  test('says it of each who may attack', () => {
    expect(byThreat?.columns.map(({ label, detail }) => `${label} ${detail}`)).toEqual([
      'probabilities without images',
      "label with the victim's images",
      "probabilities with the victim's images",
      "weights with the victim's images",
    ]);
    expect(byThreat?.rows.find(({ label }) => label === 'reversed')?.cells[3]).toMatch(
      /^88\.00 inverseKd: −7\.00 \(.*\)$/,
    );
  });

  test('of nothing has no table', () => {
    expect(rankingLayout(empty).blocks).toEqual([]);
    expect(rankingCharts(empty)).toEqual([]);
  });
});

test('it is drawn as text, Markdown and a page without scripts', async () => {
  expect(inText(rankingLayout(ranking), 200)).toContain('inverseKd ¹');
  expect(inMarkdown(rankingLayout(ranking))).toContain('| defence | teacher, %<br>(to undefended) |');
  const hostile = { ...ranked, defenses: [{ ...ranked.defenses[0], label: '<script>' }] } as typeof ranked;
  const page = await rankingPage(rankingOf(hostile));
  expect(page).not.toContain('<script');
  expect(page).toContain('&lt;script&gt;');
  expect(await rankingPage(ranking)).toContain('data:image/svg+xml');
});

describe('the chart', () => {
  const swept = rankingOf({
    ...ranked,
    defenses: ranked.defenses.map((each, i) =>
      i === 1 || i === 2 ? { ...each, name: 'mad', params: { epsilon: i, oracle: 'extreme' } } : each,
    ),
  });
  const [chart] = rankingCharts(swept);

  test('has a line of each defence over its strength, and the floor of labels alone', async () => {
    expect(chart?.spec.data.values).toMatchObject([
      { defense: 'none', line: 'none' },
      { defense: 'reversed', line: 'mad', strength: 1, teacher: 98, l1: 0.1, student: 88 },
      { defense: 'useless', line: 'mad', strength: 2, dominated_by: 'reversed' },
      { defense: 'labelOnly', line: 'labelOnly' },
    ]);
    expect(JSON.stringify(chart?.spec)).toContain('labels alone of the undefended teacher, 82.00 %');
    const svg = await svgOf(chart as NonNullable<typeof chart>);
    expect(svg).toContain('L1 of answers to clean ones');
    expect(svg).not.toContain('NaN');
    expect(csvOf(chart as NonNullable<typeof chart>)).toContain('reversed,mad,1,98,0.1,88,inverseKd,');
  });

  test('has no teacher that is of no use by its accuracy, beside which all others would be one point', async () => {
    const entries = ranking.entries.map((entry) => {
      const { teacher } = entry.cost;
      return entry.defense !== 'useless' || teacher === undefined
        ? entry
        : { ...entry, cost: { ...entry.cost, teacher: { ...teacher, mean: teacher.mean - 0.5 } } };
    });
    const [squeezed] = rankingCharts({ ...ranking, entries });
    const said = 'a teacher that lost more than 5 points: on the right alone';
    expect(JSON.stringify(squeezed?.spec)).toContain(said);
    expect(JSON.stringify(chart?.spec)).not.toContain(said);
    // Axes are named by tenths of a point where the useless one is not among them.
    const svg = await svgOf(squeezed as NonNullable<typeof squeezed>);
    expect(svg).not.toMatch(/>(50|60|70|80)</);
  });

  test('names those that have a place in neither half', () => {
    const entries = ranking.entries.map((entry) => {
      const { teacher, l1, ...cost } = entry.cost;
      return entry.defense !== 'useless' || teacher === undefined || l1 === undefined
        ? entry
        : { ...entry, cost: { ...cost, teacher: { ...teacher, mean: 0.5 } } };
    });
    const said = JSON.stringify(rankingCharts({ ...ranking, entries })[0]?.spec);
    expect(said).toContain('not drawn, of no L1 and a teacher of 50.00 %: useless, 90.00 %');
    expect(said).not.toContain('on the right alone');
  });

  test('says in words what it shows', () => {
    expect(chart?.description).toContain(
      'useless: teacher 97 %, L1 0.2, 90 % by kd(temperature 4), dominated by reversed.',
    );
  });
});

describe('a ranking.json', () => {
  const text = JSON.stringify(ranking);

  test('is what its schema says; `npm run schema` writes it', () => {
    const published = publishedSchema(rankingSchemaPath);
    expect(published).toEqual(rankingSchema(true));
    const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(published);
    for (const value of [ranking, empty]) {
      validate(JSON.parse(JSON.stringify(value)));
      expect(validate.errors).toBeNull();
    }
    expect(validate({ ...empty, version: 2 })).toBe(false);
  });

  test('is read again as it was, and refused where a field is another', () => {
    expect(decodeRankable(text, 'ranking.json')).toEqual(JSON.parse(text));
    const broken = JSON.parse(text);
    broken.entries[0].scores[0].accuracy.mean = 'much';
    expect(() => decodeRankable(JSON.stringify(broken), 'ranking.json')).toThrow(
      'ranking.json: entries: 0: scores: 0: accuracy',
    );
  });
});
