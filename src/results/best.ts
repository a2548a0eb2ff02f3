import type { BySeed } from './ranking.js';
import { rounding, spread } from './spread.js';

/** Students of one attack, by seed. */
export interface Contender {
  /** Why it has no number of some seed, where that is so. */
  readonly reason?: string | undefined;
  readonly accuracy: BySeed;
  /** On held-out images, of who has some. */
  readonly heldOut: BySeed;
}

/** One of some, and the mean by which it is compared with the others. */
interface Compared<Of> {
  readonly of: Of;
  readonly mean: number;
}

const countOf = ({ accuracy }: Contender): number => Object.keys(accuracy).length;

export const hasNumbers = (of: Contender): boolean => countOf(of) > 0;

/**
 * Those with numbers, the highest mean of them first, and of equal ones the first: over the seeds that each of them has, where there are such,
 * since a seed differs from another for all of them. A run that is under way has some seeds of some. Whoever failed with a seed is left out where
 * others did not: the seeds that it has would decide for all.
 */
export const byMean = <Of extends Contender>(
  all: readonly Of[],
  numbers: (of: Of) => BySeed,
): readonly Compared<Of>[] => {
  const those = all.filter(hasNumbers);
  const whole = those.filter(({ reason }) => reason === undefined);
  const compared = whole.length === 0 ? those : whole;
  const seeds = Object.keys(compared[0]?.accuracy ?? {});
  const shared = seeds.filter((seed) => compared.every(({ accuracy }) => Object.hasOwn(accuracy, seed)));
  const mean = (of: Of): number => {
    const found = Object.entries(numbers(of)).filter(([seed]) => shared.length === 0 || shared.includes(seed));
    return spread(found.map(([, value]) => value))?.mean ?? Number.NEGATIVE_INFINITY;
  };
  return compared.map((of) => ({ of, mean: mean(of) })).sort((a, b) => (isEqual(a, b) ? 0 : b.mean - a.mean));
};

/** Means of the same numbers of right answers, but for rounding. */
const isEqual = (a: Compared<unknown>, b: Compared<unknown>): boolean => Math.abs(a.mean - b.mean) < rounding;

/** The best on held-out images, on the reported ones where somebody has no others; and those that are as good there. */
export const strongestOf = <Of extends Contender>(
  all: readonly Of[],
): { readonly best: Of; readonly chosenOn: 'heldOut' | 'reported'; readonly equals: readonly Of[] } | undefined => {
  const isHeldOut = all.every((each) => Object.keys(each.heldOut).length === countOf(each));
  const [best, ...others] = byMean(all, ({ heldOut, accuracy }) => (isHeldOut ? heldOut : accuracy));
  return (
    best && {
      best: best.of,
      chosenOn: isHeldOut ? 'heldOut' : 'reported',
      equals: others.filter((other) => isEqual(best, other)).map(({ of }) => of),
    }
  );
};
