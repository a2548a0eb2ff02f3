import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { interview } from '../../src/train/ask.js';
import { normalisePixels } from '../../src/train/images.js';
import { type Answers, publish, retire, type Wrapper } from '../../src/train/oracle.js';

beforeAll(async () => {
  await loadEngine();
});
let before: number;
beforeEach(() => {
  before = tf.memory().numTensors;
});
afterEach(() => expect(tf.memory().numTensors).toBe(before));

const network = plainCnn({ width: 2 }).build({ height: 8, width: 8, channels: 1 }, 3);
const normalisation = { mean: [0.5], std: [0.25] };
const images = (): tf.Tensor4D => tf.tidy(() => tf.reshape(tf.linspace(0, 1, 128), [2, 8, 8, 1]));

/** Counts the calls in its state, and answers as it was asked. */
const counting: Answers<object & Record<never, never>, { readonly calls: tf.Scalar }> = {
  kind: 'stateful',
  init: () => ({ calls: tf.scalar(0) }),
  answer: ({ logProbabilities, state }) => ({ logProbabilities, state: { calls: tf.add<tf.Scalar>(state.calls, 1) } }),
};

test('an interview gives what was asked, counts it, and is remembered', () => {
  const variables = network.init(key('victim'));
  const wrapper: Wrapper = { name: 'counting', answers: counting as unknown as Answers, prepared: {} };
  const victim = publish({ network, variables, normalisation, access: 'probabilities', wrappers: [wrapper] });
  const pixels = images();
  for (const call of [1, 2]) {
    const { result, asked, shift } = interview(victim, (oracle) => ({
      p: tf.exp(oracle.logProbabilities(pixels)),
      classes: oracle.labels(pixels),
    }));
    expect(asked).toEqual({ queries: 4, forward: 0, backward: 0 });
    expect(shift).toMatchObject({ l1: 0, changed: 0, invalid: 0 });
    expect(Array.from(tf.tidy(() => tf.sum(result.p, 1).dataSync()))).toEqual([
      expect.closeTo(1, 5),
      expect.closeTo(1, 5),
    ]);
    expect(call).toBeLessThanOrEqual(2);
    dispose(result);
  }
  retire(victim);
  dispose([pixels, variables]);
});

test('of weights at hand, passes are counted and no queries; the answers are those of the net', () => {
  const variables = network.init(key('victim'));
  const victim = publish({ network, variables, normalisation });
  const pixels = images();
  const { result, asked } = interview(victim, (oracle) => ({ logits: oracle.logits(pixels) }));
  expect(asked).toEqual({ queries: 0, forward: 2, backward: 0 });
  const direct = tf.tidy(() =>
    network.apply(variables, normalisePixels(pixels, normalisation), { mode: 'eval' }).logits.clone(),
  );
  expect(Array.from(result.logits.dataSync())).toEqual(Array.from(direct.dataSync()));
  retire(victim);
  dispose([result, pixels, variables, direct]);
});
