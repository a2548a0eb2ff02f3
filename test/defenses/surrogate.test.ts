import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { meanGradient, shifted, slopeOf, surrogateOf } from '../../src/defenses/surrogate.js';
import { loadEngine } from '../../src/engine/engine.js';
import { classifier, features, flatten, network, sequential } from '../../src/models/layers.js';
import { valueAndGradient } from '../../src/train/gradient.js';
import { normalise } from '../../src/train/images.js';
import { crossEntropy, klDivergence, soften } from '../../src/train/losses.js';
import { recipe, thirds } from '../run/helpers.js';
import { context, imagesOf } from '../train/bench.js';
import { expectClose, values } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

const data = thirds({ train: 200, test: 8, size: 4 });
const set = imagesOf(data)(0, 200);
const net = network({
  name: 'one',
  params: {},
  source: import.meta.url,
  layers: sequential(flatten, features, classifier('fc')),
}).build(data.image, 3);

/** All images of the set as a net sees them, and their labels. */
const all = () => ({
  images: normalise(
    tf.tensor4d(Float32Array.from(data.train.images.slice(0)), [200, 4, 4, data.image.channels]),
    data.normalisation,
  ),
  labels: tf.tensor1d(Int32Array.from(data.train.labels), 'int32'),
});

test('the mean gradient over some batches is that of all their images at once', () => {
  const variables = net.init(key('surrogate'));
  tf.tidy(() => {
    // 100 images a batch, and two of them.
    const mean = meanGradient(net, variables, set, key('gradient'), 200);
    const { images, labels } = all();
    const { gradients } = valueAndGradient((params) => {
      const { logits } = net.apply({ params, stats: {} }, images, { mode: 'eval' });
      return { loss: crossEntropy(logits, labels), aux: {} };
    }, variables.params);
    for (const [name, each] of Object.entries(gradients))
      expectClose(values(mean[name] as tf.Tensor), values(each), 1e-6);
    expect(Math.max(...values(gradients['fc.weight'] as tf.Tensor).map(Math.abs))).toBeGreaterThan(1e-2);
    dispose(mean);
  });
  dispose(variables);
});

test('what is learnt of a class raises the loss of others by the slope along their mean gradient', () => {
  const variables = net.init(key('surrogate'));
  tf.tidy(() => {
    const { images, labels } = all();
    const lossAt = (params: typeof variables.params): tf.Scalar =>
      crossEntropy(net.apply({ params, stats: {} }, images, { mode: 'eval' }).logits, labels);
    const { gradients: mean } = valueAndGradient((params) => ({ loss: lossAt(params), aux: {} }), variables.params);
    const query = {
      images: tf.fill([1, 4, 4, data.image.channels], 0.7) as tf.Tensor4D,
      victim: { network: net, normalisation: data.normalisation, variables },
    };
    const h = 0.01;
    const slope = values(
      slopeOf(
        {},
        query,
        shifted(variables, (name) => mean[name] as tf.Tensor, h),
        h,
      ),
    );
    const seen = normalise(tf.mul(query.images, 255), data.normalisation);
    const p = values(tf.softmax(net.apply(variables, seen, { mode: 'eval' }).logits));
    const average = slope.reduce((sum, each, k) => sum + each * (p[k] as number), 0);
    const rate = 0.01;
    const changes = [0, 1, 2].map((label) => {
      const { gradients } = valueAndGradient((params) => {
        const { logits } = net.apply({ params, stats: {} }, seen, { mode: 'eval' });
        return { loss: crossEntropy(logits, tf.tensor1d([label], 'int32')), aux: {} };
      }, variables.params);
      const after = Object.fromEntries(
        Object.entries(variables.params).map(([name, each]) => [
          name,
          tf.sub(each, tf.mul(gradients[name] as tf.Tensor, rate)),
        ]),
      );
      return ((values(lossAt(after))[0] as number) - (values(lossAt(variables.params))[0] as number)) / rate;
    });
    // Of log-probabilities: the derivative of logits less their mean by the probabilities.
    expectClose(
      changes,
      slope.map((each) => each - average),
      0.02 * Math.max(...slope.map(Math.abs)),
    );
    expect(Math.max(...changes)).toBeGreaterThan(0);
  });
  dispose(variables);
});

test('a surrogate is distilled from the teacher’s answers: it comes closer to them, and labels have no say', async () => {
  const teacher = net.init(key('teacher'));
  const learner = { network: net, recipe: recipe({ epochs: 10, batch: 40 }) };
  const taughtOn = async (labels: typeof data.train.labels) => {
    const train = { ...set, examples: { ...set.examples, labels } };
    const made = await surrogateOf(
      {},
      { learner, variables: teacher } as never,
      {
        ...context(key('stage'), { normalisation: data.normalisation }),
        train,
      } as never,
    );
    return made;
  };
  const own = await taughtOn(data.train.labels);
  const other = await taughtOn(data.train.labels.map((label) => (label + 1) % 3));
  tf.tidy(() => {
    const { images } = all();
    const says = (of: typeof teacher) => soften(net.apply(of, images, { mode: 'eval' }).logits, 1);
    const distance = (of: typeof teacher) => values(klDivergence(says(teacher), says(of)))[0] as number;
    expect(distance(own)).toBeLessThan(0.5 * distance(net.init(key('stage').split('surrogate').split('init'))));
    expect(values(own.params['fc.weight'] as tf.Tensor)).toEqual(values(other.params['fc.weight'] as tf.Tensor));
  });
  dispose([teacher, own, other]);
});
