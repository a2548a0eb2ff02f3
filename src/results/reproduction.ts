import { roleOf } from '../attacks/attack.js';
import type { Experiment } from '../experiment/experiment.js';
import { defaultTolerance } from '../experiment/published.js';
import { lookup } from './lookup.js';
import type { Spread } from './spread.js';
import type { Cell, Reproduced, ReproducedEffect, VictimSummary } from './types.js';

interface Found {
  readonly experiment: Experiment;
  readonly undefended: string | undefined;
  readonly victims: readonly VictimSummary[];
  readonly cells: readonly Cell[];
  /** With what the students of each attack are compared, by label. */
  readonly baselines: Readonly<Record<string, string>>;
}

/** Every published number beside one's own. */
export const reproduced = ({ experiment, victims, cells }: Found): readonly Reproduced[] => {
  const tolerance = (experiment.published?.tolerance ?? defaultTolerance) / 100;
  const beside = (what: string, paper: number | undefined, ours: Spread | undefined): readonly Reproduced[] => {
    if (paper === undefined) return [];
    if (ours === undefined) return [{ what, paper, tolerance, verdict: 'not run' }];
    const difference = ours.mean - paper;
    // 80.00 is within 1 point of 81.00, whatever these are in binary.
    const verdict = Math.abs(difference) <= tolerance + 1e-9 ? 'within' : 'outside';
    return [{ what, paper, ours, difference, tolerance, verdict }];
  };
  const students = cells.map((cell) => ({ cell, what: saidOf(experiment, cell) }));
  return [
    ...victims.flatMap(({ defense, published, accuracy }) => beside(`teacher of ${defense}`, published, accuracy)),
    ...students
      // A student whom no defence concerns is in all columns, and is one number of the paper.
      .filter(({ what }, i) => i === students.findIndex((each) => each.what === what))
      .flatMap(({ cell, what }) => beside(what, cell.published, cell.accuracy)),
  ];
};

/** Every difference that follows from the published numbers, beside one's own. */
export const reproducedEffects = ({
  experiment,
  undefended,
  victims,
  cells,
  baselines,
}: Found): readonly ReproducedEffect[] => {
  const beside = (
    what: string,
    paper: number | undefined,
    reference: number | undefined,
    ours: Spread | undefined,
  ): readonly ReproducedEffect[] => {
    if (paper === undefined || reference === undefined) return [];
    const expected = paper - reference;
    if (ours === undefined) return [{ what, paper: expected }];
    const direction = Math.sign(ours.mean) === Math.sign(expected) ? 'same' : 'opposite';
    return [{ what, paper: expected, ours, difference: ours.mean - expected, direction }];
  };
  const undefendedVictim = victims.find(({ defense }) => defense === undefended);
  const at = lookup(cells);
  const stealing = cells.filter(({ attack }) => !ofAllDefenses(experiment, attack));
  return [
    ...victims
      .filter(({ defense }) => defense !== undefended)
      .flatMap(({ defense, published, toUndefended }) =>
        beside(
          `teacher of ${defense} − teacher of ${undefended}`,
          published,
          undefendedVictim?.published,
          toUndefended,
        ),
      ),
    ...stealing.flatMap((cell) => {
      const { attack, defense, student, published } = cell;
      const baseline = baselines[attack];
      return [
        ...(defense === undefended
          ? []
          : beside(
              `${attack} on ${defense} − on ${undefended}, student ${student}`,
              published,
              at(attack, undefended, student)?.published,
              cell.toUndefended,
            )),
        ...beside(
          `${attack} on ${defense} − ${baseline}, student ${student}`,
          published,
          at(baseline, defense, student)?.published,
          cell.toBaseline,
        ),
      ];
    }),
  ];
};

const ofAllDefenses = ({ attacks }: Experiment, label: string): boolean =>
  attacks.some(({ label: own, attack }) => own === label && roleOf(attack) !== 'attack');

const saidOf = (experiment: Experiment, { attack, defense, student }: Cell): string =>
  ofAllDefenses(experiment, attack) ? `${attack}, student ${student}` : `${attack} on ${defense}, student ${student}`;
