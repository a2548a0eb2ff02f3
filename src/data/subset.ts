import { type Refusal, refusal } from '../core/errors.js';
import { type Key, key, permutation } from '../core/random.js';

/** Labels of a set of examples: all that a choice of images may look at. */
export type Labels = ArrayLike<number>;

const refuseValue: Refusal = refusal('experiment');

/** ⌊fraction·count⌋, where 0.29·100 is 29 although floating point makes it a little less. */
export const shareOf = (fraction: number, count: number): number =>
  Math.floor(Number((fraction * count).toPrecision(12)));

/** Indices by label, each class in random order. */
const shuffledClasses = (labels: Labels, among: Int32Array, from: Key): Int32Array[] => {
  const byClass = new Map<number, number[]>();
  for (const index of among) {
    const label = labels[index] as number;
    const members = byClass.get(label);
    if (members === undefined) byClass.set(label, [index]);
    else members.push(index);
  }
  return [...byClass.keys()]
    .sort((a, b) => a - b)
    .map((label) => {
      const members = byClass.get(label) as number[];
      return permutation(from.split(`class ${label}`), members.length).map((place) => members[place] as number);
    });
};

/**
 * An order of all images of which every beginning is stratified: among the first n, a class with c of all N images has
 * c·n/N of them, rounded up or down. So nested parts of any size are stratified with one order.
 *
 * The j-th image of a class (j = 1 …) may come at place ⌊(j−1)·N/c⌋ + 1 at the earliest and at ⌈j·N/c⌉ at the latest;
 * taking, at each place, the class whose next image must come soonest never misses one (the schedule of proportionate
 * fairness, Baruah et al. 1996). Rounding by largest remainder for each n alone would not nest (the Alabama paradox).
 */
const stratifiedOrder = (labels: Labels, among: Int32Array, from: Key): Int32Array => {
  const classes = shuffledClasses(labels, among, from);
  // Ties are broken by a random order of the classes, so that the first ones are not always favoured.
  const ranks = permutation(from.split('ties'), classes.length);
  const ranked = Array.from(ranks, (rank) => classes[rank] as Int32Array);
  const total = among.length;
  const taken = new Int32Array(ranked.length);
  const order = new Int32Array(total);
  for (let place = 1; place <= total; place++) {
    let chosen = -1;
    let soonest = Number.POSITIVE_INFINITY;
    for (let c = 0; c < ranked.length; c++) {
      const size = (ranked[c] as Int32Array).length;
      const next = (taken[c] as number) + 1;
      if (next > size || Math.floor(((next - 1) * total) / size) + 1 > place) continue;
      const latest = Math.ceil((next * total) / size);
      if (latest < soonest) {
        soonest = latest;
        chosen = c;
      }
    }
    order[place - 1] = (ranked[chosen] as Int32Array)[taken[chosen] as number] as number;
    taken[chosen] = (taken[chosen] as number) + 1;
  }
  return order;
};

const allOf = (labels: Labels): Int32Array => Int32Array.from({ length: labels.length }, (_, i) => i);

export interface SubsetOptions {
  /** Share of the images, in (0, 1]. */
  readonly fraction: number;
  /** `stratified`: every class the same share; `shuffled`: as the paper's code. */
  readonly how: 'stratified' | 'shuffled';
  /** The same seed gives nested subsets: that of 10 % lies in that of 50 %. */
  readonly seed: number | string;
  /** The images to choose from; all by default. */
  readonly among?: Int32Array | undefined;
}

/**
 * ⌊fraction·N⌋ of N images, as indices in random order; how many is the result's length. Depends on labels, fraction, way
 * and seed alone, and is nested: a smaller fraction's indices are the beginning of a larger one's.
 *
 * `shuffled` is what the Nasty Teacher's code does for its sweep over training data: the first ⌊p·N⌋ of a shuffled order,
 * not stratified. The released code shuffles with numpy's generator and seed 230; the order here comes from our own
 * generator, so the images are not the same ones. `stratified` gives each class its share of ⌊p·N⌋, rounded up or down.
 *
 * Throws a `FailureError` of kind `experiment` for a fraction outside (0, 1], and when no image would be left.
 */
export const subset = (labels: Labels, { fraction, how, seed, among = allOf(labels) }: SubsetOptions): Int32Array => {
  if (!(fraction > 0 && fraction <= 1)) {
    refuseValue(
      'a fraction of the data is greater than 0 and at most 1',
      `fraction: ${fraction}`,
      'Give 0.1 for 10 %.',
    );
  }
  const count = shareOf(fraction, among.length);
  if (count === 0) {
    refuseValue(
      `a share of ${fraction} of ${among.length} images is no image`,
      `fraction: ${fraction}`,
      'Give a larger fraction.',
    );
  }
  const from = key(seed).split('subset').split(how);
  const order =
    how === 'stratified'
      ? stratifiedOrder(labels, among, from)
      : permutation(from, among.length).map((place) => among[place] as number);
  return order.slice(0, count);
};

/**
 * At most so many of some images, at random and in their order: the first ones are of one class where a data set has its images class
 * by class.
 */
export const sample = (indices: Int32Array, count: number, from: Key): Int32Array =>
  permutation(from, indices.length)
    .subarray(0, count)
    .sort()
    .map((place) => indices[place] as number);

export interface Split {
  readonly train: Int32Array;
  readonly validation: Int32Array;
}

/**
 * Holds out ⌊validationFraction·N⌋ images for choosing models; both parts are in ascending order. Given labels, each
 * class gives its share, rounded up or down; given a count, or the same label everywhere, the choice is plain. Depends on
 * `from` and the arguments alone. A fraction of 0 holds out nothing. `among`: the images to split (an attacker's subset); all
 * by default.
 *
 * Throws a `FailureError` of kind `experiment` for a fraction outside [0, 1), and when a fraction above 0 holds out no image.
 */
export const split = (
  labelsOrCount: Labels | number,
  validationFraction: number,
  from: Key,
  among?: Int32Array | undefined,
): Split => {
  const where = `validationFraction: ${validationFraction}`;
  if (!(validationFraction >= 0 && validationFraction < 1)) {
    refuseValue('the share held out for validation is at least 0 and below 1', where, 'Give 0.1 for 10 %.');
  }
  const labels = typeof labelsOrCount === 'number' ? new Uint8Array(labelsOrCount) : labelsOrCount;
  const candidates = among ?? allOf(labels);
  const held = shareOf(validationFraction, candidates.length);
  if (held === 0 && validationFraction > 0) {
    refuseValue(
      `a share of ${validationFraction} of ${candidates.length} images is no image`,
      where,
      'Give a larger fraction, or 0 to hold out nothing.',
    );
  }
  const order = stratifiedOrder(labels, candidates, from.split('split'));
  return { train: order.slice(held).sort(), validation: order.slice(0, held).sort() };
};
