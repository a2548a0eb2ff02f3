import * as tf from '@tensorflow/tfjs';
import { anotherSeed, standardNormal } from '../public/ops.js';
import {
  atLeast,
  choice,
  defineAttack,
  option,
  optional,
  positive,
  share,
  type Variables,
  v,
  wholeAtLeast,
  wholeBetween,
} from '../public/plugin.js';
import {
  absolute,
  evenChannels,
  generator,
  generatorPresets,
  type StudentLoss,
  type SynthesisContext,
  type Synthesiser,
  trainJointly,
  zeroSchedule,
} from '../public/synthesis.js';
import {
  adam,
  anyOptimizer,
  anySchedule,
  detach,
  distillationKl,
  forwardDifferences,
  multiStep,
  normalisePixels,
  type OptimizerState,
  scaledSchedule,
  sgd,
  valueAndGradient,
  withRecipe,
} from '../public/train.js';

/** The generator, what Adam remembers of it, and how many steps it took. */
type Generating = { readonly variables: Variables; readonly slots: OptimizerState; readonly step: tf.Scalar };

/** What part of itself a rate falls to. */
const gamma = 0.3;

/**
 * The student's training, whose rate falls after these shares of the epochs; and the generator's, which falls with it.
 */
const falling = (...falls: readonly number[]) => ({
  optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
  schedule: multiStep({ rate: 0.1, milestones: falls.map((fraction) => ({ fraction })), gamma }),
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
  options: {
    batch: option(wholeAtLeast(2), 256, 'Images a step'),
    epochs: optional(wholeAtLeast(1), 'Epochs; default: as many as the budget allows for, and 224 without one'),
    stepsPerEpoch: option(wholeAtLeast(1), 50, 'Iterations of an epoch'),
    generatorSteps: option(wholeAtLeast(1), 1, 'Steps of the generator in an iteration'),
    studentSteps: option(wholeAtLeast(1), 5, 'Steps of the student in an iteration, each on fresh images'),
    directions: option(wholeAtLeast(1), 1, 'm, directions of the forward differences'),
    epsilon: option(positive, 1e-3, 'ε, length of a step in one'),
    loss: option(choice('l1', 'kl'), 'l1', 'What measures the disagreement'),
    latent: option(wholeAtLeast(1), generatorPresets.dfme.latent, 'Numbers that the generator makes an image of'),
    width: option(evenChannels, 128, "Channels of the generator's first half"),
    generatorRate: option(atLeast(0), 1e-4, "Adam's learning rate for the generator"),
    generatorFalls: option(
      v.pipe(v.array(share), v.title('shares above 0 and at most 1')),
      [0.1, 0.3, 0.5],
      'After which shares of the epochs that rate falls to 0.3 of itself',
    ),
    keep: option(wholeBetween(1, 10_000), 100, 'Images of the trained generator that are kept to be looked at'),
    optimizer: optional(anyOptimizer, "The student's; default: its own recipe's"),
    schedule: optional(anySchedule, "The student's; default: its own recipe's"),
    pictureEvery: optional(wholeAtLeast(1), 'Steps between two pictures of how it goes; default: a tenth of all'),
  },
  presets: {
    cifar10: { ...falling(0.1, 0.3, 0.5), budget: 20_000_000 },
    svhn: { ...falling(0.5, 0.8), generatorRate: 5e-5, budget: 2_000_000 },
  },
  cosmetic: ['pictureEvery'],
  scaled: ({ epochs, schedule, pictureEvery }, factor) => ({
    epochs: epochs && Math.max(1, Math.round(factor * epochs)),
    schedule: schedule && scaledSchedule(schedule, factor),
    pictureEvery: pictureEvery && Math.max(1, Math.round(factor * pictureEvery)),
  }),
  needs: 'probabilities',
  data: { kind: 'none' },
  make: ({ optimizer, schedule, keep, pictureEvery, studentSteps, generatorSteps, generatorFalls, ...options }) => {
    const { stepsPerEpoch } = options;
    return {
      synthesises: true,
      refuses: ({ input: { height, width } }) =>
        height % 4 === 0 && width % 4 === 0
          ? undefined
          : `its generator makes images of sides divisible by 4, not of ${height}×${width}`,
      steal: (victim, learner, context) => {
        const queries = queriesOf({ ...options, generatorSteps, studentSteps });
        const epochs = options.epochs ?? epochsWithin(victim.budget, queries * stepsPerEpoch);
        const falls = generatorFalls.map((fall) => firstAfter(fall, epochs) * stepsPerEpoch * generatorSteps);
        return trainJointly(
          disagreeing({ ...options, falls }),
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

/** Epochs of so many queries that a budget begins; 224 without one. */
export const epochsWithin = (budget: number | undefined, queriesPerEpoch: number): number =>
  budget === undefined ? 224 : Math.ceil(budget / queriesPerEpoch);

/** The first of so many epochs, from 0, that a share of them has gone before: as a schedule's milestones count. */
const firstAfter = (gone: number, epochs: number): number => Math.ceil(Math.round(gone * epochs * 1e9) / 1e9);

/**
 * ln p − mean ln p of log-probabilities [batch, classes]: the logits but for their mean, exactly. What is told to be 0
 * counts as 10⁻⁷, or as the least that is told of the image where that is less.
 */
export const recoveredLogits = (logProbabilities: tf.Tensor2D): tf.Tensor2D => {
  const isZero = tf.equal(logProbabilities, Number.NEGATIVE_INFINITY);
  const least = tf.min(tf.where(isZero, tf.zerosLike(logProbabilities), logProbabilities), 1, true);
  const told = tf.where(isZero, tf.minimum(least, Math.log(1e-7)), logProbabilities);
  return tf.sub<tf.Tensor2D>(told, tf.mean(told, 1, true));
};

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
 * DFME's synthesiser: a generator of images on which victim and student disagree. `falls`: the steps at which its rate
 * falls.
 */
export const disagreeing = ({
  batch,
  latent,
  width,
  directions,
  epsilon,
  loss: kind,
  generatorRate,
  falls,
}: {
  readonly batch: number;
  readonly latent: number;
  readonly width: number;
  readonly directions: number;
  readonly epsilon: number;
  readonly loss: 'l1' | 'kl';
  readonly generatorRate: number;
  readonly falls: readonly number[];
}): Synthesiser<Generating, 'probabilities'> => {
  const optimizer = adam();
  const plugin = generator({ ...generatorPresets.dfme, latent, width });
  /** Pixels of what the generator gives before its tanh. */
  const pixelsOf = (preTanh: tf.Tensor4D): tf.Tensor4D => tf.div(tf.add(tf.tanh(preTanh), 1), 2);
  const preTanhOf = ({ input }: SynthesisContext, variables: Variables, seed: tf.Tensor1D) => {
    const z = standardNormal([batch, latent], seed) as tf.Tensor2D;
    const { activations, stats } = plugin.build(input).apply(variables, z, { mode: 'train', activations: ['preTanh'] });
    return { preTanh: activations?.preTanh as tf.Tensor4D, stats };
  };
  const rateAt = (step: tf.Scalar): tf.Scalar =>
    falls.reduce<tf.Scalar>(
      (rate, fall) => tf.mul(rate, tf.where(tf.greaterEqual(step, fall), gamma, 1)),
      tf.scalar(generatorRate),
    );
  return {
    batch,
    phases: [{ iterations: 1, schedule: zeroSchedule }],
    init: (key, { input }) => {
      const variables = plugin.build(input).init(key);
      return { variables, slots: optimizer.init(variables.params), step: tf.scalar(0) };
    },
    images: (about, { variables }, seed) =>
      normalisePixels(pixelsOf(preTanhOf(about, variables, seed).preTanh), about.normalisation),
    step: (about, _, { victim, students: [student], state: { variables, slots, step }, seed }) => {
      const agreementAt = (preTanh: tf.Tensor4D) => {
        const pixels = pixelsOf(preTanh);
        const images = normalisePixels(pixels, about.normalisation);
        const { logits } = about.student.apply(student, images, { mode: 'eval' });
        const answers = victim.logProbabilities(pixels);
        return { value: agreement(kind, logits, answers), answers };
      };
      const { gradients, aux } = valueAndGradient((params) => {
        const { preTanh, stats } = preTanhOf(about, { params, stats: variables.stats }, seed);
        const apart = anotherSeed(seed, directionSeeds);
        const found = forwardDifferences(agreementAt, detach(preTanh), { directions, epsilon, seed: apart });
        // As released: over K · B more for l1, which Adam does not see.
        const scale = kind === 'l1' ? 1 / (about.classes * batch) : 1;
        const surrogate = tf.sum(tf.mul(preTanh, detach(tf.mul(found.gradient, scale)))) as tf.Scalar;
        const disagreement = tf.neg(tf.mean<tf.Scalar>(found.value));
        return { loss: surrogate, aux: { stats, disagreement, unchanged: found.unchanged } };
      }, variables.params);
      const updated = optimizer.update(gradients, slots, variables.params, rateAt(step));
      return {
        state: {
          variables: { params: updated.params, stats: aux.stats },
          slots: updated.state,
          step: tf.add<tf.Scalar>(step, 1),
        },
        metrics: { disagreement: aux.disagreement, zeroDifferences: aux.unchanged },
      };
    },
  };
};
