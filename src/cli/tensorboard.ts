import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readText, readWithin } from '../core/files.js';
import { unique } from '../core/lists.js';
import { counted, quoted } from '../core/text.js';
import { jsonLines } from '../report/logs.js';
import { type Event, eventFile, isPng } from '../report/tensorboard.js';
import type { StageRecord } from '../run/record.js';
import { logsIn, recordIn } from '../run/stage-files.js';
import { writeWhole } from '../run/store.js';
import type { EpochRecord } from '../train/fit-log.js';
import { shown } from './paths.js';
import { decodeMatrix, imageFiles, matrixPath, stagesFolder } from './run-folder.js';
import { type Terminal, terminal, warn } from './terminal.js';

export interface TensorboardOptions {
  /** Default: `tensorboard` in the run's folder. */
  readonly out?: string;
}

/** What TensorBoard knows an event file by is in its name. */
const eventsName = 'events.out.tfevents.0.undistill';

/** Every file below a folder whose name is wanted, relative to it, in order. */
const filesBelow = async (
  folder: string,
  isWanted: (name: string) => boolean = () => true,
): Promise<readonly string[]> =>
  (await readdir(folder, { recursive: true }).catch(() => [])).filter((path) => isWanted(basename(path))).sort();

/** Every folder below a folder that has something in it, relative to it, in order. */
const foldersBelow = async (folder: string): Promise<readonly string[]> =>
  unique((await filesBelow(folder)).map((path) => dirname(path)));

/** The epochs of a log. Null stands for what is not finite. */
const epochsIn = (log: string): readonly EpochRecord[] =>
  (jsonLines(log, (_, value) => value ?? Number.NaN) as readonly EpochRecord[]).filter(({ step }) =>
    Number.isSafeInteger(step),
  );

const scalarsOf = ({
  metrics,
  validation,
  learningRate,
  stepsPerSecond,
}: EpochRecord): Readonly<Record<string, number>> =>
  Object.fromEntries(
    Object.entries({ ...metrics, validation, learning_rate: learningRate, steps_per_second: stepsPerSecond }).filter(
      (each): each is [string, number] => typeof each[1] === 'number',
    ),
  );

/** A log has no times: a stage's steps are spread evenly over the seconds that it took, up to when it was finished. */
const scalarEvents = (epochs: readonly EpochRecord[], record: StageRecord | undefined): readonly Event[] => {
  const finished = record === undefined ? 0 : Date.parse(record.provenance.finished) / 1000;
  const seconds = record?.seconds ?? 0;
  const steps = epochs.at(-1)?.step ?? 1;
  return epochs.map((epoch) => ({
    step: epoch.step,
    wallTime: finished - seconds * (1 - epoch.step / steps),
    scalars: scalarsOf(epoch),
  }));
};

/** Events by the name of what TensorBoard calls a run: `seed-0/none/leNet5Half/kd`. */
const scalarsIn = async (folder: string): Promise<ReadonlyMap<string, readonly Event[]>> => {
  const found = new Map<string, readonly Event[]>();
  for (const stage of await foldersBelow(folder)) {
    const record = await recordIn(join(folder, stage));
    for (const { fit, text } of await logsIn(join(folder, stage))) {
      const epochs = epochsIn(text);
      if (epochs.length > 0) found.set(join(stage, fit), scalarEvents(epochs, record));
    }
  }
  return found;
};

/** The grid and the comparison of each student's images, and the pictures of how they came about, by step. */
const imagesIn = async (
  folder: string,
  note: (text: string) => void,
): Promise<ReadonlyMap<string, readonly Event[]>> => {
  const found = new Map<string, readonly Event[]>();
  for (const list of await filesBelow(folder, (name) => name === imageFiles.list)) {
    const own = join(folder, dirname(list));
    const events: Event[] = [];
    const add = async (tag: string, step: number, path: string): Promise<void> => {
      const png = await readWithin(folder, path).catch(() => undefined);
      if (png === undefined) return;
      if (!isPng(png) || !Number.isSafeInteger(step)) return note(`${shown(path)} is no picture, and is left out`);
      const wallTime = (await stat(path)).mtimeMs / 1000;
      events.push({ step, wallTime, images: { [tag]: png } });
    };
    for (const name of await filesBelow(join(own, imageFiles.history), (each) => each.endsWith('.png')))
      await add(imageFiles.history, Number(/(\d+)\.png$/.exec(name)?.[1] ?? 0), join(own, imageFiles.history, name));
    for (const name of [imageFiles.grid, imageFiles.compare]) await add(basename(name, '.png'), 0, join(own, name));
    if (events.length > 0) found.set(join(imageFiles.folder, dirname(list)), events);
  }
  return found;
};

/** Writes what a run logged and drew as event files for TensorBoard. Gives the exit code. */
export const tensorboardCommand = async (
  run: string,
  { out: target }: TensorboardOptions,
  out: Terminal = terminal(),
): Promise<number> => {
  const matrix = await matrixPath(run, 'tensorboard');
  decodeMatrix(await readText(matrix), shown(matrix));
  const folder = dirname(matrix);
  const into = target ?? join(folder, 'tensorboard');
  const note = (text: string): void => warn(out, text);
  const all = [
    ...(await scalarsIn(join(folder, stagesFolder))),
    ...(await imagesIn(join(folder, imageFiles.folder), note)),
  ];
  for (const [name, events] of all) await writeWhole(join(into, name, eventsName), eventFile(events));
  if (all.length === 0) out.log(`${shown(folder)}: nothing was logged in this run.`);
  else
    out.log(`${counted(all.length, 'log')} in ${shown(into)}; tensorboard --logdir ${quoted(shown(into))} shows them`);
  return 0;
};
