import * as tf from '@tensorflow/tfjs';
import { defineAttack } from '../public/plugin.js';
import {
  absolute,
  type Generating,
  generatorPresets,
  type StudentLoss,
  type Synthesiser,
  trainedGenerator,
  trainJointly,
} from '../public/synthesis.js';
import { adam, constant, multiStep, type Schedule, sgd, withRecipe } from '../public/train.js';
import { jointOptions, scaledJoint, sidesOf4 } from './joint.js';

const falling = (rate: number): Schedule =>
  multiStep({ rate, milestones: [{ fraction: 0.2 }, { fraction: 0.4 }], gamma: 0.1 });

/**
 * Data-free adversarial distillation (Fang et al., 2019) with the victim's weights at hand: a generator looks for images on
 * which victim and student disagree, by its true gradient, and the student learns to agree on them. With t and s the
 * logits as they are, the student minimises mean |s − t| over batch and classes and the generator maximises it.
 *
 * Defaults are CIFAR-10's (VainF/Data-Free-Adversarial-Distillation c161591, DFAD_cifar.py), but for the student, who is
 * trained by its own recipe unless the preset is given. There an iteration begins with the student's steps, both rates fall with a flag alone, where the
 * generator's always does here, and the preset's, and they fall an epoch earlier, by a schedule that is stepped before the first update. In the generator's steps the student's batch norms normalise by the batch, as
 * there; their running statistics do not move then, as they do there.
 */
export const dfad = defineAttack({
  name: 'dfad',
  source: import.meta.url,
  about: 'Without data: a generator looks for disagreement through the weights, and the student learns to agree',
  paper: 'Fang et al., Data-free adversarial distillation, 2019',
  cost: 'batch · (1 + studentSteps) passes through the victim an iteration, and batch back: 38,400,000 at the defaults',
  options: jointOptions({
    ...{ batch: 256, epochs: 500, stepsPerEpoch: 50, studentSteps: 5 },
    ...{ latent: 256, generatorRate: 1e-3 },
  }),
  presets: {
    cifar10: { optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }), schedule: falling(0.1) },
    mnistSmall: {
      batch: 64,
      epochs: 20,
      stepsPerEpoch: 60,
      width: 32,
      // With a faster one the images run away from what the student can follow.
      generatorRate: 3e-5,
      optimizer: adam(),
      schedule: constant(2e-3),
    },
  },
  cosmetic: ['pictureEvery'],
  scaled: scaledJoint,
  needs: 'weights',
  data: { kind: 'none' },
  make: ({ batch, latent, width, generatorRate, optimizer, schedule, ...joint }) => ({
    synthesises: true,
    refuses: sidesOf4,
    steal: (victim, learner, context) =>
      trainJointly(
        opposing({ batch, latent, width, generatorRate }),
        { ...joint, loss: logitError },
        victim,
        withRecipe(learner, { optimizer, schedule }),
        context,
      ),
  }),
});

/** mean |s − t| over batch and classes, of logits as they are. */
export const logitError: StudentLoss = ({ logits, teacher }) => {
  const error = tf.mean<tf.Scalar>(absolute(tf.sub(logits, teacher)));
  return { loss: error, terms: { l1: error } };
};

/** What the generator minimises: −mean |s − t| over batch and classes, of logits as they are. */
export const opposition = (student: tf.Tensor2D, victim: tf.Tensor2D) => {
  const error = tf.mean<tf.Scalar>(absolute(tf.sub(student, victim)));
  return { loss: tf.neg(error) as tf.Scalar, metrics: { disagreement: error } };
};

/** DFAD's synthesiser: a generator that maximises the error of the student's logits. */
export const opposing = ({
  batch,
  latent,
  width,
  generatorRate,
}: Readonly<Record<'batch' | 'latent' | 'width' | 'generatorRate', number>>): Synthesiser<Generating, 'weights'> =>
  trainedGenerator({
    batch,
    generator: { ...generatorPresets.dfad, latent, width },
    optimizer: adam(),
    schedule: falling(generatorRate),
    loss: ({ student: net }, { victim, students: [student], images }) =>
      opposition(net.apply(student, images, { mode: 'train' }).logits, victim.apply(images).logits),
  });
