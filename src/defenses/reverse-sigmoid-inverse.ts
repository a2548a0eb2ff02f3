import * as tf from '@tensorflow/tfjs';
import { rows } from '../public/ops.js';

/** The least probability that the map tells apart from 0; 1 less it is the largest. */
export const smallest = 1e-9;

/** σ(γ logit v) − ½ */
const pulled = (v: number, gamma: number): number => 1 / (1 + ((1 - v) / v) ** gamma) - 0.5;

/** h(v) = v − β (σ(γ logit v) − ½): what is told of a probability v, but for the sum that all are divided by. */
const mapped = (v: number, beta: number, gamma: number): number => v - beta * pulled(v, gamma);

/**
 * Where h, which falls from 0 on, begins to rise: as h(1 − v) = 1 − h(v), it falls again from 1 less that on. `smallest` where it falls
 * nowhere, undefined where it rises nowhere.
 */
const turningPoint = (beta: number, gamma: number): number | undefined => {
  if (beta * gamma >= 1) return undefined;
  const rises = (v: number): boolean => {
    const p = pulled(v, gamma) + 0.5;
    return (beta * gamma * p * (1 - p)) / (v * (1 - v)) <= 1;
  };
  if (rises(smallest)) return smallest;
  let [low, high] = [Math.log(smallest), Math.log(0.5)];
  for (let step = 0; step < 60; step++) {
    const half = (low + high) / 2;
    if (rises(Math.exp(half))) high = half;
    else low = half;
  }
  return Math.exp(high);
};

/** Equal distances of what is told at which a branch of the inverse is known. */
const places = 4096;

/** One of the three branches of h⁻¹: from what is told to the probability between two that it came of. */
type Branch = (told: tf.Tensor) => tf.Tensor;

/** A branch at equal distances of what is told, from its first to its last. */
interface Table {
  readonly first: number;
  readonly last: number;
  readonly known: Float32Array;
}

const tableOf = (from: number, to: number, beta: number, gamma: number): Table => {
  const [first, last] = [mapped(from, beta, gamma), mapped(to, beta, gamma)];
  const known = Float32Array.from({ length: places + 1 }, (_, i) => {
    const wanted = first + ((last - first) * i) / places;
    let [near, far] = [from, to];
    for (let step = 0; step < 36; step++) {
      const half = (near + far) / 2;
      if (mapped(half, beta, gamma) < wanted === first < last) near = half;
      else far = half;
    }
    return (near + far) / 2;
  });
  return { first, last, known };
};

const branchOf = ({ first, last, known }: Table): Branch => {
  const table = tf.tensor1d(known);
  const slopes = tf.tensor1d(known.map((value, i) => (known[i + 1] ?? value) - value));
  return (told) => {
    const at = tf.clipByValue(tf.mul(tf.sub(told, first), places / (last - first)), 0, places);
    const below = tf.floor(at);
    const index = tf.reshape(tf.cast(below, 'int32'), [-1]) as tf.Tensor1D;
    const entry = (of: tf.Tensor1D) => tf.reshape(rows(of, index), told.shape);
    return tf.add(entry(table), tf.mul(tf.sub(at, below), entry(slopes)));
  };
};

/** Sums that are tried first, and how many of the places at which they fit are looked at more closely. */
const [sums, mostFits] = [256, 4];

/** In each of so many rounds what is left is cut into so many sections. */
const [rounds, sections] = [4, 16];

/** How many of the classes that are told most, and least, may be on the middle branch. */
const [mostFirst, mostLast] = [32, 8];

/** How far a probability that is told may be from what would be told of the clean answer. */
const tolerance = 1e-4;

/**
 * The clean answer to a perturbed one: the y with Σ y_k = 1 and h(y_k) = s y′_k, where h(v) = v − β (σ(γ logit v) − ½) and s is the
 * sum that was divided by. h falls up to a turning point, rises to another, and falls again: there may be several, since a probability next to 0
 * is told as a larger one is, and a sure one as a surer one. Tried are those whose classes on the middle branch are the ones that are told
 * most, and of the ones that are told least the fewest that are needed; the surest of them is taken, as a trained net is sure, so that unsure
 * answers may come back as too sure. One to which no clean answer is found comes back as it is: so one that is the same whatever was asked.
 *
 * @param tell what is told of clean log-probabilities: what would be told otherwise is no clean answer
 * @returns a function of the logarithms of what was told, [batch, classes]
 */
export const undoing = (
  beta: number,
  gamma: number,
  tell: (clean: tf.Tensor2D) => tf.Tensor2D,
): ((answers: tf.Tensor2D) => tf.Tensor2D) => {
  const turn = turningPoint(beta, gamma);
  if (turn === undefined || beta === 0) return (answers) => answers;
  const isOne = turn === smallest;
  const middle = tableOf(turn, 1 - turn, beta, gamma);
  const lower = isOne ? middle : tableOf(turn, smallest, beta, gamma);
  const upper = isOne ? middle : tableOf(1 - turn, 1 - smallest, beta, gamma);
  const of = (v: number): number => mapped(v, beta, gamma);
  const ends = { least: of(turn), most: of(1 - turn), none: of(smallest), all: of(1 - smallest) };
  return (answers) => undone(answers, beta, { middle, lower, upper }, ends, tell);
};

const undone = (
  answers: tf.Tensor2D,
  beta: number,
  tables: Readonly<Record<'middle' | 'lower' | 'upper', Table>>,
  /** What is told at the turning points, of next to nothing and of next to all. */
  ends: Readonly<Record<'least' | 'most' | 'none' | 'all', number>>,
  tell: (clean: tf.Tensor2D) => tf.Tensor2D,
): tf.Tensor2D => {
  const [batch, classes] = answers.shape;
  const [firsts, lasts] = [Math.min(classes, mostFirst), Math.min(classes, mostLast)];
  const [middle, lower, upper] = [tables.middle, tables.lower, tables.upper].map(branchOf) as [Branch, Branch, Branch];

  // From the most to the least that is told: the likeliest class, so many of the others in the middle, and the rest below it.
  const { values: told, indices } = tf.topk(tf.exp(answers), classes);
  const split = <T extends tf.Tensor>(x: T): readonly [T, T] => {
    const size = x.shape.slice(0, -1);
    const zeros = size.map(() => 0);
    return [tf.slice(x, [...zeros, 0], [...size, 1]), tf.slice(x, [...zeros, 1], [...size, classes - 1])];
  };

  // All sums that there may be: [sums, batch, …].
  const least = Math.max(1 - beta / 2, 1e-3);
  const width = (1 + (beta * classes) / 2 - least) / (sums - 1);
  const [top, others] = split(tf.mul(told, tf.reshape(tf.add(tf.mul(tf.range(0, sums), width), least), [sums, 1, 1])));
  const none = tf.zerosLike(top);
  // What more there is if the first of the others, none to all, are in the middle and not below it: [sums, batch, classes].
  const [high, small] = [middle(others), lower(others)];
  const more = tf.concat([none, tf.cumsum(tf.sub(high, small), 2)], 2);
  const first = tf.slice(more, [0, 0, 0], [sums, batch, firsts]);
  const last = tf.sub(
    tf.slice(more, [0, 0, classes - 1], [sums, batch, 1]),
    tf.slice(tf.reverse(more, 2), [0, 0, 0], [sums, batch, lasts]),
  );
  // [sums, batch, firsts, lasts, 2]: the likeliest class in the middle, or above it.
  const rest = tf.add(tf.expandDims(first, 3), tf.expandDims(last, 2));
  const tops = tf.concat([middle(top), upper(top)], 2);
  const whole = tf.add(tops, tf.sum(small, 2, true));
  const excess = tf.sub(tf.add(tf.expandDims(rest, 4), tf.reshape(whole, [sums, batch, 1, 1, 2])), 1);
  const isLow = tf.lessEqual(
    tf.slice(tf.concat([others, none], 2), [0, 0, 0], [sums, batch, firsts]),
    ends.none + tolerance,
  );
  const isWithin = tf.logicalAnd(
    tf.lessEqual(top, ends.most + tolerance),
    tf.greaterEqual(tf.min(others, 2, true), ends.least - tolerance),
  );
  const isSure = tf.greaterEqual(top, ends.all - tolerance);
  const may = tf.logicalAnd(
    tf.reshape(tf.logicalAnd(isLow, isWithin), [sums, batch, firsts, 1, 1]),
    tf.reshape(tf.concat([tf.onesLike(isSure), isSure], 2), [sums, batch, 1, 1, 2]),
  );
  // Between two sums at which the clean answer's probabilities are more than 1 together, and less.
  const from = (x: tf.Tensor, start: number) => tf.slice(x, [start, 0, 0, 0, 0], [sums - 1, -1, -1, -1, -1]);
  const fits = tf.logicalAnd(
    tf.lessEqual(tf.mul(from(excess, 0), from(excess, 1)), 0),
    tf.logicalOr(from(may, 0), from(may, 1)),
  );
  const sureness = tf.reshape(tf.slice(tops, [0, 0, 0], [sums - 1, batch, 2]), [sums - 1, batch, 1, 1, 2]);
  // Both at most all of them; the fewer of those that are told least, the sooner they are looked at.
  const merits = Array.from({ length: firsts }, (_, j) =>
    Array.from({ length: lasts }, (_, i) => (i + j < classes ? lasts - i : -lasts)),
  );
  const merit = tf.reshape(tf.tensor2d(merits, [firsts, lasts]), [1, 1, firsts, lasts, 1]);
  const score = tf.where(fits, tf.add(sureness, merit), -lasts);
  const best = tf.topk(tf.reshape(tf.transpose(score, [1, 0, 2, 3, 4]), [batch, -1]), mostFits);
  const isFit = tf.greater(best.values, 0);
  // [batch, fits]
  let place = tf.cast(best.indices, 'float32');
  const digit = (size: number): tf.Tensor => {
    const left = tf.floor(tf.div(place, size));
    const found = tf.sub(place, tf.mul(left, size));
    place = left;
    return tf.expandDims(found, 2);
  };
  const isAbove = tf.greater(digit(2), 0);
  const [atEnd, atStart] = [digit(lasts), digit(firsts)];
  const section = place;
  const order = tf.range(0, classes - 1);
  const isMiddle = tf.logicalOr(tf.less(order, atStart), tf.greaterEqual(order, tf.sub(classes - 1, atEnd)));
  /** The probabilities at sums [tried, batch, fits], from the most to the least that is told: [tried, batch, fits, classes]. */
  const cleanAt = (at: tf.Tensor): tf.Tensor => {
    const [likeliest, less] = split(tf.mul(tf.expandDims(told, 1), tf.expandDims(at, 3)));
    const likeliestOf = tf.where(isAbove, upper(likeliest), middle(likeliest));
    return tf.concat([likeliestOf, tf.where(isMiddle, middle(less), lower(less))], 3);
  };
  const exceeds = (at: tf.Tensor): tf.Tensor => tf.greater(tf.sum(cleanAt(at), 3), 1);
  let [sum, size]: [tf.Tensor, number] = [tf.expandDims(tf.add(tf.mul(section, width), least), 0), width];
  const before = exceeds(sum);
  for (let round = 0; round < rounds; round++) {
    size /= sections;
    const steps = tf.mul(tf.range(1, sections), size);
    const alike = tf.equal(exceeds(tf.add(sum, tf.reshape(steps, [-1, 1, 1]))), before);
    sum = tf.add(sum, tf.mul(tf.sum(tf.cast(alike, 'float32'), 0, true), size));
  }
  const sorted = tf.squeeze(cleanAt(tf.add(sum, size / 2)), [0]);
  // Back to the classes' own places; not by a matrix product, which a graphics card may round to ten bits.
  const places = tf.expandDims(tf.oneHot(indices, classes, 1, 0, 'float32'), 1);
  const clean = tf.sum(tf.mul(tf.expandDims(sorted, 3), places), 2);
  const logarithms = tf.log(tf.div(clean, tf.sum(clean, 2, true)));
  const again = tf.exp(tell(tf.reshape(logarithms, [batch * mostFits, classes])));
  const apart = tf.abs(tf.sub(tf.reshape(again, clean.shape), tf.exp(tf.expandDims(answers, 1))));
  const isTold = tf.logicalAnd(isFit, tf.less(tf.max(apart, 2), tolerance));
  const chosen = tf.oneHot(tf.argMax(tf.cast(isTold, 'int32'), 1), mostFits, 1, 0, 'float32');
  const found = tf.sum(tf.where(tf.expandDims(tf.cast(chosen, 'bool'), 2), logarithms, 0), 1);
  return tf.where(tf.any(isTold, 1).expandDims(1), found, answers) as tf.Tensor2D;
};
