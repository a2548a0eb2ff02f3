import { readFile } from 'node:fs/promises';
import { dirname, sep } from 'node:path';
import { type Refusal, refusal } from '../core/errors.js';
import { encodeSafetensors } from '../core/safetensors.js';
import type { Json } from '../experiment/identity.js';
import { makesNetwork } from '../experiment/plan.js';
import { withCounters } from '../models/state-dict.js';
import { checkpointOf, files, readRecord } from '../run/outputs.js';
import type { StageRecord } from '../run/record.js';
import { isThere, openStore, type StageOutput, stagesIn, storeOf, writeWhole } from '../run/store.js';
import { shown } from './paths.js';
import type { PlanFile } from './plan-file.js';
import { decodeMatrix, matrixPath, readPlan, stageFolder } from './run-folder.js';
import { type Terminal, terminal } from './terminal.js';

export interface ExportOptions {
  /** A label of the plan, without its seed where that leaves one stage. */
  readonly stage: string;
  /** Default: the stage's name, in the working folder. */
  readonly out?: string;
}

type PlannedStage = PlanFile['stages'][number];

const refuse: Refusal = refusal('usage');

const seedless = (label: string): string => label.replace(/^seed-[^/]+\//, '');

/**
 * The stage of a label; without its seed, where that of one seed alone is planned, or finished. Throws a `FailureError` of kind `usage`
 * that lists the labels there are.
 */
export const stageNamed = (
  asked: string,
  stages: readonly PlannedStage[],
  isFinished: (stage: PlannedStage) => boolean,
): PlannedStage => {
  const models = stages.filter(makesNetwork);
  const found = models.find(({ label }) => label === asked);
  if (found !== undefined) return found;
  const all = models.filter(({ label }) => seedless(label) === asked);
  const there = all.filter(isFinished);
  const [only, ...others] = there.length === 1 ? there : all;
  if (only !== undefined && others.length === 0) return only;
  const listed = (some: readonly PlannedStage[]) => some.map(({ label }) => label).join('\n  ');
  return only === undefined
    ? refuse(`no stage of this name has a network: ${asked}`, '--stage', `There are:\n  ${listed(models)}`)
    : refuse(`several seeds have ${asked}`, '--stage', `Choose one:\n  ${listed([only, ...others])}`);
};

/** The stage as it lies in the store beside a run's folder. */
const finished = async (run: string, { id, label }: PlannedStage): Promise<StageOutput> => {
  let what = 'the stage is not finished';
  const store = openStore(storeOf(run), (_, file) => {
    what = `${file} was altered on disk`;
  });
  const output = await store.find(id);
  return output ?? refuse(what, label, 'Run the experiment, and export it then.');
};

type Fields = { readonly [name: string]: Json };

/** What a file says of its network beside what the store's file does: what it is, and how it was trained. */
const description = ({ label, parts, provenance }: StageRecord): Readonly<Record<string, string>> => {
  const { network, recipe } = (parts.learner ?? parts.student ?? parts) as Fields;
  return {
    format: 'pt',
    undistill: provenance.undistill,
    stage: label,
    params: JSON.stringify((network as Fields).params),
    ...(recipe === undefined ? {} : { recipe: JSON.stringify(recipe) }),
  };
};

/**
 * Writes the network of a stage as PyTorch's `state_dict`, for a strict `load_state_dict`: the checkpoint that the
 * experiment selects. Rejects with a failure of kind `usage` for a run, a stage or a file that will not do.
 */
export const exportCommand = async (
  run: string,
  { stage: asked, out: path = `${stageFolder(asked).replaceAll(sep, '-')}.safetensors` }: ExportOptions,
  out: Terminal = terminal(),
): Promise<number> => {
  const matrix = await matrixPath(run, 'export');
  const folder = dirname(matrix);
  const { select, experiment } = decodeMatrix(await readFile(matrix, 'utf8'), shown(matrix));
  const stored = await stagesIn(storeOf(folder));
  const stage = stageNamed(asked, (await readPlan(folder)).stages, ({ id }) => stored.get(id)?.state === 'finished');
  if (await isThere(path)) refuse('the file exists', path, 'Choose another with --out, or remove it.');

  const output = await finished(folder, stage);
  const record = await readRecord(output);
  if (record.failure !== undefined)
    refuse(`there is no network: ${record.failure.what}`, stage.label, 'Choose another.');
  const checkpoint = checkpointOf(record, select);
  const { tensors, metadata } = await output.tensors(files[checkpoint]);
  const classes = (JSON.parse(metadata.classes ?? '[]') as unknown[]).length;
  const said = { ...metadata, ...description(record), experiment, checkpoint, classCount: String(classes) };
  await writeWhole(path, encodeSafetensors(withCounters(tensors), said));
  out.log(`${path}: ${metadata.network} of ${classes} classes, the ${checkpoint} checkpoint of ${stage.label}`);
  return 0;
};
