import {
  adam,
  cifar10,
  constant,
  cosine,
  experiment,
  hardLabel,
  kd,
  learner,
  nasty,
  none,
  partialKd,
  plainCnn,
  preResNet,
  scratch,
  sgd,
} from 'undistill';

/**
 * The nasty teacher's first table (CIFAR-10) at a schedule that two processor cores can afford: the teacher is a
 * PreResNet-20 instead of a ResNet-18, and epochs are a small part of the paper's 160. A teacher trained so briefly is less
 * sure of its answers, and at the released ω of 0.04 hardly differs from a normal one; ω is the largest in
 * `cifar10-pilot.ts` that cost it no accuracy on held-out images.
 */
export default experiment({
  name: 'cifar10-small',
  about: 'CIFAR-10 at a small schedule: PreResNet-20, nasty or not, and the five-layer CNN that learns from it',
  data: cifar10(),
  validation: 0.1,
  teacher: learner(preResNet(20), {
    epochs: 6,
    batch: 128,
    optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
    schedule: cosine({ rate: 0.1, warmup: 1 }),
  }),
  students: [learner(plainCnn(), { epochs: 3, batch: 128, optimizer: adam(), schedule: constant(1e-3) })],
  defenses: [none(), nasty({ omega: 0.1 })],
  attacks: [scratch(), kd(), partialKd({ fraction: 0.1 }), partialKd({ fraction: 0.5 }), hardLabel()],
  seeds: [0],
});
