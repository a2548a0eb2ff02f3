import { type Failure, FailureError, failure } from '../core/errors.js';
import type { Origin } from '../engine/first-nan.js';
import type { Named } from '../models/network.js';

/** One epoch's means over its images. */
export interface EpochRecord {
  readonly epoch: number;
  readonly step: number;
  readonly learningRate: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly validation?: number;
  readonly stepsPerSecond: number;
}

/** Epochs before training accuracy must beat chance. */
const warmUpEpochs = 2;

const diverged = (what: string, history: readonly EpochRecord[], remedy: string, trace?: string): Failure => {
  const last = history.at(-1);
  const good =
    last === undefined
      ? 'no epoch was completed before'
      : `last good: epoch ${last.epoch + 1}, ${Object.entries(last.metrics)
          .map(([name, value]) => `${name} ${value.toPrecision(4)}`)
          .join(', ')}`;
  return failure('diverged', `${what} (${good})`, { remedy, trace });
};

/** Steps after which a NaN comes of the arithmetic rather than of the training: a loss's own, and one of its gradient. */
const stepsOfArithmetic = 2;

/**
 * Better than guessing by more than a standard deviation of a guesser's accuracy over `images` images. No more is
 * asked: a slow start on few images must not be stopped, and who only guesses falls below this in one of the next
 * epochs.
 */
const beatsChance = (accuracy: number, classes: number, images: number): boolean => {
  const chance = 1 / classes;
  return accuracy > chance + Math.sqrt((chance * (1 - chance)) / images);
};

/** Where among a fit's steps something was noted. */
interface Place {
  readonly step: number;
  readonly steps: number;
  readonly stepsPerEpoch: number;
  readonly history: readonly EpochRecord[];
  /** Which operation made the first NaN of the first step. */
  readonly originOfNaN: () => Origin | undefined;
}

/** A step's metrics as numbers, by name. Throws a `FailureError` of kind `diverged` where one is not finite. */
export const finiteMetrics = (
  metrics: Named,
  { step, steps, stepsPerEpoch, history, originOfNaN }: Place,
): readonly (readonly [string, number])[] => {
  const read = Object.entries(metrics).map(([name, value]) => [name, value.dataSync()[0] as number] as const);
  const [first, ...others] = read.filter(([, number]) => !Number.isFinite(number));
  if (first === undefined) return read;
  const [name, number] = first;
  const also = others.length === 0 ? '' : `, and so did ${others.map(([other]) => other).join(', ')},`;
  const when = `in epoch ${Math.floor((step - 1) / stepsPerEpoch) + 1}, step ${step} of ${steps}`;
  const origin = Number.isNaN(number) && step <= stepsOfArithmetic ? originOfNaN() : undefined;
  const by = origin && `, and the first NaN was made by ${origin.operation} in step 1`;
  throw new FailureError(
    diverged(
      `${name} became ${number}${also} ${when}${by ?? ''}`,
      history,
      origin === undefined
        ? 'Lower the learning rate, clip the gradients, or weaken the term that grew (for nasty: a smaller omega, or its warm-up).'
        : 'Look at what it was given: the logarithm or root of a negative number, 0 / 0, ∞ − ∞, or 0 · ∞, such as a probability of 0 times its logarithm.',
      origin?.trace,
    ),
  );
};

/**
 * Throws a `FailureError` of kind `diverged` where the training accuracy of the last epoch, over so many images, is still that of
 * guessing after the warm-up.
 */
export const checkBeatsChance = (classes: number, images: number, history: readonly EpochRecord[]): void => {
  const { epoch, metrics } = history.at(-1) as EpochRecord;
  const { accuracy } = metrics;
  if (accuracy === undefined || epoch + 1 < warmUpEpochs || beatsChance(accuracy, classes, images)) return;
  throw new FailureError(
    diverged(
      `training accuracy is at chance (${(100 * accuracy).toFixed(1)} %) after ${epoch + 1} epochs`,
      history,
      'The learning rate is likely too high or too low, or the labels do not belong to the images.',
    ),
  );
};
