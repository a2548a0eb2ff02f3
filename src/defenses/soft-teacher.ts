import { between, defineDefense, option, positive, share } from '../public/plugin.js';
import { classifier, crossEntropy, distillation } from '../public/train.js';

/**
 * A teacher trained on smoothed labels, (1−ε) one-hot + ε/K: no defence by intent, but one by accident, whose answers tell less of how
 * classes are alike. As accurate, and free: what every trained defence must beat.
 */
export const smoothTeacher = defineDefense({
  name: 'smoothTeacher',
  source: import.meta.url,
  about: 'A teacher trained on smoothed labels: an accidental defence, which trained ones must beat',
  paper: 'Müller et al., When does label smoothing help?, NeurIPS 2019',
  options: { epsilon: option(share, 0.1, 'ε, the share of a label that goes to all classes alike') },
  exposes: 'weights',
  make: ({ epsilon }) => ({
    protect: ({ learner }, { fit, train, validation }) =>
      fit(
        'teacher',
        classifier({
          learner,
          data: train,
          validation,
          guardChance: true,
          loss: ({ logits, batch: { labels } }) => ({ loss: crossEntropy(logits, labels, { smoothing: epsilon }) }),
        }),
      ),
  }),
});

/**
 * A teacher distilled from its own earlier copy, the undefended teacher: α τ² KL(copy ‖ teacher) + (1−α) CE. An accidental defence
 * as well; its weights are those of distillation on CIFAR-10 as the nasty teacher's authors released it. Ours, of no paper.
 */
export const selfDistilled = defineDefense({
  name: 'selfDistilled',
  source: import.meta.url,
  about: 'A teacher distilled from its own earlier copy: an accidental defence',
  options: {
    temperature: option(positive, 4, 'τ, at which both are softened'),
    alpha: option(between(0, 1), 0.9, "α, the weight of the copy's answers against the labels"),
  },
  exposes: 'weights',
  make: ({ temperature, alpha }) => ({
    protect: ({ learner, variables }, { fit, train, validation }) =>
      fit(
        'teacher',
        classifier({
          learner,
          data: train,
          validation,
          frozen: variables,
          guardChance: true,
          target: ({ frozen, images }) => ({ teacher: learner.network.apply(frozen, images, { mode: 'eval' }).logits }),
          loss: ({ logits, target: { teacher }, batch: { labels } }) =>
            distillation({ logits, teacher, labels, temperature, alpha }),
        }),
      ),
  }),
});
