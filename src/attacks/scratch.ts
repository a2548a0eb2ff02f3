import { type Attack, choice, defineAttack, type Labelled, option, type Parsed, share } from '../public/plugin.js';
import { classifier, crossEntropy } from '../public/train.js';

/** Which of the images, and for how long. */
export const partOptions = {
  how: option(
    choice('stratified', 'shuffled'),
    'stratified',
    'Of every class the same share, or the first of a shuffled order, as the released loader takes',
  ),
  steps: option(
    choice('epochs', 'same'),
    'epochs',
    "The recipe's epochs over these images, as in the released loader, or as many steps as on all images",
  ),
};

const part = { fraction: option(share, 1, 'Share of the training images'), ...partOptions };

export type Part = Parsed<typeof part>;

export const partOf = ({ fraction, how }: Part): Labelled => ({ kind: 'labelled', fraction, how });

/** No attack: the student trained on labels alone, by cross-entropy. Every difference in the matrix refers to it. */
export const scratch = defineAttack({
  name: 'scratch',
  source: import.meta.url,
  about: 'No attack: labels alone; what every difference refers to',
  cost: 'one student',
  options: part,
  needs: 'none',
  data: partOf,
  make: (options) => ({ role: 'honest', ...onLabels(undefined, options) }),
});

/**
 * Training on smoothed labels, (1−ε) one-hot + ε/K. No attack either: a teacher is called undistillable when no student
 * distilled from it is better than this one, who gets soft labels for nothing.
 */
export const labelSmoothing = defineAttack({
  name: 'labelSmoothing',
  source: import.meta.url,
  about: 'No attack: smoothed labels, (1−ε) one-hot + ε/K; what a teacher worth stealing must beat',
  cost: 'one student',
  options: { epsilon: option(share, 0.1, 'ε, the share of a label that goes to all classes alike'), ...part },
  needs: 'none',
  data: partOf,
  make: ({ epsilon, ...same }) => ({ role: 'reference', ...onLabels(epsilon, same), baseline: scratch(same) }),
});

/** `smoothing`: in place of the recipe's. */
const onLabels = (smoothing: number | undefined, { steps }: Part): Pick<Attack<'none', Labelled>, 'steal'> => ({
  steal: (_, learner, { fit, data, fullStepsPerEpoch }) =>
    fit(
      'student',
      classifier({
        learner,
        data: data.train,
        validation: data.validation,
        stepsPerEpoch: steps === 'same' ? fullStepsPerEpoch : undefined,
        guardChance: true,
        loss: ({ logits, batch }) => ({
          loss: crossEntropy(logits, batch.labels, { smoothing: smoothing ?? learner.recipe.smoothing ?? 0 }),
        }),
      }),
    ),
});
