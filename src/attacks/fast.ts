import * as tf from '@tensorflow/tfjs';
import { shiftedView } from '../public/ops.js';
import {
  anyAugmentation,
  atLeast,
  type BatchStats,
  choice,
  defineAttack,
  type Key,
  type Named,
  normals,
  option,
  optional,
  type Parsed,
  positive,
  type VariableSpec,
  type Variables,
  wholeAtLeast,
} from '../public/plugin.js';
import {
  batchNormDistance,
  distillFromPool,
  evenChannels,
  generator,
  generatorPresets,
  type Synthesiser,
} from '../public/synthesis.js';
import {
  adam,
  anyOptimizer,
  anySchedule,
  clone,
  constant,
  cosine,
  crossEntropy,
  normalisePixels,
  type OptimizerState,
  scaledSchedule,
  sgd,
  valueAndGradient,
  withRecipe,
} from '../public/train.js';
import { fewerBatches, whyNoBatchNorms } from './batches.js';
import { disagreement } from './cmi.js';
import { sidesOf4 } from './joint.js';

/** The statistics of what each batch norm takes in, by its name. */
type Seen = Readonly<Record<string, BatchStats>>;

/** The generator that batches start from, and what is known of the statistics of the batches before; absent before the first. */
type Memory = {
  readonly generator: Variables;
  readonly slots: OptimizerState;
  /** Batches that were made. */
  readonly made: tf.Scalar;
  readonly seen?: Seen;
};

/** What is changed for one batch: a generator with its inputs, its gradients so far, and the best images so far. */
type Inverting = {
  readonly generator: Variables;
  readonly slots: OptimizerState;
  readonly z: tf.Tensor2D;
  readonly zSlots: OptimizerState;
  /** Sums of the generator's gradients. */
  readonly sums: Named;
  readonly seen: Seen;
  readonly best: tf.Tensor4D;
  readonly lowest: tf.Scalar;
};

const settings = {
  batch: option(wholeAtLeast(2), 256, 'Images at a time'),
  iterations: option(wholeAtLeast(1), 10, 'k, steps for each batch'),
  generatorRate: option(positive, 2e-3, "Adam's learning rate for the generator of a batch"),
  inputRate: option(positive, 0.01, "Adam's learning rate for its inputs"),
  meta: option(
    choice('fomaml', 'reptile', 'none'),
    'fomaml',
    'How the generator that all batches start from learns: by the sum of their gradients, from where they end, or as the one that goes on',
  ),
  latent: option(wholeAtLeast(1), generatorPresets.fast.latent, 'Numbers that the generator makes an image of'),
  width: option(evenChannels, 128, "Channels of the generator's first half"),
  batchNorm: option(atLeast(0), 10, "Weight of the distance of the batch norms' statistics"),
  oneHot: option(atLeast(0), 0.5, 'Weight of the cross-entropy with the class that an image is to be of'),
  adversarial: option(
    atLeast(0),
    1.33,
    'Weight of the disagreement of victim and student where they name the same class',
  ),
  warmup: option(wholeAtLeast(0), 20, 'Batches before the student learns and is looked at'),
  resetAt: optional(
    wholeAtLeast(1),
    "Before which batch, from 1, the generator's first layer is drawn anew; default: never",
  ),
};

/** k, the rates of inputs and generator, as released. */
const steps = {
  2: { iterations: 2, inputRate: 0.015, generatorRate: 5e-3 },
  5: { iterations: 5, inputRate: 0.01, generatorRate: 3e-3 },
  10: { iterations: 10, inputRate: 0.01, generatorRate: 2e-3 },
} as const;

const released = {
  resetAt: 140,
  optimizer: sgd({ momentum: 0.9, weightDecay: 1e-4 }),
  schedule: cosine({ rate: 0.2, floor: 2e-4 }),
} as const;

/**
 * Up to 100× faster data-free distillation (Fang et al., AAAI 2022) with the victim's weights at hand: as CMI without its contrastive
 * term, with the generator of each batch starting from one that learnt from all batches before, so that few steps are enough:
 *
 *   bn · R + oh · CE(t, y) − adv · mean 1[argmax s = argmax t] KL(t ‖ s),
 *
 * where R compares the running statistics with 0.1 of the batch's and 0.9 of those of the batches before. The student takes
 * `stepsBetween` steps of distillation on the growing pool after each batch that follows the warm-up.
 *
 * zju-vipa/Fast-Datafree 0dcecbc (datafree/synthesis/fast_meta.py); defaults are CIFAR-10's from a ResNet-34, but for the
 * student, who is trained by its own recipe unless a preset is given. Differences to that code: classes come in turn, where
 * it draws them. As there, the weights of the first batch norm are around 0 when it is drawn anew with the first layer.
 */
export const fast = defineAttack({
  name: 'fast',
  source: import.meta.url,
  about: 'Without data: batches of images in a few steps each, from a generator that learns to be a good start',
  paper: 'Fang et al., Up to 100× faster data-free knowledge distillation, AAAI 2022',
  cost: 'batch · iterations passes through the victim for each batch, and batch · stepsBetween after the warm-up: 21,043,200 at the defaults',
  options: {
    ...settings,
    batches: option(wholeAtLeast(1), 220, 'Batches of images in the pool'),
    temperature: option(positive, 20, 'τ of the distillation'),
    stepsBetween: option(wholeAtLeast(1), 400, 'Steps of distillation after each batch'),
    augmentation: option(anyAugmentation, { crop: 4, flip: true }, "Changes of the pool's images in distillation"),
    optimizer: optional(anyOptimizer, "The student's; default: its own recipe's"),
    schedule: optional(anySchedule, "The student's; default: its own recipe's"),
    pictureEvery: optional(wholeAtLeast(1), 'Iterations between two pictures of how it goes; default: a tenth of all'),
  },
  presets: {
    cifar10: { ...released, ...steps[10] },
    cifar10Fast5: { ...released, ...steps[5] },
    cifar10Fast2: { ...released, ...steps[2] },
    cifar10Vgg: { ...released, adversarial: 1 },
    cifar10WideResNet: { ...released, adversarial: 1.1, oneHot: 0.4 },
    mnistSmall: { batch: 64, width: 32, latent: 64, batches: 40, warmup: 4, stepsBetween: 20 },
  },
  cosmetic: ['pictureEvery'],
  scaled: ({ batches, warmup, resetAt, stepsBetween, schedule, pictureEvery }, factor) => {
    const fewer = fewerBatches(batches, factor);
    return {
      batches: fewer.batches,
      warmup: Math.min(fewer.batches - 1, Math.round(factor * warmup)),
      resetAt: resetAt && Math.max(1, Math.round(factor * resetAt)),
      stepsBetween: Math.max(1, Math.round(stepsBetween * fewer.length)),
      schedule: schedule && scaledSchedule(schedule, factor),
      pictureEvery,
    };
  },
  needs: 'weights',
  data: { kind: 'none' },
  make: ({
    batches,
    warmup,
    temperature,
    stepsBetween,
    augmentation,
    optimizer,
    schedule,
    pictureEvery,
    ...inversion
  }) => ({
    synthesises: true,
    refuses: (victim) => {
      if (warmup >= batches)
        return {
          reason: `its warm-up of ${warmup} batches takes all of its ${batches}`,
          remedy: 'Give a smaller warmup, or more batches.',
        };
      return whyNoBatchNorms(victim, inversion.batchNorm) ?? sidesOf4(victim);
    },
    steal: (victim, learner, context) =>
      distillFromPool(
        startingFrom({ ...inversion, warmup }),
        {
          ...{ batches, temperature, stepsBetween, augmentation, pictureEvery },
          learnsAfter: warmup,
          steps: (batches - warmup) * stepsBetween,
        },
        victim,
        withRecipe(learner, { optimizer, schedule }),
        context,
      ),
  }),
});

/** What the difference of a start and an end is multiplied by in Reptile's gradient. */
const reptile = 67;

/**
 * By what the generator that batches start from is moved: the sum of a batch's gradients, or the way from its start to its end, 67 times and
 * turned round.
 */
export const metaGradients = (
  meta: 'fomaml' | 'reptile',
  { start, end, sums }: Readonly<Record<'start' | 'end' | 'sums', Named>>,
): Named =>
  meta === 'fomaml' ? sums : mapped(start, (from, name) => tf.mul(tf.sub(from, end[name] as tf.Tensor), reptile));

/** The share of a batch in the statistics that R compares. */
const share = 0.1;

/** The synthesiser of Fast and Fast-meta. */
export const startingFrom = ({
  batch,
  iterations,
  generatorRate,
  inputRate,
  meta,
  latent,
  width,
  batchNorm,
  oneHot,
  adversarial,
  warmup,
  resetAt,
}: Parsed<typeof settings>): Synthesiser<Inverting, 'weights', Memory> => {
  const plugin = generator({ ...generatorPresets.fast, latent, width });
  const optimizer = adam({ beta1: 0.5 });
  /** The generator that the next batch starts from. */
  const learnt = (
    { generator, slots }: Memory,
    { generator: end, sums }: Inverting,
  ): Pick<Memory, 'generator' | 'slots'> => {
    if (meta === 'none') return { generator: end, slots };
    const gradients = metaGradients(meta, { start: generator.params, end: end.params, sums });
    const moved = optimizer.update(gradients, slots, generator.params, tf.scalar(iterations * generatorRate));
    return { generator: { params: moved.params, stats: generator.stats }, slots: moved.state };
  };
  return {
    batch,
    phases: [{ iterations, schedule: constant(generatorRate) }],
    memory: {
      init: (key, { input }) => {
        const variables = plugin.build(input).init(key.split('generator'));
        return { generator: variables, slots: optimizer.init(variables.params), made: tf.scalar(0) };
      },
      after: (_, { memory, state, key }) => {
        const made = (memory.made.arraySync() as number) + 1;
        const moved = tf.tidy(() => {
          const { generator, slots } = learnt(memory, state);
          const seen: Seen = memory.seen === undefined ? state.seen : mixed(memory.seen, state.seen);
          return clone({ generator, slots, made: tf.scalar(made), seen }) as unknown as tf.TensorContainer;
        }) as unknown as Memory;
        return made + 1 === resetAt ? { ...moved, generator: redrawn(moved.generator, key) } : moved;
      },
    },
    init: (key, about, { memory }) => {
      const { height, width: wide, channels } = about.input;
      const z = tf.tensor2d(normals(key.split('z'), batch * latent), [batch, latent]);
      const { params } = memory.generator;
      return {
        generator: clone(memory.generator),
        slots: optimizer.init(params),
        z,
        zSlots: optimizer.init({ z }),
        sums: mapped(params, (each) => tf.zerosLike(each)),
        seen: nothingSeen(about.victim.network.variables),
        best: tf.zeros([batch, height, wide, channels]),
        lowest: tf.scalar(Number.MAX_VALUE),
      };
    },
    images: (_, { best }) => best,
    step: (about, _, { victim, students: [student], state, memory, labels, learningRate, seed }) => {
      const { generator: variables, slots, z, zSlots, sums, best, lowest } = state;
      const { loss, gradients, aux } = valueAndGradient(
        ({ [inputsOf]: inputs, ...params }) => {
          const values = { params, stats: variables.stats };
          const { images, stats } = plugin.build(about.input).apply(values, inputs as tf.Tensor2D, { mode: 'train' });
          const view = normalisePixels(shiftedView(images, { crop: 4, flip: true }, seed), about.normalisation);
          const { logits, batchStats = {} } = victim.apply(view, { batchStats: true });
          const known = about.student.apply(student, view, { mode: 'eval' }).logits;
          const terms = {
            batchNorm: runningDistance(batchStats, memory.seen, victim.variables.stats),
            crossEntropy: crossEntropy(logits, labels),
            adversarial: tf.mul<tf.Scalar>(
              disagreement(logits, known),
              // As released, counted from 1: the last batch of the warm-up is the first that has it.
              tf.cast(tf.greaterEqual(tf.add(memory.made, 1), warmup), 'float32'),
            ),
          };
          const loss = tf.addN([
            tf.mul(terms.batchNorm, batchNorm),
            tf.mul(terms.crossEntropy, oneHot),
            tf.mul(terms.adversarial, adversarial),
          ]) as tf.Scalar;
          return {
            loss,
            aux: { stats, seen: batchStats, terms, images: normalisePixels(images, about.normalisation) },
          };
        },
        { ...variables.params, [inputsOf]: z },
      );
      const { [inputsOf]: ofInputs, ...ofGenerator } = gradients;
      const moved = optimizer.update(ofGenerator, slots, variables.params, learningRate);
      const movedInputs = optimizer.update({ z: ofInputs as tf.Tensor }, zSlots, { z }, tf.scalar(inputRate));
      const better = tf.less(loss, lowest);
      return {
        state: {
          generator: { params: moved.params, stats: aux.stats },
          slots: moved.state,
          z: movedInputs.params.z as tf.Tensor2D,
          zSlots: movedInputs.state,
          sums: mapped(sums, (sum, name) => tf.add(sum, ofGenerator[name] as tf.Tensor)),
          seen: aux.seen,
          best: tf.where(better, aux.images, best),
          lowest: tf.minimum<tf.Scalar>(loss, lowest),
        },
        metrics: { loss, ...aux.terms },
      };
    },
  };
};

/** The name under which a batch's inputs are changed beside the generator's weights. */
const inputsOf = 'inputs of the generator';

const mapped = <A, B>(
  record: Readonly<Record<string, A>>,
  f: (value: A, name: string) => B,
): Readonly<Record<string, B>> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, f(value, name)]));

/** Statistics of the right form before any were seen. */
const nothingSeen = (variables: readonly VariableSpec[]): Seen =>
  Object.fromEntries(
    variables
      .filter(({ name, over }) => over === 'images' && name.endsWith('.running_mean'))
      .map(({ name, shape: [size = 0] }) => [
        name.slice(0, -'.running_mean'.length),
        { mean: tf.zeros([size]), variance: tf.zeros([size]) },
      ]),
  );

/** 0.9 of what was before, and 0.1 of what is new. */
const mixed = (before: Seen, now: Seen): Seen => {
  const both = (newer: tf.Tensor1D, old: tf.Tensor1D): tf.Tensor1D =>
    tf.add(tf.mul(newer, share), tf.mul(old, 1 - share));
  return mapped(now, ({ mean, variance }, name) => {
    const old = before[name] as BatchStats;
    return { mean: both(mean, old.mean), variance: both(variance, old.variance) };
  });
};

/** R of the batch's own statistics, or of 0.1 of them and 0.9 of what was seen before. */
export const runningDistance = (now: Seen, before: Seen | undefined, running: Named): tf.Scalar =>
  Object.keys(now).length === 0
    ? tf.scalar(0)
    : batchNormDistance(before === undefined ? now : mixed(before, now), running);

/** The same generator with a fresh first layer and batch norm: weights from N(0, 0.02), and biases of 0. */
const redrawn = ({ params, stats }: Variables, key: Key): Variables => ({
  stats,
  params: mapped(params, (tensor, name) => {
    if (!(name.startsWith('l1.0.') || name.startsWith('conv_blocks0.0.'))) return tensor;
    const { shape, size } = tensor;
    tensor.dispose();
    return name.endsWith('.weight')
      ? tf.tensor(
          normals(key.split(name), size).map((value) => 0.02 * value),
          shape,
        )
      : tf.zeros(shape);
  }),
});
