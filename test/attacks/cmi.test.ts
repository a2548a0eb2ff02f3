import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { cmi, contrast, contrasting, contrastiveLoss, disagreement } from '../../src/attacks/cmi.js';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import { generator, generatorPresets } from '../../src/models/generator.js';
import type { Named, Network } from '../../src/models/network.js';
import { sessionOf, type Victim } from '../../src/train/oracle.js';
import { constant } from '../../src/train/schedules.js';
import { phaseFit, roundRobinLabels } from '../../src/train/synthesiser.js';
import { refusal } from '../failures.js';
import { circumstances, tiny } from '../run/helpers.js';
import { type AnySpec, context, endOf, succeed } from '../train/bench.js';
import { expectClose, values, wave } from '../train/tensors.js';
import { expectCompiled, image, learnerOf, normalisationOf, roomy, siteOf, useBench, victimOf } from './stepping.js';

const bench = useBench();
const net = roomy().build(image, 3);
const normalisation = normalisationOf();

const atHand = () => victimOf(roomy(), image, { network: net, normalisation });
const siteAt = (learner = learnerOf()) => {
  const { retired, ...at } = atHand();
  bench.hold(retired);
  return siteOf(at, learner);
};

const settings = {
  batch: 4,
  iterations: 5,
  rate: 0.01,
  latent: 5,
  width: 4,
  batchNorm: 1,
  oneHot: 1,
  adversarial: 0.5,
  contrastive: 0.8,
  contrastiveTemperature: 0.2,
  negatives: 6,
  capacity: 10,
  embedding: 3,
};
const item = (scalar: tf.Tensor) => values(scalar)[0] as number;

describe('the contrastive loss', () => {
  const [q, k] = [
    () =>
      tf.tensor2d([
        [1, 0],
        [0.6, 0.8],
      ]),
    () =>
      tf.tensor2d([
        [0.8, 0.6],
        [0, 1],
      ]),
  ];

  test.each([
    [0.2, 0.01815, 1.171101],
    [0.1, 0.000335, 1.783901],
  ])('by the worked numbers (τ %f)', (temperature, first, second) => {
    tf.tidy(() => {
      expectClose([item(contrastiveLoss(q(), k(), 2, temperature))], [(first + second) / 2], 2e-6);
      // One new image and one of the bank: the two means are added.
      expectClose([item(contrastiveLoss(q(), k(), 1, temperature))], [first + second], 2e-6);
    });
  });

  test('by its own sums', () => {
    tf.tidy(() => {
      expectClose([item(contrastiveLoss(q(), k(), 2, 0.2))], [0.594625], 2e-6);
      expectClose([item(contrastiveLoss(q(), k(), 1, 0.2))], [1.189251], 2e-6);
    });
  });
});

/** Central differences of a function of numbers, in double precision. */
const differences = (f: (x: readonly number[]) => number, at: readonly number[]): number[] =>
  at.map((_, i) => {
    const moved = (by: number) => f(at.map((x, j) => (i === j ? x + by : x)));
    return (moved(1e-5) - moved(-1e-5)) / 2e-5;
  });

const chunk = (x: readonly number[], size: number): number[][] =>
  Array.from({ length: x.length / size }, (_, i) => x.slice(i * size, (i + 1) * size));
const logSoftmax = (x: readonly number[]): number[] => {
  const sum = Math.log(x.reduce((all, each) => all + Math.exp(each), 0));
  return x.map((each) => each - sum);
};

describe('the contrastive term', () => {
  const [features, embedding, fresh, old] = [3, 2, 2, 3];
  const shapes = { '0.weight': [3, 3], '0.bias': [3], '2.weight': [3, 2], '2.bias': [2] } as const;
  const sizes = Object.values(shapes).map((shape) => (shape as readonly number[]).reduce((a, b) => a * b, 1));
  const headAt = wave(
    sizes.reduce((a, b) => a + b),
    1,
  );
  const [local, global] = [wave(fresh * features, 2), wave(fresh * features, 3)];
  const [localBank, globalBank] = [wave(old * features, 4), wave(old * features, 5)];

  /** In double precision; keys are of the head as it is, and have no gradient. */
  const formula = (head: readonly number[], x: readonly number[], withBank: boolean): number => {
    const embedded = (of: readonly number[], row: readonly number[]) => {
      const parts = sizes.map((size, i) => of.slice(sizes.slice(0, i).reduce((a, b) => a + b, 0)).slice(0, size));
      const [w0, b0, w2, b2] = parts as [number[], number[], number[], number[]];
      const hidden = b0.map((b, j) =>
        Math.max(0, b + row.reduce((sum, r, i) => sum + r * (w0[i * features + j] as number), 0)),
      );
      const out = b2.map((b, j) => b + hidden.reduce((sum, r, i) => sum + r * (w2[i * embedding + j] as number), 0));
      const norm = Math.hypot(...out);
      return out.map((each) => each / norm);
    };
    const rows = (now: readonly number[], bank: readonly number[]) =>
      chunk([...now, ...(withBank ? bank : [])], features);
    const q = rows(x, localBank).map((row) => embedded(head, row));
    const k = rows(global, globalBank).map((row) => embedded(headAt, row));
    const losses = q.map(
      (row, i) =>
        -(logSoftmax(k.map((other) => row.reduce((sum, each, j) => sum + each * (other[j] as number), 0) / 0.2))[
          i
        ] as number),
    );
    const mean = (of: readonly number[]) => of.reduce((a, b) => a + b, 0) / of.length;
    return mean(losses.slice(0, fresh)) + (withBank ? mean(losses.slice(fresh)) : 0);
  };

  test.each([false, true])(
    'has its formula’s value and gradients to head and local features, and none to global ones (a bank: %s)',
    (withBank) => {
      tf.tidy(() => {
        let at = 0;
        const head = Object.entries(shapes).map(([name, shape], i) => {
          const tensor = tf.tensor(headAt.slice(at, at + (sizes[i] as number)), [...shape]);
          at += sizes[i] as number;
          return [name, tensor] as const;
        });
        const names = head.map(([name]) => name);
        const bank = withBank
          ? { local: tf.tensor2d(localBank, [old, features]), global: tf.tensor2d(globalBank, [old, features]) }
          : undefined;
        const [l, g] = [tf.tensor2d(local, [fresh, features]), tf.tensor2d(global, [fresh, features])];
        const of = (...given: tf.Tensor[]) => {
          const params = Object.fromEntries(names.map((name, i) => [name, given[i] as tf.Tensor]));
          const now = { local: given[names.length] as tf.Tensor2D, global: given[names.length + 1] as tf.Tensor2D };
          return contrast(params, now, bank, 0.2);
        };
        const inputs = [...head.map(([, tensor]) => tensor), l, g];
        expectClose([item(of(...inputs))], [formula(headAt, local, withBank)], 1e-5);
        const gradients = tf.grads(of)(inputs).map(values);
        const ofGlobal = gradients.pop() as number[];
        const ofLocal = gradients.pop() as number[];
        expectClose(
          gradients.flat(),
          differences((x) => formula(x, local, withBank), headAt),
          2e-4,
        );
        expectClose(
          ofLocal,
          differences((x) => formula(headAt, x, withBank), local),
          2e-4,
        );
        expect(ofGlobal.every((each) => each === 0)).toBe(true);
      });
    },
  );
});

describe('the disagreement', () => {
  const t = [2, 0, -1, 1, 2, -0.5];
  const agreeing = [1, 0.5, -0.5, 0, 1, 0.2];
  const masked = [1, 0.5, -0.5, 1.2, 1, 0.2];
  const of = (teacher: readonly number[], student: readonly number[]) =>
    tf.tidy(() => item(disagreement(tf.tensor2d([...teacher], [2, 3]), tf.tensor2d([...student], [2, 3]))));

  test('counts where both name one class, by the worked numbers', () => {
    expectClose([of(t, agreeing), of(t, masked)], [-0.16475, -0.099988], 2e-6);
  });

  test.each([
    ['both rows', agreeing],
    ['the first row', masked],
  ])('has the gradients of its formula to both nets (%s)', (_, s) => {
    const formula = (x: readonly number[]): number => {
      const [teacher, student] = [chunk(x.slice(0, 6), 3), chunk(x.slice(6), 3)];
      const rows = teacher.map((row, i) => {
        const other = student[i] as number[];
        const [p, q] = [logSoftmax(row), logSoftmax(other)];
        const same = row.indexOf(Math.max(...row)) === other.indexOf(Math.max(...other));
        return same ? p.reduce((sum, each, j) => sum + Math.exp(each) * (each - (q[j] as number)), 0) : 0;
      });
      return -((rows[0] as number) + (rows[1] as number)) / 2;
    };
    tf.tidy(() => {
      const gradients = tf.grads((a: tf.Tensor, b: tf.Tensor) => disagreement(a as tf.Tensor2D, b as tf.Tensor2D))([
        tf.tensor2d(t, [2, 3]),
        tf.tensor2d([...s], [2, 3]),
      ]);
      expectClose(gradients.flatMap(values), differences(formula, [...t, ...s]), 1e-5);
    });
  });
});

describe('what is trained', () => {
  test('is a generator of 2,328,899 parameters at the released settings', () => {
    const { latent, width } = cmi().params as { latent: number; width: number };
    const { variables } = generator({ ...generatorPresets.fast, latent, width }).build({
      height: 32,
      width: 32,
      channels: 3,
    });
    const count = variables
      .filter(({ kind }) => kind === 'param')
      .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    expect(count).toBe(2_328_899);
  });

  test.each([
    [512, 393_984],
    [2704, 8_006_800],
  ])('and a head on %i features of %i parameters', (features, count) => {
    tf.tidy(() => {
      const spec = { name: 'bn.running_mean', over: 'images', shape: [features], kind: 'stat' };
      const about = { victim: { network: { variables: [spec] } } } as never;
      const { memory } = contrasting({ ...settings, embedding: 256 });
      const { head } = (memory as NonNullable<typeof memory>).init(key('memory'), about) as {
        readonly head: { readonly params: Named };
      };
      expect(Object.values(head.params).reduce((sum, { size }) => sum + size, 0)).toBe(count);
      const bound = 1 / Math.sqrt(features);
      for (const each of Object.values(head.params)) {
        expect(item(tf.max(tf.abs(each)))).toBeLessThanOrEqual(bound * (1 + 1e-6));
        expect(item(tf.max(tf.abs(each)))).toBeGreaterThan(0.9 * bound);
      }
    });
  });

  test('begins anew for each batch but for the head: weights around 0, batch norms around 1, no bias', () => {
    const site = siteAt();
    tf.tidy(() => {
      const synthesiser = contrasting({ ...settings, width: 32, latent: 64, batch: 40 });
      const memory = synthesiser.memory?.init(key('memory'), site) as never;
      const begun = (name: string) => synthesiser.init(key(name), site, { memory });
      const [one, other] = [begun('one'), begun('other')];
      const { params } = one.generator;
      const deviation = (tensor: tf.Tensor, around: number) =>
        item(tf.sqrt(tf.mean(tf.square(tf.sub(tensor, around)))));
      for (const [name, tensor] of Object.entries(params)) {
        if (name.endsWith('.bias')) expect(item(tf.max(tf.abs(tensor)))).toBe(0);
        else {
          const around = tensor.rank === 1 ? 1 : 0;
          // Five standard errors.
          expect(Math.abs(deviation(tensor, around) / 0.02 - 1), name).toBeLessThan(5 / Math.sqrt(2 * tensor.size));
        }
      }
      expect(Math.abs(deviation(one.z, 0) - 1)).toBeLessThan(5 / Math.sqrt(2 * 40 * 64));
      expect(values(one.z)).not.toEqual(values(other.z));
      expect(values(params['l1.0.weight'] as tf.Tensor)).not.toEqual(
        values(other.generator.params['l1.0.weight'] as tf.Tensor),
      );
      expect(values(one.head.params['0.weight'] as tf.Tensor)).toEqual(
        values(other.head.params['0.weight'] as tf.Tensor),
      );
    });
  });
});

type Memory = { readonly head: never; readonly bank?: { readonly local: tf.Tensor2D; readonly global: tf.Tensor2D } };

test('the bank grows by each batch and forgets the oldest', () => {
  const site = siteAt();
  tf.tidy(() => {
    const synthesiser = contrasting(settings);
    const { memory: remembering } = synthesiser;
    let memory = remembering?.init(key('memory'), site) as Memory;
    expect(Object.keys(memory)).toEqual(['head']);
    const features = 8;
    for (const [batch, expected] of [
      [1, [1]],
      [2, [1, 2]],
      [3, [1, 2, 3]],
      [4, [2, 3, 4]],
    ] as const) {
      const state = synthesiser.init(key(`batch ${batch}`), site, { memory: memory as never });
      const best = {
        ...state.best,
        local: tf.fill([4, features], batch),
        global: tf.fill([4, features], -batch),
      } as typeof state.best;
      memory = remembering?.after(site, {
        memory: memory as never,
        state: { ...state, best },
        key: key('after'),
      }) as Memory;
      const rows = chunk(values(memory.bank?.local as tf.Tensor), features).map(([first]) => first as number);
      // Room for ten: of the fourth batch's predecessors half of the second is left.
      const all = expected.flatMap((each) => Array(4).fill(each)).slice(-10);
      expect(rows).toEqual(all);
      expect(values(memory.bank?.global as tf.Tensor)).toEqual(all.flatMap((each) => Array(features).fill(-each)));
    }
  });
});

/** The fit that makes a batch, beside a bank of so many images. */
const specOf = (bank: number, changes: Partial<typeof settings> = {}) => {
  const learner = learnerOf();
  const site = siteAt(learner);
  const synthesiser = contrasting({ ...settings, ...changes });
  const fresh = synthesiser.memory?.init(key('memory'), site) as Memory;
  const rows = (phase: number) => tf.tensor2d(wave(bank * 8, phase), [bank, 8]);
  const memory = bank === 0 ? fresh : { ...fresh, bank: { local: rows(6), global: rows(7) } };
  const student = learner.network.init(key('student'));
  bench.hold(() => tree.dispose([memory, student]));
  const spec = phaseFit(synthesiser, site, 0, {
    labels: roundRobinLabels(settings.batch, 3),
    student,
    memory: memory as never,
    before: undefined,
    every: 1000,
  });
  return { spec: spec as unknown as AnySpec };
};

describe('a batch', () => {
  test.each([
    ['without a bank', 0],
    ['beside a small one', 5],
    ['beside some of a large one', 9],
  ])('%s is the same bits in a graph', (_, bank) => {
    const { spec } = specOf(bank, { iterations: 6 });
    expectCompiled(spec, eager, (stride) => (step, frozen) => compile(step, frozen, { cache: bench.cache, stride }));
  });

  test('has the weighted sum of its terms as its loss', async () => {
    const { spec } = specOf(5, { batchNorm: 2, oneHot: 3, adversarial: 0.5, contrastive: 0.7 });
    const { history, last } = await context(key('terms')).fit('images', {
      ...spec,
      epochs: 1,
      stepsPerEpoch: 1,
      steps: 1,
    });
    const terms = history[0]?.metrics ?? {};
    const of = (name: string) => terms[name] as number;
    const sum = 2 * of('batchNorm') + 3 * of('crossEntropy') + 0.5 * of('adversarial') + 0.7 * of('contrastive');
    expectClose([of('loss')], [sum], 1e-5);
    expect(of('adversarial')).toBeLessThanOrEqual(0);
    tree.dispose(last);
  });

  test('keeps the images of the least loss, and fits better after steps than before', async () => {
    const { spec } = specOf(0, { iterations: 40 });
    type Kept = { readonly best: { readonly images: tf.Tensor4D }; readonly lowest: tf.Scalar };
    const losses: number[] = [];
    const steps = async (count: number) => {
      const own = { ...spec, epochs: count, stepsPerEpoch: 1, steps: count };
      const { last, history } = await context(key('steps')).fit('images', own);
      losses.splice(0, losses.length, ...history.map(({ metrics }) => metrics.loss as number));
      const found = {
        lowest: item((last as Kept).lowest),
        images: values((last as Kept).best.images),
      };
      tree.dispose(last);
      return found;
    };
    const { lowest, images } = await steps(40);
    expect(lowest).toBeCloseTo(Math.min(...losses), 6);
    expect(lowest).toBeLessThan(0.85 * (losses[0] as number));
    const best = losses.indexOf(Math.min(...losses));
    expect((await steps(best + 1)).images).toEqual(images);
  });
});

const learner = learnerOf(roomy(3), { schedule: constant(0.05), batch: 4 });
const given = { data: {} as never, normalisation, fullStepsPerEpoch: 5 };
const attack = cmi({
  ...settings,
  batches: 3,
  stepsBetween: 4,
  augmentation: { crop: 1, flip: true },
  temperature: 4,
  pictureEvery: 100,
});

describe('a theft', () => {
  test('counts passes through the victim’s net: two views a step, and what the student asks', async () => {
    const { victim, retired } = atHand();
    const tried = context(key('stage'), { normalisation });
    const { pool, steps } = endOf(
      (await succeed(attack.steal(victim as Victim<'weights'>, learner, { ...tried, ...given }))) as never,
    ) as never as { pool: number; steps: number };
    expect(sessionOf(victim).asked).toEqual({ queries: 0, forward: 3 * (2 * 5 * 4 + 4 * 4), backward: 3 * 2 * 5 * 4 });
    expect({ pool, steps }).toEqual({ pool: 12, steps: 4 });
    retired();
    const { batches, iterations, stepsBetween, batch } = cmi().params as Record<
      'batches' | 'iterations' | 'stepsBetween' | 'batch',
      number
    >;
    expect(batches * (2 * iterations + stepsBetween) * batch).toBe(40_960_000);
  });
});

describe('it is refused', () => {
  test('on a victim without batch norms over images, and at sides that are not divisible by 4', () => {
    const why = (victim: Network) => cmi().refuses?.(victim, victim, circumstances());
    const sized = (height: number, width: number) => roomy().build({ height, width, channels: 3 }, 3);
    expect(why(sized(8, 12))).toBeUndefined();
    expect(why(sized(8, 10))).toBe('its generator makes images of sides divisible by 4, not of 8×10');
    expect(why(tiny().build(image, 3))).toMatch(/^tiny has no batch norm over images/);
  });

  test.each<readonly [object, RegExp]>([
    [{ batch: 1 }, /^batch is 1/],
    [{ contrastive: 0 }, /^contrastive is 0/],
    [{ contrastiveTemperature: 0 }, /^contrastiveTemperature is 0/],
    [{ negatives: 0 }, /^negatives is 0/],
    [{ capacity: 0 }, /^capacity is 0/],
  ])('with options %j', (options, message) => {
    expect(refusal(() => cmi(options)).what).toMatch(message);
  });

  test('with a width that its halves do not share evenly', () => {
    expect(refusal(() => cmi({ width: 3 })).what).toMatch(/width is 3/);
  });
});
