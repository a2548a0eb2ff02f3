import * as v from 'valibot';
import { FailureError, type FailureKind, failure, refusal } from './errors.js';

// What a value must be is a schema of valibot, whose title is how to say it. Any other schema of valibot will do as
// well.

/** Networks compute in float32, which has an infinity in the place of a larger number. */
const isInFloat32 = v.check<number, string>(
  (value) => Number.isFinite(Math.fround(value)),
  'it is larger than a float32, with at most 3.4e38, can be',
);

/** A number that is finite in float32 too and passes all checks, and how to say it: `numeric('a number above 0', v.gtValue(0))`. */
export const numeric = (says: string, ...checks: readonly v.GenericValidation<number>[]): v.GenericSchema<number> =>
  v.pipe(v.pipe(v.number(), v.finite(), isInFloat32, v.title(says)), ...checks);

/** A finite number above 0. */
export const positive = numeric('a number above 0', v.gtValue(0));
/** A finite number of at least `bound`. */
export const atLeast = (bound: number): v.GenericSchema<number> =>
  numeric(`a number of at least ${bound}`, v.minValue(bound));
/** A number from `low` to `high`, both included. */
export const between = (low: number, high: number): v.GenericSchema<number> =>
  numeric(`a number from ${low} to ${high}`, v.minValue(low), v.maxValue(high));
/** A share of something: above 0, at most 1. */
export const share = numeric('a number above 0 and at most 1', v.gtValue(0), v.maxValue(1));
/** A share that leaves something: 0 is one, and 1 is none. */
export const belowOne = numeric('a number of at least 0 and below 1', v.minValue(0), v.ltValue(1));
/** A whole number of at least `bound`. */
export const wholeAtLeast = (bound: number): v.GenericSchema<number> =>
  numeric(`a whole number of at least ${bound}`, v.integer(), v.minValue(bound));
/** A whole number from `low` to `high`, both included. */
export const wholeBetween = (low: number, high: number): v.GenericSchema<number> =>
  numeric(`a whole number from ${low} to ${high}`, v.integer(), v.minValue(low), v.maxValue(high));

/** True or false. */
export const yesOrNo = v.pipe(v.boolean(), v.title('true or false'));

/** A function, of whatever it takes and gives. */
export const aFunction = v.pipe(v.function(), v.title('a function'));

export const text = v.pipe(v.string(), v.title('a text'));

/** One of several numbers or words. */
export const choice = <const Choices extends readonly (number | string)[]>(
  ...choices: Choices
): v.GenericSchema<Choices[number]> =>
  v.pipe(v.picklist(choices), v.title([choices.slice(0, -1).join(', '), ...choices.slice(-1)].join(' or ')));

// What files hold, for those who read them: they may be of another version, of somebody else, or have been edited. A file of a later
// version may have more fields.

/** A value of a type, out of anything. The compiler holds the schema to the type. */
export type Of<Value> = v.GenericSchema<unknown, Value>;

/** A number as JSON has it, which has null for one that is not finite: that is read as NaN. */
export const jsonNumber = v.pipe(
  v.nullable(v.number()),
  v.transform((value) => value ?? Number.NaN),
  v.title('a number, or null for one that is not finite'),
);

export const texts = v.pipe(v.array(text), v.title('a list of texts'));
export const list = <Item extends v.GenericSchema>(item: Item) => v.pipe(v.array(item), v.title('a list'));

/** A record of these fields, and of whatever else. */
export const record = <Fields extends v.ObjectEntries>(fields: Fields) =>
  v.pipe(v.looseObject(fields), v.title('a record'));
/** A record of values of one kind, by whatever names. */
export const byName = <Value extends v.GenericSchema>(value: Value) =>
  v.pipe(v.record(v.string(), value), v.title('a record'));

const isSchema = (value: unknown): value is v.GenericSchema =>
  typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'schema';

/** What an optional schema is about when there is a value; any other is about itself. */
export const required = (schema: v.GenericSchema): v.GenericSchema =>
  'wrapped' in schema && isSchema(schema.wrapped) ? required(schema.wrapped) : schema;

const titleOf = (schema: v.GenericSchema): string | undefined => v.getTitle(schema) ?? v.getTitle(required(schema));

/** What values a schema takes, in words: `a number above 0`. */
export const says = (schema: v.GenericSchema): string => titleOf(schema) ?? required(schema).expects;

/**
 * What a schema makes of a value.
 *
 * Throws a `FailureError`, by default of kind `experiment`, that names `owner`, the field and its value, and says what to give: `kd:
 * temperature is -1`, `Give a number above 0.` A check of one's own (`v.check`, `v.custom`) is quoted instead.
 */
export const parsed = <Schema extends v.GenericSchema>(
  owner: string,
  schema: Schema,
  value: unknown,
  kind: FailureKind = 'experiment',
): v.InferOutput<Schema> => {
  const { success, output, issues } = v.safeParse(schema, value);
  if (success) return output;
  // Of several mistakes a misspelt name is the one that explains the others.
  const { failure: refused } = refusalOf(owner, schema, issues.find(isUnknownName) ?? issues[0]);
  throw new FailureError({ ...refused, kind });
};

/**
 * What a schema makes of what a file holds. Throws a `FailureError` of kind `usage` that names the file and the field, and says
 * what to do.
 */
export const inFile = <Schema extends v.GenericSchema>(
  path: string,
  schema: Schema,
  value: unknown,
  remedy: string,
): v.InferOutput<Schema> => {
  const deep = Object.entries(value ?? {}).find(([, each]) => isDeeper(each, deepest));
  if (deep !== undefined) {
    const what = `lists and records lie within each other more than ${deepest} deep`;
    throw new FailureError(failure('usage', what, { where: `${path}: ${deep[0]}`, remedy }));
  }
  try {
    return parsed(path, schema, value);
  } catch (error) {
    if (!(error instanceof FailureError)) throw error;
    const { where } = error.failure;
    const what = error.failure.what.replace(/ is undefined$/, ' is missing');
    throw new FailureError(failure('usage', what, { where, remedy: `${error.failure.remedy ?? ''} ${remedy}`.trim() }));
  }
};

/**
 * What a file of a run holds, of which nothing but its version was looked at. Throws a `FailureError` of kind `usage` where it is not JSON,
 * or not of this version.
 *
 * @param what what it should be: `matrix`
 */
export const versioned = (text: string, path: string, what: string, remedy: string): unknown => {
  const refuse = refusal('usage');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refuse('the file is not JSON', path, remedy);
  }
  if ((value as { version?: unknown } | null)?.version === 1) return value;
  return refuse(`the file is no ${what} of this version of undistill`, path, remedy);
};

/** Lists and records within each other that a file may have: JSON is read to any depth, and all that walks through a value is not. */
const deepest = 100;

const isDeeper = (value: unknown, levels: number): boolean =>
  typeof value === 'object' &&
  value !== null &&
  (levels === 0 || Object.values(value).some((each) => isDeeper(each, levels - 1)));

/** Throws as `parsed` does for the first value that its schema refuses. */
export const checked = <Field extends string>(
  owner: string,
  schemas: Readonly<Record<Field, v.GenericSchema>>,
  values: Readonly<Record<Field, unknown>>,
): void => {
  parsed(owner, v.object(schemas), values);
};

/**
 * Throws a `FailureError` of kind `experiment` when one of its options is none of `names`: experiment files run without a
 * type check, and a misspelt option would quietly mean its default.
 */
export const nothingElse = (owner: string, of: object, names: readonly string[]): void => {
  const other = Object.keys(of).find((name) => !names.includes(name));
  if (other !== undefined) throw unknownName(owner, other, names);
};

const unknownName = (where: string, name: string, names: readonly string[]): FailureError => {
  const remedy = `Correct the name, or take it out${names.length === 0 ? '' : `: it has ${names.join(', ')}`}.`;
  return new FailureError(failure('experiment', `${name} is none of its options`, { where, remedy }));
};

const isUnknownName = ({ type, expected }: v.BaseIssue<unknown>): boolean =>
  type === 'strict_object' && expected === 'never';

const refusalOf = (owner: string, schema: v.GenericSchema, issue: v.BaseIssue<unknown>): FailureError => {
  const path = (issue.path ?? []).map(({ key }) => String(key));
  const inner = within(schema, path);
  const title = titleOf(inner);
  const remedy = title === undefined ? `${issue.message}.` : `Give ${title}.`;
  const refused = (places: readonly string[], what: string) =>
    new FailureError(failure('experiment', what, { where: [owner, ...places].join(': '), remedy }));
  const [around, name = 'it'] = [path.slice(0, -1), path.at(-1)];
  if (isUnknownName(issue)) return unknownName([owner, ...around].join(': '), name, namesIn(within(schema, around)));
  // What is missing is refused as undefined would be.
  const [{ type, message }] = (issue.input === undefined && v.safeParse(inner, undefined).issues) || [issue];
  if (type === 'custom' || type === 'check') return refused(path, message);
  return refused(around, `${name} is ${shown(issue.input)}`);
};

/** The schema of what lies at a path within the values of another; as far as it can be told. */
const within = (schema: v.GenericSchema, [key, ...rest]: readonly string[]): v.GenericSchema => {
  if (key === undefined) return schema;
  const inside: unknown = required(schema);
  const { entries, items, item, value } = inside as {
    [of in 'entries' | 'items' | 'item' | 'value']?: Readonly<Record<string, unknown>>;
  };
  const inner = entries?.[key] ?? items?.[key] ?? item ?? value;
  return isSchema(inner) ? within(inner, rest) : schema;
};

/** The names that a record takes. */
const namesIn = (schema: v.GenericSchema): readonly string[] => {
  const { entries = {} } = required(schema) as { readonly entries?: object };
  return Object.keys(entries);
};

/** Characters of a value that are shown. */
const mostShown = 80;

/** A value as a person would write it, as far as there is room; a plugin or a function by its name. */
export const shown = (value: unknown): string => {
  const text = written(value);
  return text.length > mostShown ? `${text.slice(0, mostShown)}…` : text;
};

const written = (value: unknown): string => {
  if (typeof value === 'function') return `the function ${value.name}`;
  if (typeof value !== 'string' && (typeof value !== 'object' || value === null)) return String(value);
  if (typeof value === 'object' && 'name' in value && typeof value.name === 'string') return value.name;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    // It holds itself, or something that JSON has not.
    return Array.isArray(value) ? 'a list' : 'a record';
  }
};
