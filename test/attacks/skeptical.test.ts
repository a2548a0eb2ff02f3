import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type AnyAttack, labelled } from '../../src/attacks/attack.js';
import { skeptical, skepticalLoss, withBranch } from '../../src/attacks/skeptical.js';
import { FailureError, failure } from '../../src/core/errors.js';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import { loadEngine } from '../../src/engine/engine.js';
import {
  batchNorm,
  classifier,
  conv,
  features,
  globalMean,
  marked,
  network,
  relu,
  sequential,
} from '../../src/models/layers.js';
import { mobileNetV2 } from '../../src/models/mobilenet-v2.js';
import type { Network, NetworkPlugin } from '../../src/models/network.js';
import { plainCnn } from '../../src/models/plain-cnn.js';
import { resNet } from '../../src/models/resnet.js';
import { accuracyOn } from '../../src/train/evaluate.js';
import { publish, retire, sessionOf, type Victim } from '../../src/train/oracle.js';
import { circumstances, tiny } from '../run/helpers.js';
import {
  type AnySpec,
  built,
  context,
  data,
  endOf,
  type Fitting,
  failureOf,
  normalised,
  sets,
  succeed,
} from '../train/bench.js';
import { expectClose, values } from '../train/tensors.js';
import { expectCompiled } from './stepping.js';

let cache = '';
beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
  cache = mkdtempSync(join(tmpdir(), 'undistill-graphs-'));
});
afterAll(() => rmSync(cache, { recursive: true, force: true }));

/** A net of two stages, from 4×4 images to 2×2. */
const staged = (channels = 2): NetworkPlugin =>
  network({
    name: 'staged',
    params: { channels },
    source: import.meta.url,
    layers: sequential(
      conv('conv1', channels, { kernel: 3, padding: 1 }),
      batchNorm('bn1'),
      relu,
      marked('stage1'),
      conv('conv2', 2 * channels, { kernel: 3, padding: 1, stride: 2 }),
      batchNorm('bn2'),
      relu,
      marked('stage2'),
      globalMean,
      features,
      classifier('fc'),
    ),
  });

const vectors = () => ({
  teacher: tf.tensor2d([
    [2, 0, -1],
    [1, 2, -0.5],
  ]),
  auxiliary: tf.tensor2d([
    [1, 0.5, -0.5],
    [0, 1, 0.2],
  ]),
  final: tf.tensor2d([
    [0.8, 0.1, -0.2],
    [0.3, 0.9, -0.1],
  ]),
  labels: tf.tensor1d([0, 1], 'int32'),
  temperature: 4,
  alpha: 0.9,
});
const item = (scalar: tf.Tensor) => values(scalar)[0] as number;

describe('the loss', () => {
  test('where the auxiliary head hears the teacher, by the worked numbers', () => {
    tf.tidy(() => {
      const { loss, terms } = skepticalLoss({ ...vectors(), hears: 'auxiliary' });
      const { kl, ownKl, auxiliaryCrossEntropy, crossEntropy } = terms;
      const found = [0.9 * 16 * item(kl), item(auxiliaryCrossEntropy), item(crossEntropy), item(ownKl), item(loss)];
      expectClose(found, [0.249266, 0.600716, 0.636787, 0.002144, 1.36727], 2e-6);
    });
  });

  test('where the final head hears it', () => {
    tf.tidy(() => expectClose([item(skepticalLoss({ ...vectors(), hears: 'final' }).loss)], [1.362332], 2e-6));
  });

  test('reads a teacher’s log-probabilities as it does its logits', () => {
    tf.tidy(() => {
      const of = (teacher: tf.Tensor2D) => item(skepticalLoss({ ...vectors(), teacher, hears: 'auxiliary' }).loss);
      expect(of(tf.logSoftmax(vectors().teacher))).toBeCloseTo(of(vectors().teacher), 6);
    });
  });

  test.each(['auxiliary', 'final'] as const)(
    'has the gradients of its formula to both heads (the %s one hears)',
    (hears) => {
      const log = (x: readonly number[], temperature: number) => {
        const e = x.map((each) => each / temperature);
        const sum = Math.log(e.reduce((all, each) => all + Math.exp(each), 0));
        return e.map((each) => each - sum);
      };
      const kl = (p: readonly number[], q: readonly number[]) =>
        p.reduce((sum, each, k) => sum + Math.exp(each) * (each - (q[k] as number)), 0);
      const teacher = [
        [2, 0, -1],
        [1, 2, -0.5],
      ];
      const rows = (x: readonly number[]) => [x.slice(0, 3), x.slice(3)];
      const mean = (of: (i: 0 | 1) => number) => (of(0) + of(1)) / 2;
      /** In double precision, of the twelve logits. */
      const formula = (x: readonly number[]): number => {
        const [final, auxiliary] = [rows(x.slice(0, 6)), rows(x.slice(6))] as [number[][], number[][]];
        const heard = hears === 'final' ? final : auxiliary;
        const ce = (of: number[][]) => mean((i) => -(log(of[i] as number[], 1)[i] as number));
        const apart = (p: number[][], q: number[][]) =>
          mean((i) => kl(log(p[i] as number[], 4), log(q[i] as number[], 4)));
        return (
          0.9 * 16 * apart(teacher, heard) +
          0.1 * ce(heard) +
          0.3 * apart(final, auxiliary) +
          0.7 * ce(auxiliary) +
          ce(final)
        );
      };
      tf.tidy(() => {
        const { final, auxiliary, ...rest } = vectors();
        const at = [...values(final), ...values(auxiliary)];
        const expected = at.map((_, i) => {
          const moved = (by: number) => formula(at.map((x, j) => (i === j ? x + by : x)));
          return (moved(1e-5) - moved(-1e-5)) / 2e-5;
        });
        const gradients = tf.grads(
          (a: tf.Tensor, b: tf.Tensor) =>
            skepticalLoss({ ...rest, final: a as tf.Tensor2D, auxiliary: b as tf.Tensor2D, hears }).loss,
        )([final, auxiliary]);
        expectClose(gradients.flatMap(values), expected, 1e-5);
      });
    },
  );
});

describe('the branch', () => {
  const added = (net: Network, from: string) =>
    withBranch(net, from)
      .variables.filter(({ kind }) => kind === 'param')
      .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0) -
    net.variables
      .filter(({ kind }) => kind === 'param')
      .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const resNet18 = (side: number, classes: number) =>
    resNet({ depth: 18 }).build({ height: side, width: side, channels: 3 }, classes);

  test.each([
    ['layer3', 32, 10, 345_098],
    ['layer3', 32, 100, 391_268],
    // 254,976 and 268,800 of convolutions, 35,840 and 9,728 of attention, 5,130 of the classifier.
    ['layer2', 32, 10, 295_946],
    ['layer1', 32, 10, 283_658],
    // As on smaller images: the mean is taken of 8×8.
    ['layer3', 64, 200, 137_216 + 202_752 + 512 * 200 + 200],
  ] as const)(
    'after %s of a ResNet-18 for %i×%i images and %i classes has the parameters of the released code',
    (from, side, classes, count) => {
      expect(added(resNet18(side, classes), from)).toBe(count);
    },
  );

  test('of a ResNet-50 has channels by its expansion, with as many parameters in all as the three of the released code', () => {
    const net = resNet({ depth: 50 }).build({ height: 32, width: 32, channels: 3 }, 10);
    // 3,170,304 of convolutions, 2,121,728 of attention, 20,490 of the classifier.
    expect(added(net, 'layer3')).toBe(5_312_522);
    expect(added(net, 'layer1') + added(net, 'layer2') + added(net, 'layer3')).toBe(14_168_094);
  });

  test.each([
    // 1,639,680 of convolutions, 55,040 of attention, and of the classifier 1,281 a class.
    [10, 1_639_680 + 55_040 + 12_810],
    [100, 1_639_680 + 55_040 + 128_100],
  ])('after stage6 of a MobileNetV2 for %i classes has those too', (classes, count) => {
    const net = mobileNetV2().build({ height: 32, width: 32, channels: 3 }, classes);
    expect(added(net, skeptical.presets.mobileNetV2.from)).toBe(count);
  });

  test('gives logits beside the net’s own', () => {
    tf.tidy(() => {
      const net = withBranch(staged().build(data.image, 3), 'stage1');
      const variables = net.init(key('branch'));
      const { heads, logits } = net.apply(variables, tf.ones([2, 4, 4, 1]), { mode: 'train' });
      expect(heads?.scala1?.shape).toEqual([2, 3]);
      expect(logits.shape).toEqual([2, 3]);
    });
  });
});

const victimNet = built().network;
const blackBox = (name = 'victim') => {
  const variables = victimNet.init(key(name));
  const victim = publish({ network: victimNet, variables, normalisation: data.normalisation, access: 'probabilities' });
  return {
    victim: victim as Victim,
    retired: () => {
      retire(victim);
      dispose(variables);
    },
  };
};

const given = { data: sets as never, normalisation: data.normalisation, fullStepsPerEpoch: 3 };
const learner = built({ epochs: 3 }, staged());
const steal = async (attack: AnyAttack, { name = 'victim', of = learner } = {}) => {
  const { victim, retired } = blackBox(name);
  const tried = context(key('stage'), { normalisation: data.normalisation });
  const result = await succeed(attack.steal(victim, of, { ...tried, ...given }));
  const best = result.best && { ...result.best, accuracy: accuracyOn(of.network, result.best.kept, sets.validation) };
  const end = { ...endOf(result), asked: sessionOf(victim).asked, best };
  retired();
  return end;
};

describe('a theft', () => {
  test('leaves no tensor, and a student without its heads', async () => {
    const before = tf.memory().numTensors;
    const { last, history } = await steal(skeptical());
    expect(Object.keys(last).sort()).toEqual(learner.network.variables.map(({ name }) => name).sort());
    expect(history.length).toBe(3);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('learns from labels alone in the first epochs, in which it asks nothing', async () => {
    // 34 images an epoch.
    const { asked, history } = await steal(skeptical());
    expect(asked).toEqual({ queries: 2 * 34, forward: 0, backward: 0 });
    const terms = history.map(({ metrics }) => Object.keys(metrics).sort());
    expect(terms).toEqual([
      ['accuracy', 'crossEntropy', 'loss'],
      ...[1, 2].map(() => ['accuracy', 'auxiliaryCrossEntropy', 'crossEntropy', 'kl', 'loss', 'ownKl']),
    ]);
    expect(history[0]?.metrics.loss).toBe(history[0]?.metrics.crossEntropy);
    expect((await steal(skeptical({ delayEpochs: 0 }))).asked.queries).toBe(3 * 34);
    expect((await steal(skeptical({ delayEpochs: 3 }))).asked.queries).toBe(0);

    const once = built({ epochs: 1 }, staged());
    const studentOf = async (delayEpochs: number, name: string) =>
      (await steal(skeptical({ delayEpochs }), { name, of: once })).last;
    expect(await studentOf(1, 'victim')).toEqual(await studentOf(1, 'another victim'));
    expect(await studentOf(0, 'victim')).not.toEqual(await studentOf(0, 'another victim'));
  });

  test('is judged by its final head, as the net without the other one', async () => {
    const { best } = await steal(skeptical());
    expect(best?.validation).toBe(best?.accuracy);
  });

  test('hears with the head that it is told to, and from the activation', async () => {
    const [auxiliary, final, other] = await Promise.all(
      [{}, { hears: 'final' as const }, { from: 'stage2' }].map(
        async (options) => (await steal(skeptical(options))).last,
      ),
    );
    expect(final).not.toEqual(auxiliary);
    expect(other).not.toEqual(auxiliary);
  });
});

test.each([
  ['before the teacher is asked', 5],
  ['with the teacher', 0],
])('a step %s is the same bits in a graph', async (_, delayEpochs) => {
  const { victim, retired } = blackBox();
  const seen = failure('interrupted', 'seen');
  const fitting: Fitting = async (__, spec: AnySpec) => {
    expectCompiled(spec, eager, (stride) => (step, frozen) => compile(step, frozen, { cache, stride }));
    throw new FailureError(seen);
  };
  const tried = context(key('stage'), { normalisation: data.normalisation, fitting });
  // Of batches of one size: another size is another graph.
  const even = { train: { ...sets.train, indices: sets.train.indices.subarray(0, 32) }, validation: undefined };
  const doing = skeptical({ delayEpochs }).steal(victim as never, learner, { ...tried, ...given, data: even as never });
  const failed = await failureOf(doing);
  retired();
  if (failed !== seen) throw new FailureError(failed);
});

describe('it is refused', () => {
  const why = (student: Network, options = {}) => skeptical(options).refuses?.(victimNet, student, circumstances());
  const build = (net: NetworkPlugin) => net.build(data.image, 3);

  test('on a net without activations, and with one that is not there or no image', () => {
    expect(skeptical().data).toBe(labelled);
    expect(why(build(staged()))).toBeUndefined();
    expect(why(build(tiny()))).toBe('tiny has no activation for an auxiliary head');
    expect(why(build(normalised()))).toBe('normalised has no activation for an auxiliary head');
    expect(why(build(staged()), { from: 'stage3' })).toMatch(/^staged has no activation stage3; it has stage1, stage2/);
    const flat = sequential(globalMean, marked('vector'), classifier('fc'));
    const vector = network({ name: 'vector', params: {}, source: import.meta.url, layers: flat });
    expect(why(build(vector), { from: 'vector' })).toBe('the activation vector of vector is no image');
    expect(why(plainCnn().build({ height: 28, width: 28, channels: 1 }, 10))).toBeUndefined();
  });
});
