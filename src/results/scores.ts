import { percent, signed } from '../core/text.js';
import { lookup } from './lookup.js';
import { type Numbers, numbersBySeed, pairedBySeed } from './seeds.js';
import { type Spread, studentQuantile } from './spread.js';
import type { BestAttack, Cell, Score, VictimSummary } from './types.js';

/** One score for each defence and student of which an attack has a number. */
export const scores = (of: {
  readonly best: readonly BestAttack[];
  readonly cells: readonly Cell[];
  readonly victims: readonly VictimSummary[];
  /** The label of the defence that defends nothing, where the experiment has it. */
  readonly undefended: string | undefined;
  /** The labels of what steals: honest training is no attack. */
  readonly attacks: ReadonlySet<string>;
}): readonly Score[] => {
  const at = lookup(of.cells);
  const cellOf = ({ defense, student, attack }: BestAttack): Cell | undefined => at(attack, defense, student);
  return of.best.map((best) => {
    const { defense, student, attack } = best;
    const own = cellOf(best);
    const isUndefended = defense === of.undefended;
    const other = of.best.find((each) => each.defense === of.undefended && each.student === student);
    const harm = isUndefended || other === undefined ? undefined : paired(own, cellOf(other));
    const teacherCost = isUndefended
      ? undefined
      : of.victims.find((victim) => victim.defense === defense)?.toUndefended;
    const toLabelSmoothing = own?.toLabelSmoothing;
    const all = of.cells.flatMap((cell) =>
      cell.defense === defense && cell.student === student && of.attacks.has(cell.attack)
        ? (cell.toLabelSmoothing ?? [])
        : [],
    );
    return {
      defense,
      student,
      attack,
      ...(harm === undefined ? {} : { harm }),
      ...(teacherCost === undefined ? {} : { teacherCost }),
      ...(toLabelSmoothing === undefined ? {} : { toLabelSmoothing }),
      ...judged({ attack, toLabelSmoothing, all, isUndefended }),
    };
  });
};

/** One cell's accuracy minus another's, over the seeds that have both. */
export const paired = (a: Cell | undefined, b: Cell | undefined): Spread | undefined =>
  pairedBySeed(accuraciesOf(a), accuraciesOf(b));

const accuraciesOf = (cell: Cell | undefined): Numbers =>
  numbersBySeed(cell?.seeds ?? [], ({ student }) => student?.metrics.accuracy);

/** Seeds beyond which nobody goes to tell two students apart. */
const mostSeeds = 1000;

/**
 * How many seeds it takes until the 95 % interval of a mean difference does not reach 0, were mean and deviation to stay what they
 * are; at least two. Infinity: more than anybody would take.
 */
export const seedsToTell = ({ mean, sd }: Pick<Spread, 'mean' | 'sd'>): number => {
  if (sd === undefined) return 2;
  const tells = (count: number): boolean => studentQuantile(count - 1) * sd < Math.abs(mean) * Math.sqrt(count);
  if (!tells(mostSeeds)) return Number.POSITIVE_INFINITY;
  let [few, many] = [1, mostSeeds];
  while (many - few > 1) {
    const middle = Math.floor((few + many) / 2);
    if (tells(middle)) many = middle;
    else few = middle;
  }
  return many;
};

/**
 * Whether a defence is undistillable. `no`: the interval of the best attack's difference to a student trained on smoothed labels lies
 * above 0. `yes`: that of no attack reaches above 0. Else it is inconclusive. Intervals are of each attack by itself, and not wider for
 * how many were tried.
 *
 * @param all the differences of all attacks, the best one's among them
 */
export const undistillability = (
  best: Spread,
  all: readonly Spread[],
): Pick<Score, 'undistillable' | 'seedsToTell'> => {
  const [low] = best.interval ?? [Number.NEGATIVE_INFINITY];
  if (low > 0) return { undistillable: 'no' };
  if (all.every(({ interval }) => interval !== undefined && interval[1] <= 0)) return { undistillable: 'yes' };
  const open = best.mean > 0 ? [best] : all.filter(({ interval }) => interval === undefined || interval[1] > 0);
  const seeds = Math.max(...open.map(seedsToTell));
  return { undistillable: 'undecided', ...(Number.isFinite(seeds) ? { seedsToTell: seeds } : {}) };
};

/** A verdict in a word or two, the same wherever one is shown. */
export const verdictInWords = ({ undistillable, toLabelSmoothing, seedsToTell: seeds }: Score): string | undefined => {
  if (undistillable !== 'undecided') return undistillable;
  if (toLabelSmoothing?.count === 1) return 'inconclusive (one seed)';
  return seeds === undefined ? 'inconclusive' : `inconclusive (about ${seeds} seeds needed)`;
};

/** What the seeds say of a defence, and the sentence that says so. */
export const judged = ({
  attack,
  toLabelSmoothing: best,
  all,
  isUndefended,
}: {
  readonly attack: string;
  readonly toLabelSmoothing: Spread | undefined;
  readonly all: readonly Spread[];
  readonly isUndefended: boolean;
}): Pick<Score, 'undistillable' | 'seedsToTell' | 'verdict'> => {
  if (isUndefended) return { verdict: 'Nothing is defended here: it is what defences are compared with.' };
  if (best === undefined)
    return {
      verdict:
        'Whether it is undistillable cannot be said: there is no student trained on smoothed labels to compare with.',
    };
  const { mean, interval, count } = best;
  const found = undistillability(best, all);
  const points = percent(Math.abs(mean));
  const compared = Number(points) === 0 ? 'as good as' : `${points} points ${mean > 0 ? 'above' : 'below'}`;
  const where = `the best attack, ${attack}, is ${compared} a student trained on smoothed labels`;
  const over =
    interval === undefined
      ? 'one seed'
      : `95 % interval ${signed(interval[0])} to ${signed(interval[1])} over ${count} seeds`;
  const said = `${where} (${over}).`;
  if (found.undistillable === 'yes') return { ...found, verdict: `Undistillable: ${said}` };
  if (found.undistillable === 'no') return { ...found, verdict: `Distillable: ${said}` };
  const take =
    found.seedsToTell === undefined
      ? `No number of seeds up to ${mostSeeds} would tell, if the others are like these.`
      : interval === undefined
        ? 'It takes two at least.'
        : `About ${found.seedsToTell} would, if the others are like these.`;
  return { ...found, verdict: `The seeds do not tell whether it is undistillable: ${said} ${take}` };
};
