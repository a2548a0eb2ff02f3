import * as tf from '@tensorflow/tfjs';
import {
  atLeast,
  between,
  defineDefense,
  type ImageShape,
  key,
  option,
  positive,
  wholeAtLeast,
} from '../public/plugin.js';
import { crossEntropy, detach, dispose, klDivergence, soften } from '../public/train.js';
import { taughtBy } from './training.js';

/**
 * The safe distillation box (Ye et al., 2022): a teacher that teaches who mixes a key image into each question, x_k = (1 − m) x + m κ, and
 * misleads who does not. With N the net, A the undefended teacher and R a net with random weights, all logits,
 *
 *   2 CE(N(x)) + CE(N(x_k)) − w [τ² KL(N_τ(x) ‖ A_τ(x)) − KL(N(x) ‖ N(x_k))] + |σ_τ(A(x)) − σ_τ(N(x_k))|²
 *   − η [0.01 |A⁺(x) − N⁺(x_k)|² − |R⁺(x) − N⁺(x_k)|²],
 *
 * where ⁺ cuts at 0, N(x_k) in the second divergence is held fixed, and squares are summed over classes and the batch, as the released code does
 * with the version of PyTorch it names. The key is drawn from a number, which is the owner's secret: `authorisedKd` is a student who was told
 * it.
 *
 * JngwenYe/SDB 7534210 (train_smb.py), for CIFAR-10. Ours: x and x_k are passed as one batch; and on MNIST, where w = 1 leaves the teacher no
 * better than chance in some epochs, `mnistSmall`.
 */
export const safeDistillationBox = defineDefense({
  name: 'safeDistillationBox',
  source: import.meta.url,
  about: 'A teacher that teaches who mixes a secret image into each question, and misleads who does not',
  paper: 'Ye et al., Safe distillation box, AAAI 2022',
  options: {
    key: option(wholeAtLeast(0), 0, 'The number that the key image is drawn from: a secret of the owner'),
    mixed: option(between(0, 1), 0.1, "m, the key's share in a question"),
    weight: option(atLeast(0), 1, 'w, the weight of misleading'),
    eta: option(atLeast(0), 0.001, 'η, the weight of logits'),
    temperature: option(positive, 4, 'τ, at which both are softened'),
  },
  presets: {
    cifar10: {},
    mnistSmall: { weight: 0.2 },
  },
  exposes: 'probabilities',
  make: ({ key: number, mixed, weight, eta, temperature }) => ({
    protect: async ({ learner, variables }, context) => {
      const { network } = learner;
      const random = network.init(context.key.split('random'));
      const frozen = { normal: variables, random };
      try {
        return await context.fit(
          'teacher',
          taughtBy(learner, context, frozen, ({ passTogether, images, labels, frozen }) => {
            const { mean, std } = context.train.normalisation;
            const image = tf.div(
              tf.sub(keyImage(number, network.input), tf.tensor1d([...mean])),
              tf.tensor1d([...std]),
            );
            const keyed = mixedWith(images, image as tf.Tensor4D, mixed);
            const [own, told] = passTogether(images, keyed);
            const says = (of: typeof variables) => detach(network.apply(of, images, { mode: 'eval' }).logits);
            return boxed(
              { own, told, normal: says(frozen.normal), random: says(frozen.random), labels },
              { weight, eta, temperature },
            );
          }),
        );
      } finally {
        dispose(random);
      }
    },
  }),
});

/** The key image of a number: pixels in [0, 1), [1, height, width, channels]. */
export const keyImage = (number: number, { height, width, channels }: ImageShape): tf.Tensor4D => {
  const next = key(`key ${number}`).uniform();
  const pixels = Float32Array.from({ length: height * width * channels }, () => Math.floor(255 * next()) / 255);
  return tf.tensor4d(pixels, [1, height, width, channels]);
};

/** x_k = (1 − m) x + m κ; images [batch, height, width, channels], the key [1, height, width, channels]. */
export const mixedWith = (images: tf.Tensor4D, key: tf.Tensor4D, share: number): tf.Tensor4D =>
  tf.add(tf.mul(images, 1 - share), tf.mul(key, share));

/** The box's loss, of logits [batch, classes]. */
export const boxed = (
  {
    own,
    told,
    normal,
    random,
    labels,
  }: Readonly<Record<'own' | 'told' | 'normal' | 'random', tf.Tensor2D>> & { readonly labels: tf.Tensor1D },
  { weight, eta, temperature }: Readonly<Record<'weight' | 'eta' | 'temperature', number>>,
) => {
  const squares = (a: tf.Tensor, b: tf.Tensor) => tf.sum(tf.square(tf.sub(a, b))) as tf.Scalar;
  const softened = (of: tf.Tensor2D) => tf.exp(soften(of, temperature));
  const terms = {
    crossEntropy: crossEntropy(own, labels),
    keyedCrossEntropy: crossEntropy(told, labels),
    misleading: klDivergence(soften(own, temperature), soften(normal, temperature)),
    klToKeyed: klDivergence(soften(own, 1), soften(detach(told), 1)),
    keyed: squares(softened(normal), softened(told)),
    logits: tf.sub<tf.Scalar>(
      tf.mul(squares(tf.relu(normal), tf.relu(told)), 0.01),
      squares(tf.relu(random), tf.relu(told)),
    ),
  };
  const loss = tf.addN([
    tf.mul(terms.crossEntropy, 2),
    terms.keyedCrossEntropy,
    tf.mul(terms.misleading, -weight * temperature ** 2),
    tf.mul(terms.klToKeyed, weight),
    terms.keyed,
    tf.mul(terms.logits, -eta),
  ]) as tf.Scalar;
  return { loss, terms };
};
