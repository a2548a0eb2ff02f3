import * as tf from '@tensorflow/tfjs';
import { standardNormal } from '../public/ops.js';
import {
  atLeast,
  defaultsOf,
  defineAttack,
  option,
  optional,
  type Parsed,
  positive,
  type Variables,
  wholeAtLeast,
  wholeBetween,
} from '../public/plugin.js';
import {
  activationLoss,
  evenChannels,
  generator,
  informationEntropy,
  oneHotLoss,
  type Synthesiser,
  trainJointly,
  zeroSchedule,
} from '../public/synthesis.js';
import {
  adam,
  anyOptimizer,
  anySchedule,
  constant,
  multiStep,
  type OptimizerState,
  scaledSchedule,
  sgd,
  valueAndGradient,
  withRecipe,
} from '../public/train.js';

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

/** A generator and what Adam remembers of it. */
type Generating = { readonly variables: Variables; readonly slots: OptimizerState };

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
  scaled: ({ epochs, stepsPerEpoch, schedule, pictureEvery }, factor) => {
    const steps = Math.max(1, Math.round(factor * epochs * stepsPerEpoch));
    const fewer = Math.max(1, Math.round(factor * epochs));
    return {
      epochs: fewer,
      stepsPerEpoch: Math.max(1, Math.round(steps / fewer)),
      schedule: schedule && scaledSchedule(schedule, factor),
      pictureEvery: pictureEvery && Math.max(1, Math.round(factor * pictureEvery)),
    };
  },
  needs: 'weights',
  data: { kind: 'none' },
  make: ({ epochs, stepsPerEpoch, keep, optimizer, schedule, pictureEvery, ...settings }) => ({
    synthesises: true,
    refuses: ({ input: { height, width } }) =>
      height % 4 === 0 && width % 4 === 0
        ? undefined
        : `its generator makes images of sides divisible by 4, not of ${height}×${width}`,
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
}: Generation): Synthesiser<Generating, 'weights'> => {
  const optimizer = adam();
  const plugin = generator({ latent, width });
  return {
    batch,
    phases: [{ iterations: 1, schedule: zeroSchedule }],
    init: (key, { input }) => {
      const variables = plugin.build(input).init(key);
      return { variables, slots: optimizer.init(variables.params) };
    },
    images: ({ input }, { variables }, seed) =>
      plugin.build(input).apply(variables, standardNormal([batch, latent], seed) as tf.Tensor2D, { mode: 'train' })
        .images,
    step: ({ input }, _, { victim, state: { variables, slots }, seed }) => {
      const net = plugin.build(input);
      const z = standardNormal([batch, latent], seed) as tf.Tensor2D;
      const { loss, gradients, aux } = valueAndGradient((params) => {
        const { images, stats } = net.apply({ params, stats: variables.stats }, z, { mode: 'train' });
        const { logits, features } = victim.apply(images);
        const terms = {
          oneHot: oneHotLoss(logits),
          activation: activationLoss(features),
          entropy: informationEntropy(logits),
        };
        const total = terms.oneHot
          .mul<tf.Scalar>(oneHot)
          .add<tf.Scalar>(terms.activation.mul(activation))
          .add<tf.Scalar>(terms.entropy.mul(entropy));
        return { loss: total, aux: { images, logits, stats, terms } };
      }, variables.params);
      const updated = optimizer.update(gradients, slots, variables.params, tf.scalar(generatorRate));
      return {
        state: { variables: { params: updated.params, stats: aux.stats }, slots: updated.state },
        shown: { images: aux.images, teacher: aux.logits },
        metrics: { loss, ...aux.terms },
      };
    },
  };
};
