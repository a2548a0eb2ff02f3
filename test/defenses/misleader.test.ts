import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import type { OptionsOf } from '../../src/core/plugin.js';
import { key } from '../../src/core/random.js';
import { clone, dispose, leaves, type Tree } from '../../src/core/tree.js';
import { rounding } from '../../src/defenses/answers.js';
import { compose } from '../../src/defenses/compose.js';
import type { Defense } from '../../src/defenses/defense.js';
import { averaged, klToAttacker, misleader, misleading } from '../../src/defenses/misleader.js';
import { loadEngine } from '../../src/engine/engine.js';
import type { Named, Variables } from '../../src/models/network.js';
import type { ClassifierState } from '../../src/train/classifier.js';
import { sgd } from '../../src/train/optimizers.js';
import { constant } from '../../src/train/schedules.js';
import { refusal } from '../failures.js';
import { built, context, normalised, sets, succeed } from '../train/bench.js';
import { expectClose, values, wave } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

const item = (scalar: tf.Tensor): number => values(scalar)[0] as number;
const log = (...rows: number[][]) => tf.log(tf.tensor2d(rows)) as tf.Tensor2D;

/** Derivatives of a function of [rows, columns] numbers by each of them. */
const differences = (f: (at: tf.Tensor2D) => tf.Scalar, at: tf.Tensor2D, step = 1e-2): number[] =>
  Array.from({ length: at.size }, (_, i) => {
    const by = tf.tensor2d(
      Array.from({ length: at.size }, (_, j) => (i === j ? step : 0)),
      at.shape,
    );
    return (item(f(tf.add(at, by))) - item(f(tf.sub(at, by)))) / (2 * step);
  });

describe('how far a net is from its attacker', () => {
  test('has the worked numbers', () => {
    tf.tidy(() => {
      const [d, s] = [log([0.7, 0.2, 0.1]), log([0.5, 0.3, 0.2])];
      expectClose([item(klToAttacker(d, s)), item(klToAttacker(s, d))], [0.085123, 0.092033], 2e-6);
      // Of logits their softmax counts alone, and of a batch the mean.
      expectClose([item(klToAttacker(tf.add(d, 3), tf.sub(s, 2)))], [0.085123], 2e-6);
      expectClose(
        [item(klToAttacker(tf.concat([d, s]) as tf.Tensor2D, tf.concat([s, s]) as tf.Tensor2D))],
        [0.085123 / 2],
        2e-6,
      );
    });
  });

  test("takes the net's probabilities for at least 10⁻⁷, where no gradient flows", () => {
    tf.tidy(() => {
      const [sure, s] = [tf.tensor2d([[40, 0]]), log([0.5, 0.5])];
      expectClose([item(klToAttacker(sure, s))], [Math.log(2) + 1e-7 * (Math.log(1e-7) + Math.log(2))], 1e-6);
      const far = tf.tensor2d([[-200, 200]]);
      const slope = tf.grads((a: tf.Tensor, b: tf.Tensor) => klToAttacker(a as tf.Tensor2D, b as tf.Tensor2D))([
        sure,
        far,
      ]);
      expect(slope.flatMap(values).every(Number.isFinite)).toBe(true);
      // 10⁻⁷ (ln 10⁻⁷ − ln s) is constant in d.
      expectClose(values(slope[0] as tf.Tensor), [0, 0], 1e-6);
    });
  });

  test('has the gradients of finite differences, by both', () => {
    tf.tidy(() => {
      const [d, s] = [1, 2].map((phase) => tf.tensor2d(wave(8, phase, 2), [2, 4])) as [tf.Tensor2D, tf.Tensor2D];
      const [byNet, byAttacker] = tf.grads((a: tf.Tensor, b: tf.Tensor) =>
        klToAttacker(a as tf.Tensor2D, b as tf.Tensor2D),
      )([d, s]);
      expectClose(
        values(byNet as tf.Tensor),
        differences((at) => klToAttacker(at, s), d),
        2e-4,
      );
      expectClose(
        values(byAttacker as tf.Tensor),
        differences((at) => klToAttacker(d, at), s),
        2e-4,
      );
    });
  });
});

describe("a net's loss", () => {
  const labels = () => tf.tensor1d([0, 1], 'int32');
  const given = () => ({
    logits: tf.tensor2d([
      [1, 0.5, -0.5],
      [0, 1, 0.2],
    ]),
    teacher: tf.tensor2d([
      [2, 0, -1],
      [1, 2, -0.5],
    ]),
    labels: labels(),
    strange: log([0.7, 0.2, 0.1], [0.7, 0.2, 0.1]),
    attacker: log([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]),
  });

  test('has the worked numbers', () => {
    tf.tidy(() => {
      const { loss, terms } = misleading(given(), { lambda: 0.05, temperature: 4, alpha: 0.5 });
      expectClose(
        [item(terms.kl), item(terms.crossEntropy), item(terms.klToAttacker)],
        [0.01731, 0.600716, 0.085123],
        5e-6,
      );
      // 0.5 · 16 · KL + 0.5 · CE − 0.05 · 0.085123
      expectClose([item(loss)], [0.438839 - 0.05 * 0.085123], 5e-6);
    });
  });

  test('has the gradients of finite differences, and none by teacher and attacker', () => {
    tf.tidy(() => {
      const settings = { lambda: 0.7, temperature: 3, alpha: 0.4 };
      for (const name of ['logits', 'strange', 'teacher', 'attacker'] as const) {
        const loss = (at: tf.Tensor2D) => misleading({ ...given(), [name]: at }, settings).loss;
        const slope = values(tf.grad((at: tf.Tensor) => loss(at as tf.Tensor2D))(given()[name]));
        const expected = differences(loss, given()[name]);
        const isFixed = name === 'teacher' || name === 'attacker';
        expectClose(slope, isFixed ? expected.map(() => 0) : expected, 2e-4);
        expect(Math.max(...expected.map(Math.abs))).toBeGreaterThan(0.01);
      }
    });
  });
});

test('several nets answer by the mean of their probabilities', () => {
  tf.tidy(() => {
    const told = averaged([log([0.7, 0.2, 0.1]), tf.add(log([0.5, 0.3, 0.2]), 4)]);
    expectClose(values(tf.exp(told)), [0.6, 0.25, 0.15], 1e-6);
    // What all of them rule out is told as 0.
    expectClose(values(averaged([tf.tensor2d([[200, 0]]), tf.tensor2d([[300, 0]])])), [0, Number.NEGATIVE_INFINITY]);
  });
});

const rate = 0.5;
const learner = built({ epochs: 1, optimizer: sgd(), schedule: constant(rate) });
const member = { lambda: 0.3, temperature: 2, alpha: 0.5 };
type Alternating = { readonly own: ClassifierState; readonly attacker: ClassifierState };

/** The first step of a net's training, from the same weights in every call: before, after, and what it says. */
const stepOf = async (options: OptionsOf<typeof misleader>) => {
  const variables = learner.network.init(key('teacher'));
  const tried = context();
  const { prepare } = misleader({ members: [member], ...options }) as Required<Pick<Defense, 'prepare'>>;
  const teacher = { learner, variables };
  const made = (await succeed(prepare(teacher, { ...tried, ...sets, adversary: teacher }))) as Tree;
  const spec = tried.specs[0] as NonNullable<(typeof tried.specs)[0]>;
  const before: Alternating = spec.init(key('init'));
  const { data, at } = spec.source(key('batches'));
  const { batch } = at(0);
  const inputs = { learningRate: tf.scalar(rate), seed: tf.tensor1d([1, 2], 'int32') };
  const { state, metrics } = tf.tidy(() => {
    const { state, metrics } = spec.step({ frozen: spec.frozen, data, victim: {} }, before, batch, inputs);
    return clone({ state, metrics }) as never;
  }) as unknown as { readonly state: Alternating; readonly metrics: Named };
  /** How far weights moved: their gradients, for the optimiser has no memory. */
  const gradientOf = (who: keyof Alternating): number[] => {
    const weights = ({ variables }: ClassifierState) => leaves(variables.params).flatMap(values);
    const after = weights(state[who]);
    return weights(before[who]).map((each, i) => (each - (after[i] as number)) / rate);
  };
  const found = {
    own: gradientOf('own'),
    attacker: gradientOf('attacker'),
    metrics: Object.fromEntries(Object.entries(metrics).map(([name, each]) => [name, item(each)])),
  };
  dispose([variables, made, before, state, metrics, batch, data, inputs.learningRate, inputs.seed] as Tree);
  return found;
};
const normOf = (numbers: readonly number[]) => Math.hypot(...numbers);
const still = { rotate: 0, crop: 0, flip: false };

describe('a step', () => {
  test("sums an attacker's gradients over its passes, and clips them to a norm", async () => {
    const open = { ...still, clipNorm: 1e6 };
    const [once, thrice] = [await stepOf({ ...open, passes: 1 }), await stepOf({ ...open, passes: 3 })];
    // Where images are not augmented each pass is the same.
    expectClose(
      thrice.attacker,
      once.attacker.map((each) => 3 * each),
      1e-3,
    );
    expect(thrice.metrics.attacker).toBeCloseTo(once.metrics.attacker as number, 5);
    const clipped = await stepOf({ ...open, passes: 3, clipNorm: 0.01 });
    expect(normOf(once.attacker)).toBeGreaterThan(0.01);
    expect(normOf(clipped.attacker)).toBeCloseTo(0.01, 4);
  });

  test('augments strongly what an attacker asks about, anew for each pass', async () => {
    const [plain, strong] = [await stepOf({ passes: 1, ...still }), await stepOf({ passes: 1 })];
    expect(strong.metrics.klToAttacker).not.toBeCloseTo(plain.metrics.klToAttacker as number, 5);
    const thrice = await stepOf({ passes: 3, clipNorm: 1e6 });
    const once = await stepOf({ passes: 1, clipNorm: 1e6 });
    expect(thrice.metrics.attacker).not.toBeCloseTo(once.metrics.attacker as number, 5);
    // What it is distilled on is augmented as the teacher was.
    for (const term of ['kl', 'crossEntropy', 'accuracy']) expect(strong.metrics[term]).toBe(plain.metrics[term]);
  });

  test('moves the net by λ against the attacker as it is after its own step, and not without', async () => {
    const without = { members: [{ ...member, lambda: 0 }] };
    const [few, many] = [await stepOf({ ...without, passes: 1 }), await stepOf({ ...without, passes: 4 })];
    expect(few.own).toEqual(many.own);
    const led = [await stepOf({ passes: 1 }), await stepOf({ passes: 4 })] as const;
    expect(led[0].own).not.toEqual(led[1].own);
    expect(led[0].own).not.toEqual(few.own);
    const { loss, kl, crossEntropy, klToAttacker: gap } = led[0].metrics as Record<string, number>;
    expect(loss).toBeCloseTo(0.5 * 4 * (kl as number) + 0.5 * (crossEntropy as number) - 0.3 * (gap as number), 5);
  });
});

describe('an ensemble', () => {
  test('has the released settings, of nets of the teacher’s kind unless others are named', () => {
    expect(misleader().params).toMatchObject({
      members: [
        { lambda: 0.001, temperature: 6, alpha: 0.3 },
        { lambda: 0.05, temperature: 4, alpha: 0.9 },
        { lambda: 0.01, temperature: 2, alpha: 0.3 },
      ],
      passes: 5,
      clipNorm: 5,
    });
    expect(misleader({ epochs: 8 }).scaled?.(0.25).params.epochs).toBe(2);
  });

  test('may be of several architectures, which learn one after the other', async () => {
    const variables: Variables = learner.network.init(key('teacher'));
    const tried = context();
    const members = [member, { ...member, network: normalised(5) }];
    const { prepare } = misleader({ members, passes: 1 }) as Required<Pick<Defense, 'prepare'>>;
    const teacher = { learner, variables };
    const made = (await succeed(prepare(teacher, { ...tried, ...sets, adversary: teacher }))) as { nets: Variables[] };
    expect(tried.names).toEqual(['net1', 'net2']);
    const channels = made.nets.map(({ params }) => (params['conv.weight'] as tf.Tensor).shape.at(-1));
    expect(channels).toEqual([3, 5]);
    dispose([variables, made.nets] as Tree);
  });

  test('comes before what others make of its answers', () => {
    expect(compose(misleader(), rounding(2)).name).toBe('misleader + rounding');
    expect(refusal(() => compose(rounding(2), misleader())).what).toMatch(/^misleader asks the net anew/);
  });

  test.each<readonly [object, string]>([
    [{ members: [] }, 'misleader: members is []. Give a list of nets'],
    [{ members: [{ ...member, alpha: 1.5 }] }, 'misleader: members: 0: alpha is 1.5. Give a number from 0 to 1.'],
    [{ members: [{ ...member, network: 5 }] }, 'misleader: members: 0: network: this is no network'],
    [{ members: [{ ...member, omega: 5 }] }, 'misleader: members: 0: omega is none of its options'],
    [{ passes: 0 }, 'misleader: passes is 0'],
    [{ clipNorm: 0 }, 'misleader: clipNorm is 0'],
  ])('refuses %j', (options, said) => {
    const { where, what, remedy } = refusal(() => misleader(options));
    expect(`${where}: ${what}. ${remedy}`).toContain(said);
  });
});
