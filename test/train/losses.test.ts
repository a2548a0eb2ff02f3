import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { loadEngine } from '../../src/engine/engine.js';
import { crossEntropy, detach, distillation, klDivergence, nasty, soften } from '../../src/train/losses.js';
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

// The formulas once more, in float64 and the plainest way, to differentiate by finite differences.

type Rows = readonly (readonly number[])[];
const softmax = (row: readonly number[], temperature = 1): number[] => {
  const top = Math.max(...row);
  const powers = row.map((x) => Math.exp((x - top) / temperature));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / sum);
};
const mean = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b) / numbers.length;
const divergence = (p: readonly number[], q: readonly number[]) =>
  p.reduce((sum, x, k) => sum + (x === 0 ? 0 : x * Math.log(x / (q[k] as number))), 0);
const plainCrossEntropy = (logits: Rows, labels: readonly number[], smoothing = 0) =>
  mean(
    logits.map((row, i) =>
      softmax(row).reduce((sum, q, k) => {
        const target = (1 - smoothing) * Number(k === labels[i]) + smoothing / row.length;
        return sum - target * Math.log(q);
      }, 0),
    ),
  );
const plainKl = (a: Rows, b: Rows, temperature = 1) =>
  mean(a.map((row, i) => divergence(softmax(row, temperature), softmax(b[i] as number[], temperature))));
const plainDistillation = (s: Rows, t: Rows, labels: readonly number[], temperature: number, alpha: number) =>
  alpha * temperature ** 2 * plainKl(t, s, temperature) + (1 - alpha) * plainCrossEntropy(s, labels);
const plainNasty = (n: Rows, a: Rows, labels: readonly number[], temperature: number, omega: number) =>
  plainCrossEntropy(n, labels) - omega * temperature ** 2 * plainKl(n, a, temperature);

/** Central differences of a function of rows: exact to about 1e-9 in float64. */
const differences = (f: (rows: Rows) => number, at: Rows): number[] =>
  at.flatMap((row, i) =>
    row.map((_, k) => {
      const moved = (by: number) => f(at.map((r, j) => r.map((x, l) => (i === j && k === l ? x + by : x))));
      return (moved(1e-5) - moved(-1e-5)) / 2e-5;
    }),
  );

const rows = (n: number, classes: number, phase: number, scale = 3): number[][] =>
  Array.from({ length: n }, (_, i) => wave(classes, phase + i / 7, scale));
const tensor = (of: Rows) => tf.tensor2d(of.map((row) => [...row]));
const ints = (labels: readonly number[]) => tf.tensor1d([...labels], 'int32');
const item = (scalar: tf.Tensor) => values(scalar)[0] as number;
const gradient = (f: (logits: tf.Tensor2D) => tf.Tensor, at: Rows) =>
  values(tf.grad((x) => f(x as tf.Tensor2D))(tensor(at)));
const log = (of: Rows) => tensor(of.map((row) => row.map(Math.log)));

const student = rows(4, 5, 1);
const teacher = rows(4, 5, 2);
const labels = [0, 3, 4, 3];

describe('cross-entropy', () => {
  // logits (0, ln 2, ln 3) are probabilities (1/6, 2/6, 3/6)
  const sixths = [0, Math.log(2), Math.log(3)];

  test('is the batch mean of the labels’ surprise', () => {
    // labels 2 and 0: (ln 2 + ln 6) / 2 = ln 12 / 2
    expect(item(crossEntropy(tensor([sixths, sixths]), ints([2, 0])))).toBeCloseTo(Math.log(12) / 2, 6);
    expect(item(crossEntropy(tensor([[0, 0, 0, 0]]), ints([1])))).toBeCloseTo(Math.log(4), 6);
  });

  test('smooths labels as PyTorch does: (1−ε) one-hot + ε/K', () => {
    // label 2, ε = 0.1: 0.9 ln 2 + 0.1/3 (ln 6 + ln 3 + ln 2) = 0.9 ln 2 + 0.1/3 ln 36
    const expected = 0.9 * Math.log(2) + (0.1 / 3) * Math.log(36);
    expect(item(crossEntropy(tensor([sixths]), ints([2]), { smoothing: 0.1 }))).toBeCloseTo(expected, 6);
    // ε = 1 asks for the uniform distribution, whatever the label
    expect(item(crossEntropy(tensor([sixths]), ints([0]), { smoothing: 1 }))).toBeCloseTo(Math.log(36) / 3, 6);
  });

  test('of answers that are the smoothed labels is their entropy: ten classes, 0.91 and nine of 0.01', () => {
    const answers = [[0.91, ...Array.from({ length: 9 }, () => 0.01)].map(Math.log)];
    expect(item(crossEntropy(tensor(answers), ints([0]), { smoothing: 0.1 }))).toBeCloseTo(0.500288, 6);
  });

  test.each([0, 0.1, 1])('has the gradient of finite differences, ε = %d', (smoothing) => {
    expectClose(
      gradient((x) => crossEntropy(x, ints(labels), { smoothing }), student),
      differences((x) => plainCrossEntropy(x, labels, smoothing), student),
      2e-6,
    );
  });

  test('stands logits of ±10⁴', () => {
    const extreme = [
      [1e4, -1e4],
      [1e4, -1e4],
    ];
    // right: 0; wrong: 20000; mean 10000; gradient (q − y) / 2
    expect(item(crossEntropy(tensor(extreme), ints([0, 1])))).toBe(10000);
    expectClose(
      gradient((x) => crossEntropy(x, ints([0, 1])), extreme),
      [0, 0, 0.5, -0.5],
    );
  });

  test('refuses labels that are not int32 [B], and a smoothing outside 0 … 1', () => {
    expect(() => crossEntropy(tensor(student), tf.tensor1d(labels))).toThrow(/labels are int32 \[4\], not float32/);
    expect(() => crossEntropy(tensor(student), ints([0, 1]))).toThrow(/not int32 \[2\]/);
    expect(() => crossEntropy(tensor(student), ints(labels), { smoothing: 1.5 })).toThrow(/0 … 1/);
  });
});

describe('Kullback-Leibler divergence', () => {
  test('is the batch mean of Σ p (log p − log q), not divided by K', () => {
    // p = (1/2, 1/2), q = (1/4, 3/4): ½ ln 2 + ½ ln 2/3 = ½ ln 4/3; the second row is alike: 0
    const p = [
      [1 / 2, 1 / 2],
      [1 / 4, 3 / 4],
    ];
    const q = [
      [1 / 4, 3 / 4],
      [1 / 4, 3 / 4],
    ];
    expect(item(klDivergence(log(p), log(q)))).toBeCloseTo(Math.log(4 / 3) / 4, 6);
  });

  test('a class of probability 0 adds nothing to the value or to a gradient', () => {
    // p = (1, 0), q = (1/2, 1/2): ln 2. d/d log q = −p, and d/d log p = p (log p − log q + 1) = (ln 2 + 1, 0)
    const [value, [byP, byQ]] = [
      klDivergence(log([[1, 0]]), log([[0.5, 0.5]])),
      tf.grads((p, q) => klDivergence(p as tf.Tensor2D, q as tf.Tensor2D))([log([[1, 0]]), log([[0.5, 0.5]])]),
    ];
    expect(item(value)).toBeCloseTo(Math.log(2), 6);
    expectClose(values(byP as tf.Tensor), [Math.log(2) + 1, 0]);
    expectClose(values(byQ as tf.Tensor), [-1, 0]);
    // both rule the class out: 0 log (0 / 0) = 0
    expect(item(klDivergence(log([[1, 0]]), log([[1, 0]])))).toBe(0);
    // only q rules it out: infinitely surprised
    expect(item(klDivergence(log([[0.5, 0.5]]), log([[1, 0]])))).toBe(Number.POSITIVE_INFINITY);
  });

  test('has the gradients of finite differences through log-softmax on both sides', () => {
    const [byP, byQ] = tf.grads((p, q) => klDivergence(soften(p as tf.Tensor2D, 1), soften(q as tf.Tensor2D, 1)))([
      tensor(student),
      tensor(teacher),
    ]);
    expectClose(
      values(byP as tf.Tensor),
      differences((x) => plainKl(x, teacher), student),
      5e-6,
    );
    expectClose(
      values(byQ as tf.Tensor),
      differences((x) => plainKl(student, x), teacher),
      5e-6,
    );
  });

  test('scales with what it is multiplied by', () => {
    const byP = gradient((x) => tf.mul(klDivergence(soften(x, 1), soften(tensor(teacher), 1)), -3), student);
    expectClose(
      byP,
      differences((x) => -3 * plainKl(x, teacher), student),
      5e-6,
    );
  });

  test('is not negative, and 0 from a distribution to itself', () => {
    const row = fc.array(fc.float({ min: -30, max: 30, noNaN: true }), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(row, row, (a, b) =>
        tf.tidy(() => {
          const [p, q] = [soften(tensor([a]), 1), soften(tensor([b]), 1)];
          return item(klDivergence(p, q)) >= -1e-5 && item(klDivergence(p, p)) === 0;
        }),
      ),
      { numRuns: 50 },
    );
  });
});

describe('distillation', () => {
  const given = (logits: tf.Tensor2D, by: tf.Tensor2D = tensor(teacher), temperature = 4, alpha = 0.9) =>
    distillation({ logits, teacher: by, labels: ints(labels), temperature, alpha });

  test('is α τ² KL(teacher ‖ student) + (1−α) CE', () => {
    // Teacher (1/2, 1/2), student (1/4, 3/4), τ = 2, α = 0.9, label 1. Softened, the student's odds 1 : 3 are 1 : √3, so
    // KL = ½ ln 1/(2 q₀) + ½ ln 1/(2 q₁) = ½ ln ((1 + √3)² / (4 √3)); CE = ln 4/3.
    const kl = 0.5 * Math.log((1 + Math.sqrt(3)) ** 2 / (4 * Math.sqrt(3)));
    const ce = Math.log(4 / 3);
    const { loss, terms } = distillation({
      logits: log([[1 / 4, 3 / 4]]),
      teacher: log([[1 / 2, 1 / 2]]),
      labels: ints([1]),
      temperature: 2,
      alpha: 0.9,
    });
    expect(item(terms.kl)).toBeCloseTo(kl, 6);
    expect(item(terms.crossEntropy)).toBeCloseTo(ce, 6);
    expect(item(loss)).toBeCloseTo(0.9 * 4 * kl + 0.1 * ce, 6);
  });

  test.each([
    [1, 0.5],
    [4, 0.9],
    [20, 1],
    [20, 0],
  ])('has the gradient of finite differences, τ = %d, α = %d', (temperature, alpha) => {
    expectClose(
      gradient((x) => given(x, tensor(teacher), temperature, alpha).loss, student),
      differences((x) => plainDistillation(x, teacher, labels, temperature, alpha), student),
      1e-5,
    );
    expect(item(given(tensor(student), tensor(teacher), temperature, alpha).loss)).toBeCloseTo(
      plainDistillation(student, teacher, labels, temperature, alpha),
      4,
    );
  });

  test('is the same from the teacher’s logits and from its log-probabilities', () => {
    const fromLogits = item(given(tensor(student)).loss);
    const fromLogProbabilities = item(given(tensor(student), soften(tensor(teacher), 1)).loss);
    expect(fromLogProbabilities).toBeCloseTo(fromLogits, 5);
  });

  test('a class that the teacher rules out adds nothing', () => {
    const inf = Number.NEGATIVE_INFINITY;
    const ruledOut = [[0, inf, 0, inf, inf]];
    const one = (logits: tf.Tensor2D) =>
      distillation({ logits, teacher: tensor(ruledOut), labels: ints([0]), temperature: 4, alpha: 0.9 }).loss;
    const at = [student[0] as number[]];
    expect(item(one(tensor(at)))).toBeCloseTo(plainDistillation(at, ruledOut, [0], 4, 0.9), 4);
    expectClose(
      gradient(one, at),
      differences((x) => plainDistillation(x, ruledOut, [0], 4, 0.9), at),
      1e-5,
    );
  });

  test('gives the teacher no gradient', () => {
    const [, byTeacher] = tf.grads((s, t) => given(s as tf.Tensor2D, t as tf.Tensor2D).loss)([
      tensor(student),
      tensor(teacher),
    ]);
    expect(values(byTeacher as tf.Tensor).every((x) => x === 0)).toBe(true);
  });

  test('stands logits of ±10⁴ on either side', () => {
    const extreme = [[1e4, -1e4, 0, 0, 0]];
    const opposite = [[-1e4, 1e4, 0, 0, 0]];
    const loss = (x: tf.Tensor2D) =>
      distillation({ logits: x, teacher: tensor(opposite), labels: ints([0]), temperature: 4, alpha: 0.9 }).loss;
    // p = (0, 1, 0 …), log q₁ = −20000/4: 0.9 · 16 · 5000
    expect(item(loss(tensor(extreme)))).toBeCloseTo(72000, 0);
    // α τ (q − p): 3.6 (1, −1)
    expectClose(gradient(loss, extreme), [3.6, -3.6, 0, 0, 0]);
  });

  test('refuses τ ≤ 0 and α outside 0 … 1', () => {
    expect(() => given(tensor(student), tensor(teacher), 0)).toThrow(/temperature/);
    expect(() => given(tensor(student), tensor(teacher), 4, 1.1)).toThrow(/alpha/);
  });
});

describe('nasty', () => {
  const given = (logits: tf.Tensor2D, adversary: tf.Tensor2D = tensor(teacher), temperature = 4, omega = 0.04) =>
    nasty({ logits, adversaryLogits: adversary, labels: ints(labels), temperature, omega });

  test('is CE − ω τ² KL(p_nasty ‖ p_adversary)', () => {
    // nasty (1/4, 3/4), adversary (1/2, 1/2), label 1, τ = 1, ω = 1/2: CE = ln 4/3, KL = ¼ ln ½ + ¾ ln 3/2
    const { loss, terms } = nasty({
      logits: log([[1 / 4, 3 / 4]]),
      adversaryLogits: log([[1 / 2, 1 / 2]]),
      labels: ints([1]),
      temperature: 1,
      omega: 0.5,
    });
    const kl = 0.25 * Math.log(0.5) + 0.75 * Math.log(1.5);
    expect(item(terms.kl)).toBeCloseTo(kl, 6);
    expect(item(terms.crossEntropy)).toBeCloseTo(Math.log(4 / 3), 6);
    expect(item(loss)).toBeCloseTo(Math.log(4 / 3) - 0.5 * kl, 6);
  });

  test.each([
    [1, 0.5],
    [4, 0.04],
    [4, 0.004],
    [20, 0.005],
    [20, 0],
  ])('has the gradient of finite differences, τ = %d, ω = %d', (temperature, omega) => {
    expectClose(
      gradient((x) => given(x, tensor(teacher), temperature, omega).loss, student),
      differences((x) => plainNasty(x, teacher, labels, temperature, omega), student),
      1e-5,
    );
  });

  test('the gradient flows through both uses of p_nasty', () => {
    const soft = (x: tf.Tensor2D) => soften(x, 4);
    const adversary = soft(tensor(teacher));
    const byLoss = gradient((x) => given(x, tensor(teacher), 4, 0.04).loss, student);
    const byCrossEntropy = gradient((x) => crossEntropy(x, ints(labels)), student);
    const byKl = byLoss.map((g, i) => (g - (byCrossEntropy[i] as number)) / (-0.04 * 16));
    // In closed form d KL / d z_j = p_j (log p_j / q_j − KL) / (τ B); held fixed as a weight, p would leave
    // Σ_k p_k d log p_k / d z = 0: no gradient at all.
    const closed = student.flatMap((row, i) => {
      const [p, q] = [softmax(row, 4), softmax(teacher[i] as number[], 4)];
      const kl = divergence(p, q);
      return p.map((x, k) => (x * (Math.log(x / (q[k] as number)) - kl)) / (4 * student.length));
    });
    expectClose(byKl, closed, 1e-6);
    const weightsFixed = gradient((x) => {
      const logP = soft(x);
      return tf.div(tf.sum(tf.mul(detach(tf.exp(logP)), tf.sub(logP, adversary))), student.length);
    }, student);
    expectClose(weightsFixed, new Array(20).fill(0), 1e-6);
    expect(Math.max(...byKl.map(Math.abs))).toBeGreaterThan(0.01);
  });

  test('gives the adversary no gradient', () => {
    const [, byAdversary] = tf.grads((n, a) => given(n as tf.Tensor2D, a as tf.Tensor2D).loss)([
      tensor(student),
      tensor(teacher),
    ]);
    expect(values(byAdversary as tf.Tensor).every((x) => x === 0)).toBe(true);
  });

  test('stands logits of ±10⁴, where the loss is negative and the gradient finite', () => {
    const extreme = [[1e4, -1e4, 0, 0, 0]];
    const opposite = [[-1e4, 1e4, 0, 0, 0]];
    const loss = (x: tf.Tensor2D) =>
      nasty({ logits: x, adversaryLogits: tensor(opposite), labels: ints([0]), temperature: 4, omega: 0.04 }).loss;
    // KL = 5000: −0.04 · 16 · 5000
    expect(item(loss(tensor(extreme)))).toBeCloseTo(-3200, 1);
    // p is (1, 0, …): p_j (log p_j / q_j − KL) = 0 everywhere
    expectClose(gradient(loss, extreme), [0, 0, 0, 0, 0]);
  });

  test('refuses ω < 0 and τ ≤ 0', () => {
    expect(() => given(tensor(student), tensor(teacher), 4, -1)).toThrow(/omega/);
    expect(() => given(tensor(student), tensor(teacher), Number.NaN)).toThrow(/temperature/);
  });
});

test('no loss reads a tensor’s value, so that a step can be traced', () => {
  const read = vi.spyOn(tf.backend() as { readSync(id: object): unknown }, 'readSync');
  const one = tensor(student);
  tf.grad((x) => {
    const logits = x as tf.Tensor2D;
    const target = ints(labels);
    const a = distillation({ logits, teacher: one, labels: target, temperature: 4, alpha: 0.9 });
    const b = nasty({ logits, adversaryLogits: one, labels: target, temperature: 4, omega: 0.04 });
    return tf.add(a.loss, b.loss);
  })(one);
  expect(read).not.toHaveBeenCalled();
  read.mockRestore();
});
