import * as tf from '@tensorflow/tfjs';
import { atLeast, defineAttack, option } from '../public/plugin.js';
import {
  batchNormDistance,
  type Generating,
  generatorPresets,
  imbalance,
  oneHotLoss,
  type Synthesiser,
  trainedGenerator,
  trainJointly,
} from '../public/synthesis.js';
import { adam, constant, cosine, klDivergence, sgd, soften, withRecipe } from '../public/train.js';
import { whyNoBatchNorms } from './batches.js';
import { jointOptions, scaledJoint, sidesOf4 } from './joint.js';

const weights = {
  adversarial: option(atLeast(0), 1, 'Weight of −KL(victim ‖ student)'),
  batchNorm: option(atLeast(0), 1, "Weight of R, how far the images' statistics are from those of training"),
  oneHot: option(atLeast(0), 1, "Weight of the cross-entropy with the victim's own answer"),
  balance: option(atLeast(0), 20, 'Weight of Σ p̄ ln p̄ of the mean answer'),
};

/**
 * Data-free quantisation's adversarial distillation (Choi et al., CVPR workshops 2020) with the victim's weights at hand: a generator
 * minimises
 *
 *   −adv KL(t ‖ s) + bn R + oh CE(t, argmax t) + balance Σ p̄ ln p̄,
 *
 * R DeepInversion's term of batch norms and p̄ the victim's mean answer to the batch, and the student minimises KL(t ‖ s), both at
 * temperature 1.
 *
 * No code by its authors was found: form and settings are those of zju-vipa/Fast-Datafree 0dcecbc (generative.py), for
 * CIFAR-10, whose option for the temperature does nothing here; `cifar100` is zju-vipa/CMI 9e79fa9's from a ResNet-34, but for its generator, which has twice the parameters there (4,581,955). The student is in evaluation mode in the generator's steps.
 */
export const dfq = defineAttack({
  name: 'dfq',
  source: import.meta.url,
  about: "Without data: a generator looks for disagreement on images that fit the victim's batch norms",
  paper: 'Choi et al., Data-free network quantization with adversarial knowledge distillation, CVPRW 2020',
  cost: 'batch · (1 + studentSteps) passes through the victim an iteration, and batch back: 22,528,000 at the defaults',
  options: {
    ...jointOptions({
      ...{ batch: 256, epochs: 200, stepsPerEpoch: 40, studentSteps: 10 },
      ...{ latent: 256, generatorRate: 1e-3 },
    }),
    ...weights,
  },
  presets: {
    cifar10: {
      optimizer: sgd({ momentum: 0.9, weightDecay: 1e-4 }),
      schedule: cosine({ rate: 0.1, floor: 2e-4 }),
    },
    cifar100: { optimizer: sgd({ momentum: 0.9, weightDecay: 1e-4 }), schedule: cosine(0.05) },
    mnistSmall: { batch: 128, epochs: 10, stepsPerEpoch: 20, width: 32, optimizer: adam(), schedule: constant(2e-3) },
  },
  cosmetic: ['pictureEvery'],
  scaled: scaledJoint,
  needs: 'weights',
  data: { kind: 'none' },
  make: ({ optimizer, schedule, epochs, stepsPerEpoch, studentSteps, keep, pictureEvery, ...generation }) => ({
    synthesises: true,
    refuses: (victim) => sidesOf4(victim) ?? whyNoBatchNorms(victim, generation.batchNorm),
    steal: (victim, learner, context) =>
      trainJointly(
        fooling(generation),
        { epochs, stepsPerEpoch, studentSteps, keep, pictureEvery, temperature: 1 },
        victim,
        withRecipe(learner, { optimizer, schedule }),
        context,
      ),
  }),
});

/** What the generator minimises, of victim's and student's logits and how far the batch norms' statistics are apart, if that counts. */
export const fooled = (
  victim: tf.Tensor2D,
  student: tf.Tensor2D,
  apart: tf.Scalar | undefined,
  { adversarial, batchNorm, oneHot, balance }: Readonly<Record<keyof typeof weights, number>>,
) => {
  const terms = {
    kl: klDivergence(soften(victim, 1), soften(student, 1)),
    ...(apart === undefined ? {} : { batchNorm: apart }),
    oneHot: oneHotLoss(victim),
    balance: imbalance(victim),
  };
  const weight = { kl: -adversarial, batchNorm, oneHot, balance };
  const loss = tf.addN(
    Object.entries(terms).map(([name, term]) => tf.mul(term, weight[name as keyof typeof weight])),
  ) as tf.Scalar;
  return { loss, metrics: { generatorLoss: loss, ...terms } };
};

/** DFQ's synthesiser. */
export const fooling = ({
  batch,
  latent,
  width,
  generatorRate,
  ...weighing
}: Readonly<Record<'batch' | 'latent' | 'width' | 'generatorRate' | keyof typeof weights, number>>): Synthesiser<
  Generating,
  'weights'
> =>
  trainedGenerator({
    batch,
    generator: { ...generatorPresets.fast, latent, width },
    optimizer: adam({ beta1: 0.5 }),
    schedule: constant(generatorRate),
    loss: ({ student: net }, { victim, students: [student], images }) => {
      const counts = weighing.batchNorm > 0;
      const { logits, batchStats = {} } = victim.apply(images, { batchStats: counts });
      const known = net.apply(student, images, { mode: 'eval' }).logits;
      const apart = counts ? batchNormDistance(batchStats, victim.variables.stats) : undefined;
      return fooled(logits, known, apart, weighing);
    },
  });
