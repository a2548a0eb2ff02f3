import * as tf from '@tensorflow/tfjs';
import * as E from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { FailureError, type Task, toFailure } from '../../src/core/errors.js';
import { type Key, key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import type { Dataset, Examples } from '../../src/data/dataset.js';
import { batchNorm, classifier, conv, features, flatten, network, relu, sequential } from '../../src/models/layers.js';
import type { NetworkPlugin, Variables } from '../../src/models/network.js';
import type { BuiltLearner } from '../../src/train/classifier.js';
import type { Context } from '../../src/train/context.js';
import { type FitResult, type FitSpec, fit } from '../../src/train/fit.js';
import { type ImageSet, type LabelledBatch, type RawBatch, type Resident, unpacked } from '../../src/train/images.js';
import type { Recipe } from '../../src/train/recipe.js';
import type { Source } from '../../src/train/source.js';
import { recipe, thirds } from '../run/helpers.js';

/** A net with everything that a step may change: weights, biases and running statistics. */
export const normalised = (channels = 3): NetworkPlugin =>
  network({
    name: 'normalised',
    params: { channels },
    source: import.meta.url,
    layers: sequential(
      conv('conv', channels, { kernel: 3, padding: 1 }),
      batchNorm('bn'),
      relu,
      flatten,
      features,
      classifier('fc'),
    ),
  });

export const data: Dataset = thirds({ train: 40, test: 12 });

export const built = (changes: Partial<Recipe> = {}, net = normalised()): BuiltLearner => ({
  network: net.build(data.image, data.classes.length),
  recipe: recipe({ batch: 16, ...changes }),
});

export const setOf = (examples: Examples = data.train, from = 0, to = examples.count): ImageSet => ({
  examples,
  indices: Int32Array.from({ length: to - from }, (_, i) => from + i),
  shape: data.image,
  normalisation: data.normalisation,
  augmentation: data.augmentation,
  labelled: true,
});

/** The batch of a step as the step computes with it, and how many images it holds. */
export const opened = ({ data, at }: Source<RawBatch, Resident>, step: number) => {
  const { batch: raw, images } = at(step);
  const batch = tree.clone(unpacked<LabelledBatch>(data, raw));
  tree.dispose(raw);
  return { batch, images };
};

/** Three training batches, and images held out. */
export const sets = { train: setOf(data.train, 0, 34), validation: setOf(data.train, 34) };

// biome-ignore lint/suspicious/noExplicitAny: any fit at all
type AnySpec = FitSpec<any, any, any, any, any>;

/** A context without files, and what was asked of it. */
export interface Tried extends Context {
  readonly specs: AnySpec[];
  /** Tensors alive at the end of each epoch. */
  readonly alive: number[];
  readonly warnings: string[];
}

export const context = (from: Key = key('stage')): Tried => {
  const [specs, alive, warnings]: [AnySpec[], number[], string[]] = [[], [], []];
  return {
    key: from,
    specs,
    alive,
    warnings,
    warn: (message) => void warnings.push(message),
    has: async () => false,
    drop: async () => undefined,
    value: (name, make) => TE.tryCatch(make, toFailure('plugin', name)),
    images: (name, make) => TE.tryCatch(make, toFailure('plugin', name)),
    fit: (name, spec) =>
      TE.tryCatch(
        () => {
          specs.push(spec);
          return fit(spec, {
            key: from.split(name),
            checkpointEvery: 1000,
            load: async () => undefined,
            save: async () => undefined,
            epoch: async () => void alive.push(tf.memory().numTensors),
            progress: () => undefined,
            warn: (message) => void warnings.push(message),
          });
        },
        toFailure('plugin', name),
      ),
  };
};

export const succeed = async <A>(task: Task<A>): Promise<A> => {
  const result = await task();
  if (E.isLeft(result)) throw new FailureError(result.left);
  return result.right;
};

/** Weights and statistics as numbers by name; the tensors are disposed of. */
export const numbersOf = (variables: Variables): Record<string, number[]> => {
  const all = Object.entries({ ...variables.params, ...variables.stats });
  const numbers = Object.fromEntries(all.map(([name, tensor]) => [name, Array.from(tensor.dataSync())]));
  for (const [, tensor] of all) tensor.dispose();
  return numbers;
};

/** What a fit ended with, as numbers. */
export const endOf = ({ last, best, ...rest }: FitResult<Variables>) => {
  return { ...rest, last: numbersOf(last), best: best && numbersOf(best.kept) };
};
