import { confidence, countRows, type Logits, meanOverRows, predicted } from '../train/logits.js';
import type { Quantity } from './quantity.js';

/** What a number tells of synthesised images, in a sentence; a warning where its threshold is passed. */
export interface Finding {
  readonly value: number | readonly number[];
  /** What each of several values is of. */
  readonly of?: readonly string[];
  readonly sentence: string;
  readonly warning: boolean;
}

/** A finding with what it is a finding of; files of older versions have its name alone. */
export interface Diagnostic extends Finding, Pick<Quantity, 'name'>, Partial<Omit<Quantity, 'name'>> {}

/** Images as bytes, [count, size] flat. */
export interface Bytes {
  readonly images: Uint8Array;
  /** Values of an image. */
  readonly size: number;
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const countOf = ({ images, size }: Bytes): number => images.length / size;

/** How many images the victim takes for each class; one of which it says nothing counts for none. */
const countsOf = (victim: Logits): readonly number[] => {
  const counts = Array<number>(victim.classes).fill(0);
  for (let row = 0; row < countRows(victim); row++) {
    const taken = predicted(victim, row);
    if (taken >= 0) counts[taken] = (counts[taken] as number) + 1;
  }
  return counts;
};

/** How many images the victim takes for each class. Collapsed when one class has more than half of them. */
export const classHistogram = (victim: Logits, classes: readonly string[]): Finding => {
  const counts = countsOf(victim);
  const most = Math.max(...counts);
  const largest = most / countRows(victim);
  const name = classes[counts.indexOf(most)] as string;
  const collapsed = largest > 0.5;
  return {
    value: counts,
    of: classes,
    sentence: collapsed
      ? `collapsed: the victim takes ${percent(largest)} of the images for ${name}`
      : `the victim sees ${counts.filter((count) => count > 0).length} of ${classes.length} classes, most often ${name} (${percent(largest)})`,
    warning: collapsed,
  };
};

/**
 * Balance of the classes that the victim takes images for, 0 … 1: the entropy of their shares over that of even shares,
 * −Σ_k p_k ln p_k / ln K. Collapsed below three quarters, from twice as many images as classes on.
 */
export const classBalance = (victim: Logits): Finding => {
  const counts = countsOf(victim);
  const seen = counts.reduce((sum, count) => sum + count, 0);
  const entropy = counts.reduce((sum, count) => (count === 0 ? sum : sum - (count / seen) * Math.log(count / seen)), 0);
  const value = entropy / Math.log(victim.classes);
  const collapsed = countRows(victim) >= 2 * victim.classes && value < 0.75;
  return {
    value,
    sentence: `the classes that the victim sees are ${percent(value)} balanced${collapsed ? ': the images have collapsed into few of them' : ''}`,
    warning: collapsed,
  };
};

/** The victim's mean largest probability; below a half it is not sure of what it sees. */
export const meanConfidence = (victim: Logits): Finding => {
  const value = meanOverRows(victim, (row) => confidence(victim, row));
  return {
    value,
    sentence: `the victim is ${percent(value)} sure on average${value < 0.5 ? ': its answers teach little' : ''}`,
    warning: value < 0.5,
  };
};

/**
 * Share of the images that another trained net takes for the class they were made for; below a half they transfer
 * badly.
 */
export const verifierAccuracy = (verifier: Logits, labels: readonly number[]): Finding => {
  const value = meanOverRows(verifier, (row) => (predicted(verifier, row) === labels[row] ? 1 : 0));
  return {
    value,
    sentence: `another net, trained on real images, agrees on the class of ${percent(value)}${
      value < 0.5 ? ': what the victim sees in them is its own' : ''
    }`,
    warning: value < 0.5,
  };
};

/**
 * Distance of the batch norms' input statistics from the running ones, ‖Δvariance‖₂ + ‖Δmean‖₂ by layer, beside what
 * real images of the same number have; more than ten times that is far.
 */
export const batchNormDistances = (
  made: Readonly<Record<string, number>>,
  real: Readonly<Record<string, number>>,
): Finding => {
  const total = (of: Readonly<Record<string, number>>) => Object.values(of).reduce((sum, value) => sum + value, 0);
  const ratio = total(made) / total(real);
  return {
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

/**
 * Mean root-mean-square distance of two images, of the first 100, beside real ones'; under a quarter of it they are all
 * alike.
 */
export const diversity = (made: Bytes, real: Bytes): Finding => {
  const [value, among] = [meanPairwise(made), meanPairwise(real)];
  const alike = value < among / 4;
  return {
    value,
    sentence: `two images differ by ${value.toPrecision(2)} on average, two real ones by ${among.toPrecision(2)}${alike ? ': they are all alike' : ''}`,
    warning: alike,
  };
};

/**
 * Total variation of an image: the mean absolute difference of neighbours to the right and below, on the scale 0..1.
 */
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

export const variation = (made: number, real: number): Finding => ({
  value: made,
  sentence: `neighbouring pixels differ by ${made.toPrecision(2)} on average, in real images by ${real.toPrecision(2)}`,
  warning: false,
});

/** Distance of each of the first images to the nearest of some training images; one that is hardly any is a copy. */
export const nearestTraining = (made: Bytes, train: Bytes): Finding => {
  const nearest = Array.from({ length: Math.min(20, countOf(made)) }, (_, i) => {
    let least = Number.POSITIVE_INFINITY;
    for (let j = 0; j < Math.min(5000, countOf(train)); j++) least = Math.min(least, distance(made, i, train, j));
    return least;
  });
  const value = nearest.reduce((sum, each) => sum + each, 0) / nearest.length;
  const copies = nearest.filter((each) => each < 0.02).length;
  return {
    value,
    sentence: `the nearest training image is ${value.toPrecision(2)} away on average${copies > 0 ? `; ${copies} of ${nearest.length} images are copies of one` : ''}`,
    warning: copies > 0,
  };
};

/** Share of the values that a byte could not hold. */
export const clippedShare = (value: number): Finding => ({
  value,
  sentence: `${percent(value)} of the values were darker than black or brighter than white, and clipped`,
  warning: value > 0.1,
});

/** What is known of a pool of synthesised images. */
export interface Synthesis {
  /** What the victim and a net trained on real images answer to them, [images, classes] each. */
  readonly victim: Logits;
  readonly verifier: Logits;
  /** The class that each was made for, and the names of all classes. */
  readonly labels: readonly number[];
  readonly classes: readonly string[];
  /** The images, as many real ones, and more of the training images. */
  readonly made: Bytes;
  readonly real: Bytes;
  readonly train: Bytes;
  readonly shape: { readonly width: number; readonly channels: number };
  /** Distances of the victim's batch norms on the images and on real ones, by layer; absent where it has none. */
  readonly distances?: {
    readonly made: Readonly<Record<string, number>>;
    readonly real: Readonly<Record<string, number>>;
  };
  /** Share of the values that a byte could not hold. */
  readonly clipped: number;
}

/** A number of synthesised images; `of` gives nothing where it does not apply. */
export interface ImageMetric extends Quantity {
  readonly of: (synthesis: Synthesis) => Finding | undefined;
}

/** Everything that is looked at in synthesised images, in the order in which it is shown. */
export const imageMetrics: readonly ImageMetric[] = [
  {
    name: 'classes',
    unit: 'count',
    better: 'neither',
    describe: 'How many of the images the victim takes for each class.',
    of: ({ victim, classes }) => classHistogram(victim, classes),
  },
  {
    name: 'balance',
    unit: 'share',
    better: 'higher',
    describe: 'Entropy of the classes that the victim takes the images for, over that of even shares; 1 is even.',
    of: ({ victim }) => classBalance(victim),
  },
  {
    name: 'confidence',
    unit: 'share',
    better: 'higher',
    describe: "Mean of the victim's largest probability.",
    of: ({ victim }) => meanConfidence(victim),
  },
  {
    name: 'verifier accuracy',
    unit: 'share',
    better: 'higher',
    describe: 'Share of the images that a net trained on real ones takes for the class they were made for.',
    of: ({ verifier, labels }) => verifierAccuracy(verifier, labels),
  },
  {
    name: 'batch-norm distance',
    unit: 'number',
    better: 'lower',
    describe: "Distance of each batch norm's statistics on the images from its running ones, by layer.",
    of: ({ distances }) => distances && batchNormDistances(distances.made, distances.real),
  },
  {
    name: 'total variation',
    unit: 'number',
    better: 'neither',
    describe: 'Mean difference of neighbouring pixels, on a scale from black, 0, to white, 1.',
    of: ({ made, real, shape: { width, channels } }) =>
      variation(meanVariation(made, width, channels), meanVariation(real, width, channels)),
  },
  {
    name: 'diversity',
    unit: 'number',
    better: 'higher',
    describe: 'Mean root-mean-square difference of two of the images, on a scale from black, 0, to white, 1.',
    of: ({ made, real }) => diversity(made, real),
  },
  {
    name: 'nearest training image',
    unit: 'number',
    better: 'neither',
    describe: 'Mean root-mean-square difference to the nearest training image; near 0 the images are copies.',
    of: ({ made, train }) => nearestTraining(made, train),
  },
  {
    name: 'clipped',
    unit: 'share',
    better: 'lower',
    describe: 'Share of the values that were darker than black or brighter than white.',
    of: ({ clipped }) => clippedShare(clipped),
  },
];

/** What is found in synthesised images, by the table of image metrics. */
export const diagnosticsOf = (synthesis: Synthesis): readonly Diagnostic[] =>
  imageMetrics.flatMap(({ of, ...quantity }) => {
    const finding = of(synthesis);
    return finding === undefined ? [] : [{ ...quantity, ...finding }];
  });
