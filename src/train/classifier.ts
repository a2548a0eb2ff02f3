import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import type { Key } from '../core/random.js';
import { clone, entries, isTree, map, type Tree } from '../core/tree.js';
import { batchesPerEpoch } from '../data/batches.js';
import { imagesAt } from '../data/pixels.js';
import { sample } from '../data/subset.js';
import { augment, inBfloat16 } from '../engine/ops.js';
import type { ApplyOptions, Named, Network, Output, Variables } from '../models/network.js';
import { accuracyBy, evaluationStep } from './evaluate.js';
import type { FitSpec } from './fit.js';
import type { FitStep } from './fit-step.js';
import { demandScalar, unreached, valueAndGradient } from './gradient.js';
import {
  bytesOf,
  countOf,
  type ImageSet,
  imageSource,
  type LabelledBatch,
  normalise,
  type RawBatch,
  type Resident,
  type UnlabelledBatch,
  unpacked,
} from './images.js';
import type { Optimizer, OptimizerState } from './optimizers.js';
import type { Access, Oracle, Victim } from './oracle.js';
import type { Lookahead, Recipe } from './recipe.js';
import type { NoTensors } from './source.js';

/** A network with its recipe, fitted to a data set's shape and classes. */
export interface BuiltLearner {
  readonly network: Network;
  readonly recipe: Recipe;
}

/** The same net by the same recipe, but for an optimiser or a schedule that is given. */
export const withRecipe = (
  { network, recipe }: BuiltLearner,
  {
    optimizer = recipe.optimizer,
    schedule = recipe.schedule,
  }: { readonly [Name in 'optimizer' | 'schedule']?: Recipe[Name] | undefined },
): BuiltLearner => ({ network, recipe: { ...recipe, optimizer, schedule } });

/**
 * What a classifier's training changes. `step` counts steps from 0, for terms that warm up; `slow` are the averaged weights of a
 * recipe that has them.
 */
export type ClassifierState = {
  readonly variables: Variables;
  readonly slots: OptimizerState;
  readonly step: tf.Scalar;
  readonly slow?: Variables;
};

/** What a loss function gives. */
export interface Loss {
  /** Scalar, what is minimised. */
  readonly loss: tf.Scalar;
  /** Its parts by name, for the log. */
  readonly terms?: Named;
}

/** What a classifier's step has at hand to compute what its loss compares with. */
export interface TargetGiven<Frozen extends Tree, Batch extends UnlabelledBatch, A extends Access> {
  /** Open for this step. */
  readonly victim: Oracle<A>;
  readonly frozen: Frozen;
  /** The augmented images as an oracle takes them: in [0, 1]. */
  readonly pixels: tf.Tensor4D;
  /** … and as the student does: normalised. */
  readonly images: tf.Tensor4D;
  /** As they were brought, before augmentation. */
  readonly batch: Batch;
}

/** A classifier's training: on what, and by which loss. */
export interface ClassifierSpec<
  Frozen extends Tree,
  Batch extends UnlabelledBatch,
  Target extends Tree,
  A extends Access = Access,
> {
  readonly learner: BuiltLearner;
  readonly data: ImageSet<Batch>;
  /** Whom `target` asks: as the attack was handed it. */
  readonly victim?: Victim<A> | undefined;
  /** Tensors that `target` reads, such as another net's. They stay the caller's, who keeps them until the fit ends. */
  readonly frozen?: Frozen | undefined;
  /** What the loss compares with; no gradient flows into it. Default: nothing. */
  readonly target?: (given: TargetGiven<Frozen, Batch, A>) => Target;
  /** Activations of the student that the loss looks at, by name. Default: none. */
  readonly activations?: readonly string[];
  /** Steps of the whole training, for a recipe that averages weights. */
  readonly steps?: number;
  /** What is minimised: arithmetic on tensors, differentiated with respect to the student's weights. */
  readonly loss: (given: Learnt & { readonly target: Target; readonly batch: Batch }) => Loss;
}

/** What a loss sees of the net that learns. */
export interface Learnt {
  /** [batch, classes]. */
  readonly logits: tf.Tensor2D;
  /** Everything that the net gives: features, activations that were asked for, heads. */
  readonly output: Output;
  /** Steps taken before this one. */
  readonly step: tf.Scalar;
}

/** What one update of a classifier leaves. */
export interface Updated {
  readonly state: ClassifierState;
  readonly loss: tf.Scalar;
  readonly terms: Named;
  readonly logits: tf.Tensor2D;
}

/**
 * One update of a classifier on normalised images: differentiate the loss, and let the recipe's optimiser take a step.
 */
export const updateOn = (
  { network, recipe }: BuiltLearner,
  before: ClassifierState,
  images: tf.Tensor4D,
  learningRate: tf.Scalar,
  loss: (given: Learnt) => Loss,
  options: Omit<ApplyOptions, 'mode'> = {},
): Updated => {
  const { variables, step } = before;
  const differentiated = () =>
    valueAndGradient((params) => {
      const output = network.apply({ params, stats: variables.stats }, images, { ...options, mode: 'train' });
      const { logits, stats } = output;
      const { loss: value, terms } = loss({ logits, output, step });
      for (const [name, term] of Object.entries(terms ?? {})) demandScalar(`the term ${name}`, term);
      return { loss: value, aux: { logits, stats, terms: terms ?? {} } };
    }, variables.params);
  const result = inPrecision(recipe, differentiated);
  if (!result.reaches) throw unreached('the net that learns gives (logits, output)');
  const { logits, stats, terms } = result.aux;
  return {
    state: stepped(recipe.optimizer, before, { gradients: result.gradients, stats }, learningRate),
    loss: result.loss,
    terms,
    logits,
  };
};

/** Computes in the precision that a recipe asks for. */
export const inPrecision = <A>({ precision }: Pick<Recipe, 'precision'>, compute: () => A): A =>
  precision === 'bfloat16' ? inBfloat16(compute) : compute();

/** The state after one step of an optimiser, with the running statistics that the step leaves. */
export const stepped = (
  optimizer: Optimizer,
  before: ClassifierState,
  { gradients, stats }: { readonly gradients: Named; readonly stats: Named },
  learningRate: tf.Scalar,
): ClassifierState => {
  const given = optimizer.update(gradients, before.slots, before.variables.params, learningRate);
  const { params, state }: Partial<typeof given> = given ?? {};
  if (!isTree(params) || !isTree(state))
    throw wrongOptimizer(optimizer, 'update gives no { params, state } of tensors');
  return { ...before, variables: { params, stats }, slots: state, step: before.step.add(1) };
};

/** The state after a step with its weights averaged, where the recipe has that; `all` as in `averaged`. */
export const averagedBy = ({ lookahead }: Pick<Recipe, 'lookahead'>, state: ClassifierState, all: number) =>
  lookahead === undefined ? state : averaged(state, lookahead, all);

/**
 * The state after some steps with its weights averaged, if it is time for that; see `Lookahead`.
 *
 * @param all the steps of the whole training
 */
export const averaged = (state: ClassifierState, { every, decay }: Lookahead, all: number): ClassifierState => {
  const { variables, slow, step } = state;
  const regular = tf.equal(tf.mod(step, every), 0);
  const now = tf.logicalOr(regular, tf.greaterEqual(step, all));
  const kept = tf.where(regular, tf.mul(tf.pow(tf.div(step, all), 3), decay ** every), tf.scalar(1));
  const fasts = new Map(entries(variables));
  const fastAt = (path: string) => fasts.get(path) as tf.Tensor;
  const mixed = map(slow as Variables, (old, path) =>
    tf.where(now, tf.add(old, tf.mul(tf.sub(fastAt(path), old), tf.sub(1, kept))), old),
  );
  return { ...state, slow: mixed, variables: map(mixed, (mean, path) => tf.where(now, mean, fastAt(path))) };
};

/** One step of training a network as a classifier, whatever the loss: augment, normalise, differentiate, update, average. */
export const classifierStep =
  <Frozen extends Tree, Batch extends UnlabelledBatch, Target extends Tree, A extends Access>({
    learner,
    data: { normalisation, augmentation },
    target,
    activations,
    loss,
    steps = 1,
  }: ClassifierSpec<Frozen, Batch, Target, A>): FitStep<Frozen, ClassifierState, RawBatch, Resident, A> =>
  ({ frozen, data, victim }, before, raw, { learningRate, seed }) => {
    const batch = unpacked<Batch>(data, raw);
    const augmented = augment(batch.images, augmentation, seed, batch.mirrored);
    const images = normalise(augmented, normalisation);
    const wanted =
      target === undefined
        ? ({} as Target)
        : target({ victim, frozen, images, batch, pixels: augmented.div<tf.Tensor4D>(255) });
    const {
      state: fast,
      logits,
      ...updated
    } = updateOn(
      learner,
      before,
      images,
      learningRate,
      (learnt) => loss({ ...learnt, target: wanted, batch }),
      activations === undefined ? {} : { activations },
    );
    const state = averagedBy(learner.recipe, fast, steps);
    const correct: Named =
      'labels' in batch ? { accuracy: tf.equal(tf.argMax(logits, 1), batch.labels as tf.Tensor1D).mean() } : {};
    return { state, metrics: { loss: updated.loss, ...updated.terms, ...correct } };
  };

/**
 * The state before the first step: the weights, which it takes over, and an optimiser that remembers nothing. Of a recipe with Lookahead
 * it has the slow weights too: where the steps are not `averagedBy` it, hand over the optimiser alone.
 */
export const initialState = (
  { optimizer, lookahead }: Pick<Recipe, 'optimizer' | 'lookahead'>,
  variables: Variables,
): ClassifierState => {
  const slots: unknown = optimizer.init(variables.params);
  if (!isTree(slots)) throw wrongOptimizer(optimizer, 'init gives no tensors by name: {} where it remembers nothing');
  const state = { variables, slots: slots as OptimizerState, step: tf.scalar(0) };
  return lookahead === undefined ? state : { ...state, slow: clone(variables) };
};

const wrongOptimizer = ({ name }: Optimizer, what: string): FailureError =>
  new FailureError(failure('plugin', `${name}: its ${what}`));

/** How many images a net may look at before it has weights. */
const seenFirst = 5000;

/** Training images of a set, normalised and not augmented, for nets whose first weights are made of such. */
const someImages =
  ({ examples, indices, shape, normalisation }: ImageSet<UnlabelledBatch> | ImageSet, key: Key) =>
  (): tf.Tensor4D => {
    const some = sample(indices, seenFirst, key);
    const bytes = imagesAt(examples.images, shape.height * shape.width * shape.channels, some);
    return tf.tidy(() => normalise(unpacked({}, { bytes: bytesOf(bytes, shape) }).images, normalisation));
  };

export interface ClassifierOptions {
  /** Starting weights, copied; default: the network's own initialisation. */
  readonly start?: Variables | undefined;
  readonly validation?: ImageSet | undefined;
  readonly stepsPerEpoch?: number | undefined;
  /**
   * End the fit when training accuracy stays at chance: for victims, not for students, whom a defence may hold there.
   */
  readonly guardChance?: boolean;
}

/** The fit of a classifier: for `context.fit`. */
export const classifier = <
  Frozen extends Tree = NoTensors,
  Batch extends UnlabelledBatch = LabelledBatch,
  Target extends Tree = NoTensors,
  A extends Access = Access,
>(
  spec: ClassifierSpec<Frozen, Batch, Target, A> & ClassifierOptions,
): FitSpec<Frozen, ClassifierState, RawBatch, Variables, Resident, A> => {
  const { learner, data, start, validation } = spec;
  const { network, recipe } = learner;
  const { stepsPerEpoch = batchesPerEpoch(countOf(data), recipe.batch) } = spec;
  const fresh = (key: Key): Variables =>
    start === undefined ? network.init(key, someImages(data, key.split('images'))) : clone(start);
  return {
    step: classifierStep({ steps: recipe.epochs * stepsPerEpoch, ...spec }),
    victim: spec.victim,
    frozen: spec.frozen,
    init: (key: Key) => initialState(recipe, fresh(key)),
    source: (key: Key) => imageSource(data, { batch: recipe.batch, key }),
    epochs: recipe.epochs,
    stepsPerEpoch: spec.stepsPerEpoch,
    schedule: recipe.schedule,
    keep: (state: ClassifierState) => state.variables,
    validate:
      validation &&
      ((also) => {
        const run = also(evaluationStep(network, validation, ({ variables }: ClassifierState) => variables));
        return () => accuracyBy(run, network, validation);
      }),
    stopAtChance: spec.guardChance ? { classes: network.classes } : undefined,
  };
};
