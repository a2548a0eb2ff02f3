import * as tf from '@tensorflow/tfjs';
import { mirrorBordered } from '../public/ops.js';
import { between, choice, defineAttack, distilBy, labelled, option, positive, wholeAtLeast } from '../public/plugin.js';
import { distillation } from '../public/train.js';
import { paysFor } from './joint.js';

/**
 * Distillation from the mean of several answers to each image: the image itself asked about again, against noise that is drawn afresh; or
 * views of it, moved by a pixel and, where the data set's augmentation flips its images, mirrored, against noise that sticks to an image.
 * α τ² KL(mean answer ‖ student) + (1 − α) CE, and `times` queries an image.
 *
 * ModelGuard's "smoothing" (Tang et al., USENIX Security 2024, README) averages the answers to 3 augmented copies.
 */
export const askingAgain = defineAttack({
  name: 'askingAgain',
  source: import.meta.url,
  about: 'Distillation from the mean of several answers to each image: against noise',
  paper: 'Tang et al., ModelGuard, USENIX Security 2024 (its adaptive attack by smoothing)',
  cost: '`times` answers to each image in each epoch',
  options: {
    times: option(wholeAtLeast(2), 3, 'Questions about each image'),
    of: option(
      choice('same', 'views'),
      'same',
      'The image itself each time, or moved by a pixel, and mirrored where training mirrors images too',
    ),
    temperature: option(positive, 4, 'τ, at which both are softened'),
    alpha: option(between(0, 1), 0.9, "α, the weight of the teacher's answers against the labels"),
  },
  presets: { modelGuard: { of: 'views' } },
  needs: 'probabilities',
  data: labelled,
  make: ({ times, of, temperature, alpha }) => ({
    refuses: (_, __, circumstances) =>
      paysFor(2 * times, circumstances, 'the smallest step asks', 'Give a larger budget, or fewer times.'),
    questions: times,
    // An image's own answer is the same every time where nothing is drawn, and its mean is what `kd` learns.
    ...(of === 'same' ? { knows: 'chance' } : {}),
    ...distilBy(({ logits, teacher, labels }) => distillation({ logits, teacher, labels, temperature, alpha }), {
      hear: (victim, pixels, { data }) => {
        const flip = Boolean(data.train.augmentation.flip);
        const views = Array.from({ length: times }, (_, i) => (of === 'same' ? pixels : viewed(pixels, i, flip)));
        return meanAnswer(views.map((each) => victim.logProbabilities(each)));
      },
    }),
  }),
});

/** The logarithms of the mean probabilities of several answers, log-probabilities [batch, classes] each. */
export const meanAnswer = (answers: readonly tf.Tensor2D[]): tf.Tensor2D =>
  tf.log(tf.div<tf.Tensor2D>(tf.addN(answers.map((each) => tf.exp(each))), answers.length));

/** Where images lie in views: in place, and moved by a pixel in one direction after the other. */
const moves = [
  [0, 0],
  [1, 1],
  [-1, -1],
  [1, -1],
  [-1, 1],
] as const;

/**
 * View number 0, 1, 2, … of images: as they are, and moved by a pixel in four directions, with edges mirrored outwards; each
 * followed by its mirror image where they flip, since a net knows no others.
 */
export const viewed = (pixels: tf.Tensor4D, number: number, flip: boolean): tf.Tensor4D => {
  const [down, right] = moves[(flip ? number >> 1 : number) % moves.length] as readonly [number, number];
  const [count, height, width, channels] = pixels.shape;
  const moved =
    down === 0 && right === 0
      ? pixels
      : tf.slice(mirrorBordered(pixels), [0, 1 + down, 1 + right, 0], [count, height, width, channels]);
  return flip && number % 2 === 1 ? tf.reverse(moved, 2) : moved;
};
