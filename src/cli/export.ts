import { dirname, join, sep } from 'node:path';
import * as v from 'valibot';
import { byName, inFile, text } from '../core/check.js';
import { type Refusal, refusal } from '../core/errors.js';
import { readText } from '../core/files.js';
import { encodeSafetensors } from '../core/safetensors.js';
import { quoted } from '../core/text.js';
import { makesNetwork } from '../experiment/stage.js';
import type { PlanFile } from '../harness/plan-file.js';
import { withCounters } from '../models/state-dict.js';
import { checkpointOf, files, notOfARun, readRecord } from '../run/outputs.js';
import type { StageRecord } from '../run/record.js';
import { recordIn } from '../run/stage-files.js';
import { isThere, openStore, type StageFolder, type StageOutput, stagesIn, storeOf, writeWhole } from '../run/store.js';
import { shown } from './paths.js';
import { decodeMatrix, matrixPath, readPlan, stageFolder } from './run-folder.js';
import { type Terminal, terminal } from './terminal.js';

export interface ExportOptions {
  /** A label of the plan, without its seed where that leaves one stage. Default: the stage that can be exported, where there is one. */
  readonly stage?: string;
  /** Default: the stage's name, in the working folder. */
  readonly out?: string;
}

type PlannedStage = PlanFile['stages'][number];

const refuse: Refusal = refusal('usage');

const seedless = (label: string): string => label.replace(/^seed-[^/]+\//, '');

/**
 * The stage of a label; without its seed, where that of one seed alone is planned, or has a network. Throws a `FailureError` of kind `usage`
 * that lists the labels there are.
 */
export const stageNamed = (
  asked: string,
  stages: readonly PlannedStage[],
  hasNetwork: (stage: PlannedStage) => boolean,
): PlannedStage => {
  const models = stages.filter(makesNetwork);
  const found = models.find(({ label }) => label === asked);
  if (found !== undefined) return found;
  const all = models.filter(({ label }) => seedless(label) === asked);
  const there = all.filter(hasNetwork);
  const [only, ...others] = there.length === 1 ? there : all;
  if (only !== undefined && others.length === 0) return only;
  const listed = (some: readonly PlannedStage[]) => some.map(({ label }) => label).join('\n  ');
  return only === undefined
    ? refuse(`no stage of this name has a network: ${asked}`, '--stage', `There are:\n  ${listed(models)}`)
    : refuse(`several seeds have ${asked}`, '--stage', `Choose one:\n  ${listed([only, ...others])}`);
};

/** Of the stages, those that have a network: finished, and not failed. */
const exportable = async (
  stages: readonly PlannedStage[],
  stored: ReadonlyMap<string, StageFolder>,
): Promise<readonly PlannedStage[]> => {
  const there = stages.filter(makesNetwork).map(async (stage) => {
    const found = stored.get(stage.id);
    const record = found?.state === 'finished' ? await recordIn(found.folder) : undefined;
    return record === undefined || record.failure !== undefined ? [] : [stage];
  });
  return (await Promise.all(there)).flat();
};

/**
 * The one network that there is, for whoever names none. Throws a `FailureError` of kind `usage` that lists what there is to choose from,
 * as it is typed.
 */
const onlyOf = (there: readonly PlannedStage[]): PlannedStage => {
  const [only, ...others] = there;
  if (only === undefined) return refuse('no network is finished', 'export', 'Run the experiment, and export it then.');
  if (others.length === 0) return only;
  const typed = ({ label }: PlannedStage): string => {
    const short = seedless(label);
    return quoted(there.filter((other) => seedless(other.label) === short).length === 1 ? short : label);
  };
  return refuse(
    `${there.length} networks can be exported`,
    'export',
    `Choose one with --stage:\n  ${there.map(typed).join('\n  ')}`,
  );
};

/** The stage as it lies in the store beside a run's folder. */
const finished = async (run: string, { id, label }: PlannedStage): Promise<StageOutput> => {
  let what = 'the stage is not finished';
  const altered = (_: string, file: string) => {
    what = `${file} was altered on disk`;
  };
  const store = openStore(storeOf(run), altered, { reading: true });
  const output = await store.find(id);
  return output ?? refuse(what, label, 'Run the experiment, and export it then.');
};

/** What is needed of a stage's parts, and of the header of its weights: they may be of somebody else's store. */
const learnerPart = v.looseObject({
  network: v.looseObject({ params: byName(v.unknown()) }),
  recipe: v.exactOptional(v.looseObject({})),
});
const weightsMetadata = v.looseObject({
  network: text,
  classes: v.optional(v.pipe(v.string(), v.parseJson(), v.array(text), v.title('a list of names, as JSON')), '[]'),
});

/** What a file says of its network beside what the store's file does: what it is, and how it was trained. */
const description = (path: string, { label, parts, provenance }: StageRecord) => {
  const of = (['learner', 'student'] as const).find((name) => parts[name] !== undefined && parts[name] !== null);
  const where = of === undefined ? `${path}: parts` : `${path}: parts: ${of}`;
  const { network, recipe } = inFile(where, learnerPart, of === undefined ? parts : parts[of], notOfARun);
  return {
    format: 'pt',
    undistill: provenance.undistill,
    stage: label,
    params: JSON.stringify(network.params),
    ...(recipe === undefined ? {} : { recipe: JSON.stringify(recipe) }),
  };
};

/**
 * Writes the network of a stage as PyTorch's `state_dict`, for a strict `load_state_dict`: the checkpoint that the
 * experiment selects. Rejects with a failure of kind `usage` for a run, a stage or a file that will not do.
 */
export const exportCommand = async (
  run: string,
  { stage: asked, out: into }: ExportOptions,
  out: Terminal = terminal(),
): Promise<number> => {
  const matrix = await matrixPath(run, 'export');
  const folder = dirname(matrix);
  const { select, experiment } = decodeMatrix(await readText(matrix), shown(matrix));
  const stored = await stagesIn(storeOf(folder));
  const { stages } = await readPlan(folder);
  const there = await exportable(stages, stored);
  const stage = asked === undefined ? onlyOf(there) : stageNamed(asked, stages, (each) => there.includes(each));
  const path = into ?? `${stageFolder(asked ?? seedless(stage.label)).replaceAll(sep, '-')}.safetensors`;
  if (await isThere(path)) refuse('the file exists', path, 'Choose another with --out, or remove it.');

  const output = await finished(folder, stage);
  const at = (name: string): string => shown(join(output.folder, name));
  const record = await readRecord(output, at(files.record));
  if (record.failure !== undefined)
    refuse(`there is no network: ${record.failure.what}`, stage.label, 'Choose another.');
  const checkpoint = checkpointOf(record, select);
  const { tensors, metadata } = await output.tensors(files[checkpoint]);
  const { network, classes } = inFile(at(files[checkpoint]), weightsMetadata, metadata, notOfARun);
  const said = {
    ...metadata,
    ...description(at(files.record), record),
    ...{ experiment, checkpoint, classCount: String(classes.length) },
  };
  await writeWhole(path, encodeSafetensors(withCounters(tensors), said));
  out.log(`${path}: ${network} of ${classes.length} classes, the ${checkpoint} checkpoint of ${stage.label}`);
  return 0;
};
