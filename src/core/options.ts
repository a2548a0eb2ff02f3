import * as v from 'valibot';
import { required as given, says } from './check.js';

/** The options of a plugin: a schema each, by name. */
export type Options = v.ObjectEntries;

/** Options are values: nobody writes into their lists. */
type Unchanging<Values> = {
  [Name in keyof Values]: Values[Name] extends infer Value
    ? Value extends readonly unknown[]
      ? Readonly<Value>
      : Value
    : never;
};

/** What a person writes: options that are optional or have a default may be left out. */
export type Given<Of extends Options> = Unchanging<v.InferInput<v.StrictObjectSchema<Of, undefined>>>;

/** What a plugin gets: defaults are filled in, and an optional option that was left out is undefined. */
export type Parsed<Of extends Options> = Unchanging<v.InferOutput<v.StrictObjectSchema<Of, undefined>>>;

/** An option that may be left out, its default, and a sentence about it without its range, which its schema says. */
export const option = <const Schema extends v.GenericSchema, const Default extends v.InferInput<Schema>>(
  schema: Schema,
  initial: Default,
  about: string,
) => v.pipe(v.optional(schema, initial), v.description(about));

/** An option that may be left out and then is undefined; the sentence says what that means. */
export const optional = <const Schema extends v.GenericSchema>(schema: Schema, about: string) =>
  v.pipe(v.optional(schema), v.description(about));

/** An option that is insisted on. */
export const required = <const Schema extends v.GenericSchema>(schema: Schema, about: string) =>
  v.pipe(schema, v.description(about));

/** What options are when nothing is given. None of them may be insisted on. */
export const defaultsOf = <const Of extends Options>(options: Of): Parsed<Of> =>
  v.parse(v.object(options), {}) as Parsed<Of>;

/** An option in words. */
export interface OptionWords {
  readonly name: string;
  /** What values it takes: `a number above 0`. */
  readonly takes: string;
  readonly about: string;
  readonly required: boolean;
  /** Undefined where there is none. */
  readonly initial: unknown;
}

export const wordsOf = (options: Options): readonly OptionWords[] =>
  Object.entries(options).map(([name, schema]) => ({
    name,
    takes: says(schema),
    about: v.getDescription(schema) ?? v.getDescription(given(schema)) ?? '',
    required: given(schema) === schema,
    initial: v.getDefault(schema),
  }));
