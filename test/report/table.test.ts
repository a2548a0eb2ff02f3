import { describe, expect, it } from 'vitest';
import { csv, field } from '../../src/report/csv.js';
import { escaped, markdown } from '../../src/report/markdown.js';
import { mark, meanAndDeviation } from '../../src/report/numbers.js';
import { table } from '../../src/report/table.js';
import type { Matrix, Score } from '../../src/results/types.js';
import { cell, example, result } from './matrix.js';

describe('numbers', () => {
  it('are shown with their deviation, where there is one', () => {
    expect(meanAndDeviation({ mean: 0.9, sd: 0.01, count: 2 })).toBe('90.00 ± 1.00');
    expect(meanAndDeviation({ mean: 0.9, count: 1 })).toBe('90.00');
    expect(mark(12)).toBe('¹²');
  });
});

describe('the table of a terminal', () => {
  const lines = table(example, { width: 200 }).split('\n');
  const row = (label: string): string => lines.find((line) => line.startsWith(label)) ?? '';

  it('has a row an attack and a column a defence', () => {
    expect(lines).toContain('example: made by hand');
    expect(lines).toContain('student small, teacher big');
    const head = lines.findIndex((line) => line.includes('nasty') && line.includes('none'));
    expect(lines[head + 1]).toMatch(/teacher 98\.00 ± 0\.10 {3,}teacher 97\.00 ± 0\.20 \(−1\.00\) +teacher failed ¹$/);
    expect(row('scratch')).toMatch(/91\.00 ± 1\.41 +91\.00 ± 1\.41 +91\.00 ± 1\.41$/);
    expect(row('kd')).toMatch(/93\.00 ± 0\.00 \(\+2\.00\) +85\.00 \(−5\.00\) ² +n\/a ³$/);
    expect(row('partialKd')).toMatch(/80\.00 ± 0\.00 \(\+10\.00\) +not run +n\/a ⁴$/);
    expect(row('broken')).toMatch(/failed ⁵$/);
    expect(row('best attack')).toMatch(/kd 93\.00$/);
  });

  it('says why there is no number, and what a reader must know of those there are', () => {
    expect(lines).toContain('¹ teacher of a|b, seed 0: loss became NaN');
    expect(lines).toContain('² 1 of 2 seeds: seed 1 loss, "said" NaN');
    expect(lines).toContain('³ kd needs probabilities; a|b exposes label');
    expect(lines).toContain('Accuracy in % on 10,000 test images, after the last step.');
    expect(lines).toContain('Mean ± standard deviation over 2 seeds (0, 1).');
    expect(lines).toContain('partialKd is compared with scratch on 10 % of the images: 70.00.');
    expect(lines).toContain('Queries to the victim, in images a student: kd 32,400.');
    expect(lines).toContain('nasty: KL to the adversary 3.00 nats (between two normal teachers: 0.500).');
    expect(lines).toContain('Warning: nasty, seed 0: not nasty: too small');
    expect(lines.join('\n')).toContain('tensorflow-cpu 2.21.0, 2 threads, Node 20.0.0 on linux-x64');
  });

  it('says once what an attack warns of on several defences and in several seeds', () => {
    const warned = (defense: string, all: readonly (readonly string[])[]) =>
      cell(
        'kd',
        defense,
        all.map((warnings, i) => ({ ...result(`${i}`, 0.9), warnings })),
      );
    const cells = [
      warned('none', [['took 3 steps', 'stopped'], ['took 4 steps']]),
      warned('nasty', [['took 3 steps'], ['took 5 steps']]),
      warned('a|b', [['took 7 steps'], []]),
    ];
    expect(
      table({ ...example, cells })
        .split('\n')
        .filter((line) => line.startsWith('Warning: kd')),
    ).toEqual([
      'Warning: kd on none, nasty, seed 0 (much the same: seed 1): took 3 steps',
      'Warning: kd on none, seed 0: stopped',
      'Warning: kd on a|b, seed 0: took 7 steps',
    ]);
  });

  it('says that one seed has no spread, and when the test images were left alone', () => {
    const one = table({ ...example, seeds: ['0'], report: 'validation', select: 'best' });
    expect(one).toContain('1 seed (0): no spread.');
    const early = { ...example, cells: example.cells.map((cell) => ({ ...cell, seeds: cell.seeds.slice(0, 1) })) };
    expect(table(early)).toContain('1 of 2 seeds (0): no spread.');
    expect(one).toContain('held-out training images (validation), not on test images');
    expect(one).toContain('of the checkpoint best on held-out images');
  });

  it('shows differences to the undefended teacher when asked to', () => {
    expect(table(example, { width: 200, undefended: true })).toContain('85.00 (−5.00) [−8.00] ²');
    expect(table(example, { width: 200 })).not.toContain('[');
  });

  it('shows another number of the students when asked to, and what it is', () => {
    const agreeing = (seed: string, agreement: number) =>
      result(seed, 0.9, { student: { images: 10_000, last: 0.9, metrics: { accuracy: 0.9, agreement } } });
    const of = {
      ...example,
      cells: [cell('kd', 'none', [agreeing('0', 0.75), agreeing('1', 0.77)]), ...example.cells.slice(4)],
    };
    const text = table(of, { width: 200, metric: 'agreement' });
    expect(text).toMatch(/^kd +76\.00 ± 1\.41 +– ² +n\/a ³$/m);
    expect(text).toContain("agreement with victim, %: Share of the images on which the student's most likely class is");
    expect(text).toContain('On 10,000 test images, after the last step.');
    expect(text).not.toContain('best attack');
    expect(text).not.toContain('Accuracy in %');
    expect(table(of, { metric: 'queries' })).toMatch(/^kd +– +32,400/m);
    expect(markdown(of, { metric: 'last' })).toContain('| kd | 90.00 ± 0.00 |');
    expect(table(of, { width: 200, metric: 'accuracy' })).toBe(table(of, { width: 200 }));
    expect(() => table(of, { metric: 'beauty' })).toThrow(/the matrix has no beauty\n.*There are: accuracy, last/);
  });

  it('shows what a paper reports beside its own, done or not, and where that is from', () => {
    const of = {
      ...example,
      published: 'Table 1; recalled',
      victims: example.victims.map((victim, i) => ({ ...victim, published: 0.95 - i / 100 })),
      cells: example.cells.map((each) => (each.attack === 'scratch' ? each : { ...each, published: 0.925 })),
    };
    const text = table(of, { width: 250 });
    expect(text).toMatch(
      /teacher 98\.00 ± 0\.10 ‹95\.00› +teacher 97\.00 ± 0\.20 \(−1\.00\) ‹94\.00› +teacher failed ‹93\.00› ¹/,
    );
    expect(text).toMatch(/kd +93\.00 ± 0\.00 \(\+2\.00\) ‹92\.50› +85\.00 \(−5\.00\) ‹92\.50› ² +n\/a ‹92\.50› ³/);
    expect(text).toMatch(/partialKd .*not run ‹92\.50› /);
    expect(text).toContain('‹…›: Table 1; recalled.');
    expect(table(example)).not.toContain('‹');
    const [head = '', line = ''] = csv(of)
      .split('\r\n')
      .filter((each) => /^experiment,|,kd,nasty,0,/.test(each));
    const at = (name: string) => line.split(',')[head.split(',').indexOf(name)];
    expect(['accuracy', 'teacher_accuracy', 'source'].map((name) => at(`published_${name}`))).toEqual([
      '0.925',
      '0.94',
      'Table 1; recalled',
    ]);
  });

  const scored: Matrix = {
    ...example,
    scores: [
      { defense: 'none', student: 'small', attack: 'kd', verdict: '' },
      {
        defense: 'nasty',
        student: 'small',
        attack: 'kd',
        harm: { mean: -0.08, sd: 0.01, interval: [-0.17, 0.01], count: 2 },
        teacherCost: { mean: -0.01, count: 1 },
        toLabelSmoothing: { mean: -0.01, count: 2 },
        undistillable: 'undecided',
        seedsToTell: 40,
        verdict: '',
      },
    ],
  };

  it('says of each defence that changes answers what these are worth', () => {
    const metrics = { accuracy: 0.1295, calibrationError: 0.5, answerL1: 1.25, answerKl: 3, answerChanged: 0.87 };
    const [first, ...rest] = example.victims;
    const spreads = Object.fromEntries(Object.entries(metrics).map(([name, mean]) => [name, { mean, count: 1 }]));
    const noisy = {
      ...first,
      metrics: spreads,
      seeds: [{ seed: '0', warnings: [], measures: { images: 1, last: 0, metrics } }],
    };
    const text = table({ ...example, victims: [noisy as (typeof rest)[number], ...rest] });
    expect(text).toContain(
      'What none answers: accuracy, % 12.95; calibration error, 15 bins, % 50.00; L1 of given to clean answers 1.250; KL of given to clean answers, nats 3.000; changed answers, % 87.00.',
    );
    expect(table(example)).not.toContain('What none answers');
  });

  it('says where a defence is undistillable and the undefended teacher is too', () => {
    const withMean = (mean: number): Matrix => {
      const [none, nasty] = scored.scores as [Score, Score];
      return {
        ...scored,
        defenses: scored.defenses.map((each) => (each.label === 'none' ? { ...each, role: 'identity' } : each)),
        scores: [
          { ...none, toLabelSmoothing: { mean, count: 2 } },
          { ...nasty, undistillable: 'yes' },
        ],
      };
    };
    const remark = 'that a defence is undistillable here is no merit of it';
    expect(table(withMean(-0.0065))).toContain(
      'The best attack on the undefended teacher is no better than a student trained on smoothed labels either (−0.65): that',
    );
    expect(table(withMean(0.01))).not.toContain(remark);
    expect(table({ ...withMean(-0.0065), scores: scored.scores ?? [] })).not.toContain(remark);
    // A defence without anything to be compared with is no undefended teacher.
    const alone = { ...withMean(-0.0065), defenses: scored.defenses.filter(({ label }) => label !== 'none') };
    const scores = (alone.scores ?? []).flatMap(({ harm: _, ...score }) => (score.defense === 'none' ? [] : [score]));
    expect(table({ ...alone, scores })).not.toContain(remark);
  });

  it('says of each defence what it does to the best attack, and what it costs', () => {
    const line =
      "nasty: best attack −8.00 (95 % interval −17.00 to +1.00) against the undefended teacher's, teacher −1.00, undistillable: inconclusive (about 40 seeds needed).";
    expect(table(scored).split('\n')).toContain(line);
    const single = (scored.scores ?? []).map((score) => ({ ...score, toLabelSmoothing: { mean: -0.01, count: 1 } }));
    expect(table({ ...scored, scores: single })).toContain('undistillable: inconclusive (one seed).');
    expect(table({ ...scored, students: ['small', 'large'] })).toContain('nasty, student small: best attack −');
    expect(markdown(scored)).toContain(
      "- nasty: best attack −8.00 (95 % interval −17.00 to +1.00) against the undefended teacher's",
    );
    expect(table(example)).not.toContain('against the undefended');
  });

  it('shows a foreign cell with what is foreign about it', () => {
    const foreign = cell('other', 'none', [result('0', 0.5)]);
    const of = { ...example, cells: [...example.cells, foreign] };
    const lines = table(of, { width: 200 }).split('\n');
    const row = lines.find((line) => line.startsWith('other '));
    const note = /50\.00 (\S+)$/.exec(row?.trimEnd() ?? '')?.[1];
    expect(lines).toContain(`${note} foreign: the run lists no attack other`);
    expect(markdown(of)).toContain('| other | 50.00');
  });

  it('says how much of a paper was found again, and why it may not be', () => {
    const ours = { mean: 0.9, count: 1 };
    const number = { what: 'kd', paper: 0.9, tolerance: 0.01 } as const;
    const text = table({
      ...example,
      published: 'Table 1',
      reduced: '5 % of the schedules',
      reproduction: [
        { ...number, ours, difference: 0, verdict: 'within' },
        { ...number, ours, difference: 0.1, verdict: 'outside' },
        { ...number, verdict: 'not run' },
      ],
      effects: [
        { what: 'kd', paper: 0.1, ours, difference: 0, direction: 'same' },
        { what: 'kd', paper: 0.1 },
      ],
    });
    expect(text).toContain(
      '‹…›: Table 1. Within its tolerance (±1.00 points): 1 of 2 numbers. Of its differences 1 of 1 have the same direction. This setting is reduced: 5 % of the schedules.',
    );
  });

  it('breaks into pieces that fit the width, with every column once', () => {
    const narrow = table(example, { width: 50 }).split('\n');
    const start = narrow.indexOf('student small, teacher big');
    const end = narrow.findIndex((line) => line.startsWith('¹'));
    const drawn = narrow.slice(start, end);
    expect(Math.max(...drawn.map((line) => [...line].length))).toBeLessThanOrEqual(50);
    expect(drawn.filter((line) => line.startsWith('scratch'))).toHaveLength(3);
  });
});

describe('Markdown', () => {
  const text = markdown(example);

  it('keeps its columns whatever a label holds', () => {
    const rows = text.split('\n').filter((line) => line.startsWith('|'));
    // A pipe that is not escaped begins a cell.
    for (const row of rows) expect(row.replaceAll('\\|', '').split('|')).toHaveLength(6);
    expect(rows[0]).toContain('a\\|b<br>teacher failed');
    expect(escaped('a|b\\c\n*d*')).toBe('a\\|b\\\\c \\*d\\*');
    // Each of them ends a line.
    expect(escaped('a\rb\r\nc\n\rd')).toBe('a b c  d');
  });

  it('has the same cells and notes as the terminal', () => {
    expect(text).toContain('| kd | 93.00 ± 0.00 (+2.00) | 85.00 (−5.00) ² | n/a ³ |');
    expect(text).toContain('| **best attack** | kd 93.00 |  |  |');
    expect(text).toContain('- Mean ± standard deviation over 2 seeds (0, 1).');
  });
});

/** A CSV file's fields, by a reader written from RFC 4180 alone. */
const read = (text: string): string[][] => {
  const rows: string[][] = [[]];
  let value = '';
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const at = text[i];
    if (quoted) {
      if (at !== '"') value += at;
      else if (text[i + 1] === '"') {
        value += '"';
        i += 1;
      } else quoted = false;
    } else if (at === '"') quoted = true;
    else if (at === ',' || at === '\r') {
      rows.at(-1)?.push(value);
      value = '';
      if (at === '\r') {
        i += 1;
        rows.push([]);
      }
    } else value += at;
  }
  return rows.slice(0, -1);
};

describe('CSV', () => {
  const [head = [], ...rows] = read(csv(example));
  const named = rows.map((row) => Object.fromEntries(row.map((value, i) => [head[i], value])));

  it('has a row a cell and seed, all as long as the head', () => {
    expect(rows).toHaveLength(example.cells.reduce((sum, { seeds }) => sum + seeds.length, 0));
    for (const row of rows) expect(row).toHaveLength(head.length);
  });

  it('keeps numbers exact and says what failed', () => {
    expect(named.find((row) => row.attack === 'kd' && row.defense === 'none' && row.seed === '0')).toMatchObject({
      status: 'done',
      accuracy: '0.93',
      difference_to_baseline: '0.03',
      queries: '32400',
      student: 'small',
      images: 'test',
    });
    expect(named.find((row) => row.attack === 'kd' && row.defense === 'nasty' && row.seed === '1')).toMatchObject({
      status: 'failed',
      reason: 'loss, "said" NaN',
      accuracy: '',
    });
    expect(named.find((row) => row.defense === 'nasty' && row.seed === '0')).toMatchObject({
      teacher_kl_to_adversary_nats: '2',
      warnings: 'not nasty: too small',
    });
  });

  it('has means with their intervals in every line of a cell, and the defence’s score', () => {
    const [one, other] = named.filter((row) => row.attack === 'kd' && row.defense === 'none');
    const columns = Object.keys(one ?? {}).filter((name) => name.startsWith('mean_'));
    expect(columns).toHaveLength(12);
    expect(Number(one?.sd_difference_to_baseline)).toBeCloseTo(Math.SQRT1_2 / 50, 6);
    for (const name of columns) expect(one?.[name]).toBe(other?.[name]);
    expect(Number(one?.mean_difference_to_baseline)).toBeCloseTo(0.02, 12);
    expect(Number(one?.mean_difference_to_baseline_95_low)).toBeCloseTo(0.02 - 0.127062, 6);
    const scores = [
      {
        defense: 'nasty',
        student: 'small',
        attack: 'kd',
        harm: { mean: -0.5, count: 1 },
        undistillable: 'no' as const,
        verdict: 'none',
      },
    ];
    const [head = [], ...rows] = read(csv({ ...example, scores }));
    const at = (name: string) => rows.map((row) => `${row[head.indexOf('defense')]} ${row[head.indexOf(name)]}`);
    expect(at('harm_of_best_attack')).toEqual(expect.arrayContaining(['nasty -0.5', 'none ']));
    expect(at('undistillable')).toContain('nasty no');
  });

  it('has rows of cells that cannot be', () => {
    const matrix = {
      ...example,
      cells: [cell('kd', 'a|b', [{ ...result('0', 0), status: 'n/a' as const, reason: 'needs more' }])],
    };
    expect(csv(matrix)).toContain(',n/a,needs more,');
  });

  it('quotes as RFC 4180 has it', () => {
    expect(['=1+1', '+A1', '-A1', '@x', '\t=1', '\r=1', '＝1+1'].map(field)).toEqual([
      ...["'=1+1", "'+A1", "'-A1", "'@x", "'\t=1", '"\'\r=1"', "'＝1+1"],
    ]);
    expect([-1, '-1', '+0.21', -1e-7, 'a=b', '−1'].map(field)).toEqual(['-1', '-1', '+0.21', '-1e-7', 'a=b', '−1']);
    expect(['a', 'a,b', 'say "no"', 'two\nlines', 0.5, undefined].map(field)).toEqual([
      'a',
      '"a,b"',
      '"say ""no"""',
      '"two\nlines"',
      '0.5',
      '',
    ]);
  });
});
