import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { dafl, generating } from '../../src/attacks/dafl.js';
import { key } from '../../src/core/random.js';
import { loadEngine } from '../../src/engine/engine.js';
import { take } from '../../src/engine/step.js';
import type { ClassifierState } from '../../src/train/classifier.js';
import { frameOf, wholeStep } from '../../src/train/fit-step.js';
import { jointFit } from '../../src/train/joint.js';
import { distillationKl } from '../../src/train/losses.js';
import { tensorsOf } from '../../src/train/oracle.js';
import { constant } from '../../src/train/schedules.js';
import { activationLoss, informationEntropy, oneHotLoss } from '../../src/train/synthesis-losses.js';
import { bitsOf } from '../engine/bits.js';
import { refusal } from '../failures.js';
import { circumstances } from '../run/helpers.js';
import { expectClose, values } from '../train/tensors.js';
import { learnerOf, roomy, siteOf, victimOf } from './stepping.js';

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
  // What a runner's step leaves is kept from every scope.
  tf.dispose(kept.splice(0));
  expect(tf.memory().numTensors).toBe(before);
});
const kept: tf.TensorContainer[] = [];

const item = (scalar: tf.Tensor | undefined) => values(scalar as tf.Tensor)[0] as number;

describe('options are refused', () => {
  test.each<readonly [string, object, RegExp]>([
    ['a batch of one image', { batch: 1 }, /^dafl: batch is 1\. Give a whole number of at least 2/],
    ['no epoch', { epochs: 0 }, /^dafl: epochs is 0/],
    ['no step', { stepsPerEpoch: 0 }, /^dafl: stepsPerEpoch is 0/],
    ['vectors of no number', { latent: 0 }, /^dafl: latent is 0/],
    ['an odd width', { width: 31 }, /^dafl: width is 31\. Give an even whole number of at least 2/],
    ['a width of 0', { width: 0 }, /^dafl: width is 0/],
    ['half a channel', { width: 2.5 }, /^dafl: width is 2\.5/],
    ['a rate of 0', { generatorRate: 0 }, /^dafl: generatorRate is 0/],
    ['a negative weight of certainty', { oneHot: -1 }, /^dafl: oneHot is -1\. Give a number of at least 0/],
    ['a negative weight of activations', { activation: -0.1 }, /^dafl: activation is -0\.1/],
    ['a negative weight of the entropy', { entropy: -5 }, /^dafl: entropy is -5/],
    ['no image to look at', { keep: 0 }, /^dafl: keep is 0/],
    ['a picture every 0 steps', { pictureEvery: 0 }, /^dafl: pictureEvery is 0/],
    ['a name that is none of them', { entopy: 5 }, /^dafl: entopy is none of its options/],
  ])('%s', (_, options, message) => {
    const { kind, where, what, remedy } = refusal(() => dafl(options));
    expect(kind).toBe('experiment');
    expect(`${where}: ${what}. ${remedy}`).toMatch(message);
  });

  test('not: every preset', () => {
    for (const preset of Object.values(dafl.presets)) {
      const { optimizer: _, schedule: __, ...numbers } = preset;
      expect(dafl(preset).params).toMatchObject(numbers);
    }
  });

  test('at sides that are not divisible by 4, before anything is trained', () => {
    const net = (height: number, width: number) => roomy().build({ height, width, channels: 1 }, 3);
    const why = (height: number, width: number) =>
      dafl().refuses?.(net(height, width), net(height, width), circumstances());
    expect(why(8, 12)).toBeUndefined();
    expect(why(8, 6)).toBe('its generator makes images of sides divisible by 4, not of 8×6');
    expect(why(6, 8)).toBe('its generator makes images of sides divisible by 4, not of 6×8');
  });
});

const options = { batch: 6, latent: 5, width: 4, generatorRate: 0.02, oneHot: 0.5, activation: 0.3, entropy: 2 };
const learner = learnerOf(roomy(3), { schedule: constant(0.1) });

type Learning = { readonly students: readonly ClassifierState[] };
const variablesOf = ({ students: [student] }: Learning) => (student as ClassifierState).variables;

/** The joint step of a generator and a student, taken once from states that are given by name. */
const together = ({
  changes = {},
  student = 'student',
  generator = 'generator',
}: {
  readonly changes?: Partial<typeof options>;
  readonly student?: string;
  readonly generator?: string;
} = {}) => {
  const { victim, network, normalisation } = victimOf();
  const site = siteOf({ victim, network, normalisation }, learner);
  kept.push(tensorsOf(victim).secret);
  const synthesiser = generating({ ...options, ...changes });
  const spec = jointFit(synthesiser, site, { epochs: 1, stepsPerEpoch: 1, temperature: 1, pictureEvery: 1 }, learner);
  const state = {
    synthesiser: spec.init(key(generator)).synthesiser,
    students: spec.init(key(student)).students,
  };
  const call = {
    batch: spec.source(key('batches')).at(0).batch,
    inputs: { learningRate: tf.scalar(0.1), seed: tf.tensor1d([3, 4], 'int32') },
  };
  const taken = take(wholeStep(spec), frameOf(spec, {}), { own: state, memory: [] }, call);
  const { own } = taken.state;
  kept.push(own as never);
  const bits = { student: bitsOf(own.students), generator: bitsOf(own.synthesiser) };
  const of = { network, variables: tensorsOf(victim).variables };
  return { ...bits, metrics: taken.metrics.metrics, site, of, synthesiser, state, moved: own, seed: call.inputs.seed };
};

describe('a joint step', () => {
  test('has the weighted sum of its logged terms as its loss, each of them that of the generated images', () => {
    const { metrics, site, of, synthesiser, state, seed } = together();
    const images = synthesiser.images(site, state.synthesiser, seed);
    expect(images.shape).toEqual([6, 8, 8, 3]);
    const { logits, features } = of.network.apply(of.variables, images, { mode: 'eval' });
    const learnt = site.student.apply(variablesOf(state), images, { mode: 'train' }).logits;
    const expected = {
      oneHot: item(oneHotLoss(logits)),
      activation: item(activationLoss(features)),
      entropy: item(informationEntropy(logits)),
      kl: item(distillationKl({ logits: learnt, teacher: logits, temperature: 1 }).loss),
    };
    const { loss, ...logged } = metrics;
    expect(Object.keys(logged)).toEqual(Object.keys(expected));
    expectClose(Object.values(logged).map(item), Object.values(expected), 1e-5);
    expectClose([item(loss)], [0.5 * expected.oneHot + 0.3 * expected.activation + 2 * expected.entropy], 1e-5);
  });

  test('lets no gradient of the student’s loss reach the generator: it moves alike whoever learns from it', () => {
    const [one, other] = [together(), together({ student: 'another student' })];
    expect(item(one.metrics.kl)).not.toBe(item(other.metrics.kl));
    expect(one.student).not.toEqual(other.student);
    expect(one.generator).toEqual(other.generator);
  });

  test.each(['oneHot', 'activation', 'entropy'] as const)(
    'lets no gradient of the generator’s loss reach the student: it moves alike whatever the weight of %s',
    (weight) => {
      const [one, other] = [together(), together({ changes: { [weight]: 10 * options[weight] } })];
      expect(one.generator).not.toEqual(other.generator);
      expect(one.student).toEqual(other.student);
    },
  );

  test('shows the student the images of the generator as it was, and no others', () => {
    const [one, other, faster] = [
      together(),
      together({ generator: 'another generator' }),
      together({ changes: { generatorRate: 0.5 } }),
    ];
    expect(one.student).not.toEqual(other.student);
    expect(one.generator).not.toEqual(faster.generator);
    expect(one.student).toEqual(faster.student);
  });

  test('moves the generator by its own rate, and both do move', () => {
    const { state, moved, student, generator } = together();
    expect(generator).not.toEqual(bitsOf(state.synthesiser));
    expect(student).not.toEqual(bitsOf(state.students));
    // Adam’s first step is of the length of the rate where there is a gradient.
    const weight = (of: { readonly variables: { readonly params: Readonly<Record<string, tf.Tensor>> } }) =>
      values(of.variables.params['l1.0.weight'] as tf.Tensor);
    const steps = weight(moved.synthesiser).map((each, i) => Math.abs(each - (weight(state.synthesiser)[i] as number)));
    expect(Math.max(...steps)).toBeCloseTo(0.02, 4);
  });
});

test('the images of a generator are drawn by the seed alone', () => {
  const { site, synthesiser, state } = together();
  const drawn = (seed: number) => bitsOf(synthesiser.images(site, state.synthesiser, tf.tensor1d([seed, 1], 'int32')));
  expect(drawn(1)).toEqual(drawn(1));
  expect(drawn(1)).not.toEqual(drawn(2));
});
