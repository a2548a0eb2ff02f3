import type { NetworkPlugin } from '../models/network.js';
import type { Optimizer } from './optimizers.js';
import type { Schedule } from './schedules.js';

/** How a network is trained, whatever the loss. */
export interface Recipe {
  /** Passes over the training images, ≥ 1. */
  readonly epochs: number;
  /** Images a step, ≥ 2. */
  readonly batch: number;
  readonly optimizer: Optimizer;
  readonly schedule: Schedule;
  /**
   * `bfloat16` rounds the factors of convolutions and dense layers, and of their gradients; weights, sums, batch norms and
   * losses stay float32, and so does evaluation. It is faster where the hardware multiplies bfloat16, and slower elsewhere.
   * Default `float32` (on a graphics card TF32, unless the engine is loaded with strict precision).
   */
  readonly precision?: Precision;
}

export const precisions = ['float32', 'bfloat16'] as const;
export type Precision = (typeof precisions)[number];

/** A network and the recipe it is trained by: a teacher, a student, an adversary. */
export interface Learner {
  readonly network: NetworkPlugin;
  readonly recipe: Recipe;
  /** A name of one's own for the matrix; default: the network's and the parameters that differ. */
  readonly label?: string;
}

export const learner = (network: NetworkPlugin, recipe: Recipe): Learner => ({ network, recipe });
