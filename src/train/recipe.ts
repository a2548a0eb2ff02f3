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
}

/** A network and the recipe it is trained by: a teacher, a student, an adversary. */
export interface Learner {
  readonly network: NetworkPlugin;
  readonly recipe: Recipe;
  /** A name of one's own for the matrix; default: the network's and the parameters that differ. */
  readonly label?: string;
}

export const learner = (network: NetworkPlugin, recipe: Recipe): Learner => ({ network, recipe });
