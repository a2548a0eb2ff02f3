import { join } from 'node:path';
import { refusal } from '../core/errors.js';
import { readText } from '../core/files.js';
import { jsonText } from '../core/text.js';
import { load } from '../data/load.js';
import { planName } from '../harness/plan-file.js';
import { foldersOf } from '../harness/session.js';
import { diagnosticsCsv, diagnosticsLayout } from '../report/diagnostics.js';
import { inMarkdown } from '../report/markdown.js';
import { inText } from '../report/table.js';
import { diagnoseTeachers } from '../results/diagnose.js';
import { openStore, writeWhole } from '../run/store.js';
import { writeCharts } from './charts.js';
import { readyEngine } from './engine.js';
import { openExperiment } from './experiment-file.js';
import { shown, shownWhole } from './paths.js';
import { readRun, writeReport } from './report.js';
import { decodeMatrix, diagnosticsFiles, matrixPath, readPlan, reportName } from './run-folder.js';
import { type Terminal, terminal, warn } from './terminal.js';

export interface DiagnoseOptions {
  readonly data?: string;
  readonly scale?: number;
  readonly out?: string;
  /** Images on the maps, at most. */
  readonly images: number;
  readonly threads?: number;
}

/**
 * Looks at the teachers of an experiment's run, writes what it finds beside the run's tables and adds it to its charts and
 * its report. Gives the exit code. The experiment is read from the file that is given, and never from one that the run
 * names: a run may be somebody else's, and a file is code. Rejects with a failure of kind `usage` where there is no run of
 * this experiment, or its data are others by now.
 */
export const diagnoseCommand = async (
  file: string,
  { images, threads, ...options }: DiagnoseOptions,
  out: Terminal = terminal(),
): Promise<number> => {
  const { experiment } = await openExperiment(file, options);
  const { run: folder, store } = foldersOf(experiment, options.out);
  const path = await matrixPath(folder, 'diagnose');
  const matrix = decodeMatrix(await readText(path), shown(path));
  const { victims } = await readPlan(folder);
  const refuse = (what: string, where: string): never =>
    refusal('usage')(what, where, 'Run the experiment once more: what is finished is not made again.');
  if (victims === undefined) return refuse('it does not say which its teachers are', shown(join(folder, planName)));
  if (matrix.experiment !== experiment.name)
    refuse(`it is a run of ${matrix.experiment}, and not of ${experiment.name}`, shown(folder));
  await readyEngine(out, { threads });
  const data = await load(experiment.data);
  if (data.fingerprint !== matrix.data.fingerprint) refuse('the data are others than those of the run', data.name);
  const altered = (id: string, file: string) => warn(out, `${id}: ${file} was altered on disk`);
  const found = await diagnoseTeachers({
    experiment,
    data,
    victims,
    store: openStore(store, altered, { reading: true }),
    mapped: images,
    say: (line) => out.log(line),
  });
  const seen = diagnosticsLayout(found);
  const csv = Object.entries(diagnosticsCsv(found)).map(([name, content]) => [`${name}.csv`, content] as const);
  const files = [[diagnosticsFiles.json, jsonText(found)], [diagnosticsFiles.md, inMarkdown(seen)], ...csv] as const;
  const into = join(folder, diagnosticsFiles.folder);
  for (const [name, content] of files) await writeWhole(join(into, name), content);
  out.log(`\n${inText(seen, out.width)}\n${files.map(([name]) => name).join(', ')}: ${shown(into)}`);
  const read = await readRun(folder);
  await writeCharts(folder, read.charts, (note) => warn(out, note));
  out.log(`report: ${shownWhole(await writeReport(read, join(folder, reportName)))}`);
  return 0;
};
