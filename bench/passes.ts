import * as tf from '@tensorflow/tfjs';
import { key, normals } from '../src/core/random.js';
import { clone, entries, map, type Tree } from '../src/core/tree.js';
import type { Step } from '../src/engine/step.js';
import { type FittedLayers, type LayersOutput, passes } from '../src/models/layers.js';
import type { ApplyOptions, Named, Variables } from '../src/models/network.js';
import { valueAndGradient } from '../src/train/gradient.js';
import { type Optimizer, updates } from '../src/train/optimizers.js';

/** A pass through a net, as a step made it. */
export interface Pass {
  /** Whose. */
  readonly where: string;
  readonly layers: FittedLayers;
  /** The shape of what went in. */
  readonly input: readonly number[];
  readonly options: ApplyOptions;
  /** Where gradients came back through it: the outputs that they came to, and whether they went on to what went in and to its weights. */
  readonly back?: Back;
}

interface Back {
  readonly outputs: readonly string[];
  readonly toInput: boolean;
  readonly toWeights: boolean;
}

/** A step of an optimiser, as a step made it: with the shapes of the weights by name. */
export interface Update {
  readonly optimizer: Optimizer;
  readonly weights: Readonly<Record<string, readonly number[]>>;
}

export type Counted<A> = A & { readonly times: number };

/** What a step is made of. */
export interface Parts {
  readonly passes: readonly Counted<Pass>[];
  readonly updates: readonly Counted<Update>[];
}

export const shapesIn = (layers: Pick<FittedLayers, 'variables'>): Update['weights'] =>
  Object.fromEntries(
    layers.variables.filter(({ kind }) => kind === 'param').map(({ name, shape }) => [name, shape] as const),
  );

const passKey = ({ where, layers, input, options, back }: Pass): string =>
  JSON.stringify([where, shapesIn(layers), input, options, back]);

const updateKey = ({ optimizer: { name, params }, weights }: Update): string => JSON.stringify([name, params, weights]);

const counted = <A>(all: readonly A[], keyOf: (each: A) => string): readonly Counted<A>[] => {
  const byKey = new Map<string, Counted<A>>();
  for (const each of all) {
    const own = keyOf(each);
    byKey.set(own, { ...each, times: (byKey.get(own)?.times ?? 0) + 1 });
  }
  return [...byKey.values()];
};

/** The same numbers; `came` is called when a gradient comes back through them. */
const marked = (x: tf.Tensor, came: () => void): tf.Tensor =>
  tf.customGrad((given) => ({
    value: (given as tf.Tensor).clone(),
    gradFunc: (dy: tf.Tensor) => {
      came();
      return dy;
    },
  }))(x);

/** What a loss may look at in what a pass gives. */
const seenIn = ({ stats: _, ...seen }: LayersOutput): Tree => seen as unknown as Tree;

/** The passes and the optimisers' steps while `body` runs. */
export const partsOf = (body: () => void): Parts => {
  const passed: { readonly pass: Pass; readonly outputs: Set<string>; toInput: boolean; toWeights: boolean }[] = [];
  const updated: Update[] = [];
  const looking = () =>
    passes.watch(
      ({ where, layers }, run) =>
        ({ params, stats }, x, options) => {
          const noted = {
            pass: { where, layers, input: x.shape, options },
            ...{ outputs: new Set<string>(), toInput: false, toWeights: false },
          };
          passed.push(noted);
          const weights = map(params, (weight) =>
            marked(weight, () => {
              noted.toWeights = true;
            }),
          );
          const input = marked(x, () => {
            noted.toInput = true;
          });
          const output = run({ params: weights, stats }, input, options);
          const seen = map(seenIn(output), (each, path) => marked(each, () => noted.outputs.add(path)));
          return { ...(seen as unknown as LayersOutput), stats: output.stats };
        },
      body,
    );
  updates.watch(
    (optimizer, update) =>
      (...given) => {
        const weights = Object.entries(given[2]).map(([name, { shape }]) => [name, shape] as const);
        updated.push({ optimizer, weights: Object.fromEntries(weights) });
        return update(...given);
      },
    looking,
  );
  const found = passed.map(({ pass, outputs, toInput, toWeights }): Pass => {
    const back = { outputs: [...outputs].sort(), toInput, toWeights };
    return toInput || toWeights ? { ...pass, back } : pass;
  });
  return { passes: counted(found, passKey), updates: counted(updated, updateKey) };
};

/** A part that is timed by itself: a step, and what it is on. */
export interface Unit {
  /** Whose it is; '' of an optimiser's step that is of no net, or of several at once. */
  readonly where: string;
  /** The weights: their shapes by name. */
  readonly weights: Update['weights'];
  /** F forward, I and W the gradients to what went in and to the weights, U the optimiser's step. */
  readonly what: string;
  /** Equal ones cost the same. */
  readonly key: string;
  // biome-ignore lint/suspicious/noExplicitAny: steps on any tensors
  readonly step: Step<any, any, any, any>;
  /** Tensors of the caller's. */
  readonly begin: () => { readonly frozen: Tree; readonly state: Tree };
}

/** The passes of the net that an optimiser's step is of, and of no other's, that give it gradients. */
const taughtBy = ({ passes: all }: Parts, { weights }: Update): readonly Counted<Pass>[] => {
  const form = (shapes: Update['weights']): string => JSON.stringify(Object.entries(shapes).sort());
  return all.filter(({ layers, back }) => back?.toWeights && form(shapesIn(layers)) === form(weights));
};

const sum = (all: readonly { readonly times: number }[]): number => all.reduce((so, { times }) => so + times, 0);

/**
 * What a step's parts cost alone, as steps. A pass whose gradients go to weights takes the optimiser's step at once where there is one for
 * each such pass of its net; else it adds up the gradients, and the optimiser's step is a part of its own.
 */
export const unitsOf = (parts: Parts): readonly Counted<Unit>[] => {
  const together = parts.updates.filter((update) => sum(taughtBy(parts, update)) === update.times);
  const optimizerOf = (pass: Pass) =>
    together.find((update) => taughtBy(parts, update).includes(pass as never))?.optimizer;
  return [
    ...parts.passes.map((pass) => ({ ...passUnit(pass, optimizerOf(pass)), times: pass.times })),
    ...parts.updates
      .filter((update) => !together.includes(update))
      .map((update) => ({ ...updateUnit(update, taughtBy(parts, update)[0]?.where), times: update.times })),
  ];
};

const someNormal = (name: string, shape: readonly number[]): tf.Tensor =>
  tf.tensor(normals(key(name), tf.util.sizeFromShape([...shape])), [...shape]);

const kept = <T extends Tree>(make: () => T): T => tf.tidy(() => make() as T & tf.TensorContainer);

/** What a pass by itself is on: what goes in, the variables unless it trains them, and what its outputs are multiplied by. */
type Frozen = { readonly x: tf.Tensor; readonly variables: Variables; readonly by: Named };

/** The name of what goes in, among weights. */
const given = ' given';

const passUnit = (pass: Pass, optimizer: Optimizer | undefined): Unit => {
  const { layers, input, options, back } = pass;
  /** Σ over what is looked at, each number times one of its own. */
  const weighed = (output: LayersOutput, by: Named): tf.Scalar => {
    const terms = entries(seenIn(output)).flatMap(([path, x]) => (by[path] ? [tf.sum(tf.mul(x, by[path]))] : []));
    return tf.addN(terms) as tf.Scalar;
  };
  const looksAt = (path: string): boolean => (back === undefined ? path !== 'features' : back.outputs.includes(path));
  const started = () => {
    const x = someNormal('input', input);
    const variables = layers.init(key('unit'));
    const outputs = entries(seenIn(layers.run(variables, x, options))).filter(([path]) => looksAt(path));
    return {
      x,
      variables,
      by: Object.fromEntries(outputs.map(([path, { shape }]) => [path, someNormal(path, shape)])),
    };
  };
  const about = {
    where: pass.where,
    weights: shapesIn(layers),
    what: `F${back?.toInput ? 'I' : ''}${back?.toWeights ? 'W' : ''}${optimizer ? 'U' : ''}`,
    key: JSON.stringify([passKey(pass), optimizer?.name, optimizer?.params]),
  };
  // Something else goes in at every step, and every step leaves what it computed: several in a call are as many passes.
  const next = ({ x, count }: { readonly x: tf.Tensor; readonly count: tf.Tensor }) => tf.add(x, tf.mul(count, 1e-4));
  if (!back?.toWeights)
    return {
      ...about,
      begin: () => kept(() => ({ frozen: started() as Tree, state: { count: tf.scalar(0) } })),
      step: ({ x, variables, by }: Frozen, { count }) => {
        const given = { x: next({ x, count }) };
        const value = (of: Named) => weighed(layers.run(variables, of.x as tf.Tensor, options), by);
        const state = { count: tf.add(count, 1) };
        if (back === undefined) return { state, metrics: { value: value(given) } };
        const { loss, gradients } = valueAndGradient((of) => ({ loss: value(of), aux: {} }), given);
        return { state, metrics: { value: loss, toInput: tf.sum(gradients.x as tf.Tensor) } };
      },
    };
  return {
    ...about,
    begin: () =>
      kept(() => {
        const { variables, ...frozen } = started();
        const learning = optimizer ? { slots: optimizer.init(variables.params) } : { sum: clone(variables.params) };
        return { frozen: frozen as Tree, state: { ...variables, ...learning, count: tf.scalar(0) } };
      }),
    step: ({ x, by }: Frozen, { params, stats, slots, sum, count }, _, { learningRate }) => {
      const input = next({ x, count });
      const { loss, gradients, aux } = valueAndGradient(
        ({ [given]: seen = input, ...weights }) => {
          const output = layers.run({ params: weights, stats }, seen, options);
          return { loss: weighed(output, by), aux: { stats: output.stats } };
        },
        back.toInput ? { ...params, [given]: input } : params,
      );
      const { [given]: toInput, ...toWeights } = gradients;
      const metrics = { value: loss, ...(toInput && { toInput: tf.sum(toInput) }) };
      const state = { stats: aux.stats, count: tf.add(count, 1) };
      if (optimizer === undefined) {
        const added = map(toWeights, (gradient, name) => tf.add(gradient, sum[name]));
        return { state: { ...state, params, sum: added }, metrics };
      }
      const after = optimizer.update(toWeights, slots, params, learningRate);
      return { state: { ...state, params: after.params, slots: after.state }, metrics };
    },
  };
};

const updateUnit = (update: Update, where = ''): Unit => ({
  where,
  weights: update.weights,
  what: 'U',
  key: updateKey(update),
  begin: () =>
    kept(() => {
      const all = Object.entries(update.weights);
      const params = Object.fromEntries(all.map(([name, shape]) => [name, someNormal(name, shape)]));
      const gradients = Object.fromEntries(all.map(([name, shape]) => [name, someNormal(`${name}, gradient`, shape)]));
      return { frozen: { gradients }, state: { params, slots: update.optimizer.init(params) } as Tree };
    }),
  step: ({ gradients }, { params, slots }, _, { learningRate }) => {
    const after = update.optimizer.update(gradients, slots, params, learningRate);
    return { state: { params: after.params, slots: after.state }, metrics: {} };
  },
});

/** A step that does next to nothing: what it costs to call one. */
export const nothing: Unit = {
  where: '',
  weights: {},
  what: '',
  key: 'nothing',
  begin: () => ({ frozen: {}, state: { count: tf.scalar(0) } }),
  step: (_, { count }) => ({ state: { count: tf.add(count, 1) }, metrics: {} }),
};
