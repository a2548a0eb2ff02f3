import {
  type Circumstances,
  type Network,
  type Objection,
  option,
  optional,
  positive,
  share,
  wholeAtLeast,
  wholeBetween,
} from '../public/plugin.js';
import { evenChannels } from '../public/synthesis.js';
import { anyOptimizer, anySchedule, type Schedule, scaledSchedule } from '../public/train.js';

/** Options of attacks by a generator and students that learn together. */
export const jointOptions = (of: {
  readonly batch: number;
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  readonly latent: number;
  readonly generatorRate: number;
  readonly studentSteps: number;
}) => ({
  batch: option(wholeAtLeast(2), of.batch, 'Images a step'),
  epochs: option(wholeAtLeast(1), of.epochs, 'Epochs'),
  stepsPerEpoch: option(wholeAtLeast(1), of.stepsPerEpoch, 'Iterations of an epoch'),
  studentSteps: option(wholeAtLeast(1), of.studentSteps, 'Steps of the student in an iteration'),
  latent: option(wholeAtLeast(1), of.latent, 'Numbers that the generator makes an image of'),
  width: option(evenChannels, 128, "Channels of the generator's first half"),
  generatorRate: option(positive, of.generatorRate, "The generator's learning rate"),
  keep: option(wholeBetween(1, 10_000), 100, 'Images of the trained generator that are kept to be looked at'),
  optimizer: optional(anyOptimizer, "The student's; default: its own recipe's"),
  schedule: optional(anySchedule, "The student's; default: its own recipe's"),
  pictureEvery: optional(wholeAtLeast(1), 'Iterations between two pictures of how it goes; default: a tenth of all'),
});

/** The same in a fraction of the iterations: fewer epochs, and shorter ones where one is too many. */
export const scaledJoint = (
  {
    epochs,
    stepsPerEpoch,
    schedule,
    pictureEvery,
  }: {
    readonly epochs: number;
    readonly stepsPerEpoch: number;
    readonly schedule?: Schedule | undefined;
    readonly pictureEvery?: number | undefined;
  },
  factor: number,
) => {
  const steps = Math.max(1, Math.round(factor * epochs * stepsPerEpoch));
  const fewer = Math.max(1, Math.round(factor * epochs));
  return {
    epochs: fewer,
    stepsPerEpoch: Math.max(1, Math.round(steps / fewer)),
    schedule: schedule && scaledSchedule(schedule, factor),
    pictureEvery: pictureEvery && Math.max(1, Math.round(factor * pictureEvery)),
  };
};

/** Options of those whose epochs may be left out: they are so many then, unless a budget says. */
export const epochOptions = (otherwise: number) => ({
  epochs: optional(wholeAtLeast(1), `Epochs; default: as many as the budget allows for, and ${otherwise} without one`),
  part: option(share, 1, 'Where the epochs are left out, such a share of them'),
});

interface Epochs {
  readonly epochs?: number | undefined;
  readonly part: number;
}

/** The same in a fraction of the iterations, where a budget is known only when it begins. */
export const scaledWithin = (
  { epochs, part, ...others }: Omit<Parameters<typeof scaledJoint>[0], 'epochs'> & Epochs,
  factor: number,
) => {
  if (epochs !== undefined) return scaledJoint({ ...others, epochs }, factor);
  const { schedule, pictureEvery } = scaledJoint({ ...others, epochs: 1 }, factor);
  return { part: factor * part, schedule, pictureEvery };
};

/** How many epochs of so many queries there are: those that a budget begins, or `otherwise` without one. */
export const epochsWithin = (
  { epochs, part }: Epochs,
  budget: number | undefined,
  queriesPerEpoch: number,
  otherwise: number,
): number => {
  const all = budget === undefined ? otherwise : Math.ceil(budget / queriesPerEpoch);
  return epochs ?? Math.max(1, Math.round(part * all));
};

/** Why a budget does not do: it ends before the first iteration does, or before what is named. */
export const paysFor = (
  queries: number,
  { budget }: Pick<Circumstances, 'budget'>,
  what = 'an iteration asks',
  remedy = 'Give a larger budget, or the attack a smaller batch.',
): Objection | undefined =>
  budget !== undefined && budget < queries
    ? { reason: `${what} for ${queries} answers, and its budget is of ${budget}`, remedy }
    : undefined;

/** Why a generator cannot make images for a net: its sides are not divisible by 4. */
export const sidesOf4 = ({ input: { height, width } }: Network): string | undefined =>
  height % 4 === 0 && width % 4 === 0
    ? undefined
    : `its generator makes images of sides divisible by 4, not of ${height}×${width}`;
