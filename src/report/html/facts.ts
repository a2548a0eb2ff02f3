export type Fact = readonly [name: string, value: string];

/** Any value as lines of text, named by its path. */
export const flattened = (value: unknown, path = ''): readonly Fact[] => {
  if (Array.isArray(value) && value.every((each) => typeof each !== 'object' || each === null))
    return [[path, value.length === 0 ? 'none' : value.map(String).join(', ')]];
  if (typeof value !== 'object' || value === null)
    return path === '' || value === undefined ? [] : [[path, value === null ? 'none' : String(value)]];
  return Object.entries(value).flatMap(([key, each]) =>
    // A plugin's parameters stand below its name.
    flattened(each, key === 'params' ? path : path === '' ? key : `${path} › ${key}`),
  );
};
