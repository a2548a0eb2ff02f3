import type { Unit } from '../metrics/quantity.js';

/** Mean, sample standard deviation (n − 1) and interval over seeds; one seed has a mean alone. */
export interface Spread {
  readonly mean: number;
  readonly sd?: number;
  /** 95 % confidence interval of the mean by Student's t: mean ± t(0.975, n − 1) · sd / √n; of shares within 0..1 (`shareSpread`), of their differences within −1..1. */
  readonly interval?: readonly [low: number, high: number];
  readonly count: number;
}

/** Means of the same numbers, added up in another order, differ by less than this. */
export const rounding = 1e-9;

export const spread = (values: readonly number[]): Spread | undefined => {
  const count = values.length;
  if (count === 0) return undefined;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  if (count === 1) return { mean, count };
  const sd = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1));
  const half = (studentQuantile(count - 1) * sd) / Math.sqrt(count);
  return { mean, count, sd, interval: [mean - half, mean + half] };
};

/**
 * The same of shares, whose interval stays within 0..1: it is Student's on the scale of log-odds, where the standard error is by the
 * delta method sd / √n / (m (1 − m)), and then brought back (the logit interval of surveys; Korn and Graubard, 1999). It holds the mean,
 * and is not symmetric around it. Where all are 0, or all are 1, it is of no width.
 */
export const shareSpread = (values: readonly number[]): Spread | undefined => {
  const found = spread(values);
  if (found?.sd === undefined || found.sd === 0) return found;
  const { mean, sd, count } = found;
  const variance = mean * (1 - mean);
  // Only what is no share could have it.
  if (!(variance > 0)) return found;
  const half = (studentQuantile(count - 1) * sd) / Math.sqrt(count) / variance;
  const odds = Math.log(mean / (1 - mean));
  const share = (logit: number): number => 1 / (1 + Math.exp(-logit));
  return { ...found, interval: [share(odds - half), share(odds + half)] };
};

/** The same of differences of shares, whose interval stays within −1..1. */
export const differenceSpread = (values: readonly number[]): Spread | undefined => {
  const found = spread(values);
  if (found?.interval === undefined) return found;
  const [low, high] = found.interval;
  return { ...found, interval: [Math.max(-1, low), Math.min(1, high)] };
};

/** The spread of numbers of some unit. */
export const spreadOf = (unit: Unit, values: readonly number[]): Spread | undefined =>
  unit === 'share' ? shareSpread(values) : unit === 'difference' ? differenceSpread(values) : spread(values);

/**
 * The share of Student's t distribution between −t and t, for a whole number ν of degrees of freedom, in its closed
 * form (Abramowitz and Stegun, 26.7.3 and 26.7.4), with θ = arctan(t / √ν):
 *
 *     ν odd:  2/π (θ + sin θ (cos θ + 2/3 cos³ θ + … + (2·4·…·(ν−3)) / (3·5·…·(ν−2)) cos^(ν−2) θ))
 *     ν even: sin θ (1 + 1/2 cos² θ + … + (1·3·…·(ν−3)) / (2·4·…·(ν−2)) cos^(ν−2) θ)
 */
const shareWithin = (theta: number, freedom: number): number => {
  const odd = freedom % 2;
  const cos = Math.cos(theta);
  let sum = 0;
  let term = odd === 1 ? cos : 1;
  for (let power = odd; power <= freedom - 2; power += 2) {
    sum += term;
    term *= ((power + 1) / (power + 2)) * cos ** 2;
  }
  return odd === 1 ? (2 / Math.PI) * (theta + Math.sin(theta) * sum) : Math.sin(theta) * sum;
};

/** t(0.975, ν): the number that Student's t of ν ≥ 1 degrees of freedom lies within of 0 with a probability of 95 %. */
export const studentQuantile = (freedom: number): number => {
  let [low, high] = [0, Math.PI / 2];
  // Halved until the two are neighbours.
  for (;;) {
    const middle = (low + high) / 2;
    if (middle <= low || middle >= high) return Math.sqrt(freedom) * Math.tan(middle);
    if (shareWithin(middle, freedom) < 0.95) low = middle;
    else high = middle;
  }
};
