import * as tf from '@tensorflow/tfjs';
import { standardNormal } from '../public/ops.js';
import {
  anyDataset,
  atLeast,
  defineAttack,
  type ImageShape,
  type Key,
  layers,
  type Network,
  option,
  optional,
  permutation,
  positive,
  required,
  type Variables,
  type Victim,
  wholeAtLeast,
  wholeBetween,
} from '../public/plugin.js';
import { dcgan, imbalance } from '../public/synthesis.js';
import {
  adam,
  anyOptimizer,
  anySchedule,
  type BuiltLearner,
  batchesPerEpoch,
  type ClassifierState,
  clone,
  constant,
  cosine,
  crossEntropy,
  detach,
  dispose,
  type FitSpec,
  type ImageSet,
  imageSource,
  initialState,
  logitsOn,
  normalisePixels,
  type OptimizerState,
  predicted,
  type RawBatch,
  type Resident,
  sgd,
  type UnlabelledBatch,
  unpacked,
  unrecorded,
  updateOn,
  valueAndGradient,
  withAnswers,
  withRecipe,
} from '../public/train.js';
import { paysFor, sidesOf4 } from './joint.js';
import { trainedOn } from './knockoff.js';
import { sameClasses } from './shared-classes.js';

/** How the students of 2 and 4 learn, as released. */
const students = { optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }), schedule: cosine(0.1) } as const;

/** A net with what its optimiser remembers of it. */
type Learning = { readonly variables: Variables; readonly slots: OptimizerState };

/** A generator and the discriminator that tells its images from photographs. */
type Gan = { readonly generator: Learning; readonly discriminator: Learning };

const settings = {
  latent: option(wholeAtLeast(1), 100, 'Numbers that the generator makes an image of'),
  width: option(wholeBetween(8, 4096), 512, "Channels of the generator's first layer and of the discriminator's last"),
  batch: option(wholeAtLeast(2), 64, 'Images a step of generator and discriminator'),
  generatorRate: option(positive, 2e-4, "Adam's learning rate for both"),
  diversity: option(atLeast(0), 500, 'Weight of Σ p̄ ln p̄ of the mean of what the student says of a batch'),
};

/**
 * Data-free model stealing with hard labels (Sanyal et al., CVPR 2022), which asks a black box for labels alone, with images of
 * something else for a start:
 *
 * 1. a DCGAN learns to make such images;
 * 2. a student learns what the victim calls these images and as many of the generator's;
 * 3. the generator learns on, with images that this student finds of all classes alike: BCE(D, 1) + λ Σ p̄ ln(p̄ + 10⁻⁵);
 * 4. a fresh student learns as in 2;
 * 5. it learns what the victim calls fresh images of the generator, which learns with it in the same steps.
 *
 * Defaults are those of 40 classes of CIFAR-100 against CIFAR-10 (val-iisc/Hard-Label-Model-Stealing d2e3010; `cifar10Shapes` is for
 * 50,000 drawn images, `drawnShapes()`), but for the students of 2 and 4,
 * who are trained by their own recipe unless a preset is given. Released is one weight for the diversity, so that the default of 3 is that
 * of 5. Differences to that code: the generator makes as many images as there are photographs for 2 and 4; images are not changed by AutoAugment
 * before the student sees them; its rate rises step by step, where there it does epoch by epoch; what is stolen is the last student, where there
 * the best of several exponential means is chosen. A batch of fewer than 64 images says little of ten classes.
 */
export const dfms = defineAttack({
  name: 'dfms',
  source: import.meta.url,
  about: 'Of labels alone: a GAN on out-of-distribution images, made to be of all classes by what the student says',
  paper: 'Sanyal et al., Towards data-free model stealing in a hard label setting, CVPR 2022',
  cost: '4 answers to each photograph, and `batch` to each step of 5, of which 20,000 photographs make 8,012,800; a GAN and two students',
  options: {
    images: required(anyDataset, 'The images that the attacker has; of classes that are none of the victim’s'),
    ...settings,
    photographs: optional(wholeAtLeast(64), 'So many of these images, drawn at random; default: all'),
    ganEpochs: option(wholeAtLeast(1), 200, 'Epochs of 1, over the images'),
    diverseEpochs: option(wholeAtLeast(1), 100, 'Epochs of 3'),
    epochs: option(wholeAtLeast(1), 400, 'Epochs of 5'),
    earlyDiversity: optional(
      atLeast(0),
      'The same weight in 3, while the student stays as it is; default: that of `diversity`',
    ),
    optimizer: optional(anyOptimizer, "The student's in 2 and 4; default: its own recipe's"),
    schedule: optional(anySchedule, "The student's in 2 and 4; default: its own recipe's"),
    rate: option(positive, 0.01, "The student's learning rate in 5, which falls along a cosine"),
    warmup: option(atLeast(0), 10, 'Epochs of 5 in which it rises first'),
    keep: option(wholeBetween(1, 10_000), 100, 'Images of the trained generator that are kept to be looked at'),
  },
  presets: {
    cifar10: students,
    cifar10OfTenClasses: { ...students, epochs: 800 },
    cifar10Shapes: { ...students, epochs: 150 },
    cifar100: { ...students, diversity: 100 },
    mnistSmall: {
      ...{ photographs: 6400, width: 64, generatorRate: 5e-4, ganEpochs: 20, diverseEpochs: 5, epochs: 4 },
      // At the released weight the generator forgets what photographs look like within an epoch, and the student with it.
      diversity: 2,
      earlyDiversity: 10,
      rate: 1e-3,
      warmup: 0.1,
    },
  },
  scaled: ({ ganEpochs, diverseEpochs, epochs, warmup }, factor) => {
    const fewer = (count: number): number => Math.max(1, Math.round(factor * count));
    return {
      ganEpochs: fewer(ganEpochs),
      diverseEpochs: fewer(diverseEpochs),
      epochs: fewer(epochs),
      warmup: (warmup / epochs) * fewer(epochs),
    };
  },
  needs: 'label',
  data: ({ images }) => ({ kind: 'other', images }),
  make: ({
    photographs,
    ganEpochs,
    diverseEpochs,
    epochs,
    earlyDiversity,
    optimizer,
    schedule,
    rate,
    warmup,
    keep,
    ...of
  }) => ({
    synthesises: true,
    refuses: (victim, _, { classes, images, ...circumstances }) => {
      const shared = sameClasses(classes, images?.classes ?? []);
      if (shared.length > 0)
        return {
          reason: `its images are of classes of the victim's: ${shared.slice(0, 3).join(', ')}`,
          remedy: 'Give images of other classes.',
        };
      if (warmup >= epochs)
        return {
          reason: `its warm-up of ${warmup} epochs takes all of its ${epochs}`,
          remedy: 'Give a smaller warmup, or more epochs.',
        };
      const count = Math.min(photographs ?? Number.POSITIVE_INFINITY, images?.count ?? 0);
      return (
        sidesOf4(victim) ??
        paysFor(
          // Two students learn what the victim calls the photographs and as many images that are made.
          4 * count + of.batch,
          circumstances,
          'before the end of the first step of its last training it asks',
          'Give a larger budget, or fewer photographs.',
        )
      );
    },
    warns: (_, __, { images }) =>
      images !== undefined && photographs !== undefined && images.count < photographs
        ? `it is to learn from ${photographs} images, and has ${images.count}`
        : undefined,
    steal: async (victim, learner, context) => {
      const train = someOf(context.data.train, photographs, context.key.split('photographs'));
      const adversaries = ganOf(train.shape, of);
      const source = (key: Key) => imageSource(train, { batch: of.batch, key });
      const perEpoch = batchesPerEpoch(train.indices.length, of.batch);
      const ganFit = (
        epochs: number,
        start?: Gan,
        student?: Variables,
      ): FitSpec<{ readonly student?: Variables }, Gan, RawBatch, Gan, Resident> => ({
        step: ({ data, frozen }, gan, raw, { seed }) => {
          const { images } = unpacked<UnlabelledBatch>(data, raw);
          const judge = frozen.student && judgeOf(learner.network, frozen.student, train);
          return adversaries.step(
            gan,
            scaledToTanh(images),
            seed,
            judge && { judge, weight: earlyDiversity ?? of.diversity },
          );
        },
        frozen: student === undefined ? {} : { student },
        init: (key) => (start === undefined ? adversaries.init(key) : clone(start)),
        source,
        epochs,
        stepsPerEpoch: perEpoch,
        schedule: constant(of.generatorRate),
        keep: (state) => state,
      });
      /** A fresh student of the images and of as many that the generator makes. */
      const taught = async (name: string, gan: Gan) => {
        const made = adversaries.made(gan, train.indices.length, context.key.split(name));
        const both = joined(train, made);
        const answers = await context.ask(`${name}-answers`, victim, both);
        return context.fit(name, trainedOn(withRecipe(learner, { optimizer, schedule }), withAnswers(both, answers)));
      };
      const owned: (Gan | Variables)[] = [];
      const own = <T extends Gan | Variables>(tree: T): T => {
        owned.push(tree);
        return tree;
      };
      try {
        const first = own((await context.fit('gan', ganFit(ganEpochs))).last);
        const early = own((await taught('first-student', first)).last);
        const diverse = own((await context.fit('diverse-gan', ganFit(diverseEpochs, first, early))).last);
        const second = own((await taught('second-student', diverse)).last);
        const spec = together(victim, withRecipe(learner, { optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }) }), {
          adversaries,
          train,
          start: { gan: diverse, student: second },
        });
        const {
          last,
          best: _,
          ...fitted
        } = await context.fit('student', {
          ...spec,
          source,
          epochs,
          stepsPerEpoch: perEpoch,
          schedule: cosine({ rate, warmup }),
        });
        await context.images('generated', async () => {
          const images = adversaries.made(last.gan, keep, context.key.split('shown'));
          const set = {
            ...train,
            examples: { images, count: keep },
            indices: Int32Array.from({ length: keep }, (_, i) => i),
          };
          const logits = logitsOn(learner.network, last.student.variables, set);
          const { classes } = learner.network;
          const labels = Array.from({ length: keep }, (_, i) => predicted({ values: logits, classes }, i));
          const updates = (ganEpochs + diverseEpochs + epochs) * perEpoch;
          return { images, shape: train.shape, labels, clipped: 0, updates };
        });
        const stolen = clone(last.student.variables);
        dispose(last);
        return { ...fitted, last: stolen };
      } finally {
        dispose(owned);
      }
    },
  }),
});

/** Raw pixels as what a tanh gives: 0 … 255 to −1 … 1. */
const scaledToTanh = (images: tf.Tensor4D): tf.Tensor4D => tf.sub(tf.div(images, 127.5), 1);

/** What a tanh gives as a student sees it. */
const asSeen = (made: tf.Tensor4D, { normalisation }: Pick<ImageSet, 'normalisation'>): tf.Tensor4D =>
  normalisePixels(tf.div(tf.add(made, 1), 2), normalisation);

/** How evenly the classes are spread that a student sees in what a generator made: Σ p̄ ln(p̄ + 10⁻⁵). */
type Judge = (made: tf.Tensor4D) => tf.Scalar;

/** … and how much it weighs. */
type Evenly = { readonly judge: Judge; readonly weight: number };

const judgeOf =
  (network: Network, student: Variables, train: Pick<ImageSet, 'normalisation'>): Judge =>
  (made) =>
    imbalance(network.apply(student, asSeen(made, train), { mode: 'eval' }).logits, 1e-5);

/** BCE of logits with a label that is the same for all: the batch mean. */
export const binaryCrossEntropy = (logits: tf.Tensor, label: 0 | 1): tf.Scalar =>
  tf.mean<tf.Scalar>(tf.softplus(label === 1 ? tf.neg(logits) : logits));

/** DCGAN's discriminator, of 2,759,424 parameters on 32×32×3 images: convolutions that halve the sides down to 2 or less. */
export const discriminator = (width: number) =>
  layers.network({
    name: 'discriminator',
    params: { width },
    source: import.meta.url,
    layers: (site) => {
      const { height, width: across } = site.input as ImageShape & typeof site.input;
      const halvings = Math.max(1, Math.min(4, Math.floor(Math.log2(Math.min(height, across))) - 1));
      const initial = layers.normal(0.02);
      const parts = Array.from({ length: halvings }, (_, i) => [
        layers.conv(`conv${i}`, width / 2 ** (halvings - 1 - i), { kernel: 4, stride: 2, padding: 1, initial }),
        ...(i === 0 ? [] : [layers.batchNorm(`bn${i}`)]),
        layers.leakyRelu(0.2),
      ]);
      return layers.sequential(
        ...parts.flat(),
        layers.flatten,
        layers.features,
        layers.classifier('last', { bias: false, initial }),
      )(site);
    },
  });

/** A generator and a discriminator of images of a shape, and how they learn. */
const ganOf = (
  shape: ImageShape,
  { latent, width, batch, generatorRate, diversity }: Readonly<Record<keyof typeof settings, number>>,
) => {
  const maker = dcgan({ latent, width }).build(shape);
  const judge = discriminator(width).build(shape, 1);
  const optimizer = adam({ beta1: 0.5 });
  const fresh = (variables: Variables): Learning => ({ variables, slots: optimizer.init(variables.params) });
  const drawn = (variables: Variables, seed: tf.Tensor1D) =>
    maker.apply(variables, standardNormal([batch, latent], seed) as tf.Tensor2D, { mode: 'train' });
  const moved = (
    { slots, variables }: Learning,
    gradients: Variables['params'],
    stats: Variables['stats'],
  ): Learning => {
    const updated = optimizer.update(gradients, slots, variables.params, tf.scalar(generatorRate));
    return { variables: { params: updated.params, stats }, slots: updated.state };
  };
  return {
    init: (key: Key): Gan => ({
      generator: fresh(maker.init(key.split('generator'))),
      discriminator: fresh(judge.init(key.split('discriminator'))),
    }),
    drawn,
    diversity,
    /** A step of the generator, and one of the discriminator on the same images and on photographs. */
    step: (
      { generator, discriminator }: Gan,
      photographs: tf.Tensor4D,
      seed: tf.Tensor1D,
      evenly: Evenly | undefined,
    ) => {
      const forged = valueAndGradient((params) => {
        const { images, stats } = drawn({ params, stats: generator.variables.stats }, seed);
        const { logits } = judge.apply(discriminator.variables, images, { mode: 'train' });
        const passes = binaryCrossEntropy(logits, 1);
        const spread = evenly?.judge(images);
        return {
          loss: spread === undefined ? passes : tf.add<tf.Scalar>(passes, tf.mul(spread, evenly?.weight ?? 0)),
          aux: { images, stats, metrics: { generatorLoss: passes, ...(spread && { balance: spread }) } },
        };
      }, generator.variables.params);
      const { images, stats, metrics } = forged.aux;
      const told = valueAndGradient((params) => {
        const real = judge.apply({ params, stats: discriminator.variables.stats }, photographs, { mode: 'train' });
        // The running statistics go from one pass to the next, and no gradient with them.
        const stats = unrecorded(() => clone(real.stats));
        const fake = judge.apply({ params, stats }, detach(images), { mode: 'train' });
        const loss = tf.add<tf.Scalar>(binaryCrossEntropy(real.logits, 1), binaryCrossEntropy(fake.logits, 0));
        return { loss, aux: { stats: fake.stats } };
      }, discriminator.variables.params);
      return {
        state: {
          generator: moved(generator, forged.gradients, stats),
          discriminator: moved(discriminator, told.gradients, told.aux.stats),
        },
        metrics: { ...metrics, discriminatorLoss: told.loss },
      };
    },
    /** Bytes of so many images. */
    made: ({ generator }: Gan, count: number, key: Key): Uint8Array => {
      const lots = Array.from({ length: Math.ceil(count / batch) }, (_, lot) =>
        tf.tidy(() => {
          const seed = tf.tensor1d([...key.split(lot).int32Pair()], 'int32');
          const { images } = drawn(generator.variables, seed);
          return Uint8Array.from(tf.round(tf.mul(tf.add(images, 1), 127.5)).dataSync());
        }),
      );
      return Buffer.concat(lots).subarray(0, count * shape.height * shape.width * shape.channels);
    },
  };
};

type Adversaries = ReturnType<typeof ganOf>;

/** So many images of a set, drawn at random, with no others beside them; all of them where it is not said. */
const someOf = (set: ImageSet<UnlabelledBatch>, count: number | undefined, key: Key): ImageSet<UnlabelledBatch> => {
  const { examples, indices, shape } = set;
  if (count === undefined || count >= indices.length) return set;
  const size = shape.height * shape.width * shape.channels;
  const all = examples.images.slice();
  const chosen = permutation(key, indices.length).slice(0, count);
  const images = Buffer.concat(
    Array.from(chosen, (place) => {
      const index = indices[place] as number;
      return all.subarray(index * size, (index + 1) * size);
    }),
  );
  return { ...set, examples: { images, count }, indices: Int32Array.from({ length: count }, (_, i) => i) };
};

/** Images of a set, and as many that are made, as one set. */
const joined = (train: ImageSet<UnlabelledBatch>, made: Uint8Array): ImageSet<UnlabelledBatch> => {
  const { images, count } = train.examples;
  return {
    ...train,
    examples: { images: Buffer.concat([images.slice(), made]), count: 2 * count },
    indices: Int32Array.from({ length: 2 * count }, (_, i) => i),
  };
};

/** The student's training beside the generator's: each step is on fresh images, about which the victim is asked. */
const together = (
  victim: Victim<'label'>,
  learner: BuiltLearner,
  {
    adversaries,
    train,
    start,
  }: {
    readonly adversaries: Adversaries;
    readonly train: ImageSet<UnlabelledBatch>;
    readonly start: { readonly gan: Gan; readonly student: Variables };
  },
): Pick<
  FitSpec<
    Record<never, never>,
    { readonly gan: Gan; readonly student: ClassifierState },
    RawBatch,
    { readonly gan: Gan; readonly student: ClassifierState },
    Resident,
    'label'
  >,
  'step' | 'victim' | 'init' | 'keep'
> => ({
  victim,
  init: () => ({
    gan: clone(start.gan),
    student: initialState({ optimizer: learner.recipe.optimizer }, clone(start.student)),
  }),
  step: ({ data, victim }, { gan, student }, raw, { seed, learningRate }) => {
    const { images } = adversaries.drawn(gan.generator.variables, seed);
    const pixels = tf.div<tf.Tensor4D>(tf.add(images, 1), 2);
    const labels = victim.labels(pixels);
    const learnt = updateOn(learner, student, asSeen(images, train), learningRate, ({ logits }) => ({
      loss: crossEntropy(logits, labels),
    }));
    const photographs = scaledToTanh(unpacked<UnlabelledBatch>(data, raw).images);
    const judge = judgeOf(learner.network, learnt.state.variables, train);
    // The same images: those of the seed.
    const moved = adversaries.step(gan, photographs, seed, { judge, weight: adversaries.diversity });
    return {
      state: { gan: moved.state, student: learnt.state },
      metrics: { loss: learnt.loss, ...moved.metrics },
    };
  },
  keep: (state) => state,
});
