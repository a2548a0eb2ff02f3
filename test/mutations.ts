type Path = readonly (string | number)[];

/** Every place in a value of plain JSON, of a list its first entry alone. */
export const placesIn = (value: unknown, path: Path = []): readonly Path[] => {
  if (typeof value !== 'object' || value === null) return [path];
  const fields = Array.isArray(value) ? ([...value.entries()] as const).slice(0, 1) : Object.entries(value);
  return [...(path.length === 0 ? [] : [path]), ...fields.flatMap(([name, each]) => placesIn(each, [...path, name]))];
};

/** The same value, not plain JSON perhaps, with another in one place; undefined takes the field out. */
export const changed = (value: unknown, [name, ...rest]: Path, to: unknown): unknown => {
  if (name === undefined) return to;
  const fields = value as Readonly<Record<string | number, unknown>>;
  const inner = changed(fields[name], rest, to);
  if (Array.isArray(value))
    return inner === undefined ? value.toSpliced(name as number, 1) : value.with(name as number, inner);
  const { [name]: _, ...others } = fields;
  return inner === undefined ? others : { ...fields, [name]: inner };
};

/** What a field is not, as a rule. */
export const wrong: readonly unknown[] = [
  undefined,
  null,
  'text',
  '',
  5,
  -1,
  0.5,
  1e308,
  true,
  [],
  [null],
  {},
  { a: 1 },
];
