import * as tf from '@tensorflow/tfjs';
import { atLeast, checked, positive, wholeAtLeast, wholeBetween, withDefaults } from '../core/check.js';
import { standardNormal } from '../engine/ops.js';
import { evenChannels, generator } from '../models/generator.js';
import type { Variables } from '../models/network.js';
import { valueAndGradient } from '../train/gradient.js';
import { adam, type Optimizer, type OptimizerState, sgd } from '../train/optimizers.js';
import { constant, multiStep, type Schedule, scaledSchedule } from '../train/schedules.js';
import { type Synthesiser, trainJointly, zeroSchedule } from '../train/synthesis.js';
import { activationLoss, informationEntropy, oneHotLoss } from '../train/synthesis-losses.js';
import type { Attack } from './attack.js';

/** How the generator is made and what it learns. */
export interface Generation {
  /** Images a step, ≥ 2; the entropy is of their mean answer, so it is part of the loss. */
  readonly batch: number;
  /** Numbers that the generator makes an image of. */
  readonly latent: number;
  /** Channels of the generator's first half, even; 128 in the paper. */
  readonly width: number;
  /** Adam's learning rate for the generator. */
  readonly generatorRate: number;
  /** Weight of the cross-entropy with the victim's own answer. */
  readonly oneHot: number;
  /** a, weight of −mean|features|. */
  readonly activation: number;
  /** Weight of the negative entropy of the mean answer, in decimal digits. */
  readonly entropy: number;
}

interface DaflSettings extends Generation {
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  /** Images of the trained generator that are kept to be looked at; at most 10,000. */
  readonly keep: number;
}

export interface DaflOptions extends Partial<DaflSettings> {
  /** How the student is trained; default: its own recipe's. */
  readonly optimizer?: Optimizer;
  readonly schedule?: Schedule;
  /** Steps between two pictures of how it goes. Default: a tenth of all. */
  readonly pictureEvery?: number;
  readonly label?: string;
}

/**
 * The authors' settings (DAFL-train.py and its README). `mnistSmall` is none of theirs: fewer and smaller batches and a
 * narrower generator, for two processor cores.
 */
export const daflPresets = {
  mnist: {
    batch: 512,
    epochs: 200,
    latent: 100,
    generatorRate: 0.2,
    oneHot: 1,
    activation: 0.1,
    entropy: 5,
    optimizer: adam(),
    schedule: constant(2e-3),
  },
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
  mnistSmall: {
    batch: 128,
    epochs: 10,
    latent: 100,
    width: 32,
    generatorRate: 0.2,
    oneHot: 1,
    activation: 0.1,
    entropy: 5,
    optimizer: adam(),
    schedule: constant(2e-3),
  },
} as const satisfies Readonly<Record<string, DaflOptions>>;

/** MNIST's in the paper, but for the student's training. */
const defaults: DaflSettings = {
  batch: daflPresets.mnist.batch,
  epochs: daflPresets.mnist.epochs,
  stepsPerEpoch: 120,
  latent: daflPresets.mnist.latent,
  width: 128,
  generatorRate: daflPresets.mnist.generatorRate,
  oneHot: daflPresets.mnist.oneHot,
  activation: daflPresets.mnist.activation,
  entropy: daflPresets.mnist.entropy,
  keep: 100,
};

/** A generator and what Adam remembers of it. */
type Generating = { readonly variables: Variables; readonly slots: OptimizerState };

/**
 * Data-free learning of student networks (Chen et al., DAFL, ICCV 2019): a generator learns to make images that the victim is
 * sure of, that excite its features, and that are of all classes alike, oh·CE(T(x), argmax T(x)) − a·mean|f_T| + ie·Σ p̄ log₁₀ p̄;
 * in the same steps the student learns KL(T ‖ S) at temperature 1 on its images. The last checkpoint counts; the authors
 * report the best on the test images.
 *
 * Defaults are MNIST's (`daflPresets.mnist`) but for the student, who is trained by its own recipe.
 */
export const dafl = (options: DaflOptions = {}): Attack<'weights', { readonly kind: 'none' }> => {
  const { optimizer, schedule, pictureEvery, label, ...changed } = options;
  const settings = withDefaults('dafl', defaults, changed);
  const { epochs, stepsPerEpoch, keep, ...generation } = settings;
  checked(
    'dafl',
    {
      batch: wholeAtLeast(2),
      epochs: wholeAtLeast(1),
      stepsPerEpoch: wholeAtLeast(1),
      latent: wholeAtLeast(1),
      width: evenChannels,
      generatorRate: positive,
      oneHot: atLeast(0),
      activation: atLeast(0),
      entropy: atLeast(0),
      keep: wholeBetween(1, 10_000),
      pictureEvery: wholeAtLeast(1),
    },
    { ...settings, pictureEvery: pictureEvery ?? 1 },
  );
  const training = {
    ...(optimizer === undefined ? {} : { optimizer }),
    ...(schedule === undefined ? {} : { schedule }),
  };
  return {
    name: 'dafl',
    params: { ...settings, optimizer: optimizer ?? null, schedule: schedule ?? null },
    source: import.meta.url,
    needs: 'weights',
    data: { kind: 'none' },
    synthesises: true,
    ...(label === undefined ? {} : { label }),
    scaled: (factor) => {
      const steps = Math.max(1, Math.round(factor * epochs * stepsPerEpoch));
      const fewer = Math.max(1, Math.round(factor * epochs));
      return dafl({
        ...options,
        epochs: fewer,
        stepsPerEpoch: Math.max(1, Math.round(steps / fewer)),
        ...(schedule === undefined ? {} : { schedule: scaledSchedule(schedule, factor) }),
        ...(pictureEvery === undefined ? {} : { pictureEvery: Math.max(1, Math.round(factor * pictureEvery)) }),
      });
    },
    refuses: ({ input: { height, width } }) =>
      height % 4 === 0 && width % 4 === 0
        ? undefined
        : `its generator makes images of sides divisible by 4, not of ${height}×${width}`,
    steal: (victim, learner, context) =>
      trainJointly(
        generating(generation),
        { epochs, stepsPerEpoch, temperature: 1, keep, pictureEvery },
        victim,
        { ...learner, recipe: { ...learner.recipe, ...training } },
        context,
      ),
  };
};

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
