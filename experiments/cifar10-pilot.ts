import {
  adam,
  cifar10,
  constant,
  cosine,
  experiment,
  kd,
  learner,
  nasty,
  none,
  plainCnn,
  preResNet,
  scratch,
  sgd,
} from 'undistill';

/**
 * Chooses ω for `cifar10-small.ts` on a fifth of the training images: the numbers are about held-out training images, and
 * the test images are not looked at.
 */
export default experiment({
  name: 'cifar10-pilot',
  about: 'CIFAR-10, a fifth of the training images: which omega?',
  data: cifar10(),
  fraction: 0.2,
  validation: 0.1,
  report: 'validation',
  teacher: learner(preResNet(20), {
    epochs: 8,
    batch: 64,
    optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
    schedule: cosine({ rate: 0.1, warmup: 1 }),
  }),
  students: [learner(plainCnn(), { epochs: 10, batch: 64, optimizer: adam(), schedule: constant(1e-3) })],
  defenses: [none(), nasty({ omega: 0.1 }), nasty({ omega: 0.2 }), nasty({ omega: 0.4 })],
  attacks: [scratch(), kd()],
  seeds: [0],
});
