import { relative } from 'node:path';

/** A path from the working folder, for a line of output. */
export const shown = (path: string): string => relative('', path) || '.';

/** The same, but whole where it leads out of the working folder. */
export const shownWhole = (path: string): string => {
  const short = relative('', path);
  return short === '' || short.startsWith('..') ? path : short;
};

/** The order of names with numbers in them, as people count: `lot-2` before `lot-10`. */
export const inNaturalOrder = new Intl.Collator('en', { numeric: true }).compare;
