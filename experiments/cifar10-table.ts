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

/** What the pictures of `cifar10-pictures.ts` are made of too. */
export const setting = {
  data: cifar10(),
  validation: 0,
  teacher: { ...learner(resNet(18), { ...recipes.cifar10FastResNet, precision: 'bfloat16' }), label: 'ResNet-18' },
} as const;
export const strong = nasty({ ...nasty.presets.cifar10, label: 'nasty' });

/**
 * The nasty teacher's first table with the paper's nets at a tenth of their training, for two processor cores: ResNet-18 in 16 epochs, the
 * five-layer CNN in 16, PreResNets in 20, convolutions in bfloat16. Some fourteen hours a seed on a processor with matrix instructions.
 *
 * Trained on all images, without choosing a checkpoint.
 */
export default experiment({
  ...setting,
  name: 'cifar10-table',
  about: 'Nasty Teacher, table 1, at a tenth of the length',
  students: [
    cnn,
    ...([20, 32] as const).map((depth) => ({
      ...learner(preResNet(depth), { ...recipes.cifar10FastPreResNet, epochs: 20, precision: 'bfloat16' }),
      label: `ResNetC-${depth}`,
    })),
    'self',
  ],
  defenses: [none(), strong, nasty({ ...nasty.presets.cifar10Text, label: 'nasty, omega of the text' })],
  attacks: [scratch(), kd(kd.presets.cifar10), hardLabel()],
  seeds: [0],
  published: table1,
  reduced: 'a tenth of the epochs, by a cycle of learning rates, and convolutions in bfloat16',
});
