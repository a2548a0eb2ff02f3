import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { key } from '../../src/core/random.js';
import { clone, dispose, leaves, type Tree } from '../../src/core/tree.js';
import { accuracyOf, type Taught, taughtBy } from '../../src/defenses/training.js';
import { loadEngine } from '../../src/engine/engine.js';
import { crossEntropy } from '../../src/train/losses.js';
import { built, setOf } from '../train/bench.js';
import { values } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

/** Logits of a teacher's images and of the same, brighter. */
type Seeing = (taught: Taught<Tree>, brighter: tf.Tensor4D) => readonly tf.Tensor2D[];

/** A teacher's first step, from the same weights in every call: what it logs, and its running statistics afterwards. */
const stepOf = (seen: Seeing) => {
  const spec = taughtBy(built(), { train: setOf(), validation: undefined }, {}, (taught) => {
    const [own, other] = seen(taught, tf.add(taught.images, 3)) as [tf.Tensor2D, tf.Tensor2D];
    const right = accuracyOf(own, taught.labels);
    return { loss: crossEntropy(own, taught.labels), terms: { own: tf.sum(own), other: tf.sum(other), right } };
  });
  const before = spec.init(key('init'));
  const { data, at } = spec.source(key('batches'));
  const { batch } = at(0);
  const inputs = { learningRate: tf.scalar(0.1), seed: tf.tensor1d([1, 2], 'int32') };
  const given = { frozen: spec.frozen ?? {}, data, victim: {} };
  const after = tf.tidy(() => clone(spec.step(given, before, batch, inputs) as unknown as Tree) as never) as ReturnType<
    typeof spec.step
  >;
  const stats = leaves(after.state.variables.stats).flatMap(values);
  const metrics = Object.fromEntries(Object.entries(after.metrics).map(([name, each]) => [name, values(each)[0]]));
  dispose([before, after, batch, data, inputs] as unknown as Tree);
  return { stats, metrics };
};

test('batches that are passed together have the statistics of both, and accuracy is that of the images', () => {
  const together = stepOf(({ passTogether, images }, brighter) => passTogether(images, brighter));
  const asOne = stepOf(({ pass, images }, brighter) => tf.split(pass(tf.concat([images, brighter])).logits, 2));
  expect(together).toEqual(asOne);
  expect(together.metrics.accuracy).toBe(together.metrics.right);
  const oneByOne = stepOf(({ pass, images }, brighter) => [pass(images).logits, pass(brighter).logits]);
  expect(together.stats).not.toEqual(oneByOne.stats);
  expect(together.metrics.own).not.toBeCloseTo(oneByOne.metrics.own as number, 3);
});
