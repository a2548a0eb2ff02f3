import { extent, unique } from '../core/lists.js';
import { counted, signed, wrapped } from '../core/text.js';
import type { ComparedCell, Comparison } from '../results/compare.js';
import { documentOf, policyOf } from './html/document.js';
import { html, name } from './html/markup.js';
import { escaped } from './markdown.js';
import { meanAndDeviation } from './numbers.js';
import { gap, padded, widest } from './table.js';

interface Section {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** What is not shown, in a sentence. */
  readonly omitted?: string;
}

const said = (of: ComparedCell['of'][number]): string => {
  if (of === undefined) return '–';
  const { accuracy, difference } = of;
  if (difference === undefined) return meanAndDeviation(accuracy);
  const { mean, interval } = difference;
  const apart = [signed(mean), ...(interval === undefined ? [] : [interval.map(signed).join(' to ')])];
  return `${meanAndDeviation(accuracy)} (${apart.join(', ')})`;
};

const notes = ({ runs }: Comparison): readonly string[] => [
  `Accuracy in %, mean ± standard deviation over the seeds of each run; (…): difference to ${runs[0]} and its 95 % interval, over the seeds that both have, seed by seed.`,
];

const sectionsOf = ({ runs, settings, cells }: Comparison): readonly Section[] => {
  const students = unique(cells.flatMap(({ student }) => student ?? []));
  const numbersOf = (own: readonly ComparedCell[]): Pick<Section, 'rows' | 'omitted'> => {
    const known = own.filter(({ of }) => of.some((each) => each !== undefined));
    const missing = own.length - known.length;
    return {
      rows: known.map(({ attack, defense, of }) => [
        attack === undefined ? defense : `${attack} on ${defense}`,
        ...of.map(said),
      ]),
      ...(missing === 0 ? {} : { omitted: `${counted(missing, 'row')} left out, of which no run has a number.` }),
    };
  };
  return [
    {
      title: 'Settings that differ',
      head: ['setting', ...runs],
      rows: settings.map(({ name: setting, values }) => [setting, ...values.map((value) => value ?? '–')]),
    },
    {
      title: 'Teachers',
      head: ['defence', ...runs],
      ...numbersOf(cells.filter(({ student }) => student === undefined)),
    },
    ...students.map((student) => ({
      title: `Student ${student}`,
      head: ['attack', ...runs],
      ...numbersOf(cells.filter((cell) => cell.student === student)),
    })),
  ];
};

const none = 'None.';

/** What stands below a table, or in its place. */
const below = ({ rows, omitted }: Section): readonly string[] =>
  omitted !== undefined ? [omitted] : rows.length === 0 ? [none] : [];

/** Characters to which a column is narrowed at most, so that a mean and its difference take two lines of it. */
const narrowest = 22;

/** The widest columns are narrowed until a line has room for all; undefined where they cannot be. */
const fitted = (natural: readonly number[], width: number): readonly number[] | undefined => {
  const widths = [...natural];
  const room = width - gap.length * (widths.length - 1);
  for (let over = widths.reduce((sum, own) => sum + own, 0) - room; over > 0; over--) {
    const most = extent(widths)[1];
    if (most <= narrowest) return undefined;
    widths[widths.indexOf(most)] = most - 1;
  }
  return widths;
};

/** A row of a table, of which each text is broken into the lines of its column. */
const rowOf = (texts: readonly string[], widths: readonly number[]): readonly string[] => {
  const columns = texts.map((text, i) => wrapped(text, widths[i] as number));
  return Array.from({ length: extent(columns.map((lines) => lines.length))[1] }, (_, at) =>
    columns
      .map((lines, i) => padded(lines[at] ?? '', widths[i] as number))
      .join(gap)
      .trimEnd(),
  );
};

/** A table's lines; where its columns have no room beside each other they stand below each other. */
const linesOf = ({ head, rows }: Section, width: number): readonly string[] => {
  if (rows.length === 0) return [];
  const all = [head, ...rows];
  const widths = fitted(
    head.map((_, i) => widest(all.map((row) => row[i] ?? ''))),
    width,
  );
  if (widths !== undefined) return all.flatMap((row) => rowOf(row, widths));
  // A run's name takes at most a third of the line.
  const names = Math.min(widest(head.slice(1)), Math.floor(width / 3));
  const values = width - names - 2 * gap.length;
  return rows.flatMap(([first = '', ...rest]) => [
    ...wrapped(first, width),
    ...rest.flatMap((text, i) => rowOf(['', head[i + 1] ?? '', text], [0, names, values])),
  ]);
};

/** For a terminal of so many characters a line. */
export const comparisonText = (of: Comparison, width = 120): string =>
  [
    ...sectionsOf(of).flatMap((section) => [
      section.title,
      ...linesOf(section, width),
      ...below(section).flatMap((said) => wrapped(said, width)),
      '',
    ]),
    ...notes(of).flatMap((note) => wrapped(note, width)),
    '',
  ].join('\n');

/** As GitHub's Markdown. */
export const comparisonMarkdown = (of: Comparison): string => {
  const line = (cells: readonly string[]): string => `| ${cells.map(escaped).join(' | ')} |`;
  return [
    `# ${of.runs.map(escaped).join(', ')}`,
    ...sectionsOf(of).flatMap((section) => {
      const { title, head, rows } = section;
      const drawn = rows.length === 0 ? [] : [line(head), `|${' --- |'.repeat(head.length)}`, ...rows.map(line)];
      const said = below(section).map(escaped);
      return ['', `## ${escaped(title)}`, '', ...drawn, ...(drawn.length > 0 && said.length > 0 ? [''] : []), ...said];
    }),
    '',
    ...notes(of).map(escaped),
    '',
  ].join('\n');
};

/** As one HTML file that needs nothing else. */
export const comparisonHtml = (of: Comparison): string =>
  documentOf(
    of.runs.join(', '),
    policyOf(),
    html`
<header><p class="brand">undistill</p><h1>${of.runs.map((run, i) => [i > 0 && ' and ', name(run)])}</h1></header>
<main>
${sectionsOf(of).map((section) => {
  const { title, head, rows } = section;
  return html`<section><h2>${title}</h2>
${
  rows.length > 0 &&
  html`<div class="wide fit"><table class="compared"><thead><tr>${head.map((text) => html`<th scope="col">${name(text)}</th>`)}</tr></thead><tbody>
${rows.map(
  ([first = '', ...rest]) =>
    html`<tr><th scope="row">${name(first)}</th>${rest.map((text) => html`<td>${text}</td>`)}</tr>
`,
)}</tbody></table></div>`
}
${below(section).map((text) => html`<p>${text}</p>`)}</section>
`;
})}
${notes(of).map((note) => html`<p>${note}</p>`)}
</main>`,
  );
