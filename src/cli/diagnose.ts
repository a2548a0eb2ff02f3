import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { orThrow, refusal } from '../core/errors.js';
import { diagnosticsCsv, diagnosticsMarkdown } from '../report/diagnostics.js';
import { diagnoseTeachers } from '../results/diagnose.js';
import { openStore, storeOf, writeWhole } from '../run/store.js';
import { writeCharts } from './charts.js';
import { readyEngine } from './engine.js';
import { shown, shownWhole } from './paths.js';
import { reopen } from './plan-file.js';
import { readRun, writeReport } from './report.js';
import { decodeMatrix, diagnosticsFiles, jsonText, matrixPath, planName, readPlan, reportName } from './run-folder.js';
import { type Terminal, terminal, warn } from './terminal.js';

export interface DiagnoseOptions {
  /** Images on the maps, at most. */
  readonly images: number;
  readonly threads?: number;
}

/**
 * Looks at the teachers of a run, writes what it finds beside the run's tables and adds it to its charts and its report.
 * Gives the exit code. Rejects with a failure of kind `usage` where the run cannot be read again, or its data are others
 * by now.
 */
export const diagnoseCommand = async (
  run: string,
  { images, threads }: DiagnoseOptions,
  out: Terminal = terminal(),
): Promise<number> => {
  const path = await matrixPath(run, 'diagnose');
  const matrix = decodeMatrix(await readFile(path, 'utf8'), shown(path));
  const folder = dirname(path);
  const { victims, opened } = await readPlan(folder);
  const refuse = (what: string, where: string): never =>
    refusal('usage')(what, where, 'Run the experiment once more: what is finished is not made again.');
  if (victims === undefined || opened === undefined)
    return refuse('it does not say where the experiment is', shown(join(folder, planName)));
  const experiment = await reopen(folder, opened);
  await readyEngine(out, { threads });
  const data = await orThrow(experiment.data.load({}));
  if (data.fingerprint !== matrix.data.fingerprint) refuse('the data are others than those of the run', data.name);
  const altered = (id: string, file: string) => warn(out, `${id}: ${file} was altered on disk`);
  const found = await diagnoseTeachers({
    experiment,
    data,
    victims,
    store: openStore(storeOf(folder), altered),
    mapped: images,
    say: (line) => out.log(line),
  });
  const text = diagnosticsMarkdown(found);
  const csv = Object.entries(diagnosticsCsv(found)).map(([name, content]) => [`${name}.csv`, content] as const);
  const files = [[diagnosticsFiles.json, jsonText(found)], [diagnosticsFiles.md, text], ...csv] as const;
  const into = join(folder, diagnosticsFiles.folder);
  for (const [name, content] of files) await writeWhole(join(into, name), content);
  out.log(`\n${text}\n${files.map(([name]) => name).join(', ')}: ${shown(into)}`);
  const read = await readRun(folder);
  await writeCharts(folder, read.charts, (note) => warn(out, note));
  out.log(`report: ${shownWhole(await writeReport(read, join(folder, reportName)))}`);
  return 0;
};
