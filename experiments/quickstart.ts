import {
  adam,
  compose,
  constant,
  cosine,
  experiment,
  hardLabel,
  kd,
  labelOnly,
  labelSmoothing,
  learner,
  leNet5Half,
  mnist,
  nasty,
  none,
  partialKd,
  plainCnn,
  rounding,
  scratch,
  sgd,
} from 'undistill';

/** MNIST in a few minutes: who can steal the plain CNN with half a LeNet-5, and what stops them? */
export default experiment({
  name: 'quickstart',
  about: 'MNIST: a plain CNN, nasty or not, and half a LeNet-5 that tries to learn from it',
  data: mnist(),
  fraction: 0.2,
  teacher: learner(plainCnn({ width: 8 }), {
    epochs: 3,
    batch: 128,
    optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
    schedule: cosine({ rate: 0.1 }),
  }),
  students: [learner(leNet5Half(), { epochs: 3, batch: 128, optimizer: adam(), schedule: constant(1e-3) })],
  defenses: [none(), nasty(), labelOnly(), compose(nasty(), rounding(2))],
  attacks: [scratch(), labelSmoothing(), kd(), partialKd({ fraction: 0.5 }), hardLabel()],
  seeds: [0, 1],
});
