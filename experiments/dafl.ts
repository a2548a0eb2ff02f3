import {
  cifar10,
  dafl,
  daflPresets,
  experiment,
  kd,
  kdPresets,
  learner,
  nasty,
  nastyPresets,
  noise,
  none,
  recipes,
  resNet,
  scratch,
} from 'undistill';

/**
 * The nasty teacher's data-free table on CIFAR-10: a ResNet-34 stolen by a ResNet-18 with DAFL. For it the paper has 92.49 % from the
 * normal and 86.15 % from the nasty teacher (recalled, not checked against the paper; DAFL's own paper has 92.22 %). At full
 * size for a graphics card, and for days; `--scale 0.001` to see it work.
 */
export default experiment({
  name: 'dafl',
  about: 'DAFL on CIFAR-10: ResNet-34, normal and nasty, stolen by ResNet-18 without data',
  data: cifar10(),
  teacher: learner(resNet(34), recipes.cifar10),
  students: [learner(resNet(18), recipes.cifar10)],
  defenses: [none(), nasty(nastyPresets.cifar10)],
  attacks: [scratch(), kd(kdPresets.cifar10), noise(), dafl(daflPresets.cifar10)],
  seeds: [0],
});
