import { airbench } from '../models/airbench.js';
import type { NetworkPlugin } from '../models/network.js';
import type { Recipe } from './recipe.js';
import { recipes } from './recipes.js';

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

/** Nets that `pretrained('cifar10/airbench')` finds by name. */
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
};
