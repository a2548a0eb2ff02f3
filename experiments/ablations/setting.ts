import { adam, cifar10, constant, cosine, learner, plainCnn, sgd } from 'undistill';

/**
 * What the sweeps on CIFAR-10 have in common, at a size for two processor cores. The nasty teacher's authors swept a ResNet-18
 * (160 epochs, all images) and its students; here the victim is the five-layer CNN, its student one of half its width, and
 * both see half of the training images in 8 epochs. Their curves are published as figures only, so that a direction can be
 * compared and no number.
 */
export const setting = {
  data: cifar10(),
  fraction: 0.5,
  validation: 0.1,
  teacher: learner(plainCnn(), {
    epochs: 8,
    batch: 128,
    optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
    schedule: cosine({ rate: 0.1, warmup: 1 }),
  }),
  students: [learner(plainCnn({ width: 16 }), { epochs: 8, batch: 128, optimizer: adam(), schedule: constant(1e-3) })],
  seeds: [0, 1, 2],
} as const;

/**
 * ω in the sweeps of something else: the largest that cost a briefly trained teacher no accuracy in `cifar10-pilot.ts`. The
 * released 0.04 is for a ResNet-18 that is sure of its answers.
 */
export const omega = 0.1;
