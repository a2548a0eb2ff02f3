import type { AnyAttack, AttackContext, Ownership } from '../attacks/attack.js';
import { type Refusal, refusal } from '../core/errors.js';
import { key } from '../core/random.js';
import { checkRoom, isUnlabelled } from '../data/assemble.js';
import { batchesPerEpoch } from '../data/batches.js';
import { type Dataset, type DatasetPlugin, noAugmentation } from '../data/dataset.js';
import { toColour } from '../data/images.js';
import { onlyImages } from '../data/pixels.js';
import { resizeBilinear } from '../data/resize.js';
import { type Split, shareOf, split, subset } from '../data/subset.js';
import type { ImageSet, UnlabelledBatch } from '../train/images.js';
import type { Learner } from '../train/recipe.js';
import type { Experiment } from './experiment.js';

/** A data set and which part of it an experiment uses. */
export interface DataInUse {
  readonly data: Dataset;
  /** The other data sets that attackers own. */
  readonly others?: Others;
  readonly experiment: Pick<Experiment, 'fraction' | 'validation' | 'report'>;
}

const refuse: Refusal = refusal('experiment');

export interface TrainingSet {
  readonly train: ImageSet;
  /** Held out; absent when nothing is. */
  readonly validation: ImageSet | undefined;
}

export type Others = ReadonlyMap<DatasetPlugin, Dataset>;

const imageSet = ({ data }: DataInUse, part: 'train' | 'test', indices: Int32Array): ImageSet => ({
  examples: data[part],
  indices,
  shape: data.image,
  normalisation: data.normalisation,
  augmentation: part === 'train' ? data.augmentation : noAugmentation,
  labelled: true,
});

/** All training images of another data set, at the size, with the channels and in the normalisation of the victim's. */
export const imagesOf = ({ data, others }: DataInUse, plugin: DatasetPlugin): ImageSet => {
  const other = others?.get(plugin);
  if (other === undefined) throw new Error(`the images of ${plugin.name} were not loaded`);
  const { train, image } = other;
  checkRoom(train.count, data.image, plugin.name);
  const resized = resizeBilinear(train.images.slice(), image, data.image);
  const images = withChannels(resized, image.channels, data.image.channels);
  return {
    ...imageSet(
      { data } as DataInUse,
      'train',
      Int32Array.from({ length: train.count }, (_, i) => i),
    ),
    examples: { ...train, images },
  };
};

/** Grey images in colour, or coloured ones in grey (ITU-R 601 luma). */
const withChannels = (images: Uint8Array, from: number, to: number): Uint8Array => {
  if (from === to) return images;
  if (to === 3) return toColour(images);
  return Uint8Array.from({ length: images.length / 3 }, (_, i) =>
    Math.round(
      0.299 * (images[3 * i] as number) + 0.587 * (images[3 * i + 1] as number) + 0.114 * (images[3 * i + 2] as number),
    ),
  );
};

const heldOut = (of: DataInUse, indices: Int32Array): ImageSet => ({
  ...imageSet(of, 'train', indices),
  augmentation: noAugmentation,
});

/** What was chosen before, by the labels of a training set: an order of all its images takes its time. */
const chosen = new WeakMap<object, Map<string, Split>>();

/** The training images in use and which of them are held out: the same for every stage and seed of an experiment. */
const inUse = (of: DataInUse): Split => {
  const { fraction, validation } = of.experiment;
  const { labels } = of.data.train;
  const shares = `${fraction} ${validation}`;
  const known = chosen.get(labels)?.get(shares);
  if (known !== undefined) return { train: known.train.slice(), validation: known.validation.slice() };
  const among = subset(labels, { fraction, how: 'stratified', seed: 'in use' });
  const made = split(labels, validation, key('validation'), among);
  chosen.set(labels, (chosen.get(labels) ?? new Map()).set(shares, made));
  return inUse(of);
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
 * A share of the images in use; those of it that are held out stay held out. Depends on the fraction and the seed
 * alone, and a smaller share lies within a larger one.
 */
export const ownedImages = (of: DataInUse, owned: Ownership, seed: number): TrainingSet => {
  if (owned.kind === 'none') return { train: imageSet(of, 'train', new Int32Array()), validation: undefined };
  if (owned.kind === 'other') {
    const other = of.others?.get(owned.images);
    if (owned.labelled && other !== undefined && isUnlabelled(other))
      refuse(
        `the images of ${other.name} have no labels`,
        'attacks',
        'Own them without labels, or name a folder with classes.',
      );
    return { train: imagesOf(of, owned.images), validation: undefined };
  }
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
export const dataFor = ({ data }: AnyAttack, { train, validation }: TrainingSet): AttackContext['data'] => {
  if (data.kind === 'none') return {};
  const own = copyOf(train);
  if (data.kind === 'labelled') return { train: own, validation: validation && copyOf(validation) };
  if (data.kind === 'other' && data.labelled) return { train: own };
  return { train: withoutLabels(own) };
};

/** The same images, whose labels cannot be peeked at. */
export const withoutLabels = ({ examples: { images, count }, ...set }: ImageSet): ImageSet<UnlabelledBatch> => ({
  ...set,
  examples: { images, count },
  labelled: false,
});

/** The same images in the same order, with no others beside them. */
const copyOf = (set: ImageSet): ImageSet => {
  const { examples, indices, shape } = set;
  const images = onlyImages(examples.images, shape.height * shape.width * shape.channels, indices);
  const labels = Uint16Array.from(indices, (index) => examples.labels[index] as number);
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
