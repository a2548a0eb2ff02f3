import { join, resolve } from 'node:path';
import { refusal } from '../core/errors.js';
import { makeFolder } from '../core/files.js';
import { table } from '../report/table.js';
import { joined, type Part } from '../results/join.js';
import { guarded } from '../run/disk.js';
import { writeCharts } from './charts.js';
import { readPart } from './compare.js';
import { shownWhole } from './paths.js';
import { readRun, writeReport } from './report.js';
import { reportName, writeMatrix } from './run-folder.js';
import { type Terminal, terminal, warn } from './terminal.js';

/**
 * Makes one run of several that had seeds or rows of one experiment: its tables, charts and report, in a folder of its own. Gives the
 * exit code. Rejects with a failure of kind `usage` for fewer than two, for what is no run, and for runs that do not go together.
 */
export const joinCommand = async (
  runs: readonly string[],
  { out: given }: { readonly out: string },
  out: Terminal = terminal(),
): Promise<number> => {
  if (runs.length < 2) refusal('usage')('there is nothing to join it with', 'join', 'Give two runs or more.');
  const parts = (await Promise.all(runs.map((run) => readPart(run, 'join')))) as [Part, ...Part[]];
  const matrix = joined(parts);
  const folder = resolve(given);
  await guarded(folder, () => makeFolder(folder));
  await writeMatrix(folder, matrix);
  const read = await readRun(folder);
  await writeCharts(folder, read.charts, (note) => warn(out, note));
  out.log(table(matrix, { width: out.width }).trimEnd());
  if (parts.some(({ matrix: { reproduction } }) => reproduction !== undefined))
    out.log('A paper’s numbers stand beside the parts alone.');
  out.log(`report: ${shownWhole(await writeReport(read, join(folder, reportName)))}`);
  return 0;
};
