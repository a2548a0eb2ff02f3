import { readFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { FailureError, failure, refusal } from '../core/errors.js';
import { isFile } from '../core/files.js';
import { sha256 } from '../core/hash.js';
import type { Plan } from '../experiment/plan.js';
import { csv } from '../report/csv.js';
import { markdown } from '../report/markdown.js';
import type { TeacherDiagnostics } from '../results/diagnose.js';
import type { Matrix } from '../results/types.js';
import { copyRecordAndLogs, recordIn } from '../run/stage-files.js';
import { isThere, type StageFolder, type Store, stagesIn, writeWhole } from '../run/store.js';
import type { PlanFile } from './plan-file.js';

/** The files of a run that a person reads. */
export const matrixFiles = { json: 'matrix.json', csv: 'matrix.csv', md: 'matrix.md' } as const;

/** The plan of a run, beside its matrix. */
export const planName = 'plan.json';

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
} as const;

/** Charts of a run in a folder of their own: each as two pictures, with its data and its specification beside them. */
export const chartFiles = {
  folder: 'charts',
  endings: { svg: '.svg', png: '.png', data: '.csv', spec: '.vl.json' },
} as const;

/** What `undistill diagnose` finds out about a run's teachers, in a folder of its own. */
export const diagnosticsFiles = { folder: 'diagnostics', json: 'diagnostics.json', md: 'diagnostics.md' } as const;

export const jsonText = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

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

/**
 * A text as the name of a folder: itself where a file system minds nothing in it. Else what it minds is replaced, and a
 * hash of the text added, so that other texts (`rate:0.1`, `rate*0.1`) have other names.
 */
export const nameOf = (text: string): string => {
  const name = withoutOddities(text);
  if (name === text && Buffer.byteLength(name) <= longestName) return name;
  // A character that was cut in two is left out.
  const cut = Buffer.from(name)
    .subarray(0, longestName)
    .toString()
    .replace(/\ufffd+$/, '');
  return `${cut}~${sha256(text).slice(0, 8)}`;
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

/** Throws the failure of a file that a run did not leave like this. */
const refuse = (what: string, path: string): never =>
  refusal('usage')(what, path, 'Run the experiment again to make it anew.');

const parsed = (text: string, path: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return refuse('the file is not JSON', path);
  }
};

/** Null stands for a number that is not finite, which JSON has not. */
const withNumbers = (value: unknown): unknown => {
  if (value === null) return Number.NaN;
  if (Array.isArray(value)) return value.map(withNumbers);
  if (typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, withNumbers(each)]));
};

const lists = ['attacks', 'defenses', 'students', 'seeds', 'victims', 'cells', 'best', 'provenance'] as const;

/** A matrix as a run left it. */
export const decodeMatrix = (text: string, path: string): Matrix => {
  const value = parsed(text, path) as Partial<Matrix>;
  if (value?.version !== 1 || !Array.isArray(value.cells))
    return refuse('the file is no matrix of this version of undistill', path);
  const missing = lists.filter((name) => !Array.isArray(value[name]));
  if (missing.length > 0) return refuse(`the matrix has no ${missing.join(', ')}`, path);
  // What parameters leave open is null.
  const { attacks, defenses } = value;
  return { ...(withNumbers(value) as Matrix), attacks, defenses } as Matrix;
};

/** The plan that a run left in its folder. */
export const readPlan = async (folder: string): Promise<PlanFile> => {
  const path = join(folder, planName);
  const text = await readFile(path, 'utf8').catch(() => refuse('there is no such file', path));
  const value = parsed(text, path) as Partial<PlanFile>;
  if (value?.version !== 1 || !Array.isArray(value.stages))
    return refuse('the file is no plan of this version of undistill', path);
  return value as PlanFile;
};

/** What `undistill diagnose` found out about the teachers of a plan; undefined where it has not, or about other ones. */
export const readDiagnostics = async (folder: string, plan: PlanFile): Promise<TeacherDiagnostics | undefined> => {
  const path = join(folder, diagnosticsFiles.folder, diagnosticsFiles.json);
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const value = parsed(text, path) as Partial<TeacherDiagnostics>;
  if (value?.version !== 1 || !Array.isArray(value.teachers) || !Array.isArray(value.stages))
    return refuse('the file is no diagnosis of this version of undistill', path);
  const planned = new Set(plan.stages.map(({ id }) => id));
  return value.stages.every((id) => planned.has(id)) ? (value as TeacherDiagnostics) : undefined;
};
