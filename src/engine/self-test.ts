import * as tf from '@tensorflow/tfjs';

/** What one second of known arithmetic shows. */
export interface SelfTest {
  readonly right: boolean;
  /** What was wrong, for a person. */
  readonly wrong?: string;
  /** Billions of floating-point operations per second, forward. */
  readonly matmul: number;
  readonly convolution: number;
}

const near = (got: ArrayLike<number>, want: readonly number[]): boolean =>
  got.length === want.length && want.every((value, index) => Math.abs((got[index] ?? Number.NaN) - value) < 1e-4);

/** Products and gradients small enough to be worked out by hand. */
const known = (): string | undefined =>
  tf.tidy(() => {
    const product = tf.matMul(tf.tensor2d([1, 2, 3, 4], [2, 2]), tf.tensor2d([5, 6, 7, 8], [2, 2]));
    if (!near(product.dataSync(), [19, 22, 43, 50])) return `a matrix product is ${product.dataSync().join(' ')}`;
    const ones = tf.ones([1, 3, 3, 1]) as tf.Tensor4D;
    const filter = tf.ones([3, 3, 1, 1]) as tf.Tensor4D;
    const convolved = tf.conv2d(ones, filter, 1, 'same');
    // Each output counts the neighbours that lie inside the image.
    const counts = [4, 6, 4, 6, 9, 6, 4, 6, 4];
    if (!near(convolved.dataSync(), counts)) return `a convolution is ${convolved.dataSync().join(' ')}`;
    const gradient = tf.grad((kernel: tf.Tensor) => tf.conv2d(ones, kernel as tf.Tensor4D, 1, 'same').sum())(filter);
    if (!near(gradient.dataSync(), counts)) return `a convolution's gradient is ${gradient.dataSync().join(' ')}`;
    return undefined;
  });

/** Repeats `operation` for about `seconds`, once for warming up; billions of operations per second. */
const rate = (operations: number, seconds: number, operation: () => tf.Tensor): number => {
  const once = () => {
    const result = operation();
    // On a card the call returns at once: reading one value waits for it.
    tf.tidy(() => result.flatten().slice(0, 1).dataSync());
    result.dispose();
  };
  once();
  const began = performance.now();
  let times = 0;
  do {
    once();
    times++;
  } while (performance.now() - began < seconds * 1e3);
  return (operations * times) / ((performance.now() - began) * 1e6);
};

/** Checks the loaded engine's arithmetic and measures its speed, in about a second (longer in pure JavaScript). */
export const selfTest = (native: boolean): SelfTest => {
  const wrong = known();
  const size = native ? 768 : 64;
  const image = native ? 32 : 8;
  const channels = native ? 64 : 8;
  const left = tf.ones([size, size]);
  const batch = tf.ones([8, image, image, channels]) as tf.Tensor4D;
  const filter = tf.ones([3, 3, channels, channels]) as tf.Tensor4D;
  try {
    const matmul = rate(2 * size ** 3, 0.4, () => tf.matMul(left, left));
    const perImage = 2 * image ** 2 * 9 * channels ** 2;
    const convolution = rate(8 * perImage, 0.4, () => tf.conv2d(batch, filter, 1, 'same'));
    return { right: wrong === undefined, ...(wrong === undefined ? {} : { wrong }), matmul, convolution };
  } finally {
    tf.dispose([left, batch, filter]);
  }
};
