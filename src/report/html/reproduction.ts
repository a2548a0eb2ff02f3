import type { Matrix, Spread } from '../../harness/matrix.js';
import { percent, signed } from '../numbers.js';

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

const shown = (mean: Spread | undefined, show: (share: number) => string): string =>
  mean === undefined ? 'not run' : `${show(mean.mean)}${mean.sd === undefined ? '' : ` ± ${percent(mean.sd)}`}`;

/** Published numbers of a matrix that says no verdict on them. */
const unjudged = ({ victims, cells }: Matrix): readonly Compared[] => {
  const beside = (what: string, paper: number | undefined, ours: Spread | undefined): readonly Compared[] =>
    paper === undefined
      ? []
      : [
          {
            what,
            paper: percent(paper),
            ours: shown(ours, percent),
            difference: ours === undefined ? '' : signed(ours.mean - paper),
          },
        ];
  return [
    ...victims.flatMap(({ defense, published, accuracy }) => beside(`teacher of ${defense}`, published, accuracy)),
    ...cells.flatMap(({ attack, defense, student, published, accuracy }) =>
      beside(`${attack} on ${defense}, student ${student}`, published, accuracy),
    ),
  ];
};

/** Undefined where nothing was published. */
export const reproductionOf = (matrix: Matrix): Reproduction | undefined => {
  const numbers = matrix.reproduction?.map(
    ({ what, paper, ours, difference, tolerance, verdict }): Compared => ({
      what,
      paper: percent(paper),
      ours: shown(ours, percent),
      difference: difference === undefined ? '' : signed(difference),
      ...(verdict === 'not run'
        ? {}
        : { verdict: { good: verdict === 'within', text: `${verdict} ± ${percent(tolerance)}` } }),
    }),
  );
  const effects = (matrix.effects ?? []).map(
    ({ what, paper, ours, difference, direction }): Compared => ({
      what,
      paper: signed(paper),
      ours: shown(ours, signed),
      difference: difference === undefined ? '' : signed(difference),
      ...(direction === undefined ? {} : { verdict: { good: direction === 'same', text: `${direction} direction` } }),
    }),
  );
  const all = numbers ?? unjudged(matrix);
  if (all.length === 0 && effects.length === 0) return undefined;
  return {
    source: matrix.published ?? '',
    ...(matrix.reduced === undefined ? {} : { reduced: matrix.reduced }),
    numbers: all,
    effects,
  };
};
