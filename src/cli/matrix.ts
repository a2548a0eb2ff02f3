import { readFile } from 'node:fs/promises';
import { csv } from '../report/csv.js';
import { markdown } from '../report/markdown.js';
import { table } from '../report/table.js';
import { tex } from '../report/tex.js';
import type { Matrix } from '../results/types.js';
import type { Format } from './choices.js';
import { decodeMatrix, jsonText, matrixPath } from './run-folder.js';
import { type Terminal, terminal } from './terminal.js';

const drawn = (matrix: Matrix, format: Format, width: number, undefended: boolean): string => {
  switch (format) {
    case 'text':
      return table(matrix, { width, undefended });
    case 'md':
      return markdown(matrix, { undefended });
    case 'csv':
      return csv(matrix);
    case 'tex':
      return tex(matrix, { undefended });
    case 'json':
      return jsonText(matrix);
  }
};

export const matrixCommand = async (
  run: string,
  { format, undefended = false }: { readonly format: Format; readonly undefended?: boolean },
  out: Terminal = terminal(),
): Promise<number> => {
  const path = await matrixPath(run, 'matrix');
  const matrix = decodeMatrix(await readFile(path, 'utf8'), path);
  process.stdout.write(drawn(matrix, format, out.width, undefended));
  return 0;
};
