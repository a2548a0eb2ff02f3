import { airbench } from '../models/airbench.js';
import type { NetworkPlugin } from '../models/network.js';
import { plainCnn } from '../models/plain-cnn.js';
import { preResNet } from '../models/pre-resnet.js';
import type { Recipe } from './recipe.js';
import { recipes } from './recipes.js';
import { cosine } from './schedules.js';

/** A trained net that comes with the package, and what it is. */
export interface ZooNet {
  readonly about: string;
  readonly network: NetworkPlugin;
  readonly recipe: Recipe;
  /** Of its file, `zoo/<name>.safetensors`. */
  readonly sha256: string;
  /** What it was trained on. */
  readonly data: string;
  /** On all test images, 0 … 1, after the last step. */
  readonly accuracy: number;
  readonly seed: number;
  /** Where its experiment lies, and at which commit it was run. */
  readonly experiment: string;
  readonly commit: string;
}

const cifar10Zoo = {
  data: 'CIFAR-10, all training images',
  seed: 0,
  experiment: 'experiments/cifar10-zoo.ts',
  commit: 'de6661c',
} as const;

const preResNet20 = { ...cifar10Zoo, network: preResNet(20), recipe: recipes.cifar10FastPreResNet };

/**
 * Nets that `pretrained('cifar10/airbench')` finds by name. A nasty teacher's recipe is what its normal one was trained by; `about` says how
 * it was made nasty.
 */
export const zoo: Readonly<Record<string, ZooNet>> = {
  'cifar10/airbench': {
    about: 'the ten-epoch net',
    network: airbench(),
    recipe: recipes.cifar10Fast,
    sha256: 'b399437d51b963bd1ee26c76e79b3b8595bf6c0db61912a746541ca8e4d7f6ea',
    data: 'CIFAR-10, all training images',
    accuracy: 0.9301,
    seed: 0,
    experiment: 'experiments/cifar10-fast.ts',
    commit: 'e0140cc',
  },
  'cifar10/preResNet20': {
    ...preResNet20,
    about: 'a PreResNet-20 of 30 epochs',
    sha256: 'b615a95713b17d780d385e59512075522641bfd44c3447a2a3178f050e62bd21',
    accuracy: 0.9047,
  },
  'cifar10/preResNet20-nasty': {
    ...preResNet20,
    about: 'that PreResNet-20 made a nasty teacher, ω 0.04 at τ 4, which takes 1.7 points from a CNN distilled from it',
    sha256: '9fb4cd6fb4f39df944d24da2f8fdb8578e8666d744d99cb7b4c7c7fdef9fa648',
    accuracy: 0.8943,
  },
  'cifar10/preResNet20-nasty0.1': {
    ...preResNet20,
    about: 'that PreResNet-20 made a nasty teacher, ω 0.1 at τ 4, which takes 9.6 points from a CNN distilled from it',
    sha256: '30ebf04f04ee0804c7e5d0efc4cccc2fd78bba116e086da2af1d0c3776d8fd9c',
    accuracy: 0.8728,
  },
  'cifar10/cnn': {
    ...cifar10Zoo,
    about: 'the five-layer CNN that is the student of the short experiments, trained alone',
    network: plainCnn(),
    recipe: { ...recipes.plainCnn, epochs: 16, schedule: cosine(1e-3) },
    sha256: '0a2f99193f735430aed8feb7929fb6cf8dd74b4b30455eb6075564eeadfa65f9',
    accuracy: 0.836,
  },
};
