import * as tf from '@tensorflow/tfjs';
import * as v from 'valibot';
import { atLeast, belowOne, positive, yesOrNo } from '../core/check.js';
import { FailureError, failure } from '../core/errors.js';
import { instrumented } from '../core/instrumented.js';
import { type Options, option, optional } from '../core/options.js';
import { type Argument, define, type Maker, type PluginSpec, pluginOption } from '../core/plugin.js';
import { isLike } from '../core/text.js';
import * as tree from '../core/tree.js';
import * as ops from '../engine/ops.js';
import type { Named } from '../models/network.js';

/**
 * Optimisers after optax's manner: pure functions of trees, each a chain of small transforms of the gradients, with
 * PyTorch's arithmetic. State is data: it is checkpointed with the weights and copied like them.
 */

/** State by the transform's name; a transform without state is absent. */
export type OptimizerState = { readonly [transform: string]: tree.Tree };

/** Plain JSON, for a stage's identity. */
export type Settings = Readonly<Record<string, unknown>>;

/** How gradients change weights: pure functions of tensors. */
export interface Optimizer<State extends tree.Tree = OptimizerState> {
  readonly name: string;
  readonly params: Settings;
  /** Its module's `import.meta.url`, so that what an older version trained is not reused. */
  readonly source: string;
  /** The state before the first step: tensors of the caller's. */
  init(params: Named): State;
  /**
   * One step. Gradients, parameters and results have the same names and shapes; results belong to the enclosing
   * `tf.tidy`, and nothing given is disposed of.
   *
   * @param learningRate η, a tensor so that a traced step takes it as an input
   */
  update(
    gradients: Named,
    state: State,
    params: Named,
    learningRate: tf.Scalar,
  ): { readonly params: Named; readonly state: State };
}

/** What a transform may look at besides the updates. */
export interface TransformContext {
  readonly params: Named;
  readonly learningRate: tf.Scalar;
}

/** A pure function of updates (gradients, at the start of a chain), with a state of its own or none. */
export interface Transform {
  readonly name: string;
  /** Undefined for a transform without state. */
  init?(params: Named): tree.Tree;
  update(
    updates: Named,
    state: tree.Tree | undefined,
    context: TransformContext,
  ): { readonly updates: Named; readonly state?: tree.Tree };
}

/** Transforms one after the other; their names must differ. */
export const chain = (
  ...transforms: readonly Transform[]
): {
  init(params: Named): OptimizerState;
  update(
    updates: Named,
    state: OptimizerState,
    context: TransformContext,
  ): { readonly updates: Named; readonly state: OptimizerState };
} => {
  const names = transforms.map(({ name }) => name);
  tf.util.assert(new Set(names).size === names.length, () => `transforms of one name in a chain: ${names.join(', ')}`);
  return {
    init: (params) =>
      Object.fromEntries(
        transforms.flatMap(({ name, init }) => (init === undefined ? [] : [[name, init(params)] as const])),
      ),
    update: (gradients, before, context) => {
      let updates = gradients;
      const state: Record<string, tree.Tree> = {};
      for (const transform of transforms) {
        const next = transform.update(updates, before[transform.name], context);
        updates = next.updates;
        if (next.state !== undefined) state[transform.name] = next.state;
      }
      return { updates, state };
    },
  };
};

/** An optimiser but for what it declares. */
type Body = Omit<Optimizer, 'name' | 'params' | 'source'>;

/** Every step of an optimiser, for those who count them. */
export const updates = instrumented<Optimizer['update'], Optimizer>();

/**
 * An optimiser declared once: its options, and how it changes weights.
 *
 * ```ts
 * export const signs = defineOptimizer({
 *   name: 'signs',
 *   source: import.meta.url,
 *   about: 'A step of η against the sign of each gradient',
 *   make: () => descent({ name: 'sign', update: (updates) => ({ updates: … }) }, scaleByLearningRate()),
 * });
 * signs();
 * ```
 */
export const defineOptimizer = <
  const Of extends Options = Record<never, never>,
  const Presets = Record<never, never>,
  const Alone extends keyof Of = never,
>(
  spec: Omit<PluginSpec<Of, Presets, Alone, Body>, 'scaled' | 'cosmetic'>,
): Maker<Optimizer, Argument<Of, Alone>, Presets> =>
  define('optimizer', spec, ({ name, params, source }, body): Optimizer => {
    const optimizer = { name, params, source, ...body };
    return { ...optimizer, update: updates.of(optimizer, optimizer.update) };
  });

/** Chained transforms as an optimiser: the last one's updates are subtracted from the parameters. */
export const descent = (...transforms: readonly Transform[]): Body => {
  const chained = chain(...transforms);
  return {
    init: chained.init,
    update: (gradients, state, params, learningRate) => {
      const next = chained.update(gradients, state, { params, learningRate });
      return { params: zip(params, next.updates, (param, update) => tf.sub(param, update)), state: next.state };
    },
  };
};

/** u ← u + λ p: before momentum or Adam's scaling this is PyTorch's coupled weight decay, the L2 penalty's gradient. */
export const weightDecay = (decay: number): Transform => ({
  name: 'weightDecay',
  update: (updates, _, { params }) => ({ updates: decayed(updates, params, decay) }),
});

/** The same arithmetic placed after momentum or Adam's scaling, where it is AdamW's p ← p − η λ p. */
export const decoupledWeightDecay = (decay: number): Transform => ({
  name: 'decoupledWeightDecay',
  update: (updates, _, { params }) => ({ updates: decayed(updates, params, decay) }),
});

/**
 * Momentum: b ← μ b + u, and then u ← b, or u + μ b with Nesterov.
 *
 * As PyTorch's SGD without dampening. There the first buffer is the first gradient; a buffer that begins with zeros
 * gives the same bits, as μ 0 + u = u.
 */
export const trace = ({
  momentum,
  nesterov = false,
}: {
  readonly momentum: number;
  readonly nesterov?: boolean;
}): Transform => ({
  name: 'trace',
  init: (params) => tree.map(params, (param) => tf.zerosLike(param)),
  update: (updates, state) => {
    const buffers = zip(state as Named, updates, (buffer, update) => tf.add(tf.mul(buffer, momentum), update));
    return {
      updates: nesterov ? zip(updates, buffers, (update, buffer) => tf.add(update, tf.mul(buffer, momentum))) : buffers,
      state: buffers,
    };
  },
});

type AdamState = { readonly mean: Named; readonly square: Named; readonly count: tf.Scalar };

/**
 * Adam's direction with bias correction, as PyTorch's: with m ← β₁ m + (1−β₁) u, v ← β₂ v + (1−β₂) u² and t counting
 * from 1, u ← (m / (1−β₁ᵗ)) / (√(v / (1−β₂ᵗ)) + ε).
 *
 * State: m, v, and t as a float32 scalar (exact up to 2²⁴ steps).
 */
export const scaleByAdam = ({
  beta1 = 0.9,
  beta2 = 0.999,
  epsilon = 1e-8,
}: {
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
} = {}): Transform => ({
  name: 'adam',
  init: (params): AdamState => ({
    mean: tree.map(params, (param) => tf.zerosLike(param)),
    square: tree.map(params, (param) => tf.zerosLike(param)),
    count: tf.scalar(0, 'float32'),
  }),
  update: (updates, before) => {
    const { mean: oldMean, square: oldSquare, count: oldCount } = before as AdamState;
    const count = tf.add<tf.Scalar>(oldCount, 1);
    const [keep1, take1] = [tf.scalar(beta1), tf.scalar(1 - beta1)];
    const [keep2, take2] = [tf.scalar(beta2), tf.scalar(1 - beta2)];
    const mean = zip(oldMean, updates, (m, u) => tf.add(tf.mul(m, keep1), tf.mul(u, take1)));
    const square = zip(oldSquare, updates, (v, u) => tf.add(tf.mul(v, keep2), tf.mul(tf.square(u), take2)));
    const { scale, floor } = correctionsAt(count, { beta1, beta2, epsilon });
    return {
      updates: zip(mean, square, (m, v) => tf.div(tf.mul(m, scale), tf.add(tf.sqrt(v), floor))),
      state: { mean, square, count },
    };
  },
});

/**
 * Both corrections as scalars, multiplied out so that each costs the tensors one operation:
 * (m / c₁) / (√v / √c₂ + ε) = m (√c₂ / c₁) / (√v + ε √c₂), the scale and the floor.
 */
const correctionsAt = (
  count: tf.Scalar,
  { beta1, beta2, epsilon }: { readonly beta1: number; readonly beta2: number; readonly epsilon: number },
): { readonly scale: tf.Scalar; readonly floor: tf.Scalar } => {
  const root = tf.sqrt<tf.Scalar>(correction(beta2, count));
  return { scale: tf.div<tf.Scalar>(root, correction(beta1, count)), floor: tf.mul<tf.Scalar>(root, epsilon) };
};

/** 1 − βᵗ as −expm1(t ln β): 1 − 0.999 itself would lose four of float32's seven digits. */
const correction = (beta: number, count: tf.Scalar): tf.Scalar =>
  beta === 0
    ? tf.onesLike<tf.Scalar>(count)
    : tf.neg<tf.Scalar>(tf.expm1<tf.Scalar>(tf.mul<tf.Scalar>(count, Math.log(beta))));

/**
 * Scales all updates together so that their joint Euclidean norm is at most `max`, as PyTorch's clip_grad_norm_:
 * u ← u min(1, max / (‖u‖ + 10⁻⁶)).
 */
export const clipByGlobalNorm = (max: number): Transform => ({
  name: 'clipByGlobalNorm',
  update: (updates) => {
    const norm = tf.sqrt(tf.addN(Object.values(updates).map((update) => tf.sum(tf.square(update)))));
    const factor = tf.minimum(tf.div(max, tf.add(norm, 1e-6)), 1);
    return { updates: tree.map(updates, (update) => tf.mul(update, factor)) };
  },
});

/** u ← η u, the last of a chain. */
export const scaleByLearningRate = (): Transform => ({
  name: 'scaleByLearningRate',
  update: (updates, _, { learningRate }) => ({ updates: tree.map(updates, (update) => tf.mul(update, learningRate)) }),
});

const anyGroups = v.pipe(
  v.array(
    v.strictObject({
      names: v.pipe(v.string(), v.nonEmpty(), v.title('a name of parameters, in which * is any text: *.bias')),
      rate: v.optional(atLeast(0), 1),
      weightDecay: v.optional(atLeast(0)),
    }),
  ),
  v.title("a list of parameter groups, such as [{ names: '*.bias', rate: 2, weightDecay: 0 }]"),
);

/** Parameters with a rate and a decay of their own: PyTorch's parameter groups, by name. */
type Group = v.InferOutput<typeof anyGroups>[number];

const decays = {
  weightDecay: option(atLeast(0), 0, 'λ, on every parameter, batch norms and biases included'),
  decoupled: option(yesOrNo, false, 'Decay the weights by themselves (p ← p − η λ p) and not through the gradient'),
  clip: optional(positive, 'The largest joint norm of the gradients; without it they are not clipped'),
  groups: option(
    anyGroups,
    [],
    'Parameters, by name, with so many times the rate, and with a λ of their own; the first group that names one has it',
  ),
};

/**
 * An optimiser for parameters in groups. Each group's state and steps are its own: a norm by which gradients are clipped is one of
 * all parameters, and so cannot be had with groups.
 *
 * @param of the optimiser with a group's λ; undefined: with the λ of those that no group names
 */
const inGroups = (groups: readonly Group[], clip: number | undefined, of: (decay?: number) => Body): Body => {
  if (groups.length === 0) return of();
  if (clip !== undefined)
    throw new FailureError(
      failure('experiment', 'gradients in groups cannot be clipped by one norm', {
        where: 'clip',
        remedy: 'Leave out clip, or groups.',
      }),
    );
  const parts = [
    ...groups.map((group) => ({ rate: group.rate, body: of(group.weightDecay) })),
    { rate: 1, body: of() },
  ];
  const groupOf = (name: string): number => {
    const found = groups.findIndex(({ names }) => isLike(names, name));
    return found === -1 ? groups.length : found;
  };
  const within = (all: Named, group: number): Named =>
    Object.fromEntries(Object.entries(all).filter(([name]) => groupOf(name) === group));
  return {
    init: (params) => Object.fromEntries(parts.map(({ body }, i) => [`group${i}`, body.init(within(params, i))])),
    update: (gradients, state, params, learningRate) => {
      const after = parts.map(({ rate, body }, i) =>
        body.update(
          within(gradients, i),
          state[`group${i}`] as OptimizerState,
          within(params, i),
          rate === 1 ? learningRate : tf.mul<tf.Scalar>(learningRate, rate),
        ),
      );
      const moved: Named = Object.assign({}, ...after.map(({ params }) => params));
      return {
        // In the order in which they were given.
        params: tree.map(params, (_, name) => moved[name] as tf.Tensor),
        state: Object.fromEntries(after.map(({ state }, i) => [`group${i}`, state])),
      };
    },
  };
};

/** Stochastic gradient descent, PyTorch's. */
export const sgd = defineOptimizer({
  name: 'sgd',
  source: import.meta.url,
  about: "Stochastic gradient descent, with momentum or Nesterov's form of it",
  options: {
    momentum: option(belowOne, 0, 'μ'),
    nesterov: option(yesOrNo, false, 'u + μ b in place of b, where b ← μ b + u'),
    ...decays,
  },
  make: ({ momentum, nesterov, weightDecay, decoupled, clip, groups }) =>
    inGroups(groups, clip, (decay = weightDecay) => {
      const byTransforms = descent(
        ...around(momentum === 0 ? [] : [trace({ momentum, nesterov })], { weightDecay: decay, decoupled, clip }),
      );
      if (momentum === 0 || (decoupled && decay !== 0) || clip !== undefined) return byTransforms;
      return atOnce(byTransforms, (gradients, state, params, learningRate) => {
        const after = eachOf({ param: params, gradient: gradients, velocity: state.trace as Named }, (moving) =>
          ops.momentumStep(moving, learningRate, { momentum, nesterov, decay }),
        );
        return { params: after('param'), state: { trace: after('velocity') } };
      });
    }),
});

/** Adam, PyTorch's; with `decoupled` weight decay, AdamW. */
export const adam = defineOptimizer({
  name: 'adam',
  source: import.meta.url,
  about: 'Adam; with decoupled weight decay, AdamW',
  paper: 'Kingma and Ba, Adam: A method for stochastic optimization, ICLR 2015',
  options: {
    beta1: option(belowOne, 0.9, 'β₁, of the mean of the gradients'),
    beta2: option(belowOne, 0.999, 'β₂, of the mean of their squares'),
    epsilon: option(atLeast(0), 1e-8, 'ε, added to the root of that'),
    ...decays,
  },
  make: ({ beta1, beta2, epsilon, weightDecay, decoupled, clip, groups }) =>
    inGroups(groups, clip, (decay = weightDecay) => {
      const byTransforms = descent(
        ...around([scaleByAdam({ beta1, beta2, epsilon })], { weightDecay: decay, decoupled, clip }),
      );
      if ((decoupled && decay !== 0) || clip !== undefined) return byTransforms;
      return atOnce(byTransforms, (gradients, state, params, learningRate) => {
        const before = state.adam as AdamState;
        const count = tf.add<tf.Scalar>(before.count, 1);
        const corrections = correctionsAt(count, { beta1, beta2, epsilon });
        const after = eachOf(
          { param: params, gradient: gradients, mean: before.mean, square: before.square },
          (adapting) => ops.adamStep(adapting, { rate: learningRate, ...corrections }, { beta1, beta2, decay }),
        );
        return { params: after('param'), state: { adam: { mean: after('mean'), square: after('square'), count } } };
      });
    }),
});

/** The same steps as the transforms', by one operation for each parameter where the engine has it. */
const atOnce = (byTransforms: Body, update: Body['update']): Body => ({
  ...byTransforms,
  update: (...given) => (ops.hasOwn() ? update : byTransforms.update)(...given),
});

/** A step for each parameter with all that has its name; what it gives is asked for by its kind. */
const eachOf = <Kind extends string, Result extends string>(
  tensors: Readonly<Record<Kind | 'param', Named>>,
  step: (of: Readonly<Record<Kind | 'param', tf.Tensor>>) => Readonly<Record<Result, tf.Tensor>>,
): ((kind: Result) => Named) => {
  const kinds = Object.keys(tensors) as (Kind | 'param')[];
  const after = Object.keys(tensors.param).map((name) => {
    const of = Object.fromEntries(kinds.map((kind) => [kind, tensors[kind][name]]));
    return [name, step(of as Record<Kind | 'param', tf.Tensor>)] as const;
  });
  return (kind) => Object.fromEntries(after.map(([name, given]) => [name, given[kind]]));
};

/** Clipping, coupled decay, the direction itself, decoupled decay, the learning rate. */
const around = (
  direction: readonly Transform[],
  { weightDecay: decay, decoupled, clip }: { weightDecay: number; decoupled: boolean; clip: number | undefined },
): Transform[] => [
  ...(clip === undefined ? [] : [clipByGlobalNorm(clip)]),
  ...(decay !== 0 && !decoupled ? [weightDecay(decay)] : []),
  ...direction,
  ...(decay !== 0 && decoupled ? [decoupledWeightDecay(decay)] : []),
  scaleByLearningRate(),
];

const decayed = (updates: Named, params: Named, decay: number): Named => {
  const lambda = tf.scalar(decay);
  return zip(updates, params, (update, param) => tf.add(update, tf.mul(param, lambda)));
};

/** Two records of one set of names, leaf by leaf. */
const zip = (a: Named, b: Named, f: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor): Named =>
  tree.map(a, (leaf, name) => f(leaf, b[name] as tf.Tensor));

/** An optimiser among a plugin's options. */
export const anyOptimizer = pluginOption<Optimizer>(
  (value) => typeof (value as Optimizer | undefined)?.update === 'function',
  'this is no optimiser',
  'an optimiser, such as adam()',
);
