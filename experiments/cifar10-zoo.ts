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
  scratch,
  sweep,
} from 'undistill';
import { cnn } from './cifar10-fast.js';

/** What is stolen without images in `cifar10-without-data.ts` too. */
export const teacher = { ...learner(preResNet(20), recipes.cifar10FastPreResNet), label: 'PreResNet-20' };

/**
 * The small nets of the zoo: a PreResNet-20 on CIFAR-10, normal and nasty, and the five-layer CNN, with what a student gains and loses by
 * each. Of the two strengths, ω 0.04 is the paper's. One seed; trained on all images, without choosing a checkpoint.
 */
export default experiment({
  name: 'cifar10-zoo',
  about: 'A PreResNet-20 on CIFAR-10, normal and nasty, and what the five-layer CNN learns from it',
  data: cifar10(),
  validation: 0,
  teacher,
  students: [cnn],
  defenses: [none(), ...sweep(nasty, { omega: [0.04, 0.1] })],
  attacks: [scratch(), kd(), hardLabel()],
  seeds: [0],
});
