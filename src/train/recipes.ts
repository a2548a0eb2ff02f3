import { adam, sgd } from './optimizers.js';
import type { Recipe } from './recipe.js';
import { constant, multiStep } from './schedules.js';

/** The weight decay is on all parameters, batch norms' and biases too. */
const momentum = sgd({ momentum: 0.9, weightDecay: 5e-4 });

const longer: Recipe = {
  epochs: 200,
  batch: 128,
  optimizer: momentum,
  schedule: multiStep({ rate: 0.1, milestones: [60, 120, 160], gamma: 0.2 }),
};

/**
 * The nasty teacher's recipes (Ma et al., ICLR 2021), as its code was released: of teachers, nasty teachers and
 * students alike, by data set, and one of its own for the plain CNN.
 */
export const recipes = {
  cifar10: {
    epochs: 160,
    batch: 128,
    optimizer: momentum,
    schedule: multiStep({ rate: 0.1, milestones: [80, 120], gamma: 0.1 }),
  },
  cifar100: longer,
  tinyImageNet: longer,
  plainCnn: { epochs: 100, batch: 128, optimizer: adam(), schedule: constant(1e-3) },
} as const satisfies Readonly<Record<string, Recipe>>;
