import { adam, sgd } from './optimizers.js';
import type { Recipe } from './recipe.js';
import { constant, multiStep, oneCycle, triangular } from './schedules.js';

/** The weight decay is on all parameters, batch norms' and biases too. */
const momentum = sgd({ momentum: 0.9, weightDecay: 5e-4 });

const longer: Recipe = {
  epochs: 200,
  batch: 128,
  optimizer: momentum,
  schedule: multiStep({ rate: 0.1, milestones: [60, 120, 160], gamma: 0.2 }),
};

/** λ of airbench's decoupled decay in units of its rate, which is 11.5. */
const decay = 0.0153 / 11.5;

/**
 * Ten epochs for `airbench()`: Nesterov's momentum, a triangle of learning rates, biases of batch norms at 64 times the rate and with
 * the same decay, averaged weights, and images cropped from a mirrored border and flipped in turn. airbench's own learning rate is of
 * a loss that is summed over 1,024 images: 11.5 / (1,024 (1 + 1 / (1 − 0.85))), which is 1.5 of the mean.
 *
 * Source: airbench94 (KellerJordan/cifar10-airbench), but for its smoothing of labels (0.2), which takes away what a teacher's
 * answers teach, and its last batch of an epoch, which it drops.
 */
const fast: Recipe = {
  epochs: 10,
  batch: 1024,
  optimizer: sgd({
    momentum: 0.85,
    nesterov: true,
    weightDecay: decay,
    groups: [{ names: '*norm*.bias', rate: 64, weightDecay: decay / 64 }],
  }),
  schedule: triangular({ rate: 1.5, peak: 0.23, start: 0.2, end: 0.07 }),
  augmentation: { crop: 2, border: 'reflect', flip: 'alternating' },
  lookahead: { every: 5, decay: 0.95 },
};

/** One cycle of learning rates with Nesterov's momentum. */
const cycle = (epochs: number, batch: number, rate: number): Recipe => ({
  epochs,
  batch,
  optimizer: sgd({ momentum: 0.9, nesterov: true, weightDecay: 5e-4 }),
  schedule: oneCycle(rate),
});

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
  /** Short ones for CIFAR-10, of no paper's table: for `airbench()`, for a ResNet-18, and for PreResNets. */
  cifar10Fast: fast,
  cifar10FastResNet: cycle(16, 128, 0.1),
  cifar10FastPreResNet: cycle(30, 128, 0.1),
} as const satisfies Readonly<Record<string, Recipe>>;
