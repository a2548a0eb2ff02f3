import { checked, nothingElse, oneOf, share } from '../core/check.js';
import { classifier } from '../train/classifier.js';
import { crossEntropy } from '../train/losses.js';
import type { Attack, Labelled } from './attack.js';

export interface ScratchOptions {
  /** Share of the training images, in (0, 1]. */
  readonly fraction?: number;
  readonly how?: 'stratified' | 'shuffled';
  /** `epochs`: the recipe's epochs over the subset, as in the released loader; `same`: as many steps as on all images. */
  readonly steps?: 'epochs' | 'same';
  readonly label?: string;
}

/** Which part of the training images, and for how long. */
export type Part = Required<Omit<ScratchOptions, 'label'>>;

export const checkPart = (name: string, { fraction, how, steps }: Part): void => {
  checked(name, { fraction: share }, { fraction });
  oneOf(name, 'how', how, ['stratified', 'shuffled']);
  oneOf(name, 'steps', steps, ['epochs', 'same']);
};

/** No attack: the student trained on labels alone, by cross-entropy. Every difference in the matrix refers to it. */
export const scratch = (options: ScratchOptions = {}): Attack<'none', Labelled> => {
  const honest = { ...onLabels('scratch', 0, options), role: 'honest' } as const;
  return { ...honest, baseline: honest };
};

/**
 * Training on smoothed labels, (1−ε) one-hot + ε/K. No attack either: a teacher is called undistillable when no student
 * distilled from it is better than this one, who gets soft labels for nothing.
 */
export const labelSmoothing = ({
  epsilon = 0.1,
  ...options
}: ScratchOptions & { readonly epsilon?: number } = {}): Attack<'none', Labelled> => {
  checked('labelSmoothing', { epsilon: share }, { epsilon });
  const { params, ...attack } = onLabels('labelSmoothing', epsilon, options);
  const { label: _, ...same } = options;
  return { ...attack, role: 'reference', params: { epsilon, ...params }, baseline: scratch(same) };
};

const onLabels = (
  name: string,
  smoothing: number,
  { fraction = 1, how = 'stratified', steps = 'epochs', label, ...unknown }: ScratchOptions,
): Attack<'none', Labelled> => {
  nothingElse(name, unknown);
  checkPart(name, { fraction, how, steps });
  return {
    name,
    params: { fraction, how, steps },
    source: import.meta.url,
    needs: 'none',
    data: { kind: 'labelled', fraction, how },
    ...(label === undefined ? {} : { label }),
    steal: (_, learner, { fit, data, fullStepsPerEpoch }) =>
      fit(
        'student',
        classifier({
          learner,
          data: data.train,
          validation: data.validation,
          stepsPerEpoch: steps === 'same' ? fullStepsPerEpoch : undefined,
          guardChance: true,
          frozen: {},
          target: () => ({}),
          loss: ({ logits, batch }) => ({ loss: crossEntropy(logits, batch.labels, { smoothing }) }),
        }),
      ),
  };
};
