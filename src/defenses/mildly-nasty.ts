import * as tf from '@tensorflow/tfjs';
import { augment } from '../public/ops.js';
import {
  atLeast,
  choice,
  type DefenseContext,
  defineDefense,
  FailureError,
  failure,
  type Key,
  type Named,
  type Network,
  type Output,
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
  clone,
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
import { scaledSurrogate, surrogateFor, surrogateOf, surrogateOptions } from './surrogate.js';
import { accuracyOf, steppedBy } from './training.js';

/**
 * A teacher that is nasty in its head alone ("Just mildly nasty"): CE − ω τ² KL(σ_τ(p) ‖ σ_τ(p_A)), where the divergence
 * moves the last layer and nothing else.
 *
 * - `half`: trained from random weights, all of it by cross-entropy;
 * - `light`: the undefended teacher, of which the last layer is trained and nothing else; its batch norms still see batches, so that
 *   their running statistics drift, as in the released code;
 * - `deep`: as `light`, the last layer being replaced by two without anything between them, of L numbers (`width`; default: as many as
 *   there are classes): its matrix is of rank L at most, so that fewer than the classes cost accuracy, and more are but another way to train it.
 *   Afterwards the two are multiplied, and the teacher has its own layers again.
 *
 * mattkelleher/Nasty-Teacher 7cca6e4 (train_half_nasty.py, train_nasty_light.py), where L is 50 or 100 too. Who holds features or weights refits a linear head.
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
      choice('light', 'deep', 'half'),
      'light',
      'The last layer of a finished teacher, two in its place, or the last one of a teacher that is trained anew',
    ),
    omega: option(atLeast(0), 0.04, 'ω, the weight of the divergence'),
    temperature: option(positive, 4, 'τ, at which both are softened'),
    against: option(
      choice('teacher', 'student'),
      'teacher',
      'The adversary: the undefended teacher, or a proxy student',
    ),
    width: optional(
      wholeAtLeast(1),
      'L, numbers between the two layers of `deep`; default: as many as there are classes',
    ),
    correctOnly: option(yesOrNo, false, 'The divergence counts where the label is right alone'),
    epochs: optional(wholeAtLeast(1), "Epochs; default: the teacher's recipe's"),
    ...surrogateOptions,
  },
  presets: {
    cifar10: {},
    cifar100: { omega: 0.005, temperature: 20 },
    doge: { against: 'student', correctOnly: true },
    mnistSmall: { epochs: 2, surrogateEpochs: 2 },
  },
  scaled: ({ epochs, surrogateEpochs }, factor) => ({
    epochs: epochs && Math.max(1, Math.round(factor * epochs)),
    ...scaledSurrogate({ surrogateEpochs }, factor),
  }),
  exposes: 'weights',
  make: ({ part, omega, temperature, against, width, correctOnly, epochs, ...surrogate }) => ({
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
      /** The fit of a finished teacher whose head alone moves. */
      const light = (network: Network, start: Variables) =>
        classifier({
          learner: { network, recipe: { ...recipe, optimizer: ofHead(recipe.optimizer, learner.network) } },
          data: context.train,
          validation: context.validation,
          frozen,
          start,
          target: ({ frozen, images }) => ({ other: adversary.apply(frozen, images, { mode: 'eval' }).logits }),
          loss: ({ logits, target: { other }, batch: { labels } }) => {
            const { weighted, ...terms } = nastily({ logits, other, labels });
            return { loss: tf.add<tf.Scalar>(terms.crossEntropy, weighted), terms };
          },
        });
      try {
        if (part === 'half')
          return await context.fit(
            'teacher',
            halfNasty({ ...learner, recipe }, { adversary, frozen, nastily, context }),
          );
        if (part === 'light') return await context.fit('teacher', light(learner.network, variables));
        const { network, begin, joined } = deepHead(learner.network, width ?? learner.network.classes);
        const start = begin(variables, context.key.split('head'));
        try {
          const { last, best, ...log } = await context.fit('teacher', light(network, start));
          const whole = (of: Variables): Variables => tf.tidy(() => clone(joined(of)));
          const made = {
            ...log,
            last: whole(last),
            ...(best === undefined ? {} : { best: { ...best, kept: whole(best.kept) } }),
          };
          dispose([last, ...(best === undefined ? [] : [best.kept])]);
          return made;
        } finally {
          dispose(start);
        }
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

/**
 * A net whose last layer is the product of two, W = A B and b = a B + c: `begin` takes all else of the net's variables, and uniform numbers for the
 * two, as PyTorch has them; `joined` gives back variables of the net itself, some of them the same tensors.
 */
export const deepHead = (network: Network, width: number) => {
  const isOld = isOfHead(network);
  const [weight, bias] = network.variables.filter(({ name, kind }) => kind === 'param' && isOld(name));
  if (weight?.shape.length !== 2 || bias?.shape.length !== 1)
    throw new FailureError(
      failure('experiment', `${network.name} does not end in a dense layer with a bias`, {
        where: 'mildlyNasty: part',
        remedy: "Choose another network, or part: 'light'.",
      }),
    );
  const [inputs, outputs] = weight.shape as [number, number];
  const name = weight.name.replace(/\.[^.]*$/, '');
  const dense = (layer: string, from: number, to: number) => [
    { ...weight, name: `${name}.${layer}.weight`, shape: [from, to] },
    { ...bias, name: `${name}.${layer}.bias`, shape: [to] },
  ];
  const own = [...dense('first', inputs, width), ...dense('second', width, outputs)];
  const at = (params: Named, place: number) => params[own[place]?.name as string] as tf.Tensor2D;
  const joined = ({ params, stats }: Variables): Variables => ({
    params: {
      ...Object.fromEntries(Object.entries(params).filter(([each]) => !isOld(each))),
      [weight.name]: tf.matMul(at(params, 0), at(params, 2)),
      [bias.name]: tf.add(
        tf.squeeze(tf.matMul(tf.expandDims(at(params, 1), 0) as tf.Tensor2D, at(params, 2)), [0]),
        at(params, 3),
      ),
    },
    stats,
  });
  const begin = ({ params, stats }: Variables, key: Key): Variables => ({
    params: {
      ...clone(Object.fromEntries(Object.entries(params).filter(([each]) => !isOld(each)))),
      ...Object.fromEntries(
        own.map(({ name: each, shape }, i) => {
          const limit = 1 / Math.sqrt(i < 2 ? inputs : width);
          const next = key.split(each).uniform();
          const count = shape.reduce((product, size) => product * size, 1);
          return [
            each,
            tf.tensor(
              Float32Array.from({ length: count }, () => limit * (2 * next() - 1)),
              shape,
            ),
          ];
        }),
      ),
    },
    stats: clone(stats),
  });
  const deep: Network = {
    ...network,
    variables: [...network.variables.filter(({ name: each }) => !isOld(each)), ...own],
    init: (key, images) => {
      const fresh = network.init(key, images);
      const begun = begin(fresh, key.split('head'));
      dispose(fresh);
      return begun;
    },
    apply: (values, images, options) =>
      tf.tidy(() => network.apply(joined(values), images, options) as never) as unknown as Output,
  };
  return { network: deep, begin, joined };
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
