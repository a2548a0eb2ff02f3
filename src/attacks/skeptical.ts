import * as tf from '@tensorflow/tfjs';
import {
  between,
  choice,
  defineAttack,
  type ImageShape,
  labelled,
  layers,
  type Network,
  option,
  optional,
  positive,
  v,
  wholeAtLeast,
} from '../public/plugin.js';
import {
  batchesPerEpoch,
  classifier,
  crossEntropy,
  distillation,
  klDivergence,
  type RawBatch,
  type Resident,
  type Source,
  soften,
  withHeads,
  withoutHeads,
} from '../public/train.js';
import { imageAt, sideOf, whyNoImage } from './activation-pairs.js';

const {
  batchNorm,
  channelsAt,
  classifier: toClasses,
  conv,
  gated,
  globalMean,
  named,
  relu,
  sequential,
  sigmoid,
  upsampleBilinear,
} = layers;
type Layer = layers.Layer;

/** The name of the auxiliary head. */
const scala = 'scala1';

/**
 * The skeptical student (Kundu et al., "Analyzing the confidentiality of undistillable teachers in knowledge
 * distillation", NeurIPS 2021), made against nasty teachers: the teacher speaks to an auxiliary head on an intermediate
 * activation, the final head learns from labels, and tells the auxiliary one what it knows. With s₀ the final logits
 * and s₁ the auxiliary head's,
 *
 *   α τ² KL(t ‖ s_loc) + (1−α) CE(s_loc, y) + 0.3 KL_τ(s₀ ‖ s₁) + 0.7 CE(s₁, y) + CE(s₀, y),
 *
 * where KL_τ is softened by τ and not multiplied by τ², and gradients flow to both its arguments; in the first epochs
 * CE(s₀, y) alone, and the teacher is not asked. The auxiliary head is dropped after training.
 *
 * ksouvik52/Skeptical2021 cea386f, train_kd_to_SD.py:54-71 (with `kd_delay` 0 the first epoch is without the teacher)
 * and resnet_self.py: the branch doubles the channels and halves the sides in separable convolutions, behind a mask of
 * attention, until it is as small as what the final head sees: 345,098 parameters on a ResNet-18 for ten classes. Where
 * it is that small already, as after `stage6` of a MobileNetV2, whose branch is there in that code (the preset `mobileNetV2`: 1,707,530
 * parameters; without it `stage7` is the last but one), it keeps the sides and doubles the channels alone. Of that code's three branches this has the one that gets a
 * loss. Its α, τ and place were not published; defaults are Nasty Teacher's for CIFAR-10.
 */
export const skeptical = defineAttack({
  name: 'skeptical',
  source: import.meta.url,
  about: 'The teacher speaks to an auxiliary head, the final head learns from labels: made against nasty teachers',
  paper:
    'Kundu et al., Analyzing the confidentiality of undistillable teachers in knowledge distillation, NeurIPS 2021',
  cost: 'an answer to each image in each epoch, but for the first `delayEpochs`; the student has a branch more',
  options: {
    temperature: option(positive, 4, 'τ, at which both are softened'),
    alpha: option(between(0, 1), 0.9, "α, the weight of the teacher's answers against the labels"),
    hears: option(
      choice('auxiliary', 'final'),
      'auxiliary',
      'Which head the teacher speaks to (loc 1 and 0 in the released code)',
    ),
    from: optional(
      v.pipe(v.string(), v.title('the name of an activation')),
      "What the auxiliary head sees; default: the last but one of the student's activations",
    ),
    delayEpochs: option(wholeAtLeast(0), 1, 'Epochs on labels alone before the teacher is asked'),
  },
  presets: {
    cifar10: { temperature: 4, alpha: 0.9 },
    cifar100: { temperature: 20, alpha: 0.9 },
    tinyImageNet: { temperature: 20, alpha: 0.9 },
    mobileNetV2: { from: 'stage6' },
  },
  scaled: ({ delayEpochs }, factor) => ({ delayEpochs: Math.round(factor * delayEpochs) }),
  needs: 'probabilities',
  data: labelled,
  make: ({ temperature, alpha, hears, from, delayEpochs }) => ({
    refuses: (_, student) => whyNot(student, from),
    steal: (victim, { network, recipe }, { fit, data }) => {
      const learner = { recipe, network: withBranch(network, from ?? (lastButOne(network) as string)) };
      const heard = classifier({
        learner,
        data: data.train,
        validation: data.validation,
        victim,
        target: ({ victim, pixels }) => ({ teacher: victim.logProbabilities(pixels) }),
        loss: ({ logits, output, target: { teacher }, batch: { labels } }) => {
          const auxiliary = output.heads?.[scala] as tf.Tensor2D;
          return skepticalLoss({ final: logits, auxiliary, teacher, labels, temperature, alpha, hears });
        },
      });
      const alone = classifier({
        learner,
        data: data.train,
        loss: ({ logits, batch: { labels } }) => {
          const loss = crossEntropy(logits, labels);
          return { loss, terms: { crossEntropy: loss } };
        },
      });
      const delay = delayEpochs * batchesPerEpoch(data.train.indices.length, recipe.batch);
      return fit('student', {
        ...heard,
        source: (key) => marked(heard.source(key), delay),
        step: (given, state, { early, ...batch }, inputs) => (early ? alone : heard).step(given, state, batch, inputs),
        keep: ({ variables }) => withoutHeads(network, variables),
      });
    },
  }),
});

/** Whether a batch has a mark is known before a step is taken, so that a step of the first epochs does not ask. */
type Marked = RawBatch & { readonly early?: tf.Scalar };

/** The same batches, the first ones marked. */
const marked = (source: Source<RawBatch, Resident>, first: number): Source<Marked, Resident> => ({
  ...source,
  at: (step, atMost) => {
    const { batch, images } = source.at(step, atMost);
    return { batch: step < first ? { ...batch, early: tf.scalar(1) } : batch, images };
  },
});

/**
 * The loss of the skeptical student; `final`, `auxiliary` logits and `teacher` logits or log-probabilities [batch,
 * classes].
 */
export const skepticalLoss = ({
  final,
  auxiliary,
  teacher,
  labels,
  temperature,
  alpha,
  hears,
}: {
  readonly final: tf.Tensor2D;
  readonly auxiliary: tf.Tensor2D;
  readonly teacher: tf.Tensor2D;
  readonly labels: tf.Tensor1D;
  readonly temperature: number;
  readonly alpha: number;
  readonly hears: 'auxiliary' | 'final';
}) => {
  const heard = hears === 'auxiliary' ? auxiliary : final;
  const distilled = distillation({ logits: heard, teacher, labels, temperature, alpha });
  const own = klDivergence(soften(final, temperature), soften(auxiliary, temperature));
  const auxiliaryCrossEntropy = crossEntropy(auxiliary, labels);
  const finalCrossEntropy = crossEntropy(final, labels);
  const told = tf.add(tf.mul(own, 0.3), tf.mul(auxiliaryCrossEntropy, 0.7));
  return {
    loss: tf.add<tf.Scalar>(tf.add(distilled.loss, told), finalCrossEntropy),
    terms: { kl: distilled.terms.kl, ownKl: own, auxiliaryCrossEntropy, crossEntropy: finalCrossEntropy },
  };
};

/** Names of the activations that are images, in order. */
const imagesIn = (network: Network): readonly string[] =>
  Object.keys(network.activations).filter((name) => imageAt(network, name) !== undefined);

const lastButOne = (network: Network): string | undefined => imagesIn(network).at(-2);

const whyNot = (student: Network, from: string | undefined): string | undefined => {
  const name = from ?? lastButOne(student);
  return name === undefined ? `${student.name} has no activation for an auxiliary head` : whyNoImage(student, name);
};

/**
 * The student with an auxiliary head on an activation, which comes to the size of the last one; to its channels where it has its
 * size.
 */
export const withBranch = (network: Network, from: string): Network => {
  const atFirst = imageAt(network, from);
  const atLast = imageAt(network, imagesIn(network).at(-1) ?? '');
  const doublings = (of: (image: ImageShape) => number): number =>
    atFirst === undefined || atLast === undefined ? 0 : Math.round(Math.log2(of(atLast) / of(atFirst)));
  const halvings = -doublings(sideOf);
  const form: Form = halvings > 0 ? 'halving' : 'flat';
  const count =
    form === 'halving'
      ? halvings
      : Math.max(
          1,
          doublings(({ channels }) => channels),
        );
  return withHeads(network, { [scala]: { from, layers: branch(form, count) } });
};

/** Whether a branch's convolutions halve the sides, as on a ResNet, or keep them, as on a MobileNetV2. */
type Form = 'halving' | 'flat';

/** Depthwise, pointwise, batch norm, ReLU, twice. Weights are begun as in the released nets of either form. */
const separable =
  (form: Form, out: number): Layer =>
  (site) => {
    const channels = channelsAt(site);
    const begun = form === 'halving' ? ({ initial: 'fan-out-normal' } as const) : {};
    const depthwise = (name: string, stride: number): Layer =>
      conv(name, channels, { kernel: 3, stride, padding: 1, groups: channels, ...begun });
    const pointwise = (name: string, to: number): Layer => conv(name, to, { kernel: 1, ...begun });
    return named(
      'op',
      sequential(
        ...[depthwise('0', form === 'halving' ? 2 : 1), pointwise('1', channels), batchNorm('2'), relu],
        ...[depthwise('4', 1), pointwise('5', out), batchNorm('6'), relu],
      ),
    )(site);
  };

const inputOf = ({ input }: layers.LayerContext) => (input.kind === 'image' ? input : { height: 1, width: 1 });

/** A mask in [½, 1) by which the activation is multiplied; images of an odd side that it would halve go without. */
const attention =
  (form: Form): Layer =>
  (site) => {
    const { height, width } = inputOf(site);
    if (form === 'halving' && (height % 2 === 1 || width % 2 === 1)) return sequential()(site);
    const enlarged = form === 'halving' ? [upsampleBilinear] : [];
    const mask = sequential(named('0', separable(form, channelsAt(site))), batchNorm('1'), relu, ...enlarged, sigmoid);
    return named('attention', gated(mask))(site);
  };

/** So many separable convolutions, each of which doubles the channels, and a classifier. */
const branch =
  (form: Form, count: number): Layer =>
  (site) => {
    const convolutions = Array.from({ length: count }, (_, i) =>
      named(`${i}`, separable(form, 2 ** (i + 1) * channelsAt(site))),
    );
    return sequential(attention(form), named('scala', sequential(...convolutions)), globalMean, toClasses('fc'))(site);
  };
