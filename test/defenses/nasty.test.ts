import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import type { OptionsOf } from '../../src/core/plugin.js';
import { key } from '../../src/core/random.js';
import { dispose, leaves } from '../../src/core/tree.js';
import type { Defense } from '../../src/defenses/defense.js';
import { nasty } from '../../src/defenses/nasty.js';
import { loadEngine } from '../../src/engine/engine.js';
import type { Variables } from '../../src/models/network.js';
import { built, context, endOf, normalised, sets, succeed } from '../train/bench.js';
import { values } from '../train/tensors.js';

const learner = built({ epochs: 3 });
const other = built({}, normalised(5));
let teacher: Variables;
let adversary: Variables;
beforeAll(async () => {
  await loadEngine();
  teacher = learner.network.init(key('teacher'));
  adversary = other.network.init(key('adversary'));
});

const protect = async (options: OptionsOf<typeof nasty>, against = { learner, variables: teacher }) => {
  const tried = context();
  const { protect: run } = nasty(options) as Required<Pick<Defense, 'protect'>>;
  const given = { ...tried, ...sets, adversary: against };
  const result = endOf(await succeed(run({ learner, variables: teacher }, given)));
  return { ...result, spec: tried.specs[0] as NonNullable<(typeof tried.specs)[0]> };
};

test('the presets are the released settings, and the paper’s text for CIFAR-10', () => {
  expect(nasty.presets).toEqual({
    cifar10: { omega: 0.04, temperature: 4 },
    cifar10Text: { omega: 0.004, temperature: 4 },
    cifar100: { omega: 0.005, temperature: 20 },
    tinyImageNet: { omega: 0.01, temperature: 20 },
  });
  expect(nasty().params).toEqual({
    ...nasty.presets.cifar10,
    adversary: null,
    adversaryRecipe: null,
    initFrom: 'random',
    warmUpEpochs: 0,
    clipNorm: null,
  });
});

describe('a nasty teacher', () => {
  test('goes further from its adversary with ω than without', async () => {
    const distance = async (omega: number) => (await protect({ omega })).history.at(-1)?.metrics.kl as number;
    const [near, far] = [await distance(0), await distance(0.15)];
    expect(far).toBeGreaterThan(1.5 * near);
  });

  test('leaves its adversary and the normal teacher as they are', async () => {
    const before = [teacher, adversary].flatMap(leaves).map(values);
    await protect({}, { learner: other, variables: adversary });
    await protect({ initFrom: 'baseline' });
    expect([teacher, adversary].flatMap(leaves).map(values)).toEqual(before);
  });

  test('starts from the normal teacher when told to', async () => {
    const { spec } = await protect({ initFrom: 'baseline' });
    const state = spec.init(key('any'));
    expect(leaves(state.variables).map(values)).toEqual(leaves(teacher).map(values));
    dispose(state);
    const random = (await protect({})).spec.init(key('any'));
    expect(leaves(random.variables).map(values)).not.toEqual(leaves(teacher).map(values));
    dispose(random);
  });

  test('may have an adversary of another net, and asks it and not the teacher', async () => {
    const { last } = await protect({ omega: 0.02 }, { learner: other, variables: adversary });
    expect(last).not.toEqual((await protect({ omega: 0.02 })).last);
    expect(nasty({ adversary: normalised(5) }).adversary?.params).toEqual({ channels: 5 });
  });

  test('with a clipped gradient is another one', async () => {
    const { last } = await protect({ omega: 0.02 });
    expect((await protect({ omega: 0.02, clipNorm: 1 })).last).not.toEqual(last);
    expect((await protect({ omega: 0.02, clipNorm: 1e6 })).last).toEqual(last);
  });
});

describe('ω', () => {
  /** The share of ω that counts in a step, from the loss and its terms: loss = CE − share · ω τ² KL. */
  const shareAt = async (step: number, warmUpEpochs: number): Promise<number> => {
    const { spec } = await protect({ omega: 0.01, temperature: 3, warmUpEpochs });
    const state = { ...spec.init(key('a')) };
    state.step.dispose();
    state.step = tf.scalar(step);
    const { data, at } = spec.source(key('b'));
    const { batch } = at(0);
    const inputs = { learningRate: tf.scalar(0), seed: tf.tensor1d([1, 2], 'int32') };
    const [loss, kl, ce] = tf.tidy(() => {
      const { metrics } = spec.step({ frozen: spec.frozen, data, victim: {} }, state, batch, inputs);
      return ['loss', 'kl', 'crossEntropy'].map((name) => values(metrics[name] as tf.Tensor)[0] as number);
    }) as [number, number, number];
    dispose([state, batch, data, inputs.learningRate, inputs.seed]);
    return (ce - loss) / (0.01 * 9 * kl);
  };

  test('counts in full from the first step, as released', async () => {
    expect(await shareAt(0, 0)).toBeCloseTo(1, 4);
  });

  test('grows with the steps of its warm-up, and stays when that is over', async () => {
    // Three steps an epoch, two epochs.
    expect(await shareAt(0, 2)).toBeCloseTo(1 / 6, 4);
    expect(await shareAt(2, 2)).toBeCloseTo(1 / 2, 4);
    expect(await shareAt(5, 2)).toBeCloseTo(1, 4);
    expect(await shareAt(50, 2)).toBeCloseTo(1, 4);
  });
});
