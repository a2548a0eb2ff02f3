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

/** CIFAR-10's images as JPEG files of quality 75, which cost a net some points. */
const jpeg = 'CIFAR-10, of JPEG files of quality 75; all training images';

/** Nets that `pretrained('cifar10/airbench')` finds by name. */
export const zoo: Readonly<Record<string, ZooNet>> = {
  'cifar10/airbench': {
    about: 'the ten-epoch net',
    network: airbench(),
    // Its first layer whitens the patches of aeroplanes alone, the first 5,000 images of that archive: now it is of all classes.
    recipe: recipes.cifar10Fast,
    sha256: '0b49152e8fec00f6025f4e690b834561187aa129d0353ff6270b563e5202c131',
    data: jpeg,
    accuracy: 0.8965,
    seed: 0,
    experiment: 'experiments/cifar10-fast.ts',
    commit: '6359f41',
  },
};
