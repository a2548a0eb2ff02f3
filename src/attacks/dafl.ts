import type * as tf from '@tensorflow/tfjs';
import {
  atLeast,
  defaultsOf,
  defineAttack,
  option,
  optional,
  type Parsed,
  positive,
  wholeAtLeast,
  wholeBetween,
} from '../public/plugin.js';
import {
  activationLoss,
  evenChannels,
  type Generating,
  informationEntropy,
  oneHotLoss,
  type Synthesiser,
  trainedGenerator,
  trainJointly,
} from '../public/synthesis.js';
import { adam, anyOptimizer, anySchedule, constant, multiStep, sgd, withRecipe } from '../public/train.js';
import { scaledJoint, sidesOf4 } from './joint.js';

/** How the generator is made and what it learns. Defaults are MNIST's in the paper. */
const generation = {
  batch: option(
    wholeAtLeast(2),
    512,
    'Images a step; the entropy is of their mean answer, so that their number is part of the loss',
  ),
  latent: option(wholeAtLeast(1), 100, 'Numbers that the generator makes an image of'),
  width: option(evenChannels, 128, "Channels of the generator's first half; 128 in the paper"),
  generatorRate: option(positive, 0.2, "Adam's learning rate for the generator"),
  oneHot: option(atLeast(0), 1, "Weight of the cross-entropy with the victim's own answer"),
  activation: option(atLeast(0), 0.1, 'a, weight of −mean|features|'),
  entropy: option(atLeast(0), 5, 'Weight of the negative entropy of the mean answer, in decimal digits'),
};

export type Generation = Parsed<typeof generation>;

const mnist = defaultsOf(generation);

/**
 * The authors' settings (DAFL-train.py and its README). `mnistSmall` is none of theirs: fewer and smaller batches and a
 * narrower generator, for two processor cores.
 */
const presets = {
  mnist: { ...mnist, epochs: 200, optimizer: adam(), schedule: constant(2e-3) },
  cifar10: {
    batch: 1024,
    epochs: 2000,
    latent: 1000,
    generatorRate: 0.02,
    oneHot: 0.05,
    activation: 0.01,
    entropy: 5,
    optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
    schedule: multiStep({ rate: 0.1, milestones: [{ fraction: 0.4 }, { fraction: 0.8 }], gamma: 0.1 }),
  },
  cifar100: {
    batch: 1024,
    epochs: 2000,
    latent: 1000,
    generatorRate: 0.02,
    oneHot: 0.5,
    activation: 0.1,
    entropy: 20,
    optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
    schedule: multiStep({ rate: 0.1, milestones: [{ fraction: 0.4 }, { fraction: 0.8 }], gamma: 0.1 }),
  },
  mnistSmall: { ...mnist, batch: 128, epochs: 10, width: 32, optimizer: adam(), schedule: constant(2e-3) },
} as const;

/**
 * Data-free learning of student networks (Chen et al., DAFL, ICCV 2019): a generator learns to make images that the
 * victim is sure of, that excite its features, and that are of all classes alike, oh·CE(T(x), argmax T(x)) −
 * a·mean|f_T| + ie·Σ p̄ log₁₀ p̄; in the same steps the student learns KL(T ‖ S) at temperature 1 on its images. The
 * last checkpoint counts; the authors report the best on the test images.
 *
 * Defaults are MNIST's (`dafl.presets.mnist`) but for the student, who is trained by its own recipe.
 */
export const dafl = defineAttack({
  name: 'dafl',
  source: import.meta.url,
  about: 'Without data: a generator and the student learn together',
  paper: 'Chen et al., Data-free learning of student networks (DAFL), ICCV 2019',
  cost: 'batch passes through the victim a step, and as many back: 12,288,000 each at the defaults',
  options: {
    ...generation,
    epochs: option(wholeAtLeast(1), 200, 'Epochs'),
    stepsPerEpoch: option(wholeAtLeast(1), 120, 'Steps of an epoch'),
    keep: option(wholeBetween(1, 10_000), 100, 'Images of the trained generator that are kept to be looked at'),
    optimizer: optional(anyOptimizer, "The student's; default: its own recipe's"),
    schedule: optional(anySchedule, "The student's; default: its own recipe's"),
    pictureEvery: optional(wholeAtLeast(1), 'Steps between two pictures of how it goes; default: a tenth of all'),
  },
  presets,
  cosmetic: ['pictureEvery'],
  scaled: scaledJoint,
  needs: 'weights',
  data: { kind: 'none' },
  make: ({ epochs, stepsPerEpoch, keep, optimizer, schedule, pictureEvery, ...settings }) => ({
    synthesises: true,
    refuses: sidesOf4,
    steal: (victim, learner, context) =>
      trainJointly(
        generating(settings),
        { epochs, stepsPerEpoch, temperature: 1, keep, pictureEvery },
        victim,
        withRecipe(learner, { optimizer, schedule }),
        context,
      ),
  }),
});

/** DAFL's synthesiser: a generator that learns with the victim as its discriminator. */
export const generating = ({
  batch,
  latent,
  width,
  generatorRate,
  oneHot,
  activation,
  entropy,
}: Generation): Synthesiser<Generating, 'weights'> =>
  trainedGenerator({
    batch,
    generator: { latent, width },
    optimizer: adam(),
    schedule: constant(generatorRate),
    loss: (_, { victim, images }) => {
      const { logits, features } = victim.apply(images);
      const terms = {
        oneHot: oneHotLoss(logits),
        activation: activationLoss(features),
        entropy: informationEntropy(logits),
      };
      const loss = terms.oneHot
        .mul<tf.Scalar>(oneHot)
        .add<tf.Scalar>(terms.activation.mul(activation))
        .add<tf.Scalar>(terms.entropy.mul(entropy));
      return { loss, metrics: { loss, ...terms }, teacher: logits };
    },
  });
