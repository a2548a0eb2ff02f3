import { defined, grouped, own } from '../core/lists.js';
import { byMean, type Contender, strongestOf } from './best.js';
import { type Column, columnsOf, metricsOf, type VictimResult, victimColumnsOf } from './columns.js';
import { lookup } from './lookup.js';
import { roleOf, undefendedIn } from './roles.js';
import { scores } from './scores.js';
import { distinct, type Numbers, numbersBySeed, pairedBySeed } from './seeds.js';
import { type Spread, shareSpread, spreadOf } from './spread.js';
import type { BestAttack, Cell, Matrix, MetricSummary, VictimSummary } from './types.js';

/** What is known of a cell and of a victim before anything is taken over its seeds. */
export type CellSeeds = Pick<Cell, 'attack' | 'defense' | 'student' | 'seeds' | 'published'>;
export type VictimSeeds = Pick<VictimSummary, 'defense' | 'exposes' | 'retrained' | 'seeds' | 'published'>;

/** A matrix of single seeds. */
export type Seeds = Omit<Matrix, 'cells' | 'victims' | 'best' | 'scores'> & {
  readonly cells: readonly CellSeeds[];
  readonly victims: readonly VictimSeeds[];
};

/** All that follows from what single seeds gave: means and deviations, the best attacks, what each defence is worth. */
export const summary = (of: Seeds): Pick<Matrix, 'victims' | 'cells' | 'best' | 'scores'> => {
  const summaries = metricsOf(of);
  const undefended = undefendedIn(of);
  const cells = besideReferences(of).map(cellOf(columnsOf(of), summaries));
  const victims = of.victims.map(
    victimOf(
      victimColumnsOf(of),
      summaries,
      of.victims.find(({ defense }) => defense === undefended),
    ),
  );
  // Of the attacks that take something from a victim: honest training is no attack.
  const attacks = new Set(of.attacks.filter((row) => roleOf(row) === 'attack').map(({ label }) => label));
  const best = bestAttacks(of, cells, attacks);
  return { victims, cells, best, scores: scores({ best, cells, victims, undefended, attacks }) };
};

/** With the difference of each student to the best reference, one trained on smoothed labels, of its net and seed. */
const besideReferences = ({ attacks, cells }: Seeds): readonly CellSeeds[] => {
  const references = attacks.filter((row) => roleOf(row) === 'reference').map(({ label }) => label);
  const at = lookup(cells);
  const columnOf = ({ defense, student }: CellSeeds): string => JSON.stringify([defense, student]);
  // One for all attacks of a column.
  const best = new Map(
    [...grouped(cells, columnOf)].map(([column, group]) => {
      const { defense, student } = group[0] as CellSeeds;
      const all = references.flatMap((label) => at(label, defense, student) ?? []);
      return [column, strongestOf(all.map(contenderOf))?.best];
    }),
  );
  return cells.map((cell) => {
    const reference = best.get(columnOf(cell));
    const other = reference?.attack === cell.attack ? undefined : reference?.accuracy;
    const seeds = cell.seeds.map(({ toLabelSmoothing: _, ...result }) => {
      const [accuracy, smoothed] = [result.student?.metrics.accuracy, other && own(other, result.seed)];
      return {
        ...result,
        ...(accuracy !== undefined && smoothed !== undefined && { toLabelSmoothing: accuracy - smoothed }),
      };
    });
    return { ...cell, seeds };
  });
};

const contenderOf = ({ attack, seeds }: CellSeeds): Contender & Pick<CellSeeds, 'attack'> => ({
  attack,
  reason: seeds.find(({ reason }) => reason !== undefined)?.reason,
  accuracy: Object.fromEntries(numbersBySeed(seeds, ({ student }) => student?.metrics.accuracy)),
  heldOut: Object.fromEntries(numbersBySeed(seeds, ({ student }) => student?.heldOut)),
});

const cellOf =
  (columns: readonly Column[], summaries: readonly MetricSummary[]) =>
  ({ attack, defense, student, seeds, published }: CellSeeds): Cell => {
    const means = meansOf(columns, distinct(seeds));
    const { accuracy, toBaseline, toLabelSmoothing, toUndefended, queries, forward, backward } = means;
    const missing = seeds.find(({ status }) => status === 'n/a');
    const failed = seeds.find(({ status }) => status === 'failed' || status === 'skipped');
    return {
      attack,
      defense,
      student,
      status:
        missing !== undefined ? 'n/a' : accuracy !== undefined ? 'done' : failed === undefined ? 'not run' : 'failed',
      seeds,
      ...defined({
        reason: missing?.reason ?? failed?.reason,
        ...{ accuracy, toBaseline, toLabelSmoothing, toUndefended, queries, forward, backward, published },
      }),
      metrics: metricsIn(means, summaries),
    };
  };

const victimOf =
  (
    columns: readonly Column<VictimResult>[],
    summaries: readonly MetricSummary[],
    undefended: VictimSeeds | undefined,
  ) =>
  ({ defense, exposes, retrained, seeds, published }: VictimSeeds): VictimSummary => {
    const accuraciesOf = (of: VictimSeeds['seeds']): Numbers =>
      numbersBySeed(of, ({ measures }) => measures?.metrics.accuracy);
    const teachers = distinct(seeds);
    const accuracies = accuraciesOf(teachers);
    const clean = undefended === undefined || undefended.defense === defense ? undefined : undefended.seeds;
    return {
      defense,
      exposes,
      metrics: metricsIn(meansOf(columns, teachers), summaries),
      ...defined({
        retrained,
        accuracy: shareSpread([...accuracies.values()]),
        toUndefended: clean && pairedBySeed(accuracies, accuraciesOf(clean)),
        published,
      }),
      seeds,
    };
  };

const bestAttacks = (
  { defenses, students }: Pick<Matrix, 'defenses' | 'students'>,
  cells: readonly Cell[],
  attacks: ReadonlySet<string>,
): readonly BestAttack[] =>
  defenses.flatMap(({ label: defense }) =>
    students.flatMap((student) => {
      const own = cells.filter(
        (cell) => cell.defense === defense && cell.student === student && attacks.has(cell.attack),
      );
      const best = byMean(
        own.map((cell) => ({ ...contenderOf(cell), cell })),
        ({ accuracy }) => accuracy,
      )[0]?.of.cell;
      return best?.accuracy === undefined ? [] : [{ defense, student, attack: best.attack, accuracy: best.accuracy }];
    }),
  );

/** Over the seeds that have it, each number of a list of results by its column's name. */
const meansOf = <Of>(columns: readonly Column<Of>[], results: readonly Of[]): Readonly<Record<string, Spread>> =>
  Object.fromEntries(
    columns.flatMap(({ name, unit, of }) => {
      const mean = spreadOf(
        unit,
        results.flatMap((result) => of(result) ?? []),
      );
      return mean === undefined ? [] : [[name, mean] as const];
    }),
  );

/** Those of some means that are of metrics. */
const metricsIn = (means: Readonly<Record<string, Spread>>, summaries: readonly MetricSummary[]): Cell['metrics'] =>
  Object.fromEntries(
    summaries.flatMap(({ name }) => {
      const mean = own(means, name);
      return mean === undefined ? [] : [[name, mean] as const];
    }),
  );
