import { createHash } from 'node:crypto';
import seedrandom from 'seedrandom';

/**
 * A splittable source of randomness. A key is a path of names; the numbers it gives depend on that path alone, so a
 * stage that is resumed, or run in another order, draws the same.
 */
export interface Key {
  readonly path: string;
  /** The key of a part: `key.split('teacher')`. */
  split(name: string | number): Key;
  /** A generator of uniform numbers in [0, 1), started afresh at every call. */
  uniform(): () => number;
  /** Two int32, the seed of TensorFlow's stateless random operations. */
  int32Pair(): readonly [number, number];
}

/** The key of a path: `key('test')`. Plugins are given theirs, and split it. */
export const key = (path: string | number): Key => {
  const text = String(path);
  return {
    path: text,
    split: (name) => key(`${text}/${name}`),
    uniform: () => seedrandom(text),
    int32Pair: () => {
      const digest = createHash('sha256').update(text).digest();
      return [digest.readInt32LE(0), digest.readInt32LE(4)];
    },
  };
};

/**
 * 0 … n−1 in random order (Fisher-Yates).
 *
 * @example
 * ```ts
 * import { key, permutation } from 'undistill/plugin';
 *
 * const order = permutation(key('mine'), 5);
 * console.log(order.join(' ') === permutation(key('mine'), 5).join(' ')); // true
 * console.log([...order].sort().join(' ')); // 0 1 2 3 4
 * ```
 */
export const permutation = (from: Key, n: number): Int32Array => {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  const next = from.uniform();
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    const held = order[i] as number;
    order[i] = order[j] as number;
    order[j] = held;
  }
  return order;
};

/** Standard normal numbers (Box-Muller). */
export const normals = (from: Key, n: number): Float32Array => {
  const next = from.uniform();
  const values = new Float32Array(n);
  for (let i = 0; i < n; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - next()));
    const angle = 2 * Math.PI * next();
    values[i] = radius * Math.cos(angle);
    if (i + 1 < n) values[i + 1] = radius * Math.sin(angle);
  }
  return values;
};

/** Uniform numbers in [−bound, bound). */
export const uniforms = (from: Key, n: number, bound: number): Float32Array => {
  const next = from.uniform();
  return Float32Array.from({ length: n }, () => (2 * next() - 1) * bound);
};
