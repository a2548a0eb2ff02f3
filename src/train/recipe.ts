import * as v from 'valibot';
import { between, choice, wholeAtLeast } from '../core/check.js';
import { type Augmentation, anyAugmentation } from '../data/dataset.js';
import type { NetworkPlugin } from '../models/network.js';
import { anyOptimizer, type Optimizer } from './optimizers.js';
import { anySchedule, type Schedule, scaledSchedule } from './schedules.js';

/** How a network is trained, whatever the loss. */
export interface Recipe {
  /** Passes over the training images, ≥ 1. */
  readonly epochs: number;
  /** Images a step, ≥ 2. */
  readonly batch: number;
  readonly optimizer: Optimizer;
  readonly schedule: Schedule;
  /**
   * `bfloat16` rounds the factors of convolutions and dense layers, and of their gradients; where TensorFlow's kernels
   * compute them (dense layers, and convolutions that ours do not do) the results are rounded too. Weights, batch
   * norms, optimiser and losses stay float32, and so does evaluation. It pays on processors with AMX; others are no
   * faster with it. Default `float32` (on a graphics card TF32, unless the engine is loaded with strict precision).
   */
  readonly precision?: Precision;
  /** Random changes of the training images in place of the data set's own. */
  readonly augmentation?: Augmentation;
  /**
   * ε in 0 … 1: where a net is trained on labels alone, these are (1−ε) one-hot + ε/K. Default 0. A teacher's takes away what its
   * answers teach (Müller et al., When does label smoothing help?, 2019).
   */
  readonly smoothing?: number;
  /** Weights that are averaged along the way, of a net that is trained on images. Default: none are. */
  readonly lookahead?: Lookahead;
}

/**
 * Slow weights after fast ones (Zhang et al., Lookahead optimizer, 2019), as airbench has them (KellerJordan/cifar10-airbench):
 * after every so many steps, slow ← d slow + (1−d) fast, and fast ← slow, with d = decay^every · (step / all steps)³; after the
 * last step, if it is none of these, fast ← slow. Weights and running statistics alike.
 */
export interface Lookahead {
  /** Steps from one average to the next, ≥ 1. */
  readonly every: number;
  /** Of a step, in 0 … 1, at the end. */
  readonly decay: number;
}

/** The type of the factors in a recipe's convolutions and dense layers. */
export const precisions = ['float32', 'bfloat16'] as const;
export type Precision = (typeof precisions)[number];

/** A recipe, and no field that is none of its; undefined is as good as left out. */
export const anyRecipe = v.pipe(
  v.strictObject({
    epochs: wholeAtLeast(1),
    batch: wholeAtLeast(2),
    optimizer: anyOptimizer,
    schedule: anySchedule,
    precision: v.optional(choice(...precisions)),
    augmentation: v.optional(anyAugmentation),
    smoothing: v.optional(between(0, 1)),
    lookahead: v.optional(v.strictObject({ every: wholeAtLeast(1), decay: between(0, 1) })),
  }),
  v.title('a recipe, such as recipes.plainCnn'),
) as v.GenericSchema<Recipe>;

/** A recipe with a fraction of its epochs, at least one, in which the learning rate falls at the same points. */
export const scaledRecipe = (recipe: Recipe, factor: number): Recipe => ({
  ...recipe,
  epochs: Math.max(1, Math.round(factor * recipe.epochs)),
  schedule: scaledSchedule(recipe.schedule, factor),
});

/** A network and the recipe it is trained by: a teacher, a student, an adversary. */
export interface Learner {
  readonly network: NetworkPlugin;
  readonly recipe: Recipe;
  /** A name of one's own for the matrix; default: the network's and the parameters that differ. */
  readonly label?: string;
}

export const learner = (network: NetworkPlugin, recipe: Recipe): Learner => ({ network, recipe });
