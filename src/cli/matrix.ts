import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { FailureError, failure } from '../core/errors.js';
import type { Matrix } from '../harness/matrix.js';
import { csv } from '../report/csv.js';
import { markdown } from '../report/markdown.js';
import { table } from '../report/table.js';
import type { Format } from './choices.js';
import { decodeMatrix, jsonText, matrixFiles } from './run-folder.js';
import { type Terminal, terminal } from './terminal.js';

const drawn = (matrix: Matrix, format: Format, width: number, undefended: boolean): string => {
  switch (format) {
    case 'text':
      return table(matrix, { width, undefended });
    case 'md':
      return markdown(matrix, { undefended });
    case 'csv':
      return csv(matrix);
    case 'json':
      return jsonText(matrix);
  }
};

/** A run's folder, its matrix.json, or its name below `runs`. */
const matrixPath = async (run: string): Promise<string> => {
  const candidates = [run, join(run, matrixFiles.json), join('runs', run, matrixFiles.json)].map((each) =>
    resolve(each),
  );
  for (const path of candidates) {
    const isFile = await stat(path).then(
      (found) => found.isFile(),
      () => false,
    );
    if (isFile) return path;
  }
  throw new FailureError(
    failure('usage', `there is no ${matrixFiles.json}, in it or in runs/${run}`, {
      where: run,
      remedy: 'Give the folder of a run, or its name: undistill matrix quickstart.',
    }),
  );
};

export const matrixCommand = async (
  run: string,
  { format, undefended = false }: { readonly format: Format; readonly undefended?: boolean },
  out: Terminal = terminal(),
): Promise<number> => {
  const path = await matrixPath(run);
  const matrix = decodeMatrix(await readFile(path, 'utf8'), path);
  process.stdout.write(drawn(matrix, format, out.width, undefended));
  return 0;
};
