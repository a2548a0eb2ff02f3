import { basename, dirname } from 'node:path';
import { refusal } from '../core/errors.js';
import { readText } from '../core/files.js';
import { comparisonHtml, comparisonMarkdown, comparisonText } from '../report/compare.js';
import { compared } from '../results/compare.js';
import type { Part } from '../results/join.js';
import { writeWhole } from '../run/store.js';
import type { ComparisonFormat } from './choices.js';
import { shownWhole } from './paths.js';
import { decodeMatrix, matrixPath } from './run-folder.js';
import { type Terminal, terminal } from './terminal.js';

export interface CompareOptions {
  readonly format: ComparisonFormat;
  /** A file, in place of the terminal. */
  readonly out?: string;
}

/** A run by its matrix, for a command that takes several. */
export const readPart = async (run: string, command: string): Promise<Part> => {
  const path = await matrixPath(run, command);
  return { name: basename(dirname(path)), matrix: decodeMatrix(await readText(path), path) };
};

/** Shows runs beside each other. Gives the exit code. Rejects with a failure of kind `usage` for fewer than two, or what is no run. */
export const compareCommand = async (
  runs: readonly string[],
  { format, out: file }: CompareOptions,
  out: Terminal = terminal(),
): Promise<number> => {
  if (runs.length < 2) refusal('usage')('one run has nothing beside it', 'compare', 'Give two runs or more.');
  const read = await Promise.all(runs.map((run) => readPart(run, 'compare')));
  const comparison = compared(read);
  const drawings = {
    text: () => comparisonText(comparison, out.width),
    md: () => comparisonMarkdown(comparison),
    html: () => comparisonHtml(comparison),
  } as const;
  const text = drawings[format]();
  if (file !== undefined) {
    await writeWhole(file, text);
    out.log(shownWhole(file));
  } else if (format === 'text') out.log(text.trimEnd());
  else out.print(text);
  return 0;
};
