import {
  cifar10,
  experiment,
  hardLabel,
  kd,
  learner,
  nasty,
  none,
  preResNet,
  recipes,
  resNet,
  scratch,
} from 'undistill';
import { table1 } from './cifar10.js';
import { cnn } from './cifar10-fast.js';

const precision = 'bfloat16';

/** What the pictures of `cifar10-pictures.ts` are made of too. */
export const setting = {
  data: cifar10(),
  validation: 0,
  teacher: { ...learner(resNet(18), { ...recipes.cifar10FastResNet, epochs: 20, precision }), label: 'ResNet-18' },
} as const;
/** A PreResNet by its depth. */
export const resNetC = (depth: 20 | 32) => ({
  ...learner(preResNet(depth), { ...recipes.cifar10FastPreResNet, epochs: 20, precision }),
  label: `ResNetC-${depth}`,
});
export const strong = nasty({ ...nasty.presets.cifar10, label: 'nasty' });

/**
 * The nasty teacher's first table with the paper's nets at an eighth of their training, for two processor cores: ResNet-18 and PreResNets
 * in 20 epochs, the five-layer CNN in 16, convolutions of all but the CNN in bfloat16.
 *
 * Trained on all images, without choosing a checkpoint.
 */
export default experiment({
  ...setting,
  name: 'cifar10-table',
  about: 'Nasty Teacher, table 1, at an eighth of the length',
  students: [cnn, resNetC(20), resNetC(32), 'self'],
  defenses: [none(), strong, nasty({ ...nasty.presets.cifar10Text, label: 'nasty, omega of the text' })],
  attacks: [scratch(), kd(kd.presets.cifar10), hardLabel()],
  seeds: [0],
  published: table1,
  reduced:
    'an eighth of the epochs, by learning rates that rise and fall to 0, and convolutions in bfloat16; on JPEG files where they are given by --data',
});
