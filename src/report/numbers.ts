import { percent, showSeconds, signed, whole } from '../core/text.js';
import { type Quantity, titleOf, type Unit } from '../metrics/quantity.js';
import type { Spread } from '../results/spread.js';

const decimal = (value: number): string => value.toFixed(3).replace('-', '−');

/** How a number of each unit is written, and what its heading says of the unit. */
const written: Readonly<Record<Unit, { readonly show: (value: number) => string; readonly heading: string }>> = {
  share: { show: percent, heading: ', %' },
  difference: { show: signed, heading: ', points' },
  nats: { show: decimal, heading: ', nats' },
  number: { show: decimal, heading: '' },
  count: { show: whole, heading: '' },
  seconds: { show: showSeconds, heading: '' },
  'per second': { show: whole, heading: '' },
};

/** A number without its unit: `97.12`, `+0.21`, `0.034`, `10,000`, `2 min 5 s`. */
export const shown = ({ unit }: Pick<Quantity, 'unit'>, value: number): string =>
  Number.isFinite(value) ? written[unit].show(value) : 'not finite';

/** What a column or a line of such numbers is called: `accuracy, %`. */
export const headingOf = (of: Quantity): string => `${titleOf(of)}${written[of.unit].heading}`;

/** What a number tells, and which way of it is the better one. */
export const sentenceOf = ({ describe, better }: Quantity): string =>
  better === 'neither' ? describe : `${describe} ${better === 'higher' ? 'Higher' : 'Lower'} is better.`;

/** Mean ± standard deviation of a quantity; the mean alone where there is no deviation. */
export const meanOf = (of: Pick<Quantity, 'unit'>, { mean, sd }: Spread): string =>
  sd === undefined ? shown(of, mean) : `${shown(of, mean)} ± ${of.unit === 'difference' ? percent(sd) : shown(of, sd)}`;

/** Mean ± standard deviation in percent. */
export const meanAndDeviation = (spread: Spread): string => meanOf({ unit: 'share' }, spread);

/** A difference of means with its interval, where several seeds give one: `−1.00 (95 % interval −2.10 to +0.10)`. */
export const signedWithInterval = ({ mean, interval }: Spread): string =>
  interval === undefined ? signed(mean) : `${signed(mean)} (95 % interval ${interval.map(signed).join(' to ')})`;

/** A footnote's mark: `¹`, `¹²`. */
export const mark = (number: number): string =>
  [...String(number)].map((digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(digit)] as string).join('');
