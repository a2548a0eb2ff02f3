/** Whose a cell is; of one seed where it has one. */
interface Place {
  readonly attack: string;
  readonly defense: string;
  readonly student: string;
  readonly seed?: string;
}

/** A cell by its attack, defence and student, and by its seed where cells have one; undefined where there is none. */
export type At<Cell> = (
  attack: string | undefined,
  defense: string | undefined,
  student: string,
  seed?: string,
) => Cell | undefined;

const keyOf = (...place: readonly (string | undefined)[]): string => JSON.stringify(place);

/** Looks cells up without going through all of them each time. Of two in one place the first counts. */
export const lookup = <Cell extends Place>(cells: readonly Cell[]): At<Cell> => {
  const index = new Map<string, Cell>();
  for (const cell of cells) {
    const key = keyOf(cell.attack, cell.defense, cell.student, cell.seed);
    if (!index.has(key)) index.set(key, cell);
  }
  return (attack, defense, student, seed) => index.get(keyOf(attack, defense, student, seed));
};
