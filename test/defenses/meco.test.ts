import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { key } from '../../src/core/random.js';
import { dispose } from '../../src/core/tree.js';
import { rounding } from '../../src/defenses/answers.js';
import { compose } from '../../src/defenses/compose.js';
import { randomClass } from '../../src/defenses/gaussian-noise.js';
import { keepArgmax } from '../../src/defenses/keep-argmax.js';
import { consistent, meco, numbersOf, through } from '../../src/defenses/meco.js';
import { loadEngine } from '../../src/engine/engine.js';
import { interview } from '../../src/train/ask.js';
import { type Answers, publish, retire } from '../../src/train/oracle.js';
import { refusal } from '../failures.js';
import { built } from '../train/bench.js';
import { expectClose, values, wave } from '../train/tensors.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

const item = (scalar: tf.Tensor): number => values(scalar)[0] as number;

/** x + s P(x) of one image [side, side, channels], number by number. */
const byHand = (x: number[], drawn: number[], { side, channels, strength }: Record<string, number>): number[] => {
  const pixels = (side as number) ** 2;
  type Planes = number[][];
  const level = (planes: Planes): Planes =>
    planes.map((plane) => {
      const mean = plane.reduce((a, b) => a + b) / pixels;
      const variance = plane.reduce((sum, each) => sum + (each - mean) ** 2, 0) / pixels;
      return plane.map((each) => (each - mean) / Math.sqrt(variance + 1e-5));
    });
  const relu = (planes: Planes) => planes.map((plane) => plane.map((each) => Math.max(0, each)));
  const at = (plane: number[], row: number, column: number) =>
    row < 0 || column < 0 || row >= (side as number) || column >= (side as number)
      ? 0
      : (plane[row * (side as number) + column] as number);
  const mix = (planes: Planes, matrix: number[], to: number): Planes =>
    Array.from({ length: to }, (_, out) =>
      Array.from({ length: pixels }, (_, i) =>
        planes.reduce((sum, plane, from) => sum + (plane[i] as number) * (matrix[from * to + out] as number), 0),
      ),
    );
  const around = (planes: Planes): Planes =>
    [-2, 0, 2].flatMap((down) =>
      [-2, 0, 2].flatMap((right) =>
        planes.map((plane) =>
          plane.map((_, i) => at(plane, Math.floor(i / (side as number)) + down, (i % (side as number)) + right)),
        ),
      ),
    );
  const block = (planes: Planes, numbers: number[]): Planes => {
    const c = planes.length;
    const [into, wide] = [numbers.slice(0, 2 * c), numbers.slice(2 * c, 2 * c + 36)];
    const [back, [p, q]] = [numbers.slice(2 * c + 36, 4 * c + 36), numbers.slice(-2) as [number, number]];
    const inner = relu(level(mix(planes, into, 2)));
    const wider = relu(level(mix(around(inner), wide, 2)));
    const f = level(mix(wider, back, c));
    const a = 0.3 + 0.3 * Math.exp(-(p * p + q * q) / 2);
    return planes.map((plane, k) => plane.map((each, i) => each + a * (f[k]?.[i] as number)));
  };
  const planes = Array.from({ length: channels as number }, (_, k) =>
    Array.from({ length: pixels }, (_, i) => x[i * (channels as number) + k] as number),
  );
  const half = drawn.length / 2;
  const changed = block(block(planes, drawn.slice(0, half)), drawn.slice(half));
  return x.map((each, i) => {
    const [pixel, k] = [Math.floor(i / (channels as number)), i % (channels as number)];
    return each + (strength as number) * (changed[k]?.[pixel] as number);
  });
};

describe('a random net', () => {
  test.each([1, 3])('of images of %i channels computes as by hand, each image by its own weights', (channels) => {
    tf.tidy(() => {
      const [side, count] = [5, numbersOf(channels)];
      const size = side * side * channels;
      const [x, drawn] = [wave(2 * size, 1, 2), wave(2 * count, 2, 1.5)];
      const found = through(tf.tensor4d(x, [2, side, side, channels]), tf.tensor2d(drawn, [2, count]), 0.5);
      const expected = [0, 1].flatMap((i) =>
        byHand(x.slice(i * size, (i + 1) * size), drawn.slice(i * count, (i + 1) * count), {
          side,
          channels,
          strength: 0.5,
        }),
      );
      expectClose(values(found), expected, 1e-4);
    });
  });

  test('has finite numbers for an image of one colour', () => {
    tf.tidy(() => {
      const found = through(tf.ones([1, 4, 4, 3]), tf.tensor2d(wave(numbersOf(3)), [1, numbersOf(3)]), 0.5);
      expect(values(found).every(Number.isFinite)).toBe(true);
    });
  });
});

describe('its training', () => {
  const labels = () => tf.tensor1d([0, 2, 1], 'int32');
  const [plain, changed] = [wave(9, 1, 2), wave(9, 2, 2)];
  const lossOf = (a: number[], b: number[]) =>
    consistent({ plain: tf.tensor2d(a, [3, 3]), changed: tf.tensor2d(b, [3, 3]), labels: labels() }, 0.5);

  test('is the sum of its terms', () => {
    tf.tidy(() => {
      const { loss, terms } = lossOf(plain, changed);
      const apart = plain.reduce((sum, each, i) => sum + Math.abs(each - (changed[i] as number)), 0) / 9;
      expectClose([item(terms.difference)], [apart], 1e-6);
      expectClose([item(loss)], [item(terms.crossEntropy) + item(terms.changedCrossEntropy) + 0.5 * apart], 1e-6);
    });
  });

  test('has the gradients of finite differences, by both answers', () => {
    tf.tidy(() => {
      const h = 1e-2;
      const moved = (of: number[], i: number, by: number) => of.map((each, j) => (i === j ? each + by : each));
      const [byPlain, byChanged] = tf.grads((a: tf.Tensor, b: tf.Tensor) => {
        return consistent({ plain: a as tf.Tensor2D, changed: b as tf.Tensor2D, labels: labels() }, 0.5).loss;
      })([tf.tensor2d(plain, [3, 3]), tf.tensor2d(changed, [3, 3])]) as [tf.Tensor, tf.Tensor];
      const difference = (f: (by: number) => ReturnType<typeof lossOf>) =>
        (item(f(h).loss) - item(f(-h).loss)) / (2 * h);
      const places = plain.map((_, i) => i);
      expectClose(
        values(byPlain),
        places.map((i) => difference((by) => lossOf(moved(plain, i, by), changed))),
        1e-3,
      );
      expectClose(
        values(byChanged),
        places.map((i) => difference((by) => lossOf(plain, moved(changed, i, by)))),
        1e-3,
      );
    });
  });
});

describe('its answers', () => {
  const { network } = built();
  const { height, width, channels } = network.input;
  const normalisation = { mean: Array(channels).fill(0.5), std: Array(channels).fill(0.25) };
  const image = () =>
    tf.tensor4d(
      wave(height * width * channels, 3, 0.5).map((each) => each + 0.5),
      [1, height, width, channels],
    );

  /** What a victim answers in two calls to images of which the first is the same one. */
  const asked = (draw: 'fresh' | 'sticky') => {
    const variables = network.init(key('victim'));
    const answers = meco({ draw }).answers as Answers;
    const wrappers = [{ name: 'meco', answers, prepared: {} }];
    const victim = publish({ network, variables, normalisation, access: 'probabilities', wrappers });
    const told = tf.tidy(() =>
      [1, 3].map((copies, call) => {
        const others = tf.zeros([copies, height, width, channels]);
        const { result, shift } = interview(
          victim,
          (oracle) => oracle.logProbabilities(tf.concat([image(), others]) as tf.Tensor4D),
          [call, 7],
        );
        const first = values(result).slice(0, network.classes);
        result.dispose();
        return { first, l1: shift.l1 };
      }),
    );
    retire(victim);
    dispose(variables);
    return told;
  };

  test('differ from call to call when fresh, and are of the image alone when sticky', () => {
    const [one, other] = asked('fresh').map(({ first }) => first);
    expect(one).not.toEqual(other);
    const [mine, again] = asked('sticky').map(({ first }) => first) as [number[], number[]];
    expectClose(mine, again, 1e-5);
    expect(asked('fresh')[0]?.l1).toBeGreaterThan(0);
  });

  test('come before what others make of them', () => {
    expect(compose(meco(), rounding(2)).name).toBe('meco + rounding');
    expect(refusal(() => compose(rounding(2), meco()))).toMatchObject({
      kind: 'experiment',
      where: 'compose',
      what: 'meco asks the net anew, and what rounding makes of answers would be lost',
      remedy: 'Put meco before rounding.',
    });
    expect(refusal(() => compose(randomClass(), keepArgmax({ defense: meco() }))).what).toMatch(/asks the net anew/);
  });
});
