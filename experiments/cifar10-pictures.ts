import { deepInversion, experiment, none } from 'undistill';
import { cnn } from './cifar10-fast.js';
import { setting, strong } from './cifar10-table.js';

/**
 * What DeepInversion finds in the ResNet-18 of `cifar10-table.ts`, normal and nasty: 256 images each in all of the authors' 2,000
 * iterations, by the command of the paper and by the one that they call better looking, at the same labels and from the same noise. The
 * teachers are those of the table where both are run in one folder. So few images teach a student little: it is there to be asked
 * what it sees in them.
 */
export default experiment({
  ...setting,
  name: 'cifar10-pictures',
  about: 'DeepInversion of a ResNet-18 on CIFAR-10, normal and nasty',
  students: [cnn],
  defenses: [none(), strong],
  attacks: [
    deepInversion({ ...deepInversion.presets.cifar10, steps: 400, label: 'deepInversion' }),
    deepInversion({
      ...deepInversion.presets.cifar10BetterLooking,
      steps: 400,
      label: 'deepInversion, better looking',
    }),
  ],
  seeds: [0],
});
