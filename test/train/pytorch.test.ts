import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { loadEngine } from '../../src/engine/engine.js';
import { gelu } from '../../src/engine/ops.js';
import type { Named } from '../../src/models/network.js';
import { averaged, type ClassifierState } from '../../src/train/classifier.js';
import { crossEntropy, distillation, nasty } from '../../src/train/losses.js';
import { adam, type Optimizer, sgd } from '../../src/train/optimizers.js';
import { oneCycle } from '../../src/train/schedules.js';
import { expectClose, values } from './tensors.js';

beforeAll(async () => {
  await loadEngine();
});

type Numbers = Readonly<Record<string, number[]>>;
type Case<Options> = { readonly options: Options; readonly value: number; readonly gradient: number[] };

/** Made by pytorch.py beside it. */
const reference = JSON.parse(readFileSync(new URL('fixtures/pytorch.json', import.meta.url), 'utf8')) as {
  readonly torch: string;
  readonly shapes: Readonly<Record<string, number[]>>;
  readonly start: Numbers;
  readonly gradients: readonly Numbers[];
  readonly rates: readonly number[];
  readonly optimizers: readonly {
    readonly name: 'sgd' | 'adam';
    readonly options: Readonly<Record<string, never>>;
    readonly after: readonly Numbers[];
  }[];
  readonly batch: {
    readonly logits: number[];
    readonly other: number[];
    readonly labels: number[];
    readonly classes: number;
  };
  readonly oneCycle: readonly {
    readonly options: Readonly<Record<string, never>>;
    readonly rates: readonly number[];
  }[];
  readonly gelu: Readonly<Record<'x' | 'dy' | 'y' | 'dx', number[]>>;
  readonly lookahead: readonly {
    readonly every: number;
    readonly decay: number;
    readonly steps: number;
    readonly after: number[];
  }[];
  readonly crossEntropy: readonly Case<{ smoothing: number }>[];
  readonly distillation: readonly Case<{ temperature: number; alpha: number }>[];
  readonly nasty: readonly Case<{ temperature: number; omega: number }>[];
};

const tensors = (numbers: Numbers): Named =>
  Object.fromEntries(
    Object.entries(numbers).map(([name, of]) => [name, tf.tensor(of, reference.shapes[name] as number[])]),
  );

describe(`equal to PyTorch ${reference.torch}`, () => {
  test.each(reference.optimizers)('5 steps of $name with $options', ({ name, options, after }) => {
    const optimizer: Optimizer = { sgd, adam }[name](options);
    let params = tensors(reference.start);
    let state = optimizer.init(params);
    for (const [i, expected] of after.entries()) {
      const rate = tf.scalar(reference.rates[i] as number);
      ({ params, state } = optimizer.update(tensors(reference.gradients[i] as Numbers), state, params, rate));
      for (const [param, numbers] of Object.entries(expected)) {
        expectClose(values(params[param] as tf.Tensor), numbers, 1e-6);
      }
    }
  });

  test.each(reference.oneCycle)('one cycle with $options', ({ options, rates }) => {
    const schedule = oneCycle({ rate: 0.4, ...options });
    const found = rates.map((_, step) => schedule.at({ epoch: 0, step, stepsPerEpoch: rates.length, epochs: 1 }));
    expectClose(found, rates, 1e-9);
  });

  test('GELU and its gradient', () => {
    const { x, dy, y, dx } = reference.gelu;
    const [value, gradient] = tf.tidy(() => {
      const { value, grad } = tf.valueAndGrad((of) => gelu(of))(tf.tensor1d(x), tf.tensor1d(dy));
      return [values(value), values(grad)];
    });
    expectClose(value as number[], y, 1e-6);
    expectClose(gradient as number[], dx, 1e-6);
  });

  test.each(reference.lookahead)('slow weights every $every steps with $decay', ({ every, decay, steps, after }) => {
    let state = {
      variables: { params: { p: tf.scalar(1) }, stats: {} },
      slots: {},
      step: tf.scalar(0),
    } as ClassifierState;
    state = { ...state, slow: state.variables };
    const found = after.map((_, i) => {
      const fast = tf.sub(state.variables.params.p as tf.Tensor, 0.1 * (((i + 1) % 3) + 1));
      state = averaged(
        { ...state, variables: { params: { p: fast }, stats: {} }, step: tf.scalar(i + 1) },
        { every, decay },
        steps,
      );
      return values(state.variables.params.p as tf.Tensor)[0] as number;
    });
    expectClose(found, after, 1e-6);
  });

  const { logits, other, labels, classes } = reference.batch;
  const rows = (of: number[]) => tf.tensor2d(of, [labels.length, classes]);
  const check = (f: (logits: tf.Tensor2D) => tf.Tensor, { value, gradient }: Case<unknown>) => {
    const result = tf.valueAndGrad((x) => f(x as tf.Tensor2D))(rows(logits));
    // At τ = 20 the loss is 400 times the divergence, and so is its rounding.
    expectClose(values(result.value), [value], 2e-5);
    expectClose(values(result.grad), gradient, 1e-6);
  };
  const target = () => tf.tensor1d(labels, 'int32');

  test.each(reference.crossEntropy)('cross-entropy with $options', (expected) => {
    check((x) => crossEntropy(x, target(), expected.options), expected);
  });

  test.each(reference.distillation)('distillation with $options', (expected) => {
    check(
      (x) => distillation({ logits: x, teacher: rows(other), labels: target(), ...expected.options }).loss,
      expected,
    );
  });

  test.each(reference.nasty)('nasty with $options', (expected) => {
    check(
      (x) => nasty({ logits: x, adversaryLogits: rows(other), labels: target(), ...expected.options }).loss,
      expected,
    );
  });

  test('the table holds what it is meant to', () => {
    expect(reference.optimizers).toHaveLength(13);
    expect(reference.gradients).toHaveLength(5);
  });
});
