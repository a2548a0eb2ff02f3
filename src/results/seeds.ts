import { differenceSpread, type Spread } from './spread.js';
import type { Matrix, SeedResult } from './types.js';

/** A number of each seed that has one. */
export type Numbers = ReadonlyMap<string, number>;

/** A number of each seed, of those that have it, in their order. */
export const numbersBySeed = <Of extends { readonly seed: string }>(
  seeds: readonly Of[],
  of: (each: Of) => number | undefined,
): Numbers =>
  new Map(
    seeds.flatMap((each) => {
      const value = of(each);
      return value === undefined ? [] : [[each.seed, value] as const];
    }),
  );

/** The results that are of a model of their own: over others a mean would count it twice, and have an interval that is too narrow. */
export const distinct = <Of extends { readonly sameAs?: string | undefined }>(seeds: readonly Of[]): readonly Of[] =>
  seeds.filter(({ sameAs }) => sameAs === undefined);

/** One number minus another, over the seeds that have both; undefined where none has. */
export const pairedBySeed = (one: Numbers, other: Numbers): Spread | undefined =>
  differenceSpread([...one].flatMap(([seed, value]) => (other.has(seed) ? [value - (other.get(seed) as number)] : [])));

/** The seeds of which some student's result is such a one; all, where there is none. */
export const seedsWith = (
  { seeds, cells }: Pick<Matrix, 'seeds' | 'cells'>,
  isSuch: (result: SeedResult) => boolean,
): readonly string[] => {
  const found = seeds.filter((seed) =>
    cells.some((cell) => cell.seeds.some((each) => each.seed === seed && isSuch(each))),
  );
  return found.length === 0 ? seeds : found;
};
