import * as tf from '@tensorflow/tfjs';
import { anotherSeed, rows, standardUniform } from '../public/ops.js';
import {
  anyDataset,
  anyNetwork,
  atLeast,
  type DefenseContext,
  defineDefense,
  type Named,
  type Network,
  option,
  optional,
  required,
  type Variables,
  yesOrNo,
} from '../public/plugin.js';
import {
  type BuiltLearner,
  crossEntropy,
  dispose,
  inPrecision,
  klDivergence,
  soften,
  valueAndGradient,
} from '../public/train.js';
import { slopeAlong, surrogateFor } from './surrogate.js';
import { accuracyOf, seenOf, splitBy, steppedBy, taughtBy } from './training.js';

interface Weights {
  readonly gamma: number;
  readonly delta: number;
  readonly epsilon: number;
}

/**
 * Isolation and induction (InI, Guo et al., 2023): a teacher whose answers turn the gradient of an attacker. With S a net of random weights that
 * stands for the attacker's, g₁ the gradient by its weights of KL(S(x) ‖ V(x)), g₂ that of CE(S(x), y) and g₃ as g₁ of outliers, V is
 * trained by
 *
 *   CE(V(x), y) + δ cos(g₁, g₂) + γ mean |S(o) − (ln V(o) − mean ln V(o))| + e mean |g₃|,
 *
 * o outliers, g₂ and S(o), its logits, held fixed: what V answers about its own images leads S away from the labels, and of others S learns
 * nothing. The gradients of the four are combined by PCGrad: each loses what points against another's, in an order at random, and
 * their mean is taken.
 *
 * sharinka0715/InI-Model-Stealing-Defense 404a2a7 (src/defenses/ini), for CIFAR-10, with Tiny-ImageNet for outliers. S is random there too, in
 * evaluation mode: its training is commented out. A fifth term has weight 0 and is left out. Its second derivatives are here the derivatives of
 * S's probabilities along a direction, by two forward passes of shifted weights: V's gradient is that of −Σ_k d_k ln V(x)_k with these as d.
 * The order of PCGrad, which has no seed there, is drawn from the step's. Ours: V is passed its images and outliers as one batch.
 */
export const ini = defineDefense({
  name: 'ini',
  source: import.meta.url,
  about: "A retrained teacher whose answers turn an attacker's gradient, and teach nothing of other images",
  paper:
    'Guo et al., Isolation and induction: Training robust deep neural networks against model stealing attacks, 2023',
  options: {
    outliers: required(anyDataset, 'Images that an attacker may ask about; Tiny-ImageNet for CIFAR-10 as released'),
    gamma: option(atLeast(0), 0.3, "γ, the weight of a random net's answers to outliers"),
    delta: option(atLeast(0), 1, "δ, the weight of the angle between an attacker's gradient and the right one"),
    epsilon: option(atLeast(0), 1000, "e, the weight of an attacker's gradient of outliers"),
    projected: option(yesOrNo, true, 'Whether gradients are combined by PCGrad; else they are added'),
    surrogate: optional(
      anyNetwork,
      "The net, of random weights, that stands for the attacker's; default: the teacher's own",
    ),
  },
  exposes: 'weights',
  make: ({ outliers, projected, surrogate, ...weights }) => ({
    outliers,
    protect: async ({ learner }, context) => {
      const attacker = surrogateFor({ surrogate }, learner.network);
      const frozen = attacker.init(context.key.split('surrogate'));
      try {
        return await context.fit('teacher', induced(learner, context, { attacker, frozen, projected, weights }));
      } finally {
        dispose(frozen);
      }
    },
  }),
});

/** The fit of a teacher by four losses, the gradients of which are combined. */
const induced = (
  learner: BuiltLearner,
  context: DefenseContext,
  {
    attacker,
    frozen,
    projected,
    weights,
  }: {
    readonly attacker: Network;
    readonly frozen: Variables;
    readonly projected: boolean;
    readonly weights: Weights;
  },
) => {
  const { network, recipe } = learner;
  const { train } = context;
  const spec = taughtBy(learner, context, frozen, ({ pass, images, labels }) => ({
    loss: crossEntropy(pass(images).logits, labels),
  }));
  const step: typeof spec.step = ({ data, frozen }, before, batch, { learningRate, seed }) => {
    const { params, stats } = before.variables;
    const seen = seenOf(context, data, batch, seed);
    const { images, labels } = seen;
    const strange = seen.outliers as tf.Tensor4D;
    const computed = () => {
      // In one pass, as `passTogether` has it.
      const both = tf.concat([images, strange]);
      const pass = (params: Named) => {
        const { logits, stats: moved } = network.apply({ params, stats }, both, { mode: 'train' });
        const [own, other] = splitBy([images, strange], logits);
        return { own, other, moved };
      };
      const { own, other, moved } = pass(params);
      const led = leading(attacker, frozen, images, { told: own, labels });
      const drawn = drawing(attacker, frozen, strange, other);
      const copied = attacker.apply(frozen, strange, { mode: 'eval' }).logits;
      const by = (loss: (logits: Readonly<Record<'own' | 'other', tf.Tensor2D>>) => tf.Scalar) =>
        valueAndGradient((params) => ({ loss: loss(pass(params)), aux: {} }), params);
      const hard = by(({ own }) => crossEntropy(own, labels));
      const turned = by(({ own }) => tf.mul(linear(own, led.slope), weights.delta));
      const isolated = by(({ other }) => tf.mul(isolation(other, copied), weights.gamma));
      const silent = by(({ other }) => tf.mul(linear(other, drawn.slope), weights.epsilon));
      const all = [hard, turned, isolated, silent].map(({ gradients }) => gradients);
      const shares = projected
        ? projections(gramOf(all), standardUniform([4, 4], anotherSeed(seed, 1)) as tf.Tensor2D)
        : tf.ones([4]);
      const terms = {
        crossEntropy: hard.loss,
        cosine: led.cosine,
        isolation: isolation(other, copied),
        attackerGradient: drawn.size,
      };
      const loss = tf.addN([
        terms.crossEntropy,
        tf.mul(terms.cosine, weights.delta),
        tf.mul(terms.isolation, weights.gamma),
        tf.mul(terms.attackerGradient, weights.epsilon),
      ]);
      const accuracy = accuracyOf(own, labels);
      return { gradients: summed(all, shares), stats: moved, metrics: { loss, ...terms, accuracy } };
    };
    const { metrics, ...update } = inPrecision(recipe, computed);
    return { state: steppedBy(recipe, { train }, before, update, learningRate), metrics };
  };
  return { ...spec, step };
};

/** −Σ_k d_k ln softmax(z)_k, the batch mean: the loss whose gradient by z is that of a function of S's gradient. [batch, classes] */
export const linear = (logits: tf.Tensor2D, d: tf.Tensor2D): tf.Scalar =>
  tf.neg(tf.mean<tf.Scalar>(tf.sum(tf.mul(d, soften(logits, 1)), 1)));

/** mean |S − (ln V − mean ln V)|, V's softmax; logits [batch, classes]. */
export const isolation = (logits: tf.Tensor2D, copied: tf.Tensor2D): tf.Scalar =>
  tf.mean<tf.Scalar>(tf.abs(tf.sub(copied, tf.sub(logits, tf.mean(logits, 1, true)))));

/** The gradient of KL(S(x) ‖ V(x)) by S's weights, V held fixed. */
const attackerGradient = (
  attacker: Network,
  { params, stats }: Variables,
  images: tf.Tensor4D,
  told: tf.Tensor2D,
): Named =>
  valueAndGradient((params) => {
    const { logits } = attacker.apply({ params, stats }, images, { mode: 'eval' });
    return { loss: klDivergence(soften(logits, 1), soften(told, 1)), aux: {} };
  }, params).gradients;

/** cos(g₁, g₂), and the derivative of S's probabilities along ∂ cos / ∂ g₁. */
export const leading = (
  attacker: Network,
  variables: Variables,
  images: tf.Tensor4D,
  { told, labels }: { readonly told: tf.Tensor2D; readonly labels: tf.Tensor1D },
): { readonly cosine: tf.Scalar; readonly slope: tf.Tensor2D } => {
  const first = attackerGradient(attacker, variables, images, told);
  const second = valueAndGradient((params) => {
    const { logits } = attacker.apply({ params, stats: variables.stats }, images, { mode: 'eval' });
    return { loss: crossEntropy(logits, labels), aux: {} };
  }, variables.params).gradients;
  const { cosine, gradient } = angle(first, second);
  return { cosine, slope: along(attacker, variables, images, gradient) };
};

/** mean |g₃|, and the derivative of S's probabilities along its gradient, sign(g₃) / n. */
export const drawing = (
  attacker: Network,
  variables: Variables,
  images: tf.Tensor4D,
  told: tf.Tensor2D,
): { readonly size: tf.Scalar; readonly slope: tf.Tensor2D } => {
  const gradient = Object.entries(attackerGradient(attacker, variables, images, told));
  const count = gradient.reduce((sum, [, { size }]) => sum + size, 0);
  const size = tf.div<tf.Scalar>(tf.addN(gradient.map(([, each]) => tf.sum(tf.abs(each)))), count);
  const direction = Object.fromEntries(gradient.map(([name, each]) => [name, tf.div(tf.sign(each), count)]));
  return { size, slope: along(attacker, variables, images, direction) };
};

/** The cosine of two gradients, and its gradient by the first: b / (|a| |b|) − cos a / |a|². */
export const angle = (a: Named, b: Named): { readonly cosine: tf.Scalar; readonly gradient: Named } => {
  const [first, second] = [a, b].map((each) => tf.maximum(tf.sqrt(dot(each, each)), 1e-12)) as [tf.Scalar, tf.Scalar];
  const both = tf.mul(first, second);
  const cosine = tf.div<tf.Scalar>(dot(a, b), both);
  const gradient = Object.fromEntries(
    Object.entries(a).map(([name, each]) => [
      name,
      tf.sub(tf.div(b[name] as tf.Tensor, both), tf.mul(each, tf.div(cosine, tf.square(first)))),
    ]),
  );
  return { cosine, gradient };
};

const dot = (a: Named, b: Named): tf.Scalar =>
  tf.addN(Object.entries(a).map(([name, each]) => tf.sum(tf.mul(each, b[name] as tf.Tensor)))) as tf.Scalar;

/** The derivative of a net's probabilities along a direction in its weights, [batch, classes]. */
const along = (attacker: Network, { params, stats }: Variables, images: tf.Tensor4D, direction: Named): tf.Tensor2D => {
  const says = (of: Named) => tf.softmax(attacker.apply({ params: of, stats }, images, { mode: 'eval' }).logits);
  return slopeAlong(says, params, direction);
};

/** The products of gradients with each other, [n, n]. */
const gramOf = (all: readonly Named[]): tf.Tensor2D =>
  tf.stack(all.map((a) => tf.stack(all.map((b) => dot(a, b))))) as tf.Tensor2D;

/**
 * PCGrad: how much of each gradient is in the mean of all after each lost, one after the other, what points against another, that one being as
 * it came. [n]
 *
 * @param gram the gradients' products with each other, [n, n]
 * @param drawn numbers in the order of which, from the largest, the others come: a row for each gradient, [n, n]
 */
export const projections = (gram: tf.Tensor2D, drawn: tf.Tensor2D): tf.Tensor1D => {
  const [n] = gram.shape;
  const { indices } = tf.topk(drawn, n);
  const each = Array.from({ length: n }, (_, i) => {
    const own = tf.oneHot(tf.tensor1d([i], 'int32'), n, 1, 0, 'float32');
    return Array.from({ length: n }).reduce<tf.Tensor>((shares, _, place) => {
      const at = tf.reshape(tf.slice(indices, [i, place], [1, 1]), [1]) as tf.Tensor1D;
      const other = tf.oneHot(at, n, 1, 0, 'float32');
      const products = rows(gram, at);
      const product = tf.sum(tf.mul(shares, products));
      const square = tf.maximum(tf.sum(tf.mul(products, other)), 1e-30);
      const against = tf.mul(tf.minimum(product, 0), tf.sub(1, tf.sum(tf.mul(own, other))));
      return tf.sub(shares, tf.mul(other, tf.div(against, square)));
    }, own);
  });
  return tf.mean(tf.concat(each, 0), 0);
};

/** Gradients times their shares, added. */
const summed = (all: readonly Named[], shares: tf.Tensor): Named => {
  const parts = tf.unstack(shares);
  return Object.fromEntries(
    Object.keys(all[0] as Named).map((name) => [
      name,
      tf.addN(all.map((each, i) => tf.mul(each[name] as tf.Tensor, parts[i] as tf.Tensor))),
    ]),
  );
};
