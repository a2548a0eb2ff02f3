import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { key } from '../../src/core/random.js';
import { dispose, type Tree } from '../../src/core/tree.js';
import { leastInformative, modelGuard, quantised } from '../../src/defenses/model-guard.js';
import { compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import { loadEngine } from '../../src/engine/engine.js';
import { question } from '../../src/train/ask.js';
import type { Checkpoint, FitHost, FitSpec } from '../../src/train/fit.js';
import { fit } from '../../src/train/fit.js';
import { normalise } from '../../src/train/images.js';
import {
  open,
  publish,
  retire,
  sessionOf,
  tensorsOf,
  type Victim,
  type VictimTensors,
} from '../../src/train/oracle.js';
import { constant } from '../../src/train/schedules.js';
import type { NoTensors, Source } from '../../src/train/source.js';
import { bitsOf } from '../engine/bits.js';
import { refusal } from '../failures.js';
import { built, data, setOf } from '../train/bench.js';
import { expectClose, values } from '../train/tensors.js';
import { wrapper } from './answering.js';

beforeAll(async () => {
  await loadEngine();
});

beforeEach(() => tf.engine().startScope());
afterEach(() => tf.engine().endScope());

type Row = readonly number[];
const chunks = (flat: Row, size: number): number[][] =>
  Array.from({ length: flat.length / size }, (_, i) => flat.slice(i * size, (i + 1) * size));
const guarded = (rows: readonly Row[], epsilon: number): number[][] => {
  const y = tf.tensor2d(rows.map((row) => [...row]));
  return chunks(values(leastInformative(y, epsilon)), y.shape[1]);
};
const l1 = (a: Row, b: Row) => a.reduce((sum, x, k) => sum + Math.abs(x - (b[k] as number)), 0);
const top = (y: Row) => y.indexOf(Math.max(...y));
const worth = (y: Row, given: Row) => given.reduce((sum, p, k) => sum + Math.log((y[k] as number) + 1e-6) * p, 0);

/** How far an answer is from what is allowed, at most. */
const violation = (y: Row, given: Row, epsilon: number): number => {
  const first = given[top(y)] as number;
  const leads = given.filter((_, k) => k !== top(y)).map((p) => first - p);
  return Math.max(
    Math.abs(given.reduce((sum, p) => sum + p, 0) - 1),
    -Math.min(...given),
    l1(given, y) - epsilon,
    1e-4 - Math.min(...leads),
  );
};

/** Solves a · x = b by elimination; undefined where there is no one solution. */
const solved = (a: readonly Row[], b: Row): number[] | undefined => {
  const rows = a.map((row, i) => [...row, b[i] as number]);
  for (let c = 0; c < rows.length; c++) {
    const pivot = rows.reduce(
      (best, row, i) => (i >= c && Math.abs(row[c] as number) > Math.abs(rows[best]?.[c] as number) ? i : best),
      c,
    );
    if (Math.abs(rows[pivot]?.[c] as number) < 1e-12) return undefined;
    [rows[c], rows[pivot]] = [rows[pivot] as number[], rows[c] as number[]];
    const own = rows[c] as number[];
    for (const row of rows) {
      if (row === own) continue;
      const factor = (row[c] as number) / (own[c] as number);
      for (let k = c; k < row.length; k++) row[k] = (row[k] as number) - factor * (own[k] as number);
    }
  }
  return rows.map((row, i) => (row.at(-1) as number) / (row[i] as number));
};

const choose = <A>(of: readonly A[], count: number): A[][] => {
  if (count === 0) return [[]];
  return of.flatMap((first, i) => choose(of.slice(i + 1), count - 1).map((rest) => [first, ...rest]));
};

/**
 * The linear programme's least value, by trying all corners. At a corner as many constraints hold with equality as there are
 * classes: Σ y′ = 1, y′_k = 0, y′_k = y_k (where the distance has a kink), y′_m − y′_k = 10⁻⁴, a distance of ε with any signs.
 */
const leastWorth = (y: Row, epsilon: number): number => {
  const classes = y.length;
  const m = top(y);
  const unit = (k: number) => y.map((_, i) => Number(i === k));
  const faces: (readonly [Row, number])[] = y.flatMap((p, k) => [
    [unit(k), 0] as const,
    [unit(k), p] as const,
    ...(k === m ? [] : [[unit(m).map((u, i) => u - (unit(k)[i] as number)), 1e-4] as const]),
  ]);
  const signs = Array.from({ length: 2 ** classes }, (_, bits) => y.map((_, k) => (bits & (1 << k) ? 1 : -1)));
  const far = signs.map((s) => [s, epsilon + s.reduce((sum, x, k) => sum + x * (y[k] as number), 0)] as const);
  const all = [y.map(() => 1), 1] as const;
  const corners = [
    ...choose(faces, classes - 1),
    ...choose(faces, classes - 2).flatMap((some) => far.map((each) => [...some, each])),
  ];
  let least = Number.POSITIVE_INFINITY;
  for (const corner of corners) {
    const found = solved(
      [all, ...corner].map(([row]) => row),
      [all, ...corner].map(([, value]) => value),
    );
    if (found !== undefined && violation(y, found, epsilon) < 1e-9) least = Math.min(least, worth(y, found));
  }
  return least;
};

/** Answers of all kinds: sure, unsure, and with classes that are equally likely. */
const answersOf = (classes: number, count: number): number[][] => {
  const next = key(`answers ${classes}`).uniform();
  const softmax = (scores: Row) => {
    const e = scores.map(Math.exp);
    const sum = e.reduce((a, b) => a + b);
    return e.map((x) => x / sum);
  };
  return Array.from({ length: count }, (_, i) => {
    const spread = [0.05, 1, 3, 8, 15][i % 5] as number;
    const scores = Array.from({ length: classes }, () => spread * (2 * next() - 1));
    // Every third has two pairs of equals, but a first one of its own.
    const tied = scores.map((s, k) => (i % 3 === 0 && k > 0 && k % 2 === 0 ? (scores[k - 1] as number) : s));
    return softmax(tied.map((s) => (s === Math.max(...tied) ? s + 0.01 : s)));
  });
};

describe('W', () => {
  test.each<[Row, number, Row, number | undefined]>([
    [[0.7, 0.2, 0.1], 1, [0.3334, 0.3333, 0.3333], -1.422787],
    [[0.7, 0.2, 0.1], 0.5, [0.45, 0.2, 0.35], -1.288291],
    [[0.7, 0.2, 0.1], 0.2, [0.6, 0.2, 0.2], -0.996406],
    [[0.9, 0.08, 0.02], 1, [0.4, 0.2001, 0.3999], undefined],
    [[0.5, 0.45, 0.05], 0.4, [0.37505, 0.37495, 0.25], undefined],
    [[0.591, 0.343, 0.051, 0.015], 0.5, [0.3421, 0.3419, 0.051, 0.265], undefined],
  ])('of %j within %f is %j', (y, epsilon, expected, value) => {
    const [given] = guarded([y], epsilon) as [number[]];
    // Four decimals.
    expectClose(given, expected, 6e-5);
    if (value !== undefined) expect(worth(y, given)).toBeCloseTo(value, 4);
  });

  test('moves .7332 of (.7, .2, .1) where it may move 1', () => {
    const y = [0.7, 0.2, 0.1];
    expect(l1(guarded([y], 1)[0] as number[], y)).toBeCloseTo(0.7332, 3);
  });

  test.each([2, 3, 4, 5].flatMap((classes) => [0.2, 0.5, 1, 2].map((epsilon) => [classes, epsilon] as const)))(
    'is worth as little as an exact solution of the linear programme (%i classes, ε %f)',
    (classes, epsilon) => {
      const rows = answersOf(classes, classes === 5 ? 15 : 30);
      guarded(rows, epsilon).forEach((given, i) => {
        const y = rows[i] as number[];
        expect(violation(y, given, epsilon), `${y}: ${given}`).toBeLessThan(1e-5);
        expect(top(given)).toBe(top(y));
        expect(Math.abs(worth(y, given) - leastWorth(y, epsilon)), `${y}: ${given}`).toBeLessThan(1e-4);
      });
    },
  );

  test.each([10, 100, 1000])('keeps to what is allowed with %i classes', (classes) => {
    const rows = answersOf(classes, classes === 1000 ? 5 : 40);
    for (const epsilon of [0.2, 1, 2])
      guarded(rows, epsilon).forEach((given, i) => {
        const y = rows[i] as number[];
        expect(violation(y, given, epsilon), `${i} of ε ${epsilon}`).toBeLessThan(2e-5);
        expect(top(given)).toBe(top(y));
        expect(worth(y, given)).toBeLessThan(worth(y, y));
      });
  });

  test('of classes that are equally likely names the first of them, as the victim does', () => {
    const [two, four] = [guarded([[0.4, 0.4, 0.2]], 0.5)[0], guarded([[0.25, 0.25, 0.25, 0.25]], 0.5)[0]];
    for (const given of [two, four] as number[][]) {
      expect(top(given)).toBe(0);
      expect((given[0] as number) - (given[1] as number)).toBeGreaterThan(0.9e-4);
    }
  });

  test('that may move next to nothing gives the clean answer', () => {
    const y = [0.7, 0.2, 0.1];
    expectClose(guarded([y], 0)[0] as number[], y, 1e-5);
  });
});

type Book = ReturnType<typeof quantised>['codebook'];
const empty = (classes: number, capacity: number): Book => ({
  answers: tf.zeros([classes, capacity, classes]),
  counts: tf.zeros([classes]),
});

interface Asked {
  readonly epsilon?: number;
  readonly capacity?: number;
  readonly frozen?: boolean;
  readonly book?: Book;
}

/** Asks in batches of the sizes given, one after the other. */
const inBatches = (
  rows: readonly Row[],
  sizes: readonly number[],
  { epsilon = 0.5, capacity = 4, frozen = false, book = empty((rows[0] as Row).length, capacity) }: Asked = {},
) => {
  const classes = (rows[0] as Row).length;
  const given: number[][] = [];
  let codebook = book;
  for (const size of sizes) {
    const y = tf.tensor2d(rows.slice(given.length, given.length + size).map((row) => [...row]));
    const found = quantised(y, codebook, epsilon, frozen);
    given.push(...chunks(values(found.given), classes));
    codebook = found.codebook;
  }
  expect(given.length).toBe(rows.length);
  return { given, book: codebook };
};

const asFloats = (rows: readonly Row[]): number[][] => rows.map((row) => Array.from(Float32Array.from(row)));

describe('S', () => {
  const inOrder = [
    [0.7, 0.2, 0.1],
    [0.5, 0.3, 0.2],
    [0.34, 0.33, 0.33],
    [0.98, 0.01, 0.01],
    [0.36, 0.34, 0.3],
    [1, 0, 0],
  ];
  const [first, , second, third] = inOrder as Row[] as [Row, Row, Row, Row];
  const expected = asFloats([first, first, second, third, second, third]);

  test.each([[[6]], [[1, 1, 1, 1, 1, 1]], [[2, 3, 1]], [[4, 2]]])(
    'gives what it gave before (in batches of %j)',
    (sizes) => {
      const { given, book } = inBatches(inOrder, sizes);
      expect(given).toEqual(expected);
      expect(values(book.counts)).toEqual([3, 0, 0]);
      expect(chunks(values(book.answers), 3).slice(0, 4)).toEqual(asFloats([first, second, third, [0, 0, 0]]));
    },
  );

  test('does not care how queries are put together, of many classes and beyond its capacity', () => {
    const rows = answersOf(6, 40);
    for (const capacity of [1, 2, 5, 64]) {
      const asked = { capacity, epsilon: 0.3 };
      const alone = inBatches(rows, Array(40).fill(1), asked);
      for (const sizes of [[40], [7, 13, 20], Array(20).fill(2)]) {
        const { given, book } = inBatches(rows, sizes, asked);
        expect(given).toEqual(alone.given);
        expect(bitsOf(book as Tree)).toEqual(bitsOf(alone.book as Tree));
      }
      for (const [i, y] of rows.entries()) expect(top(alone.given[i] as number[])).toBe(top(y));
      expect(Math.max(...values(alone.book.counts))).toBeLessThanOrEqual(capacity);
      if (capacity < 64) continue;
      // With room for all, nothing is further than allowed, and the same query always has the same answer.
      for (const [i, y] of rows.entries()) expect(l1(y, alone.given[i] as number[])).toBeLessThan(0.3 + 1e-6);
      expect(inBatches(rows, [40], { ...asked, book: alone.book }).given).toEqual(alone.given);
    }
  });

  test('with no room left gives the nearest of what it keeps', () => {
    const rows = [
      [0.98, 0.01, 0.01],
      [0.4, 0.3, 0.3],
      [0.75, 0.2, 0.05],
      [0.6, 0.3, 0.1],
    ];
    // .46 and .70 from the first two: neither is near enough.
    const { given, book } = inBatches(rows, [4], { epsilon: 0.1, capacity: 2 });
    expect(given).toEqual(asFloats([rows[0], rows[1], rows[0], rows[1]] as Row[]));
    expect(values(book.counts)).toEqual([2, 0, 0]);
  });

  test('looked at by its owner keeps nothing: first what fits, else the nearest, else the clean answer', () => {
    const { book } = inBatches(inOrder.slice(0, 4), [4]);
    const before = bitsOf(book as Tree);
    const looks = [
      [0.5, 0.3, 0.2],
      [0.42, 0.02, 0.56],
      [0.5, 0.49, 0.01],
      [0.02, 0.96, 0.02],
    ];
    const { given, book: after } = inBatches(looks, [4], { book, frozen: true, epsilon: 0.1 });
    expect(bitsOf(after as Tree)).toEqual(before);
    expect(given).toEqual(asFloats([second, looks[1], first, looks[3]] as Row[]));
    expect(inBatches(looks.slice(0, 1), [1], { book, frozen: true, epsilon: 0.5 }).given).toEqual(asFloats([first]));
  });
});

describe('options are refused', () => {
  test.each<readonly [object, RegExp]>([
    [{ epsilon: -0.1 }, /epsilon is -0\.1/],
    [{ epsilon: 2.1 }, /epsilon is 2\.1/],
    [{ capacity: 0 }, /capacity is 0/],
    [{ variant: 'X' }, /variant is "?X/],
  ])('%j', (options, message) => {
    expect(refusal(() => modelGuard(options)).what).toMatch(message);
  });
});

const { network } = built();
/** A victim behind the guard, which answers about the images of the test bench. */
const victimOf = (variant: 'W' | 'S', epsilon = 0.3) => {
  const defense = modelGuard({ variant, epsilon, capacity: 3 });
  const variables = network.init(key('victim'));
  const { answers, preserves } = defense;
  const victim = publish({
    network,
    variables,
    normalisation: data.normalisation,
    access: 'probabilities',
    wrappers: [wrapper('modelGuard', answers as never, { preserves })],
  });
  return { victim, variables };
};

describe.each(['W', 'S'] as const)('%s at a victim', (variant) => {
  test('is the same bits in a graph', () => {
    const { victim } = victimOf(variant);
    type Held = { readonly memory: Tree; readonly seen: tf.Scalar };
    const step = (
      tensors: VictimTensors,
      { memory, seen }: Held,
      { images }: { images: tf.Tensor4D },
      { seed }: { seed: tf.Tensor1D },
    ) => {
      const { oracle, close } = open(victim as Victim<'probabilities'>, { tensors, memory, seed });
      const given = oracle.logProbabilities(images);
      return { state: { memory: close().memory, seen: tf.add<tf.Scalar>(seen, 1) }, metrics: { given } };
    };
    const images = Array.from(
      { length: 3 },
      (_, i) => tf.randomUniform([7, 4, 4, 1], 0, 1, 'float32', i) as tf.Tensor4D,
    );
    const runs = [eager(step, tensorsOf(victim)), compile(step, tensorsOf(victim))].map((runner) => {
      runner.load({ memory: sessionOf(victim).memory, seen: tf.scalar(0) });
      const bits = images.map((each) =>
        bitsOf(
          runner.run([
            { batch: { images: each }, inputs: { learningRate: tf.scalar(0), seed: tf.tensor1d([1, 2], 'int32') } },
          ]),
        ),
      );
      const state = bitsOf(runner.read());
      const { execution } = runner;
      runner.dispose();
      return { bits, state, execution };
    });
    const [one, other] = runs as [(typeof runs)[0], (typeof runs)[0]];
    expect(other.execution).toBe('graph');
    expect({ ...other, execution: '' }).toEqual({ ...one, execution: '' });
    retire(victim);
  });

  test('tells the label that the victim names, and sums to 1', () => {
    const { victim } = victimOf(variant);
    const images = tf.randomUniform([20, 4, 4, 1], 0, 1, 'float32', 5) as tf.Tensor4D;
    const memory = sessionOf(victim).memory;
    const { oracle, close } = open(victim as Victim<'probabilities'>, {
      tensors: tensorsOf(victim),
      memory,
      seed: tf.tensor1d([1, 2], 'int32'),
    });
    const clean = network.apply(tensorsOf(victim).variables, normalise(tf.mul(images, 255), data.normalisation), {
      mode: 'eval',
    });
    const given = oracle.logProbabilities(images);
    expect(values(tf.argMax(given, 1))).toEqual(values(tf.argMax(clean.logits, 1)));
    expect(values(oracle.labels(images))).toEqual(values(tf.argMax(clean.logits, 1)));
    expectClose(values(tf.sum(tf.exp(given), 1)), Array(20).fill(1), 1e-6);
    const shift = values(close().shift as tf.Tensor);
    expect(shift[2]).toBe(0);
    expect(shift[3]).toBe(0);
    retire(victim);
  });
});

test('what S keeps survives a kill, and an owner’s look leaves no trace', async () => {
  type State = { readonly sum: tf.Scalar };
  type Batch = { readonly images: tf.Tensor4D };
  const specOf = (
    victim: Victim<'probabilities'>,
    crashAt = Number.POSITIVE_INFINITY,
  ): FitSpec<NoTensors, State, Batch, State, NoTensors, 'probabilities'> => ({
    victim,
    init: () => ({ sum: tf.scalar(0) }),
    step: ({ victim: oracle }, { sum }, { images }) => {
      const given = tf.sum<tf.Scalar>(tf.exp(oracle.logProbabilities(images)).square());
      return { state: { sum: tf.add<tf.Scalar>(sum, given) }, metrics: { given } };
    },
    source: (): Source<Batch> => ({
      data: {},
      steps: 4,
      at: (step) => {
        if (step === crashAt) throw new Error('killed');
        return { batch: { images: tf.randomUniform([5, 4, 4, 1], 0, 1, 'float32', step) }, images: 5 };
      },
    }),
    epochs: 2,
    schedule: constant(0),
    keep: (state) => state,
  });
  const host = (): FitHost & { saved: Checkpoint | undefined } => {
    const own: FitHost & { saved: Checkpoint | undefined } = {
      key: key('fit'),
      checkpointEvery: 3,
      saved: undefined,
      load: async () => own.saved,
      save: async (checkpoint) => {
        own.saved = structuredClone({ ...checkpoint, meta: JSON.parse(JSON.stringify(checkpoint.meta)) });
      },
      epoch: async () => undefined,
      progress: () => undefined,
      warn: () => undefined,
    };
    return own;
  };
  const end = async (victim: Victim, doing: ReturnType<typeof fit>) => {
    const { last, queries, shift } = await doing;
    const found = { last: bitsOf(last), queries, shift, memory: bitsOf(sessionOf(victim).memory) };
    dispose(last);
    return found;
  };
  const whole = victimOf('S', 0.05);
  const expected = await end(whole.victim, fit(specOf(whole.victim as never), host()));
  const killed = victimOf('S', 0.05);
  const own = host();
  for (const at of [1, 5, 7]) await expect(fit(specOf(killed.victim as never, at), own)).rejects.toThrow('killed');
  expect(await end(killed.victim, fit(specOf(killed.victim as never), own))).toEqual(expected);
  expect(expected.queries).toBe(40);

  const looked = await question(whole.victim, setOf(), { key: key('look'), frozen: true });
  expect(bitsOf(looked.memory)).toEqual(expected.memory);
  expect(bitsOf(sessionOf(whole.victim).memory)).toEqual(expected.memory);
  expect(sessionOf(whole.victim).asked.queries).toBe(40);
  const asked = await question(whole.victim, setOf(), { key: key('ask') });
  expect(bitsOf(asked.memory)).not.toEqual(expected.memory);
  dispose([looked.memory, asked.memory]);
  for (const { victim, variables } of [whole, killed]) {
    retire(victim);
    dispose(variables);
  }
});
