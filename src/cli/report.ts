import { dirname, join, resolve } from 'node:path';
import { report } from '../report/html/report.js';
import { writeWhole } from '../run/store.js';
import { shownWhole } from './paths.js';
import { mostEmbedded, type ReadRun, runReader } from './report-run.js';
import { reportName, runFolder } from './run-folder.js';
import { type Terminal, terminal } from './terminal.js';

/** What the page of a run shows that lies in a folder, which is the run's own unless another is given. */
export const readRun = (folder: string, beside = folder): Promise<ReadRun> =>
  runReader(folder, { embed: mostEmbedded, beside }).read();

/** Writes the page of a run, under its name or a title of one's own. Gives its path. */
export const writeReport = async (run: ReadRun, path: string, title?: string): Promise<string> => {
  const { html } = await report(run, { title });
  await writeWhole(path, html);
  return path;
};

/** Makes the report of a run again. Rejects with a failure of kind `usage` for a folder that is no run's. */
export const reportCommand = async (
  run: string,
  { out, title }: { readonly out?: string; readonly title?: string },
  to: Terminal = terminal(),
): Promise<number> => {
  const folder = await runFolder(run, 'report');
  const path = out === undefined ? join(folder, reportName) : resolve(out);
  await writeReport(await readRun(folder, dirname(path)), path, title);
  to.log(`report: ${shownWhole(path)}`);
  return 0;
};
