import { FailureError, failure } from '../core/errors.js';
import { defined, grouped, unique } from '../core/lists.js';
import { firstFew } from '../core/text.js';
import { metricsOf } from './columns.js';
import { compared } from './compare.js';
import { type CellSeeds, summary, type VictimSeeds } from './summary.js';
import type { Matrix, SeedResult } from './types.js';

/** A run of an experiment, or of a part of it. */
export interface Part {
  readonly name: string;
  readonly matrix: Matrix;
}

/** Settings in which parts of one experiment may differ: which seeds were run, and with what. */
const ofParts: ReadonlySet<string> = new Set(['seeds', 'undistill', 'engine', 'commit']);

/**
 * The matrix of an experiment whose seeds, or rows, were run apart. What single seeds gave is kept as it is, differences within a seed
 * too; means, intervals, best attacks and scores are taken anew over all. Published numbers are beside the parts alone.
 *
 * Throws a `FailureError` of kind `usage` for parts of other settings, and for a seed's cell that two of them have with other numbers.
 */
export const joined = (parts: readonly [Part, ...Part[]]): Matrix => {
  const others = compared(parts).settings.filter(({ name }) => !ofParts.has(name));
  if (others.length > 0)
    throw new FailureError(
      failure(
        'usage',
        `they differ in ${firstFew(
          others.map(({ name }) => name),
          5,
        )}`,
        {
          where: parts.map(({ name }) => name).join(', '),
          remedy: 'Parts of one experiment are the same but for their seeds: undistill compare shows what is not.',
        },
      ),
    );
  const [{ matrix: first }] = parts;
  const { reproduction: _, effects: __, published: ___, ...settings } = first;
  const matrices = parts.map(({ matrix }) => matrix);
  const seeds = unique(matrices.flatMap((matrix) => matrix.seeds));
  // A part may have been measured by more metrics than another.
  const metrics = [...grouped(matrices.flatMap(metricsOf), ({ name }) => name).values()].flatMap(([one]) => one ?? []);
  const single = {
    ...settings,
    seeds,
    metrics,
    victims: first.victims.map(({ defense, exposes, retrained }): VictimSeeds => {
      const all = matrices.flatMap(({ victims }) => victims.filter((each) => each.defense === defense));
      const results = all.flatMap((victim) => victim.seeds);
      return {
        defense,
        exposes,
        ...defined({ retrained }),
        seeds: oneEach(seeds, results, (of) => of.measures?.metrics, `the teacher of ${defense}`),
      };
    }),
    cells: [
      ...grouped(
        matrices.flatMap(({ cells }) => cells),
        ({ attack, defense, student }) => JSON.stringify([attack, defense, student]),
      ).values(),
    ].map((cells): CellSeeds => {
      const { attack, defense, student } = cells[0] as CellSeeds;
      const results = cells.flatMap((cell) => cell.seeds);
      return {
        attack,
        defense,
        student,
        seeds: oneEach(seeds, results, (of) => of.student?.metrics, `${attack} on ${defense}`),
      };
    }),
    provenance: unique(matrices.flatMap(({ provenance }) => provenance.map((each) => JSON.stringify(each)))).map(
      (text) => JSON.parse(text),
    ),
  };
  return { ...single, ...summary(single) };
};

/** Of each seed the result that has numbers, or else one that says why there are none. */
const oneEach = <Of extends Pick<SeedResult, 'seed' | 'reason'>>(
  seeds: readonly string[],
  results: readonly Of[],
  numbersOf: (result: Of) => unknown,
  what: string,
): readonly Of[] =>
  seeds.flatMap((seed) => {
    const own = results.filter((each) => each.seed === seed);
    const finished = own.filter((each) => numbersOf(each) !== undefined);
    if (unique(finished.map((each) => JSON.stringify(numbersOf(each)))).length > 1)
      throw new FailureError(
        failure('usage', `seed ${seed} was run more than once, with other numbers`, {
          where: what,
          remedy: 'Leave one of the runs out: processors that round differently give other numbers.',
        }),
      );
    return finished[0] ?? own.find(({ reason }) => reason !== undefined) ?? own[0] ?? [];
  });
