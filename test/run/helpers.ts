import type { Circumstances, Objection } from '../../src/attacks/attack.js';
import { attempt } from '../../src/core/errors.js';
import type { Dataset, DatasetPlugin } from '../../src/data/dataset.js';
import { none } from '../../src/defenses/none.js';
import { type Experiment, experiment } from '../../src/experiment/experiment.js';
import { classifier, dense, features, flatten, network, relu, sequential } from '../../src/models/layers.js';
import type { NetworkPlugin } from '../../src/models/network.js';
import { sgd } from '../../src/train/optimizers.js';
import type { Learner, Recipe } from '../../src/train/recipe.js';
import { constant } from '../../src/train/schedules.js';

/** The smallest net that learns: one hidden layer. */
export const tiny = (hidden = 6): NetworkPlugin =>
  network({
    name: 'tiny',
    params: { hidden },
    source: import.meta.url,
    layers: sequential(flatten, dense('fc1', hidden), relu, features, classifier('fc2')),
  });

export const recipe = (changes: Partial<Recipe> = {}): Recipe => ({
  epochs: 2,
  batch: 16,
  optimizer: sgd({ momentum: 0.9 }),
  schedule: constant(0.1),
  ...changes,
});

/** What an attack is asked whether it refuses. */
export const circumstances = (changes: Partial<Circumstances> = {}): Circumstances => ({
  recipe: recipe(),
  classes: thirds().classes,
  ...changes,
});

/** The reason of an attack that objects. */
export const reasonOf = (objection: Objection | undefined): string | undefined =>
  typeof objection === 'object' ? objection.reason : objection;

export const learnerOf = (network: NetworkPlugin = tiny(), changes: Partial<Recipe> = {}): Learner => ({
  network,
  recipe: recipe(changes),
});

/** 0 … 96, as if at random. */
const noise = (n: number): number => {
  const mixed = Math.imul(n + 1, 0x9e3779b1);
  return (Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b) >>> 16) % 97;
};

/** Grey images of which the class is the third of the picture that is bright. */
export const thirds = ({ train = 96, test = 48, size = 4 } = {}): Dataset => {
  const part = (count: number, from: number) => {
    const images = new Uint8Array(count * size * size);
    const labels = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      labels[i] = i % 3;
      for (let p = 0; p < size * size; p++) {
        images[i * size * size + p] =
          noise((i + from) * size * size + p) + (Math.floor((3 * p) / (size * size)) === i % 3 ? 150 : 0);
      }
    }
    return { images, labels, count };
  };
  return {
    name: 'thirds',
    image: { height: size, width: size, channels: 1 },
    classes: ['top', 'middle', 'bottom'],
    normalisation: { mean: [0.4], std: [0.3] },
    augmentation: { crop: 0, flip: true },
    train: part(train, 0),
    test: part(test, train),
    fingerprint: `thirds ${train} ${test} ${size}`,
  };
};

export const dataOf = (data: Dataset): DatasetPlugin => ({
  name: data.name,
  params: {},
  source: import.meta.url,
  load: () => attempt('data', () => data),
});

type Spec = Parameters<typeof experiment>[0];

/** An experiment that is in order, but for the changes. They may be of the wrong type: what is refused is not always compiled. */
export const made = (changes: { readonly [field in keyof Spec | 'other']?: unknown } = {}): Experiment =>
  experiment({
    name: 'test',
    data: dataOf(thirds()),
    teacher: learnerOf(),
    students: [learnerOf(tiny(4))],
    defenses: [none()],
    seeds: [0],
    ...changes,
  } as Spec);
