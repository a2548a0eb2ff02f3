import * as tf from '@tensorflow/tfjs';
import { between, choice, defineDefense, option } from '../public/plugin.js';

/**
 * Prediction poisoning (Orekondy et al., MAD, ICLR 2020): within an L1 distance of ε the answer that turns an attacker's gradient
 * furthest away, y′ = (1 − a) y + a y*, a = min(1, ε / (‖y − y*‖₁ + 10⁻⁷)). `extreme`: y* is the best one-hot. `argmax`: y* is the best
 * uniform distribution over classes of which the most likely one is one, so that the label is kept.
 *
 * In the last layer's gradient the feature cancels, and what is left to know of the attacker is the answer p of a proxy. The released
 * proxy is an untrained net, whose p is close to uniform: here it is uniform, which makes both oracles exact and cheap.
 * `turn` maximises the angle, ‖u/‖u‖ − v/‖v‖‖², u = y* − p, v = y − p, and `stretch` the length ‖y* − y‖².
 *
 * tribhuvanesh/prediction-poisoning 1ddff8b (bb_mad.py), whose oracle is exhaustive to ten classes and greedy beyond.
 */
export const mad = defineDefense({
  name: 'mad',
  source: import.meta.url,
  about: "Within an L1 distance, the answer that turns an attacker's gradient furthest away",
  paper: 'Orekondy et al., Prediction poisoning: Towards defenses against DNN model stealing attacks, ICLR 2020',
  options: {
    epsilon: option(between(0, 2), 1, 'ε, the largest L1 distance from the clean answer'),
    oracle: option(choice('argmax', 'extreme'), 'argmax', 'Among uniform distributions with the label, or one-hots'),
    objective: option(
      choice('turn', 'stretch'),
      'turn',
      'The angle between gradients, or the length of their difference',
    ),
  },
  presets: { modelGuard: {} },
  exposes: 'probabilities',
  make: ({ epsilon, oracle, objective }) => ({
    ...(oracle === 'argmax' ? { preserves: 'label' } : {}),
    recover: () => (answers: tf.Tensor2D) =>
      oracle === 'argmax' ? unspread(answers, epsilon, objective) : unspiked(answers, epsilon),
    answers: {
      kind: 'pure',
      answer: ({ logProbabilities }) => {
        const y = tf.exp(logProbabilities) as tf.Tensor2D;
        const target = oracle === 'extreme' ? leastLikely(y) : spread(y, objective);
        return { logProbabilities: tf.log(towards(y, target, epsilon)) };
      },
    },
  }),
});

/** (1 − a) y + a y*, no further than ε from y; [batch, classes] each. */
export const towards = (y: tf.Tensor2D, target: tf.Tensor2D, epsilon: number): tf.Tensor2D => {
  const distance = tf.sum(tf.abs(tf.sub(y, target)), 1, true);
  const share = tf.minimum(tf.div(epsilon, tf.add(distance, 1e-7)), 1);
  return tf.add(y, tf.mul(share, tf.sub(target, y))) as tf.Tensor2D;
};

/** The one-hot of the least likely class: the extreme oracle's, by either objective. */
export const leastLikely = (y: tf.Tensor2D): tf.Tensor2D =>
  tf.oneHot(tf.argMin(y, 1), y.shape[1], 1, 0, 'float32') as tf.Tensor2D;

/**
 * The argmax oracle's: uniform over the most likely class and the n − 1 least likely others, for the best n; of any n, no other
 * choice is better. [batch, classes].
 */
export const spread = (y: tf.Tensor2D, objective: 'turn' | 'stretch'): tf.Tensor2D => {
  const [batch, classes] = y.shape;
  const top = tf.max(y, 1, true);
  const isTop = tf.cast(tf.oneHot(tf.argMax(y, 1), classes), 'bool');
  // The others from the least likely on, behind them the most likely one; and the place of each class in that order.
  const key = tf.where(isTop, Number.NEGATIVE_INFINITY, tf.neg(y)) as tf.Tensor2D;
  const { values, indices } = tf.topk(key, classes);
  const ascending = tf.neg(tf.slice(values, [0, 0], [batch, classes - 1]));
  const place = tf.sum(
    tf.mul(tf.oneHot(indices, classes), tf.reshape(tf.range(0, classes, 1, 'int32'), [1, classes, 1])),
    1,
  );
  // Of sets of n = 1, 2, … classes: [batch, n].
  const before = tf.concat([tf.zeros([batch, 1]), tf.cumsum(ascending, 1)], 1);
  const sizes = tf.reshape(tf.range(1, classes + 1), [1, classes]);
  const means = tf.div(tf.add(before, top), sizes);
  // The full set is uniform, towards which there is no angle.
  const value =
    objective === 'turn'
      ? tf.div(
          tf.sub(1 / classes, tf.slice(means, [0, 0], [batch, classes - 1])),
          tf.sqrt(tf.sub(tf.div(1, tf.slice(sizes, [0, 0], [1, classes - 1])), 1 / classes)),
        )
      : tf.sub(tf.div(1, sizes), tf.mul(means, 2));
  const others = tf.expandDims(tf.argMax(value, 1), 1);
  // A little more for the most likely one, which stays so.
  const chosen = tf.where(isTop, 1 + 1e-5, tf.cast(tf.less(place, others), 'float32'));
  return tf.div(chosen, tf.sum(chosen, 1, true)) as tf.Tensor2D;
};

/**
 * The clean answers to those of the extreme oracle: for each class the answer that would have been moved towards it by ε, if that is a
 * distribution whose least likely class it is. If two fit, the surer is taken; it may be the wrong one. Exact to rounding otherwise, unless the
 * answer was moved all the way.
 */
export const unspiked = (answers: tf.Tensor2D, epsilon: number): tf.Tensor2D => {
  const [batch, classes] = answers.shape;
  const told = tf.exp(answers);
  const candidates = Array.from({ length: classes }, (_, k) => {
    const target = tf.tile(tf.oneHot(tf.tensor1d([k], 'int32'), classes, 1, 0, 'float32'), [batch, 1]);
    const distance = tf.sum(tf.abs(tf.sub(told, target)), 1, true);
    const share = tf.div(epsilon, tf.add(distance, epsilon));
    const clean = tf.div(tf.sub(told, tf.mul(share, target)), tf.sub(1, share));
    // The least likely one up to rounding: of several that are next to nothing any may be it.
    const isLeast = tf.lessEqual(tf.sub(tf.slice(clean, [0, k], [batch, 1]), tf.min(clean, 1, true)), 1e-6);
    const isWhole = tf.greaterEqual(tf.min(clean, 1, true), -1e-6);
    return { clean: tf.relu(clean), sure: tf.where(tf.logicalAnd(isLeast, isWhole), tf.max(clean, 1, true), 0) };
  });
  const start = { clean: told as tf.Tensor, sure: tf.zeros([batch, 1]) as tf.Tensor };
  const { clean: found } = candidates.reduce((best, next) => {
    const better = tf.greater(next.sure, best.sure);
    return { clean: tf.where(better, next.clean, best.clean), sure: tf.where(better, next.sure, best.sure) };
  }, start);
  return tf.log(tf.div(found, tf.sum(found, 1, true))) as tf.Tensor2D;
};

/** Classes up to which sets without two of them are tried, and each set is compared with the oracle's own choice; beyond, the surest alone is. */
const mostPaired = 12;

/** The sets that the argmax oracle may choose, as rows of 0 and 1: all but one class, or two; one alone; by their length all of them too. */
const likelySets = (classes: number, objective: 'turn' | 'stretch'): tf.Tensor2D => {
  const all = Array.from({ length: classes }, (_, k) => k);
  const without = (...out: readonly number[]) => all.map((k) => Number(!out.includes(k)));
  const alone = all.map((only) => all.map((k) => Number(k === only)));
  const one = all.map((k) => without(k));
  const some = [...(objective === 'stretch' ? [without()] : []), ...one];
  if (classes < 3) return tf.tensor2d(some);
  if (classes > mostPaired) return tf.tensor2d(objective === 'stretch' ? [...some, ...alone] : some);
  const two = all.flatMap((k) => all.slice(k + 1).map((other) => without(k, other)));
  return tf.tensor2d(classes === 3 ? [...some, ...two] : [...some, ...two, ...alone]);
};

/**
 * Clean answers to those of the argmax oracle, which keep the label: for each set that it may have chosen, the answer that would have been
 * moved towards it by ε, if that is a distribution of which the oracle would choose that set. Several clean answers may be told as one: of those
 * that fit, the surest is taken. Sets without three classes or more are not tried, which the oracle chooses where it is unsure, nor without two where
 * there are many classes; if none fits, or it would be told otherwise, or the answer was moved all the way, it comes back as it is.
 */
export const unspread = (answers: tf.Tensor2D, epsilon: number, objective: 'turn' | 'stretch'): tf.Tensor2D => {
  const [batch, classes] = answers.shape;
  const told = tf.expandDims(tf.exp(answers), 0);
  const isTop = tf.expandDims(tf.oneHot(tf.argMax(answers, 1), classes, 1, 0, 'float32'), 0);
  const sets = tf.expandDims(likelySets(classes, objective), 1);
  // [sets, batch, classes] from here on, or with a 1 where all are alike.
  const weights = tf.mul(sets, tf.add(1, tf.mul(isTop, 1e-5)));
  const target = tf.div(weights, tf.sum(weights, 2, true));
  const distance = tf.sum(tf.abs(tf.sub(told, target)), 2, true);
  const share = tf.div(epsilon, tf.add(distance, epsilon));
  const clean = tf.div(tf.sub(told, tf.mul(share, target)), tf.maximum(tf.sub(1, share), 1e-7));
  const isWhole = tf.greaterEqual(tf.min(clean, 2, true), -1e-6);
  const y = tf.relu(clean);
  const hasTop = tf.greater(tf.sum(tf.mul(sets, isTop), 2, true), 0);
  const [inside, outside] = [tf.mul(sets, tf.sub(1, isTop)), tf.sub(1, sets)];
  // The classes of the set are the least likely ones, but for the most likely.
  const most = tf.max(tf.where(tf.greater(inside, 0), y, 0), 2, true);
  const least = tf.min(tf.where(tf.greater(tf.add(outside, tf.zerosLike(y)), 0), y, 1), 2, true);
  const fits = tf.logicalAnd(tf.logicalAnd(isWhole, hasTop), tf.lessEqual(most, tf.add(least, 1e-6)));
  const count = sets.shape[0] as number;
  const rows = tf.reshape(tf.div(y, tf.maximum(tf.sum(y, 2, true), 1e-7)), [count * batch, classes]) as tf.Tensor2D;
  const isChosen =
    classes > mostPaired
      ? tf.onesLike(fits)
      : tf.less(
          tf.max(tf.abs(tf.sub(tf.reshape(spread(rows, objective), [count, batch, classes]), target)), 2, true),
          1e-3,
        );
  const sure = tf.where(tf.logicalAnd(fits, tf.cast(isChosen, 'bool')), tf.max(y, 2, true), 0);
  const best = tf.reshape(tf.argMax(sure, 0), [batch]);
  const picked = tf.reshape(tf.transpose(tf.oneHot(best, count, 1, 0, 'float32')), [count, batch, 1]);
  const found = tf.sum(tf.mul(tf.reshape(rows, [count, batch, classes]), picked), 0);
  // What would be told otherwise is no clean answer to this one.
  const again = towards(found as tf.Tensor2D, spread(found as tf.Tensor2D, objective), epsilon);
  const isTold = tf.less(tf.max(tf.abs(tf.sub(again, tf.squeeze(told, [0]))), 1, true), 1e-4);
  const known = tf.logicalAnd(tf.greater(tf.max(sure, 0), 0), isTold);
  return tf.where(known, tf.log(found), answers) as tf.Tensor2D;
};
