import type { AnyAttack, AttackContext, Ownership } from '../attacks/attack.js';
import { key } from '../core/random.js';
import { batchesPerEpoch } from '../data/batches.js';
import type { Dataset } from '../data/dataset.js';
import { shareOf, split, subset } from '../data/subset.js';
import type { ImageSet, UnlabelledBatch } from '../train/images.js';
import type { Learner } from '../train/recipe.js';
import type { Experiment } from './experiment.js';

/** A data set and which part of it an experiment uses. */
export interface DataInUse {
  readonly data: Dataset;
  readonly experiment: Pick<Experiment, 'fraction' | 'validation' | 'report'>;
}

export interface TrainingSet {
  readonly train: ImageSet;
  /** Held out; absent when nothing is. */
  readonly validation: ImageSet | undefined;
}

const noAugmentation = { crop: 0, flip: false } as const;

const imageSet = ({ data }: DataInUse, part: 'train' | 'test', indices: Int32Array): ImageSet => ({
  examples: data[part],
  indices,
  shape: data.image,
  normalisation: data.normalisation,
  augmentation: part === 'train' ? data.augmentation : noAugmentation,
  labelled: true,
});

const heldOut = (of: DataInUse, indices: Int32Array): ImageSet => ({
  ...imageSet(of, 'train', indices),
  augmentation: noAugmentation,
});

/** The training images in use and which of them are held out: the same for every stage and seed of an experiment. */
const inUse = ({ data, experiment: { fraction, validation } }: DataInUse) => {
  const { labels } = data.train;
  const among = subset(labels, { fraction, how: 'stratified', seed: 'in use' });
  return split(labels, validation, key('validation'), among);
};

/** How many images of a training set an experiment trains on, and how many it holds out. */
export const countInUse = (
  total: number,
  { fraction, validation }: DataInUse['experiment'],
): { readonly train: number; readonly validation: number } => {
  const used = shareOf(fraction, total);
  const held = shareOf(validation, used);
  return { train: used - held, validation: held };
};

/** Everything in use. */
export const allImages = (of: DataInUse): TrainingSet =>
  ownedImages(of, { kind: 'labelled', fraction: 1, how: 'stratified' }, 0);

/**
 * A share of the images in use; those of it that are held out stay held out. Depends on the fraction and the seed alone,
 * and a smaller share lies within a larger one.
 */
export const ownedImages = (of: DataInUse, owned: Ownership, seed: number): TrainingSet => {
  if (owned.kind === 'none') return { train: imageSet(of, 'train', new Int32Array()), validation: undefined };
  const { fraction, how } = owned;
  const { train, validation } = inUse(of);
  const part = (among: Int32Array): Int32Array =>
    fraction === 1 ? among : subset(of.data.train.labels, { fraction, how, seed, among });
  // A small share of a few held-out images may be none of them.
  const held = shareOf(fraction, validation.length) === 0 ? new Int32Array() : part(validation);
  return {
    train: imageSet(of, 'train', part(train)),
    validation: held.length === 0 ? undefined : heldOut(of, held),
  };
};

/** What an attack declared that it owns, and nothing else: not merely unused, the rest cannot be found here. */
export const handOver = ({ data }: AnyAttack, { train, validation }: TrainingSet): AttackContext['data'] => {
  if (data.kind === 'none') return {};
  const own = alone(train);
  if (data.kind === 'labelled') return { train: own, validation: validation && alone(validation) };
  const { images, count } = own.examples;
  const unlabelled: ImageSet<UnlabelledBatch> = { ...own, examples: { images, count }, labelled: false };
  return { train: unlabelled };
};

/** The same images in the same order, with no others beside them. */
const alone = (set: ImageSet): ImageSet => {
  const { examples, indices, shape } = set;
  const size = shape.height * shape.width * shape.channels;
  const images = new Uint8Array(indices.length * size);
  const labels = new Uint16Array(indices.length);
  indices.forEach((index, i) => {
    images.set(examples.images.subarray(index * size, (index + 1) * size), i * size);
    labels[i] = examples.labels[index] as number;
  });
  return { ...set, examples: { images, labels, count: indices.length }, indices: Int32Array.from(indices.keys()) };
};

/** Steps of one pass over a set. */
export const stepsPerPass = ({ indices }: ImageSet, { recipe: { batch } }: Learner): number =>
  batchesPerEpoch(indices.length, batch);

/** What models are evaluated on, by name. */
export const evaluationSets = (of: DataInUse): { readonly [part in 'test' | 'validation']?: ImageSet } => {
  const { validation } = inUse(of);
  const everything = Int32Array.from({ length: of.data.test.count }, (_, i) => i);
  return {
    // While settings are being chosen the test images are not even looked at.
    ...(of.experiment.report === 'test' ? { test: imageSet(of, 'test', everything) } : {}),
    ...(validation.length === 0 ? {} : { validation: heldOut(of, validation) }),
  };
};
