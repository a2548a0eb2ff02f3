import * as tf from '@tensorflow/tfjs';
import { rows } from '../public/ops.js';
import { between, choice, defineDefense, option, wholeAtLeast } from '../public/plugin.js';

/**
 * ModelGuard (Tang et al., USENIX Security 2024), which keeps the most likely class. `W` gives, for each query by
 * itself, the answer within an L1 distance of ε that is worth least to who wants to know the clean one: the linear
 * programme
 *
 *   minimise Σ_k ln(y_k + 10⁻⁶) y′_k  subject to
 *   Σ y′ = 1, 0 ≤ y′ ≤ 1, ‖y′ − y‖₁ ≤ ε, y′_m − y′_j ≥ 10⁻⁴ for all j ≠ m = argmax y.
 *
 * `S` is stateful over all queries: of each class it keeps answers that it gave, in order, and gives the first of them
 * within ε; where there is none, the clean answer is given and kept. Its owner's looks at it leave no trace: then a
 * query that nothing fits gets the nearest answer there is. It is measured after it was asked about the victim's training images.
 *
 * Yoruko-Tang/ModelGuard 0eb60fc: defenses/victim/mld.py, quantize.py, and scripts/run_cifar10.py (ordered, not
 * optimised, not frozen). There the list of `S` has no end; here it has `capacity` answers a class, and when they are
 * full the nearest is given.
 */
export const modelGuard = defineDefense({
  name: 'modelGuard',
  source: import.meta.url,
  about: 'Answers within an L1 distance of the clean ones: the least informative (W), or ones given before (S)',
  paper:
    'Tang et al., ModelGuard: Information-theoretic defense against model extraction attacks, USENIX Security 2024',
  options: {
    variant: option(choice('W', 'S'), 'W', 'Each query by itself, or by those before'),
    epsilon: option(between(0, 2), 1, 'ε, the largest L1 distance from the clean answer'),
    capacity: option(wholeAtLeast(1), 128, 'Answers that `S` keeps of each class'),
  },
  presets: { releasedW: {}, releasedS: { variant: 'S' } },
  exposes: 'probabilities',
  make: ({ variant, epsilon, capacity }) => ({
    preserves: 'label',
    answers:
      variant === 'W'
        ? {
            kind: 'pure',
            slow: true,
            answer: ({ logProbabilities }) => ({
              logProbabilities: tf.log(leastInformative(tf.exp(logProbabilities), epsilon)),
            }),
          }
        : {
            kind: 'stateful',
            init: (_: object, { classes }: { readonly classes: number }): Codebook => ({
              answers: tf.zeros([classes, capacity, classes]),
              counts: tf.zeros([classes]),
            }),
            answer: ({ logProbabilities, state, frozen }) => {
              const { given, codebook } = quantised(tf.exp(logProbabilities), state as Codebook, epsilon, frozen);
              return { logProbabilities: tf.log(given), state: codebook };
            },
          },
  }),
});

/** By how much the most likely class leads at least. */
const lead = 1e-4;

/**
 * Candidates for the largest probability that are tried at once, and how often the best one's neighbourhood is looked
 * into.
 */
const [candidates, rounds] = [17, 6];

/**
 * The answers of `W`: [batch, classes] probabilities to the same.
 *
 * For a fixed t = y′_m the best that can be done with the other classes is plain: cut them to t − 10⁻⁴, then move mass
 * from the most to the least likely of them as far as ε allows. The value of that is convex in t, whose best is found
 * by trying ever finer grids.
 */
export const leastInformative = (y: tf.Tensor2D, epsilon: number): tf.Tensor2D => {
  const [batch, classes] = y.shape;
  const { values, indices } = tf.topk(y, classes);
  const top = tf.slice(values, [0, 0], [batch, 1]);
  // [batch, 1, classes − 1], from the most to the least likely.
  const others = tf.expandDims(tf.slice(values, [0, 1], [batch, classes - 1]), 1) as tf.Tensor3D;
  const cost = (p: tf.Tensor): tf.Tensor => tf.log(tf.add(p, 1e-6));

  /**
   * The others for candidates t [batch, n]: [batch, n, classes − 1], and the value of all, with what is not allowed
   * made dear.
   */
  const best = (t: tf.Tensor2D) => {
    const cap = tf.relu(tf.expandDims(tf.sub(t, lead), 2)) as tf.Tensor3D;
    const risen = tf.expandDims(tf.sub(t, top), 2);
    const budget = tf.sub(epsilon, tf.abs(risen));
    // What the others lose and gain: together the budget, and the difference is what the first one gains.
    const [loss, gain] = [tf.div(tf.add(budget, risen), 2), tf.div(tf.sub(budget, risen), 2)] as [tf.Tensor, tf.Tensor];
    const kept = tf.minimum(others, cap);
    const forced = tf.sum(tf.sub(others, kept), 2, true);
    const rest = tf.sub(1, tf.expandDims(t, 2));
    const lowestFirst = (room: tf.Tensor3D, amount: tf.Tensor) => taken(room, amount, true);
    const removed = taken(kept as tf.Tensor3D, tf.relu(tf.sub(loss, forced)), false);
    const added = lowestFirst(tf.sub(tf.add(tf.zerosLike(kept), cap), kept) as tf.Tensor3D, tf.relu(gain));
    const moved = tf.sub(tf.add(kept, added), removed);
    // With enough to spend, all that is left lies on the least likely ones.
    const free = lowestFirst(tf.add(tf.zerosLike(kept), cap) as tf.Tensor3D, rest);
    const isFree = tf.lessEqual(tf.sum(tf.abs(tf.sub(free, others)), 2, true), budget);
    const chosen = tf.where(isFree, free, moved) as tf.Tensor3D;
    const excess = tf.add(tf.relu(tf.sub(forced, loss)), tf.relu(tf.sub(rest, tf.mul(cap, classes - 1))));
    const missing = tf.abs(tf.sub(tf.sum(chosen, 2, true), rest));
    const value = tf.add(
      tf.add(tf.mul(tf.expandDims(cost(top), 2), tf.expandDims(t, 2)), tf.sum(tf.mul(cost(others), chosen), 2, true)),
      tf.mul(tf.add(excess, missing), 1e3),
    );
    return { chosen, value: tf.squeeze(value, [2]) as tf.Tensor2D };
  };

  const steps = tf.reshape(tf.linspace(0, 1, candidates), [1, candidates]);
  let low = tf.relu(tf.sub(top, epsilon / 2));
  let high = tf.minimum(tf.add(top, epsilon / 2), 1);
  for (let round = 0; round < rounds; round++) {
    const grid = tf.add(low, tf.mul(tf.sub(high, low), steps)) as tf.Tensor2D;
    const place = tf.argMin(best(grid).value, 1);
    const pick = (offset: number) =>
      tf.sum(
        tf.mul(
          grid,
          tf.oneHot(
            tf.clipByValue(tf.add(place, tf.scalar(offset, 'int32')), 0, candidates - 1).cast('int32'),
            candidates,
          ),
        ),
        1,
        true,
      );
    [low, high] = [pick(-1), pick(1)];
  }
  const t = tf.div(tf.add(low, high), 2) as tf.Tensor2D;
  const sorted = tf.concat([t, tf.squeeze(best(t).chosen, [1])], 1);
  // Back to the classes' own places; not by a matrix product, which a graphics card may round to ten bits.
  const places = tf.oneHot(indices, classes, 1, 0, 'float32') as tf.Tensor3D;
  const answer = tf.sum<tf.Tensor2D>(tf.mul(tf.expandDims(sorted, 2), places), 1);
  return tf.div(answer, tf.sum(answer, 1, true));
};

/**
 * How much of an amount each of several holders gives, one after the other, from the first or from the last on: [batch,
 * n, k].
 */
const taken = (has: tf.Tensor3D, amount: tf.Tensor, fromLast: boolean): tf.Tensor3D => {
  const before = tf.cumsum(has, 2, true, fromLast);
  return tf.minimum(tf.relu(tf.sub(amount, before)), has) as tf.Tensor3D;
};

/**
 * The answers that were given: by class in order [classes, capacity, classes], and how many there are of each class
 * [classes].
 */
type Codebook = { readonly answers: tf.Tensor3D; readonly counts: tf.Tensor1D };

/**
 * The answers of `S`: [batch, classes] probabilities, image by image in the order of the batch, so that it does not
 * matter how queries are put together in batches. Answers are handed on as they are, bit by bit.
 */
export const quantised = (
  y: tf.Tensor2D,
  { answers, counts }: Codebook,
  epsilon: number,
  frozen: boolean,
): { readonly given: tf.Tensor2D; readonly codebook: Codebook } => {
  const [batch, classes] = y.shape;
  const capacity = answers.shape[1];
  const top = tf.argMax(y, 1) as tf.Tensor1D;
  const ofClass = tf.oneHot(top, classes, 1, 0, 'float32') as tf.Tensor2D;
  /** What is kept for each image's class before this batch. */
  const held = tf.sum(tf.mul(ofClass, counts), 1) as tf.Tensor1D;
  const known = rows(answers, top);
  /** L1 distances; what is not there is infinitely far. */
  const distances = (from: tf.Tensor, to: tf.Tensor, there: tf.Tensor): tf.Tensor2D =>
    tf.where(there, tf.sum(tf.abs(tf.sub(from, to)), 2), Number.POSITIVE_INFINITY) as tf.Tensor2D;
  const column = (of: tf.Tensor) => tf.reshape(of, [batch, 1]);
  const toKnown = distances(known, tf.expandDims(y, 1), tf.less(tf.range(0, capacity), column(held)));
  const sameClass = tf.equal(column(top), top);
  const apart = distances(tf.expandDims(y, 1), tf.expandDims(y, 0), tf.logicalAnd(sameClass, isEarlier(batch)));

  // One query after the other: what is kept of one may be given to a later one.
  let fits = tf.any(tf.lessEqual(toKnown, epsilon), 1).cast('float32') as tf.Tensor1D;
  let used = counts;
  const fresh: tf.Tensor[] = [];
  for (let i = 0; i < (frozen ? 0 : batch); i++) {
    const own = tf.slice(ofClass, [i, 0], [1, classes]);
    const room = tf.less(tf.sum(tf.mul(used, own)), capacity).cast('float32');
    const isNew = tf.mul(tf.sub(1, tf.slice(fits, i, 1)), room);
    const near = tf.lessEqual(tf.reshape(tf.slice(apart, [0, i], [batch, 1]), [batch]), epsilon).cast('float32');
    fits = tf.maximum(fits, tf.mul(near, isNew));
    used = tf.add(used, tf.mul(tf.reshape(own, [classes]), isNew)) as tf.Tensor1D;
    fresh.push(isNew);
  }
  const added = (fresh.length === 0 ? tf.zeros([batch]) : tf.concat(fresh)) as tf.Tensor1D;
  const isAdded = tf.greater(added, 0);

  // Of all that there is at an image's turn, older ones first: the first that fits, or else the nearest.
  const all = tf.concat([toKnown, tf.where(isAdded, apart, Number.POSITIVE_INFINITY)], 1) as tf.Tensor2D;
  const allFit = tf.lessEqual(all, epsilon);
  const place = tf.where(tf.any(allFit, 1), tf.argMax(allFit.cast('int32'), 1), tf.argMin(all, 1)).cast('int32');
  const picked = tf.oneHot(place, capacity + batch, 1, 0, 'float32');
  const fromKnown = tf.sum(tf.mul(known, tf.expandDims(tf.slice(picked, [0, 0], [batch, capacity]), 2)), 1);
  const fromThese = rows(
    y,
    tf.maximum(tf.sub(place, tf.scalar(capacity, 'int32')), tf.scalar(0, 'int32')) as tf.Tensor1D,
  );
  const kept = tf.where(column(tf.less(place, capacity)), fromKnown, fromThese);
  const isAlone = tf.logicalNot(tf.any(tf.isFinite(all), 1));
  const given = tf.where(column(tf.logicalOr(isAdded, isAlone)), y, kept) as tf.Tensor2D;
  if (frozen) return { given, codebook: { answers, counts } };

  // A new answer's place: after those of its class that were there, and those of this batch before it.
  const ofClassAdded = tf.mul(ofClass, column(added)) as tf.Tensor2D;
  const before = tf.sum(tf.mul(tf.cumsum(ofClassAdded, 0, true), ofClass), 1);
  const slot = tf.minimum(tf.add(held, before), capacity - 1).cast('int32');
  // Nothing is written of the others, which is 0 where something is already.
  const written = tf.scatterND(tf.stack([top, slot], 1), tf.mul(y, column(added)), answers.shape) as tf.Tensor3D;
  return {
    given,
    codebook: { answers: tf.add(answers, written), counts: tf.add(counts, tf.sum(ofClassAdded, 0)) },
  };
};

/** Whether the column comes before the row: [batch, batch]. */
const isEarlier = (batch: number): tf.Tensor2D => {
  const place = tf.range(0, batch);
  return tf.less(tf.expandDims(place, 0), tf.expandDims(place, 1));
};
