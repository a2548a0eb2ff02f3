import { deepInversion, experiment, nasty, none } from 'undistill';
import { cnn, setting as fast } from './cifar10-fast.js';
import { resNetC, setting, strong } from './cifar10-table.js';

/**
 * Both commands of the authors, for the paper and the one that they call better looking: 256 images each in all of their 2,000 iterations, at the
 * same labels and from the same noise. So few images teach a student little: it is there to be asked what it sees in them, a
 * weak one and a strong one.
 */
const attacks = [
  deepInversion({ ...deepInversion.presets.cifar10, steps: 400, label: 'deepInversion' }),
  deepInversion({
    ...deepInversion.presets.cifar10BetterLooking,
    steps: 400,
    label: 'deepInversion, better looking',
  }),
];
const students = [cnn, resNetC(32)];

/**
 * What DeepInversion finds in the ResNet-18 of `cifar10-table.ts`, normal and nasty, and in the ten-epoch net of `cifar10-fast.ts`, which has
 * no shortcuts. The teachers, and the students alone, are those of these where all are run in one folder.
 */
export default [
  experiment({
    ...setting,
    name: 'cifar10-pictures',
    about: 'DeepInversion of a ResNet-18 on CIFAR-10, normal and nasty',
    students,
    defenses: [none(), strong],
    attacks,
    seeds: [0],
  }),
  experiment({
    ...fast,
    name: 'cifar10-pictures-plain',
    about: 'DeepInversion of a net without shortcuts on CIFAR-10, normal and nasty',
    students,
    defenses: [none(), nasty({ omega: 0.04, temperature: 4, label: 'nasty' })],
    attacks,
    seeds: [0],
  }),
];
