import * as tf from '@tensorflow/tfjs';
import { logSoftmax } from '../public/ops.js';
import { between, defineAttack, distilBy, type Heard, labelled, option, positive } from '../public/plugin.js';
import { crossEntropy, detach, klDivergence } from '../public/train.js';

/**
 * Distillation whose temperature and weight go in a straight line from the first step's to those that one step after the last would have: α τ² KL(teacher ‖ student) +
 * (1−α) CE. A high temperature hears what a teacher says of unlikely classes, a small α hears it less: what is right against a defence
 * at first need not be so in the end. Ours; with equal ends it is `kd`.
 */
export const annealedKd = defineAttack({
  name: 'annealedKd',
  source: import.meta.url,
  about: 'Distillation whose temperature and weight change from the first step to the last',
  paper: 'Ours',
  cost: 'an answer to each image in each epoch',
  options: {
    temperature: option(positive, 20, 'τ at first'),
    finalTemperature: option(positive, 1, 'τ in the end'),
    alpha: option(between(0, 1), 0.9, 'α at first'),
    finalAlpha: option(between(0, 1), 0.1, 'α in the end'),
  },
  needs: 'probabilities',
  data: labelled,
  make: ({ temperature, finalTemperature, alpha, finalAlpha }) =>
    distilBy((heard) => annealed(heard, { temperature, finalTemperature, alpha, finalAlpha })),
});

/** The loss at a share of all steps, `progress`. */
export const annealed = (
  { logits, teacher, labels, progress }: Pick<Heard, 'logits' | 'teacher' | 'labels' | 'progress'>,
  {
    temperature,
    finalTemperature,
    alpha,
    finalAlpha,
  }: Readonly<Record<'temperature' | 'finalTemperature' | 'alpha' | 'finalAlpha', number>>,
) => {
  const line = (first: number, last: number) => tf.add<tf.Scalar>(tf.mul(progress, last - first), first);
  const [tau, weight] = [line(temperature, finalTemperature), line(alpha, finalAlpha)];
  const softened = (x: tf.Tensor2D) => logSoftmax(tf.div<tf.Tensor2D>(x, tau));
  const kl = klDivergence(softened(detach(teacher)), softened(logits));
  const hard = crossEntropy(logits, labels);
  return {
    loss: tf.add<tf.Scalar>(tf.mul(tf.mul(kl, tf.square(tau)), weight), tf.mul(hard, tf.sub(1, weight))),
    terms: { kl, crossEntropy: hard },
  };
};
