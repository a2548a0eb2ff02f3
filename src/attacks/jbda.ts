import * as tf from '@tensorflow/tfjs';
import {
  choice,
  defineAttack,
  type Network,
  option,
  optional,
  permutation,
  positive,
  share,
  type Variables,
  wholeAtLeast,
} from '../public/plugin.js';
import {
  type BuiltLearner,
  clone,
  crossEntropy,
  detach,
  dispose,
  type ImageSet,
  normalisePixels,
  type StoredAnswers,
  type UnlabelledBatch,
  valueAndGradient,
  withAnswers,
} from '../public/train.js';
import { answers as asked, trainedOn } from './knockoff.js';

/** What grows: images, bytes as float32, and the victim's log-probabilities of them, or its classes [.., 1], row by row. */
type Pool = { readonly images: tf.Tensor4D; readonly answers: tf.Tensor2D };

type Images = ImageSet<UnlabelledBatch>;

const forms = choice('papernot', 'untargeted', 'topK');

/**
 * Jacobian-based augmentation (Papernot et al., AsiaCCS 2017): from a few seeds, in rounds, each image that was answered is
 * moved by what the student knows by then, and the victim is asked about the new ones. The student, fresh in each round, learns
 * KL(victim ‖ student) at temperature 1 of all answers. Images are pixels in [0, 1], and y is the class that the victim
 * names:
 *
 * - `papernot`: x + λ sign(∂ s_y / ∂x), where the student's logit of that class rises;
 * - `untargeted`: x + λ sign(∂ CE(s, y) / ∂x), where it falls; so in Prediction poisoning's code, as "jbda";
 * - `topK`: towards each of the k other classes that the student finds likeliest, by 8 steps of 0.01 of its logit's
 *   gradient, no further than λ from x and with no bound of the image's; in that code, as "jbtr3".
 *
 * Images are kept as bytes, as an interface takes them. tribhuvanesh/prediction-poisoning 1ddff8b (jacobian.py) and
 * sanjaykariyappa/MAZE d202ace (jbda.py; the preset `maze`), which asks about every image again in each round and whose loss is another
 * by mistake. From round `reservoirFrom` on only so many random images are moved, if `reservoir` is given.
 */
export const jbda = defineAttack({
  name: 'jbda',
  source: import.meta.url,
  about: 'A few images are multiplied: each round moves them by the student and asks about the new ones',
  paper: 'Papernot et al., Practical black-box attacks against machine learning, AsiaCCS 2017',
  options: {
    answers: asked,
    fraction: option(share, 0.02, 'Share of the training images that the attacker begins with'),
    rounds: option(wholeAtLeast(1), 6, 'Rounds'),
    form: option(forms, 'untargeted', 'How images are moved'),
    step: option(positive, 0.1, 'λ, how far a pixel is moved, of 1'),
    k: option(wholeAtLeast(1), 3, 'Classes that `topK` moves towards, each an image more'),
    reservoir: optional(wholeAtLeast(1), 'κ, images that are moved in a round; default: all'),
    reservoirFrom: option(wholeAtLeast(0), 3, 'σ, the first round (from 0) of which that is so'),
    period: optional(wholeAtLeast(1), 'τ, rounds after which the step changes its sign; default: it keeps it'),
    roundEpochs: option(wholeAtLeast(1), 10, "Epochs of a round's student; the last one has its recipe's"),
  },
  presets: {
    predictionPoisoning: { fraction: 0.002, reservoir: 400, roundEpochs: 20, budget: 10_000 },
    predictionPoisoningTopK: { fraction: 0.002, form: 'topK', reservoir: 400, roundEpochs: 20, budget: 10_000 },
    maze: { fraction: 0.002, form: 'papernot', step: 0.05 },
    papernot: { form: 'papernot', step: 0.05, period: 5, answers: 'label' },
    modelGuard: { form: 'topK', reservoir: 400, roundEpochs: 20, budget: 50_000 },
  },
  scaled: ({ roundEpochs }, factor) => ({ roundEpochs: Math.max(1, Math.round(factor * roundEpochs)) }),
  needs: ({ answers }) => answers,
  data: ({ fraction }) => ({ kind: 'unlabelled', fraction, how: 'stratified' }),
  make: ({ rounds, form, step, k, reservoir, reservoirFrom, period, roundEpochs }) => ({
    refuses: ({ classes }) =>
      form === 'topK' && k >= classes ? `there are ${classes - 1} other classes, and k is ${k}` : undefined,
    steal: async (victim, learner, context) => {
      const { train } = context.data;
      const { height, width, channels } = train.shape;
      const inRounds = { ...learner, recipe: { ...learner.recipe, epochs: roundEpochs } };
      const pool = await context.loop<Pool>('pool', {
        count: rounds,
        init: async () => {
          const found = await context.ask('seeds', victim, train);
          return tf.tidy(() => {
            const bytes = Float32Array.from(train.examples.images.slice());
            return answered(tf.tensor4d(bytes, [train.examples.count, height, width, channels]), found) as never;
          }) as unknown as Pool;
        },
        body: async (pool, round, inner) => {
          // Where nothing more is answered there is nothing more to learn.
          if (victim.budget !== undefined && pool.images.shape[0] >= victim.budget) return clone(pool) as Pool;
          const { last } = await inner.fit('student', learning(inRounds, train, pool));
          const places = permutation(inner.key.split('reservoir'), pool.images.shape[0]);
          const some = round >= reservoirFrom && reservoir !== undefined ? places.slice(0, reservoir) : places.sort();
          const sign = period === undefined ? 1 : (-1) ** Math.round(round / period);
          const owned: tf.Tensor[] = [];
          try {
            const fresh = tf.tidy(() => {
              const at = tf.tensor1d(some, 'int32');
              const from = { images: tf.gather(pool.images, at), answers: tf.gather(pool.answers, at) };
              return movedLots(learner.network, last, train, from, { form, step: sign * step, k });
            });
            owned.push(fresh);
            const found = await inner.ask('moved', victim, setOf(train, fresh));
            return tf.tidy(() => {
              const more = answered(fresh, found);
              return {
                images: tf.concat([pool.images, more.images]),
                answers: tf.concat([pool.answers, more.answers]),
              } as never;
            }) as unknown as Pool;
          } finally {
            dispose([last, owned]);
          }
        },
      });
      try {
        return await context.fit('student', learning(learner, train, pool));
      } finally {
        dispose(pool);
      }
    },
  }),
});

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
const answered = (images: tf.Tensor4D, { values, size }: StoredAnswers): Pool => {
  const count = values.length / size;
  return { images: images.slice(0, count), answers: tf.tensor2d(values, [count, size]) };
};

const learning = (learner: BuiltLearner, like: Images, { images, answers }: Pool) =>
  trainedOn(
    learner,
    withAnswers(setOf(like, images), { values: answers.dataSync() as Float32Array, size: answers.shape[1] }),
  );

interface Moving {
  readonly form: 'papernot' | 'untargeted' | 'topK';
  readonly step: number;
  readonly k: number;
}

/** Images at a time. */
const together = 250;

const movedLots = (network: Network, known: Variables, like: Images, pool: Pool, moving: Moving): tf.Tensor4D => {
  const [count] = pool.images.shape;
  const lots = Array.from({ length: Math.ceil(count / together) }, (_, i) =>
    tf.tidy(() => {
      const size = Math.min(together, count - i * together);
      const lot = {
        images: pool.images.slice(i * together, size) as tf.Tensor4D,
        answers: pool.answers.slice(i * together, size) as tf.Tensor2D,
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
  { images, answers }: Pool,
  { form, step, k }: Moving,
): tf.Tensor4D => {
  const pixels = tf.div<tf.Tensor4D>(images, 255);
  const labels = (
    answers.shape[1] === 1 ? tf.cast(tf.squeeze(answers, [1]), 'int32') : tf.argMax(answers, 1)
  ) as tf.Tensor1D;
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
