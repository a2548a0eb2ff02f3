import { confidence, type Logits, meanOverRows, predicted } from '../train/logits.js';

/** What a number tells of synthesised images, in a sentence; a warning where its threshold is passed. */
export interface Diagnostic {
  readonly name: string;
  readonly value: number | readonly number[];
  /** What each of several values is of. */
  readonly of?: readonly string[];
  readonly sentence: string;
  readonly warning: boolean;
}

/** Images as bytes, [count, size] flat. */
export interface Bytes {
  readonly images: Uint8Array;
  /** Values of an image. */
  readonly size: number;
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const countOf = ({ images, size }: Bytes): number => images.length / size;

/**
 * How many images the victim takes for each class. Collapsed when one class has more than half of them, or when the entropy
 * of the shares is less than three quarters of what even shares have (from twice as many images as classes on).
 */
export const classHistogram = (victim: Logits, classes: readonly string[]): Diagnostic => {
  const counts = classes.map(() => 0);
  const rows = victim.values.length / victim.classes;
  for (let row = 0; row < rows; row++) {
    const taken = predicted(victim, row);
    if (taken >= 0) counts[taken] = (counts[taken] ?? 0) + 1;
  }
  const shares = counts.map((count) => count / rows);
  const largest = Math.max(...shares);
  const entropy = -shares.reduce((sum, share) => (share === 0 ? sum : sum + share * Math.log(share)), 0);
  const evenness = entropy / Math.log(classes.length);
  const collapsed = largest > 0.5 || (rows >= 2 * classes.length && evenness < 0.75);
  const name = classes[shares.indexOf(largest)] as string;
  return {
    name: 'classes',
    value: counts,
    sentence: collapsed
      ? `collapsed: the victim takes ${percent(largest)} of the images for ${name}`
      : `the victim sees ${counts.filter((count) => count > 0).length} of ${classes.length} classes, most often ${name} (${percent(largest)})`,
    warning: collapsed,
  };
};

/** The victim's mean largest probability; below a half it is not sure of what it sees. */
export const meanConfidence = (victim: Logits): Diagnostic => {
  const value = meanOverRows(victim, (row) => confidence(victim, row));
  return {
    name: 'confidence',
    value,
    sentence: `the victim is ${percent(value)} sure on average${value < 0.5 ? ': its answers teach little' : ''}`,
    warning: value < 0.5,
  };
};

/** Share of the images that another trained net takes for the class they were made for; below a half they transfer badly. */
export const verifierAccuracy = (verifier: Logits, labels: readonly number[]): Diagnostic => {
  const value = meanOverRows(verifier, (row) => (predicted(verifier, row) === labels[row] ? 1 : 0));
  return {
    name: 'verifier accuracy',
    value,
    sentence: `another net, trained on real images, agrees on the class of ${percent(value)}${
      value < 0.5 ? ': what the victim sees in them is its own' : ''
    }`,
    warning: value < 0.5,
  };
};

/**
 * Distance of the batch norms' input statistics from the running ones, ‖Δvariance‖₂ + ‖Δmean‖₂ by layer, beside what real
 * images of the same number have; more than ten times that is far.
 */
export const batchNormDistances = (
  made: Readonly<Record<string, number>>,
  real: Readonly<Record<string, number>>,
): Diagnostic => {
  const total = (of: Readonly<Record<string, number>>) => Object.values(of).reduce((sum, value) => sum + value, 0);
  const ratio = total(made) / total(real);
  return {
    name: 'batch-norm distance',
    value: Object.values(made),
    of: Object.keys(made),
    sentence: `statistics of ${Object.keys(made).length} batch norms are off by ${total(made).toPrecision(3)}, ${ratio.toPrecision(2)} times as much as those of real images`,
    warning: ratio > 10,
  };
};

/** Root mean square of the difference of two images, on the scale 0..1. */
const distance = (a: Bytes, i: number, b: Bytes, j: number): number => {
  const { size } = a;
  let sum = 0;
  for (let p = 0; p < size; p++) {
    const difference = (a.images[i * size + p] as number) - (b.images[j * size + p] as number);
    sum += difference * difference;
  }
  return Math.sqrt(sum / size) / 255;
};

const most = 100;

const meanPairwise = (of: Bytes): number => {
  const count = Math.min(most, countOf(of));
  let [sum, pairs] = [0, 0];
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < i; j++) {
      sum += distance(of, i, of, j);
      pairs += 1;
    }
  }
  return pairs === 0 ? 0 : sum / pairs;
};

/** Mean root-mean-square distance of two images, of the first 100, beside real ones'; under a quarter of it they are all alike. */
export const diversity = (made: Bytes, real: Bytes): Diagnostic => {
  const [value, among] = [meanPairwise(made), meanPairwise(real)];
  const alike = value < among / 4;
  return {
    name: 'diversity',
    value,
    sentence: `two images differ by ${value.toPrecision(2)} on average, two real ones by ${among.toPrecision(2)}${alike ? ': they are all alike' : ''}`,
    warning: alike,
  };
};

/** Total variation of an image: the mean absolute difference of neighbours to the right and below, on the scale 0..1. */
export const meanVariation = ({ images, size }: Bytes, width: number, channels: number): number => {
  const line = width * channels;
  let [sum, pairs] = [0, 0];
  for (let at = 0; at < images.length; at++) {
    const place = at % size;
    if ((place % line) + channels < line) {
      sum += Math.abs((images[at + channels] as number) - (images[at] as number));
      pairs += 1;
    }
    if (place + line < size) {
      sum += Math.abs((images[at + line] as number) - (images[at] as number));
      pairs += 1;
    }
  }
  return pairs === 0 ? 0 : sum / pairs / 255;
};

export const variation = (made: number, real: number): Diagnostic => ({
  name: 'total variation',
  value: made,
  sentence: `neighbouring pixels differ by ${made.toPrecision(2)} on average, in real images by ${real.toPrecision(2)}`,
  warning: false,
});

/** Distance of each of the first images to the nearest of some training images; one that is hardly any is a copy. */
export const nearestTraining = (made: Bytes, train: Bytes): Diagnostic => {
  const nearest = Array.from({ length: Math.min(20, countOf(made)) }, (_, i) => {
    let least = Number.POSITIVE_INFINITY;
    for (let j = 0; j < Math.min(5000, countOf(train)); j++) least = Math.min(least, distance(made, i, train, j));
    return least;
  });
  const value = nearest.reduce((sum, each) => sum + each, 0) / nearest.length;
  const copies = nearest.filter((each) => each < 0.02).length;
  return {
    name: 'nearest training image',
    value,
    sentence: `the nearest training image is ${value.toPrecision(2)} away on average${copies > 0 ? `; ${copies} of ${nearest.length} images are copies of one` : ''}`,
    warning: copies > 0,
  };
};

/** Share of the values that a byte could not hold. */
export const clippedShare = (value: number): Diagnostic => ({
  name: 'clipped',
  value,
  sentence: `${percent(value)} of the values were darker than black or brighter than white, and clipped`,
  warning: value > 0.1,
});
