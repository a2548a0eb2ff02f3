import type { Spread } from '../results/spread.js';

/** A share as a percentage: `97.12`; what is below 0, as an interval's bound may be, with a minus sign: `−0.42`. */
export const percent = (share: number): string => {
  const text = (100 * Math.abs(share)).toFixed(2);
  return share < 0 && Number(text) !== 0 ? `−${text}` : text;
};

/** A difference of shares in percentage points, with its sign: `+0.21`, `−4.18`, `±0.00`. */
export const signed = (difference: number): string => {
  const text = percent(Math.abs(difference));
  if (Number(text) === 0) return `±${text}`;
  return `${difference < 0 ? '−' : '+'}${text}`;
};

/** Mean ± standard deviation in percent; the mean alone where there is no deviation. */
export const meanAndDeviation = ({ mean, sd }: Spread): string =>
  sd === undefined ? percent(mean) : `${percent(mean)} ± ${percent(sd)}`;

/** A difference of means with its interval, where several seeds give one: `−1.00 (95 % interval −2.10 to +0.10)`. */
export const signedWithInterval = ({ mean, interval }: Spread): string =>
  interval === undefined ? signed(mean) : `${signed(mean)} (95 % interval ${interval.map(signed).join(' to ')})`;

/** `1 seed`, `3 seeds`. */
export const counted = (count: number, noun: string, plural = `${noun}s`): string =>
  `${whole(count)} ${count === 1 ? noun : plural}`;

/** A whole number with thousands separated: `10,000`. */
export const whole = (count: number): string => Math.round(count).toLocaleString('en');

/** A footnote's mark: `¹`, `¹²`. */
export const mark = (number: number): string =>
  [...String(number)].map((digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(digit)] as string).join('');
