import * as tf from '@tensorflow/tfjs';
import { batchesPerEpoch } from '../data/batches.js';
import { classifier, type Loss } from '../train/classifier.js';
import type { ProbabilityOracle } from '../train/oracle.js';
import type { Attack, AttackContext, Labelled } from './attack.js';

/** What a loss of distillation on labelled images sees. */
export interface Heard {
  /** The student's, [batch, classes]. */
  readonly logits: tf.Tensor2D;
  /** The victim's log-probabilities [batch, classes], −∞ where it answers 0. No gradient flows to them. */
  readonly teacher: tf.Tensor2D;
  /** int32 [batch]. */
  readonly labels: tf.Tensor1D;
  /** Epochs that went before, whole; scalar. */
  readonly epoch: tf.Scalar;
  /** The share of all steps that went before, 0 … 1; scalar. */
  readonly progress: tf.Scalar;
}

export interface Distilling {
  /** For as long as the recipe says, or for as many steps as on all images. Default `epochs`. */
  readonly steps?: 'epochs' | 'same' | undefined;
  /** What is heard of the victim about a batch of pixels; default: its log-probabilities. */
  readonly hear?: (
    victim: ProbabilityOracle,
    pixels: tf.Tensor4D,
    context: Pick<AttackContext<Labelled>, 'data' | 'recover'>,
  ) => tf.Tensor2D;
}

/**
 * Distillation on labelled images by any loss: the victim is asked about every augmented batch. All of an attack but what it
 * declares:
 *
 * ```ts
 * make: ({ temperature }) => distilBy(({ logits, teacher }) => distillationKl({ logits, teacher, temperature })),
 * ```
 */
export const distilBy = (
  loss: (heard: Heard) => Loss,
  { steps = 'epochs', hear = (victim, pixels) => victim.logProbabilities(pixels) }: Distilling = {},
): Pick<Attack<'probabilities', Labelled>, 'steal'> => ({
  steal: (victim, learner, { fit, data, fullStepsPerEpoch, recover }) => {
    const { batch, epochs } = learner.recipe;
    const stepsPerEpoch = steps === 'same' ? fullStepsPerEpoch : batchesPerEpoch(data.train.indices.length, batch);
    return fit(
      'student',
      classifier({
        learner,
        data: data.train,
        validation: data.validation,
        stepsPerEpoch: steps === 'same' ? fullStepsPerEpoch : undefined,
        victim,
        target: ({ victim, pixels }) => ({ teacher: hear(victim, pixels, { data, recover }) }),
        loss: ({ logits, target: { teacher }, batch: { labels }, step }) =>
          loss({
            logits,
            teacher,
            labels,
            epoch: tf.floor(tf.div<tf.Scalar>(step, stepsPerEpoch)),
            progress: tf.div<tf.Scalar>(step, epochs * stepsPerEpoch),
          }),
      }),
    );
  },
});
