import { type Key, normals } from '../core/random.js';

export interface TsneOptions {
  readonly key: Key;
  /** How many neighbours count as near; at most a third of the other points. */
  readonly perplexity?: number;
  readonly iterations?: number;
}

export interface Map2d {
  /** [N, 2], row by row, with mean 0. */
  readonly points: Float64Array;
  readonly perplexity: number;
  /** KL(P ‖ Q) in nats that is left. */
  readonly divergence: number;
}

/** What scikit-learn's `TSNE` has by default. */
const usual = { perplexity: 30, iterations: 1000, exaggeration: 12, exaggerated: 250 } as const;

const least = 1e-12;

/**
 * t-SNE (van der Maaten and Hinton, 2008), exact: positions in the plane of N points, near where these are near. The
 * same points and key give the same map. Time and memory grow with N²: 1,000 points take seconds.
 *
 * P is symmetric, of Gaussians whose widths give every point the perplexity; Q is of Student's t with one degree of
 * freedom. Gradient descent with momentum (0.5, then 0.8) and gains, P exaggerated twelvefold in the first 250
 * iterations.
 *
 * @param points [N, dimensions], row by row, finite; N ≥ 4
 */
export const tsne = (
  points: Float32Array,
  dimensions: number,
  { key, perplexity: wanted = usual.perplexity, iterations = usual.iterations }: TsneOptions,
): Map2d => {
  const n = points.length / dimensions;
  if (!(Number.isInteger(n) && n >= 4))
    throw new Error(`${points.length} numbers are not 4 or more points of ${dimensions}`);
  if (!points.every(Number.isFinite)) throw new Error('a point is not finite');
  const perplexity = Math.min(wanted, (n - 1) / 3);
  const near = affinities(points, dimensions, perplexity);
  const map = Float64Array.from(normals(key, 2 * n), (value) => 1e-4 * value);
  const velocity = new Float64Array(2 * n);
  const gains = new Float64Array(2 * n).fill(1);
  const rate = Math.max(n / usual.exaggeration / 4, 50);
  for (let i = 0; i < iterations; i++) {
    const early = i < usual.exaggerated;
    const { gradient } = descent(near, map, early ? usual.exaggeration : 1);
    const momentum = early ? 0.5 : 0.8;
    for (let c = 0; c < map.length; c++) {
      const slope = gradient[c] as number;
      const speed = velocity[c] as number;
      const gain = Math.max(0.01, slope * speed < 0 ? (gains[c] as number) + 0.2 : (gains[c] as number) * 0.8);
      gains[c] = gain;
      velocity[c] = momentum * speed - rate * gain * slope;
      map[c] = (map[c] as number) + (velocity[c] as number);
    }
    centre(map);
  }
  return { points: map, perplexity, divergence: descent(near, map, 1).divergence };
};

/** P, [N, N]: symmetric, of sum 1. */
export const affinities = (points: Float32Array, dimensions: number, perplexity: number): Float64Array => {
  const distances = squaredDistances(points, dimensions);
  const n = points.length / dimensions;
  const conditional = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    conditional.set(neighbours(distances.subarray(i * n, (i + 1) * n), i, Math.log(perplexity)), i * n);
  const symmetric = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const both = (conditional[i * n + j] as number) + (conditional[j * n + i] as number);
      symmetric[i * n + j] = i === j ? 0 : Math.max(both / (2 * n), least);
    }
  }
  return symmetric;
};

const squaredDistances = (points: Float32Array, dimensions: number): Float64Array => {
  const n = points.length / dimensions;
  const distances = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      let sum = 0;
      for (let d = 0; d < dimensions; d++) {
        const difference = (points[i * dimensions + d] as number) - (points[j * dimensions + d] as number);
        sum += difference * difference;
      }
      distances[i * n + j] = sum;
      distances[j * n + i] = sum;
    }
  }
  return distances;
};

/** p(j | i) for every j: a Gaussian around point i of such a width that its entropy is the one wanted, in nats. */
const neighbours = (distances: Float64Array, i: number, entropy: number): Float64Array => {
  const nearest = distances.reduce(
    (min, distance, j) => (j === i ? min : Math.min(min, distance)),
    Number.POSITIVE_INFINITY,
  );
  // The inverse of twice the variance, between what is too small and what is too large.
  let [low, high] = [0, Number.POSITIVE_INFINITY];
  let beta = 1;
  let shares = distances;
  for (let search = 0; search < 100; search++) {
    const own = beta;
    shares = distances.map((distance, j) => (j === i ? 0 : Math.exp(-own * (distance - nearest))));
    const sum = shares.reduce((total, share) => total + share, 0);
    const mean = shares.reduce((total, share, j) => total + share * ((distances[j] as number) - nearest), 0) / sum;
    shares = shares.map((share) => share / sum);
    const excess = Math.log(sum) + beta * mean - entropy;
    if (Math.abs(excess) < 1e-7) break;
    if (excess > 0) low = beta;
    else high = beta;
    beta = high === Number.POSITIVE_INFINITY ? 2 * beta : (low + high) / 2;
  }
  return shares;
};

/**
 * KL(exaggeration · P ‖ Q) at a map, up to what does not depend on the map, and its gradient: 4 Σ_j (p − q) (y_i − y_j)
 * / (1 + d²).
 */
export const descent = (
  near: Float64Array,
  map: Float64Array,
  exaggeration: number,
): { readonly gradient: Float64Array; readonly divergence: number } => {
  const n = map.length / 2;
  const kernel = new Float64Array(n * n);
  let total = 0;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      const x = (map[2 * i] as number) - (map[2 * j] as number);
      const y = (map[2 * i + 1] as number) - (map[2 * j + 1] as number);
      const value = 1 / (1 + x * x + y * y);
      kernel[i * n + j] = value;
      total += 2 * value;
    }
  }
  const gradient = new Float64Array(2 * n);
  let divergence = 0;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      const value = kernel[i * n + j] as number;
      const p = exaggeration * (near[i * n + j] as number);
      const q = Math.max(value / total, least);
      divergence += 2 * p * Math.log(p / q);
      const pull = 4 * (p - q) * value;
      const x = pull * ((map[2 * i] as number) - (map[2 * j] as number));
      const y = pull * ((map[2 * i + 1] as number) - (map[2 * j + 1] as number));
      gradient[2 * i] = (gradient[2 * i] as number) + x;
      gradient[2 * i + 1] = (gradient[2 * i + 1] as number) + y;
      gradient[2 * j] = (gradient[2 * j] as number) - x;
      gradient[2 * j + 1] = (gradient[2 * j + 1] as number) - y;
    }
  }
  return { gradient, divergence };
};

const centre = (map: Float64Array): void => {
  for (const axis of [0, 1]) {
    let sum = 0;
    for (let c = axis; c < map.length; c += 2) sum += map[c] as number;
    const mean = (2 * sum) / map.length;
    for (let c = axis; c < map.length; c += 2) map[c] = (map[c] as number) - mean;
  }
};
