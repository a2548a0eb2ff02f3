import * as tf from '@tensorflow/tfjs';
import type { Key } from '../core/random.js';
import { clone, type Tree } from '../core/tree.js';
import { augment, inBfloat16 } from '../engine/ops.js';
import type { Step } from '../engine/step.js';
import type { Named, Network, Variables } from '../models/network.js';
import { accuracyBy, evaluationStep } from './evaluate.js';
import type { FitSpec, Given } from './fit.js';
import { valueAndGradient } from './gradient.js';
import {
  type ImageSet,
  imageSource,
  normalise,
  type RawBatch,
  type Resident,
  type UnlabelledBatch,
  unpacked,
} from './images.js';
import type { Optimizer, OptimizerState } from './optimizers.js';
import type { Recipe } from './recipe.js';

/** A network with its recipe, fitted to a data set's shape and classes. */
export interface BuiltLearner {
  readonly network: Network;
  readonly recipe: Recipe;
}

/** What a classifier's training changes. `step` counts steps from 0, for terms that warm up. */
export type ClassifierState = {
  readonly variables: Variables;
  readonly slots: OptimizerState;
  readonly step: tf.Scalar;
};

export interface Loss {
  /** Scalar, what is minimised. */
  readonly loss: tf.Scalar;
  /** Its parts by name, for the log. */
  readonly terms?: Named;
}

export interface ClassifierSpec<Frozen extends Tree, Batch extends UnlabelledBatch, Target extends Tree> {
  readonly learner: BuiltLearner;
  readonly data: ImageSet<Batch>;
  /** Tensors that `target` needs: a victim's, an adversary's. Borrowed. */
  readonly frozen: Frozen;
  /** What the loss compares with, computed from the augmented, normalised images; no gradient flows into it. */
  readonly target: (frozen: Frozen, images: tf.Tensor4D, batch: Batch) => Target;
  readonly loss: (given: {
    readonly logits: tf.Tensor2D;
    readonly target: Target;
    readonly batch: Batch;
    readonly step: tf.Scalar;
  }) => Loss;
}

/** What one update of a classifier leaves. */
export interface Updated {
  readonly state: ClassifierState;
  readonly loss: tf.Scalar;
  readonly terms: Named;
  readonly logits: tf.Tensor2D;
}

/** One update of a classifier on normalised images: differentiate the loss, and let the recipe's optimiser take a step. */
export const updateOn = (
  { network, recipe }: BuiltLearner,
  { variables, slots, step }: ClassifierState,
  images: tf.Tensor4D,
  learningRate: tf.Scalar,
  loss: (given: { readonly logits: tf.Tensor2D; readonly step: tf.Scalar }) => Loss,
): Updated => {
  const differentiated = () =>
    valueAndGradient((params) => {
      const { logits, stats } = network.apply({ params, stats: variables.stats }, images, { mode: 'train' });
      const { loss: value, terms } = loss({ logits, step });
      return { loss: value, aux: { logits, stats, terms: terms ?? {} } };
    }, variables.params);
  const result = recipe.precision === 'bfloat16' ? inBfloat16(differentiated) : differentiated();
  const { logits, stats, terms } = result.aux;
  const updated = recipe.optimizer.update(result.gradients, slots, variables.params, learningRate);
  return {
    state: { variables: { params: updated.params, stats }, slots: updated.state, step: step.add(1) },
    loss: result.loss,
    terms,
    logits,
  };
};

/** One step of training a network as a classifier, whatever the loss: augment, normalise, differentiate, update. */
export const classifierStep =
  <Frozen extends Tree, Batch extends UnlabelledBatch, Target extends Tree>({
    learner,
    data: { normalisation, augmentation },
    target,
    loss,
  }: ClassifierSpec<Frozen, Batch, Target>): Step<Given<Frozen, Resident>, ClassifierState, RawBatch, Named> =>
  ({ frozen, data }, before, raw, { learningRate, seed }) => {
    const batch = unpacked<Batch>(data, raw);
    const images = normalise(augment(batch.images, augmentation, seed), normalisation);
    const wanted = target(frozen, images, batch);
    const { state, logits, ...updated } = updateOn(learner, before, images, learningRate, (given) =>
      loss({ ...given, target: wanted, batch }),
    );
    const correct: Named =
      'labels' in batch ? { accuracy: tf.equal(tf.argMax(logits, 1), batch.labels as tf.Tensor1D).mean() } : {};
    return { state, metrics: { loss: updated.loss, ...updated.terms, ...correct } };
  };

export const initialState = (optimizer: Optimizer, variables: Variables): ClassifierState => ({
  variables,
  slots: optimizer.init(variables.params),
  step: tf.scalar(0),
});

export interface ClassifierOptions {
  /** Starting weights, copied; default: the network's own initialisation. */
  readonly start?: Variables | undefined;
  readonly validation?: ImageSet | undefined;
  readonly queriesPerImage?: number;
  readonly stepsPerEpoch?: number | undefined;
  /** End the fit when training accuracy stays at chance: for victims, not for students, whom a defence may hold there. */
  readonly guardChance?: boolean;
}

/** The fit of a classifier: for `context.fit`. */
export const classifier = <Frozen extends Tree, Batch extends UnlabelledBatch, Target extends Tree>(
  spec: ClassifierSpec<Frozen, Batch, Target> & ClassifierOptions,
): FitSpec<Frozen, ClassifierState, RawBatch, Variables, Resident> => {
  const { learner, data, start, validation } = spec;
  const { network, recipe } = learner;
  return {
    step: classifierStep(spec),
    frozen: spec.frozen,
    init: (key: Key) => initialState(recipe.optimizer, start === undefined ? network.init(key) : clone(start)),
    source: (key: Key) => imageSource(data, { batch: recipe.batch, key }),
    epochs: recipe.epochs,
    stepsPerEpoch: spec.stepsPerEpoch,
    schedule: recipe.schedule,
    queriesPerImage: spec.queriesPerImage ?? 0,
    keep: (state: ClassifierState) => state.variables,
    validate:
      validation &&
      ((also) => {
        const run = also(evaluationStep(network, validation, ({ variables }: ClassifierState) => variables));
        return () => accuracyBy(run, network, validation);
      }),
    classes: spec.guardChance ? network.classes : undefined,
  };
};
