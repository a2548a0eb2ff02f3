import * as tf from '@tensorflow/tfjs';
import { atLeast, belowOne, checked, nothingElse, oneOf, positive, wholeAtLeast, withDefaults } from '../core/check.js';
import { FailureError, failure } from '../core/errors.js';
import { normals } from '../core/random.js';
import { clone } from '../core/tree.js';
import type { Augmentation } from '../data/dataset.js';
import { avgPool, jitter } from '../engine/ops.js';
import type { Named, Network } from '../models/network.js';
import { valueAndGradient } from '../train/gradient.js';
import { crossEntropy } from '../train/losses.js';
import { adam, type OptimizerState } from '../train/optimizers.js';
import { constant, cosine } from '../train/schedules.js';
import { batchNormDistance, imageNorm, jensenShannon, totalVariation } from '../train/synthesis-losses.js';
import type { Attack } from './attack.js';
import {
  distillFromPool,
  type Phase,
  type SynthesisContext,
  type Synthesiser,
  type SynthesisInputs,
} from './synthesis.js';

/** How images are inverted out of a network: weights of the loss's terms, and the way down. */
export interface Inversion {
  /** Images at a time, ≥ 2. */
  readonly batch: number;
  /** Iterations at the images' own size. */
  readonly iterations: number;
  /** Iterations at half of it before, for larger images. */
  readonly halfIterations: number;
  /** Adam's learning rate on pixels. */
  readonly rate: number;
  /** Adam's β₁ and β₂. */
  readonly betas: readonly [number, number];
  /** `constant`, or `cosine`: 100 iterations of linear warm-up and half a cosine to 0, at each resolution. */
  readonly schedule: 'constant' | 'cosine';
  /** r, of the distance of the batch norms' statistics. */
  readonly batchNorm: number;
  /** Times r for the first batch norm. */
  readonly firstBatchNorm: number;
  /** Of total variation as whole-tensor ℓ2 norms. */
  readonly variation: number;
  /** Of the images' ℓ2 norm. */
  readonly norm: number;
  /** The norm of the whole batch, or the mean of the images'. */
  readonly normOf: 'batch' | 'image';
  /** Pixels by which images are rolled at most in each direction, anew at every iteration. */
  readonly jitter: number;
  /** Whether they are mirrored with probability 1/2. */
  readonly flip: boolean;
  /** Whether pixels are kept to what a photograph can show, after every iteration. */
  readonly clip: boolean;
}

const cifar10: Inversion = {
  batch: 256,
  iterations: 2000,
  halfIterations: 0,
  rate: 0.05,
  betas: [0.9, 0.999],
  schedule: 'constant',
  batchNorm: 10,
  firstBatchNorm: 1,
  variation: 2.5e-5,
  norm: 0,
  normOf: 'batch',
  jitter: 2,
  flip: false,
  clip: false,
};

const imageNet: Inversion = {
  batch: 84,
  iterations: 1000,
  halfIterations: 2000,
  rate: 0.25,
  betas: [0.5, 0.9],
  schedule: 'cosine',
  batchNorm: 0.01,
  firstBatchNorm: 10,
  variation: 1e-4,
  norm: 1e-5,
  normOf: 'image',
  jitter: 30,
  flip: true,
  clip: true,
};

/**
 * The authors' settings. CIFAR-10 by the command that their repository gives for the paper and by the one that it calls
 * better looking; `imageNet` after their ImageNet script and README, with half resolution first. Two are none of theirs:
 * `tinyImageNet`, which moves images of 64×64 by an eighth of their side and not by half of it, and `mnist` for small grey
 * images, where a weak r and clipping make digits that can be read.
 */
export const inversionPresets = {
  cifar10,
  cifar10BetterLooking: { ...cifar10, rate: 0.1, variation: 1e-3 },
  mnist: {
    ...cifar10,
    batch: 100,
    iterations: 300,
    rate: 0.1,
    batchNorm: 0.3,
    variation: 3e-3,
    norm: 0.01,
    clip: true,
  },
  imageNet,
  tinyImageNet: { ...imageNet, jitter: 8 },
} as const satisfies Readonly<Record<string, Inversion>>;

export interface DeepInversionOptions extends Partial<Inversion> {
  /** Batches of images in the pool. The authors: 1,000 of 256 on CIFAR-10. */
  readonly batches?: number;
  /** The classes of a batch's images, one each; default: every class in turn. */
  readonly labels?: readonly number[];
  /** τ of the distillation on the pool; the authors' is 3. */
  readonly temperature?: number;
  /** Steps of distillation; default: as many as the student takes when trained honestly. */
  readonly steps?: number;
  /** Changes of the pool's images in distillation; default: none. */
  readonly augmentation?: Augmentation;
  /**
   * Adaptive DeepInversion: images on which victim and student disagree are looked for, and the student takes `every` steps
   * after each batch. The authors' scale is 0.2, and a new batch comes every 50 steps.
   */
  readonly adaptive?: { readonly scale: number; readonly every: number };
  /** Iterations between two pictures of how it goes. Default: a tenth of all. */
  readonly pictureEvery?: number;
  readonly label?: string;
}

/** The images, what Adam remembers of them, and the images of the lowest loss so far. */
type Inverted = {
  readonly images: tf.Tensor4D;
  readonly slots: OptimizerState;
  readonly best: tf.Tensor4D;
  readonly lowest: tf.Scalar;
};

/**
 * DeepInversion (Yin et al., CVPR 2020): images are found by Adam on pixels, of which the victim says the class that they
 * are to be of, and on which its batch norms see the statistics of its training: CE + r Σ_l (‖σ²_l(x) − running variance‖₂ +
 * ‖μ_l(x) − running mean‖₂) + total variation + ℓ2. The student is then distilled on the pool of them.
 *
 * Defaults are CIFAR-10's for the paper (`inversionPresets.cifar10`), with a pool of one batch. The images of the lowest loss
 * are kept as a copy; the released CIFAR-10 script means to and keeps the last.
 */
export const deepInversion = (options: DeepInversionOptions = {}): Attack<'weights', { readonly kind: 'none' }> => {
  const {
    batches = 1,
    labels,
    temperature = 3,
    steps,
    augmentation,
    adaptive,
    pictureEvery,
    label,
    ...changed
  } = options;
  const inversion = withDefaults('deepInversion', cifar10, changed);
  const { scale = 0, every = 0, ...strange } = adaptive ?? {};
  nothingElse('deepInversion: adaptive', strange);
  checked(
    'deepInversion',
    {
      batch: wholeAtLeast(2),
      batches: wholeAtLeast(1),
      iterations: wholeAtLeast(1),
      halfIterations: wholeAtLeast(0),
      rate: positive,
      batchNorm: atLeast(0),
      firstBatchNorm: atLeast(0),
      variation: atLeast(0),
      norm: atLeast(0),
      jitter: wholeAtLeast(0),
      temperature: positive,
      steps: wholeAtLeast(1),
      scale: atLeast(0),
      every: wholeAtLeast(1),
      pictureEvery: wholeAtLeast(1),
    },
    {
      ...numbersOf(inversion),
      batches,
      temperature,
      steps: steps ?? 1,
      scale,
      every: adaptive === undefined ? 1 : every,
      pictureEvery: pictureEvery ?? 1,
    },
  );
  // A β of 1 would never take anything in.
  checked('deepInversion: betas', { 0: belowOne, 1: belowOne }, { 0: inversion.betas[0], 1: inversion.betas[1] });
  oneOf('deepInversion', 'schedule', inversion.schedule, ['constant', 'cosine']);
  oneOf('deepInversion', 'normOf', inversion.normOf, ['batch', 'image']);
  checkLabels(labels, inversion.batch);
  return {
    name: adaptive === undefined ? 'deepInversion' : 'adaptiveDeepInversion',
    params: {
      ...inversion,
      batches,
      labels: labels ?? null,
      temperature,
      steps: steps ?? null,
      augmentation: augmentation ?? null,
      adaptive: adaptive ?? null,
    },
    source: import.meta.url,
    needs: 'weights',
    data: { kind: 'none' },
    synthesises: true,
    ...(label === undefined ? {} : { label }),
    scaled: (factor) => {
      // Fewer batches first, and shorter ones where a single batch is too many.
      const fewer = Math.max(1, Math.round(factor * batches));
      const shorter = Math.min(1, (factor * batches) / fewer);
      return deepInversion({
        ...options,
        iterations: Math.max(1, Math.round(shorter * inversion.iterations)),
        halfIterations: Math.round(shorter * inversion.halfIterations),
        batches: fewer,
        ...(steps === undefined ? {} : { steps: Math.max(1, Math.round(factor * steps)) }),
        ...(pictureEvery === undefined ? {} : { pictureEvery: Math.max(1, Math.round(shorter * pictureEvery)) }),
      });
    },
    refuses: (victim, student) => refusal(scale === 0 ? [victim] : [victim, student], labels ?? [], inversion),
    steal: (victim, student, context) =>
      distillFromPool(
        inverting(inversion, scale),
        {
          batches,
          labels,
          temperature,
          steps,
          stepsBetween: every,
          augmentation,
          pictureEvery,
        },
        victim,
        student,
        context,
      ),
  };
};

const numbersOf = ({ schedule: _, betas: __, normOf: ___, flip: ____, clip: _____, ...numbers }: Inversion) => numbers;

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
): string | undefined => {
  const [victim] = seeing;
  const strange = labels.find((label) => label >= victim.classes);
  if (strange !== undefined) return `label ${strange} is none of the ${victim.classes} classes`;
  if (!victim.variables.some(({ kind }) => kind === 'stat'))
    return `${victim.name} has no batch norm, whose statistics the images are made to fit`;
  const { height, width } = victim.input;
  if (halfIterations === 0) return undefined;
  if (height % 2 !== 0 || width % 2 !== 0) return `images of ${height}×${width} have no half resolution`;
  const rigid = seeing.find(({ variables }) => variables.some(({ layout }) => typeof layout === 'object'));
  return rigid && `${rigid.name} takes images of one size only: set halfIterations to 0`;
};

/** DeepInversion's synthesiser. `competition`: the weight of Adaptive DeepInversion's term. */
export const inverting = (inversion: Inversion, competition = 0): Synthesiser<Inverted> => {
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
    init: (key, { victim: { network } }, before) => {
      if (before !== undefined) {
        const { slots: _, ...found } = before;
        const { images, best, lowest } = clone(found);
        return { images, slots: optimizer.init({ images }), best, lowest };
      }
      const { height, width, channels } = network.input;
      const shape: [number, number, number, number] = [batch, height, width, channels];
      const images = tf.tensor4d(normals(key, batch * height * width * channels), shape);
      return { images, slots: optimizer.init({ images }), best: images.clone(), lowest: tf.scalar(Number.MAX_VALUE) };
    },
    images: (_, { best }) => best,
    step: (site, at, given) => {
      const half = halfIterations > 0 && at === 0;
      const { images, slots, best, lowest } = given.state;
      const { loss, gradients, aux } = valueAndGradient(
        ({ images: pixels }) => inversionLoss(inversion, competition, site, half, given, pixels as tf.Tensor4D),
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
        images,
        logits: aux.logits as tf.Tensor2D,
        metrics: { loss, ...(aux.terms as Named) },
      };
    },
  };
};

/** What is minimised over the images, at their size or at half of it. */
const inversionLoss = (
  inversion: Inversion,
  competition: number,
  { victim, student }: SynthesisContext,
  half: boolean,
  { frozen, student: learnt, labels, seed }: SynthesisInputs<Inverted>,
  pixels: tf.Tensor4D,
) => {
  const seen = half ? avgPool(pixels, 2) : pixels;
  const reach = half ? Math.floor(inversion.jitter / 2) : inversion.jitter;
  const moved = jitter(seen, { reach, flip: inversion.flip }, seed);
  const variables = victim.variables(frozen);
  const { logits, taps = {} } = victim.network.apply(variables, moved, { mode: 'eval', taps: true });
  const terms: Record<string, tf.Scalar> = { crossEntropy: crossEntropy(logits, labels) };
  const weights: Record<string, number> = { crossEntropy: 1 };
  const add = (name: string, weight: number, term: () => tf.Scalar): void => {
    if (weight === 0) return;
    terms[name] = term();
    weights[name] = weight;
  };
  add('batchNorm', inversion.batchNorm, () =>
    batchNormDistance(taps, variables.stats, { firstMultiplier: inversion.firstBatchNorm }),
  );
  add('variation', inversion.variation, () => totalVariation(moved, 'l2'));
  add('norm', inversion.norm, () => imageNorm(moved, inversion.normOf));
  add('competition', competition, () => {
    const known = student.apply(learnt, moved, { mode: 'eval' }).logits;
    return tf.sub<tf.Scalar>(1, tf.clipByValue(jensenShannon(known, logits), 0, 1));
  });
  const loss = Object.entries(terms)
    .map(([name, term]) => (weights[name] === 1 ? term : tf.mul<tf.Scalar>(term, weights[name] as number)))
    .reduce((sum, term) => tf.add(sum, term));
  return { loss, aux: { logits, terms } };
};

/** Kept to the normalised values of black and white, channel by channel. */
const clipped = (images: tf.Tensor4D, { victim: { normalisation } }: SynthesisContext): tf.Tensor4D => {
  const { mean, std } = normalisation;
  const level = (white: number) => tf.tensor1d(mean.map((m, c) => (white - m) / (std[c] as number)));
  return tf.minimum(tf.maximum(images, level(0)), level(1));
};
