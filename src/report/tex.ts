import type { Matrix } from '../results/types.js';
import { type Block, type LayoutOptions, layout, type Row } from './layout.js';
import { mark } from './numbers.js';

const superscripts = Array.from({ length: 10 }, (_, digit) => [mark(digit), `\\textsuperscript{${digit}}`] as const);

/** Characters that LaTeX reads as something else, or that its oldest fonts have not. */
const characters: ReadonlyMap<string, string> = new Map([
  ...[...'{}$&#_%'].map((symbol) => [symbol, `\\${symbol}`] as const),
  ['\\', '\\textbackslash{}'],
  ['~', '\\textasciitilde{}'],
  ['^', '\\textasciicircum{}'],
  ['<', '\\textless{}'],
  ['>', '\\textgreater{}'],
  ['|', '\\textbar{}'],
  ['"', '{\\char34}'],
  ['`', '\\textasciigrave{}'],
  // Two of these would become another sign.
  ['-', '-{}'],
  ["'", "'{}"],
  // At the begin of a row these would belong to the end of the one before.
  ['[', '{[}'],
  [']', '{]}'],
  ['*', '{*}'],
  ['±', '$\\pm$'],
  ['−', '$-$'],
  ['×', '$\\times$'],
  ['‖', '$\\|$'],
  ['‹', '\\guilsinglleft{}'],
  ['›', '\\guilsinglright{}'],
  ['…', '\\ldots{}'],
  ...superscripts,
]);

const oneLine = (text: string): string => text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ');

/** Any text as LaTeX that shows it. */
export const escapedTex = (text: string): string =>
  [...oneLine(text)].map((character) => characters.get(character) ?? character).join('');

const comment = (text: string): string => `% ${oneLine(text)}`;

const line = (cells: readonly string[]): string => `    ${cells.map(escapedTex).join(' & ')} \\\\`;

const drawn = (
  { title, columns, rows, conclusions }: Block,
  caption: readonly string[],
  footnotes: readonly string[],
): readonly string[] => {
  const row = ({ label, cells }: Row): string => line([label, ...cells]);
  return [
    '\\begin{table}',
    '  \\centering',
    `  \\caption{${[`${title}.`, ...caption].map(escapedTex).join(' ')}}`,
    `  \\begin{tabular}{${'l'.repeat(1 + columns.length)}}`,
    '    \\toprule',
    line(['attack', ...columns.map(({ label }) => label)]),
    line(['', ...columns.map(({ detail }) => detail)]),
    '    \\midrule',
    ...rows.map(row),
    ...(conclusions.length === 0 ? [] : ['    \\midrule', ...conclusions.map(row)]),
    '    \\bottomrule',
    '  \\end{tabular}',
    ...footnotes.map((note) => `  \\par{\\footnotesize ${escapedTex(note)}}`),
    '\\end{table}',
  ];
};

/** The matrix as LaTeX: a table a student, with the footnotes that its cells refer to; the other notes are comments. */
export const tex = (of: Matrix, options: LayoutOptions = {}): string => {
  const { title, about, blocks, caption, footnotes, notes } = layout(of, options);
  return [
    comment(about === '' ? title : `${title}: ${about}`),
    comment('Needs \\usepackage{booktabs}; names in other than Latin letters need LuaLaTeX or XeLaTeX.'),
    ...blocks.flatMap((block) => {
      const cells = [...block.columns.map(({ detail }) => detail), ...block.rows.flatMap((row) => row.cells)];
      const own = footnotes
        .map((note, i) => ({ sign: mark(i + 1), note }))
        .filter(({ sign }) => cells.some((cell) => cell.endsWith(` ${sign}`)))
        .map(({ sign, note }) => `${sign} ${note}`);
      return ['', ...drawn(block, caption, own)];
    }),
    '',
    ...notes.filter((note) => !caption.includes(note)).map(comment),
    '',
  ].join('\n');
};
