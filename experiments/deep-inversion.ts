import {
  cifar10,
  deepInversion,
  experiment,
  kd,
  learner,
  nasty,
  noise,
  none,
  recipes,
  resNet,
  scratch,
} from 'undistill';

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
  validation: 0,
  teacher: learner(resNet(34), recipes.cifar10),
  students: [learner(resNet(18), recipes.cifar10)],
  defenses: [none(), nasty(nasty.presets.cifar10)],
  attacks: [
    scratch(),
    kd(kd.presets.cifar10),
    noise(),
    deepInversion({ ...deepInversion.presets.cifar10, batches: 1000 }),
    deepInversion({
      ...deepInversion.presets.cifar10BetterLooking,
      batches: 40,
      label: 'deepInversion, better looking',
    }),
    deepInversion({ ...deepInversion.presets.cifar10, batches: 1000, adaptive: { scale: 0.2, every: 50 } }),
  ],
  seeds: [0],
});
