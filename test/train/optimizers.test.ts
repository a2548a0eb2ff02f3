import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { eager } from '../../src/engine/eager.js';
import { loadEngine } from '../../src/engine/engine.js';
import type { Named } from '../../src/models/network.js';
import {
  adam,
  chain,
  clipByGlobalNorm,
  decoupledWeightDecay,
  descent,
  type Optimizer,
  type OptimizerState,
  scaleByAdam,
  scaleByLearningRate,
  sgd,
  trace,
  weightDecay,
} from '../../src/train/optimizers.js';
import { expectClose, values, wave } from './tensors.js';

beforeAll(async () => {
  await loadEngine();
});

let before: number;
beforeEach(() => {
  before = tf.memory().numTensors;
  tf.engine().startScope();
});
afterEach(() => {
  tf.engine().endScope();
  expect(tf.memory().numTensors).toBe(before);
});

/** The one parameter after each step with the gradients given, from p = 1 at η = 0.1. */
const path = (
  of: Pick<Optimizer, 'init' | 'update'>,
  gradients: readonly number[],
  rates: readonly number[] = [],
): number[] => {
  let params: Named = { p: tf.scalar(1) };
  let state = of.init(params);
  return gradients.map((gradient, i) => {
    ({ params, state } = of.update({ p: tf.scalar(gradient) }, state, params, tf.scalar(rates[i] ?? 0.1)));
    return values(params.p as tf.Tensor)[0] as number;
  });
};

describe('parameter groups', () => {
  const params = (): Named => ({ 'a.weight': tf.scalar(1), 'a.bias': tf.scalar(1), 'norm.bias': tf.scalar(1) });
  const stepped = (optimizer: Optimizer) => {
    const start = params();
    const gradients = Object.fromEntries(Object.keys(start).map((name) => [name, tf.scalar(1)]));
    const { params: after } = optimizer.update(gradients, optimizer.init(start), start, tf.scalar(0.1));
    return Object.fromEntries(Object.entries(after).map(([name, value]) => [name, values(value)[0]]));
  };

  test.each([sgd, adam])('of $declaration.name: the first that names a parameter has it', (make) => {
    const alone = (options: object) => stepped((make as typeof sgd)(options))['a.weight'] as number;
    const found = stepped(
      (make as typeof sgd)({
        weightDecay: 0.5,
        groups: [
          { names: 'norm.*', rate: 0 },
          { names: '*.bias', rate: 3, weightDecay: 0 },
        ],
      }),
    );
    expect(Object.keys(found)).toEqual(Object.keys(params()));
    expect(found['a.weight']).toBe(alone({ weightDecay: 0.5 }));
    expect(found['a.bias']).toBeCloseTo(1 - 3 * (1 - alone({})), 6);
    expect(found['norm.bias']).toBe(1);
  });

  test('names are no patterns but for *', () => {
    const found = stepped(
      sgd({ groups: [{ names: 'a.b.as' }, { names: 'a?bias', rate: 9 }, { names: '.*', rate: 9 }] }),
    );
    expect(found).toEqual(stepped(sgd()));
  });

  test('are not clipped by one norm', () => {
    expect(() => sgd({ clip: 1, groups: [{ names: '*' }] })).toThrow(
      'gradients in groups cannot be clipped by one norm',
    );
    expect(() => sgd({ groups: [{ names: '' }] })).toThrow(/groups/);
    expect(() => sgd({ groups: [{ names: '*', rate: -1 }] })).toThrow(/groups/);
  });
});

describe('stochastic gradient descent', () => {
  test('plain: p − η g', () => {
    expectClose(path(sgd(), [1, 2, -1]), [0.9, 0.7, 0.8]);
    expectClose(path(sgd(), [1, 1, 1], [0.1, 0.01, 1]), [0.9, 0.89, -0.11]);
  });

  test('momentum: the buffer starts as the gradient', () => {
    // b: 1, 0.9 + 2 = 2.9, 2.61 − 1 = 1.61
    expectClose(path(sgd({ momentum: 0.9 }), [1, 2, -1]), [0.9, 0.61, 0.449]);
  });

  test('the rate multiplies the buffer and is not kept in it', () => {
    // b: 1, 1.9 at η = 0.1, then 0.01
    expectClose(path(sgd({ momentum: 0.9 }), [1, 1], [0.1, 0.01]), [0.9, 0.881]);
  });

  test('Nesterov: g + μ b', () => {
    // b: 1, 2.9; u: 1.9, 2 + 2.61 = 4.61
    expectClose(path(sgd({ momentum: 0.9, nesterov: true }), [1, 2]), [0.81, 0.349]);
  });

  test('coupled decay goes through momentum', () => {
    // g + λ p: 1.5, then 2 + 0.5 · 0.85 = 2.425; b: 1.5, 1.35 + 2.425 = 3.775
    expectClose(path(sgd({ momentum: 0.9, weightDecay: 0.5 }), [1, 2]), [0.85, 0.4725]);
  });

  test('decoupled decay does not', () => {
    // b: 1, 2.9; p: 1 − 0.1 (1 + 0.5) = 0.85, then 0.85 − 0.1 (2.9 + 0.425)
    expectClose(path(sgd({ momentum: 0.9, weightDecay: 0.5, decoupled: true }), [1, 2]), [0.85, 0.5175]);
  });

  test('has no state without momentum', () => {
    expect(sgd({ weightDecay: 1e-4 }).init({ p: tf.scalar(1) })).toEqual({});
    expect(Object.keys(sgd({ momentum: 0.9 }).init({ p: tf.scalar(1) }))).toEqual(['trace']);
  });
});

describe('Adam', () => {
  test('steps by about η in the direction of the first gradient, however small', () => {
    // m / c₁ = g, v / c₂ = g²: g / (|g| + ε)
    expectClose(path(adam(), [1e-3]), [0.9], 1e-6);
    expectClose(path(adam(), [-100]), [1.1], 1e-6);
    expectClose(path(adam({ epsilon: 1 }), [1]), [0.95], 1e-6);
  });

  test('follows the worked numbers of a second step', () => {
    // β₁ = β₂ = ½: m: ½, ¼ + 1 = 1.25; c = ½, ¾; v: ½, ¼ + 2 = 2.25. Second step: (1.25 / ¾) / √(2.25 / ¾) = (5/3) / √3
    const of = adam({ beta1: 0.5, beta2: 0.5, epsilon: 0 });
    expectClose(path(of, [1, 2]), [0.9, 0.9 - 0.1 * (5 / 3 / Math.sqrt(3))], 1e-6);
  });

  test('corrects bias to float32’s precision, also where 1 − β₂ᵗ is small', () => {
    const gradients = wave(300, 1);
    const plain = (): number[] => {
      let [p, m, v] = [1, 0, 0];
      return gradients.map((g, i) => {
        m = 0.9 * m + 0.1 * g;
        v = 0.999 * v + 0.001 * g * g;
        p -= (0.1 * (m / (1 - 0.9 ** (i + 1)))) / (Math.sqrt(v / (1 - 0.999 ** (i + 1))) + 1e-8);
        return p;
      });
    };
    expectClose(path(adam(), gradients), plain(), 2e-6);
  });

  test('decoupled decay is AdamW’s', () => {
    // g = 0: nothing but p ← p − η λ p
    expectClose(path(adam({ weightDecay: 0.5, decoupled: true }), [0, 0]), [0.95, 0.9025]);
    // coupled: g = ½ p, of which Adam keeps the sign alone
    expectClose(path(adam({ weightDecay: 0.5 }), [0]), [0.9], 1e-6);
  });

  test('β₁ = 0 and β₂ = 0 make it the sign', () => {
    expectClose(path(adam({ beta1: 0, beta2: 0, epsilon: 0 }), [3, -7]), [0.9, 1]);
  });

  test('keeps its step count in its state', () => {
    const of = adam();
    const params = { p: tf.scalar(1) };
    const { state } = of.update({ p: tf.scalar(1) }, of.init(params), params, tf.scalar(0.1));
    expect(values((state.adam as { count: tf.Tensor }).count)).toEqual([1]);
  });
});

describe('clipping by the global norm', () => {
  const clipped = (max: number, gradients: Named) =>
    clipByGlobalNorm(max).update(gradients, undefined, { params: gradients, learningRate: tf.scalar(1) }).updates;

  test('scales all gradients together', () => {
    // ‖(3, 0, 4)‖ = 5
    const { a, b } = clipped(1, { a: tf.tensor1d([3, 0]), b: tf.scalar(4) });
    expectClose(values(a as tf.Tensor), [0.6, 0], 1e-6);
    expectClose(values(b as tf.Tensor), [0.8], 1e-6);
  });

  test('leaves short ones as they are, and zeros', () => {
    expect(values(clipped(10, { a: tf.tensor1d([3, 4]) }).a as tf.Tensor)).toEqual([3, 4]);
    expect(values(clipped(1, { a: tf.tensor1d([0, 0]) }).a as tf.Tensor)).toEqual([0, 0]);
  });

  test('does not hide what is not finite', () => {
    expect(values(clipped(1, { a: tf.tensor1d([Number.NaN, 1]) }).a as tf.Tensor)).toEqual([Number.NaN, Number.NaN]);
  });
});

describe('composition', () => {
  test('sgd is the chain that it says', () => {
    const settings = { momentum: 0.9, nesterov: true, weightDecay: 0.1, clip: 1 };
    const byHand = descent(
      clipByGlobalNorm(1),
      weightDecay(0.1),
      trace({ momentum: 0.9, nesterov: true }),
      scaleByLearningRate(),
    );
    expect(path(byHand, [1, 2, 3])).toEqual(path(sgd(settings), [1, 2, 3]));
    const adamw = descent(scaleByAdam(), decoupledWeightDecay(0.1), scaleByLearningRate());
    expect(path(adamw, [1, 2, 3])).toEqual(path(adam({ weightDecay: 0.1, decoupled: true }), [1, 2, 3]));
  });

  test('two transforms of one name are refused, since state goes by name', () => {
    expect(() => chain(trace({ momentum: 0.9 }), trace({ momentum: 0.5 }))).toThrow(/trace, trace/);
  });

  test('an optimiser is named, and its parameters are plain JSON', () => {
    expect(sgd({ momentum: 0.9, weightDecay: 5e-4 })).toMatchObject({
      name: 'sgd',
      params: { momentum: 0.9, nesterov: false, weightDecay: 5e-4, decoupled: false },
    });
    for (const { params } of [sgd(), sgd({ clip: 5 }), adam(), adam({ weightDecay: 1, decoupled: true })]) {
      expect(JSON.parse(JSON.stringify(params))).toEqual(params);
    }
  });
});

describe.each([
  ['sgd', sgd({ momentum: 0.9, nesterov: true, weightDecay: 1e-3, clip: 1 })],
  ['sgd without state', sgd()],
  ['adam', adam({ weightDecay: 1e-3 })],
  ['adam with decoupled decay', adam({ weightDecay: 1e-3, decoupled: true })],
])('%s', (_, of) => {
  const shapes: Readonly<Record<string, number[]>> = {
    'conv.weight': [3, 3, 2, 4],
    'fc.weight': [4, 5],
    'fc.bias': [5],
  };
  const tensors = (phase: number): Named =>
    Object.fromEntries(
      Object.entries(shapes).map(([name, shape], i) => [
        name,
        tf.tensor(wave(tf.util.sizeFromShape(shape), phase + i), shape),
      ]),
    );

  test('keeps names and shapes, disposes of nothing, and leaves nothing behind inside tf.tidy', () => {
    const [params, gradients, rate] = [tensors(1), tensors(10), tf.scalar(0.1)];
    const state = of.init(params);
    const held = tf.memory().numTensors;
    const next = tf.tidy(
      () => of.update(gradients, state, params, rate) as { params: Named; state: OptimizerState } & tf.TensorContainer,
    );
    expect(Object.fromEntries(Object.entries(next.params).map(([name, { shape }]) => [name, shape]))).toEqual(shapes);
    tf.dispose(next);
    expect(tf.memory().numTensors).toBe(held);
    values(params['fc.bias'] as tf.Tensor);
    values(gradients['fc.bias'] as tf.Tensor);
  });

  test('runs in a runner with constant memory, reading no value, and resumes with the same bits', () => {
    type State = { readonly params: Named; readonly slots: OptimizerState };
    const start = tensors(1);
    const state: State = { params: start, slots: of.init(start) };
    const make = () =>
      eager<Record<string, never>, State, { readonly gradients: Named }, Record<string, never>>(
        (_, { params, slots }, { gradients }, { learningRate }) => {
          const next = of.update(gradients, slots, params, learningRate);
          return { state: { params: next.params, slots: next.state }, metrics: {} };
        },
        {},
      );
    const inputs = { learningRate: tf.scalar(0.1), seed: tf.tensor1d([0, 0], 'int32') };
    const batches = Array.from({ length: 20 }, (_, i) => ({ gradients: tensors(10 * i) }));
    const read = vi.spyOn(tf.backend() as { readSync(id: object): unknown }, 'readSync');

    const through = make();
    through.load(state);
    const counts = batches.map((batch) => {
      through.run([{ batch, inputs }]);
      return tf.memory().numTensors;
    });
    expect(new Set(counts).size).toBe(1);
    expect(read).not.toHaveBeenCalled();
    read.mockRestore();

    const first = make();
    first.load(state);
    for (const batch of batches.slice(0, 7)) first.run([{ batch, inputs }]);
    const second = make();
    second.load(first.read());
    for (const batch of batches.slice(7)) second.run([{ batch, inputs }]);
    for (const name of Object.keys(shapes)) {
      expect(values(second.read().params[name] as tf.Tensor)).toEqual(values(through.read().params[name] as tf.Tensor));
    }
    for (const runner of [through, first, second]) runner.dispose();
  });
});
