import {
  adam,
  constant,
  cosine,
  experiment,
  fashionMnist,
  hardLabel,
  kd,
  labelSmoothing,
  learner,
  leNet5Half,
  nasty,
  none,
  plainCnn,
  scratch,
  sgd,
} from 'undistill';

/** Fashion-MNIST with three seeds: enough images and epochs for a nasty teacher on two cores in a quarter of an hour. */
export default experiment({
  name: 'fashion-mnist',
  about: 'Fashion-MNIST: a plain CNN, nasty or not, and half a LeNet-5 that learns from it',
  data: fashionMnist(),
  fraction: 0.5,
  teacher: learner(plainCnn({ width: 8 }), {
    epochs: 3,
    batch: 128,
    optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
    schedule: cosine({ rate: 0.1 }),
  }),
  students: [learner(leNet5Half(), { epochs: 3, batch: 128, optimizer: adam(), schedule: constant(1e-3) })],
  defenses: [none(), nasty()],
  attacks: [scratch(), labelSmoothing(), kd(), hardLabel()],
  seeds: [0, 1, 2],
});
