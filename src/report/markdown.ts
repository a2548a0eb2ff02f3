import type { Matrix } from '../results/types.js';
import { type Block, type Layout, type LayoutOptions, layout } from './layout.js';
import { mark } from './numbers.js';

/** Text that stays itself in a table's cell. */
export const escaped = (text: string): string =>
  text.replace(/[\\`*_[\]<>|~]/g, (symbol) => `\\${symbol}`).replace(/\r\n?|\n/g, ' ');

const tableRow = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

const drawn = ({ head, columns, rows, conclusions }: Block): readonly string[] => [
  tableRow([head, ...columns.map(({ label, detail }) => `${escaped(label)}<br>${escaped(detail)}`)]),
  tableRow(['---', ...columns.map(() => '---')]),
  ...rows.map(({ label, cells }) => tableRow([escaped(label), ...cells.map(escaped)])),
  ...conclusions.map(({ label, cells }) => tableRow([`**${escaped(label)}**`, ...cells.map(escaped)])),
];

/** The matrix as GitHub's Markdown. */
export const markdown = (of: Matrix, options: LayoutOptions = {}): string => inMarkdown(layout(of, options));

/** What was laid out as GitHub's Markdown. */
export const inMarkdown = ({ title, about, blocks, footnotes, notes }: Layout): string =>
  [
    `# ${escaped(title)}`,
    ...(about === '' ? [] : ['', escaped(about)]),
    ...blocks.flatMap((block) => ['', `## ${escaped(block.title)}`, '', ...drawn(block)]),
    ...(footnotes.length === 0 ? [] : ['', ...footnotes.map((note, i) => `${mark(i + 1)} ${escaped(note)}  `)]),
    '',
    ...notes.map((note) => `- ${escaped(note)}`),
    '',
  ].join('\n');
