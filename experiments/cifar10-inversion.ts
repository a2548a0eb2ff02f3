import {
  adam,
  cifar10,
  constant,
  cosine,
  deepInversion,
  experiment,
  kd,
  learner,
  nasty,
  noise,
  none,
  plainCnn,
  preResNet,
  scratch,
  sgd,
} from 'undistill';

/**
 * DeepInversion on CIFAR-10 at a size for two processor cores: a PreResNet-20, trained briefly, normal and nasty (as in
 * `cifar10-small.ts`), instead of the paper's ResNet-34; one batch of its 1,000 of 256 images, with all of its 2,000 iterations.
 * Images are mirrored in distillation and cropped after padding, since a small pool is soon known by heart.
 */
export default experiment({
  name: 'cifar10-inversion',
  about: 'DeepInversion on CIFAR-10: a PreResNet-20, normal and nasty, stolen by the five-layer CNN without data',
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
  attacks: [
    scratch(),
    kd(),
    noise(),
    deepInversion({
      ...deepInversion.presets.cifar10BetterLooking,
      augmentation: { crop: 4, flip: true },
    }),
  ],
  seeds: [0],
});
