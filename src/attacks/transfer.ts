import { checked, nothingElse, positive } from '../core/check.js';
import { FailureError, failure } from '../core/errors.js';
import type { DatasetPlugin } from '../data/dataset.js';
import { classifier } from '../train/classifier.js';
import { distillationKl } from '../train/losses.js';
import type { Attack, Ownership } from './attack.js';

export interface TransferOptions {
  /** The images that the attacker has: another data set or a folder. Their labels are not looked at. */
  readonly images: DatasetPlugin;
  /** τ > 0. */
  readonly temperature?: number;
  readonly label?: string;
}

/**
 * Distillation on images of something else, by an attacker who has none of the victim's: τ² KL(victim ‖ student) on another data
 * set's training images, brought to the victim's size and channels, in as many steps as honest training takes. What a
 * data-free attack must beat to be worth its trouble.
 */
export const transfer = ({
  images,
  temperature = 4,
  label,
  ...unknown
}: TransferOptions): Attack<'probabilities', Extract<Ownership, { readonly kind: 'other' }>> => {
  nothingElse('transfer', unknown);
  checked('transfer', { temperature: positive }, { temperature });
  if (typeof images?.load !== 'function') {
    throw new FailureError(
      failure('experiment', 'this is no data set', {
        where: 'transfer: images',
        remedy: 'Give one, such as fashionMnist() or imageFolder({ path, unlabelled: true }).',
      }),
    );
  }
  return {
    name: 'transfer',
    params: { images: { name: images.name, params: images.params }, temperature },
    source: import.meta.url,
    needs: 'probabilities',
    data: { kind: 'other', images },
    ...(label === undefined ? {} : { label }),
    steal: (victim, learner, { fit, data, fullStepsPerEpoch }) =>
      fit(
        'student',
        classifier({
          learner,
          data: data.train,
          stepsPerEpoch: fullStepsPerEpoch,
          victim,
          target: ({ victim, pixels }) => ({ teacher: victim.logProbabilities(pixels) }),
          loss: ({ logits, target: { teacher } }) => distillationKl({ logits, teacher, temperature }),
        }),
      ),
  };
};
