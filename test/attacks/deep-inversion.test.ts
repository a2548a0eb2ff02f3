import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { deepInversion, type Inversion, inverting } from '../../src/attacks/deep-inversion.js';
import type { OptionsOf } from '../../src/core/plugin.js';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import { avgPool } from '../../src/engine/ops.js';
import type { Network, Variables } from '../../src/models/network.js';
import { crossEntropy } from '../../src/train/losses.js';
import { open, tensorsOf } from '../../src/train/oracle.js';
import { batchNormDistances, imageNorm, jensenShannon, totalVariation } from '../../src/train/synthesis-losses.js';
import { phaseFit, type SynthesisOutputs } from '../../src/train/synthesiser.js';
import { bitsOf } from '../engine/bits.js';
import { refusal } from '../failures.js';
import { circumstances, reasonOf, tiny } from '../run/helpers.js';
import { normalised } from '../train/bench.js';
import { expectClose, values } from '../train/tensors.js';
import { image, learnerOf, roomy, siteOf, victimOf } from './stepping.js';

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
  tf.dispose(kept.splice(0));
  expect(tf.memory().numTensors).toBe(before);
});

const batch = 4;
const labels = [0, 1, 2, 1];
const still: Inversion = { ...deepInversion.presets.cifar10, batch, iterations: 5, jitter: 0 };
const item = (scalar: tf.Tensor | undefined) => values(scalar as tf.Tensor)[0] as number;

type Inverted = ReturnType<ReturnType<typeof inverting>['init']>;

/** A site whose victim's weights are at hand, and that net on normalised images; all of it belongs to the test's scope. */
const siteFor = (of = victimOf()) => {
  kept.push(tensorsOf(of.victim).secret);
  const applied = (images: tf.Tensor4D) => of.network.apply(of.variables, images, { mode: 'eval', batchStats: true });
  return { site: siteOf(of), applied, variables: of.variables };
};
const kept: tf.Tensor[] = [];

/** Steps of an inversion, operation by operation; everything belongs to the test's scope. */
const walk = (
  inversion: Inversion,
  { compete = 0, of = siteFor(), student = learnerOf().network.init(key('student')) as Variables } = {},
) => {
  const synthesiser = inverting(inversion, compete);
  const { site } = of;
  const improve = (
    state: Inverted,
    { phase = 0, rate = inversion.rate, seed = 0 } = {},
  ): SynthesisOutputs<Inverted> => {
    const seeds = tf.tensor1d([seed, 7], 'int32');
    const { oracle, close } = open(site.victim, { tensors: tensorsOf(site.victim), memory: [], seed: seeds });
    const outputs = synthesiser.step(site, phase, {
      victim: oracle,
      students: [student],
      memory: {},
      state,
      labels: tf.tensor1d(labels, 'int32'),
      learningRate: tf.scalar(rate),
      seed: seeds,
    });
    // One pass forward and one back of every image, and no query.
    expect(close().asked).toEqual({ queries: 0, forward: batch, backward: batch });
    return outputs;
  };
  return { ...of, synthesiser, student, improve, start: synthesiser.init(key('images'), site, { memory: {} }) };
};

describe('options are refused', () => {
  const said = (options: object): string => {
    const { kind, where, what, remedy } = refusal(() => deepInversion(options));
    expect(kind).toBe('experiment');
    return `${where}: ${what}. ${remedy}`;
  };

  test.each<readonly [string, object, RegExp]>([
    ['a batch of one image', { batch: 1 }, /^deepInversion: batch is 1\. Give a whole number of at least 2/],
    ['no batch', { batches: 0 }, /^deepInversion: batches is 0/],
    ['no iteration', { iterations: 0 }, /^deepInversion: iterations is 0/],
    ['less than none at half resolution', { halfIterations: -1 }, /^deepInversion: halfIterations is -1/],
    ['part of an iteration', { iterations: 2.5 }, /^deepInversion: iterations is 2\.5/],
    ['a rate of 0', { rate: 0 }, /^deepInversion: rate is 0/],
    ['a rate that is no number', { rate: Number.NaN }, /^deepInversion: rate is NaN/],
    ['half a pixel of jitter', { jitter: 0.5 }, /^deepInversion: jitter is 0\.5/],
    ['a temperature of 0', { temperature: 0 }, /^deepInversion: temperature is 0/],
    ['no step', { steps: 0 }, /^deepInversion: steps is 0/],
    ['a picture every 0 iterations', { pictureEvery: 0 }, /^deepInversion: pictureEvery is 0/],
    ['a β of 1', { betas: [0.9, 1] }, /^deepInversion: betas: 1 is 1\. Give a number of at least 0 and below 1/],
    ['a negative β', { betas: [-0.1, 0.9] }, /^deepInversion: betas: 0 is -0\.1/],
    ['a single β', { betas: [0.9] }, /^deepInversion: betas: 1 is undefined/],
    [
      'a schedule that is none',
      { schedule: 'linear' },
      /^deepInversion: schedule is "linear"\. Give constant or cosine/,
    ],
    ['a norm of something else', { normOf: 'pixel' }, /^deepInversion: normOf is "pixel"\. Give batch or image/],
    ['a negative scale of competition', { adaptive: { scale: -0.1, every: 1 } }, /^deepInversion.*: scale is -0\.1/],
    ['no step between batches', { adaptive: { scale: 0.2, every: 0 } }, /^deepInversion.*: every is 0/],
    [
      'a competition without steps between batches',
      { adaptive: { scale: 0.2 } },
      /^deepInversion: adaptive: every is undefined/,
    ],
    [
      'a name of a competition that is none of them',
      { adaptive: { scale: 0.2, every: 50, rate: 1 } },
      /^deepInversion: adaptive: rate is none of its options/,
    ],
    ['a name that is none of them', { batchNrom: 1 }, /^deepInversion: batchNrom is none of its options/],
  ])('%s', (_, options, message) => {
    expect(said(options)).toMatch(message);
  });

  test.each(['batchNorm', 'firstBatchNorm', 'tv', 'l2'])('a negative weight: %s', (name) => {
    expect(said({ [name]: -1e-9 })).toMatch(
      new RegExp(`^deepInversion: ${name} is -1e-9\\. Give a number of at least 0`),
    );
  });

  test.each([
    ['too few', [0, 1, 2], 'there are 3 labels for a batch of 4 images'],
    ['too many', [0, 1, 2, 0, 1], 'there are 5 labels for a batch of 4 images'],
    ['a negative one', [0, 1, 2, -1], 'label -1 is no class'],
    ['a fractional one', [0, 1, 2, 0.5], 'label 0.5 is no class'],
  ])('labels that are not one class for each image: %s', (_, wrong, what) => {
    expect(said({ batch, labels: wrong })).toBe(
      `deepInversion: labels: ${what}. Give a class, a whole number from 0 on, for each image of the batch.`,
    );
  });

  test('not: every preset, and labels in order', () => {
    for (const preset of Object.values(deepInversion.presets))
      expect(deepInversion(preset).params).toMatchObject(preset);
    expect(deepInversion({ batch, labels }).params).toMatchObject({ batch, labels });
  });
});

describe('the loss', () => {
  const weighted: Inversion = {
    ...still,
    batchNorm: 3,
    firstBatchNorm: 10,
    tv: 0.02,
    l2: 0.05,
    normOf: 'image',
  };

  /** Each term of the loss on images as they are, computed once more. */
  const terms = (
    { applied, variables }: ReturnType<typeof siteFor>,
    images: tf.Tensor4D,
    { firstBatchNorm, normOf }: Inversion,
  ) => {
    const { logits, batchStats } = applied(images);
    const distances = Object.values(batchNormDistances(batchStats ?? {}, variables.stats)).map(item);
    expect(distances.length).toBe(2);
    return {
      crossEntropy: item(crossEntropy(logits, tf.tensor1d(labels, 'int32'))),
      batchNorm: firstBatchNorm * (distances[0] as number) + (distances[1] as number),
      tv: item(totalVariation(images, 'l2')),
      l2: item(imageNorm(images, normOf)),
    };
  };

  test('is the weighted sum of its logged terms, each of which is that of the images', () => {
    const { improve, start, ...of } = walk(weighted);
    const { metrics } = improve(start);
    const { loss, ...logged } = metrics;
    const expected = terms(of, start.images, weighted);
    expect(Object.keys(logged)).toEqual(Object.keys(expected));
    expectClose(Object.values(logged).map(item), Object.values(expected), 1e-6);
    const sum = expected.crossEntropy + 3 * expected.batchNorm + 0.02 * expected.tv + 0.05 * expected.l2;
    expectClose([item(loss)], [sum], 1e-6);
  });

  test('has no term whose weight is 0', () => {
    const names = (changes: Partial<Inversion>) => {
      const { improve, start } = walk({ ...weighted, ...changes });
      return Object.keys(improve(start).metrics);
    };
    expect(names({ batchNorm: 0, l2: 0 })).toEqual(['loss', 'crossEntropy', 'tv']);
    expect(names({ batchNorm: 0, tv: 0, l2: 0 })).toEqual(['loss', 'crossEntropy']);
  });

  test('falls along the first step, which moves every pixel by the rate against its gradient', () => {
    const { improve, start } = walk(weighted);
    const { state } = improve(start, { rate: 1e-3 });
    const [from, to] = [values(start.images), values(state.images)];
    expectClose(
      from.map((pixel, i) => Math.abs(pixel - (to[i] as number))),
      from.map(() => 1e-3),
      1e-4,
    );
    const lossAt = (pixels: readonly number[]): number =>
      item(improve({ ...start, images: tf.tensor4d([...pixels], start.images.shape) }).metrics.loss);
    const nudged = (at: number, by: number) => from.map((pixel, i) => (i === at ? pixel + by : pixel));
    for (const at of [0, 97, 250, 511, 767]) {
      const slope = lossAt(nudged(at, 0.05)) - lossAt(nudged(at, -0.05));
      expect(Math.sign((to[at] as number) - (from[at] as number)), `pixel ${at}`).toBe(-Math.sign(slope));
    }
  });

  test('is that of images which are rolled and mirrored by the seed of the step, where that is asked for', () => {
    const losses = (changes: Partial<Inversion>) => {
      const { improve, start } = walk({ ...still, ...changes });
      return new Set([1, 2, 3, 4, 5, 6].map((seed) => item(improve(start, { seed }).metrics.loss))).size;
    };
    expect(losses({})).toBe(1);
    expect(losses({ jitter: 2 })).toBeGreaterThan(3);
    expect(losses({ flip: true })).toBe(2);
  });
});

describe('the images that are kept', () => {
  test('are those of the lowest loss, and not the last', () => {
    const { synthesiser, site, improve, start } = walk(still);
    const looked: { readonly images: tf.Tensor4D; readonly loss: number }[] = [];
    let state = start;
    // Small steps lead down; then one leads far away, and none of the rest leads back.
    for (const rate of [0.05, 0.05, 0.05, 50, 0.05, 0.05]) {
      const { metrics, state: next } = improve(state, { rate });
      looked.push({ images: state.images, loss: item(metrics.loss) });
      state = next;
    }
    const lowest = looked.findIndex(({ loss }) => loss === Math.min(...looked.map((each) => each.loss)));
    expect(lowest).toBe(3);
    expect(bitsOf(synthesiser.images(site, state, tf.tensor1d([1, 2], 'int32')))).toEqual(
      bitsOf((looked[lowest] as (typeof looked)[number]).images),
    );
    expect(item(state.lowest)).toBe(looked[lowest]?.loss);
    expect(bitsOf(state.images)).not.toEqual(bitsOf(state.best));
  });

  test('lie between black and white after every iteration, channel by channel, when they are clipped', () => {
    const normalisation = { mean: [0.4, 0.5, 0.1], std: [0.3, 0.2, 0.5] };
    const { mean, std } = normalisation;
    const of = siteFor(victimOf(roomy(), image, { normalisation }));
    const pixels = (clip: boolean): number[][] => {
      const { improve, start } = walk({ ...still, clip }, { of });
      const all = values(improve(improve(start, { rate: 3 }).state, { rate: 3 }).state.images);
      return [0, 1, 2].map((c) =>
        all.filter((_, i) => i % 3 === c).map((value) => value * (std[c] as number) + (mean[c] as number)),
      );
    };
    for (const [c, levels] of pixels(true).entries()) {
      expectClose([Math.min(...levels), Math.max(...levels)], [0, 1], 1e-6);
      expect(levels.filter((level) => level > 1e-6 && level < 1 - 1e-6).length, `channel ${c}`).toBeGreaterThan(0);
    }
    for (const levels of pixels(false)) {
      expect(Math.min(...levels)).toBeLessThan(-0.1);
      expect(Math.max(...levels)).toBeGreaterThan(1.1);
    }
  });
});

describe('phases', () => {
  const inTwo: Inversion = { ...still, halfIterations: 3, tv: 0.1, batchNorm: 1 };

  /** A site whose victim notes the images that it sees. */
  const watched = () => {
    const seen: { readonly shape: readonly number[]; readonly pixels: readonly number[] }[] = [];
    const net = roomy().build(image, 3);
    const network: Network = {
      ...net,
      apply: (variables, images, options) => {
        seen.push({ shape: images.shape, pixels: values(images) });
        return net.apply(variables, images, options);
      },
    };
    return { seen, of: siteFor(victimOf(roomy(), image, { network })) };
  };

  test('are one where there are no iterations at half resolution, and else two, of which that is the first', () => {
    const iterations = (inversion: Inversion) => inverting(inversion).phases.map((phase) => phase.iterations);
    expect(iterations(still)).toEqual([5]);
    expect(iterations(inTwo)).toEqual([3, 5]);
  });

  test('at half resolution show the victim images of half the sides; the second goes on with the images alone', () => {
    const { seen, of } = watched();
    const { synthesiser, improve, start } = walk(inTwo, { of });
    const first = improve(start, { phase: 0 }).state;
    const begun = synthesiser.init(key('unused'), of.site, { before: first, memory: {} });
    const second = improve(begun, { phase: 1 }).state;
    expect(seen.map(({ shape }) => shape)).toEqual([
      [batch, 4, 4, 3],
      [batch, 8, 8, 3],
    ]);
    expectClose(seen[0]?.pixels ?? [], values(avgPool(start.images, 2)), 1e-6);
    expect(seen[1]?.pixels).toEqual(values(first.images));
    expect(values(begun.images)).toEqual(values(first.images));
    const slots = (state: Inverted) => tree.leaves(state.slots).flatMap(values);
    expect(slots(begun).every((each) => each === 0)).toBe(true);
    expect(slots(first).every((each) => each === 0)).toBe(false);
    // No loss at half the resolution counts: the second phase keeps the images of its own lowest.
    expect(item(begun.lowest)).toBe(Number.POSITIVE_INFINITY);
    expect(values(second.best)).toEqual(values(first.images));
  });

  test('jitter by half as much at half resolution', () => {
    const { seen, of } = watched();
    const { improve, start } = walk({ ...inTwo, jitter: 1 }, { of });
    for (const seed of [1, 2, 3, 4]) improve(start, { phase: 0, seed });
    expect(new Set(seen.map(({ pixels }) => pixels.join())).size).toBe(1);
    for (const seed of [1, 2, 3, 4]) improve(start, { phase: 1, seed });
    expect(new Set(seen.slice(4).map(({ pixels }) => pixels.join())).size).toBeGreaterThan(1);
  });

  /** The rates of a phase's iterations, as a fit asks for them. */
  const rates = (inversion: Inversion, phase: number): number[] => {
    const { site } = siteFor();
    const synthesiser = inverting(inversion);
    const student = learnerOf().network.init(key('student'));
    const { epochs, stepsPerEpoch, steps, schedule } = phaseFit(synthesiser, site, phase, {
      labels,
      student,
      memory: {},
      before: undefined,
      every: 10,
    });
    const perEpoch = stepsPerEpoch as number;
    expect(epochs).toBe(Math.ceil((steps as number) / perEpoch));
    return Array.from({ length: steps as number }, (_, step) =>
      schedule.at({ epoch: Math.floor(step / perEpoch), step, stepsPerEpoch: perEpoch, epochs }),
    );
  };

  test.each([1, 7, 100, 101, 250, 300, 2000])('take as many iterations as they are told: %i', (iterations) => {
    expect(rates({ ...still, iterations }, 0)).toEqual(Array(iterations).fill(still.rate));
  });

  test('warm up for 100 iterations and fall along half a cosine, at each resolution', () => {
    const cosine: Inversion = { ...inTwo, schedule: 'cosine', rate: 0.2, halfIterations: 500, iterations: 251 };
    for (const [phase, count] of [
      [0, 500],
      [1, 251],
    ] as const) {
      const found = rates(cosine, phase);
      expect(found.length).toBe(count);
      const expected = found.map((_, i) =>
        i < 100 ? (0.2 * (i + 1)) / 100 : 0.1 * (1 + Math.cos((Math.PI * (i - 100)) / (count - 100))),
      );
      expectClose(found, expected, 1e-9);
    }
  });
});

describe('Adaptive DeepInversion', () => {
  const competing = (student: Variables, compete = 0.2) => {
    const { improve, start, site, applied } = walk(still, { compete, student });
    return { ...improve(start), site, applied, start };
  };

  test('adds what the student knows already: 1 − the divergence of student and victim', () => {
    const student = learnerOf().network.init(key('student'));
    const { metrics, site, applied, start } = competing(student);
    const known = site.student.apply(student, start.images, { mode: 'eval' }).logits;
    const asked = applied(start.images).logits;
    expectClose([item(metrics.compete)], [1 - item(jensenShannon(known, asked))], 1e-6);
    const { metrics: without } = competing(student, 0);
    expectClose([item(metrics.loss)], [item(without.loss) + 0.2 * item(metrics.compete)], 1e-6);
    expect(Object.keys(without)).not.toContain('compete');
  });

  test('looks for other images when the student is another', () => {
    const net = learnerOf().network;
    const scaled = (by: number): Variables => {
      const { params, stats } = net.init(key('student'));
      return { params: tree.map(params, (leaf) => leaf.mul(by)), stats };
    };
    const [one, other] = [competing(scaled(1)), competing(scaled(5))];
    expect(item(one.metrics.compete)).not.toBe(item(other.metrics.compete));
    expect(item(one.metrics.crossEntropy)).toBe(item(other.metrics.crossEntropy));
    expect(values(one.state.images)).not.toEqual(values(other.state.images));
    const [third, fourth] = [competing(scaled(1), 0), competing(scaled(5), 0)];
    expect(values(third.state.images)).toEqual(values(fourth.state.images));
  });

  test('is a row of its own, and has as many steps between batches as it says', () => {
    const attack = deepInversion({ adaptive: { scale: 0.2, every: 50 } });
    expect(attack.name).toBe('adaptiveDeepInversion');
    expect(attack.params).toMatchObject({ adaptive: { scale: 0.2, every: 50 } });
    expect(deepInversion().params).toMatchObject({ adaptive: null });
  });
});

test('what DeepInversion asks of the nets is said before anything is trained', () => {
  const net = roomy().build({ height: 8, width: 8, channels: 3 }, 3);
  const rigid = normalised().build({ height: 8, width: 8, channels: 3 }, 3);
  const bare = tiny().build({ height: 8, width: 8, channels: 3 }, 3);
  const refuses = (options: OptionsOf<typeof deepInversion>, victim = net, student = net) =>
    reasonOf(deepInversion(options).refuses?.(victim, student, circumstances()));
  expect(refuses({ batch, labels })).toBeUndefined();
  expect(refuses({ batch, labels: [0, 1, 2, 3] })).toBe('label 3 is none of the 3 classes');
  expect(refuses({}, bare)).toBe('tiny has no batch norm over images, whose statistics the images are made to fit');
  expect(refuses({}, net, bare)).toBeUndefined();
  const inTwo = { halfIterations: 1 };
  expect(refuses(inTwo)).toBeUndefined();
  expect(refuses(inTwo, roomy().build({ height: 9, width: 8, channels: 3 }, 3))).toBe(
    'images of 9×8 have no half resolution',
  );
  const size = 'normalised takes images of one size only';
  expect(refuses(inTwo, rigid)).toBe(size);
  expect(refuses({}, rigid)).toBeUndefined();
  // A student is shown images of half the sides only where it competes.
  expect(refuses(inTwo, net, rigid)).toBeUndefined();
  expect(refuses({ ...inTwo, adaptive: { scale: 0.2, every: 1 } }, net, rigid)).toBe(size);
  expect(refuses({ ...inTwo, adaptive: { scale: 0, every: 1 } }, net, rigid)).toBeUndefined();
});
