import { join } from 'node:path';
import { FailureError, failure, saidBy } from '../core/errors.js';
import { jsonText } from '../core/text.js';
import { version } from '../core/version.js';
import type { Plan } from '../experiment/plan.js';
import { matcher } from '../experiment/select.js';
import type { Stage } from '../experiment/stage.js';
import { foldersOf, prepare } from '../harness/session.js';
import { profileChart } from '../report/charts/profile.js';
import { csvOf, pngOf, svgOf } from '../report/charts/render.js';
import * as defaults from '../run/defaults.js';
import { type FitProfile, type LayerTime, profileStage } from '../run/profiling.js';
import { isPluginWork } from '../run/rehearsal.js';
import { stepsOf } from '../run/steps.js';
import { openStore, writeWhole } from '../run/store.js';
import { engineSaid, readyEngine } from './engine.js';
import { type ExperimentOptions, openExperiment } from './experiment-file.js';
import { shownWhole } from './paths.js';
import { chartFiles, stageFolder } from './run-folder.js';
import { type Terminal, terminal, warn } from './terminal.js';

export interface ProfileOptions extends ExperimentOptions {
  readonly stage?: string;
  readonly steps: number;
  readonly out?: string;
  readonly threads?: number;
}

/** Layers and operations that a table shows; the files have all. */
const shownRows = 20;

/** Shows where the time of a step goes, as tables, and writes them with a chart. Rejects with a failure of kind `usage`. */
export const profileCommand = async (
  file: string,
  options: ProfileOptions,
  out: Terminal = terminal(),
): Promise<number> => {
  const { experiment } = await openExperiment(file, options);
  const { steps, threads } = options;
  const engine = await readyEngine(out, { threads });
  if (!engine.native || engine.gpus.length > 0)
    throw new FailureError(
      failure('engine', 'operations can only be timed one by one where TensorFlow computes on a processor', {
        remedy: 'Run on a machine without a graphics card, or hide it: CUDA_VISIBLE_DEVICES="".',
      }),
    );
  const prepared = await prepare(experiment, { onNote: (note) => warn(out, note) });
  const stage = chosen(prepared.plan, options.stage, (each) => stepsOf(each, prepared.plan, prepared.data) ?? 0);
  const folders = foldersOf(experiment, undefined);
  const store = openStore(folders.store, () => undefined, { reading: true });
  const environment = { ...prepared, store, version: await version(), checkpointEvery: defaults.checkpointEvery };
  out.log(`${stage.label}: ${engineSaid(engine)}`);
  const found = await profileStage(environment, stage, steps);
  for (const line of tables(found)) out.log(line);

  const folder = options.out ?? join(folders.run, 'profile');
  const chart = profileChart(found);
  const path = join(folder, stageFolder(stage.label), found.fit);
  const svg = await svgOf(chart);
  await writeWhole(`${path}.json`, jsonText(found));
  await writeWhole(path + chartFiles.endings.svg, svg);
  await writeWhole(path + chartFiles.endings.data, csvOf(chart));
  await pngOf(svg).then(
    (png) => writeWhole(path + chartFiles.endings.png, png),
    (error: unknown) => warn(out, `no PNG: ${saidBy(error)}`),
  );
  out.log(`\nchart, its data, and all of it as JSON: ${shownWhole(path)}.*`);
  return 0;
};

/** The stage that is asked for, or that of the most steps among thefts. */
const chosen = ({ stages }: Plan, pattern: string | undefined, size: (stage: Stage) => number): Stage => {
  const all = stages.filter(({ work }) => isPluginWork(work));
  const matches = pattern === undefined ? () => true : matcher(pattern);
  const found = all.filter(({ label, work }) => matches(label) && (pattern !== undefined || work.kind === 'steal'));
  const exact = found.find(({ label }) => label === pattern);
  const [longest] = [...found].sort((a, b) => size(b) - size(a));
  const stage = exact ?? longest ?? (pattern === undefined ? all[0] : undefined);
  if (stage !== undefined) return stage;
  throw new FailureError(
    failure('usage', `no stage that trains something matches ${pattern}`, {
      where: '--stage',
      remedy: `There are ${all
        .slice(0, 8)
        .map(({ label }) => label)
        .join(', ')}${all.length > 8 ? ' and more: undistill plan --verbose lists them' : ''}.`,
    }),
  );
};

const ms = (seconds: number): string => {
  const value = 1000 * seconds;
  return value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toFixed(2);
};

/** Rows of words, aligned: the first column to the left, the others to the right. */
const aligned = (rows: readonly (readonly string[])[]): readonly string[] => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] as number) : cell.padStart(widths[column] as number),
      )
      .join('  ')
      .trimEnd(),
  );
};

const all = ({ forward, backward, update }: LayerTime): number => forward + backward + update;

interface Row {
  readonly cells: readonly string[];
  readonly seconds: number;
}

/** The first rows, each with its time and share, and a last one of all that are left. */
const first = (rows: readonly Row[], share: (seconds: number) => string): readonly (readonly string[])[] => {
  const rest = rows.slice(shownRows);
  const empty = rest[0]?.cells.slice(1).map(() => '') ?? [];
  const others: Row = {
    cells: [`${rest.length} more`, ...empty],
    seconds: rest.reduce((sum, { seconds }) => sum + seconds, 0),
  };
  return [...rows.slice(0, shownRows), ...(rest.length === 0 ? [] : [others])].map(({ cells, seconds }) => [
    ...cells,
    ms(seconds),
    share(seconds),
  ]);
};

const tables = ({
  fit,
  images,
  steps,
  compiled,
  eager,
  inOperations,
  operations,
  layers,
}: FitProfile): readonly string[] => {
  const share = (seconds: number): string => `${((100 * seconds) / inOperations).toFixed(1)} %`;
  const byTime = [...layers].sort((a, b) => all(b) - all(a));
  return [
    `fit ${fit}, ${images} images a step: ${ms(compiled)} ms compiled; ${ms(eager)} ms operation by operation, of which ${ms(inOperations)} in operations (medians of ${steps} steps)`,
    '',
    ...aligned([
      ['layer', 'forward', 'backward', 'update', 'ms', 'share'],
      ...first(
        byTime.map((each) => ({
          cells: [
            each.net === '' ? each.layer : `${each.net}: ${each.layer}`,
            ...[each.forward, each.backward, each.update].map(ms),
          ],
          seconds: all(each),
        })),
        share,
      ),
    ]),
    '',
    ...aligned([
      ['operation', 'calls', 'ms', 'share'],
      ...first(
        operations.map(({ name, calls, seconds }) => ({ cells: [name, String(calls)], seconds })),
        share,
      ),
    ]),
  ];
};
