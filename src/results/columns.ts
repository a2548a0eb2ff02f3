import { own } from '../core/lists.js';
import { metrics } from '../metrics/metric.js';
import type { Quantity } from '../metrics/quantity.js';
import type { Matrix, MetricSummary, SeedResult, VictimSummary } from './types.js';

/** A number of each seed: of a student, or of a victim. Files, tables and charts are drawn from lists of these. */
export interface Column<Of = SeedResult> extends Quantity {
  readonly of: (result: Of) => number | undefined;
}

export type VictimResult = VictimSummary['seeds'][number];

/** What a matrix has been measured by; files of older versions do not say. */
export const metricsOf = ({ metrics: own }: Pick<Matrix, 'metrics'>): readonly MetricSummary[] => own ?? metrics;

const difference = { unit: 'difference', better: 'neither' } as const;

const accuracyAt = (checkpoint: 'last' | 'best'): Quantity => ({
  name: checkpoint,
  title: `accuracy (${checkpoint})`,
  unit: 'share',
  better: 'higher',
  describe: `Accuracy of the checkpoint ${checkpoint === 'last' ? 'after the last step' : 'best on held-out images'}.`,
});

const seconds: Quantity = {
  name: 'seconds',
  unit: 'seconds',
  better: 'neither',
  describe: 'Wall-clock time of the training, all its parts together.',
};

const ofMetric =
  <Of>(measures: (result: Of) => SeedResult['student']) =>
  ({ name, title, unit, better, describe }: MetricSummary): Column<Of> => ({
    name,
    ...(title === undefined ? {} : { title }),
    unit,
    better,
    describe,
    of: (result) => own(measures(result)?.metrics, name),
  });

const ofStudent = ofMetric<SeedResult>(({ student }) => student);
const ofVictim = ofMetric<VictimResult>(({ measures }) => measures);

/** Every number of a student, the metrics among them. */
export const columnsOf = (matrix: Pick<Matrix, 'metrics'>): readonly Column[] => {
  const [accuracy, ...others] = metricsOf(matrix)
    .filter(({ only }) => only !== 'victim')
    .map(ofStudent);
  return [
    ...(accuracy === undefined ? [] : [accuracy]),
    { ...accuracyAt('last'), of: ({ student }) => student?.last },
    { ...accuracyAt('best'), of: ({ student }) => student?.best },
    {
      name: 'heldOut',
      title: 'accuracy on held-out images',
      unit: 'share',
      better: 'higher',
      describe: 'Accuracy on the training images that are held out, by the checkpoint that counts.',
      of: ({ student }) => student?.heldOut,
    },
    {
      ...difference,
      name: 'toBaseline',
      title: 'difference to baseline',
      describe: 'Accuracy minus that of the same net trained honestly on the same images.',
      of: ({ toBaseline }) => toBaseline,
    },
    {
      ...difference,
      name: 'toLabelSmoothing',
      title: 'difference to label smoothing',
      describe: 'Accuracy minus that of the same net trained on smoothed labels.',
      of: ({ toLabelSmoothing }) => toLabelSmoothing,
    },
    {
      ...difference,
      name: 'toUndefended',
      title: 'difference to undefended',
      describe: 'Accuracy minus that of the same attack on the undefended teacher.',
      of: ({ toUndefended }) => toUndefended,
    },
    ...others,
    {
      name: 'evaluatedImages',
      unit: 'count',
      better: 'neither',
      describe: 'Images on which the student was evaluated.',
      of: ({ student }) => student?.images,
    },
    {
      name: 'trainingImages',
      unit: 'count',
      better: 'neither',
      describe: 'Images that the student was trained on, also those that the attack made itself.',
      of: ({ trainImages }) => trainImages,
    },
    {
      name: 'queries',
      unit: 'count',
      better: 'lower',
      describe: 'Answers that a black box was asked for, an image each.',
      of: ({ queries }) => queries,
    },
    {
      name: 'budget',
      unit: 'count',
      better: 'neither',
      describe: 'Answers that the victim gives in all, where that is limited.',
      of: ({ budget }) => budget,
    },
    {
      name: 'forward',
      title: "forward passes through the victim's weights",
      unit: 'count',
      better: 'neither',
      describe: "Images that went through the victim's net, where the attacker holds its weights: no queries.",
      of: ({ forward }) => forward,
    },
    {
      name: 'backward',
      title: "backward passes through the victim's weights",
      unit: 'count',
      better: 'neither',
      describe: "Images of which a gradient went back through the victim's net.",
      of: ({ backward }) => backward,
    },
    {
      name: 'queryL1',
      title: 'L1 of answers to the attack',
      unit: 'number',
      better: 'neither',
      describe: "Mean Σ|given − clean| of the victim's answers to the attack's queries, 0 to 2.",
      of: ({ answers }) => answers?.l1,
    },
    {
      name: 'queryKl',
      title: 'KL of answers to the attack',
      unit: 'nats',
      better: 'neither',
      describe: "Mean KL(given ‖ clean) of the victim's answers to the attack's queries.",
      of: ({ answers }) => answers?.kl,
    },
    {
      name: 'queryChanged',
      title: 'changed answers to the attack',
      unit: 'share',
      better: 'neither',
      describe:
        "Share of the attack's queries of which another class is the largest of the answer than without the defence.",
      of: ({ answers }) => answers?.changed,
    },
    { ...seconds, of: (result) => result.seconds },
    {
      name: 'stepsPerSecond',
      unit: 'per second',
      better: 'higher',
      describe: 'Training steps a second.',
      of: ({ stepsPerSecond }) => stepsPerSecond,
    },
    {
      name: 'teacherAccuracy',
      unit: 'share',
      better: 'neither',
      describe: 'Accuracy of the teacher that was stolen from.',
      of: ({ teacherAccuracy }) => teacherAccuracy,
    },
  ];
};

/** Every number of a victim. */
export const victimColumnsOf = (matrix: Pick<Matrix, 'metrics'>): readonly Column<VictimResult>[] => {
  const [accuracy, ...others] = metricsOf(matrix)
    .filter(({ only }) => only !== 'student')
    .map(ofVictim);
  return [
    ...(accuracy === undefined ? [] : [accuracy]),
    { ...accuracyAt('last'), of: ({ measures }) => measures?.last },
    { ...accuracyAt('best'), of: ({ measures }) => measures?.best },
    ...others,
    {
      name: 'klToAdversary',
      title: 'KL to adversary',
      unit: 'nats',
      better: 'neither',
      describe:
        "Mean KL(teacher ‖ adversary) on held-out images: how far a retrained teacher's answers are from its adversary's.",
      of: ({ divergence }) => divergence?.kl,
    },
    {
      name: 'normalTeachersKl',
      title: 'KL of normal teachers',
      unit: 'nats',
      better: 'neither',
      describe: 'The same of two normally trained nets, for comparison.',
      of: ({ divergence }) => divergence?.normal,
    },
    { ...seconds, of: (result) => result.seconds },
  ];
};
