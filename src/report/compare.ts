import { unique } from '../core/lists.js';
import type { ComparedCell, Comparison } from '../results/compare.js';
import { documentOf, policyOf } from './html/document.js';
import { html, name } from './html/markup.js';
import { escaped } from './markdown.js';
import { meanAndDeviation, signedWithInterval } from './numbers.js';

interface Section {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

const said = (of: ComparedCell['of'][number]): string => {
  if (of === undefined) return '–';
  const { accuracy, difference } = of;
  return `${meanAndDeviation(accuracy)}${difference === undefined ? '' : ` (${signedWithInterval(difference)})`}`;
};

const notes = ({ runs }: Comparison): readonly string[] => [
  `Accuracy in %, mean ± standard deviation over the seeds of each run; (…): difference to ${runs[0]}, over the seeds that both have, seed by seed.`,
];

const sectionsOf = ({ runs, settings, cells }: Comparison): readonly Section[] => {
  const students = unique(cells.flatMap(({ student }) => student ?? []));
  const rowsOf = (own: readonly ComparedCell[]) =>
    own.map(({ attack, defense, of }) => [attack === undefined ? defense : `${attack} on ${defense}`, ...of.map(said)]);
  return [
    {
      title: 'Settings that differ',
      head: ['setting', ...runs],
      rows: settings.map(({ name: setting, values }) => [setting, ...values.map((value) => value ?? '–')]),
    },
    {
      title: 'Teachers',
      head: ['defence', ...runs],
      rows: rowsOf(cells.filter(({ student }) => student === undefined)),
    },
    ...students.map((student) => ({
      title: `Student ${student}`,
      head: ['attack', ...runs],
      rows: rowsOf(cells.filter((cell) => cell.student === student)),
    })),
  ];
};

const none = 'None.';

const padded = (text: string, width: number): string => text + ' '.repeat(Math.max(0, width - [...text].length));

/** For a terminal. */
export const comparisonText = (of: Comparison): string =>
  [
    ...sectionsOf(of).flatMap(({ title, head, rows }) => {
      const all = [head, ...rows];
      const widths = head.map((_, i) => Math.max(...all.map((row) => [...(row[i] ?? '')].length)));
      const line = (row: readonly string[]): string =>
        row
          .map((text, i) => padded(text, widths[i] as number))
          .join('   ')
          .trimEnd();
      return rows.length === 0 ? [title, none, ''] : [title, ...all.map(line), ''];
    }),
    ...notes(of),
    '',
  ].join('\n');

/** As GitHub's Markdown. */
export const comparisonMarkdown = (of: Comparison): string => {
  const line = (cells: readonly string[]): string => `| ${cells.map(escaped).join(' | ')} |`;
  return [
    `# ${of.runs.map(escaped).join(', ')}`,
    ...sectionsOf(of).flatMap(({ title, head, rows }) => [
      '',
      `## ${escaped(title)}`,
      '',
      ...(rows.length === 0 ? [none] : [line(head), `|${' --- |'.repeat(head.length)}`, ...rows.map(line)]),
    ]),
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
${sectionsOf(of).map(
  ({ title, head, rows }) => html`<section><h2>${title}</h2>
${
  rows.length === 0
    ? html`<p>${none}</p>`
    : html`<div class="wide"><table><thead><tr>${head.map((text) => html`<th scope="col">${name(text)}</th>`)}</tr></thead><tbody>
${rows.map(
  ([first = '', ...rest]) =>
    html`<tr><th scope="row">${name(first)}</th>${rest.map((text) => html`<td>${text}</td>`)}</tr>
`,
)}</tbody></table></div>`
}</section>
`,
)}
${notes(of).map((note) => html`<p>${note}</p>`)}
</main>`,
  );
