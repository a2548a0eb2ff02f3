import { FailureError, failure } from '../core/errors.js';
import { percentage } from '../core/text.js';
import { type DataInUse, evaluationSets } from '../experiment/data-access.js';
import type { Experiment } from '../experiment/experiment.js';
import type { Stage } from '../experiment/stage.js';
import { klToVictim, labelsChanged } from '../metrics/divergence.js';
import {
  agreeing,
  type Evaluation,
  type Metric,
  type MetricValues,
  measured,
  metrics,
  wantsViews,
} from '../metrics/metric.js';
import { accuracy } from '../train/accuracy.js';
import type { ImageSet } from '../train/images.js';
import type { Logits } from '../train/logits.js';
import { files, input, optionalInput } from './outputs.js';
import type { Divergence, Measures } from './record.js';
import { overViews } from './stage-files.js';
import type { StageOutput } from './store.js';
import type { RunEnvironment, StageRun } from './types.js';

/**
 * Measures a model against the truth and its victim, or against itself without the wrapper that it answers through; or
 * a defended teacher against its adversary.
 */
export const measureStage = async (
  { plan: { experiment }, data, store }: RunEnvironment,
  stage: Stage,
  { staging, warn }: Pick<StageRun, 'staging' | 'warn'>,
): Promise<undefined> => {
  const { work } = stage;
  if (work.kind !== 'measure') throw new Error(`${stage.label} measures nothing`);
  const [model, victim, clean, adversary, normal, otherNormal] = await Promise.all([
    input(store, stage, 'model'),
    ...['victim', 'clean', 'adversary', 'normal', 'otherNormal'].map((role) => optionalInput(store, stage, role)),
  ]);
  if (adversary === undefined) {
    const lost = work.tellsClean && clean !== undefined ? await labelsLost(experiment, model, clean) : 0;
    if (lost > 0 && work.metric === undefined) warn(labelLost(lost));
    const of = { data, experiment };
    const beside = { victim, clean, tellsTruly: lost === 0 };
    const result = work.metric ? await measureBy(work.metric, of, model, beside) : await measure(of, model, beside);
    await staging.writeJson(files.result, result);
    return;
  }
  const normals = normal === undefined || otherNormal === undefined ? undefined : ([normal, otherNormal] as const);
  const divergence = await diverge(experiment, model, adversary, normals);
  const warning = hardlyOther(divergence);
  if (warning !== undefined) warn(warning);
  await staging.writeJson(files.result, divergence);
};

/** Logits of a model by checkpoint and images: `last/test`, `best/validation`, [images, classes] each. */
const readLogits = async (
  output: StageOutput,
  checkpoint: 'last' | 'best',
  part: string,
): Promise<Logits | undefined> => {
  const stored = (await output.tensors(files.logits)).tensors[`${checkpoint}/${part}`];
  return stored === undefined ? undefined : { values: stored.data as Float32Array, classes: stored.shape[1] as number };
};

/** Of the checkpoint that counts, the best where it counts and exists, the last otherwise; undefined where there are none. */
const logitsThere = async (
  output: StageOutput,
  { select }: Pick<Experiment, 'select'>,
  part: string,
): Promise<Logits | undefined> => (await readLogits(output, select, part)) ?? (await readLogits(output, 'last', part));

/** The same; where there are none, it rejects. */
export const chosenLogits = async (
  output: StageOutput,
  { select }: Pick<Experiment, 'select'>,
  part: string,
): Promise<Logits> => {
  const chosen = await logitsThere(output, { select }, part);
  if (chosen === undefined)
    throw new FailureError(
      failure('store', `no logits on the ${part} images`, { where: output.folder, remedy: 'Run with --force.' }),
    );
  return chosen;
};

/** The class that a victim with defences names for each image, where it is kept beside what it gives. */
const labelsTold = async (output: StageOutput, part: string): Promise<ArrayLike<number> | undefined> =>
  (await output.tensors(files.logits)).tensors[`told/${part}`]?.data;

/** What a model is compared with. */
interface Beside {
  readonly victim?: StageOutput | undefined;
  readonly clean?: StageOutput | undefined;
  /** Default: the class that a defence says it names is the one that counts. */
  readonly tellsTruly?: boolean | undefined;
}

/** What is known of a model on the reported images. */
const evaluationOf = async (
  of: DataInUse & { readonly experiment: Experiment },
  model: StageOutput,
  beside: Beside,
): Promise<Evaluation & { readonly labels: readonly number[] }> => {
  const { experiment } = of;
  const { report } = experiment;
  const set = evaluationSets(of)[report];
  if (set === undefined) throw new FailureError(failure('experiment', `there are no ${report} images`));
  const labels = labelsOf(set);
  const logits = await chosenLogits(model, experiment, report);
  const [victim, clean] = await Promise.all(
    [beside.victim, beside.clean].map((output) => output && chosenLogits(output, experiment, report)),
  );
  const views = wantsViews(experiment.metrics) ? await logitsThere(model, experiment, overViews(report)) : undefined;
  const told = beside.tellsTruly === false ? undefined : await labelsTold(model, report);
  const victimTold = beside.victim && (await labelsTold(beside.victim, report));
  return { logits, labels, victim, victimTold, clean, told, views };
};

/** What one of the experiment's own metrics says of a model. Rejects with a `FailureError` of kind `plugin` where it fails. */
export const measureBy = async (metric: Metric, ...of: Parameters<typeof evaluationOf>): Promise<MetricValues> =>
  measured([metric], await evaluationOf(...of));

/**
 * A model's numbers on the reported images by the built-in metrics: as a student of `victim`, or as a victim whose undefended
 * answers are `clean`, where there are such.
 */
export const measure = async (
  of: DataInUse & { readonly experiment: Experiment },
  model: StageOutput,
  beside: Beside = {},
): Promise<Measures> => {
  const { experiment } = of;
  const { report } = experiment;
  const evaluation = await evaluationOf(of, model, beside);
  const { logits, labels, told } = evaluation;
  const accuracyOf = (of: Logits): number => (told === undefined ? accuracy(of, labels) : agreeing(told, labels));
  const best = await readLogits(model, 'best', report);
  const heldOut = beside.clean === undefined && report === 'test' ? await heldOutAccuracy(of, model) : undefined;
  return {
    images: labels.length,
    ...(beside.clean !== undefined && experiment.select === 'best'
      ? {}
      : { last: accuracyOf((await readLogits(model, 'last', report)) ?? logits) }),
    ...(best === undefined ? {} : { best: accuracyOf(best) }),
    ...(heldOut === undefined ? {} : { heldOut }),
    metrics: measured(metrics, evaluation),
  };
};

/** The share of images to which the class of the clean answer is not among the likeliest of what is given; ties keep it. */
const labelsLost = async (experiment: Experiment, given: StageOutput, clean: StageOutput): Promise<number> => {
  const { report } = experiment;
  const [after, before] = await Promise.all([
    chosenLogits(given, experiment, report),
    chosenLogits(clean, experiment, report),
  ]);
  return labelsChanged(before, after);
};

/** What a reader must know of a defence that says it leaves the label as it is, and does not. */
const labelLost = (share: number): string =>
  `its answers declare to preserve the label, and to ${percentage(share)} of the images they name another class: its accuracy is that of what it answers; attacks on labels alone are told the clean one. Correct it, or take preserves out`;

/** The accuracy of a net on the held-out images; undefined where there are none, or it was not asked about them. */
const heldOutAccuracy = async (
  of: DataInUse & { readonly experiment: Experiment },
  model: StageOutput,
): Promise<number | undefined> => {
  const { validation } = evaluationSets(of);
  const logits = validation && (await logitsThere(model, of.experiment, 'validation'));
  return logits && accuracy(logits, labelsOf(validation));
};

const labelsOf = ({ examples, indices }: ImageSet): number[] =>
  Array.from(indices, (index) => examples.labels[index] as number);

/**
 * How far a defended teacher is from its adversary, and two normal nets from each other: on held-out images where there
 * are some, so that a warning drawn from it never depends on the test set.
 */
export const diverge = async (
  experiment: Experiment,
  defended: StageOutput,
  adversary: StageOutput,
  normal: readonly [StageOutput, StageOutput] | undefined,
): Promise<Divergence> => {
  const part = experiment.validation > 0 ? 'validation' : experiment.report;
  const between = async (p: StageOutput, q: StageOutput): Promise<number> =>
    klToVictim(await chosenLogits(q, experiment, part), await chosenLogits(p, experiment, part));
  const kl = await between(defended, adversary);
  return normal === undefined ? { kl } : { kl, normal: await between(...normal) };
};

/** What a reader must know of a divergence that is too small. */
export const hardlyOther = ({ kl, normal }: Divergence): string | undefined =>
  normal === undefined || kl > normal
    ? undefined
    : `its answers are no further from its adversary's, by default the undefended teacher's (KL ${kl.toPrecision(3)}), than two normally trained nets' from each other (${normal.toPrecision(3)}): make it stronger (nasty: a larger omega), or train it longer`;
