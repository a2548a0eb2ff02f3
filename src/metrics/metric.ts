import { FailureError, failure, saidBy, toFailure } from '../core/errors.js';
import { accuracy } from '../train/accuracy.js';
import type { Logits } from '../train/logits.js';
import { agreement } from './agreement.js';
import { entropy, peaks, peakThreshold } from './answers.js';
import { calibrationError } from './calibration.js';
import { givenL1, klToVictim, l1Distance, labelsChanged } from './divergence.js';
import { negativeLogLikelihood } from './likelihood.js';
import type { Quantity } from './quantity.js';
import { topAccuracy } from './top-k.js';

/** What is known of a model on the images that a report is about: the stored answers, [images, classes] each. */
export interface Evaluation {
  readonly logits: Logits;
  /** One class an image. */
  readonly labels: ArrayLike<number>;
  /** Of a student: what its victim answers. */
  readonly victim?: Logits | undefined;
  /** The class that its victim names for each image, where that need not be the largest of its answers. */
  readonly victimTold?: ArrayLike<number> | undefined;
  /**
   * Of a victim that answers through a wrapper: what it would answer without; `logits` are then the answers it gives.
   */
  readonly clean?: Logits | undefined;
  /**
   * The class that such a victim names for each image, where that need not be the largest of its answers: a label
   * that is left as it is.
   */
  readonly told?: ArrayLike<number> | undefined;
  /** The mean of the logits over several views of each image, where a metric `wants` them. */
  readonly views?: Logits | undefined;
}

/**
 * A number of a trained model: a pure function of its stored answers. One of a user's own is a value of this type in an
 * experiment's `metrics`; it is computed of what is stored, so that adding or changing it trains nothing again, and by itself, so
 * that no other metric's numbers depend on it.
 */
export interface Metric extends Quantity {
  /** Of whom alone it is told; default: of students and of victims. */
  readonly only?: 'student' | 'victim';
  /** `views`: models are evaluated on several views of each image as well, which takes seven times as long. */
  readonly wants?: 'views';
  /** What distinguishes two uses of one function; plain JSON. */
  readonly params?: Readonly<Record<string, unknown>>;
  /** `import.meta.url`: numbers of an older version of the file are not reused. */
  readonly source: string;
  /**
   * Undefined where it does not apply, such as a comparison with a victim where there is none. Never NaN of finite
   * logits.
   */
  readonly of: (evaluation: Evaluation) => number | undefined;
}

/** τ of `softKlToVictim`: Nasty Teacher's for CIFAR-10 (VITA-Group/Nasty-Teacher, params.json for CIFAR-10). */
export const softTemperature = 4;

/**
 * Accuracy of the mean of the logits over six views of an image: it and two that are moved by a pixel along the diagonal, each as it is and
 * mirrored. The unmoved ones count as much as the moved ones together. For an experiment's `metrics`. A victim that answers through a
 * wrapper has none.
 *
 * Source: airbench (KellerJordan/cifar10-airbench), whose published accuracies are these.
 */
export const accuracyOverViews: Metric = {
  name: 'accuracyOverViews',
  title: 'accuracy over six views',
  unit: 'share',
  better: 'higher',
  describe:
    'Share of the images whose most likely class over six views, mirrored and moved by a pixel, is their label.',
  source: import.meta.url,
  wants: 'views',
  of: ({ views, labels }) => views && accuracy(views, labels),
};

/** Whether models are to be evaluated over several views of each image. */
export const wantsViews = (all: readonly Metric[]): boolean => all.some(({ wants }) => wants === 'views');

const toVictim =
  (compare: (student: Logits, victim: Logits) => number): Metric['of'] =>
  ({ logits, victim }) =>
    victim === undefined ? undefined : compare(logits, victim);

const toClean =
  (compare: (clean: Logits, given: Logits) => number): Metric['of'] =>
  ({ logits, clean }) =>
    clean === undefined ? undefined : compare(clean, logits);

const source = import.meta.url;

/** The share of images that are called by their label. */
export const agreeing = (told: ArrayLike<number>, labels: ArrayLike<number>): number =>
  Array.from(labels).filter((label, i) => told[i] === label).length / labels.length;

/** Every metric that is always measured. Tables, files, charts and the JSON Schema are drawn from this list. */
export const metrics: readonly Metric[] = [
  {
    name: 'accuracy',
    unit: 'share',
    better: 'higher',
    describe: 'Share of the images whose most likely class is their label; of a victim, whose class it names.',
    source,
    of: ({ logits, labels, told }) => (told === undefined ? accuracy(logits, labels) : agreeing(told, labels)),
  },
  {
    name: 'agreement',
    title: 'agreement with victim',
    only: 'student',
    unit: 'share',
    better: 'higher',
    describe:
      "Share of the images on which the student's most likely class is the one that the victim names, right or wrong.",
    source,
    of: ({ logits, victim, victimTold }) =>
      victimTold === undefined ? victim && agreement(logits, victim) : accuracy(logits, victimTold),
  },
  {
    name: 'klToVictim',
    title: 'KL to victim',
    only: 'student',
    unit: 'nats',
    better: 'lower',
    describe: 'Mean KL(victim ‖ student) of the probabilities; 0 where they answer alike.',
    source,
    of: toVictim(klToVictim),
  },
  {
    name: 'softKlToVictim',
    title: `KL to victim at temperature ${softTemperature}`,
    only: 'student',
    unit: 'nats',
    better: 'lower',
    describe: `Mean KL(victim ‖ student) of the probabilities, both softened at temperature ${softTemperature}.`,
    source,
    of: toVictim((student, victim) => klToVictim(student, victim, softTemperature)),
  },
  {
    name: 'calibrationError',
    title: 'calibration error, 15 bins',
    unit: 'share',
    better: 'lower',
    describe:
      'Expected calibration error (Guo et al. 2017) over 15 bins of equal width: how far confidence and accuracy are apart.',
    source,
    of: ({ logits, labels }) => calibrationError(logits, labels),
  },
  {
    name: 'negativeLogLikelihood',
    title: 'negative log-likelihood',
    unit: 'nats',
    better: 'lower',
    describe: 'Mean negative log-likelihood of the labels; 0 where every label is certain.',
    source,
    of: ({ logits, labels }) => negativeLogLikelihood(logits, labels),
  },
  {
    name: 'top5',
    title: 'top-5 accuracy',
    unit: 'share',
    better: 'higher',
    describe: 'Share of the images whose label is among the five most likely classes; absent up to five classes.',
    source,
    of: ({ logits, labels }) => (logits.classes > 5 ? topAccuracy(logits, labels, 5) : undefined),
  },
  {
    name: 'l1ToVictim',
    title: 'L1 to victim',
    only: 'student',
    unit: 'number',
    better: 'lower',
    describe: "Mean L1 distance of the student's and the victim's probabilities, 0 to 2.",
    source,
    of: toVictim(l1Distance),
  },
  {
    name: 'entropy',
    title: 'entropy of answers',
    unit: 'nats',
    better: 'neither',
    describe:
      'Mean entropy of the answers, 0 to the logarithm of the number of classes; high where a model is not confident.',
    source,
    of: ({ logits }) => entropy(logits),
  },
  {
    name: 'peaks',
    title: 'peaks of answers',
    unit: 'number',
    better: 'neither',
    describe: `Mean number of classes with a probability above ${peakThreshold}; 1 where a model is sure.`,
    source,
    of: ({ logits }) => peaks(logits),
  },
  {
    name: 'answerL1',
    title: 'L1 of given to clean answers',
    only: 'victim',
    unit: 'number',
    better: 'lower',
    describe: 'Mean L1 distance of the probabilities, as a defence answers them, to the clean ones, 0 to 2.',
    source,
    of: toClean(givenL1),
  },
  {
    name: 'answerKl',
    title: 'KL of given to clean answers',
    only: 'victim',
    unit: 'nats',
    better: 'lower',
    describe:
      'Mean KL(given ‖ clean) of the probabilities that a defence answers, made to sum to 1, and the clean ones.',
    source,
    of: toClean(klToVictim),
  },
  {
    name: 'answerChanged',
    title: 'changed answers',
    only: 'victim',
    unit: 'share',
    better: 'lower',
    describe:
      'Share of the images for which the most likely class of the clean answer is none of the most likely of what a defence answers.',
    source,
    of: toClean(labelsChanged),
  },
];

/** Names of the other numbers that tables have beside metrics, which no metric may take. */
export const otherColumns: readonly string[] = [
  'last',
  'best',
  'heldOut',
  'toBaseline',
  'toLabelSmoothing',
  'toUndefended',
  'evaluatedImages',
  'trainingImages',
  'queries',
  'forward',
  'backward',
  'budget',
  'queryL1',
  'queryKl',
  'queryChanged',
  'seconds',
  'stepsPerSecond',
  'teacherAccuracy',
  'klToAdversary',
  'normalTeachersKl',
];

/** The numbers of metrics that apply, by name. */
export type MetricValues = Readonly<Record<string, number>>;

const hasNaN = (logits: Logits | undefined): boolean => logits?.values.some(Number.isNaN) ?? false;

/**
 * What metrics say of a model. Throws a `FailureError` of kind `plugin` that names the metric when one throws, gives no
 * number, or makes a NaN of answers that have none.
 */
export const measured = (all: readonly Metric[], evaluation: Evaluation): MetricValues => {
  const { logits, victim, clean } = evaluation;
  const broken = [logits, victim, clean, evaluation.views].some(hasNaN);
  return Object.fromEntries(
    all.flatMap((metric) => {
      const value = computed(metric, evaluation);
      if (value === undefined) return [];
      if (typeof value !== 'number') refuse(metric, `gave ${typeof value === 'object' ? 'an object' : typeof value}`);
      if (Number.isNaN(value) && !broken) refuse(metric, 'gave NaN');
      return [[metric.name, value] as const];
    }),
  );
};

const computed = (metric: Metric, evaluation: Evaluation): number | undefined => {
  try {
    return metric.of(evaluation);
  } catch (error) {
    return refuse(metric, `threw: ${saidBy(error)}`, toFailure('plugin')(error).trace);
  }
};

/** @param trace the stack of what it threw */
const refuse = ({ name }: Metric, what: string, trace?: string): never => {
  throw new FailureError(
    failure('plugin', `the metric ${name} ${what}`, {
      trace,
      remedy: 'Let `of` return a number, or undefined where the metric does not apply.',
    }),
  );
};
