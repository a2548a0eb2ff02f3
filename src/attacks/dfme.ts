import * as tf from '@tensorflow/tfjs';
import { anotherSeed } from '../public/ops.js';
import { choice, defineAttack, option, positive, share, v, wholeAtLeast } from '../public/plugin.js';
import {
  absolute,
  type GeneratedImages,
  type Generating,
  generatorPresets,
  pixelsOfTanh,
  type StudentLoss,
  type SynthesisContext,
  type Synthesiser,
  trainedGenerator,
  trainJointly,
} from '../public/synthesis.js';
import {
  adam,
  detach,
  distillationKl,
  type Estimated,
  forwardDifferences,
  multiStep,
  normalisePixels,
  recoveredLogits,
  sgd,
  withRecipe,
} from '../public/train.js';
import { epochOptions, epochsWithin, jointOptions, paysFor, scaledWithin, sidesOf4 } from './joint.js';

/** What part of itself a rate falls to. */
const gamma = 0.3;

const fractions = (falls: readonly number[]) => falls.map((fraction) => ({ fraction }));

/**
 * The student's training, whose rate falls after these shares of the epochs; and the generator's, which falls with it.
 */
const falling = (...falls: readonly number[]) => ({
  optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
  schedule: multiStep({ rate: 0.1, milestones: fractions(falls), gamma }),
  generatorFalls: falls,
});

/**
 * Data-free model extraction (Truong et al., CVPR 2021), which asks a black box for probabilities alone: a generator
 * looks for images on which victim and student disagree, and the student learns to agree on them. What is missing of
 * the generator's gradient, that through the victim, is estimated from answers by forward differences at the images
 * before their tanh.
 *
 * The victim's logits are taken from its probabilities, l = ln p − mean ln p. The student s minimises mean |s − l| over
 * batch and classes, the generator maximises it (`l1`); or both do KL (`kl`). An iteration asks batch · (generatorSteps
 * · (directions + 1) + studentSteps) queries: 1,792 as released.
 *
 * Defaults are CIFAR-10's in the released script (cake-lab/datafree-model-extraction 525b76c), but for the student, who
 * is trained by its own recipe unless a preset is given: 20 million queries are 11,160 iterations, 224 epochs of 50 but
 * for the last ones. Differences to that code: images are pixels, (tanh + 1) / 2, as an interface takes them, where it
 * feeds the tanh as an already normalised image; no gradient is ever taken of the victim, where it takes one an epoch
 * for its log; what is told to be 0 counts as 10⁻⁷, or as the least that is told of the image where that is less; rates
 * fall in the first epoch after 0.1, 0.3 and 0.5 of all, of 224 in epochs 23, 68 and 112 (from 0), where that code
 * rounds down and counts an epoch ahead (21, 66, 111).
 */
export const dfme = defineAttack({
  name: 'dfme',
  source: import.meta.url,
  about:
    'Without data, of probabilities alone: a generator looks for disagreement by estimated gradients, and the student learns to agree',
  paper: 'Truong et al., Data-free model extraction, CVPR 2021; settings of its released code',
  cost: 'batch · (generatorSteps · (1 + directions) + studentSteps) answers an iteration: 1,792 at the defaults, and 20,070,400 in all',
  options: {
    ...jointOptions({
      ...{ batch: 256, epochs: 224, stepsPerEpoch: 50, studentSteps: 5 },
      ...{ latent: generatorPresets.dfme.latent, generatorRate: 1e-4 },
    }),
    ...epochOptions(224),
    generatorSteps: option(wholeAtLeast(1), 1, 'Steps of the generator in an iteration'),
    directions: option(wholeAtLeast(1), 1, 'm, directions of the forward differences'),
    epsilon: option(positive, 1e-3, 'ε, length of a step in one'),
    loss: option(choice('l1', 'kl'), 'l1', 'What measures the disagreement'),
    generatorFalls: option(
      v.pipe(v.array(share), v.title('shares above 0 and at most 1')),
      [0.1, 0.3, 0.5],
      "After which shares of the epochs the generator's rate falls to 0.3 of itself",
    ),
  },
  presets: {
    cifar10: { ...falling(0.1, 0.3, 0.5), budget: 20_000_000 },
    mnistSmall: { batch: 64, latent: 64, width: 32, generatorRate: 1e-3, epochs: 20 },
    svhn: { ...falling(0.5, 0.8), generatorRate: 5e-5, budget: 2_000_000 },
  },
  cosmetic: ['pictureEvery'],
  scaled: scaledWithin,
  needs: 'probabilities',
  data: { kind: 'none' },
  make: ({ optimizer, schedule, keep, pictureEvery, studentSteps, generatorSteps, ...options }) => {
    const { stepsPerEpoch } = options;
    return {
      synthesises: true,
      refuses: (victim, _, circumstances) =>
        sidesOf4(victim) ?? paysFor(queriesOf({ ...options, generatorSteps, studentSteps }), circumstances),
      steal: (victim, learner, context) => {
        const queries = queriesOf({ ...options, generatorSteps, studentSteps });
        const epochs = epochsWithin(options, victim.budget, queries * stepsPerEpoch, 224);
        return trainJointly(
          disagreeing(options),
          {
            epochs,
            stepsPerEpoch,
            synthesiserSteps: generatorSteps,
            studentSteps,
            loss: options.loss === 'kl' ? divergence : absoluteError,
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

/** Queries of an iteration. */
export const queriesOf = ({
  batch,
  directions,
  generatorSteps,
  studentSteps,
}: Readonly<Record<'batch' | 'directions' | 'generatorSteps' | 'studentSteps', number>>): number =>
  batch * (generatorSteps * (directions + 1) + studentSteps);

type Compared = Pick<Parameters<StudentLoss>[0], 'logits' | 'teacher'>;

/** mean |s − l| over batch and classes. */
export const absoluteError = ({ logits, teacher }: Compared) => {
  const error = tf.mean<tf.Scalar>(absolute(tf.sub(logits, recoveredLogits(teacher))));
  return { loss: error, terms: { l1: error } };
};

const divergence = ({ logits, teacher }: Compared) => distillationKl({ logits, teacher, temperature: 1 });

/** How far student and victim agree on each image, at most 0: [batch, classes] each -> [batch]. */
export const agreement = (kind: 'l1' | 'kl', student: tf.Tensor2D, logProbabilities: tf.Tensor2D): tf.Tensor1D => {
  if (kind === 'l1') return tf.neg(tf.mean<tf.Tensor1D>(tf.abs(tf.sub(student, recoveredLogits(logProbabilities))), 1));
  const p = tf.exp(logProbabilities);
  const ratio = tf.where(tf.greater(p, 0), tf.sub(logProbabilities, tf.logSoftmax(student)), tf.zerosLike(p));
  return tf.neg(tf.sum<tf.Tensor1D>(tf.mul(p, ratio), 1));
};

/**
 * Where the seeds of directions begin, far from those of images: a direction must not be drawn from its image's own
 * numbers.
 */
const directionSeeds = 500_000;

/**
 * How far student and victim agree on the images of a tanh, per image, and the gradient of that with respect to what the tanh is of:
 * estimated, since no gradient flows through the victim.
 */
export const throughVictim = (
  about: SynthesisContext<'probabilities'>,
  { victim, students: [student], preTanh, seed }: GeneratedImages<'probabilities'>,
  {
    kind,
    mode,
    ...differences
  }: {
    readonly kind: 'l1' | 'kl';
    /** How the student's batch norms normalise. */
    readonly mode: 'train' | 'eval';
    readonly directions: number;
    readonly epsilon: number;
  },
): Estimated<tf.Tensor4D> => {
  const agreementAt = (preTanh: tf.Tensor4D) => {
    const pixels = pixelsOfTanh(tf.tanh(preTanh));
    const { logits } = about.student.apply(student, normalisePixels(pixels, about.normalisation), { mode });
    const answers = victim.logProbabilities(pixels);
    return { value: agreement(kind, logits, answers), answers };
  };
  return forwardDifferences(agreementAt, detach(preTanh), { ...differences, seed: anotherSeed(seed, directionSeeds) });
};

/** DFME's synthesiser: a generator of images on which victim and student disagree. */
export const disagreeing = ({
  batch,
  latent,
  width,
  directions,
  epsilon,
  loss: kind,
  generatorRate,
  generatorFalls,
}: {
  readonly batch: number;
  readonly latent: number;
  readonly width: number;
  readonly directions: number;
  readonly epsilon: number;
  readonly loss: 'l1' | 'kl';
  readonly generatorRate: number;
  readonly generatorFalls: readonly number[];
}): Synthesiser<Generating, 'probabilities'> =>
  trainedGenerator({
    batch,
    generator: { ...generatorPresets.dfme, latent, width },
    optimizer: adam(),
    schedule: multiStep({ rate: generatorRate, milestones: fractions(generatorFalls), gamma }),
    loss: (about, given) => {
      const found = throughVictim(about, given, { kind, mode: 'eval', directions, epsilon });
      // As released: over K · B more for l1, which Adam does not see.
      const scale = kind === 'l1' ? 1 / (about.classes * batch) : 1;
      return {
        loss: tf.sum<tf.Scalar>(tf.mul(given.preTanh, detach(tf.mul(found.gradient, scale)))),
        metrics: { disagreement: tf.neg(tf.mean<tf.Scalar>(found.value)), zeroDifferences: found.unchanged },
      };
    },
  });
