import {
  cifar10,
  deepInversion,
  experiment,
  inversionPresets,
  kd,
  learner,
  multiStep,
  nasty,
  nastyPresets,
  noise,
  none,
  resNet,
  scratch,
  sgd,
} from 'undistill';

const recipe = {
  epochs: 160,
  batch: 128,
  optimizer: sgd({ momentum: 0.9, weightDecay: 5e-4 }),
  schedule: multiStep({ rate: 0.1, milestones: [80, 120], gamma: 0.1 }),
};

/**
 * The nasty teacher's figure of images that DeepInversion finds in a ResNet-34 trained on CIFAR-10, normal and nasty, at the same
 * labels and from the same noise, with numbers beside the pictures (`undistill images`) and the students that learn from
 * them: the authors' 1,000 batches of 256 images, 2,000 iterations each. At full size for a graphics card, and for days;
 * `--scale 0.001` makes one batch.
 */
export default experiment({
  name: 'deep-inversion',
  about: 'DeepInversion on CIFAR-10: ResNet-34, normal and nasty, stolen by ResNet-18 without data',
  data: cifar10(),
  teacher: learner(resNet(34), recipe),
  students: [learner(resNet(18), recipe)],
  defenses: [none(), nasty(nastyPresets.cifar10)],
  attacks: [
    scratch(),
    kd(),
    noise(),
    deepInversion({ ...inversionPresets.cifar10, batches: 1000 }),
    deepInversion({ ...inversionPresets.cifar10BetterLooking, batches: 40, label: 'deepInversion, better looking' }),
    deepInversion({ ...inversionPresets.cifar10, batches: 1000, adaptive: { scale: 0.2, every: 50 } }),
  ],
  seeds: [0],
});
