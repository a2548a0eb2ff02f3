import * as tf from '@tensorflow/tfjs';
import * as v from 'valibot';
import { avgPool, jitter } from '../public/ops.js';
import {
  anyAugmentation,
  atLeast,
  belowOne,
  choice,
  defaultsOf,
  defineAttack,
  FailureError,
  failure,
  type Named,
  type Network,
  normals,
  type Objection,
  option,
  optional,
  type Parsed,
  positive,
  required,
  wholeAtLeast,
  yesOrNo,
} from '../public/plugin.js';
import {
  batchNormDistance,
  distillFromPool,
  distilPool,
  imageNorm,
  jensenShannon,
  makePool,
  type Phase,
  type SynthesisContext,
  type Synthesiser,
  type SynthesisInputs,
  totalVariation,
} from '../public/synthesis.js';
import { adam, clone, constant, cosine, crossEntropy, type OptimizerState, valueAndGradient } from '../public/train.js';
import { fewerBatches, whyNoBatchNorms } from './batches.js';

/** How images are inverted out of a network: weights of the loss's terms, and the way down. Defaults are CIFAR-10's. */
const inversion = {
  batch: option(wholeAtLeast(2), 256, 'Images at a time'),
  iterations: option(wholeAtLeast(1), 2000, "Iterations at the images' own size"),
  halfIterations: option(wholeAtLeast(0), 0, 'Iterations at half of it before, for larger images'),
  rate: option(positive, 0.05, "Adam's learning rate on pixels"),
  // A β of 1 would never take anything in.
  betas: option(
    v.pipe(v.tuple([belowOne, belowOne]), v.title('two numbers of at least 0 and below 1')),
    [0.9, 0.999],
    "Adam's β₁ and β₂",
  ),
  schedule: option(
    choice('constant', 'cosine'),
    'constant',
    'A cosine has 100 iterations of linear warm-up and falls to 0, at each resolution',
  ),
  batchNorm: option(atLeast(0), 10, "r, of the distance of the batch norms' statistics"),
  firstBatchNorm: option(atLeast(0), 1, 'Times r for the first batch norm'),
  tv: option(atLeast(0), 2.5e-5, 'Weight of total variation as whole-tensor ℓ2 norms'),
  l2: option(atLeast(0), 0, "Weight of the images' ℓ2 norm"),
  normOf: option(choice('batch', 'image'), 'batch', "The norm of the whole batch, or the mean of the images'"),
  jitter: option(
    wholeAtLeast(0),
    2,
    'Pixels by which images are rolled at most in each direction, anew at every iteration',
  ),
  flip: option(yesOrNo, false, 'Whether they are mirrored with probability 1/2'),
  clip: option(yesOrNo, false, 'Whether pixels are kept to what a photograph can show, after every iteration'),
};

export type Inversion = Parsed<typeof inversion>;

const cifar10 = defaultsOf(inversion);

const imageNet: Inversion = {
  batch: 84,
  iterations: 1000,
  halfIterations: 2000,
  rate: 0.25,
  betas: [0.5, 0.9],
  schedule: 'cosine',
  batchNorm: 0.01,
  firstBatchNorm: 10,
  tv: 1e-4,
  l2: 1e-5,
  normOf: 'image',
  jitter: 30,
  flip: true,
  clip: true,
};

/**
 * The authors' settings. CIFAR-10 by the command that their repository gives for the paper and by the one that it calls
 * better looking; `imageNet` after their ImageNet script and README, with half resolution first. Two are none of
 * theirs: `tinyImageNet`, which moves images of 64×64 by an eighth of their side and not by half of it, and `mnist` for
 * small grey images, where a weak r and clipping make digits that can be read. `mnistSmall` is for a few minutes on two cores.
 */
const presets = {
  cifar10,
  cifar10BetterLooking: { ...cifar10, rate: 0.1, tv: 1e-3 },
  mnist: {
    ...cifar10,
    batch: 100,
    iterations: 300,
    rate: 0.1,
    batchNorm: 0.3,
    tv: 3e-3,
    l2: 0.01,
    clip: true,
  },
  mnistSmall: { ...cifar10, batch: 64, batches: 8, iterations: 200 },
  imageNet,
  tinyImageNet: { ...imageNet, jitter: 8 },
} as const satisfies Readonly<Record<string, Inversion & { readonly batches?: number }>>;

/** The images, what Adam remembers of them, and the images of the lowest loss so far. */
type Inverted = {
  readonly images: tf.Tensor4D;
  readonly slots: OptimizerState;
  readonly best: tf.Tensor4D;
  readonly lowest: tf.Scalar;
};

/**
 * DeepInversion (Yin et al., CVPR 2020): images are found by Adam on pixels, of which the victim says the class that
 * they are to be of, and on which its batch norms see the statistics of its training: CE + r Σ_l (‖σ²_l(x) − running
 * variance‖₂ + ‖μ_l(x) − running mean‖₂) + total variation + ℓ2. The student is then distilled on the pool of them.
 *
 * Defaults are CIFAR-10's for the paper (`deepInversion.presets.cifar10`), with a pool of one batch. The images of the
 * lowest loss are kept as a copy; the released CIFAR-10 script means to and keeps the last. The pool is of bytes, so that the student sees images
 * that are clipped, which those of CIFAR-10 are not while they are made. `adaptive` begins with no image, where the authors begin with a pool of
 * DeepInversion's.
 */
export const deepInversion = defineAttack({
  name: 'deepInversion',
  source: import.meta.url,
  about: "Without data: images are found by the victim's batch norms, and the student is distilled on them",
  paper: 'Yin et al., Dreaming to distill: Data-free knowledge transfer via DeepInversion, CVPR 2020',
  cost: "batch · (halfIterations + iterations) passes through the victim for each batch, and as many back; the pool's images once more for each step of the student",
  options: {
    ...inversion,
    batches: option(wholeAtLeast(1), 1, 'Batches of images in the pool; the authors have 1,000 on CIFAR-10'),
    labels: optional(
      v.pipe(v.array(v.number()), v.title('a class for each image of a batch')),
      "The classes of a batch's images; default: every class in turn",
    ),
    temperature: option(positive, 3, "τ of the distillation on the pool; the authors' is 3"),
    steps: optional(
      wholeAtLeast(1),
      'Steps of distillation; default: as many as the student takes when trained honestly',
    ),
    augmentation: optional(anyAugmentation, "Changes of the pool's images in distillation; default: none"),
    adaptive: optional(
      v.pipe(
        v.strictObject({
          scale: required(atLeast(0), 'Weight of the disagreement; the authors: 0.2'),
          every: required(wholeAtLeast(1), 'Steps of the student after each batch; the authors: 50'),
        }),
        v.title('{ scale, every }'),
      ),
      'Adaptive DeepInversion: images on which victim and student disagree are looked for with weight `scale` (the authors: 0.2), and the student takes `every` steps after each batch (50)',
    ),
    pictureEvery: optional(wholeAtLeast(1), 'Iterations between two pictures of how it goes; default: a tenth of all'),
  },
  presets,
  cosmetic: ['pictureEvery'],
  scaled: ({ batches, iterations, halfIterations, steps, pictureEvery }, factor) => {
    const fewer = fewerBatches(batches, factor);
    return {
      iterations: Math.max(1, Math.round(fewer.length * iterations)),
      halfIterations: Math.round(fewer.length * halfIterations),
      batches: fewer.batches,
      steps: steps && Math.max(1, Math.round(factor * steps)),
      pictureEvery: pictureEvery && Math.max(1, Math.round(fewer.length * pictureEvery)),
    };
  },
  needs: 'weights',
  data: { kind: 'none' },
  make: ({ batches, labels, temperature, steps, augmentation, adaptive, pictureEvery, ...settings }) => {
    checkLabels(labels, settings.batch);
    const pooling = { batches, labels, pictureEvery };
    const distillation = { temperature, steps, augmentation };
    if (adaptive === undefined)
      return {
        refuses: (victim) => refusal([victim], labels ?? [], settings),
        pool: {
          params: { batches, labels, ...settings },
          make: (victim, context) => makePool(inverting(settings), pooling, victim, context),
        },
        steal: (victim, student, context) => distilPool(distillation, victim, student, context),
      };
    const { scale, every } = adaptive;
    return {
      name: 'adaptiveDeepInversion',
      synthesises: true,
      refuses: (victim, student) => refusal(scale === 0 ? [victim] : [victim, student], labels ?? [], settings),
      steal: (victim, student, context) =>
        distillFromPool(
          inverting(settings, scale),
          { ...pooling, ...distillation, stepsBetween: every },
          victim,
          student,
          context,
        ),
    };
  },
});

const checkLabels = (labels: readonly number[] | undefined, batch: number): void => {
  if (labels === undefined) return;
  const strange = labels.find((label) => !(Number.isInteger(label) && label >= 0));
  if (labels.length === batch && strange === undefined) return;
  const what =
    strange === undefined
      ? `there are ${labels.length} labels for a batch of ${batch} images`
      : `label ${strange} is no class`;
  throw new FailureError(
    failure('experiment', what, {
      where: 'deepInversion: labels',
      remedy: 'Give a class, a whole number from 0 on, for each image of the batch.',
    }),
  );
};

/** `seeing`: the victim, and who else is shown the images while they are made. */
const refusal = (
  seeing: readonly [Network, ...Network[]],
  labels: readonly number[],
  { halfIterations }: Inversion,
): Objection | undefined => {
  const [victim] = seeing;
  const strange = labels.find((label) => label >= victim.classes);
  if (strange !== undefined)
    return {
      reason: `label ${strange} is none of the ${victim.classes} classes`,
      remedy: `Give labels from 0 to ${victim.classes - 1}.`,
    };
  const unfit = whyNoBatchNorms(victim);
  if (unfit !== undefined || halfIterations === 0) return unfit;
  const { height, width } = victim.input;
  const whole = 'Give halfIterations 0.';
  if (height % 2 !== 0 || width % 2 !== 0)
    return { reason: `images of ${height}×${width} have no half resolution`, remedy: whole };
  const rigid = seeing.find(({ variables }) => variables.some(({ layout }) => typeof layout === 'object'));
  return rigid && { reason: `${rigid.name} takes images of one size only`, remedy: whole };
};

/** DeepInversion's synthesiser. `compete`: the weight of Adaptive DeepInversion's term. */
export const inverting = (inversion: Inversion, compete = 0): Synthesiser<Inverted, 'weights'> => {
  const { batch, iterations, halfIterations, rate, betas, clip } = inversion;
  const optimizer = adam({ beta1: betas[0], beta2: betas[1] });
  const phase = (count: number): Phase => ({
    iterations: count,
    schedule:
      inversion.schedule === 'constant'
        ? constant(rate)
        : cosine({ rate, warmup: { fraction: Math.min(1, 100 / count) } }),
  });
  return {
    batch,
    phases: [...(halfIterations === 0 ? [] : [phase(halfIterations)]), phase(iterations)],
    init: (key, { input }, { before }) => {
      if (before !== undefined) {
        const { slots: _, ...found } = before;
        const { images, best, lowest } = clone(found);
        return { images, slots: optimizer.init({ images }), best, lowest };
      }
      const { height, width, channels } = input;
      const shape: [number, number, number, number] = [batch, height, width, channels];
      const images = tf.tensor4d(normals(key, batch * height * width * channels), shape);
      return { images, slots: optimizer.init({ images }), best: images.clone(), lowest: tf.scalar(Number.MAX_VALUE) };
    },
    images: (_, { best }) => best,
    step: (site, at, given) => {
      const half = halfIterations > 0 && at === 0;
      const { images, slots, best, lowest } = given.state;
      const { loss, gradients, aux } = valueAndGradient(
        ({ images: pixels }) => inversionLoss(inversion, compete, site, half, given, pixels as tf.Tensor4D),
        { images },
      );
      const updated = optimizer.update(gradients, slots, { images }, given.learningRate);
      const next = updated.params.images as tf.Tensor4D;
      const shown = clip ? clipped(next, site) : next;
      // Losses at half the resolution are no measure for those at the full one.
      const kept = half
        ? { best: shown, lowest }
        : {
            best: tf.where(tf.less(loss, lowest), images, best),
            lowest: tf.minimum<tf.Scalar>(loss, lowest),
          };
      return {
        state: { images: shown, slots: updated.state, ...kept },
        metrics: { loss, ...(aux.terms as Named) },
      };
    },
  };
};

/** What is minimised over the images, at their size or at half of it. */
const inversionLoss = (
  inversion: Inversion,
  compete: number,
  site: SynthesisContext,
  half: boolean,
  given: SynthesisInputs<Inverted, 'weights'>,
  pixels: tf.Tensor4D,
) => {
  const { victim, labels, seed } = given;
  const seen = half ? avgPool(pixels, 2) : pixels;
  const reach = half ? Math.floor(inversion.jitter / 2) : inversion.jitter;
  const moved = jitter(seen, { reach, flip: inversion.flip }, seed);
  const { logits, batchStats = {} } = victim.apply(moved, { batchStats: true });
  const terms: Record<string, tf.Scalar> = { crossEntropy: crossEntropy(logits, labels) };
  const weights: Record<string, number> = { crossEntropy: 1 };
  const add = (name: string, weight: number, term: () => tf.Scalar): void => {
    if (weight === 0) return;
    terms[name] = term();
    weights[name] = weight;
  };
  add('batchNorm', inversion.batchNorm, () =>
    batchNormDistance(batchStats, victim.variables.stats, { firstMultiplier: inversion.firstBatchNorm }),
  );
  add('tv', inversion.tv, () => totalVariation(moved, 'l2'));
  add('l2', inversion.l2, () => imageNorm(moved, inversion.normOf));
  add('compete', compete, () => {
    const known = site.student.apply(given.students[0], moved, { mode: 'eval' }).logits;
    return tf.sub<tf.Scalar>(1, tf.clipByValue(jensenShannon(known, logits), 0, 1));
  });
  const loss = Object.entries(terms)
    .map(([name, term]) => (weights[name] === 1 ? term : tf.mul<tf.Scalar>(term, weights[name] as number)))
    .reduce((sum, term) => tf.add(sum, term));
  return { loss, aux: { terms } };
};

/** Kept to the normalised values of black and white, channel by channel. */
const clipped = (images: tf.Tensor4D, { normalisation }: SynthesisContext): tf.Tensor4D => {
  const { mean, std } = normalisation;
  const level = (white: number) => tf.tensor1d(mean.map((m, c) => (white - m) / (std[c] as number)));
  return tf.minimum(tf.maximum(images, level(0)), level(1));
};
