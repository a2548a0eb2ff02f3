import { execFileSync } from 'node:child_process';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, it } from 'vitest';
import { key, uniforms } from '../../src/core/random.js';
import { loadEngine } from '../../src/engine/engine.js';
import * as ops from '../../src/engine/ops.js';
import * as convolving from '../../src/engine/ops-convolve.js';
import * as native from '../../src/engine/ops-native.js';
import * as own from '../../src/engine/ops-own.js';

await loadEngine();

const random = (name: string, ...shape: number[]): tf.Tensor =>
  tf.tensor(uniforms(key(name), tf.util.sizeFromShape(shape), 1), shape);

const largest = (x: tf.Tensor): number => tf.max(tf.abs(x)).dataSync()[0] as number;

/** Within so much of the largest number. */
const expectNear = (found: tf.Tensor, wanted: tf.Tensor, tolerance: number): void => {
  expect(found.shape).toEqual(wanted.shape);
  expect(largest(tf.sub(found, wanted))).toBeLessThanOrEqual(tolerance * largest(wanted));
};

type Convolve = (x: tf.Tensor, filter: tf.Tensor) => tf.Tensor;

/** The result and the gradients to images and filter are those of another way. */
const expectSame = (one: Convolve, other: Convolve, x: tf.Tensor, filter: tf.Tensor): void => {
  const dy = random('dy', ...other(x, filter).shape);
  const both = [one, other].map((way) => [way(x, filter), ...tf.grads(way)([x, filter], dy)]);
  both[0]?.forEach((tensor, i) => {
    expectNear(tensor, both[1]?.[i] as tf.Tensor, 1e-5);
  });
};

/** On a processor with AVX-512 or AVX2. */
const multiplies = convolving.convolvesByProducts([1, 4, 4, 16], [1, 1, 16, 16], { stride: 1, padding: 0 });

type Case = readonly [
  n: number,
  h: number,
  w: number,
  from: number,
  to: number,
  kernel: number,
  stride: number,
  padding: number,
  groups: number,
];

// Channels by 16s and not, one vector of a panel and both; what a kernel and a stride leave out; groups.
const convolutions: readonly Case[] = [
  [3, 7, 9, 58, 58, 1, 1, 0, 1],
  [2, 8, 8, 116, 20, 1, 2, 0, 1],
  [20, 5, 5, 20, 48, 3, 2, 1, 1],
  [9, 6, 7, 32, 33, 3, 2, 0, 1],
  [1, 3, 3, 16, 7, 3, 3, 2, 1],
  [5, 8, 9, 3, 32, 1, 1, 0, 1],
  [7, 8, 6, 16, 32, 3, 2, 1, 4],
  [7, 9, 6, 17, 5, 5, 2, 2, 3],
  [2, 5, 4, 3, 40, 3, 1, 1, 1],
  [40, 17, 17, 24, 144, 1, 1, 0, 1],
  [40, 4, 4, 100, 300, 1, 1, 0, 1],
  [50, 9, 8, 33, 90, 3, 2, 1, 1],
  // Few channels, which are made planes: by fours of results and not, kernels of 2 to 5 and no border, borders as wide as can be.
  [70, 28, 28, 1, 4, 3, 1, 1, 1],
  [33, 14, 13, 4, 8, 3, 1, 1, 1],
  [3, 7, 7, 8, 16, 3, 1, 1, 1],
  [5, 9, 8, 6, 16, 5, 1, 0, 1],
  [2, 6, 11, 1, 6, 5, 1, 4, 1],
  [1, 3, 3, 2, 3, 3, 1, 0, 1],
  [4, 5, 6, 3, 7, 2, 1, 1, 1],
  [4, 6, 5, 5, 5, 4, 1, 2, 1],
  // Where only the result, or only what is given, has few.
  [6, 8, 8, 64, 3, 3, 1, 1, 1],
  [6, 8, 8, 3, 64, 3, 1, 1, 1],
  [2, 9, 7, 128, 1, 3, 1, 1, 1],
  // Numbers that are fewer than a vector has from a pixel on, though it is not the last one.
  [1, 3, 5, 3, 16, 1, 1, 0, 1],
  [1, 3, 5, 16, 1, 1, 1, 0, 1],
];

describe.skipIf(!multiplies)('a convolution by products of matrices is TensorFlow’s, forwards and backwards', () => {
  it.each(convolutions)(
    '%s images of %s×%s, from %s channels to %s, kernel %s, stride %s, padding %s, groups %s',
    (n, h, w, from, to, kernel, stride, padding, groups) => {
      tf.tidy(() => {
        const [x, filter] = [random('x', n, h, w, groups * from), random('f', kernel, kernel, from, groups * to)];
        const way =
          (by: typeof native.conv2d): Convolve =>
          (a, b) =>
            by({ x: a, filter: b }, { stride, padding, x: x.shape, filter: filter.shape })[0] as tf.Tensor;
        expectSame(way(convolving.conv), way(native.conv2d), x, filter);
      });
    },
  );

  it('errs no more than plain sums of float32, of whatever size the numbers are', () => {
    tf.tidy(() => {
      const [rows, depth, columns] = [128, 512, 64];
      const spread = (name: string, ...shape: number[]) =>
        tf.mul(random(name, ...shape), tf.exp(tf.mul(random(`${name}/size`, ...shape), 8)));
      const [x, filter] = [spread('x', rows, 1, 1, depth), spread('f', 1, 1, depth, columns)];
      const attributes = { stride: 1, padding: 0, x: x.shape, filter: filter.shape };
      const found = convolving.conv({ x, filter }, attributes)[0]?.dataSync() as Float32Array;
      const [a, b] = [x.dataSync(), filter.dataSync()] as [Float32Array, Float32Array];
      const [ours, plain] = [0, 0].map(() => [] as number[]) as [number[], number[]];
      for (let row = 0; row < rows; row++)
        for (let column = 0; column < columns; column++) {
          let [exact, single, size] = [0, 0, 0];
          for (let k = 0; k < depth; k++) {
            const product = (a[row * depth + k] as number) * (b[k * columns + column] as number);
            exact += product;
            single = Math.fround(single + product);
            size += Math.abs(product);
          }
          ours.push(((found[row * columns + column] as number) - exact) / size);
          plain.push((single - exact) / size);
        }
      const norm = (errors: readonly number[]) => Math.hypot(...errors) / Math.sqrt(errors.length);
      expect(norm(ours)).toBeLessThan(1.1 * norm(plain));
    });
  });

  it('of what is not finite gives nothing that is', () => {
    for (const strange of [Number.POSITIVE_INFINITY, Number.NaN])
      tf.tidy(() => {
        const x = tf.tensor4d([...Array(64).fill(1), strange, ...Array(63).fill(1)], [2, 1, 1, 64]);
        const filter = tf.ones([1, 1, 64, 64]);
        const y = convolving.conv({ x, filter }, { stride: 1, padding: 0, x: x.shape, filter: filter.shape })[0];
        const [whole, other] = [y?.dataSync().slice(0, 64), y?.dataSync().slice(64)] as [Float32Array, Float32Array];
        expect(whole).toEqual(new Float32Array(64).fill(64));
        expect(other.some(Number.isFinite)).toBe(false);
      });
  });

  it('and its gradients are those of finite differences', () => {
    tf.tidy(() => {
      const [x, filter] = [random('x', 2, 5, 5, 4), random('f', 3, 3, 4, 6)];
      const attributes = { stride: 2, padding: 1, x: x.shape, filter: filter.shape };
      const loss = (a: tf.Tensor, b: tf.Tensor): tf.Scalar =>
        tf.sum(tf.square(convolving.conv({ x: a, filter: b }, attributes)[0] as tf.Tensor));
      const gradients = tf.grads(loss)([x, filter]);
      [x, filter].forEach((variable, i) => {
        const direction = random('direction', ...variable.shape);
        const moved = (by: number) => {
          const there = tf.add(variable, tf.mul(direction, by));
          return (i === 0 ? loss(there, filter) : loss(x, there)).dataSync()[0] as number;
        };
        const slope = tf.sum(tf.mul(gradients[i] as tf.Tensor, direction)).dataSync()[0] as number;
        expect((moved(0.01) - moved(-0.01)) / 0.02 / slope).toBeCloseTo(1, 2);
      });
    });
  });

  it.each<readonly [string, readonly number[], readonly number[], number, number]>([
    ['a kernel that is not square', [4, 8, 8, 16], [1, 3, 16, 16], 1, 0],
    ['more zeros than kernel', [4, 8, 8, 16], [1, 1, 16, 16], 1, 1],
    ['no images', [0, 8, 8, 16], [1, 1, 16, 16], 1, 0],
  ])('but it is not chosen with %s', (_, x, filter, stride, padding) => {
    expect(convolving.convolvesByProducts(x, filter, { stride, padding })).toBe(false);
  });
});

const depthwiseCases = [
  [3, 7, 9, 58, 1, 1],
  [2, 8, 8, 116, 2, 1],
  [20, 5, 5, 20, 1, 0],
  [9, 6, 7, 32, 2, 0],
  [1, 3, 3, 16, 3, 2],
  [40, 17, 17, 144, 1, 1],
  [5, 1, 1, 16, 1, 1],
  [5, 2, 9, 24, 2, 1],
] as const;

describe.skipIf(!own.hasOwn())('a depthwise convolution is TensorFlow’s, forwards and backwards', () => {
  it.each(depthwiseCases)('%s images of %s×%s, %s channels, stride %s, padding %s', (n, h, w, c, stride, padding) => {
    tf.tidy(() => {
      const [x, filter] = [random('x', n, h, w, c), random('f', 3, 3, 1, c)];
      const attributes = { stride, padding, x: x.shape, filter: filter.shape };
      expect(convolving.convolvesDepthwise(x.shape, filter.shape, attributes)).toBe(true);
      const kernels = [3, 3, c, 1];
      expectSame(
        (a, b) => convolving.depthwise({ x: a, filter: b }, attributes)[0] as tf.Tensor,
        (a, b) =>
          native.depthwiseConv2d(
            { x: a, filter: tf.reshape(b, kernels) },
            { ...attributes, filter: kernels },
          )[0] as tf.Tensor,
        x,
        filter,
      );
    });
  });

  it('but not of few channels', () => {
    expect(convolving.convolvesDepthwise([4, 8, 8, 8], [3, 3, 1, 8], { padding: 1 })).toBe(false);
  });
});

describe.skipIf(!multiplies)(
  'a batch norm and the convolution after it at once are the two one after the other',
  () => {
    it.each<readonly [what: string, x: readonly number[], filter: readonly number[], stride: number, padding: number]>([
      ['of 1×1', [9, 7, 8, 58], [1, 1, 58, 40], 1, 0],
      ['of 1×1 at a stride', [9, 7, 8, 48], [1, 1, 48, 40], 2, 0],
      ['of 3×3 at a stride', [9, 7, 8, 32], [3, 3, 32, 48], 2, 1],
      ['of 3×3 at a stride, in groups', [9, 8, 8, 64], [3, 3, 16, 32], 2, 1],
      ['depthwise', [9, 7, 8, 58], [3, 3, 1, 58], 1, 1],
      ['depthwise, of few images', [2, 17, 8, 40], [3, 3, 1, 40], 1, 1],
      ['depthwise at a stride', [9, 7, 8, 116], [3, 3, 1, 116], 2, 1],
      ['of 3×3', [9, 15, 8, 32], [3, 3, 32, 48], 1, 1],
      ['of 3×3 with many channels', [20, 8, 8, 144], [3, 3, 144, 160], 1, 1],
      ['of 3×3 in groups', [9, 15, 8, 128], [3, 3, 32, 64], 1, 1],
    ])('%s', (_, shape, kernels, stride, padding) => {
      tf.tidy(() => {
        const [x, filter] = [random('x', ...shape) as tf.Tensor4D, random('f', ...kernels) as tf.Tensor4D];
        const c = shape[3] as number;
        const [scale, offset] = [tf.add(random('s', c), 2), random('o', c)];
        const running = { mean: random('m', c), variance: tf.add(random('v', c), 2) };
        const options = { stride, padding, activation: 'relu6' } as const;
        if (convolving.wayOfNormalised(shape, kernels, options) === undefined) return;
        const once = (...[a, f, s, o]: tf.Tensor[]) =>
          ops.normalisedConv2d(
            a as tf.Tensor4D,
            f as tf.Tensor4D,
            { scale: s as tf.Tensor, offset: o as tf.Tensor, ...running },
            options,
          ) as { y: tf.Tensor; mean: tf.Tensor; variance: tf.Tensor };
        const apart = (...[a, f, s, o]: tf.Tensor[]) => {
          const variables = { scale: s as tf.Tensor, offset: o as tf.Tensor, ...running };
          const { y, ...statistics } = ops.batchNormTrain(a as tf.Tensor4D, variables, options);
          return { y: ops.conv2d(y, f as tf.Tensor4D, options), ...statistics };
        };
        const given = [x, filter, scale, offset];
        const [found, wanted] = [once(...given), apart(...given)];
        expectNear(found.y, wanted.y, 1e-5);
        expectNear(found.mean, wanted.mean, 1e-6);
        expectNear(found.variance, wanted.variance, 1e-6);
        const dy = random('dy', ...wanted.y.shape);
        const [ours, theirs] = [once, apart].map((f) => tf.grads((...inputs) => f(...inputs).y)(given, dy));
        ours?.forEach((tensor, i) => {
          expectNear(tensor, theirs?.[i] as tf.Tensor, 2e-5);
        });
      });
    });
  },
);

describe.skipIf(!multiplies)('a convolution with what is around it, where only answers are wanted', () => {
  const norm = (name: string, c: number, activation?: 'relu' | 'relu6'): ops.Norm => ({
    variables: [
      tf.add(random(`${name} s`, c), 2),
      random(`${name} o`, c),
      random(`${name} m`, c),
      tf.add(random(`${name} v`, c), 2),
    ],
    epsilon: 1e-5,
    activation,
  });
  const normed = (x: tf.Tensor, { variables: [scale, offset, mean, variance], ...how }: ops.Norm) =>
    ops.batchNormEval(x as tf.Tensor4D, { scale, offset, mean, variance }, how);
  const within = (x: tf.Tensor, activation?: 'relu' | 'relu6') =>
    activation === undefined ? x : { relu: tf.relu, relu6: tf.relu6 }[activation](x);

  type Around = readonly [
    what: string,
    x: readonly number[],
    filter: readonly number[],
    stride: number,
    padding: number,
  ];
  const cases: readonly Around[] = [
    ['of 1×1', [9, 7, 8, 58], [1, 1, 58, 40], 1, 0],
    ['of 1×1 in groups', [9, 7, 8, 32], [1, 1, 16, 48], 1, 0],
    ['of 3×3 at a stride', [9, 7, 8, 32], [3, 3, 32, 48], 2, 1],
    ['depthwise', [9, 7, 8, 58], [3, 3, 1, 58], 1, 1],
    ['depthwise, of few images, at a stride', [2, 17, 8, 40], [3, 3, 1, 40], 2, 1],
  ];
  // Without AVX-512, TensorFlow's are as fast.
  const byWinograd: readonly Around[] = [
    ['of 3×3', [9, 15, 7, 32], [3, 3, 32, 48], 1, 1],
    ['of 3×3 with many channels', [20, 8, 8, 144], [3, 3, 144, 160], 1, 1],
    ['of 3×3 in groups', [9, 15, 8, 128], [3, 3, 32, 64], 1, 1],
  ];
  const there = byWinograd.filter(([, x, filter, stride, padding]) => own.convolves3x3(x, filter, { stride, padding }));
  describe.each([...cases, ...there])('%s', (_, shape, kernels, stride, padding) => {
    it.each([
      ['before'],
      ['after'],
      ['plus'],
      ['before', 'after'],
      ['before', 'plus'],
      ['after', 'plus'],
      ['before', 'after', 'plus'],
    ])('%s %s %s', (...around) => {
      tf.tidy(() => {
        const [x, filter] = [random('x', ...shape) as tf.Tensor4D, random('f', ...kernels) as tf.Tensor4D];
        const plain = ops.conv2d(x, filter, { stride, padding });
        const has = (what: string) => around.includes(what);
        const before = has('before') ? norm('before', shape[3] as number, 'relu') : undefined;
        const after = has('after') ? norm('after', plain.shape[3], 'relu6') : undefined;
        const plus = has('plus') ? random('plus', ...plain.shape) : undefined;
        const found = ops.finishedConv2d(x, filter, { before, after, plus }, { stride, padding });
        // A norm before a convolution in groups of one pixel is another matter.
        if (before !== undefined && convolving.wayOfNormalised(shape, kernels, { stride, padding }) === undefined) {
          expect(found).toBeUndefined();
          return;
        }
        const images = before === undefined ? x : normed(x, before);
        const y = ops.conv2d(images as tf.Tensor4D, filter, { stride, padding });
        const free = after === undefined ? y : normed(y, { ...after, activation: undefined });
        const wanted = within(plus === undefined ? free : tf.add(free, plus), after?.activation);
        expectNear(found as tf.Tensor, wanted, 1e-5);
      });
    });
  });

  // An image at a time, several, whose number does not divide that of all, and channels too many for it.
  const pairs = [
    [9, 15, 7, 16, 16, 16],
    [5, 32, 32, 16, 32, 16],
    [23, 8, 8, 64, 64, 64],
    [6, 9, 10, 48, 32, 64],
    [7, 16, 16, 128, 128, 128],
    [4, 8, 8, 128, 160, 128],
  ] as const;
  const places = { stride: 1, padding: 1 };
  const thereTwice = pairs.filter((shape) => own.convolves3x3(shape.slice(0, 4), [3, 3, shape[3], shape[4]], places));
  describe.each(thereTwice)('and another one of its result, %s×%s×%s×%s by %s and %s', (n, h, w, from, mid, to) => {
    it.each(['nothing', 'before', 'after', 'plus', 'before, after, plus'])(
      'with %s around them: the bits of one after the other',
      (around) => {
        tf.tidy(() => {
          const x = random('x', n, h, w, from) as tf.Tensor4D;
          const filter = random('f', 3, 3, from, mid) as tf.Tensor4D;
          const second = random('g', 3, 3, mid, to) as tf.Tensor4D;
          const has = (what: string) => around.includes(what);
          const before = has('before') ? norm('before', from, 'relu') : undefined;
          const between = norm('between', mid, 'relu6');
          const after = has('after') ? norm('after', to, 'relu') : undefined;
          const plus = has('plus') ? random('plus', n, h, w, to) : undefined;
          const found = ops.finishedConv2dTwice(x, filter, { before, between, second, after, plus }, places);
          const through = ops.finishedConv2d(x, filter, { before, after: between }, places) as tf.Tensor4D;
          const wanted = ops.finishedConv2d(through, second, { after, plus }, places) as tf.Tensor4D;
          expect(found?.shape).toEqual(wanted.shape);
          expect(found?.dataSync()).toEqual(wanted.dataSync());
        });
      },
    );
  });

  it.skipIf(thereTwice.length === 0)('of two, says what does not fit', () => {
    tf.tidy(() => {
      const x = random('x', 9, 8, 8, 16) as tf.Tensor4D;
      const filter = random('f', 3, 3, 16, 16) as tf.Tensor4D;
      const twice = (what: Partial<convolving.Twice>) => () =>
        ops.finishedConv2dTwice(x, filter, { between: norm('b', 16), second: filter, ...what }, places);
      expect(twice({ between: norm('b', 8) })).toThrow('not one number a channel');
      expect(twice({ plus: tf.zeros([9, 8, 8, 8]) })).toThrow('another size');
      const other = random('f', 3, 3, 32, 16) as tf.Tensor4D;
      expect(twice({ second: other })()).toBeUndefined();
    });
  });

  it('is not done where something is differentiated', () => {
    tf.tidy(() => {
      const [x, filter] = [random('x', 4, 8, 8, 16) as tf.Tensor4D, random('f', 1, 1, 16, 16) as tf.Tensor4D];
      expect(ops.finishedConv2d(x, filter, {})).toBeDefined();
      tf.grad((a) => {
        expect(ops.finishedConv2d(a as tf.Tensor4D, filter, {})).toBeUndefined();
        return tf.sum(a);
      })(x);
    });
  });

  it('says what does not fit', () => {
    tf.tidy(() => {
      const [x, filter] = [random('x', 4, 8, 8, 16) as tf.Tensor4D, random('f', 1, 1, 16, 16) as tf.Tensor4D];
      expect(() => ops.finishedConv2d(x, filter, { after: norm('after', 8) })).toThrow('not one number a channel');
      expect(() => ops.finishedConv2d(x, filter, { plus: tf.zeros([4, 8, 8, 8]) })).toThrow('another size');
    });
  });
});

describe.skipIf(!multiplies)('a batch norm that is told mean and variance of a convolution’s result', () => {
  const cases: readonly (readonly [string, readonly number[], readonly number[], number, number])[] = [
    ['of 1×1', [9, 7, 8, 24], [1, 1, 24, 40], 1, 0],
    ['of 1×1 with many weights', [9, 7, 8, 320], [1, 1, 320, 480], 1, 0],
    ['of 3×3 at a stride', [9, 7, 8, 32], [3, 3, 32, 48], 2, 1],
    ['of 3×3 of few channels, which tells nothing', [9, 7, 8, 4], [3, 3, 4, 8], 1, 1],
    ['depthwise', [9, 7, 8, 58], [3, 3, 1, 58], 1, 1],
    ['depthwise, of few images', [2, 17, 8, 40], [3, 3, 1, 40], 2, 1],
    ['of 3×3', [9, 15, 7, 16], [3, 3, 16, 16], 1, 1],
    ['of 3×3 with many channels', [20, 8, 8, 144], [3, 3, 144, 160], 1, 1],
    ['of 3×3 in groups', [9, 15, 8, 128], [3, 3, 32, 64], 1, 1],
    ['of 5×5, which tells nothing', [9, 15, 8, 32], [5, 5, 32, 16], 1, 2],
  ];
  it.each(cases)('does as one that reads it: %s', (_, shape, kernels, stride, padding) => {
    const [from = 0, to = 0] = [shape[3], kernels[2] === 1 && kernels[0] === 3 ? shape[3] : kernels[3]];
    const variables = (c: number) => ({
      scale: tf.add(random('s', c), 2),
      offset: random('o', c),
      mean: random('m', c),
      variance: tf.add(random('v', c), 2),
    });
    tf.tidy(() => {
      // Far from zero, where sums of squares alone would be of no use.
      const x = tf.add(random('x', ...shape), 30);
      const filter = random('f', ...kernels);
      const [before, after] = [variables(from), variables(to)];
      const ways = {
        plain: (tells: boolean) => (a: tf.Tensor, f: tf.Tensor) =>
          ops.conv2d(a as tf.Tensor4D, f as tf.Tensor4D, { stride, padding, tells }),
        normalised: (tells: boolean) => (a: tf.Tensor, f: tf.Tensor) => {
          const options = { stride, padding, activation: 'relu', tells } as const;
          const found = ops.normalisedConv2d(a as tf.Tensor4D, f as tf.Tensor4D, before, options);
          return found?.y ?? ops.conv2d(a as tf.Tensor4D, f as tf.Tensor4D, { stride, padding, tells });
        },
      };
      for (const way of Object.values(ways)) {
        const [told, read] = [true, false].map((tells) => {
          const normed = (a: tf.Tensor, f: tf.Tensor) =>
            ops.batchNormTrain(way(tells)(a, f), after, { activation: 'relu6' });
          const { y, mean, variance } = normed(x, filter);
          return [y, mean, variance, ...tf.grads((a, f) => normed(a, f).y)([x, filter], random('dy', ...y.shape))];
        }) as [tf.Tensor[], tf.Tensor[]];
        told.forEach((tensor, i) => {
          expectNear(tensor, read[i] as tf.Tensor, 1e-4);
        });
      }
    });
  });

  it('takes it once, and nothing stays behind', () => {
    const before = tf.memory().numTensors;
    tf.tidy(() => {
      const c = { scale: tf.ones([16]), offset: tf.zeros([16]), mean: tf.zeros([16]), variance: tf.ones([16]) };
      const [x, f] = [random('x', 9, 8, 8, 16) as tf.Tensor4D, random('f', 1, 1, 16, 16) as tf.Tensor4D];
      const y = ops.conv2d(x, f, { tells: true });
      const [first, again] = [ops.batchNormTrain(y, c), ops.batchNormTrain(y, c)];
      expectNear(first.mean, again.mean, 1e-6);
    });
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('channels in turn', () => {
  it.each([6, 7, 58])('of %s and as many, and their halves, with gradients', (c) => {
    tf.tidy(() => {
      const [a, b] = [random('a', 3, 2, 5, c) as tf.Tensor4D, random('b', 3, 2, 5, c) as tf.Tensor4D];
      const plainly = (x: tf.Tensor, y: tf.Tensor) => tf.reshape(tf.stack([x, y], 4), [3, 2, 5, 2 * c]);
      const dy = random('dy', 3, 2, 5, 2 * c);
      const inTurn = (x: tf.Tensor, y: tf.Tensor) => ops.interleave(x as tf.Tensor4D, y as tf.Tensor4D);
      const byHalves = (x: tf.Tensor, y: tf.Tensor) =>
        tf.concat(ops.shuffledHalves(x as tf.Tensor4D, y as tf.Tensor4D), 3);
      for (const way of [inTurn, byHalves]) {
        expect(way(a, b).dataSync()).toEqual(plainly(a, b).dataSync());
        const wanted = tf.grads(plainly)([a, b], dy);
        tf.grads(way)([a, b], dy).forEach((tensor, i) => {
          expect(tensor.dataSync()).toEqual(wanted[i]?.dataSync());
        });
      }
    });
  });
});

/** Sums of the bytes of results, and a few of their numbers. */
const script = `
import { createHash } from 'node:crypto';
import * as tf from '@tensorflow/tfjs';
import { key, uniforms } from './src/core/random.js';
import { loadEngine } from './src/engine/engine.js';
import * as ops from './src/engine/ops.js';
await loadEngine();
const random = (name, ...shape) => tf.tensor(uniforms(key(name), tf.util.sizeFromShape(shape), 1), shape);
const hash = createHash('sha256');
const sizes = [];
const add = (tensors) => { for (const each of tensors) { hash.update(each.dataSync()); sizes.push(each.dataSync().reduce((sum, one) => sum + Math.abs(one), 0)); } };
for (const [x, f, stride, padding] of [
  [[40, 9, 9, 58], [1, 1, 58, 116], 1, 0], [[33, 17, 17, 24], [1, 1, 24, 144], 1, 0], [[5, 16, 16, 32], [3, 3, 32, 64], 2, 1],
  [[20, 8, 8, 64], [3, 3, 16, 32], 2, 1], [[20, 9, 9, 116], [3, 3, 1, 116], 1, 1], [[3, 16, 16, 96], [3, 3, 1, 96], 2, 1],
  [[9, 16, 16, 128], [3, 3, 64, 128], 1, 1], [[70, 14, 14, 4], [3, 3, 4, 8], 1, 1], [[37, 12, 12, 6], [5, 5, 6, 16], 1, 0],
  [[33, 9, 9, 1], [2, 2, 1, 3], 1, 0],
]) {
  const c = x[3], images = random('x', ...x), filter = random('f', ...f), scale = tf.add(random('s', c), 2), offset = random('o', c);
  const running = { mean: tf.zeros([c]), variance: tf.ones([c]) };
  const plain = (a, b) => ops.conv2d(a, b, { stride, padding });
  const normalised = (a, b, s, o) => {
    const variables = { scale: s, offset: o, ...running };
    const once = ops.normalisedConv2d(a, b, variables, { stride, padding, activation: 'relu' });
    return once === undefined ? plain(ops.batchNormTrain(a, variables, { activation: 'relu' }).y, b) : once.y;
  };
  add([plain(images, filter), ...tf.grads(plain)([images, filter])]);
  const given = [images, filter, scale, offset];
  add([normalised(...given), ...tf.grads((a, b, s, o) => tf.add(normalised(a, b, s, o), tf.add(tf.sum(s), tf.sum(o))))(given)]);
}
process.stdout.write(JSON.stringify({ hash: hash.digest('hex'), sizes }));
`;

const results = (environment: Readonly<Record<string, string>>): { hash: string; sizes: number[] } =>
  JSON.parse(
    execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], {
      env: { ...process.env, CUDA_VISIBLE_DEVICES: '', ...environment },
      encoding: 'utf8',
    }),
  );

it('results are the same bits with any number of threads', () => {
  const [one, ...others] = [1, 2, 3].map((threads) => results({ TF_NUM_INTRAOP_THREADS: String(threads) }));
  for (const other of others) expect(other).toEqual(one);
});

it('and to rounding the same with AVX2', () => {
  const [wide, narrow] = [results({}), results({ UNDISTILL_VECTORS: 'avx2' })];
  wide.sizes.forEach((size, i) => {
    expect((narrow.sizes[i] as number) / size).toBeCloseTo(1, 4);
  });
});
