import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { saidBy } from '../core/errors.js';
import { isFile } from '../core/files.js';
import { jsonText } from '../core/text.js';
import { csvOf, pngOf, svgOf } from '../report/charts/render.js';
import { removeFile } from '../run/disk.js';
import { writeWhole } from '../run/store.js';
import { shown } from './paths.js';
import { type Drawn, runReader } from './report-run.js';
import { chartFiles, matrixPath } from './run-folder.js';
import { type Terminal, terminal, warn } from './terminal.js';

const { folder: chartsFolder, endings } = chartFiles;

/** Writes the charts of a run in place of those that are there. `note` is told what could not be made. */
export const writeCharts = async (
  run: string,
  charts: readonly Drawn[],
  note: (text: string) => void,
): Promise<void> => {
  const place = join(run, chartsFolder);
  const before = await readdir(place).catch(() => []);
  const gone = before
    .filter((name) => name.endsWith(endings.spec))
    .map((name) => name.slice(0, -endings.spec.length))
    .filter((name) => !charts.some((chart) => chart.name === name));
  for (const name of gone)
    for (const path of Object.values(endings).map((ending) => join(place, name + ending)))
      if (await isFile(path)) await removeFile(path);
  const failures = new Set<string>();
  for (const chart of charts) {
    const path = join(place, chart.name);
    const svg = chart.svg ?? (await svgOf(chart));
    await writeWhole(path + endings.svg, svg);
    await writeWhole(path + endings.data, csvOf(chart));
    await writeWhole(path + endings.spec, jsonText(chart.spec));
    await pngOf(svg).then(
      (png) => writeWhole(path + endings.png, png),
      (error: unknown) => failures.add(saidBy(error)),
    );
  }
  for (const failure of failures) note(`charts without PNG: ${failure}`);
};

/** Draws the charts of a run again. Rejects with a failure of kind `usage` for a folder that is no run's. */
export const chartsCommand = async (run: string, out: Terminal = terminal()): Promise<number> => {
  const path = await matrixPath(run, 'charts');
  const folder = dirname(path);
  // Without pictures, and undrawn.
  const { charts } = await runReader(folder, { embed: 0 }).read();
  await writeCharts(folder, charts, (text) => warn(out, text));
  for (const { name, title } of charts) out.log(`${shown(join(folder, chartsFolder, name + endings.svg))}  ${title}`);
  if (charts.length === 0) out.log('Nothing is finished that could be drawn.');
  return 0;
};
