import { percent } from '../core/text.js';
import { lookup } from './lookup.js';
import { type Spread, spread } from './spread.js';
import type { BestAttack, Cell, Score, VictimSummary } from './types.js';

/** One score for each defence and student of which an attack has a number. */
export const scores = (of: {
  readonly best: readonly BestAttack[];
  readonly cells: readonly Cell[];
  readonly victims: readonly VictimSummary[];
  /** The label of the defence that defends nothing, where the experiment has it. */
  readonly undefended: string | undefined;
}): readonly Score[] => {
  const at = lookup(of.cells);
  const cellOf = ({ defense, student, attack }: BestAttack): Cell | undefined => at(attack, defense, student);
  return of.best.map((best) => {
    const { defense, student, attack } = best;
    const own = cellOf(best);
    const other = of.best.find((each) => each.defense === of.undefended && each.student === student);
    const harm = defense === of.undefended || other === undefined ? undefined : paired(own, cellOf(other));
    const teacherCost =
      defense === of.undefended ? undefined : of.victims.find((victim) => victim.defense === defense)?.toUndefended;
    const toLabelSmoothing = own?.toLabelSmoothing;
    return {
      defense,
      student,
      attack,
      ...(harm === undefined ? {} : { harm }),
      ...(teacherCost === undefined ? {} : { teacherCost }),
      ...(toLabelSmoothing === undefined ? {} : { toLabelSmoothing, undistillable: toLabelSmoothing.mean <= 0 }),
      verdict: verdictOn(attack, toLabelSmoothing),
    };
  });
};

/** One cell's accuracy minus another's, over the seeds that have both. */
const paired = (a: Cell | undefined, b: Cell | undefined): Spread | undefined =>
  spread(
    (a?.seeds ?? []).flatMap(({ seed, student }) => {
      const other = b?.seeds.find((each) => each.seed === seed)?.student;
      return student?.metrics.accuracy === undefined || other?.metrics.accuracy === undefined
        ? []
        : [student.metrics.accuracy - other.metrics.accuracy];
    }),
  );

const verdictOn = (attack: string, toLabelSmoothing: Spread | undefined): string => {
  if (toLabelSmoothing === undefined)
    return 'Whether it is undistillable cannot be said: there is no student trained on smoothed labels to compare with.';
  const { mean, interval, count } = toLabelSmoothing;
  const found =
    mean <= 0
      ? `Undistillable: the best attack, ${attack}, is not above a student trained on smoothed labels`
      : `Distillable: the best attack, ${attack}, is above a student trained on smoothed labels`;
  const by = `(by ${percent(Math.abs(mean))} points`;
  if (interval === undefined) return `${found} ${by}). This rests on one seed, which cannot tell it from chance.`;
  const [low, high] = interval;
  const sure = low <= 0 && high >= 0 ? ', which includes 0: the seeds do not tell them apart' : '';
  return `${found} ${by}; 95 % interval ${percent(low)} to ${percent(high)} over ${count} seeds${sure}).`;
};
