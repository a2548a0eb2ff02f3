import type { Matrix, SeedResult } from './types.js';

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
