import * as tf from '@tensorflow/tfjs';
import { anotherSeed, augment } from '../public/ops.js';
import {
  anyNetwork,
  atLeast,
  between,
  type DefenseContext,
  defineDefense,
  type Network,
  option,
  optional,
  positive,
  type Teacher,
  type Variables,
  v,
  wholeAtLeast,
  yesOrNo,
} from '../public/plugin.js';
import {
  type BuiltLearner,
  type ClassifierState,
  classifier,
  clipByGlobalNorm,
  clone,
  crossEntropy,
  detach,
  dispose,
  distillation,
  type FitSpec,
  initialState,
  inPrecision,
  klDivergence,
  type LabelledBatch,
  normalise,
  normalisePixels,
  type RawBatch,
  type Resident,
  soften,
  stepped,
  unpacked,
  unrecorded,
  valueAndGradient,
} from '../public/train.js';
import { surrogateFor, surrogateOptions } from './surrogate.js';
import { accuracyOf, steppedBy } from './training.js';

const anyMembers = v.pipe(
  v.array(
    v.strictObject({
      network: v.optional(anyNetwork),
      lambda: atLeast(0),
      temperature: positive,
      alpha: between(0, 1),
    }),
  ),
  v.minLength(1),
  v.title('a list of nets, such as [{ network: plainCnn(), lambda: 0.05, temperature: 4, alpha: 0.9 }]'),
);

type Member = v.InferOutput<typeof anyMembers>[number];

/** As released, for ResNet-18, MobileNetV2 and DenseNet-121. */
const [first, second, third] = [
  { lambda: 0.001, temperature: 6, alpha: 0.3 },
  { lambda: 0.05, temperature: 4, alpha: 0.9 },
  { lambda: 0.01, temperature: 2, alpha: 0.3 },
] as const;

/**
 * MISLEADER (2025): in the teacher's place an ensemble answers, the mean of several nets' probabilities. Each net d is distilled from the
 * teacher t, and learns not to be copied by an attacker's net s, which learns from it in turn:
 *
 *   α τ² KL(t ‖ d) + (1 − α) CE − λ KL(d ‖ s) of strongly augmented images,
 *
 * d's probabilities in the last term being at least 10⁻⁷, and s held fixed. A step of s sums the gradients of several passes and clips
 * them to a norm. Nothing of the teacher's own answer is told, and the label may be another.
 *
 * LabRAI/misleader 03f09ba (Defense/train_defense.py), for CIFAR-10, whose nets are ResNet-18, MobileNetV2 and DenseNet-121. Here they are the
 * teacher's own kind unless `members` names others: `{ network: mobileNetV2(), lambda: 0.05, temperature: 4, alpha: 0.9 }`; DenseNet is
 * not built in. Its evaluation feeds probabilities to a log-softmax, so that thieves learn from p and a constant; what it says to gain
 * is confounded by that. Ours, for want of a source: which augmentation is strong (turned, moved, mirrored), drawn anew for each pass; s minimises
 * KL(d ‖ s), d held fixed; that divergence is at temperature 1 and a batch mean in both losses; s takes its step first and both go by the
 * teacher's recipe; who is looked at is in evaluation mode; nets and thieves begin at random.
 *
 * With five passes a net costs about nine trainings, and three nets three times that.
 */
export const misleader = defineDefense({
  name: 'misleader',
  source: import.meta.url,
  about:
    'An ensemble in the place of the teacher: nets distilled from it that each learn not to be copied by an attacker, for about nine trainings a net',
  paper: 'MISLEADER, 2025 (arXiv 2506.02362); settings of its released code',
  options: {
    members: option(
      anyMembers,
      [first, second, third],
      "The nets that answer, with λ, τ and α; without a network, of the teacher's kind",
    ),
    passes: option(wholeAtLeast(1), 5, "Passes of the attacker's net whose gradients make a step"),
    clipNorm: option(positive, 5, 'Their global norm at most'),
    rotate: option(between(0, 180), 15, "Degrees by which an attacker's images are turned at most"),
    crop: option(wholeAtLeast(0), 4, '… and pixels by which they are moved'),
    flip: option(yesOrNo, true, '… and whether they are mirrored'),
    epochs: optional(wholeAtLeast(1), "Epochs of each net; default: the teacher's recipe's"),
    surrogate: surrogateOptions.surrogate,
  },
  presets: {
    cifar10: {},
    mnistSmall: { members: [first, second], passes: 2, flip: false },
  },
  scaled: ({ epochs }, factor) => ({ epochs: epochs && Math.max(1, Math.round(factor * epochs)) }),
  exposes: 'probabilities',
  make: ({ members, epochs, surrogate, ...asking }) => ({
    prepare: async (teacher, { fit, train }) => {
      const { network, recipe } = teacher.learner;
      const attacker = surrogateFor({ surrogate }, network);
      const nets: Variables[] = [];
      try {
        for (const [i, member] of members.entries()) {
          const learner = { network: netOf(member, network), recipe: { ...recipe, epochs: epochs ?? recipe.epochs } };
          const spec = alternating(learner, { member, teacher, attacker, train, ...asking });
          nets.push((await fit(`net${i + 1}`, spec)).last);
        }
        return { nets };
      } catch (error) {
        dispose(nets);
        throw error;
      }
    },
    answers: {
      kind: 'pure',
      slow: true,
      asksAnew: true,
      answer: ({ images, prepared, victim: { network, normalisation } }) => {
        const { nets } = prepared as { readonly nets: readonly Variables[] };
        const seen = normalisePixels(images, normalisation);
        const told = nets.map((variables, i) => says(netOf(members[i] as Member, network), variables, seen));
        return { logProbabilities: averaged(told) };
      },
    },
  }),
});

/** A member's network, for a teacher's images and classes. */
const netOf = (member: Member, teacher: Network): Network => surrogateFor({ surrogate: member.network }, teacher);

const says = (network: Network, variables: Variables, images: tf.Tensor4D): tf.Tensor2D =>
  network.apply(variables, images, { mode: 'eval' }).logits;

/** ln of the mean of several nets' probabilities; logits [batch, classes] each. */
export const averaged = (logits: readonly tf.Tensor2D[]): tf.Tensor2D => {
  const sum = logits.map((each) => tf.softmax<tf.Tensor2D>(each)).reduce((a, b) => tf.add<tf.Tensor2D>(a, b));
  return tf.log(tf.div<tf.Tensor2D>(sum, logits.length));
};

/** KL(d ‖ s), d's probabilities at least 10⁻⁷: the batch mean; logits [batch, classes]. Gradients flow to both. */
export const klToAttacker = (logits: tf.Tensor2D, attacker: tf.Tensor2D): tf.Scalar =>
  klDivergence(tf.maximum(soften(logits, 1), Math.log(1e-7)), soften(attacker, 1));

/** α τ² KL(t ‖ d) + (1 − α) CE of images − λ KL(d ‖ s) of strange ones; all but labels logits [batch, classes], t and s held fixed. */
export const misleading = (
  {
    logits,
    teacher,
    labels,
    strange,
    attacker,
  }: {
    readonly logits: tf.Tensor2D;
    readonly teacher: tf.Tensor2D;
    readonly labels: tf.Tensor1D;
    /** d's, of the images that an attacker asks about. */
    readonly strange: tf.Tensor2D;
    /** s's, of the same. */
    readonly attacker: tf.Tensor2D;
  },
  { lambda, temperature, alpha }: Pick<Member, 'lambda' | 'temperature' | 'alpha'>,
) => {
  const learnt = distillation({ logits, teacher, labels, temperature, alpha });
  const terms = { ...learnt.terms, klToAttacker: klToAttacker(strange, detach(attacker)) };
  return { loss: tf.sub<tf.Scalar>(learnt.loss, tf.mul(terms.klToAttacker, lambda)), terms };
};

/** What an attacker's net learns of what it is told of several batches: its gradients, summed, and its mean loss. */
const stealing = (
  attacker: Network,
  { params, stats: before }: Variables,
  heard: readonly { readonly images: tf.Tensor4D; readonly told: tf.Tensor2D }[],
) => {
  let stats = before;
  const passes = heard.map(({ images, told }) => {
    const pass = valueAndGradient((params) => {
      const output = attacker.apply({ params, stats }, images, { mode: 'train' });
      return { loss: klToAttacker(told, output.logits), aux: { stats: output.stats } };
    }, params);
    stats = pass.aux.stats;
    return pass;
  });
  const summed = (each: (pass: (typeof passes)[number]) => tf.Tensor) =>
    passes.map(each).reduce((sum, one) => tf.add(sum, one));
  return {
    stats,
    loss: tf.div(
      summed(({ loss }) => loss),
      passes.length,
    ),
    gradients: Object.fromEntries(
      Object.keys(params).map((name) => [name, summed(({ gradients }) => gradients[name] as tf.Tensor)]),
    ),
  };
};

/** A net that answers, and its attacker's. */
type Alternating = { readonly own: ClassifierState; readonly attacker: ClassifierState };

/** The fit of a net that answers: in each step its attacker learns from it, and then it from the teacher and against its attacker. */
const alternating = (
  learner: BuiltLearner,
  {
    member,
    teacher,
    attacker,
    train,
    passes,
    clipNorm,
    ...strongly
  }: {
    readonly member: Member;
    readonly teacher: Teacher;
    readonly attacker: Network;
    readonly train: DefenseContext['train'];
    readonly passes: number;
    readonly clipNorm: number;
    readonly rotate: number;
    readonly crop: number;
    readonly flip: boolean;
  },
): FitSpec<Variables, Alternating, RawBatch, Variables, Resident> => {
  const { network, recipe } = learner;
  const teaches = (variables: Variables, images: tf.Tensor4D) => says(teacher.learner.network, variables, images);
  // As a plain classifier's, all but the step.
  const { init, source, epochs, schedule, stopAtChance } = classifier({
    learner,
    data: train,
    guardChance: true,
    loss: ({ logits, batch: { labels } }) => ({ loss: crossEntropy(logits, labels) }),
  });
  return {
    ...{ source, epochs, schedule, stopAtChance },
    frozen: teacher.variables,
    init: (key) => ({
      own: init(key),
      attacker: initialState({ optimizer: recipe.optimizer }, attacker.init(key.split('thief'))),
    }),
    keep: ({ own }) => own.variables,
    step: ({ data, frozen }, { own, attacker: attackerState }, raw, { learningRate, seed }) => {
      const { images: pictures, labels, mirrored } = unpacked<LabelledBatch>(data, raw);
      const images = normalise(augment(pictures, train.augmentation, seed, mirrored), train.normalisation);
      const [strange, ...asked] = Array.from({ length: passes + 1 }, (_, i) =>
        normalise(augment(pictures, strongly, anotherSeed(seed, i + 1)), train.normalisation),
      ) as [tf.Tensor4D, ...tf.Tensor4D[]];
      const stolen = inPrecision(recipe, () =>
        stealing(
          attacker,
          attackerState.variables,
          asked.map((each) => ({ images: each, told: says(network, own.variables, each) })),
        ),
      );
      const { params } = attackerState.variables;
      const { updates } = clipByGlobalNorm(clipNorm).update(stolen.gradients, undefined, { params, learningRate });
      const after = stepped(recipe.optimizer, attackerState, { gradients: updates, stats: stolen.stats }, learningRate);
      const differentiated = () => {
        const fixed = { teacher: teaches(frozen, images), attacker: says(attacker, after.variables, strange), labels };
        return valueAndGradient((params) => {
          const { logits, stats } = network.apply({ params, stats: own.variables.stats }, images, { mode: 'train' });
          // The running statistics go from pass to pass, and no gradient with them.
          const moved = unrecorded(() => clone(stats));
          const other = network.apply({ params, stats: moved }, strange, { mode: 'train' });
          const { loss, terms } = misleading({ ...fixed, logits, strange: other.logits }, member);
          return { loss, aux: { stats: other.stats, terms: { ...terms, accuracy: accuracyOf(logits, labels) } } };
        }, own.variables.params);
      };
      const { loss, gradients, aux } = inPrecision(recipe, differentiated);
      return {
        state: {
          own: steppedBy(recipe, { train }, own, { gradients, stats: aux.stats }, learningRate),
          attacker: after,
        },
        metrics: { loss, attacker: stolen.loss, ...aux.terms },
      };
    },
  };
};
