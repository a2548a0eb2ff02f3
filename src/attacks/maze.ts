import * as tf from '@tensorflow/tfjs';
import { defineAttack, option, positive, wholeAtLeast } from '../public/plugin.js';
import {
  type Generating,
  generatorPresets,
  type Synthesiser,
  trainedGenerator,
  trainJointly,
} from '../public/synthesis.js';
import { cosine, detach, distillationKl, sgd, withRecipe } from '../public/train.js';
import { throughVictim } from './dfme.js';
import { epochOptions, epochsWithin, jointOptions, paysFor, scaledWithin, sidesOf4 } from './joint.js';

/**
 * Model extraction by zeroth-order gradient estimation (Kariyappa et al., CVPR 2021), which asks a black box for probabilities
 * alone: a generator maximises KL(t ‖ s), where what is missing of its gradient is estimated from answers by forward differences in
 * m directions, and the student minimises it, on fresh images and on ones that were answered before.
 *
 * An iteration is a step of the generator, `studentSteps` of the student, of which the first is on the generator's own images,
 * and `replaySteps` on images drawn from those answered before: batch · ((1 + m) + studentSteps − 1) queries, 1,920 as
 * released.
 *
 * Defaults are as released (sanjaykariyappa/MAZE d202ace), but for the student, who is trained by its own recipe unless a preset is
 * given: 5 million queries are 2,604 iterations. The generator's rate is the code's default; its README has ten times that (`readme`). Differences to that code: what is asked twice there is asked once; no gradient
 * is ever taken of the victim, where it takes one an iteration for its log; the last batch of each iteration is remembered, of
 * which there are at most `replayBatches`, without bound there; in the estimate the student's batch norms normalise by the batch, and
 * their running statistics do not move, as they do there.
 *
 * Its variant with a critic on some images of the victim's kind (PD-MAZE) is not here: how much the critic weighs in the generator's loss
 * is in neither the released code nor what was found of the paper, and a number of ours would be another attack.
 */
export const maze = defineAttack({
  name: 'maze',
  source: import.meta.url,
  about:
    'Without data, of probabilities alone: as DFME by the divergence, in many directions, and with images that were answered before',
  paper: 'Kariyappa et al., MAZE: Data-free model stealing attack using zeroth-order gradient estimation, CVPR 2021',
  cost: 'batch · (directions + studentSteps) answers an iteration: 1,920 at the defaults, and 4,992,000 in all',
  options: {
    ...jointOptions({
      ...{ batch: 128, epochs: 100, stepsPerEpoch: 26, studentSteps: 5 },
      ...{ latent: 100, generatorRate: 1e-4 },
    }),
    ...epochOptions(100),
    directions: option(wholeAtLeast(1), 10, 'm, directions of the forward differences'),
    epsilon: option(positive, 1e-3, 'μ, length of a step in one'),
    replaySteps: option(
      wholeAtLeast(0),
      10,
      'Steps of the student in an iteration on images that were answered before',
    ),
    replayBatches: option(wholeAtLeast(1), 50, 'Batches of them that are remembered'),
  },
  presets: {
    released: {
      optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
      schedule: cosine(0.1),
      budget: 5_000_000,
    },
    /** By the README's command for Fashion-MNIST. */
    readme: {
      generatorRate: 1e-3,
      optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
      schedule: cosine(0.1),
      budget: 5_000_000,
    },
    paper: { optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }), schedule: cosine(0.1), budget: 30_000_000 },
    mnistSmall: { batch: 64, epochs: 10, stepsPerEpoch: 30, directions: 4, replaySteps: 4, width: 32 },
  },
  cosmetic: ['pictureEvery'],
  scaled: scaledWithin,
  needs: 'probabilities',
  data: { kind: 'none' },
  make: ({ optimizer, schedule, studentSteps, stepsPerEpoch, keep, pictureEvery, replaySteps, ...options }) => {
    const queries = options.batch * (options.directions + studentSteps);
    return {
      synthesises: true,
      refuses: (victim, _, circumstances) => sidesOf4(victim) ?? paysFor(queries, circumstances),
      steal: (victim, learner, context) => {
        const { replayBatches } = options;
        return trainJointly(
          diverging(options),
          {
            epochs: epochsWithin(options, victim.budget, queries * stepsPerEpoch, 100),
            stepsPerEpoch,
            studentSteps,
            studentImages: 'shown first',
            replay: replaySteps === 0 ? undefined : { steps: replaySteps, batches: replayBatches },
            loss: ({ logits, teacher }) => distillationKl({ logits, teacher, temperature: 1 }),
            keep,
            pictureEvery,
          },
          victim,
          withRecipe(learner, { optimizer, schedule }),
          context,
        );
      },
    };
  },
});

/** MAZE's synthesiser: a generator that maximises KL(t ‖ s). */
export const diverging = ({
  batch,
  latent,
  width,
  generatorRate,
  directions,
  epsilon,
}: Readonly<Record<'batch' | 'latent' | 'width' | 'generatorRate' | 'directions' | 'epsilon', number>>): Synthesiser<
  Generating,
  'probabilities'
> =>
  trainedGenerator({
    batch,
    generator: { ...generatorPresets.maze, latent, width },
    optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
    schedule: cosine(generatorRate),
    loss: (about, given) => {
      const found = throughVictim(about, given, { kind: 'kl', mode: 'train', directions, epsilon });
      return {
        loss: tf.div(tf.sum<tf.Scalar>(tf.mul(given.preTanh, detach(found.gradient))), batch),
        metrics: { disagreement: tf.neg(tf.mean<tf.Scalar>(found.value)), zeroDifferences: found.unchanged },
        teacher: found.answers,
      };
    },
  });
