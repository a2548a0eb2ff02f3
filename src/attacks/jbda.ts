import * as tf from '@tensorflow/tfjs';
import {
  choice,
  defineAttack,
  type Network,
  option,
  optional,
  permutation,
  positive,
  type Synthesised,
  share,
  type Variables,
  wholeAtLeast,
  wholeBetween,
} from '../public/plugin.js';
import {
  anyOptimizer,
  anySchedule,
  type BuiltLearner,
  clone,
  constant,
  crossEntropy,
  detach,
  dispose,
  type ImageSet,
  multiStep,
  normalisePixels,
  type StoredAnswers,
  scaledSchedule,
  sgd,
  type UnlabelledBatch,
  valueAndGradient,
  withAnswers,
  withRecipe,
} from '../public/train.js';
import { answers as asked, trainedOn } from './knockoff.js';

/** Images, bytes as float32, and the victim's log-probabilities of them, or its classes [.., 1], row by row. */
type Answered = { readonly images: tf.Tensor4D; readonly answers: tf.Tensor2D };

/** What grows, and how many answers were given, of which some may be to the same images: int32. */
type Pool = Answered & { readonly asked: tf.Scalar };

type Images = ImageSet<UnlabelledBatch>;

const forms = choice('papernot', 'untargeted', 'topK');

/** What a number of answers depends on. */
interface Growing {
  readonly rounds: number;
  readonly form: 'papernot' | 'untargeted' | 'topK';
  readonly k: number;
  readonly reservoir?: number | undefined;
  readonly reservoirFrom: number;
  readonly asks: 'new' | 'all';
}

/**
 * As released with Prediction poisoning and ModelGuard. A round's rate would fall after 30 epochs, of which it has 20; the last student learns for
 * 100, by its recipe.
 */
const poisoned = {
  reservoir: 400,
  roundEpochs: 20,
  optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
  roundSchedule: constant(0.1),
  schedule: multiStep({ rate: 0.01, milestones: [30, 60, 90], gamma: 0.1 }),
} as const;

/**
 * Jacobian-based augmentation (Papernot et al., AsiaCCS 2017): from a few seeds, in rounds, each image that was answered is
 * moved by what the student knows by then, and the victim is asked about the new ones. The student, fresh in each round, learns
 * KL(victim ‖ student) at temperature 1 of all answers. Images are pixels in [0, 1], and y is the class that the victim
 * names:
 *
 * - `papernot`: x + λ sign(∂ s_y / ∂x), where the student's logit of that class rises;
 * - `untargeted`: x + λ sign(∂ CE(s, y) / ∂x), where it falls; so in Prediction poisoning's code, as "jbda";
 * - `topK`: towards each of the k other classes that the student finds likeliest, by 8 steps of 0.01 of its logit's
 *   gradient, no further than λ from x; in that code, as "jbtr3".
 *
 * It begins with as many images of each class, as somebody does who picks examples. From round `reservoirFrom` on only so many random images are
 * moved, if `reservoir` is given. By tribhuvanesh/prediction-poisoning 1ddff8b
 * (jacobian.py; its presets begin with 100 of 50,000 images, and ask about 10,000: here with that share of the images that are in use) and sanjaykariyappa/MAZE d202ace (jbda.py; the preset
 * `maze`). The latter asks about every image again in each round (`asks: 'all'`), and moves images once more at the end without asking
 * about them: its 6 rounds are 5 here. Differences to these codes: images are kept as bytes, as an interface takes them, so that `topK` ends
 * within an image's bounds, which it does not there; the student is fresh in each round in `maze` too, where it goes on there, in evaluation
 * mode while images are moved, where it is in training mode there, and its optimiser is its own recipe's; MAZE's loss is another by mistake.
 */
export const jbda = defineAttack({
  name: 'jbda',
  source: import.meta.url,
  about: 'A few images are multiplied: each round moves them by the student and asks about the new ones',
  paper: 'Papernot et al., Practical black-box attacks against machine learning, AsiaCCS 2017',
  cost: 'at the defaults 64 times as many answers as it begins with images; a student in each of the `rounds`, and one in the end',
  options: {
    answers: asked,
    fraction: option(share, 0.02, 'Share of the training images that the attacker begins with'),
    rounds: option(wholeBetween(1, 10_000), 6, 'Rounds'),
    form: option(forms, 'untargeted', 'How images are moved'),
    step: option(positive, 0.1, 'λ, how far a pixel is moved, of 1'),
    k: option(wholeAtLeast(1), 3, 'Classes that `topK` moves towards, each an image more'),
    reservoir: optional(wholeAtLeast(1), 'κ, images that are moved in a round; default: all'),
    reservoirFrom: option(wholeAtLeast(0), 3, 'σ, the first round (from 0) of which that is so'),
    period: optional(
      wholeAtLeast(1),
      'τ: the step changes its sign after half so many rounds, and then after each so many; default: it keeps it',
    ),
    roundEpochs: option(wholeAtLeast(1), 10, "Epochs of a round's student; the last one has its recipe's"),
    asks: option(choice('new', 'all'), 'new', 'What the victim is asked about in a round: new images, or all again'),
    optimizer: optional(anyOptimizer, "The student's; default: its own recipe's"),
    schedule: optional(anySchedule, "The last student's; default: its own recipe's"),
    roundSchedule: optional(anySchedule, "That of a round's student; default: its own recipe's"),
    keep: option(wholeBetween(1, 10_000), 100, 'Images, the last that were made, that are kept to be looked at'),
  },
  presets: {
    predictionPoisoning: { ...poisoned, fraction: 0.002, rounds: 26, budget: 10_000 },
    predictionPoisoningTopK: { ...poisoned, fraction: 0.002, form: 'topK', budget: 10_000 },
    maze: { fraction: 0.002, rounds: 5, form: 'papernot', step: 0.05, asks: 'all' },
    papernot: { form: 'papernot', step: 0.05, period: 5, answers: 'label' },
    modelGuard: { ...poisoned, form: 'topK', budget: 50_000 },
  },
  scaled: ({ roundEpochs, schedule, roundSchedule }, factor) => ({
    roundEpochs: Math.max(1, Math.round(factor * roundEpochs)),
    schedule: schedule && scaledSchedule(schedule, factor),
    roundSchedule: roundSchedule && scaledSchedule(roundSchedule, factor),
  }),
  needs: ({ answers }) => answers,
  data: ({ fraction }) => ({ kind: 'unlabelled', fraction, how: 'stratified' }),
  make: ({ roundEpochs, asks, optimizer, schedule, roundSchedule, keep, answers: _, fraction: __, ...growing }) => ({
    synthesises: true,
    refuses: ({ classes }, _, { owned, budget }) => {
      if (growing.form === 'topK' && growing.k >= classes)
        return {
          reason: `there are ${classes - 1} other classes, and k is ${growing.k}`,
          remedy: `Give k ${classes - 1} at most, or another form.`,
        };
      return owned !== undefined && budget !== undefined && budget <= owned
        ? {
            reason: `it begins with ${owned} images, and its budget is of ${budget} answers`,
            remedy: 'Give a larger budget, or a smaller fraction.',
          }
        : undefined;
    },
    warns: (_, __, { owned, budget }) => {
      const queries = owned === undefined ? 0 : queriesOf(owned, { ...growing, asks });
      return budget !== undefined && owned !== undefined && queries < budget
        ? `its ${growing.rounds} rounds ask for ${queries} answers, and its budget is of ${budget}`
        : undefined;
    },
    steal: async (victim, learner, context) => {
      const { rounds, form, step, k, reservoir, reservoirFrom, period } = growing;
      const { train } = context.data;
      const { height, width, channels } = train.shape;
      const inRounds = withRecipe(
        { ...learner, recipe: { ...learner.recipe, epochs: roundEpochs } },
        { optimizer, schedule: roundSchedule },
      );
      const pool = await context.loop<Pool>('pool', {
        count: rounds,
        init: async () => {
          const found = await context.ask('seeds', victim, train);
          return tf.tidy(() => {
            const bytes = Float32Array.from(train.examples.images.slice());
            const seeds = answered(tf.tensor4d(bytes, [train.examples.count, height, width, channels]), found);
            return { ...seeds, asked: tf.scalar(seeds.images.shape[0], 'int32') } as never;
          }) as unknown as Pool;
        },
        body: async (pool, round, inner) => {
          const [before] = pool.images.shape;
          const [asked] = pool.asked.dataSync() as Int32Array;
          const again = asks === 'all' ? before : 0;
          // Where nothing more is answered there is nothing more to learn.
          if (victim.budget !== undefined && (asked as number) + again >= victim.budget) return clone(pool) as Pool;
          const { last } = await inner.fit('student', learning(inRounds, train, pool));
          const places = permutation(inner.key.split('reservoir'), before);
          const some = round >= reservoirFrom && reservoir !== undefined ? places.slice(0, reservoir) : places.sort();
          const sign = period === undefined ? 1 : signIn(round, period);
          const owned: tf.Tensor[] = [];
          try {
            const fresh = tf.tidy(() => {
              const at = tf.tensor1d(some, 'int32');
              const from = { images: tf.gather(pool.images, at), answers: tf.gather(pool.answers, at) };
              return movedLots(learner.network, last, train, from, { form, step: sign * step, k });
            });
            owned.push(fresh);
            const asking = tf.concat(asks === 'all' ? [pool.images, fresh] : [fresh]);
            owned.push(asking);
            const found = await inner.ask('moved', victim, setOf(train, asking));
            return tf.tidy(() => {
              const more = answered(asking, found);
              return {
                images: asks === 'all' ? more.images : tf.concat([pool.images, more.images]),
                answers: asks === 'all' ? more.answers : tf.concat([pool.answers, more.answers]),
                asked: tf.add(pool.asked, tf.scalar(more.images.shape[0], 'int32')),
              } as never;
            }) as unknown as Pool;
          } finally {
            dispose([last, owned]);
          }
        },
      });
      try {
        await context.images('moved', async () => lastOf(pool, train, { keep, rounds }));
        return await context.fit('student', learning(withRecipe(learner, { optimizer, schedule }), train, pool));
      } finally {
        dispose(pool);
      }
    },
  }),
});

/** (−1)^⌊ρ/τ⌉ in round ρ, from 0; a half is rounded to the even one, as the released code does. */
export const signIn = (round: number, period: number): 1 | -1 => {
  const nearest = Math.round(round / period);
  const isHalf = (2 * round) % period === 0 && ((2 * round) / period) % 2 === 1;
  return (isHalf ? 2 * Math.floor(nearest / 2) : nearest) % 2 === 0 ? 1 : -1;
};

/** The answers that so many seeds and their rounds ask for, where no budget ends them. */
export const queriesOf = (
  seeds: number,
  { rounds, form, k, reservoir = Number.POSITIVE_INFINITY, reservoirFrom, asks }: Growing,
): number => {
  let [images, queries] = [seeds, seeds];
  for (let round = 0; round < rounds; round++) {
    const moved = round < reservoirFrom ? images : Math.min(images, reservoir);
    const fresh = form === 'topK' ? k * moved : moved;
    images += fresh;
    queries += asks === 'all' ? images : fresh;
  }
  return queries;
};

/** The last images that were made, of the classes that the victim called them; seeds are not among them. */
const lastOf = (
  { images, answers }: Pool,
  { shape, examples }: Images,
  { keep, rounds }: { readonly keep: number; readonly rounds: number },
): Synthesised => {
  const [count] = images.shape;
  const kept = Math.min(keep, count - examples.count);
  const last = (of: tf.Tensor): tf.Tensor => tf.slice(of, count - kept, kept);
  const [bytes, labels] = tf.tidy(() => [last(images).dataSync(), classesOf(last(answers) as tf.Tensor2D).dataSync()]);
  return { images: Uint8Array.from(bytes), shape, labels: Array.from(labels), clipped: 0, updates: rounds };
};

/** The classes that answers name: int32 [images]. */
const classesOf = (answers: tf.Tensor2D): tf.Tensor1D =>
  (answers.shape[1] === 1 ? tf.cast(tf.squeeze(answers, [1]), 'int32') : tf.argMax(answers, 1)) as tf.Tensor1D;

/** Images as a set that can be asked about or learnt from. */
const setOf = (like: Images, images: tf.Tensor4D): Images => {
  const [count] = images.shape;
  return {
    ...like,
    examples: { images: Uint8Array.from(images.dataSync()), count },
    indices: Int32Array.from({ length: count }, (_, i) => i),
  };
};

/** The images that were answered: all of them unless a budget ended. */
const answered = (images: tf.Tensor4D, { values, size }: StoredAnswers): Answered => {
  const count = values.length / size;
  return { images: images.slice(0, count), answers: tf.tensor2d(values, [count, size]) };
};

const learning = (learner: BuiltLearner, like: Images, { images, answers }: Answered) =>
  trainedOn(
    learner,
    withAnswers(setOf(like, images), { values: answers.dataSync() as Float32Array, size: answers.shape[1] }),
  );

interface Moving extends Pick<Growing, 'form' | 'k'> {
  readonly step: number;
}

/** Images at a time. */
const imagesAtOnce = 250;

const movedLots = (network: Network, known: Variables, like: Images, pool: Answered, moving: Moving): tf.Tensor4D => {
  const [count] = pool.images.shape;
  const lots = Array.from({ length: Math.ceil(count / imagesAtOnce) }, (_, i) =>
    tf.tidy(() => {
      const size = Math.min(imagesAtOnce, count - i * imagesAtOnce);
      const lot = {
        images: pool.images.slice(i * imagesAtOnce, size) as tf.Tensor4D,
        answers: pool.answers.slice(i * imagesAtOnce, size) as tf.Tensor2D,
      };
      const logitsOf = (pixels: tf.Tensor4D) =>
        network.apply(known, normalisePixels(pixels, like.normalisation), { mode: 'eval' }).logits;
      return movedImages(logitsOf, lot, moving);
    }),
  );
  return tf.concat(lots);
};

/** `topK` is projected gradient ascent of so many steps of this length. */
const ascent = { steps: 8, length: 0.01 };

/**
 * Images moved by the student's gradient, rounded to whole bytes.
 *
 * @param logitsOf the student, of pixels in [0, 1]
 * @param pool bytes as float32 and the victim's log-probabilities
 */
export const movedImages = (
  logitsOf: (pixels: tf.Tensor4D) => tf.Tensor2D,
  { images, answers }: Answered,
  { form, step, k }: Moving,
): tf.Tensor4D => {
  const pixels = tf.div<tf.Tensor4D>(images, 255);
  const labels = classesOf(answers);
  const slope = (of: (pixels: tf.Tensor4D) => tf.Tensor, at: tf.Tensor4D): tf.Tensor4D => {
    const loss = (moved: tf.Tensor) => ({ loss: tf.sum<tf.Scalar>(of(moved as tf.Tensor4D)), aux: {} });
    return valueAndGradient(({ pixels }) => loss(pixels as tf.Tensor), { pixels: at }).gradients.pixels as tf.Tensor4D;
  };
  const logitAt = (wanted: tf.Tensor1D) => (pixels: tf.Tensor4D) => {
    const logits = logitsOf(pixels);
    return tf.mul(logits, tf.oneHot(wanted, logits.shape[1])) as tf.Tensor;
  };
  const bytes = (moved: tf.Tensor4D): tf.Tensor4D => tf.round(tf.mul<tf.Tensor4D>(tf.clipByValue(moved, 0, 1), 255));
  if (form !== 'topK') {
    const of = form === 'papernot' ? logitAt(labels) : (at: tf.Tensor4D) => crossEntropy(logitsOf(at), labels);
    return bytes(tf.add(pixels, tf.mul(tf.sign(slope(of, pixels)), step)));
  }
  const known = logitsOf(pixels);
  const others = tf.where(tf.cast(tf.oneHot(labels, known.shape[1]), 'bool'), Number.NEGATIVE_INFINITY, known);
  const { indices } = tf.topk(others as tf.Tensor2D, k);
  const size = Math.abs(step);
  const moved = tf.unstack(indices, 1).map((target) =>
    Array.from({ length: ascent.steps }).reduce<tf.Tensor4D>((at) => {
      const next = tf.add(
        at,
        tf.mul(tf.sign(slope(logitAt(target as tf.Tensor1D), at)), ascent.length * Math.sign(step)),
      );
      return tf.add(pixels, tf.clipByValue(tf.sub(next, pixels), -size, size));
    }, detach(pixels)),
  );
  return bytes(tf.concat(moved));
};
