import { readText } from '../core/files.js';
import { jsonText } from '../core/text.js';
import { csv } from '../report/csv.js';
import type { LayoutOptions } from '../report/layout.js';
import { markdown } from '../report/markdown.js';
import { table } from '../report/table.js';
import { tex } from '../report/tex.js';
import type { Matrix } from '../results/types.js';
import type { Format } from './choices.js';
import { decodeMatrix, matrixPath } from './run-folder.js';
import { type Terminal, terminal } from './terminal.js';

export interface MatrixOptions extends LayoutOptions {
  readonly format: Format;
}

const drawn = (matrix: Matrix, format: Format, width: number, options: LayoutOptions): string => {
  switch (format) {
    case 'text':
      return table(matrix, { ...options, width });
    case 'md':
      return markdown(matrix, options);
    case 'csv':
      return csv(matrix);
    case 'tex':
      return tex(matrix, options);
    case 'json':
      return jsonText(matrix);
  }
};

export const matrixCommand = async (
  run: string,
  { format, ...options }: MatrixOptions,
  out: Terminal = terminal(),
): Promise<number> => {
  const path = await matrixPath(run, 'matrix');
  const matrix = decodeMatrix(await readText(path), path);
  const text = drawn(matrix, format, out.width, options);
  if (format === 'text') out.log(text.trimEnd());
  else out.print(text);
  return 0;
};
