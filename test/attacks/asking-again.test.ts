import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { askingAgain, meanAnswer, viewed } from '../../src/attacks/asking-again.js';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import { publish, retire, type Wrapper } from '../../src/train/oracle.js';
import { built, context, data, normalised, sets, succeed } from '../train/bench.js';
import { expectClose, values } from '../train/tensors.js';
import { aged } from './stepping.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

test('several answers are one by the mean of their probabilities', () => {
  tf.tidy(() => {
    const answers = [
      [0.8, 0.2, 0],
      [0.5, 0.3, 0.2],
      [0.2, 0.4, 0.4],
    ].map((each) => tf.log(tf.tensor2d([each])) as tf.Tensor2D);
    expectClose(values(tf.exp(meanAnswer(answers))), [0.5, 0.3, 0.2], 1e-6);
    // A class that no answer has is ruled out.
    const certain = tf.log(tf.tensor2d([[1, 0]])) as tf.Tensor2D;
    expect(values(meanAnswer([certain, certain]))).toEqual([0, Number.NEGATIVE_INFINITY]);
  });
});

const image = () => tf.tensor4d([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 3, 3, 1]);
const wide = () => tf.reshape<tf.Rank.R4>(tf.range(0, 20), [1, 4, 5, 1]);
/** How many of so many views differ. */
const apart = (views: number, flip: boolean): number =>
  new Set(Array.from({ length: views }, (_, i) => values(viewed(wide(), i, flip)).join())).size;

test('views of images that flip: mirrored, and moved by a pixel, edges mirrored', () => {
  tf.tidy(() => {
    expect(values(viewed(image(), 0, true))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(values(viewed(image(), 1, true))).toEqual([3, 2, 1, 6, 5, 4, 9, 8, 7]);
    expect(values(viewed(image(), 2, true))).toEqual([5, 6, 5, 8, 9, 8, 5, 6, 5]);
    expect(values(viewed(image(), 4, true))).toEqual([5, 4, 5, 2, 1, 2, 5, 4, 5]);
    expect(apart(10, true)).toBe(10);
  });
});

test('views of images that do not, such as digits, are none of them mirrored', () => {
  tf.tidy(() => {
    expect(values(viewed(image(), 0, false))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(values(viewed(image(), 1, false))).toEqual([5, 6, 5, 8, 9, 8, 5, 6, 5]);
    expect(values(viewed(image(), 2, false))).toEqual([5, 4, 5, 2, 1, 2, 5, 4, 5]);
    expect(apart(5, false)).toBe(5);
  });
});

test.each([true, 'alternating', false] as const)(
  'a data set whose images flip (%s) is asked about so',
  async (flip) => {
    const asked: tf.Tensor4D[] = [];
    const listening: Wrapper = {
      name: 'listening',
      prepared: {},
      answers: {
        kind: 'pure',
        answer: ({ images, logProbabilities }) => {
          asked.push(tf.keep(tf.clone(images)));
          return { logProbabilities };
        },
      },
    };
    const network = normalised(4).build(data.image, 3);
    const variables = aged(network, 'victim');
    const { normalisation } = data;
    const victim = publish({ network, variables, normalisation, access: 'probabilities', wrappers: [listening] });
    const own = { ...sets, train: { ...sets.train, augmentation: { crop: 0, flip } } };
    const { last, best } = await succeed(
      askingAgain({ times: 2, of: 'views' }).steal(victim, built({ epochs: 1 }), {
        ...context(key('stage')),
        ...{ data: own, fullStepsPerEpoch: 3 },
      } as never),
    );
    // Each batch is asked about twice.
    const [batch, again] = asked as [tf.Tensor4D, tf.Tensor4D];
    const [mirrored, moved] = [true, false].map((flips) => values(viewed(batch, 1, flips)));
    expect(values(again)).toEqual(flip ? mirrored : moved);
    expect(mirrored).not.toEqual(moved);
    retire(victim);
    dispose([last, ...(best === undefined ? [] : [best.kept]), variables, asked]);
  },
);
