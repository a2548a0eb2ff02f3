// What sorting and filtering do, without a document.

export interface Order {
  /** 0: the attacks' names; then a defence each. */
  readonly column: number;
  readonly direction: 'none' | 'ascending' | 'descending';
}

/** What a click on a column's head leads to. Accuracies begin with the highest, names with the first. */
export const next = (order: Order | undefined, column: number): Order => {
  const cycle =
    column === 0 ? (['ascending', 'descending', 'none'] as const) : (['descending', 'ascending', 'none'] as const);
  const at = order?.column === column ? cycle.indexOf(order.direction) : -1;
  return { column, direction: cycle[(at + 1) % cycle.length] as Order['direction'] };
};

const names = new Intl.Collator(undefined, { numeric: true }).compare;

/** Rows in an order; those without a number come last, and `none` is as they were. */
export const ordered = <Row extends { readonly index: number; readonly key: string | number }>(
  rows: readonly Row[],
  direction: Order['direction'],
): readonly Row[] => {
  const sign = direction === 'descending' ? -1 : 1;
  const isMissing = ({ key }: Row): boolean => Number.isNaN(key);
  return [...rows].sort((a, b) => {
    if (direction === 'none' || (isMissing(a) && isMissing(b))) return a.index - b.index;
    if (isMissing(a) || isMissing(b)) return isMissing(a) ? 1 : -1;
    const compared = typeof a.key === 'string' ? names(a.key, String(b.key)) : a.key - Number(b.key);
    return sign * compared || a.index - b.index;
  });
};

export const wordsOf = (text: string): readonly string[] =>
  text
    .toLocaleLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '');

/** Whether every word is in the name of the attack or of the defence. */
export const matches = (words: readonly string[], attack: string, defense: string): boolean => {
  const [one, other] = [attack.toLocaleLowerCase(), defense.toLocaleLowerCase()];
  return words.every((word) => one.includes(word) || other.includes(word));
};
