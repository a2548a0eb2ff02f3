import {
  accuracyOverViews,
  airbench,
  cifar10,
  cosine,
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
 * The five-layer CNN in 16 epochs, the student of the short experiments on CIFAR-10. The nasty teacher's authors have 100 at a constant rate
 * and count the best of them on test images; here the last epoch counts, and so the rate falls to 0: at a constant one the last epochs
 * differ by as much as what is to be seen.
 */
export const cnn = {
  ...learner(plainCnn(), { ...recipes.plainCnn, epochs: 16, schedule: cosine(1e-3) }),
  label: 'CNN',
};

/** A good teacher in minutes, and a student: all images, without choosing a checkpoint. The sweeps of `ablations/` are of it too. */
export const setting = {
  data: cifar10(),
  validation: 0,
  teacher: { ...learner(airbench(), recipes.cifar10Fast), label: 'ten-epoch net' },
  students: [cnn],
  seeds: [0, 1, 2],
} as const;

/** The ten-epoch net on CIFAR-10, normal and nasty, and the five-layer CNN as its student. Three seeds. */
export default experiment({
  ...setting,
  name: 'cifar10-fast',
  about: 'A ten-epoch teacher on CIFAR-10',
  defenses: [none(), nasty({ omega: 0.04, temperature: 4 })],
  attacks: [scratch(), kd()],
  metrics: [accuracyOverViews],
});
