import {
  accuracyOverViews,
  airbench,
  cifar10,
  experiment,
  kd,
  learner,
  nasty,
  none,
  plainCnn,
  recipes,
  scratch,
} from 'undistill';

/**
 * A good teacher in minutes: the ten-epoch net on CIFAR-10, normal and nasty, and the five-layer CNN as its student. Three seeds;
 * trained on all images, without choosing a checkpoint.
 */
export default experiment({
  name: 'cifar10-fast',
  about: 'A ten-epoch teacher on CIFAR-10',
  data: cifar10(),
  validation: 0,
  teacher: { ...learner(airbench(), recipes.cifar10Fast), label: 'ten-epoch net' },
  students: [{ ...learner(plainCnn(), { ...recipes.plainCnn, epochs: 16 }), label: 'CNN' }],
  defenses: [none(), nasty({ omega: 0.04, temperature: 4 })],
  attacks: [scratch(), kd()],
  metrics: [accuracyOverViews],
  seeds: [0, 1, 2],
});
