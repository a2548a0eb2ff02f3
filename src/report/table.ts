import { extent } from '../core/lists.js';
import type { Matrix } from '../results/types.js';
import { type Block, type Layout, type LayoutOptions, layout, type Row } from './layout.js';
import { mark } from './numbers.js';

export interface TableOptions extends LayoutOptions {
  /** Characters a line may have; wider tables are broken into several below each other. Default 120. */
  readonly width?: number;
}

/** Between two columns. */
export const gap = '   ';

/** Characters of the longest. */
export const widest = (texts: readonly string[]): number =>
  Math.max(0, extent(texts.map((text) => [...text].length))[1]);

export const padded = (text: string, width: number): string => text + ' '.repeat(Math.max(0, width - [...text].length));

/** The matrix for a terminal. */
export const table = (of: Matrix, { width, ...options }: TableOptions = {}): string =>
  inText(layout(of, options), width);

/** What was laid out for a terminal of so many characters a line. */
export const inText = ({ title, about, blocks, footnotes, notes }: Layout, width = 120): string =>
  [
    about === '' ? title : `${title}: ${about}`,
    ...blocks.flatMap((block) => ['', block.title, ...pieces(block, width).flatMap((piece) => ['', ...piece])]),
    '',
    ...footnotes.map((note, i) => `${mark(i + 1)} ${note}`),
    ...notes,
    '',
  ].join('\n');

/** A block's lines, in as many pieces as its columns take at that width. */
const pieces = ({ columns, rows, conclusions }: Block, width: number): readonly (readonly string[])[] => {
  const all: readonly Row[] = [...rows, ...conclusions];
  const labels = widest(all.map(({ label }) => label));
  const widths = columns.map(({ label, detail }, i) =>
    widest([label, detail, ...all.map(({ cells }) => cells[i] ?? '')]),
  );
  const groups: number[][] = [];
  let used = Number.POSITIVE_INFINITY;
  widths.forEach((own, i) => {
    if (used + gap.length + own > width) {
      groups.push([]);
      used = labels;
    }
    groups.at(-1)?.push(i);
    used += gap.length + own;
  });
  return groups.map((group) => {
    const line = (label: string, cell: (column: number) => string): string =>
      [padded(label, labels), ...group.map((i) => padded(cell(i), widths[i] as number))].join(gap).trimEnd();
    const drawn = ({ label, cells }: Row): string => line(label, (i) => cells[i] ?? '');
    const rule = '─'.repeat(labels + group.reduce((sum, i) => sum + gap.length + (widths[i] as number), 0));
    return [
      line('', (i) => columns[i]?.label ?? ''),
      line('', (i) => columns[i]?.detail ?? ''),
      rule,
      ...rows.map(drawn),
      ...(conclusions.length === 0 ? [] : [rule, ...conclusions.map(drawn)]),
    ];
  });
};
