import { execFileSync } from 'node:child_process';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, it } from 'vitest';
import { key, uniforms } from '../../src/core/random.js';
import { backend } from '../../src/engine/backend.js';
import { loadEngine } from '../../src/engine/engine.js';
import * as ops from '../../src/engine/ops.js';
import * as native from '../../src/engine/ops-native.js';
import * as own from '../../src/engine/ops-own.js';
import { thisProcessor, vectorLevel } from '../../src/engine/setup/processor.js';

await loadEngine();

const random = (name: string, ...shape: number[]): tf.Tensor =>
  tf.tensor(uniforms(key(name), tf.util.sizeFromShape(shape), 1), shape);

const largest = (x: tf.Tensor): number => tf.max(tf.abs(x)).dataSync()[0] as number;

/** To the nearest number of bfloat16, and of two to the even one. */
const rounded = (x: tf.Tensor): tf.Tensor => {
  const bits = new Uint32Array((x.dataSync() as Float32Array).slice().buffer);
  const halves = bits.map((each) => (each + 0x7fff + ((each >>> 16) & 1)) & 0xffff0000);
  return tf.tensor(new Float32Array(halves.buffer), x.shape);
};

/** Within so much of the largest number. */
const expectNear = (found: tf.Tensor, wanted: tf.Tensor, tolerance: number): void => {
  expect(found.shape).toEqual(wanted.shape);
  expect(largest(tf.sub(found, wanted))).toBeLessThanOrEqual(tolerance * largest(wanted));
};

it('there are operations of our own on a processor', () => {
  expect(own.hasOwn()).toBe(!backend().isUsingGpuDevice);
});

const level = vectorLevel(thisProcessor());
const hasAvx512 = level.startsWith('avx512') || level === 'amx';
const hasAmx = level === 'amx';
const same = { stride: 1, padding: 1 };

it('there are convolutions of our own on a processor with AVX-512', () => {
  expect(own.convolves3x3([8, 16, 16, 32], [3, 3, 32, 32], same)).toBe(hasAvx512 && own.hasOwn());
});

type Convolve = (x: tf.Tensor, filter: tf.Tensor) => tf.Tensor;

const byWinograd =
  (upsampled: boolean): Convolve =>
  (x, filter) =>
    own.conv3x3({ x, filter }, { upsampled })[0] as tf.Tensor;

/** The result and the gradients to images and filter. */
const bothWays = (convolve: Convolve, x: tf.Tensor, filter: tf.Tensor, dy: tf.Tensor) => [
  convolve(x, filter),
  ...tf.grads(convolve)([x, filter], dy),
];

describe.skipIf(!hasAvx512)('a convolution by Winograd is TensorFlow’s, forwards and backwards', () => {
  it.each<readonly [n: number, h: number, w: number, from: number, to: number]>([
    // Tiles that are filled, and not; panels of 32 and of 16; few channels, whose sums are in groups, and many, in one block
    // of tiles and in two.
    [8, 16, 16, 32, 32],
    [3, 14, 14, 48, 80],
    [1, 24, 32, 64, 48],
    [9, 8, 8, 112, 144],
    [40, 4, 4, 256, 96],
    [60, 3, 3, 32, 160],
    [12, 7, 9, 80, 64],
    [300, 4, 4, 384, 64],
    [3, 16, 16, 16, 16],
    // By matrices, where there are some: more tiles than are dealt with at a time, a last register of a few, and fewer than one.
    [90, 8, 8, 128, 128],
    [37, 6, 7, 160, 256],
    [4, 5, 9, 192, 128],
  ])('%s images of %s×%s, from %s channels to %s', (n, h, w, from, to) => {
    tf.tidy(() => {
      const [x, filter, dy] = [random('x', n, h, w, from), random('f', 3, 3, from, to), random('dy', n, h, w, to)];
      expect(own.convolves3x3(x.shape, filter.shape, same)).toBe(true);
      const attributes = { ...same, x: x.shape, filter: filter.shape };
      const plainly: Convolve = (a, b) => native.conv2d({ x: a, filter: b }, attributes)[0] as tf.Tensor;
      const theirs = bothWays(plainly, x, filter, dy);
      bothWays(byWinograd(false), x, filter, dy).forEach((tensor, i) => {
        expectNear(tensor, theirs[i] as tf.Tensor, 1e-5);
      });
    });
  });

  it.each<readonly [what: string, x: readonly number[], filter: readonly number[], stride: number, padding: number]>([
    ['sides of two', [256, 2, 2, 32], [3, 3, 32, 32], 1, 1],
    ['another stride', [64, 8, 8, 32], [3, 3, 32, 32], 2, 1],
    ['another padding', [64, 8, 8, 32], [3, 3, 32, 32], 1, 0],
    ['another kernel', [64, 8, 8, 32], [5, 5, 32, 32], 1, 1],
    ['groups of few channels', [64, 8, 8, 64], [3, 3, 8, 64], 1, 1],
    ['channels by no sixteens', [64, 8, 8, 40], [3, 3, 40, 32], 1, 1],
    ['output channels by no sixteens', [64, 8, 8, 32], [3, 3, 32, 40], 1, 1],
    ['few pixels', [7, 4, 4, 64], [3, 3, 64, 64], 1, 1],
  ])('but not with %s', (_, x, filter, stride, padding) => {
    expect(own.convolves3x3(x, filter, { stride, padding })).toBe(false);
  });

  it.each([
    [8, 16, 16, 64, 64, 4],
    [3, 14, 13, 96, 160, 2],
    [20, 8, 8, 480, 320, 2],
    [20, 8, 8, 256, 256, 2],
  ])('%s images of %s×%s, from %s channels to %s in %s groups', (n, h, w, from, to, groups) => {
    tf.tidy(() => {
      const [x, filter, dy] = [
        random('x', n, h, w, from),
        random('f', 3, 3, from / groups, to),
        random('dy', n, h, w, to),
      ];
      expect(own.convolves3x3(x.shape, filter.shape, same)).toBe(true);
      const attributes = { ...same, x: x.shape, filter: filter.shape };
      const plainly: Convolve = (a, b) => native.conv2d({ x: a, filter: b }, attributes)[0] as tf.Tensor;
      const grouped: Convolve = (a, b) =>
        own.conv3x3({ x: a, filter: b }, { upsampled: false, groups })[0] as tf.Tensor;
      const theirs = bothWays(plainly, x, filter, dy);
      bothWays(grouped, x, filter, dy).forEach((tensor, i) => {
        expectNear(tensor, theirs[i] as tf.Tensor, 1e-5);
      });
    });
  });

  it.each([
    [5, 7, 9, 48, 80],
    [30, 8, 8, 128, 64],
    [40, 4, 4, 128, 144],
    [40, 4, 4, 128, 160],
  ])(
    'and of %s images of %s×%s that are to be upsampled, from %s channels to %s, as if they had been',
    (n, h, w, from, to) => {
      tf.tidy(() => {
        const [x, filter] = [random('x', n, h, w, from), random('f', 3, 3, from, to)];
        const dy = random('dy', n, 2 * h, 2 * w, to);
        const once = bothWays(byWinograd(true), x, filter, dy);
        const apart = bothWays((a, b) => byWinograd(false)(ops.upsample(a as tf.Tensor4D), b), x, filter, dy);
        const [y, toImages, toFilter] = once as [tf.Tensor, tf.Tensor, tf.Tensor];
        expect(y.dataSync()).toEqual(apart[0]?.dataSync());
        expectNear(toImages, apart[1] as tf.Tensor, 1e-6);
        expect(toFilter.dataSync()).toEqual(apart[2]?.dataSync());
      });
    },
  );

  it.each([
    [3, 14, 14, 48, 80, false],
    [9, 8, 8, 112, 160, false],
    [9, 8, 8, 112, 160, true],
  ])(
    'and in bfloat16 that of rounded factors, to the bit: %s images of %s×%s, from %s channels to %s, upsampled: %s',
    (n, h, w, from, to, upsampled) => {
      tf.tidy(() => {
        const by = upsampled ? 2 : 1;
        const [x, filter] = [random('x', n, h, w, from), random('f', 3, 3, from, to)];
        const dy = random('dy', n, by * h, by * w, to);
        const convolve = byWinograd(upsampled);
        const ours = ops.inBfloat16(() => bothWays(convolve, x, filter, dy));
        const wide = bothWays(convolve, rounded(x), rounded(filter), rounded(dy));
        ours.forEach((tensor, i) => {
          expect(tensor.dataSync()).toEqual((wide[i] as tf.Tensor).dataSync());
        });
        expectNear(ours[0] as tf.Tensor, convolve(x, filter), 1e-2);
        expect(largest(tf.sub(ours[0] as tf.Tensor, convolve(x, filter)))).toBeGreaterThan(0);
      });
    },
  );
});

it.skipIf(backend().isUsingGpuDevice)('in bfloat16 TensorFlow’s kernels round their results, and ours do not', () => {
  const isRounded = (x: tf.Tensor): boolean => largest(tf.sub(x, rounded(x))) === 0;
  tf.tidy(() => {
    const ofBfloat16 = (f: Convolve, x: tf.Tensor, y: tf.Tensor) =>
      ops.inBfloat16(() => bothWays(f, x, y, tf.onesLike(f(x, y)))).map(isRounded);
    const product: Convolve = (x, weight) => ops.dense(x as tf.Tensor2D, weight as tf.Tensor2D, tf.zeros([32]));
    expect(ofBfloat16(product, random('a', 64, 48), random('b', 48, 32))).toEqual([true, true, true]);
    const convolve: Convolve = (x, filter) => ops.conv2d(x as tf.Tensor4D, filter as tf.Tensor4D, { padding: 1 });
    // Output channels by no sixteens are none of ours.
    expect(ofBfloat16(convolve, random('x', 16, 8, 8, 3), random('f', 3, 3, 3, 40))).toEqual([true, true, true]);
    if (!hasAvx512) return;
    expect(ofBfloat16(convolve, random('x', 16, 8, 8, 16), random('f', 3, 3, 16, 32))).toEqual([false, false, false]);
  });
});

/** Whether the engine convolves by matrix instructions (AMX) when it is asked for bfloat16. */
const byAmx = ops.inBfloat16(() => own.convolvesBfloat16([8, 16, 16, 3], [3, 3, 3, 16], { padding: 1 }));

// A compiler of one's own may not know the instructions.
it.skipIf(process.env.CXX !== undefined)('there are convolutions by AMX on a processor that has it', () => {
  expect(byAmx).toBe(hasAmx && own.hasOwn());
  expect(own.convolvesBfloat16([8, 16, 16, 3], [3, 3, 3, 16], { padding: 1 })).toBe(false);
});

describe.skipIf(!byAmx)('a convolution by AMX is TensorFlow’s of rounded factors', () => {
  const convolve =
    (stride: number, padding: number, by: typeof native.conv2d): Convolve =>
    (x, filter) =>
      by({ x, filter }, { stride, padding, x: x.shape, filter: filter.shape })[0] as tf.Tensor;

  it.each<
    readonly [n: number, h: number, w: number, from: number, to: number, kernel: number, by: number, pad: number]
  >([
    // As many images as a register has rows, and fewer and more of them; panels of 32 and of 16.
    [16, 8, 8, 32, 32, 3, 1, 1],
    [5, 7, 9, 48, 80, 3, 1, 1],
    [33, 8, 8, 16, 16, 3, 1, 1],
    // Rows in parts.
    [40, 32, 32, 64, 64, 3, 1, 1],
    // Sums that every group of images has, and that all of them share.
    [70, 6, 6, 128, 128, 3, 1, 1],
    [40, 4, 4, 256, 272, 3, 1, 1],
    // Other strides and kernels, the last of which not all pixels belong to.
    [20, 9, 12, 16, 32, 3, 2, 1],
    [20, 8, 8, 32, 64, 1, 2, 0],
    [17, 5, 5, 64, 48, 1, 1, 0],
    [40, 8, 8, 16, 32, 5, 1, 2],
    [3, 11, 6, 32, 16, 4, 3, 2],
    [20, 9, 7, 16, 32, 3, 2, 2],
    // Fewer channels than a register has columns: the gradient to such images is TensorFlow's, rounded once more.
    [20, 12, 12, 3, 16, 3, 1, 1],
    [20, 12, 12, 20, 32, 3, 2, 1],
  ])(
    '%s images of %s×%s, from %s channels to %s, kernel %s, stride %s, padding %s',
    (n, h, w, from, to, kernel, stride, padding) => {
      tf.tidy(() => {
        const [x, filter] = [random('x', n, h, w, from), random('f', kernel, kernel, from, to)];
        const plainly = convolve(stride, padding, native.conv2d);
        const dy = random('dy', ...plainly(x, filter).shape);
        const theirs = bothWays(plainly, rounded(x), rounded(filter), rounded(dy));
        const ours = ops.inBfloat16(() => {
          expect(own.convolvesBfloat16(x.shape, filter.shape, { padding })).toBe(true);
          return bothWays(convolve(stride, padding, own.bfloat16Conv), x, filter, dy);
        });
        ours.forEach((tensor, i) => {
          expectNear(tensor, theirs[i] as tf.Tensor, i === 1 && from % 16 !== 0 ? 1e-2 : 1e-5);
        });
      });
    },
  );

  it('and its gradients are of float32 where they are taken outside', () => {
    tf.tidy(() => {
      const [x, filter, dy] = [random('x', 4, 8, 8, 32), random('f', 3, 3, 32, 16), random('dy', 4, 8, 8, 16)];
      const within = convolve(1, 1, own.bfloat16Conv);
      const outside = tf.grads((a: tf.Tensor, b: tf.Tensor) => ops.inBfloat16(() => within(a, b)))([x, filter], dy);
      const wide = tf.grads(convolve(1, 1, native.conv2d))([x, filter], dy);
      outside.forEach((tensor, i) => {
        expect(tensor.dataSync()).toEqual(wide[i]?.dataSync());
      });
    });
  });

  it('and TensorFlow’s own products by matrices are as they were', () => {
    tf.tidy(() => {
      const [a, b] = [random('a', 512, 512), random('b', 512, 512)];
      const [x, filter] = [random('x', 16, 8, 8, 64), random('f', 3, 3, 64, 64)];
      const product = () =>
        ops.inBfloat16(() => ops.dense(a as tf.Tensor2D, b as tf.Tensor2D, tf.zeros([512]) as tf.Tensor1D));
      const before = product().dataSync();
      for (let i = 0; i < 3; i++) {
        ops.inBfloat16(() => convolve(1, 1, own.bfloat16Conv)(x, filter));
        expect(product().dataSync()).toEqual(before);
      }
    });
  });

  it.each<readonly [string, readonly number[], readonly number[], number, number]>([
    ['groups', [4, 8, 8, 64], [3, 3, 32, 64], 1, 1],
    ['output channels by no sixteens', [4, 8, 8, 32], [3, 3, 32, 40], 1, 1],
    ['a kernel that is not square', [4, 8, 8, 32], [3, 1, 32, 32], 1, 1],
    ['more zeros than kernel', [4, 8, 8, 32], [3, 3, 32, 32], 1, 3],
    ['images smaller than the kernel', [4, 2, 2, 32], [3, 3, 32, 32], 1, 0],
    ['no images', [0, 8, 8, 32], [3, 3, 32, 32], 1, 1],
    ['images without rows', [4, 0, 8, 32], [3, 3, 32, 32], 1, 2],
  ])('but there is none with %s', (_, x, filter, stride, padding) => {
    ops.inBfloat16(() => {
      expect(own.convolvesBfloat16(x, filter, { padding })).toBe(false);
      expect(() => convolve(stride, padding, own.bfloat16Conv)(tf.ones([...x]), tf.ones([...filter]))).toThrow(
        /another number of channels|no multiple of 16|no square filter|no kernel|smaller than the kernel/,
      );
    });
  });
});

describe('a step of an optimiser', () => {
  const numbers = (tensor: tf.Tensor): number[] => Array.from(tensor.dataSync() as Float32Array);

  it('takes what is too small to be a normal number for zero, whichever thread computes it', () => {
    if (!own.hasOwn()) return;
    tf.tidy(() => {
      // Parts for several threads.
      const of = (value: number) => tf.fill([1 << 18], value);
      const after = own.momentumStep({ param: of(0), gradient: of(0), velocity: of(1.5e-38) }, tf.scalar(1), {
        momentum: 0.5,
        nesterov: false,
        decay: 0,
      });
      for (const tensor of Object.values(after)) expect(numbers(tensor).every((each) => each === 0)).toBe(true);
    });
  });

  it.each([
    [false, 0],
    [false, 5e-4],
    [true, 5e-4],
  ])('with momentum, Nesterov %s and weight decay %s, is the formula', (nesterov, decay) => {
    if (!own.hasOwn()) return;
    tf.tidy(() => {
      const [param, gradient, velocity] = [random('p', 3, 70), random('g', 3, 70), random('v', 3, 70)] as const;
      const after = own.momentumStep({ param, gradient, velocity }, tf.scalar(0.1), { momentum: 0.9, nesterov, decay });
      const [p, g, v] = [numbers(param), numbers(gradient), numbers(velocity)];
      const direction = g.map((each, i) => each + decay * (p[i] as number));
      const speed = direction.map((each, i) => 0.9 * (v[i] as number) + each);
      const moved = speed.map(
        (each, i) => (p[i] as number) - 0.1 * (nesterov ? (direction[i] as number) + 0.9 * each : each),
      );
      expectNear(after.velocity, tf.tensor(speed, [3, 70]), 1e-6);
      expectNear(after.param, tf.tensor(moved, [3, 70]), 1e-6);
    });
  });

  // Fewer numbers than a register has, a rest of one, and parts for several threads.
  it.each([
    [5, 0],
    [33, 1e-2],
    [(1 << 16) + 7, 1e-2],
  ])('of Adam on %i numbers with weight decay %s is the formula', (size, decay) => {
    if (!own.hasOwn()) return;
    tf.tidy(() => {
      const [param, gradient, mean] = [random('p', size), random('g', size), random('m', size)] as const;
      const square = tf.square(random('v', size));
      const after = own.adamStep(
        { param, gradient, mean, square },
        { rate: tf.scalar(0.1), scale: tf.scalar(0.7), floor: tf.scalar(1e-3) },
        { beta1: 0.9, beta2: 0.999, decay },
      );
      const [p, g, m, s] = [numbers(param), numbers(gradient), numbers(mean), numbers(square)];
      const direction = g.map((each, i) => each + decay * (p[i] as number));
      const means = direction.map((each, i) => 0.9 * (m[i] as number) + 0.1 * each);
      const squares = direction.map((each, i) => 0.999 * (s[i] as number) + 0.001 * each ** 2);
      const moved = means.map(
        (each, i) => (p[i] as number) - (0.1 * 0.7 * each) / (Math.sqrt(squares[i] as number) + 1e-3),
      );
      expectNear(after.mean, tf.tensor(means), 1e-6);
      expectNear(after.square, tf.tensor(squares), 1e-6);
      expectNear(after.param, tf.tensor(moved), 2e-6);
    });
  });
});

describe('max-pooling', () => {
  const activations = [undefined, 'relu', 'relu6'] as const;

  /** A batch norm with slopes of both signs. */
  const normOf = (c: number) => ({
    scale: tf.mul(random('s', c), 2),
    offset: random('o', c),
    mean: random('m', c),
    variance: tf.add(random('v', c), 2),
  });

  it.each([
    [3, 8, 6, 16],
    [2, 7, 9, 24],
    [5, 4, 4, 130],
    // Few channels, whose windows are taken apart.
    [3, 28, 28, 4],
    [3, 14, 15, 8],
    [4, 9, 6, 1],
    [4, 6, 4, 2],
    [4, 7, 10, 6],
  ])('of %s images of %s×%s with %s channels is TensorFlow’s, and so is its gradient', (...shape) => {
    tf.tidy(() => {
      const x = tf.mul(random('x', ...shape), 8) as tf.Tensor4D;
      for (const activation of activations) {
        const ours = (a: tf.Tensor) => own.maxPool({ x: a }, { activation })[0] as tf.Tensor;
        const theirs = (a: tf.Tensor) => {
          const [pooled] = native.maxPool({ x: a }, { size: 2, stride: 2, x: x.shape }) as [tf.Tensor];
          return activation === undefined ? pooled : { relu: ops.relu, relu6: ops.relu6 }[activation](pooled);
        };
        expect(ours(x).dataSync()).toEqual(theirs(x).dataSync());
        const dy = random('dy', ...ours(x).shape);
        expect(tf.grad(ours)(x, dy).dataSync()).toEqual(tf.grad(theirs)(x, dy).dataSync());
      }
    });
  });

  it('takes the first of equal numbers, and passes on what is none', () => {
    for (const c of [4, 16])
      tf.tidy(() => {
        const x = tf.tensor4d(
          [1, 1, 1, 1, Number.NaN, 2, 3, 4].flatMap((each) => Array(c).fill(each)),
          [2, 2, 2, c],
        );
        const pooled = (a: tf.Tensor) => own.maxPool({ x: a }, { activation: undefined })[0] as tf.Tensor;
        const numbers = [...pooled(x).dataSync()];
        expect(numbers).toEqual([...Array(c).fill(1), ...Array(c).fill(Number.NaN)]);
        const toFirst = tf.grad(pooled)(x).slice(0, 1).dataSync();
        expect([...toFirst]).toEqual([...Array(c).fill(1), ...Array(3 * c).fill(0)]);
      });
  });

  it.each([
    [3, 8, 6, 16],
    [9, 4, 4, 33],
    [4, 32, 32, 32],
    [64, 28, 28, 4],
    [5, 14, 14, 8],
    [5, 4, 6, 1],
    [5, 6, 4, 6],
  ])('after a batch norm is the two one after the other: %s images of %s×%s with %s channels', (...shape) => {
    const c = shape[3];
    tf.tidy(() => {
      const x = tf.add(random('x', ...shape), 1) as tf.Tensor4D;
      const { scale, offset, ...running } = normOf(c);
      for (const activation of activations) {
        const once = (...[a, s, o]: tf.Tensor[]) =>
          ops.batchNormPoolTrain(
            a as tf.Tensor4D,
            { scale: s as tf.Tensor, offset: o as tf.Tensor, ...running },
            { activation },
          );
        const apart = (...[a, s, o]: tf.Tensor[]) => {
          const variables = { scale: s as tf.Tensor, offset: o as tf.Tensor, ...running };
          const { y, ...statistics } = ops.batchNormTrain(a as tf.Tensor4D, variables);
          return { y: ops.maxPool(y, 2, 2, activation), ...statistics };
        };
        const given = [x, scale, offset];
        const [ours, theirs] = [once(...given), apart(...given)];
        if (ours === undefined) throw new Error('they are not done at once');
        expectNear(ours.y, theirs.y, 1e-6);
        expect(ours.mean.dataSync()).toEqual(theirs.mean.dataSync());
        expect(ours.variance.dataSync()).toEqual(theirs.variance.dataSync());
        const dy = random('dy', ...theirs.y.shape);
        const wanted = tf.grads((...inputs) => apart(...inputs).y)(given, dy);
        tf.grads((...inputs) => once(...inputs)?.y as tf.Tensor)(given, dy).forEach((tensor, i) => {
          expectNear(tensor, wanted[i] as tf.Tensor, 1e-5);
        });
      }
    });
  });

  it.each([
    [3, 8, 6, 16],
    [2, 7, 9, 24],
    [64, 28, 28, 4],
    [5, 15, 14, 8],
    [5, 4, 6, 1],
    [5, 7, 4, 6],
  ])(
    'after a bias and a batch norm in evaluation is the three one after the other, to the bit: %s of %s×%s×%s',
    (...shape) => {
      const c = shape[3];
      tf.tidy(() => {
        const x = tf.add(random('x', ...shape), 1) as tf.Tensor4D;
        const all = normOf(c);
        for (const activation of activations)
          for (const bias of [undefined, random('b', c) as tf.Tensor1D]) {
            const moved = bias === undefined ? x : (ops.biasAdd(x, bias) as tf.Tensor4D);
            const apart = ops.maxPool(ops.batchNormEval(moved, all), 2, 2, activation);
            expect(ops.batchNormPoolEval(x, { ...all, bias }, { activation })?.dataSync()).toEqual(apart.dataSync());
          }
        // There is no gradient through it.
        tf.grad((a) => {
          expect(ops.batchNormPoolEval(a as tf.Tensor4D, all)).toBeUndefined();
          return a.sum();
        })(x);
      });
    },
  );

  it('after a batch norm is apart where a row or column would be left out', () => {
    tf.tidy(() => {
      const c = { scale: tf.ones([16]), offset: tf.zeros([16]), mean: tf.zeros([16]), variance: tf.ones([16]) };
      expect(ops.batchNormPoolTrain(random('x', 2, 7, 8, 16) as tf.Tensor4D, c)).toBeUndefined();
    });
  });
});

describe('what is not a number', () => {
  const channels = { scale: tf.ones([4]), offset: tf.zeros([4]), mean: tf.zeros([4]), variance: tf.ones([4]) };
  const x = tf.tidy(() => tf.concat([random('x', 63, 4), tf.tensor2d([[Number.NaN, 1, 1, 1]])]) as tf.Tensor2D);

  it('stays so through a batch norm and a sum, in its channel alone', () => {
    tf.tidy(() => {
      const { y } = ops.batchNormTrain(x, channels, { activation: 'relu' });
      expect(largest(tf.slice(y, [0, 1]))).toBeLessThan(10);
      expect([...tf.slice(y, [0, 0], [64, 1]).dataSync()].every(Number.isNaN)).toBe(true);
      const tapped = ops.batchNormWithMoments(x, channels, { activation: 'relu6' });
      expect(tapped.y.dataSync()[63 * 4]).toBeNaN();
      expect(tapped.variance.dataSync()[0]).toBeNaN();
      expect(ops.add(x, x, 'relu').dataSync()[63 * 4]).toBeNaN();
    });
  });
});

it.each<readonly [string, () => unknown]>([
  [
    'a batch norm with variables of other channels',
    () => {
      const [x, c, d] = [tf.ones([2, 2, 2, 3]), tf.ones([3]), tf.ones([4])];
      return ops.batchNormTrain(x as tf.Tensor4D, { scale: c, offset: c, mean: d, variance: c });
    },
  ],
  ['a sum of two sizes', () => ops.add(tf.ones([3]), tf.ones([4]), 'relu')],
  [
    'a gradient of another size',
    () => {
      const [three, four, rate] = [tf.ones([3]), tf.ones([4]), tf.scalar(1)];
      const options = { momentum: 0.9, nesterov: false, decay: 0 };
      return own.momentumStep({ param: three, gradient: four, velocity: three }, rate, options);
    },
  ],
  [
    'a square of another size',
    () => {
      const [three, four, one] = [tf.ones([3]), tf.ones([4]), tf.scalar(1)];
      const options = { beta1: 0.9, beta2: 0.999, decay: 0 };
      const rates = { rate: one, scale: one, floor: one };
      return own.adamStep({ param: three, gradient: three, mean: three, square: four }, rates, options);
    },
  ],
  ['a filter for other channels', () => byWinograd(false)(tf.ones([1, 4, 4, 16]), tf.ones([3, 3, 32, 16]))],
  ['a filter of another size', () => byWinograd(false)(tf.ones([1, 4, 4, 16]), tf.ones([5, 5, 16, 16]))],
  ['a convolution of channels by no sixteens', () => byWinograd(false)(tf.ones([1, 4, 4, 8]), tf.ones([3, 3, 8, 16]))],
  ['a convolution of no channels', () => byWinograd(false)(tf.ones([1, 4, 4, 0]), tf.ones([3, 3, 0, 16]))],
])('%s is refused', (_, run) => {
  expect(() => tf.tidy(() => void run())).toThrow(
    /not one number a channel|not of one size|another number of channels|no filter of 3 by 3|no multiple of 16/,
  );
});

/** Sums of the bytes of results, which no two results share by chance. */
const script = `
import { createHash } from 'node:crypto';
import * as tf from '@tensorflow/tfjs';
import { key, uniforms } from './src/core/random.js';
import { loadEngine } from './src/engine/engine.js';
import * as ops from './src/engine/ops.js';
import { convolves3x3 } from './src/engine/ops-own.js';
await loadEngine();
const isWide = convolves3x3([16, 16, 16, 64], [3, 3, 64, 64], { stride: 1, padding: 1 });
const random = (name, ...shape) => tf.tensor(uniforms(key(name), tf.util.sizeFromShape(shape), 1), shape);
const hash = createHash('sha256');
const add = (tensors) => { for (const each of tensors) hash.update(each.dataSync()); };
for (const [n, side, c] of [[16, 16, 64], [30, 6, 160], [70, 8, 320], [40, 10, 48]]) {
  const x = random('x', n, side, side, c), f = random('f', 3, 3, c, c), o = random('o', c), v = tf.abs(random('v', c));
  const [mean, variance] = [random('m', c), tf.abs(random('u', c))];
  const net = (a, b, s, p) => ops.add(ops.batchNormTrain(ops.conv2d(a, b, { padding: 1 }), { scale: s, offset: p, mean, variance }, { activation: 'relu' }).y, a, 'relu');
  add([net(x, f, v, o), ...tf.grads(net)([x, f, v, o])]);
  const between = { variables: [v, o, mean, variance], epsilon: 1e-5, activation: 'relu' };
  const twice = ops.finishedConv2dTwice(x, f, { between, second: f, plus: x }, { padding: 1 });
  if (twice !== undefined) add([twice]);
  const tapped = ops.batchNormWithMoments(x, { scale: v, offset: o, mean, variance });
  add(Object.values(tapped));
  const enlarged = (a, b) => ops.upsampledConv2d(a, b);
  const halved = (a, b) => ops.conv2d(a, b, { stride: 2, padding: 1 });
  // Without AVX-512 those of bfloat16 are TensorFlow's, whose sums depend on threads.
  for (const convolve of isWide ? [enlarged, halved, ops.conv2d] : [])
    add(ops.inBfloat16(() => [convolve(x, f), ...tf.grads((a, b) => convolve(a, b))([x, f])]));
}
process.stdout.write(hash.digest('hex'));
`;

it('results are the same bits with any number of threads', () => {
  const run = (threads: number) =>
    execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], {
      env: { ...process.env, TF_NUM_INTRAOP_THREADS: String(threads), CUDA_VISIBLE_DEVICES: '' },
      encoding: 'utf8',
    });
  const [one, ...others] = [1, 2, 3].map(run);
  expect(one).toMatch(/^[0-9a-f]{64}$/);
  for (const other of others) expect(other).toBe(one);
});
