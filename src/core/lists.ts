/** Each value once, in the order of their first places. */
export const unique = <T>(values: readonly T[]): readonly T[] => [...new Set(values)];
