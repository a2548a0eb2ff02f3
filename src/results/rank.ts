import type { Role } from '../attacks/attack.js';
import { sha256 } from '../core/hash.js';
import { defined, own, unique } from '../core/lists.js';
import { hasOf } from '../experiment/strongest.js';
import { isAcceptedWarning } from '../run/record.js';
import type { Access } from '../train/oracle.js';
import { lookup } from './lookup.js';
import type { Attacker, BySeed, DefenseNumbers, RankedRun, Ranking, Stolen } from './ranking.js';
import { roleOf } from './roles.js';
import { numbersBySeed, seedsWith } from './seeds.js';
import { settingOf } from './setting.js';
import { scored } from './standings.js';
import type { Cell, Matrix } from './types.js';

/** The run of a matrix, and its defences. */
export const rankingOf = (matrix: Matrix): Ranking => {
  const attackers = matrix.attacks.filter((row) => roleOf(row) === 'attack').map(attackerOf);
  const { experiment, learners, provenance } = matrix;
  // Of a run of some of its seeds those, so that no other is missing.
  const seeds = seedsWith(matrix, ({ status }) => status === 'done' || status === 'failed');
  const run: RankedRun = {
    id: numbersOf(matrix),
    experiment,
    ...settingOf(matrix),
    ...defined({ learners }),
    seeds,
    attackers,
    provenance,
  };
  const at = lookup(matrix.cells);
  const measured = matrix.defenses.flatMap((defense) =>
    matrix.students.map((student): DefenseNumbers => {
      const { label, name = label, role, exposes, params } = defense;
      return {
        run: run.id,
        defense: label,
        name,
        ...(role === undefined ? {} : { role }),
        exposes,
        params,
        student,
        teacher: teacherOf(
          exposes,
          matrix.victims.find((each) => each.defense === label),
        ),
        students: matrix.attacks.flatMap((row) => {
          const cell = at(row.label, label, student);
          return cell === undefined ? [] : [stolenOf(cell, row.needs, roleOf(row))];
        }),
      };
    }),
  );
  return { version: 1, runs: [run], entries: scored([run], measured) };
};

const attackerOf = ({ label, name = label, needs, data, owns, params }: Matrix['attacks'][number]): Attacker => ({
  label,
  name,
  needs: needs as Access,
  // Older versions say in words alone what is owned.
  has: hasOf(data ?? (owns === 'no images' ? 'none' : owns.startsWith('other images') ? 'other' : 'labelled')),
  params,
});

const bySeed = <Seed extends { readonly seed: string }>(
  seeds: readonly Seed[],
  of: (seed: Seed) => number | undefined,
): BySeed => Object.fromEntries(numbersBySeed(seeds, of));

const teacherOf = (exposes: string, victim: Matrix['victims'][number] | undefined): DefenseNumbers['teacher'] => {
  const seeds = victim?.seeds ?? [];
  // Older versions say that a teacher was trained anew by its divergence alone, which a run of one seed has not.
  const isRetrained = victim?.retrained ?? seeds.some(({ divergence }) => divergence !== undefined);
  const distances = bySeed(seeds, ({ measures }) => measures && own(measures.metrics, 'answerL1'));
  const unchanged = bySeed(seeds, ({ measures }) => measures && 0);
  const tells = exposes !== 'label';
  const same = seeds.flatMap(({ seed, sameAs }) => (sameAs === undefined ? [] : [[seed, sameAs]]));
  return {
    accuracy: bySeed(seeds, ({ measures }) => measures?.metrics.accuracy),
    ...(same.length === 0 ? {} : { sameAs: Object.fromEntries(same) }),
    l1: tells && !isRetrained ? { ...unchanged, ...distances } : {},
    ...(tells && isRetrained && Object.keys(distances).length > 0 ? { ownL1: distances } : {}),
  };
};

const stolenOf = ({ attack, status, reason, seeds }: Cell, needs: string, role: Role): Stolen => ({
  attack,
  ...(role === 'attack' ? {} : { role }),
  status,
  ...(reason === undefined ? {} : { reason }),
  accuracy: bySeed(seeds, ({ student }) => student?.metrics.accuracy),
  heldOut: bySeed(seeds, ({ student }) => student?.heldOut),
  toBaseline: bySeed(seeds, ({ toBaseline }) => toBaseline),
  // Who asks for labels is told no probabilities.
  l1: bySeed(needs === 'label' ? [] : seeds, ({ answers }) => answers?.l1),
  queries: bySeed(seeds, ({ queries }) => queries),
});

/** A hash of the numbers of a matrix, without what differs from one run of it to the next. */
const numbersOf = (matrix: Matrix): string =>
  sha256(
    JSON.stringify(matrix, (name, value) => {
      if (['seconds', 'stepsPerSecond', 'provenance'].includes(name)) return undefined;
      // That a stage was accepted leaves its numbers what they are.
      return name === 'warnings' && Array.isArray(value)
        ? value.filter((each) => !isAcceptedWarning(String(each)))
        : value;
    }),
  );

/**
 * Several rankings in one. Of a run that is in two of them the first counts. Costs and scores are made anew of what was measured, whatever the
 * files say.
 */
export const merged = (rankings: readonly Ranking[]): Ranking => {
  const runs = unique(rankings.flatMap((each) => each.runs.map(({ id }) => id))).map((id) => {
    const from = rankings.find((each) => each.runs.some((run) => run.id === id)) as Ranking;
    return {
      run: from.runs.find((run) => run.id === id) as RankedRun,
      entries: from.entries.filter(({ run }) => run === id),
    };
  });
  const all = runs.map(({ run }) => run);
  return {
    version: 1,
    runs: all,
    entries: scored(
      all,
      runs.flatMap(({ entries }) => entries),
    ),
  };
};
