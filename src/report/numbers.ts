import { percent, signed } from '../core/text.js';
import type { Spread } from '../results/spread.js';

/** Mean ± standard deviation in percent; the mean alone where there is no deviation. */
export const meanAndDeviation = ({ mean, sd }: Spread): string =>
  sd === undefined ? percent(mean) : `${percent(mean)} ± ${percent(sd)}`;

/** A difference of means with its interval, where several seeds give one: `−1.00 (95 % interval −2.10 to +0.10)`. */
export const signedWithInterval = ({ mean, interval }: Spread): string =>
  interval === undefined ? signed(mean) : `${signed(mean)} (95 % interval ${interval.map(signed).join(' to ')})`;

/** A footnote's mark: `¹`, `¹²`. */
export const mark = (number: number): string =>
  [...String(number)].map((digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(digit)] as string).join('');
