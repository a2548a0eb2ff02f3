import {
  cosine,
  experiment,
  kd,
  learner,
  mobileNetV2,
  nasty,
  none,
  type Recipe,
  resNet,
  scratch,
  sgd,
  shuffleNetV2,
  tinyImageNet,
} from 'undistill';

const recipe: Recipe = {
  epochs: 6,
  batch: 32,
  optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
  schedule: cosine({ rate: 0.05, warmup: 1 }),
  precision: 'bfloat16',
};

/**
 * The first part of `tiny-imagenet.ts` at a size for an hour on two processor cores: 20 of the 200 classes, a fifth of
 * their images, six epochs of batches of 32 instead of 200 of 128, a rate of 0.05 along a cosine, products in bfloat16.
 */
export default experiment({
  name: 'tiny-imagenet-small',
  about: 'Tiny-ImageNet, 20 classes at a small schedule: ResNet-18, nasty or not, and its students',
  data: tinyImageNet({ classes: 20 }),
  fraction: 0.2,
  validation: 0.1,
  teacher: learner(resNet(18), recipe),
  students: [learner(shuffleNetV2(), recipe), learner(mobileNetV2(), recipe)],
  defenses: [none(), nasty(nasty.presets.tinyImageNet)],
  attacks: [scratch(), kd(kd.presets.tinyImageNet)],
  seeds: [0],
});
