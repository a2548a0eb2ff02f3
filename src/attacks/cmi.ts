import * as tf from '@tensorflow/tfjs';
import { anotherSeed, logSoftmax, resizedView, rows, shiftedView, standardUniform } from '../public/ops.js';
import {
  anyAugmentation,
  atLeast,
  defineAttack,
  type Key,
  type Named,
  normals,
  option,
  optional,
  type Parsed,
  positive,
  uniforms,
  type Variables,
  wholeAtLeast,
} from '../public/plugin.js';
import {
  batchNormDistance,
  distillFromPool,
  evenChannels,
  generator,
  generatorPresets,
  type SynthesisContext,
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
  detach,
  normalisePixels,
  type OptimizerState,
  scaledSchedule,
  sgd,
  unrecorded,
  valueAndGradient,
  withRecipe,
} from '../public/train.js';
import { fewerBatches, whyNoBatchNorms } from './batches.js';
import { sidesOf4 } from './joint.js';

/** The contrastive head: two dense layers. */
type Head = { readonly params: Named; readonly slots: OptimizerState };

/** Features of images of earlier batches: of a local and a global view of each, [images, features]. */
type Bank = { readonly local: tf.Tensor2D; readonly global: tf.Tensor2D };

/** The head lives on and the bank grows from batch to batch; the bank is absent before the first. */
type Memory = { readonly head: Head; readonly bank?: Bank };

/** What is changed for one batch: a fresh generator with its inputs, the head, and the best images so far. */
type Inverting = {
  readonly generator: Variables;
  readonly z: tf.Tensor2D;
  readonly slots: OptimizerState;
  readonly head: Head;
  readonly best: { readonly images: tf.Tensor4D; readonly local: tf.Tensor2D; readonly global: tf.Tensor2D };
  readonly lowest: tf.Scalar;
};

const settings = {
  batch: option(wholeAtLeast(2), 256, 'Images at a time'),
  iterations: option(wholeAtLeast(1), 200, 'Steps for each batch'),
  rate: option(positive, 1e-3, "Adam's learning rate for the generator, its inputs and the head"),
  latent: option(wholeAtLeast(1), generatorPresets.fast.latent, 'Numbers that the generator makes an image of'),
  width: option(evenChannels, 128, "Channels of the generator's first half"),
  batchNorm: option(atLeast(0), 1, "Weight of the distance of the batch norms' statistics"),
  oneHot: option(atLeast(0), 1, 'Weight of the cross-entropy with the class that an image is to be of'),
  adversarial: option(
    atLeast(0),
    0.5,
    'Weight of the disagreement of victim and student where they name the same class',
  ),
  contrastive: option(positive, 0.8, 'Weight of the contrastive term'),
  contrastiveTemperature: option(positive, 0.2, 'τ of the contrastive term'),
  negatives: option(wholeAtLeast(1), 4096, 'Images of the bank that a batch is compared with'),
  capacity: option(wholeAtLeast(1), 40_960, 'Images in the bank; the oldest are forgotten'),
  embedding: option(wholeAtLeast(1), 256, "Numbers of the head's output"),
};

/** How the student learns, as released; its batches of 256, and 128 of `scratch`, are its recipe's. */
const released = { optimizer: sgd({ momentum: 0.9, weightDecay: 1e-4 }), schedule: cosine(0.1) } as const;

/**
 * Contrastive model inversion (Fang et al., IJCAI 2021): for every batch a fresh generator and its inputs are optimised
 * so that the victim says the class and its batch norms see the statistics of its training, that victim and student
 * disagree, and that no image looks like another to a contrastive head, which compares it with a bank of all images
 * before:
 *
 *   bn · R + oh · CE(t, y) − adv · mean 1[argmax s = argmax t] KL(t ‖ s) + cr · L_cr.
 *
 * Of each image there are a global view (a shift, mirrored or not) and a local one (a part, resized). Its feature is
 * the means of the inputs of all batch norms (Fast-Datafree 0dcecbc takes four layers of a ResNet-34); q = head(local) and k = head(global) without gradient, both of length 1,
 * and L_cr is the cross-entropy of finding the own k among all by q·k / τ: the mean over the batch, plus that over the
 * bank. The student takes `stepsBetween` steps of distillation on the growing pool after each batch.
 *
 * zju-vipa/CMI 9e79fa9 (datafree/synthesis/contrastive.py); defaults are CIFAR-10's, `adv` stage aside, but for the
 * student, who is trained by its own recipe unless a preset is given. Differences to that code: negatives are drawn from the bank with replacement; a full bank forgets its oldest images, where it takes
 * a wrong branch; classes come in turn, where it draws them; local views keep an image's proportions.
 */
export const cmi = defineAttack({
  name: 'cmi',
  source: import.meta.url,
  about: 'Without data: batches of images that differ from all before by a contrastive term, by a fresh generator each',
  paper: 'Fang et al., Contrastive model inversion for data-free knowledge distillation, IJCAI 2021',
  cost: 'batch · (2 · iterations + stepsBetween) passes through the victim for each batch: 40,960,000 at the defaults',
  options: {
    ...settings,
    batches: option(wholeAtLeast(1), 200, 'Batches of images in the pool'),
    temperature: option(positive, 20, 'τ of the distillation'),
    stepsBetween: option(wholeAtLeast(1), 400, 'Steps of distillation after each batch'),
    augmentation: option(anyAugmentation, { crop: 4, flip: true }, "Changes of the pool's images in distillation"),
    optimizer: optional(anyOptimizer, "The student's; default: its own recipe's"),
    schedule: optional(anySchedule, "The student's; default: its own recipe's"),
    pictureEvery: optional(wholeAtLeast(1), 'Iterations between two pictures of how it goes; default: a tenth of all'),
  },
  presets: {
    cifar10: released,
    cifar10Scratch: { ...released, contrastiveTemperature: 0.1 },
    mnistSmall: {
      batch: 64,
      iterations: 60,
      rate: 5e-3,
      latent: 64,
      width: 32,
      batches: 10,
      stepsBetween: 60,
      capacity: 1024,
      negatives: 256,
      embedding: 64,
    },
  },
  cosmetic: ['pictureEvery'],
  scaled: ({ batches, iterations, stepsBetween, schedule, pictureEvery }, factor) => {
    const fewer = fewerBatches(batches, factor);
    return {
      batches: fewer.batches,
      iterations: Math.max(1, Math.round(fewer.length * iterations)),
      stepsBetween: Math.max(1, Math.round(fewer.length * stepsBetween)),
      schedule: schedule && scaledSchedule(schedule, factor),
      pictureEvery: pictureEvery && Math.max(1, Math.round(fewer.length * pictureEvery)),
    };
  },
  needs: 'weights',
  data: { kind: 'none' },
  make: ({ batches, temperature, stepsBetween, augmentation, optimizer, schedule, pictureEvery, ...inversion }) => ({
    synthesises: true,
    refuses: (victim) => whyNoBatchNorms(victim) ?? sidesOf4(victim),
    steal: (victim, learner, context) =>
      distillFromPool(
        contrasting(inversion),
        { batches, temperature, stepsBetween, steps: batches * stepsBetween, augmentation, pictureEvery },
        victim,
        withRecipe(learner, { optimizer, schedule }),
        context,
      ),
  }),
});

/** Channels that reach batch norms over images, all together. */
const featuresOf = ({ variables }: SynthesisContext['student']): number =>
  variables
    .filter(({ name, over }) => over === 'images' && name.endsWith('running_mean'))
    .reduce((sum, { shape }) => sum + (shape[0] as number), 0);

/** CMI's synthesiser. */
export const contrasting = ({
  batch,
  iterations,
  rate,
  latent,
  width,
  batchNorm,
  oneHot,
  adversarial,
  contrastive,
  contrastiveTemperature,
  negatives,
  capacity,
  embedding,
}: Parsed<typeof settings>): Synthesiser<Inverting, 'weights', Memory> => {
  const plugin = generator({ ...generatorPresets.fast, latent, width });
  const [byImage, byHead] = [adam({ beta1: 0.5 }), adam()];
  return {
    batch,
    phases: [{ iterations, schedule: constant(rate) }],
    memory: {
      init: (key, { victim }) => {
        const params = freshHead(key, featuresOf(victim.network), embedding);
        return { head: { params, slots: byHead.init(params) } };
      },
      after: (_, { memory, state }) => {
        const { local, global } = state.best;
        const joined = (old: tf.Tensor2D | undefined, more: tf.Tensor2D): tf.Tensor2D => {
          const all = old === undefined ? more : tf.concat([old, more]);
          return tf.slice(all, [Math.max(0, all.shape[0] - capacity), 0]);
        };
        return tf.tidy(
          () =>
            clone({
              head: state.head,
              bank: { local: joined(memory.bank?.local, local), global: joined(memory.bank?.global, global) },
            }) as unknown as tf.TensorContainer,
        ) as unknown as Memory;
      },
    },
    init: (key, about, { memory }) => {
      const variables = freshGenerator(key, plugin.build(about.input).init(key.split('generator')));
      const { height, width: wide, channels } = about.input;
      const features = featuresOf(about.victim.network);
      const z = tf.tensor2d(normals(key.split('z'), batch * latent), [batch, latent]);
      return {
        generator: variables,
        z,
        slots: byImage.init({ ...variables.params, z }),
        head: clone(memory.head),
        best: {
          images: tf.zeros([batch, height, wide, channels]),
          local: tf.zeros([batch, features]),
          global: tf.zeros([batch, features]),
        },
        lowest: tf.scalar(Number.MAX_VALUE),
      };
    },
    images: (_, { best }) => best.images,
    step: (about, _, { victim, students: [student], state, memory, labels, learningRate, seed }) => {
      const { generator: variables, z, slots, head, best, lowest } = state;
      const among = memory.bank && drawn(memory.bank, negatives, anotherSeed(seed, 2));
      const { loss, gradients, aux } = valueAndGradient(
        (params) => {
          const { own, made, inputs } = apart(params);
          const values = { params: made, stats: variables.stats };
          const { images, stats } = plugin.build(about.input).apply(values, inputs, { mode: 'train' });
          const normalised = (pixels: tf.Tensor4D) => normalisePixels(pixels, about.normalisation);
          // Views are of pixels, as in training: what comes in at the edges is black.
          const seen = normalised(shiftedView(images, { crop: 4, flip: true }, anotherSeed(seed, 0)));
          const part = normalised(resizedView(images, { area: [0.25, 1], flip: true }, anotherSeed(seed, 1)));
          const {
            logits,
            batchStats = {},
            imageStats = {},
          } = victim.apply(seen, { batchStats: true, imageStats: true });
          const local = featureOf(victim.apply(part, { imageStats: true }).imageStats ?? {});
          const global = featureOf(imageStats);
          const known = about.student.apply(student, seen, { mode: 'eval' }).logits;
          const terms = {
            batchNorm: batchNormDistance(batchStats, victim.variables.stats),
            crossEntropy: crossEntropy(logits, labels),
            adversarial: disagreement(logits, known),
            contrastive: contrast(own, { local, global }, among, contrastiveTemperature),
          };
          const weights = { batchNorm, crossEntropy: oneHot, adversarial, contrastive };
          const parts = (Object.keys(terms) as (keyof typeof terms)[]).map((name) =>
            tf.mul(terms[name], weights[name]),
          );
          return {
            loss: tf.addN(parts) as tf.Scalar,
            aux: { stats, images: normalised(images), local, global, terms },
          };
        },
        { ...prefixed('generator', variables.params), ...prefixed('head', head.params), z },
      );
      const { own, made, inputs } = apart(gradients);
      const moved = byImage.update({ ...made, z: inputs }, slots, { ...variables.params, z }, learningRate);
      const { z: nextZ, ...params } = moved.params;
      const nextHead = byHead.update(own, head.slots, head.params, learningRate);
      const better = tf.less(loss, lowest);
      const kept = <T extends tf.Tensor>(now: T, before: T): T => tf.where(better, now, before) as T;
      return {
        state: {
          generator: { params, stats: aux.stats },
          z: nextZ as tf.Tensor2D,
          slots: moved.state,
          head: { params: nextHead.params, slots: nextHead.state },
          best: {
            images: kept(aux.images, best.images),
            local: kept(aux.local, best.local),
            global: kept(aux.global, best.global),
          },
          lowest: tf.minimum<tf.Scalar>(loss, lowest),
        },
        metrics: { loss, ...aux.terms },
      };
    },
  };
};

const prefixed = (prefix: string, named: Named): Named =>
  Object.fromEntries(Object.entries(named).map(([name, tensor]) => [`${prefix}/${name}`, tensor]));

/** What belongs to the head, to the generator, and its inputs. */
const apart = (named: Named): { readonly own: Named; readonly made: Named; readonly inputs: tf.Tensor2D } => {
  const under = (prefix: string): Named =>
    Object.fromEntries(
      Object.entries(named).flatMap(([name, tensor]) =>
        name.startsWith(`${prefix}/`) ? [[name.slice(prefix.length + 1), tensor]] : [],
      ),
    );
  return { own: under('head'), made: under('generator'), inputs: named.z as tf.Tensor2D };
};

/** Weights from N(0, 0.02), scales of batch norms from N(1, 0.02), everything else 0. */
const freshGenerator = (key: Key, { params, stats }: Variables): Variables => ({
  stats,
  params: Object.fromEntries(
    Object.entries(params).map(([name, tensor]) => {
      const { shape, size } = tensor;
      tensor.dispose();
      const middle = name.endsWith('.weight') && shape.length === 1 ? 1 : 0;
      const values = name.endsWith('.weight')
        ? normals(key.split(name), size).map((value) => middle + 0.02 * value)
        : new Float32Array(size);
      return [name, tf.tensor(values, shape)];
    }),
  ),
});

/** Two dense layers, features -> features -> embedding, as PyTorch initialises them: uniform in ±1/√features. */
const freshHead = (key: Key, features: number, embedding: number): Named => {
  const bound = 1 / Math.sqrt(features);
  const uniform = (name: string, shape: readonly number[]) =>
    tf.tensor(uniforms(key.split(name), tf.util.sizeFromShape([...shape]), bound), [...shape]);
  return {
    '0.weight': uniform('0.weight', [features, features]),
    '0.bias': uniform('0.bias', [features]),
    '2.weight': uniform('2.weight', [features, embedding]),
    '2.bias': uniform('2.bias', [embedding]),
  };
};

/** What a batch is compared with: all of a small bank, or so many of a large one, drawn with replacement. */
const drawn = ({ local, global }: Bank, count: number, seed: tf.Tensor1D): Bank => {
  const [size] = local.shape;
  if (size <= count) return { local, global };
  const places = tf.cast(tf.floor(tf.mul(standardUniform([count], seed), size)), 'int32') as tf.Tensor1D;
  return { local: rows(local, places), global: rows(global, places) };
};

/** The means of what all batch norms take in, side by side: [batch, features]. */
const featureOf = (stats: Readonly<Record<string, { readonly mean: tf.Tensor2D }>>): tf.Tensor2D =>
  tf.concat(
    Object.values(stats).map(({ mean }) => mean),
    1,
  );

/**
 * −mean 1[argmax s = argmax t] KL(t ‖ s): the share that disagrees counts 0 and is divided by all the same. Logits
 * [batch, classes].
 */
export const disagreement = (teacher: tf.Tensor2D, student: tf.Tensor2D): tf.Scalar => {
  const [logP, logQ] = [logSoftmax(teacher), logSoftmax(student)];
  const divergence = tf.sum(tf.mul(tf.exp(logP), tf.sub(logP, logQ)), 1);
  const agree = unrecorded(() => tf.cast(tf.equal(tf.argMax(teacher, 1), tf.argMax(student, 1)), 'float32'));
  return tf.neg(tf.mean<tf.Scalar>(tf.mul(divergence, agree)));
};

const embedded = (head: Named, features: tf.Tensor2D): tf.Tensor2D => {
  const dense = (x: tf.Tensor2D, layer: 0 | 2): tf.Tensor2D =>
    tf.add(tf.matMul(x, head[`${layer}.weight`] as tf.Tensor2D), head[`${layer}.bias`] as tf.Tensor1D);
  const out = dense(tf.relu(dense(features, 0)), 2);
  return tf.div(out, tf.sqrt(tf.add(tf.sum(tf.square(out), 1, true), 1e-12)));
};

/**
 * CMI's contrastive term of a batch beside a bank: `contrastiveLoss` of what a head makes of local and of global
 * features, of which the latter are without gradient.
 */
export const contrast = (head: Named, now: Bank, bank: Bank | undefined, temperature: number): tf.Scalar => {
  const all = (which: keyof Bank): tf.Tensor2D =>
    bank === undefined ? now[which] : (tf.concat([now[which], bank[which]]) as tf.Tensor2D);
  const [q, k] = [embedded(head, all('local')), detach(embedded(head, detach(all('global'))))];
  return contrastiveLoss(q, k, now.local.shape[0], temperature);
};

/**
 * The cross-entropy of finding each q's own k among all, by q·k / τ: the mean over the first `fresh` rows, plus that
 * over the others where there are any.
 *
 * @param q [n, d], rows of length 1
 * @param k [n, d], rows of length 1
 */
export const contrastiveLoss = (q: tf.Tensor2D, k: tf.Tensor2D, fresh: number, temperature: number): tf.Scalar => {
  const logits = tf.div<tf.Tensor2D>(tf.matMul(q, k, false, true), temperature);
  const [count] = q.shape;
  const own = tf.eye(count);
  const each = tf.neg(tf.sum(tf.mul(logSoftmax(logits), own), 1)) as tf.Tensor1D;
  const first = tf.mean<tf.Scalar>(tf.slice(each, 0, fresh));
  return count === fresh ? first : tf.add(first, tf.mean(tf.slice(each, fresh)));
};
