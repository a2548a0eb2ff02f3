import * as tf from '@tensorflow/tfjs';
import { anotherSeed, bytes, fromBytes, rows, standardUniform } from '../public/ops.js';
import {
  between,
  choice,
  type DefenseContext,
  defineDefense,
  option,
  positive,
  type Teacher,
  wholeAtLeast,
  yesOrNo,
} from '../public/plugin.js';
import {
  crossEntropy,
  dispose,
  normalise,
  type StoredAnswers,
  soften,
  toPixels,
  unrecorded,
  valueAndGradient,
} from '../public/train.js';
import { sparse } from './stingy.js';
import { taughtBy } from './training.js';

/**
 * The adversarial sparse teacher (2024): trained by α τ² EPD + (1−α) CE. EPD = Σ_k e^{q_k} (q_k − p_k), the batch mean, draws the softened
 * answer p towards the k classes that the teacher itself, as it is by then, finds likeliest of adversarial images: q is their softmax at τ, 0
 * elsewhere, and held fixed. Adversarial images are made once, by projected gradient ascent on the undefended teacher's cross-entropy
 * in normalised space, and kept as bytes.
 *
 * codeofanon/AdversarialSparseTeacher 02790a9 (train_adv_teacher.py), whose divergence is PyTorch's of logarithms, given probabilities. Three
 * things in it the paper does not ask for. Stored images come in a fixed order beside batches that are shuffled, so that
 * q belongs to other images: here it is of the same ones, not augmented, and with `aligned: false` of images at random. Its
 * adversarial images are cut to [0, 1] in normalised space: here they stay images, and `range: 'normalised'` is as
 * released (both: `released`). And ResNet-50 loads the set of ResNet-18, where here each teacher has its own. `small` takes fewer and longer
 * steps to the same distance, and is ours. Released for CIFAR-100 is ResNet-18; ResNet-50 has α 0.03.
 */
export const adversarialSparse = defineDefense({
  name: 'adversarialSparse',
  source: import.meta.url,
  about: 'A retrained teacher, drawn towards the few classes that it finds likeliest of adversarial images',
  paper: 'Adversarial sparse teacher, 2024 (arXiv 2403.05181)',
  options: {
    alpha: option(between(0, 1), 0.05, 'α, the weight of the divergence against the labels'),
    temperature: option(positive, 6, 'τ, at which both are softened'),
    k: option(wholeAtLeast(1), 2, 'Classes of an adversarial image that count'),
    aligned: option(yesOrNo, true, 'The adversarial image is that of the same image; false as released'),
    epsilon: option(positive, 0.3, 'ε, the largest change of a number of a normalised image'),
    step: option(positive, 0.01, 'By how much a step changes it'),
    steps: option(wholeAtLeast(1), 40, 'Steps'),
    range: option(
      choice('pixels', 'normalised'),
      'pixels',
      'What lies in [0, 1] after each: pixels, or as released normalised numbers',
    ),
  },
  presets: {
    cifar10: {},
    cifar100: { alpha: 0.035, temperature: 30, k: 7 },
    released: { aligned: false, range: 'normalised' },
    small: { step: 0.05, steps: 8 },
  },
  exposes: 'weights',
  make: ({ alpha, temperature, k, aligned, ...ascent }) => ({
    protect: async (baseline, context) => {
      const { learner } = baseline;
      const { train } = context;
      const lots = await context.loop<readonly tf.Tensor1D[]>('adversarial', {
        count: parts,
        init: () => [],
        body: async (before, part) => [
          ...before.map((each) => each.clone()),
          packed(await adversarialOf(baseline, context, part, ascent)),
        ],
      });
      const frozen = { images: unpackedImages(lots, context) };
      dispose(lots);
      try {
        return await context.fit(
          'teacher',
          taughtBy(learner, { ...context, train: { ...train, answers: placesOf(train) } }, frozen, (taught) => {
            const { pass, look, images, labels, answers, frozen, seed } = taught;
            const target = unrecorded(() => {
              const places = aligned
                ? tf.squeeze(answers as tf.Tensor2D, [1])
                : tf.floor(tf.mul(standardUniform([labels.shape[0]], anotherSeed(seed, 1)), train.indices.length));
              const adversarial = fromBytes(
                rows(frozen.images as tf.Tensor4D, tf.cast(places, 'int32') as tf.Tensor1D),
              );
              return sparsely(look(normalise(adversarial, train.normalisation)), { temperature, k });
            });
            const { logits } = pass(images);
            const terms = {
              crossEntropy: crossEntropy(logits, labels),
              divergence: exponentialDivergence(logits, target, temperature),
            };
            const loss = tf.add<tf.Scalar>(
              tf.mul(terms.divergence, alpha * temperature ** 2),
              tf.mul(terms.crossEntropy, 1 - alpha),
            );
            return { loss, terms };
          }),
        );
      } finally {
        dispose(frozen);
      }
    },
  }),
});

/** q: the k largest logits of each row, softened; the others are 0. [batch, classes] */
export const sparsely = (
  logits: tf.Tensor2D,
  { temperature, k }: Readonly<Record<'temperature' | 'k', number>>,
): tf.Tensor2D => tf.exp(soften(sparse(logits, Math.min(1, k / logits.shape[1])), temperature));

/** Σ_k e^{q_k} (q_k − p_k), p the softened logits: the batch mean; logits and q [batch, classes]. Its gradient by p is −e^q. */
export const exponentialDivergence = (logits: tf.Tensor2D, q: tf.Tensor2D, temperature: number): tf.Scalar => {
  const p = tf.exp(soften(logits, temperature));
  return tf.mean<tf.Scalar>(tf.sum(tf.mul(tf.exp(q), tf.sub(q, p)), 1));
};

interface Ascent {
  readonly epsilon: number;
  readonly step: number;
  readonly steps: number;
}

/** Between what numbers an image's lie, [channels] or one for all. */
interface Bounds {
  readonly low: tf.Tensor;
  readonly high: tf.Tensor;
}

/**
 * Images by projected gradient ascent on the cross-entropy: after each step along its gradient's sign no number is further than ε from where
 * it began, nor outside of the bounds.
 *
 * @param images normalised
 */
export const ascended = (
  logitsOf: (images: tf.Tensor4D) => tf.Tensor2D,
  { images, labels }: { readonly images: tf.Tensor4D; readonly labels: tf.Tensor1D },
  { epsilon, step, steps, low, high }: Ascent & Bounds,
): tf.Tensor4D =>
  Array.from({ length: steps }).reduce<tf.Tensor4D>((at) => {
    const next = tf.tidy(() => {
      const { gradients } = valueAndGradient(
        ({ at }) => ({ loss: crossEntropy(logitsOf(at as tf.Tensor4D), labels), aux: {} }),
        { at },
      );
      const moved = tf.add(at, tf.mul(tf.sign(gradients.at as tf.Tensor), step));
      const near = tf.add(images, tf.clipByValue(tf.sub(moved, images), -epsilon, epsilon));
      return tf.minimum(tf.maximum(near, low), high) as tf.Tensor4D;
    });
    at.dispose();
    return next;
  }, images.clone());

/** In so many parts are adversarial images made, and each is kept. */
const parts = 10;

/** The first image of a part, and the one after its last. */
const rangeOf = (part: number, images: number): readonly [number, number] => [
  Math.floor((part * images) / parts),
  Math.floor(((part + 1) * images) / parts),
];

/** Images at a time. */
const imagesAtOnce = 250;

/** The adversarial images of a part of the training set, as bytes. */
const adversarialOf = async (
  { learner: { network }, variables }: Teacher,
  { train: { examples, indices, shape, normalisation } }: Pick<DefenseContext, 'train'>,
  part: number,
  { range, ...ascent }: Ascent & { readonly range: 'pixels' | 'normalised' },
): Promise<Uint8Array> => {
  const { height, width, channels } = shape;
  const size = height * width * channels;
  const [from, to] = rangeOf(part, indices.length);
  const found = new Uint8Array((to - from) * size);
  for (let at = from; at < to; at += imagesAtOnce) {
    const own = indices.subarray(at, Math.min(to, at + imagesAtOnce));
    const made = tf.tidy(() => {
      const raw = new Float32Array(own.length * size);
      own.forEach((place, i) => {
        raw.set(examples.images.slice(place * size, (place + 1) * size), i * size);
      });
      const images = normalise(tf.tensor4d(raw, [own.length, height, width, channels]), normalisation);
      const labels = tf.tensor1d(
        Int32Array.from(own, (place) => examples.labels[place] as number),
        'int32',
      );
      const bound = (of: number) =>
        range === 'pixels' ? normalise(tf.fill([1, 1, 1, channels], 255 * of), normalisation) : tf.scalar(of);
      const moved = ascended(
        (seen) => network.apply(variables, seen, { mode: 'eval' }).logits,
        { images, labels },
        { ...ascent, low: bound(0), high: bound(1) },
      );
      return tf.round(tf.mul(tf.clipByValue(toPixels(moved, normalisation), 0, 1), 255));
    });
    found.set(made.dataSync(), (at - from) * size);
    made.dispose();
    // Others have their turn: whoever wants to end the run, and the lock that is held meanwhile.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return found;
};

/** Bytes as a tensor that can be kept: four in a number. */
const packed = (of: Uint8Array): tf.Tensor1D => {
  const numbers = new Int32Array(Math.ceil(of.length / 4));
  new Uint8Array(numbers.buffer).set(of);
  return tf.tensor1d(numbers, 'int32');
};

/** Images that were packed in parts: bytes [images, height, width, channels]. */
const unpackedImages = (
  lots: readonly tf.Tensor1D[],
  { train: { indices, shape } }: Pick<DefenseContext, 'train'>,
): tf.Tensor => {
  const { height, width, channels } = shape;
  const size = height * width * channels;
  const all = new Uint8Array(indices.length * size);
  lots.forEach((lot, part) => {
    const [from, to] = rangeOf(part, indices.length);
    const { buffer, byteOffset } = lot.dataSync() as Int32Array;
    all.set(new Uint8Array(buffer, byteOffset, (to - from) * size), from * size);
  });
  return bytes(all, [indices.length, height, width, channels]);
};

/** Of each training image, which it is. */
const placesOf = ({ indices }: DefenseContext['train']): StoredAnswers => ({
  values: Float32Array.from(indices, (_, i) => i),
  size: 1,
});
