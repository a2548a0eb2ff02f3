import { basename, dirname, join, resolve } from 'node:path';
import type * as v from 'valibot';
import { inFile, versioned } from '../core/check.js';
import { FailureError, failure, refusal } from '../core/errors.js';
import { isFile, readText } from '../core/files.js';
import { sha256 } from '../core/hash.js';
import { jsonText } from '../core/text.js';
import type { Plan } from '../experiment/plan.js';
import { type PlanFile, planName, planSchema } from '../harness/plan-file.js';
import { csv } from '../report/csv.js';
import { markdown } from '../report/markdown.js';
import type { TeacherDiagnostics } from '../results/diagnose.js';
import { diagnosticsFile, matrixFile, rankingFile } from '../results/files.js';
import type { Ranking } from '../results/ranking.js';
import type { Matrix } from '../results/types.js';
import { removeFile } from '../run/disk.js';
import type { Outcome } from '../run/record.js';
import { copyRecordAndLogs, recordIn } from '../run/stage-files.js';
import { isThere, type StageFolder, type Store, stagesIn, writeWhole } from '../run/store.js';

/** The files of a run that a person reads. */
export const matrixFiles = { json: 'matrix.json', csv: 'matrix.csv', md: 'matrix.md' } as const;

/** The page of a run, beside its matrix. */
export const reportName = 'report.html';

/** Where a run keeps the log and the record of each stage, in folders by their labels. */
export const stagesFolder = 'stages';

/** What a run shows of the images that an attack synthesised, in a folder of their own for each student below `images`. */
export const imageFiles = {
  folder: 'images',
  list: 'images.json',
  grid: 'grid.png',
  compare: 'compare.png',
  /** A folder of pictures, by name in the order in which they were taken. */
  history: 'history',
  animation: 'history.gif',
  /** Beside the attacks' folders: `sheet-<student>-seed-<label>.png`. */
  sheet: 'sheet',
} as const;

/** Charts of a run in a folder of their own: each as two pictures, with its data and its specification beside them. */
export const chartFiles = {
  folder: 'charts',
  endings: { svg: '.svg', png: '.png', data: '.csv', spec: '.vl.json' },
} as const;

/** What `undistill diagnose` finds out about a run's teachers, in a folder of its own. */
export const diagnosticsFiles = { folder: 'diagnostics', json: 'diagnostics.json', md: 'diagnostics.md' } as const;

export const writeMatrix = async (folder: string, matrix: Matrix): Promise<void> => {
  await writeWhole(join(folder, matrixFiles.json), jsonText(matrix));
  await writeWhole(join(folder, matrixFiles.csv), csv(matrix));
  await writeWhole(join(folder, matrixFiles.md), markdown(matrix));
};

/** A text without what a file system minds in a name. */
export const withoutOddities = (text: string): string =>
  text.replace(/[^\p{L}\p{N}.()+,= %-]/gu, '_').replace(/^\.*$/, '_');

/** Bytes of a name: file systems take 255, and something may be added to it. */
const longestName = 200;

/** As much of a text as there is room for in a name; a character that would be cut in two is left out. */
export const shortened = (text: string): string =>
  Buffer.from(text)
    .subarray(0, longestName)
    .toString()
    .replace(/\ufffd+$/, '');

/**
 * A text as the name of a folder: itself where a file system minds nothing in it. Else what it minds is replaced, and a
 * hash of the text added, so that other texts (`rate:0.1`, `rate*0.1`) have other names.
 */
export const nameOf = (text: string): string => {
  const name = withoutOddities(text);
  if (name === text && Buffer.byteLength(name) <= longestName) return name;
  return `${shortened(name)}~${sha256(text).slice(0, 8)}`;
};

/** A stage's folder below `stages`, by its label. */
export const stageFolder = (label: string): string => join(...label.split('/').map(nameOf));

/** The log and the record of every stage that has them, out of the store; of one that failed, what it left. */
export const copyStages = async (folder: string, plan: Plan, store: Store): Promise<void> => {
  const stored = await stagesIn(store.root);
  for (const { id, label } of plan.stages) {
    const found = stored.get(id);
    if (found !== undefined) await copyRecordAndLogs(found.folder, copyOf(folder, label));
  }
};

/** What a failed stage's plugin threw, with its whole stack, in the stage's folder below `stages`. */
const traceName = 'failure.txt';

/** Keeps with each stage what its plugin threw; of one that did not fail again, nothing. */
export const keepTraces = async (folder: string, plan: Plan, outcomes: ReadonlyMap<string, Outcome>): Promise<void> => {
  for (const { id, label } of plan.stages) {
    const outcome = outcomes.get(id);
    const path = join(copyOf(folder, label), traceName);
    if (outcome?.status === 'failed' && outcome.failure.trace !== undefined)
      await writeWhole(path, `${label}\n${outcome.failure.trace}\n`);
    else if (outcome?.status === 'done') await removeFile(path);
  }
};

const copyOf = (folder: string, label: string): string => join(folder, stagesFolder, stageFolder(label));

/** What `copyStages` left of a stage; undefined where it left nothing. */
export const copiedStage = async (folder: string, label: string): Promise<StageFolder | undefined> => {
  const copy = copyOf(folder, label);
  if (!(await isThere(copy))) return undefined;
  return { state: (await recordIn(copy)) === undefined ? 'begun' : 'finished', folder: copy };
};

/**
 * The first file of some names that a run has; the run is given as one of them, as its folder or by its name below `runs`.
 * Rejects with a failure of kind `usage` where it has none; its remedy is to call `command` another way.
 */
const fileOfRun = async (run: string, names: readonly string[], command: string): Promise<string> => {
  const candidates = [
    ...(names.includes(basename(run)) ? [run] : []),
    ...[run, join('runs', run)].flatMap((folder) => names.map((name) => join(folder, name))),
  ].map((path) => resolve(path));
  for (const path of candidates) {
    if (await isFile(path)) return path;
  }
  throw new FailureError(
    failure('usage', `there is ${names.map((name) => `no ${name}`).join(' and ')}, in it or in runs/${run}`, {
      where: run,
      remedy: `Give the folder of a run, or its name: undistill ${command} quickstart.`,
    }),
  );
};

/** The matrix.json of a run that has one. */
export const matrixPath = (run: string, command: string): Promise<string> =>
  fileOfRun(run, [matrixFiles.json], command);

/** The folder of a run that has a matrix, or only a plan as yet. */
export const runFolder = async (run: string, command: string): Promise<string> =>
  dirname(await fileOfRun(run, [matrixFiles.json, planName], command));

const remedy = 'Run the experiment again to make it anew.';

/** What the text of a run's file says. Throws a `FailureError` of kind `usage` that names the file and the field. */
const decode = <Schema extends v.GenericSchema>(
  schema: Schema,
  text: string,
  path: string,
  what: string,
): v.InferOutput<Schema> => inFile(path, schema, versioned(text, path, what, remedy), remedy);

/** A matrix as a run left it. */
export const decodeMatrix = (text: string, path: string): Matrix => decode(matrixFile, text, path, 'matrix');

/** A ranking as `undistill rank` left it, or a matrix, whichever it is. */
export const decodeRankable = (text: string, path: string): Matrix | Ranking => {
  const value = versioned(text, path, 'matrix, and no ranking', remedy);
  return 'runs' in (value as object)
    ? inFile(path, rankingFile, value, remedy)
    : inFile(path, matrixFile, value, remedy);
};

/** The plan that a run left in its folder. */
export const readPlan = async (folder: string): Promise<PlanFile> => {
  const path = join(folder, planName);
  if (!(await isFile(path))) refusal('usage')('there is no such file', path, remedy);
  return decode(planSchema, await readText(path), path, 'plan') as PlanFile;
};

/** What `undistill diagnose` found out about the teachers of a plan; undefined where it has not, or about other ones. */
export const readDiagnostics = async (folder: string, plan: PlanFile): Promise<TeacherDiagnostics | undefined> => {
  const path = join(folder, diagnosticsFiles.folder, diagnosticsFiles.json);
  if (!(await isFile(path))) return undefined;
  const found = decode(diagnosticsFile, await readText(path), path, 'diagnosis');
  const planned = new Set(plan.stages.map(({ id }) => id));
  return found.stages.every((id) => planned.has(id)) ? found : undefined;
};
