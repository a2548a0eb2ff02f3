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

/** What is told at the turning points of h, of next to nothing and of next to all. */
type Ends = Readonly<Record<'least' | 'most' | 'none' | 'all', number>>;

/** The branches from one end to the turning point, between the two, and from there to the other end. */
interface Branches {
  readonly middle: Branch;
  readonly lower: Branch;
  readonly upper: Branch;
}

/** Which branch each class may be on, best first; each [batch, mostFits, 1]. */
interface Candidates {
  /** Whether it is one, and not one of too few. */
  readonly isFit: tf.Tensor;
  /** Whether the likeliest class is above the middle. */
  readonly isAbove: tf.Tensor;
  /** How many of the others are in the middle: of those that are told most, and least. */
  readonly atStart: tf.Tensor;
  readonly atEnd: tf.Tensor;
  /** A sum that is at most `width` less than the one that was divided by. */
  readonly sum: tf.Tensor;
}

/** The likeliest class, and the others: [..., classes] to [..., 1] and [..., classes − 1]. */
const split = <T extends tf.Tensor>(x: T): readonly [T, T] => {
  const size = x.shape.slice(0, -1);
  const start = size.map(() => 0);
  return [tf.slice(x, [...start, 0], [...size, 1]), tf.slice(x, [...start, 1], [...size, -1])];
};

/** The least sum that there may be, and the distance between two that are tried. */
const scaleOf = (beta: number, classes: number): { readonly least: number; readonly width: number } => {
  const least = Math.max(1 - beta / 2, 1e-3);
  return { least, width: (1 + (beta * classes) / 2 - least) / (sums - 1) };
};

/** What fits what is told, [batch, classes] from the most to the least. */
const candidatesOf = (
  told: tf.Tensor2D,
  { middle, lower, upper }: Branches,
  ends: Ends,
  { least, width }: ReturnType<typeof scaleOf>,
): Candidates => {
  const [batch, classes] = told.shape;
  const [firsts, lasts] = [Math.min(classes, mostFirst), Math.min(classes, mostLast)];
  // All of these are [sums × batch, …]: the answers at the first sum, at the next, …
  const tried = tf.reshape(tf.add(tf.mul(tf.range(0, sums), width), least), [sums, 1, 1]);
  const [top, others] = split(told).map((of) => tf.reshape(tf.mul(of, tried), [sums * batch, -1])) as [
    tf.Tensor2D,
    tf.Tensor2D,
  ];
  const none = tf.zerosLike(top);
  // What more there is if the first of the others, none to all, are in the middle and not below it: [sums × batch, classes].
  const [high, small] = [middle(others), lower(others)];
  const more = tf.concat([none, tf.cumsum(tf.sub(high, small), 1)], 1);
  const first = tf.slice(more, [0, 0], [-1, firsts]);
  const last = tf.sub(
    tf.slice(more, [0, classes - 1], [-1, 1]),
    tf.reverse(tf.slice(more, [0, classes - lasts], [-1, lasts]), 1),
  );
  // The likeliest class in the middle, or above it: [sums × batch, 2]. What they leave for the first: [sums × batch, 2, lasts].
  const tops = tf.concat([middle(top), upper(top)], 1);
  const whole = tf.add(tops, tf.sum(small, 1, true));
  const left = tf.sub(1, tf.add(tf.expandDims(whole, 2), tf.expandDims(last, 1)));
  const isLow = tf.lessEqual(tf.slice(tf.concat([others, none], 1), [0, 0], [-1, firsts]), ends.none + tolerance);
  const isWithin = tf.logicalAnd(
    tf.lessEqual(top, ends.most + tolerance),
    tf.greaterEqual(tf.min(others, 1, true), ends.least - tolerance),
  );
  const isSure = tf.greaterEqual(top, ends.all - tolerance);
  const may = tf.logicalAnd(
    tf.expandDims(tf.logicalAnd(isLow, isWithin), 1),
    tf.expandDims(tf.concat([tf.onesLike(isSure), isSure], 1), 2),
  );
  // No more in the middle than there are others.
  const isThere = Array.from({ length: lasts * firsts }, (_, at) => Math.floor(at / firsts) + (at % firsts) < classes);
  // Between two sums at which the clean answer's probabilities are 1 together or more, and 1 or less.
  const between = (sums - 1) * batch;
  const ofLess = (x: tf.Tensor): tf.Tensor => tf.slice(x, 0, between);
  const ofMore = (x: tf.Tensor): tf.Tensor => tf.slice(x, batch, between);
  const excess = tf.sub(tf.expandDims(first, 1), tf.reshape(left, [sums * batch, 2 * lasts, 1]));
  const isAny = tf.logicalAnd(
    tf.expandDims(tf.logicalOr(ofLess(may), ofMore(may)), 2),
    tf.tensor(isThere, [lasts, firsts], 'bool'),
  );
  // Not where both are more, or both less; so said, since a comparison with 0 takes longer.
  const isAlike = tf.cast(tf.step(tf.mul(ofLess(excess), ofMore(excess))), 'bool');
  const fits = tf.logicalAnd(tf.logicalNot(isAlike), tf.reshape(isAny, isAlike.shape));
  // The fewer in the middle of those that are told least, the sooner it is looked at; then, the surer it is.
  const merit = tf.add(tf.expandDims(ofLess(tops), 2), tf.range(lasts, 0, -1));
  const groups = 2 * lasts;
  const merits = tf.where(tf.any(fits, 2), tf.reshape(merit, [between, groups]), 0);
  const best = tf.topk(
    tf.reshape(tf.transpose(tf.reshape(merits, [sums - 1, batch, groups]), [1, 0, 2]), [batch, -1]),
    mostFits,
  );
  // Which of the first are in the middle: merit has no say in it. [batch, mostFits, firsts]
  const [section, group] = digits(tf.cast(best.indices, 'float32'), groups);
  const inWhole = (x: tf.Tensor): tf.Tensor => tf.cast(x, 'int32');
  const row = tf.add(tf.mul(inWhole(section), tf.scalar(batch, 'int32')), tf.range(0, batch, 1, 'int32').expandDims(1));
  const place = tf.reshape(tf.add(tf.mul(row, tf.scalar(groups, 'int32')), inWhole(group)), [-1]) as tf.Tensor1D;
  const fitting = tf.reshape(rows(tf.reshape(fits, [between * groups, firsts]), place), [batch, mostFits, firsts]);
  const chosen = tf.topk(
    tf.reshape(tf.where(fitting, tf.expandDims(best.values, 2), 0), [batch, mostFits * firsts]),
    mostFits,
  );
  const [which, atStart] = digits(tf.cast(tf.expandDims(chosen.indices, 2), 'float32'), firsts);
  const isOf = tf.equal(which, tf.range(0, mostFits));
  const ofChosen = (x: tf.Tensor): tf.Tensor => tf.sum(tf.where(isOf, tf.expandDims(x, 1), 0), 2, true);
  const [above, atEnd] = digits(ofChosen(group), lasts);
  return {
    isFit: tf.greater(tf.expandDims(chosen.values, 2), 0),
    isAbove: tf.greater(above, 0),
    ...{ atStart, atEnd },
    sum: tf.add(tf.mul(ofChosen(section), width), least),
  };
};

/** How often `size` is in whole numbers, and what is left. */
const digits = (of: tf.Tensor, size: number): readonly [tf.Tensor, tf.Tensor] => {
  const more = tf.floor(tf.div(of, size));
  return [more, tf.sub(of, tf.mul(more, size))];
};

/** The probabilities of each of the candidates, [batch, mostFits, classes], from the most to the least that is told. */
const cleanOf = (
  told: tf.Tensor2D,
  { isAbove, atStart, atEnd, sum }: Candidates,
  { middle, lower, upper }: Branches,
  width: number,
): tf.Tensor => {
  const others = told.shape[1] - 1;
  const order = tf.range(0, others);
  const isMiddle = tf.logicalOr(tf.less(order, atStart), tf.greaterEqual(order, tf.sub(others, atEnd)));
  /** At sums [tried, batch, mostFits, 1]: [tried, batch, mostFits, classes]. */
  const cleanAt = (at: tf.Tensor): tf.Tensor => {
    const [likeliest, less] = split(tf.mul(tf.expandDims(told, 1), at));
    const likeliestOf = tf.where(isAbove, upper(likeliest), middle(likeliest));
    return tf.concat([likeliestOf, tf.where(isMiddle, middle(less), lower(less))], 3);
  };
  const exceeds = (at: tf.Tensor): tf.Tensor => tf.greater(tf.sum(cleanAt(at), 3, true), 1);
  let [start, size]: [tf.Tensor, number] = [tf.expandDims(sum, 0), width];
  const before = exceeds(start);
  for (let round = 0; round < rounds; round++) {
    size /= sections;
    const steps = tf.mul(tf.range(1, sections), size);
    const alike = tf.equal(exceeds(tf.add(start, tf.reshape(steps, [-1, 1, 1, 1]))), before);
    start = tf.add(start, tf.mul(tf.sum(tf.cast(alike, 'float32'), 0, true), size));
  }
  return tf.squeeze(cleanAt(tf.add(start, size / 2)), [0]);
};

const undone = (
  answers: tf.Tensor2D,
  beta: number,
  tables: Readonly<Record<keyof Branches, Table>>,
  ends: Ends,
  tell: (clean: tf.Tensor2D) => tf.Tensor2D,
): tf.Tensor2D => {
  const [batch, classes] = answers.shape;
  const [middle, lower, upper] = [tables.middle, tables.lower, tables.upper].map(branchOf) as [Branch, Branch, Branch];
  const branches = { middle, lower, upper };
  const { values: told, indices } = tf.topk(tf.exp(answers), classes);
  const scale = scaleOf(beta, classes);
  const candidates = candidatesOf(told, branches, ends, scale);
  const sorted = cleanOf(told, candidates, branches, scale.width);
  // Back to the classes' own places; not by a matrix product, which a graphics card may round to ten bits.
  const places = tf.expandDims(tf.oneHot(indices, classes, 1, 0, 'float32'), 1);
  const clean = tf.sum(tf.mul(tf.expandDims(sorted, 3), places), 2);
  const logarithms = tf.log(tf.div(clean, tf.sum(clean, 2, true)));
  const again = tf.exp(tell(tf.reshape(logarithms, [batch * mostFits, classes])));
  const apart = tf.abs(tf.sub(tf.reshape(again, clean.shape), tf.exp(tf.expandDims(answers, 1))));
  const isTold = tf.logicalAnd(tf.squeeze(candidates.isFit, [2]), tf.less(tf.max(apart, 2), tolerance));
  const chosen = tf.oneHot(tf.argMax(tf.cast(isTold, 'int32'), 1), mostFits, 1, 0, 'float32');
  const found = tf.sum(tf.where(tf.expandDims(tf.cast(chosen, 'bool'), 2), logarithms, 0), 1);
  return tf.where(tf.any(isTold, 1).expandDims(1), found, answers) as tf.Tensor2D;
};
