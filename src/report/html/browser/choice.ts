// Which images of a pool are shown, and what stands beside them; without a document.

/** What is known of an image. */
export interface Pictured {
  /** Its place in the pool. */
  readonly place: number;
  /** The class it was made for. */
  readonly label: string;
  /** The victim's probability of that class; NaN where it is not known. */
  readonly teacher: number;
  /** The class that another net sees in it; undefined where none was asked. */
  readonly verifier: string | undefined;
}

export interface Choice {
  /** '' for all. */
  readonly class: string;
  /** The least probability; 0 for any. */
  readonly sure: number;
  readonly verifier: '' | 'agrees' | 'differs';
}

export const isWanted = (choice: Choice, { label, teacher, verifier }: Pictured): boolean =>
  (choice.class === '' || choice.class === label) &&
  (choice.sure === 0 || teacher >= choice.sure) &&
  (choice.verifier === '' || (verifier !== undefined && (verifier === label) === (choice.verifier === 'agrees')));

/** The wanted images of a pool, each with the one of the other pool that began as it did. */
export const paired = <Of extends Pictured>(
  choice: Choice,
  own: readonly Of[],
  others: readonly Of[] = [],
): readonly (readonly [Of, Of | undefined])[] => {
  const at = new Map(others.map((other) => [other.place, other]));
  return own.filter((each) => isWanted(choice, each)).map((each) => [each, at.get(each.place)]);
};
