import * as tf from '@tensorflow/tfjs';
import { augment } from '../public/ops.js';
import {
  atLeast,
  choice,
  type DefenseContext,
  defineDefense,
  type Named,
  type Network,
  option,
  optional,
  positive,
  type Variables,
  wholeAtLeast,
  yesOrNo,
} from '../public/plugin.js';
import {
  type BuiltLearner,
  classifier,
  crossEntropy,
  detach,
  dispose,
  inPrecision,
  klDivergence,
  type LabelledBatch,
  normalise,
  type Optimizer,
  soften,
  unpacked,
  unrecorded,
  valueAndGradient,
} from '../public/train.js';
import { surrogateFor, surrogateOf, surrogateOptions } from './surrogate.js';
import { accuracyOf, steppedBy } from './training.js';

/**
 * A teacher that is nasty in its head alone ("Just mildly nasty"): CE − ω τ² KL(σ_τ(p) ‖ σ_τ(p_A)), where the divergence
 * moves the last layer and nothing else.
 *
 * - `half`: trained from random weights, all of it by cross-entropy;
 * - `light`: the undefended teacher, of which the last layer is trained and nothing else; its batch norms still see batches, so that
 *   their running statistics drift, as in the released code.
 *
 * mattkelleher/Nasty-Teacher 7cca6e4 (train_half_nasty.py, train_nasty_light.py). Its `light-deep`, two dense layers of L numbers between them in
 * place of the last one, is not here: with L of at least the number of classes it is the same map otherwise written, and with fewer one of
 * rank L, which costs accuracy. Who holds features or weights refits a linear head.
 *
 * `against: 'student'` is DOGe (2025) for classifiers, as far as it can be had, and ours: `light`, away from a proxy student that was
 * distilled from the undefended teacher, on images that are classified rightly alone (`correctOnly`).
 */
export const mildlyNasty = defineDefense({
  name: 'mildlyNasty',
  source: import.meta.url,
  about: 'A teacher whose last layer alone is made nasty: CE − ω τ² KL(teacher ‖ adversary)',
  paper: 'Just mildly nasty (mattkelleher/Nasty-Teacher); DOGe, 2025 (arXiv 2505.19504)',
  options: {
    part: option(
      choice('light', 'half'),
      'light',
      'The last layer of a finished teacher, or of one that is trained anew',
    ),
    omega: option(atLeast(0), 0.04, 'ω, the weight of the divergence'),
    temperature: option(positive, 4, 'τ, at which both are softened'),
    against: option(
      choice('teacher', 'student'),
      'teacher',
      'The adversary: the undefended teacher, or a proxy student',
    ),
    correctOnly: option(yesOrNo, false, 'The divergence counts where the label is right alone'),
    epochs: optional(wholeAtLeast(1), "Epochs; default: the teacher's recipe's"),
    ...surrogateOptions,
  },
  presets: {
    cifar10: {},
    cifar100: { omega: 0.005, temperature: 20 },
    doge: { against: 'student', correctOnly: true },
  },
  scaled: ({ epochs, surrogateEpochs }, factor) => ({
    epochs: epochs && Math.max(1, Math.round(factor * epochs)),
    surrogateEpochs: surrogateEpochs && Math.max(1, Math.round(factor * surrogateEpochs)),
  }),
  exposes: 'weights',
  make: ({ part, omega, temperature, against, correctOnly, epochs, ...surrogate }) => ({
    protect: async (baseline, context) => {
      const { learner, variables } = baseline;
      const proxy = against === 'student' ? await surrogateOf(surrogate, baseline, context) : undefined;
      const frozen = proxy ?? variables;
      const adversary = proxy === undefined ? learner.network : surrogateFor(surrogate, learner.network);
      const recipe = { ...learner.recipe, epochs: epochs ?? learner.recipe.epochs };
      const nastily = ({ logits, other, labels }: Compared) => {
        const kl = divergence(logits, other, { labels, temperature, correctOnly });
        return {
          crossEntropy: crossEntropy(logits, labels),
          kl,
          weighted: tf.mul<tf.Scalar>(kl, -omega * temperature ** 2),
        };
      };
      try {
        return await context.fit(
          'teacher',
          part === 'light'
            ? classifier({
                learner: { ...learner, recipe: { ...recipe, optimizer: ofHead(recipe.optimizer, learner.network) } },
                data: context.train,
                validation: context.validation,
                frozen,
                start: variables,
                target: ({ frozen, images }) => ({ other: adversary.apply(frozen, images, { mode: 'eval' }).logits }),
                loss: ({ logits, target: { other }, batch: { labels } }) => {
                  const { weighted, ...terms } = nastily({ logits, other, labels });
                  return { loss: tf.add<tf.Scalar>(terms.crossEntropy, weighted), terms };
                },
              })
            : halfNasty({ ...learner, recipe }, { adversary, frozen, nastily, context }),
        );
      } finally {
        if (proxy !== undefined) dispose(proxy);
      }
    },
  }),
});

interface Compared {
  readonly logits: tf.Tensor2D;
  readonly other: tf.Tensor2D;
  readonly labels: tf.Tensor1D;
}

type Nastily = (compared: Compared) => Readonly<Record<'crossEntropy' | 'kl' | 'weighted', tf.Scalar>>;

/** KL(σ_τ(logits) ‖ σ_τ(other)), other held fixed: the batch mean, in which images that are classified wrongly count 0 if so wanted. */
export const divergence = (
  logits: tf.Tensor2D,
  other: tf.Tensor2D,
  {
    labels,
    temperature,
    correctOnly,
  }: { readonly labels: tf.Tensor1D; readonly temperature: number; readonly correctOnly: boolean },
): tf.Scalar => {
  const [p, q] = [soften(logits, temperature), soften(detach(other), temperature)];
  if (!correctOnly) return klDivergence(p, q);
  const right = unrecorded(() => tf.cast(tf.equal(tf.argMax(logits, 1), labels), 'float32'));
  return tf.mean<tf.Scalar>(tf.mul(tf.sum(tf.mul(tf.exp(p), tf.sub(p, q)), 1), right));
};

/** Whether a parameter belongs to a net's last layer. */
const isOfHead = ({ variables }: Network): ((name: string) => boolean) => {
  const params = variables.filter(({ kind }) => kind === 'param').map(({ name }) => name);
  const last = (params.at(-1) as string).replace(/\.[^.]*$/, '.');
  return (name) => name.startsWith(last);
};

/** An optimiser that moves a net's last layer and leaves all else where it is. */
const ofHead = (optimizer: Optimizer, network: Network): Optimizer => {
  const isMoved = isOfHead(network);
  const part = (named: Named): Named => Object.fromEntries(Object.entries(named).filter(([name]) => isMoved(name)));
  return {
    ...optimizer,
    init: (params) => optimizer.init(part(params)),
    update: (gradients, state, params, learningRate) => {
      const { params: moved, state: next } = optimizer.update(part(gradients), state, part(params), learningRate);
      return { params: { ...params, ...moved }, state: next };
    },
  };
};

/** The fit of a teacher that is trained anew by cross-entropy, and whose last layer alone the divergence moves. */
const halfNasty = (
  learner: BuiltLearner,
  {
    adversary,
    frozen,
    nastily,
    context: { train, validation },
  }: {
    readonly adversary: Network;
    readonly frozen: Variables;
    readonly nastily: Nastily;
    readonly context: Pick<DefenseContext, 'train' | 'validation'>;
  },
) => {
  const { network, recipe } = learner;
  const isMoved = isOfHead(network);
  const spec = classifier<Variables>({
    learner,
    data: train,
    validation,
    frozen,
    guardChance: true,
    loss: ({ logits, batch: { labels } }) => ({ loss: crossEntropy(logits, labels) }),
  });
  const step: typeof spec.step = ({ data, frozen }, before, raw, { learningRate, seed }) => {
    const { variables } = before;
    const { images, labels, mirrored } = unpacked<LabelledBatch>(data, raw);
    const seen = normalise(augment(images, train.augmentation, seed, mirrored), train.normalisation);
    const other = adversary.apply(frozen, seen, { mode: 'eval' }).logits;
    /** Of the same forward pass, the gradient of one of its terms. */
    const by = (term: 'crossEntropy' | 'weighted') =>
      valueAndGradient((params) => {
        const { logits, stats } = network.apply({ params, stats: variables.stats }, seen, { mode: 'train' });
        const { weighted, ...terms } = nastily({ logits, other, labels });
        const loss = { ...terms, weighted }[term];
        const accuracy = accuracyOf(logits, labels);
        return { loss, aux: { stats, weighted, metrics: { ...terms, accuracy } } };
      }, variables.params);
    const both = () => [by('crossEntropy'), by('weighted')] as const;
    const [hard, nasty] = inPrecision(recipe, both);
    const gradients = Object.fromEntries(
      Object.entries(hard.gradients).map(([name, each]) => [
        name,
        isMoved(name) ? tf.add(each, nasty.gradients[name] as tf.Tensor) : each,
      ]),
    );
    const { stats } = hard.aux;
    return {
      state: steppedBy(recipe, { train }, before, { gradients, stats }, learningRate),
      metrics: { loss: tf.add(hard.loss, hard.aux.weighted), ...hard.aux.metrics },
    };
  };
  return { ...spec, step };
};
