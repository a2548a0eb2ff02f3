import * as tf from '@tensorflow/tfjs';
import { atLeast, defineAttack, option, wholeAtLeast } from '../public/plugin.js';
import { absolute, trainJointly } from '../public/synthesis.js';
import { sgd, withRecipe } from '../public/train.js';
import { answers, falling, learning, splitting } from './dual-students.js';
import { epochOptions, epochsWithin, jointOptions, paysFor, scaledWithin, sidesOf4 } from './joint.js';

/**
 * DisGUIDE (Rosenthal et al., AAAI 2023), which asks a black box for probabilities or for labels: as Dual Students, with the
 * disagreement of probabilities and images of all classes alike,
 *
 *   −mean over images and classes of std over students of p + λ Σ m ln m,  m the mean of p + 10⁻⁶,
 *
 * and with steps on images that were answered before: one of fresh images an iteration, the only ones that are asked about, and three
 * of those.
 *
 * Defaults are CIFAR-10's as released (lin-tan/disguide c3e2a7d), but for the students, which are trained by their own recipe unless
 * a preset is given: 20 million queries are 78,125 iterations. Differences to that code: `replayBatches` batches are
 * remembered, a million images there; what is stolen is the first student, where there the mean of both students'
 * probabilities is; no image is made grey.
 */
export const disguide = defineAttack({
  name: 'disguide',
  source: import.meta.url,
  about:
    'Without data, of probabilities or labels alone: disagreement of two students, all classes alike, and a memory',
  paper: 'Rosenthal et al., DisGUIDE: Disagreement-guided data-free model extraction, AAAI 2023',
  cost: 'batch · studentSteps answers an iteration: 256 at the defaults, and 20,006,400 in all; two students',
  options: {
    answers,
    ...jointOptions({
      ...{ batch: 256, epochs: 521, stepsPerEpoch: 150, studentSteps: 1 },
      ...{ latent: 256, generatorRate: 1e-4 },
    }),
    ...epochOptions(521),
    diversity: option(atLeast(0), 0.2, 'λ, the weight of all classes alike'),
    replaySteps: option(
      wholeAtLeast(0),
      3,
      'Steps of the students in an iteration on images that were answered before',
    ),
    replayBatches: option(wholeAtLeast(1), 50, 'Batches of them that are remembered'),
  },
  presets: {
    cifar10: {
      optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
      schedule: falling(0.03, 0.4, 0.8),
      budget: 20_000_000,
    },
    cifar100: {
      optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
      schedule: falling(0.03, 0.4, 0.8),
      diversity: 0.04,
      budget: 10_000_000,
    },
    mnistSmall: { batch: 64, epochs: 10, stepsPerEpoch: 60, width: 32, generatorRate: 1e-3 },
  },
  cosmetic: ['pictureEvery'],
  scaled: scaledWithin,
  needs: ({ answers }) => answers,
  data: { kind: 'none' },
  make: ({ answers, diversity, replaySteps, replayBatches, ...options }) => ({
    synthesises: true,
    refuses: (victim, _, circumstances) =>
      sidesOf4(victim) ?? paysFor(options.batch * options.studentSteps, circumstances),
    steal: (victim, learner, context) => {
      const { optimizer, schedule, batch, stepsPerEpoch, studentSteps, keep, pictureEvery } = options;
      return trainJointly(
        splitting(options, falling(options.generatorRate, 0.4, 0.8), (a, b) => {
          const { disagreement, balance } = guided(a, b);
          return {
            loss: tf.add<tf.Scalar>(tf.neg(disagreement), tf.mul(balance, diversity)),
            metrics: { disagreement, balance },
          };
        }),
        {
          epochs: epochsWithin(options, victim.budget, batch * studentSteps * stepsPerEpoch, 521),
          ...{ stepsPerEpoch, studentSteps, keep, pictureEvery },
          students: 2,
          loss: learning[answers],
          replay: replaySteps === 0 ? undefined : { steps: replaySteps, batches: replayBatches },
        },
        victim,
        withRecipe(learner, { optimizer, schedule }),
        context,
      );
    },
  }),
});

/**
 * The mean over images and classes of the unbiased deviation of two students' probabilities, |p − p′| / √2, and Σ m ln m of m, the
 * mean of p + 10⁻⁶ over both and the batch; of logits [batch, classes].
 */
export const guided = (
  a: tf.Tensor2D,
  b: tf.Tensor2D,
): { readonly disagreement: tf.Scalar; readonly balance: tf.Scalar } => {
  const [p, q] = [tf.softmax(a), tf.softmax(b)];
  const disagreement = tf.div<tf.Scalar>(tf.mean(absolute(tf.sub(p, q))), Math.SQRT2);
  const mean = tf.add(tf.mean(tf.concat([p, q]), 0), 1e-6);
  return { disagreement, balance: tf.sum(tf.mul(mean, tf.log(mean))) };
};
