import * as tf from '@tensorflow/tfjs';
import { choice, defineAttack, type Named, option } from '../public/plugin.js';
import {
  absolute,
  type Generating,
  generatorPresets,
  type StudentLoss,
  type Synthesiser,
  trainedGenerator,
  trainJointly,
} from '../public/synthesis.js';
import { adam, crossEntropy, multiStep, type Schedule, sgd, withRecipe } from '../public/train.js';
import { absoluteError } from './dfme.js';
import { epochOptions, epochsWithin, jointOptions, paysFor, scaledWithin, sidesOf4 } from './joint.js';

/** What two students learn of a black box. */
export const answers = option(
  choice('probabilities', 'label'),
  'probabilities',
  'What the students learn of the victim: its logits as far as probabilities tell them, or its class',
);

/** A rate that falls to 0.3 of itself after these shares of the epochs. */
export const falling = (rate: number, ...at: readonly number[]): Schedule =>
  multiStep({ rate, milestones: at.map((fraction) => ({ fraction })), gamma: 0.3 });

/** How the students learn, as released. */
const students = {
  optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
  schedule: falling(0.3, 0.1, 0.3, 0.5),
} as const;

/** … and what they minimise. */
export const learning: Readonly<Record<'probabilities' | 'label', StudentLoss>> = {
  probabilities: absoluteError,
  label: ({ logits, teacher }) => {
    const crossEntropyLoss = crossEntropy(logits, tf.argMax(teacher, 1));
    return { loss: crossEntropyLoss, terms: { crossEntropy: crossEntropyLoss } };
  },
};

/**
 * Dual Students (Beetham et al., ICLR 2023), which asks a black box for probabilities or for labels: a generator looks for images on
 * which two students disagree, −mean |s − s′| of their logits, so that its gradient is exact and costs no query; both learn
 * what the victim says of them, mean |s − l| with l = ln p − mean ln p, or the cross-entropy with its class.
 *
 * Defaults are CIFAR-10's as released (James-Beetham/dual_students), but for the students, which are trained by their own recipe unless
 * the preset is given: 20 million queries are 15,625 iterations of 1,280. Differences to that code: the generator's own step
 * is on images too, where there it is on what its tanh is of (an accident, it seems); what is stolen is the first
 * student, where there an exponential mean of each is tested.
 */
export const dualStudents = defineAttack({
  name: 'dualStudents',
  source: import.meta.url,
  about: 'Without data, of probabilities or labels alone: a generator looks for disagreement between two students',
  paper: 'Beetham et al., Dual student networks for data-free model stealing, ICLR 2023',
  cost: 'batch · studentSteps answers an iteration: 1,280 at the defaults, and 20,070,400 in all; two students',
  options: {
    answers,
    ...jointOptions({
      ...{ batch: 256, epochs: 224, stepsPerEpoch: 70, studentSteps: 5 },
      ...{ latent: 256, generatorRate: 1e-4 },
    }),
    ...epochOptions(224),
  },
  presets: {
    cifar10: { ...students, budget: 20_000_000 },
    mnistSmall: { ...students, batch: 64, epochs: 20, stepsPerEpoch: 100, width: 32, generatorRate: 1e-3 },
  },
  cosmetic: ['pictureEvery'],
  scaled: scaledWithin,
  needs: ({ answers }) => answers,
  data: { kind: 'none' },
  make: ({ answers, ...options }) => ({
    synthesises: true,
    refuses: (victim, _, circumstances) =>
      sidesOf4(victim) ?? paysFor(options.batch * options.studentSteps, circumstances),
    steal: (victim, learner, context) => {
      const { optimizer, schedule, batch, stepsPerEpoch, studentSteps, keep, pictureEvery } = options;
      return trainJointly(
        splitting(options, falling(options.generatorRate, 0.1, 0.3, 0.5), agreement),
        {
          epochs: epochsWithin(options, victim.budget, batch * studentSteps * stepsPerEpoch, 224),
          ...{ stepsPerEpoch, studentSteps, keep, pictureEvery },
          students: 2,
          loss: learning[answers],
        },
        victim,
        withRecipe(learner, { optimizer, schedule }),
        context,
      );
    },
  }),
});

/** What the generator minimises: −mean |s − s′| over batch and classes, of the students' logits. */
export const agreement = (a: tf.Tensor2D, b: tf.Tensor2D) => {
  const apart = tf.mean<tf.Scalar>(absolute(tf.sub(a, b)));
  return { loss: tf.neg(apart) as tf.Scalar, metrics: { disagreement: apart } };
};

/** A generator by what two students say of its images, in evaluation mode. */
export const splitting = (
  { batch, latent, width }: Readonly<Record<'batch' | 'latent' | 'width', number>>,
  schedule: Schedule,
  loss: (a: tf.Tensor2D, b: tf.Tensor2D) => { readonly loss: tf.Scalar; readonly metrics: Named },
): Synthesiser<Generating, 'label' | 'probabilities'> =>
  trainedGenerator({
    batch,
    generator: { ...generatorPresets.dfme, latent, width },
    optimizer: adam(),
    schedule,
    shows: 'eval',
    loss: ({ student: net }, { students, images }) => {
      const [a, b] = students.map((student) => net.apply(student, images, { mode: 'eval' }).logits);
      return loss(a as tf.Tensor2D, b as tf.Tensor2D);
    },
  });
