import { inWords } from '../core/text.js';

/**
 * What a number is in, and so how it is written: a `share` of a whole, 0 … 1, as a percentage; a `difference` of two
 * shares in percentage points; `nats` of an entropy or a divergence; a `count` of things; `seconds`; things
 * `per second`; any other `number`.
 */
export type Unit = (typeof units)[number];

export const units = ['share', 'difference', 'nats', 'number', 'count', 'seconds', 'per second'] as const;

/** Which way of a number is the better one for the model that it is of; `neither` where that depends on who asks. */
export type Better = (typeof betters)[number];

export const betters = ['higher', 'lower', 'neither'] as const;

/** What a reader must know of a number before reading it. */
export interface Quantity {
  /** By which files know it: `klToVictim`. */
  readonly name: string;
  /** What tables call it; default: the name in words. */
  readonly title?: string;
  readonly unit: Unit;
  readonly better: Better;
  /** A sentence: what is computed, and how its ends are to be read. */
  readonly describe: string;
}

export const titleOf = ({ name, title = inWords(name) }: Quantity): string => title;

/** As the head of a column in a file: `kl_to_victim_nats`. */
export const headerOf = (of: Quantity): string =>
  [titleOf(of), ...(of.unit === 'nats' ? ['nats'] : [])]
    .join(' ')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '_')
    .replace(/^_|_$/g, '');

/** What a quantity is, without what computes it. */
export const declared = (of: Quantity): Required<Quantity> => {
  const { name, unit, better, describe } = of;
  return { name, title: titleOf(of), unit, better, describe };
};
