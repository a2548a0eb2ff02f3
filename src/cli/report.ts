import { dirname, join, relative, resolve } from 'node:path';
import { writeWhole } from '../harness/store.js';
import { report } from '../report/html/report.js';
import { mostEmbedded, reportName, runFolder, runReader } from './report-run.js';
import { type Terminal, terminal } from './terminal.js';

/** Writes the page of a run, into its folder unless another place is given. Gives its path. */
export const writeReport = async (folder: string, path: string = join(folder, reportName)): Promise<string> => {
  const { html } = await report(await runReader(folder, { embed: mostEmbedded, beside: dirname(path) }).read());
  await writeWhole(path, html);
  return path;
};

/** Makes the report of a run again. Rejects with a failure of kind `usage` for a folder that is no run's. */
export const reportCommand = async (
  run: string,
  { out }: { readonly out?: string },
  to: Terminal = terminal(),
): Promise<number> => {
  const folder = await runFolder(run, 'report');
  const path = await writeReport(folder, out === undefined ? undefined : resolve(out));
  to.log(`report: ${shown(path)}`);
  return 0;
};

/** A path as a user would write it. */
export const shown = (path: string): string => {
  const short = relative('', path);
  return short === '' || short.startsWith('..') ? path : short;
};
