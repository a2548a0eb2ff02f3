import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { key } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import { question } from '../../src/train/ask.js';
import {
  bytesOf,
  type ImageSet,
  imageSource,
  normalise,
  type StoredAnswers,
  type UnlabelledBatch,
  unpacked,
} from '../../src/train/images.js';
import { remember, sessionOf, tensorsOf, type Victim } from '../../src/train/oracle.js';
import { recordingsInMemory } from '../../src/train/recordings.js';
import { fresh, slow, tiring, turning, wrapper } from '../defenses/answering.js';
import { bitsOf } from '../engine/bits.js';
import { image, network, normalisation, victims } from './asking.js';
import { data, failureOf, setOf } from './bench.js';
import { expectClose, values } from './tensors.js';

const all = victims();
let before: number;
beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});
beforeEach(() => {
  before = tf.memory().numTensors;
});
afterEach(() => {
  all.retire();
  expect(tf.memory().numTensors).toBe(before);
});

const ask = async (victim: Victim, set: Parameters<typeof question>[1], frozen = false, name = 'ask') => {
  const { memory, ...rest } = await question(victim, set, { key: key(name), frozen });
  const remembered = bitsOf(memory);
  tree.dispose(memory);
  return { ...rest, remembered };
};

const stopping = () => {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
};

/** What the victim's net computes of images by their numbers, by hand. */
const byHand = (victim: Victim, indices: readonly number[]) =>
  tf.tidy(() => {
    const raw = unpacked<UnlabelledBatch>({}, { bytes: bytesOf(data.train.images.slice(), image) }).images;
    const images = normalise(tf.gather(raw, [...indices]), normalisation);
    const { logits } = network.apply(tensorsOf(victim).variables, images, { mode: 'eval' });
    return {
      logits: values(logits),
      logProbabilities: values(tf.logSoftmax(logits)),
      labels: values(tf.argMax(logits, 1)),
    };
  });

/** Images in another order, some twice, as they are: augmentation is for training. */
const order = [7, 3, 3, 39, 0, 12, 5];
const set: ImageSet = { ...setOf(), indices: Int32Array.from(order), augmentation: { crop: 2, flip: true } };

describe('asking about images once', () => {
  test('gives the most that an access tells, in the order of the images, as they are', async () => {
    const asked = (queries: number, forward = 0) => ({ queries, forward, backward: 0 });
    const victim = all.of('logits');
    const { logits, logProbabilities, labels } = byHand(victim, order);
    const told = await ask(victim, set);
    expectClose(told.answers.values, logits, 1e-5);
    expect([told.answers.size, told.asked]).toEqual([3, asked(7)]);
    expectClose((await ask(all.of('probabilities'), set)).answers.values, logProbabilities, 1e-5);
    const classes = await ask(all.of('label'), set);
    expect([Array.from(classes.answers.values), classes.answers.size]).toEqual([labels, 1]);
    const weights = await ask(all.of('weights'), set);
    expectClose(weights.answers.values, logits, 1e-5);
    expect(weights.asked).toEqual(asked(0, 7));
  });

  test('of more images than fit together goes on where it was', async () => {
    const many = { ...set, indices: Int32Array.from({ length: 1203 }, (_, i) => (7 * i) % 40) };
    const victim = all.of('probabilities', { wrappers: [tiring] });
    const { answers, asked, remembered, shift } = await ask(victim, many);
    expect([answers.values.length, asked.queries]).toEqual([3 * 1203, 1203]);
    expect(remembered.find(([path]) => path === '0/seen')?.[3]).toEqual([1203]);
    expect(shift.l1).toBeGreaterThan(0);
    expect(Array.from(answers.values).every(Number.isFinite)).toBe(true);
    // The session is the caller's to hand on: asking is as pure as a step.
    expect(sessionOf(victim).asked.queries).toBe(0);
  });

  test.each<readonly [string, Parameters<typeof all.of>[0], Parameters<typeof all.of>[1]]>([
    ['labels', 'label', {}],
    ['probabilities', 'probabilities', {}],
    ['logits', 'logits', {}],
    ['weights', 'weights', {}],
    ['probabilities, changed on the way', 'probabilities', { wrappers: [fresh, tiring] }],
    ['labels within a budget', 'label', { budget: 1001 }],
    ['what slow noise told', 'probabilities', { wrappers: [slow(fresh)], telling: 'so' }],
  ])('that another was asked about gives the same, and the net is not asked again (%s)', async (_, access, changes) => {
    const many = { ...set, indices: Int32Array.from({ length: 1203 }, (_, i) => (7 * i) % 40) };
    const recordings = recordingsInMemory();
    const answers = async (more: Partial<Parameters<typeof question>[2]> = {}, identity = 'a net') => {
      const { memory, ...rest } = await question(all.of(access, { ...changes, identity }), many, {
        key: key('ask'),
        ...more,
      });
      const remembered = bitsOf(memory);
      tree.dispose(memory);
      return { ...rest, remembered };
    };
    const live = await answers();
    const count = live.asked.queries + live.asked.forward;
    expect(await answers({ recordings })).toEqual(live);
    expect(await answers({ recordings })).toEqual({ ...live, replayed: count });
    expect((await answers({ recordings }, 'another net')).replayed).toBe(0);
    expect(await answers({ recordings: { read: recordings.read } }, 'a third net')).toEqual(live);
  });

  test('lets others have their turn between batches, and ends after the signal', async () => {
    const many = { ...set, indices: Int32Array.from({ length: 1203 }, (_, i) => i % 40) };
    // Every batch takes long.
    let now = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => (now += 1000));
    try {
      const { signal, abort } = stopping();
      setImmediate(() => setImmediate(abort));
      expect(await failureOf(() => question(all.of('probabilities'), many, { key: key('ask'), signal }))).toMatchObject(
        { kind: 'interrupted', what: 'stopped after 500 of 1203 images were answered' },
      );
    } finally {
      vi.restoreAllMocks();
    }
  });

  test('draws by its key, and again in every lot', async () => {
    const victim = () => all.of('probabilities', { wrappers: [fresh] });
    const one = await ask(victim(), set);
    expect(await ask(victim(), set)).toEqual(one);
    expect((await ask(victim(), set, false, 'other')).answers.values).not.toEqual(one.answers.values);
    const same = { ...set, indices: new Int32Array(1000).fill(4) };
    const { values: rows } = (await ask(victim(), same)).answers;
    expect(Array.from(rows.subarray(0, 1500))).not.toEqual(Array.from(rows.subarray(1500)));
  });

  test('remembers what was asked, unless its owner looks', async () => {
    const victim = all.of('probabilities', { wrappers: [turning, tiring], budget: 3 });
    const beginning = bitsOf(sessionOf(victim).memory);
    const looked = await ask(victim, set, true);
    // Nor does a budget hold for the owner.
    expect(looked.answers.values.length).toBe(3 * 7);
    expect(looked.remembered).toEqual(beginning);
    expect((await ask(victim, set)).remembered).not.toEqual(beginning);
  });

  test('ends with the budget: the first images are answered, and then none', async () => {
    const victim = all.of('label', { budget: 10 });
    const asking = async () => {
      const { memory, ...rest } = await question(victim, set, { key: key('ask') });
      remember(sessionOf(victim), { ...rest, memory });
      return Array.from(rest.answers.values);
    };
    const labels = byHand(victim, order).labels;
    expect([await asking(), await asking(), await asking()]).toEqual([labels, labels.slice(0, 3), []]);
    expect(sessionOf(victim).asked).toEqual({ queries: 10, forward: 0, backward: 0 });
  });

  test.each<readonly [string, (p: tf.Tensor2D) => tf.Tensor, string]>([
    [
      'are no distribution',
      (p) => tf.mul(p, 2),
      '7 of its answers are no distribution; the first, to image 0 of its batch (from 0): its probabilities sum to 0.3597',
    ],
    ['are of another shape', (p) => tf.sum(p, 1), 'its answer is float32 [7], not float32 [7,3]'],
  ])('says when answers %s, and leaves nothing', async (_, careless, what) => {
    const answer = ({ logProbabilities }: { readonly logProbabilities: tf.Tensor2D }) => ({
      logProbabilities: careless(logProbabilities) as tf.Tensor2D,
    });
    const victim = all.of('probabilities', { wrappers: [wrapper('careless', { kind: 'pure', answer })] });
    const alive = tf.memory().numTensors;
    expect(await failureOf(async () => ask(victim, set))).toMatchObject({ kind: 'plugin', where: 'careless', what });
    expect(tf.memory().numTensors).toBe(alive);
  });
});

describe('stored answers', () => {
  const answered = (answers: StoredAnswers): ImageSet => ({ ...setOf(), answers });

  test.each([false, true])('come with the batches of their images (on the device: %s)', async (resident) => {
    const { answers } = await ask(all.of('probabilities'), setOf());
    const source = imageSource(answered(answers), { batch: 16, key: key('batches'), resident });
    const seen = new Set<number>();
    const pictures = data.train.images.slice();
    for (const step of [0, 1, 2, 3]) {
      const { batch } = source.at(step);
      tf.tidy(() => {
        const {
          images,
          labels,
          answers: rows,
        } = unpacked<UnlabelledBatch & { labels: tf.Tensor1D }>(source.data, batch);
        expect(rows?.shape).toEqual([images.shape[0], 3]);
        const pixels = values(images);
        values(rows as tf.Tensor).forEach((value, i) => {
          // Which image a row is of is known by its pixels.
          const found = pixels.slice(16 * Math.floor(i / 3), 16 * Math.floor(i / 3) + 16).join();
          const index = Array.from({ length: 40 }, (_, k) => k).find(
            (k) => pictures.subarray(16 * k, 16 * k + 16).join() === found,
          ) as number;
          seen.add(index);
          expect(value).toBe(answers.values[3 * index + (i % 3)]);
          expect(values(labels)[Math.floor(i / 3)]).toBe(data.train.labels[index]);
        });
      });
      tree.dispose(batch);
    }
    expect(seen.size).toBe(40);
    tree.dispose(source.data);
  });

  test.each([false, true])('come with a smaller batch too (on the device: %s)', async (resident) => {
    const { answers } = await ask(all.of('label'), setOf());
    const source = imageSource(answered(answers), { batch: 16, key: key('batches'), resident });
    const [whole, part] = [source.at(1), source.at(1, 5)];
    tf.tidy(() => {
      const rows = [whole, part].map(({ batch }) =>
        values(unpacked<UnlabelledBatch>(source.data, batch).answers as tf.Tensor),
      );
      expect(rows[1]).toEqual(rows[0]?.slice(0, 5));
    });
    expect([whole.images, part.images]).toEqual([16, 5]);
    tree.dispose([whole.batch, part.batch, source.data]);
  });
});
