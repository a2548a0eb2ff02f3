import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import type { AnyAttack, AttackContext } from '../../src/attacks/attack.js';
import { hardLabel } from '../../src/attacks/hard-label.js';
import { kd } from '../../src/attacks/kd.js';
import { labelSmoothing, scratch } from '../../src/attacks/scratch.js';
import type { FailureError } from '../../src/core/errors.js';
import type { OptionsOf } from '../../src/core/plugin.js';
import { type Key, key } from '../../src/core/random.js';
import { dispose, leaves } from '../../src/core/tree.js';
import { labelOnly, rounding, topK } from '../../src/defenses/answers.js';
import type { Defense } from '../../src/defenses/defense.js';
import { nasty } from '../../src/defenses/nasty.js';
import { eager } from '../../src/engine/eager.js';
import { loadEngine } from '../../src/engine/engine.js';
import * as layers from '../../src/models/layers.js';
import type { Named, Variables } from '../../src/models/network.js';
import { type ClassifierSpec, classifier, classifierStep, initialState } from '../../src/train/classifier.js';
import { accuracyOn, logitsOn } from '../../src/train/evaluate.js';
import {
  bytesOf,
  type ImageSet,
  imageSource,
  type LabelledBatch,
  normalise,
  type UnlabelledBatch,
  unpacked,
} from '../../src/train/images.js';
import { crossEntropy } from '../../src/train/losses.js';
import { adam, sgd } from '../../src/train/optimizers.js';
import { publish, retire, type Victim } from '../../src/train/oracle.js';
import { built, context, data, endOf, numbersOf, opened, setOf, sets, succeed } from './bench.js';
import { expectClose, values } from './tensors.js';

beforeAll(async () => {
  await loadEngine();
});

const learner = built();
const { network } = learner;

const plain = (changes: Partial<ClassifierSpec<Record<string, never>, LabelledBatch, Record<string, never>>> = {}) => ({
  learner,
  data: sets.train,
  loss: ({ logits, batch }: { logits: tf.Tensor2D; batch: LabelledBatch }) => ({
    loss: crossEntropy(logits, batch.labels),
  }),
  ...changes,
});

const sourceOf = (set: ImageSet<LabelledBatch> | ImageSet<UnlabelledBatch>) =>
  imageSource(set, { batch: 16, key: key('batches'), resident: false });

/** One step of a classifier's training from fresh weights, as numbers. */
const oneStep = (spec: ReturnType<typeof plain>, seed: readonly [number, number] = [1, 2]) => {
  const runner = eager(classifierStep(spec), { frozen: {}, data: {}, victim: {} });
  const variables = network.init(key('init'));
  const state = initialState(learner.recipe, variables);
  const { batch } = sourceOf(spec.data).at(0);
  const inputs = { learningRate: tf.scalar(0.1), seed: tf.tensor1d([...seed], 'int32') };
  runner.load(state);
  const [metrics] = runner.run([{ batch, inputs }]) as [Named];
  const after = runner.read();
  const result = {
    weights: numbersOf(after.variables),
    step: values(after.step)[0],
    metrics: Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name, values(value)[0] as number])),
  };
  dispose([after.slots, after.step, metrics, batch, inputs.learningRate, inputs.seed, state]);
  runner.dispose();
  return result;
};

describe('a training step', () => {
  test('without a gradient is refused', () => {
    const flat = plain({ loss: ({ batch }) => ({ loss: tf.mean(tf.cast(batch.labels, 'float32')) }) });
    expect(() => tf.tidy(() => oneStep(flat))).toThrow('its loss has no gradient');
  });

  test('moves weights and running statistics, counts itself, and tells the loss and the share of right answers', () => {
    const { weights, step, metrics } = oneStep(plain());
    const fresh = numbersOf(network.init(key('init')));
    for (const name of Object.keys(fresh)) expect(weights[name], name).not.toEqual(fresh[name]);
    expect(step).toBe(1);
    expect(Object.keys(metrics)).toEqual(['loss', 'accuracy']);
    expect((metrics.accuracy as number) * 16).toBeCloseTo(Math.round((metrics.accuracy as number) * 16), 5);
  });

  test('jitters images by its seed, and not at all without augmentation', () => {
    const losses = [
      [1, 2],
      [3, 4],
    ].map((seed) => oneStep(plain(), seed as [number, number]).metrics.loss);
    expect(losses[0]).not.toBe(losses[1]);
    expect(oneStep(plain()).metrics.loss).toBe(losses[0]);
    const still = plain({ data: { ...sets.train, augmentation: { crop: 0, flip: false } } });
    expect(oneStep(still, [3, 4])).toEqual(oneStep(still));
  });

  test('logs the terms of its loss by name', () => {
    const spec = {
      ...plain(),
      loss: ({ logits, batch: { labels } }: { logits: tf.Tensor2D; batch: LabelledBatch }) => {
        const part = crossEntropy(logits, labels);
        return { loss: part.mul(2) as tf.Scalar, terms: { part } };
      },
    };
    const { metrics } = oneStep(spec);
    expect(Object.keys(metrics)).toEqual(['loss', 'part', 'accuracy']);
    expect(metrics.loss).toBeCloseTo(2 * (metrics.part as number), 6);
  });

  test('gives its target the augmented images as pixels in [0, 1], and as the student sees them', () => {
    const seen: Record<string, number[]> = {};
    const spec = {
      ...plain({ data: { ...sets.train, augmentation: { crop: 0, flip: false } } }),
      target: ({ pixels, images, batch }: { pixels: tf.Tensor4D; images: tf.Tensor4D; batch: LabelledBatch }) => {
        Object.assign(seen, { pixels: values(pixels), images: values(images), raw: values(batch.images) });
        return {};
      },
    };
    oneStep(spec as never);
    const { mean, std } = sets.train.normalisation;
    expectClose(
      seen.pixels as number[],
      (seen.raw as number[]).map((byte) => byte / 255),
      1e-6,
    );
    const [m, d] = [mean[0] as number, std[0] as number];
    expectClose(
      seen.images as number[],
      (seen.pixels as number[]).map((pixel) => (pixel - m) / d),
      1e-5,
    );
  });

  test('shows its loss the activations that are asked for, the features, and the steps taken', async () => {
    const net = layers.network({
      name: 'marking',
      params: {},
      source: import.meta.url,
      layers: layers.sequential(
        layers.conv('conv', 3, { kernel: 3, padding: 1 }),
        layers.marked('conv'),
        layers.relu,
        layers.flatten,
        layers.features,
        layers.classifier('fc'),
      ),
    });
    const shown: unknown[] = [];
    const spec = (activations?: readonly string[]) =>
      classifier({
        learner: built({ epochs: 1 }, net),
        data: sets.train,
        ...(activations === undefined ? {} : { activations }),
        loss: ({ logits, output, step, batch: { labels } }) => {
          const found = output.activations?.conv;
          shown.push([output.logits === logits, output.features.shape, found?.shape, step.shape]);
          return { loss: crossEntropy(logits, labels) };
        },
      });
    const ends = async (activations?: readonly string[]) =>
      endOf(await succeed(context().fit('student', spec(activations)))).last;
    const looked = await ends(['conv']);
    expect(shown).toContainEqual([true, [16, 48], [16, 4, 4, 3], []]);
    shown.splice(0);
    // Looking changes nothing.
    expect(await ends()).toEqual(looked);
    expect(shown).toContainEqual([true, [16, 48], undefined, []]);
  });

  test('lets no gradient flow into what it compares with', () => {
    const constant = plain();
    const spec = {
      ...plain(),
      // The target of the network's own answers: were it differentiated, the gradient would be another one.
      target: ({ images }: { images: tf.Tensor4D }) => ({
        logits: network.apply(start, images, { mode: 'eval' }).logits,
      }),
      loss: ({
        logits,
        target,
        batch,
      }: {
        logits: tf.Tensor2D;
        target: { logits?: tf.Tensor2D };
        batch: LabelledBatch;
      }) => ({
        loss: crossEntropy(logits, batch.labels).add((target.logits as tf.Tensor2D).sum().mul(0.1)) as tf.Scalar,
      }),
    };
    const start = network.init(key('init'));
    expect(oneStep(spec as never).weights).toEqual(oneStep(constant).weights);
    dispose(start);
  });
});

describe('images', () => {
  test('are normalised to (pixel / 255 − mean) / std, channel by channel', () => {
    tf.tidy(() => {
      const raw = tf.tensor4d([0, 51, 255, 102], [1, 1, 2, 2]);
      const normal = normalise(raw, { mean: [0.5, 0.2], std: [0.25, 0.5] });
      expectClose(values(normal), [-2, 0, 2, 0.4]);
    });
  });

  test('are batches of raw pixels with labels, and without where there are none', () => {
    const { batch, images } = opened(sourceOf(sets.train), 2);
    expect([images, batch.images.shape, batch.labels.dtype]).toEqual([2, [2, 4, 4, 1], 'int32']);
    const all = opened(sourceOf({ ...sets.train, labelled: false }), 2);
    expect(Object.keys(all.batch)).toEqual(['images']);
    expect(values(all.batch.images)).toEqual(values(batch.images));
    expect(Math.max(...values(batch.images))).toBeGreaterThan(1);
    dispose([batch, all.batch]);
  });

  test('are seen once in each pass, in another order each time', () => {
    const source = sourceOf(sets.train);
    const passes = [0, 1].map((pass) =>
      [0, 1, 2].flatMap((step) => {
        const { batch } = opened(source, 3 * pass + step);
        const pictures = tf.unstack(batch.images).map((picture) => values(picture).join());
        dispose(batch);
        return pictures;
      }),
    );
    expect(passes[0]).not.toEqual(passes[1]);
    expect([...(passes[0] as string[])].sort()).toEqual([...(passes[1] as string[])].sort());
    expect(new Set(passes[0]).size).toBe(34);
  });
});

describe('evaluation', () => {
  test('gives the logits of every image in order, whatever the batches, and changes nothing', () => {
    const variables = network.init(key('init'));
    const before = leaves(variables).map(values);
    const tensors = tf.memory().numTensors;
    const many = { ...setOf(), indices: Int32Array.from({ length: 1203 }, (_, i) => (7 * i) % 40) };
    const logits = logitsOn(network, variables, many);
    expect(tf.memory().numTensors).toBe(tensors);
    expect(leaves(variables).map(values)).toEqual(before);
    tf.tidy(() => {
      const { images } = unpacked({}, { bytes: bytesOf(data.train.images.slice(), data.image) });
      const once = network.apply(variables, normalise(images, data.normalisation), { mode: 'eval' });
      const expected = values(once.logits);
      expect(logits.length).toBe(1203 * 3);
      for (const i of [0, 1, 499, 500, 1202])
        expectClose(logits.subarray(3 * i, 3 * i + 3), expected.slice(3 * ((7 * i) % 40), 3 * ((7 * i) % 40) + 3));
    });
    dispose(variables);
  });

  test('over views is the mean over images moved and mirrored', () => {
    const variables = network.init(key('init'));
    const set = setOf();
    const { height, width, channels } = data.image;
    const raw = data.train.images.slice();
    const inside = (at: number, size: number) => (at < 0 ? -at : at >= size ? 2 * (size - 1) - at : at);
    /** All images moved down and right by so many pixels, then mirrored. */
    const seen = (by: number, mirrored: boolean) => ({
      ...set,
      examples: {
        ...set.examples,
        images: raw.map((_, i) => {
          const [pixel, channel] = [Math.floor(i / channels), i % channels];
          const x = pixel % width;
          const [y, image] = [Math.floor(pixel / width) % height, Math.floor(pixel / width / height)];
          const [row, column] = [inside(y + by, height), inside((mirrored ? width - 1 - x : x) + by, width)];
          return raw[((image * height + row) * width + column) * channels + channel] as number;
        }),
      },
    });
    const shares = { 0: 1 / 4, [-1]: 1 / 8, 1: 1 / 8 };
    const expected = new Float32Array(set.indices.length * network.classes);
    for (const [by, share] of Object.entries(shares))
      for (const mirrored of [false, true])
        logitsOn(network, variables, seen(Number(by), mirrored)).forEach((logit, i) => {
          expected[i] = (expected[i] as number) + share * logit;
        });
    const tensors = tf.memory().numTensors;
    expectClose(logitsOn(network, variables, set, { views: true }), expected, 1e-5);
    expect(tf.memory().numTensors).toBe(tensors);
    dispose(variables);
  });

  test('leaves no tensor behind when a network throws', () => {
    const before = tf.memory().numTensors;
    const broken = {
      ...network,
      apply: () => {
        throw new Error('a mistake');
      },
    };
    const variables = network.init(key('init'));
    expect(() => logitsOn(broken, variables, setOf())).toThrow('a mistake');
    dispose(variables);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('counts right answers over all images; of equal logits the first class is the answer', () => {
    const answering = (rows: readonly (readonly number[])[]) => ({
      ...network,
      apply: (_: Variables, images: tf.Tensor4D) =>
        ({ logits: tf.tensor2d(rows.slice(0, images.shape[0]).map((row) => [...row])), stats: {} }) as never,
    });
    const variables = network.init(key('init'));
    // The labels are 0, 1, 2, 0, 1.
    const rows = [
      [1, 1, 1],
      [0, 2, 2],
      [5, 5, 5],
      [Number.NaN, 0, 0],
      [-1, 3, -2],
    ];
    expect(accuracyOn(answering(rows), variables, setOf(data.train, 0, 5))).toBe(3 / 5);
    dispose(variables);
  });
});

describe('the fit of a classifier', () => {
  test('starts from fresh weights, or from a copy of given ones', async () => {
    const start = network.init(key('other'));
    const before = leaves(start).map(values);
    const { init } = classifier({ ...plain(), start });
    const state = init(key('init'));
    expect(leaves(state.variables).map(values)).toEqual(before);
    dispose(state);
    expect(leaves(start).map(values)).toEqual(before);
    dispose(start);
    const fresh = classifier(plain()).init(key('init'));
    expect(numbersOf(fresh.variables)).toEqual(numbersOf(network.init(key('init'))));
    dispose([fresh.slots, fresh.step]);
  });

  test('shows a net whose first weights are made of images some of every class, also where these come one after the other', () => {
    const [count, classes] = [6000, 3];
    const labels = Uint16Array.from({ length: count }, (_, i) => Math.floor((i * classes) / count));
    const sorted: ImageSet = {
      ...sets.train,
      examples: { images: Uint8Array.from(labels), labels, count },
      indices: Int32Array.from({ length: count }, (_, i) => i),
      shape: { height: 1, width: 1, channels: 1 },
      normalisation: { mean: [0], std: [1] },
    };
    const seen: number[][] = [];
    const looking = (key: Key, images?: () => tf.Tensor4D): Variables => {
      const shown = images?.();
      if (shown !== undefined) seen.push(values(shown).map((value) => Math.round(255 * value)));
      shown?.dispose();
      return network.init(key);
    };
    const { init } = classifier({
      ...plain({ learner: { ...learner, network: { ...network, init: looking } } }),
      data: sorted,
    });
    for (const path of ['a', 'b']) dispose(init(key(path)));
    const [one = [], other] = seen;
    expect(one).toHaveLength(5000);
    for (let label = 0; label < classes; label++)
      expect(Math.abs(one.filter((value) => value === label).length / 5000 - 1 / 3)).toBeLessThan(0.03);
    expect(other).not.toEqual(one);
  });

  test('learns', async () => {
    const taught = context();
    const spec = classifier({ ...plain({ learner: built({ epochs: 12 }) }), validation: sets.validation });
    const { history, best } = endOf(await succeed(taught.fit('student', spec)));
    expect(history.at(-1)?.metrics.accuracy).toBeGreaterThan(0.8);
    expect(Object.keys(best ?? {})).toContain('fc.weight');
  });
});

describe('no tensor is left behind', () => {
  const learner = built({ epochs: 3 });
  const attacked = async (attack: AnyAttack, wrap?: Defense): Promise<readonly number[]> => {
    const taught = context();
    const variables = network.init(key('victim'));
    const wrappers = wrap?.answers === undefined ? [] : [{ ...wrap, answers: wrap.answers, prepared: {} }];
    const normalisation = { mean: [0.5], std: [0.25] };
    const victim: Victim = publish({ network, variables, normalisation, access: attack.needs, wrappers });
    const given: AttackContext = { ...taught, data: sets as never, fullStepsPerEpoch: 4 };
    endOf(await succeed(attack.steal(victim, learner, given)));
    retire(victim);
    dispose(variables);
    return taught.alive;
  };
  const defended = async (options: OptionsOf<typeof nasty>): Promise<readonly number[]> => {
    const taught = context();
    const variables = network.init(key('teacher'));
    const frozen = network.init(key('adversary'));
    const protect = nasty({ omega: 0.01, ...options }).protect as NonNullable<Defense['protect']>;
    const given = { ...taught, ...sets, adversary: { learner, variables: frozen } };
    try {
      endOf(await succeed(protect({ learner, variables }, given)));
    } catch (error) {
      expect((error as FailureError).failure.kind).toBe('diverged');
    }
    dispose([variables, frozen]);
    return taught.alive;
  };
  const trained = async (optimizer: ReturnType<typeof sgd>): Promise<readonly number[]> => {
    const taught = context();
    const spec = classifier(plain({ learner: built({ optimizer, epochs: 3 }) }));
    endOf(await succeed(taught.fit('teacher', spec)));
    return taught.alive;
  };

  test.each<readonly [string, () => Promise<readonly number[]>]>([
    ['scratch', () => attacked(scratch())],
    ['scratch for the same number of steps', () => attacked(scratch({ fraction: 0.5, steps: 'same' }))],
    ['label smoothing', () => attacked(labelSmoothing())],
    ['distillation', () => attacked(kd())],
    ['distillation at temperature 1', () => attacked(kd({ temperature: 1, alpha: 1 }))],
    ['distillation from rounded answers', () => attacked(kd(), rounding(1))],
    ['distillation from the largest answers', () => attacked(kd(), topK(2))],
    ['hard labels', () => attacked(hardLabel())],
    ['hard labels, all that is told', () => attacked(hardLabel(), labelOnly())],
    ['a nasty teacher', () => defended({})],
    ['a nasty teacher with warm-up', () => defended({ warmUpEpochs: 1 })],
    ['a nasty teacher with clipping', () => defended({ clipNorm: 1 })],
    ['a nasty teacher that starts from the normal one', () => defended({ initFrom: 'baseline' })],
    ['a nasty teacher without its weight', () => defended({ omega: 0 })],
    ['Adam', () => trained(adam({ weightDecay: 1e-4, decoupled: true }))],
    [
      'momentum, Nesterov, decay and clipping',
      () => trained(sgd({ momentum: 0.9, nesterov: true, weightDecay: 1e-4, clip: 1 })),
    ],
  ])('by %s, from epoch to epoch and at the end', async (_, train) => {
    const before = tf.memory().numTensors;
    // At the end of the first epoch the state may still be tensors; later it lies where the steps run.
    const [first, ...later] = (await train()) as [number, ...number[]];
    expect(tf.memory().numTensors).toBe(before);
    expect(later.length).toBeGreaterThan(1);
    expect(new Set(later).size).toBe(1);
    expect(first).toBeGreaterThanOrEqual(later[0] as number);
  });

  test('by a loss that throws', async () => {
    const before = tf.memory().numTensors;
    const failing = plain({
      loss: ({ logits }: { logits: tf.Tensor2D }) => {
        tf.keep(logits.sum()).dispose();
        throw new Error('a mistake');
      },
    });
    expect(await context().fit('student', classifier(failing))()).toMatchObject({
      left: { kind: 'plugin', what: 'a mistake' },
    });
    expect(tf.memory().numTensors).toBe(before);
  });
});

test('a batch has metrics of its own: they are not those of the one before', () => {
  const spec = plain();
  const runner = eager(classifierStep(spec), { frozen: {}, data: {}, victim: {} });
  const state = initialState(learner.recipe, network.init(key('init')));
  runner.load(state);
  const source = sourceOf(spec.data);
  const seen: Named[] = [0, 1].map((step) => {
    const { batch } = source.at(step);
    const inputs = { learningRate: tf.scalar(0.1), seed: tf.tensor1d([step, 0], 'int32') };
    const [metrics] = runner.run([{ batch, inputs }]) as [Named];
    dispose([batch, inputs.learningRate, inputs.seed]);
    return metrics;
  });
  expect(values(seen[0]?.loss as tf.Tensor)).not.toEqual(values(seen[1]?.loss as tf.Tensor));
  dispose([...seen, state]);
  runner.dispose();
});
