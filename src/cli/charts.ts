import { readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type { Matrix } from '../harness/matrix.js';
import { writeWhole } from '../harness/store.js';
import { type Chart, chartsOf, type TrainingLog } from '../report/charts/charts.js';
import { csvOf, pngOf, svgOf } from '../report/charts/render.js';
import { chartFiles, decodeMatrix, jsonText, matrixPath, readPlan, stageFolder } from './run-folder.js';
import { type Terminal, terminal } from './terminal.js';

const { folder: chartsFolder, endings } = chartFiles;

/** The lines of a log that are whole: the last one may be in the middle of being written. */
const epochsIn = (text: string): TrainingLog['epochs'] =>
  text.split('\n').flatMap((line) => {
    try {
      const epoch = JSON.parse(line) as Partial<TrainingLog['epochs'][number]>;
      return typeof epoch.epoch === 'number' && typeof epoch.metrics === 'object' ? [epoch as never] : [];
    } catch {
      return [];
    }
  });

/** What the trainings of a run have logged so far. */
export const trainingLogs = async (run: string): Promise<readonly TrainingLog[]> => {
  const plan = await readPlan(run).catch(() => undefined);
  const logs = (plan?.stages ?? []).map(async ({ label, kind }) => {
    const text = await readFile(join(run, 'stages', stageFolder(label), 'metrics.jsonl'), 'utf8').catch(() => '');
    return { stage: label, kind, epochs: epochsIn(text) };
  });
  return (await Promise.all(logs)).filter(({ epochs }) => epochs.length > 0);
};

/** Draws the charts of a run in place of those that are there, and gives them. `note` is told what could not be made. */
export const writeCharts = async (
  run: string,
  matrix: Matrix,
  note: (text: string) => void,
): Promise<readonly Chart[]> => {
  const charts = chartsOf(matrix, await trainingLogs(run));
  const place = join(run, chartsFolder);
  const before = await readdir(place).catch(() => []);
  const gone = before
    .filter((name) => name.endsWith(endings.spec))
    .map((name) => name.slice(0, -endings.spec.length))
    .filter((name) => !charts.some((chart) => chart.name === name));
  for (const name of gone)
    for (const ending of Object.values(endings)) await rm(join(place, name + ending), { force: true });
  const failures = new Set<string>();
  for (const chart of charts) {
    const path = join(place, chart.name);
    const svg = await svgOf(chart);
    await writeWhole(path + endings.svg, svg);
    await writeWhole(path + endings.data, csvOf(chart));
    await writeWhole(path + endings.spec, jsonText(chart.spec));
    await pngOf(svg).then(
      (png) => writeWhole(path + endings.png, png),
      (error: unknown) => failures.add(error instanceof Error ? error.message : String(error)),
    );
  }
  for (const failure of failures) note(`charts without PNG: ${failure}`);
  return charts;
};

/** Draws the charts of a run again. Rejects with a failure of kind `usage` for a folder that is no run's. */
export const chartsCommand = async (run: string, out: Terminal = terminal()): Promise<number> => {
  const path = await matrixPath(run, 'charts');
  const matrix = decodeMatrix(await readFile(path, 'utf8'), path);
  const folder = dirname(path);
  const charts = await writeCharts(folder, matrix, (text) => out.log(`${out.paint.warning('!')} ${text}`));
  for (const { name, title } of charts)
    out.log(`${relative('', join(folder, chartsFolder, name + endings.svg))}  ${title}`);
  if (charts.length === 0) out.log('Nothing is finished that could be drawn.');
  return 0;
};
