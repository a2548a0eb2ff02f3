import { percent, signed } from '../../core/text.js';
import type { Spread } from '../../results/spread.js';
import type { Matrix } from '../../results/types.js';

/** Published numbers beside one's own. */
export interface Reproduction {
  /** Where they are from, and how far they can be trusted. */
  readonly source: string;
  /** Why one's own cannot be the same. */
  readonly reduced?: string;
  readonly numbers: readonly Compared[];
  readonly effects: readonly Compared[];
}

export interface Compared {
  readonly what: string;
  readonly paper: string;
  readonly ours: string;
  readonly difference: string;
  readonly verdict?: { readonly good: boolean; readonly text: string };
}

/** One seed cannot tell a difference from chance. */
const onSeeds = (ours: Spread | undefined): string => (ours?.count === 1 ? ', on one seed' : '');

const shown = (mean: Spread | undefined, show: (share: number) => string): string =>
  mean === undefined ? 'not run' : `${show(mean.mean)}${mean.sd === undefined ? '' : ` ± ${percent(mean.sd)}`}`;

/** Undefined where nothing was published. */
export const reproductionOf = ({
  published = '',
  reduced,
  reproduction = [],
  effects = [],
}: Matrix): Reproduction | undefined => {
  if (reproduction.length === 0 && effects.length === 0) return undefined;
  return {
    source: published,
    ...(reduced === undefined ? {} : { reduced }),
    numbers: reproduction.map(({ what, paper, ours, difference, tolerance, verdict }) => ({
      what,
      paper: percent(paper),
      ours: shown(ours, percent),
      difference: difference === undefined ? '' : signed(difference),
      ...(verdict === 'not run'
        ? {}
        : { verdict: { good: verdict === 'within', text: `${verdict} ± ${percent(tolerance)}${onSeeds(ours)}` } }),
    })),
    effects: effects.map(({ what, paper, ours, difference, direction }) => ({
      what,
      paper: signed(paper),
      ours: shown(ours, signed),
      difference: difference === undefined ? '' : signed(difference),
      ...(direction === undefined
        ? {}
        : { verdict: { good: direction === 'same', text: `${direction} direction${onSeeds(ours)}` } }),
    })),
  };
};
