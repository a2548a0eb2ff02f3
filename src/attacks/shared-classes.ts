/** The words of a name, a space before and after each: `pickup_truck` and `Pickup truck` have the same two. */
const wordsOf = (name: string): string => {
  const words = name
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== '');
  return words.length === 0 ? '' : ` ${words.join(' ')} `;
};

const isWithin = (some: string, others: string): boolean => some !== '' && others.includes(some);

/**
 * The classes of out-of-distribution images that are, by their names, the victim's too, or a kind of them, or what they are a kind of: of a
 * victim that knows `truck`, `pickup_truck`. Names tell no more than that: `lorry` is found to be something else.
 */
export const sharedClasses = (victim: readonly string[], images: readonly string[]): readonly string[] => {
  const known = victim.map(wordsOf);
  return images.filter((name) => {
    const words = wordsOf(name);
    return known.some((own) => isWithin(own, words) || isWithin(words, own));
  });
};

/** Those that have the victim's very names, but for case and what stands between the words. */
export const sameClasses = (victim: readonly string[], images: readonly string[]): readonly string[] => {
  const known = new Set(victim.map(wordsOf));
  return images.filter((name) => known.has(wordsOf(name)));
};
