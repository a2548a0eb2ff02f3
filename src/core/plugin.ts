import * as v from 'valibot';
import { parsed, text, wholeAtLeast } from './check.js';
import { isDeclaredOnce } from './declared-once.js';
import { FailureError, failure } from './errors.js';
import { type Given, type Options, optional, type Parsed } from './options.js';

export type PluginKind = 'attack' | 'defense' | 'network' | 'optimizer' | 'schedule' | 'dataset';

/** What a plugin says of itself: plain data, from which checks, lists, documentation and JSON Schemas are made. */
export interface Declaration {
  readonly kind: PluginKind;
  /** As it is called in an experiment file and in the matrix. */
  readonly name: string;
  /** `import.meta.url`: results made by an older version of the file are not reused. */
  readonly source: string;
  /** A sentence or two: what it does, with its formula. */
  readonly about: string;
  /** The paper, or whose code it follows. */
  readonly paper?: string;
  /** What it asks of others and what it trains, in words for who chooses it; nothing is computed of it. */
  readonly cost?: string;
  readonly options: Options;
  /** Settings by name, of papers as a rule. */
  readonly presets: Readonly<Record<string, object>>;
  /**
   * The option that may be given alone and without its name: `rounding(2)`; a list as several: `compose(nasty(),
   * topK(3))`.
   */
  readonly positional?: string;
}

/**
 * Makes plugins of one kind: `kd({ temperature: 20 })`. Knows what it makes: `kd.declaration`, `kd.presets.cifar100`.
 */
export interface Maker<Plugin, Argument, Presets = unknown> {
  (...argument: undefined extends Argument ? [argument?: Argument] : [argument: Argument]): Plugin;
  readonly declaration: Declaration;
  readonly presets: Presets;
}

/**
 * What `Of` is written as: by name, or the one that may be given alone. All may be left out where none is insisted on.
 */
export type Argument<Of extends Options, Alone extends keyof Of, Besides = unknown> =
  | (Given<Of> & Besides)
  | (Alone extends keyof Given<Of> ? Extract<Given<Of>[Alone], number | string> : never)
  | (object extends Given<Of> ? undefined : never);

/** What an author declares. `make` gives all of the plugin but what follows from the declaration. */
export interface PluginSpec<Of extends Options, Presets, Alone extends keyof Of, Made> {
  readonly name: string;
  readonly source: string;
  readonly about: string;
  readonly paper?: string;
  readonly cost?: string;
  readonly options?: Of;
  readonly presets?: Presets;
  /** A number or a word that may be given alone and without its name. */
  readonly positional?: Alone;
  /** Options that change no number of the result, and so are no parameters. */
  readonly cosmetic?: readonly (keyof Of)[];
  /** What to change of its options for a fraction of its own epochs or iterations; absent where it has none. */
  readonly scaled?: (options: Parsed<Of>, factor: number) => Partial<Given<Of>>;
  readonly make: (options: Parsed<Of>) => Made;
}

/** What every plugin has from its declaration. */
export interface Identity<Plugin> {
  readonly name: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly source: string;
  readonly label?: string;
  readonly budget?: number;
  readonly scaled?: (factor: number) => Plugin;
}

/** Whether a value holds itself somewhere. */
const holdsItself = (value: unknown, around: readonly unknown[] = []): boolean => {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return false;
  return around.includes(value) || Object.values(value).some((each) => holdsItself(each, [...around, value]));
};

const named = v.pipe(v.string(), v.trim(), v.nonEmpty(), v.title('a name'));

/** What every plugin is, written by hand or declared. */
export const anyPlugin = v.looseObject({
  name: named,
  params: v.pipe(
    v.record(v.string(), v.unknown()),
    v.check((params) => !holdsItself(params), 'it holds itself'),
    v.title('a record of all that distinguishes two uses of it: params: { … }'),
  ),
  source: v.pipe(
    v.string(),
    v.title("its module's URL, by which results of an older version are known: source: import.meta.url"),
  ),
  label: v.optional(named),
});

/**
 * A plugin of one kind among another's options, which stays the value that it is.
 *
 * @param is whether a value is of the kind
 * @param none what one is that is not: `this is no network`
 * @param title what to give: `a network, such as plainCnn()`
 */
export const pluginOption = <Plugin>(is: (value: unknown) => boolean, none: string, title: string) =>
  v.pipe(
    v.custom<Plugin>(is, none),
    v.check(
      (value) => v.is(anyPlugin, value),
      ({ input }) => notOfAPlugin(input),
    ),
    v.title(title),
  );

/** Which field keeps a value from being a plugin, and what to give. */
const notOfAPlugin = (value: unknown): string => {
  try {
    parsed('', anyPlugin, value);
    return '';
  } catch (error) {
    const { what, remedy } = (error as FailureError).failure;
    return `its ${what}: ${remedy}`;
  }
};

/** What attacks and defences take beside their options. */
export interface Labelled {
  /** A name of one's own for the matrix; default: the name and the parameters that differ. */
  readonly label?: string;
}

/** What attacks take beside their options. */
export interface Budgeted extends Labelled {
  /** Answers that it may ask of a black box in all; default: the experiment's. A parameter where it is given. */
  readonly budget?: number;
}

/**
 * A maker out of a declaration.
 *
 * What it makes of its argument throws a `FailureError` of kind `experiment` for an option that it does not have, one
 * that is missing or a value that a schema refuses. `params` are the options in the order of the declaration, `null`
 * where one is undefined.
 */
export const define = <
  Of extends Options,
  Presets,
  Alone extends keyof Of,
  Made,
  Plugin extends { readonly params: object },
  Besides,
>(
  kind: PluginKind,
  spec: PluginSpec<Of, Presets, Alone, Made>,
  finish: (
    identity: Identity<Plugin>,
    made: Made,
    options: Parsed<Of>,
    /** The same plugin with some options changed. */
    changed: (options: Readonly<Record<string, unknown>>) => Plugin,
  ) => Plugin,
): Maker<Plugin, Argument<Of, Alone, Besides>, Presets> => {
  const {
    name,
    source,
    about,
    paper,
    cost,
    options = {},
    presets = {},
    positional,
    cosmetic = [],
    scaled,
    make,
  } = spec;
  const schema = schemaOf({ kind, options });
  const making: Making = { make, isOnlyOne: isDeclaredOnce(name, source) };
  const maker = (argument?: unknown): Plugin => {
    const given = byName(name, positional as string | undefined, argument);
    const all = parsed(name, schema, given) as Readonly<Record<string, unknown>>;
    const isOwn = ([option]: readonly [string, unknown]): boolean => Object.hasOwn(options, option);
    const chosen = Object.fromEntries(Object.entries(all).filter(isOwn));
    // What all of a kind take, where the plugin has no option of its own by that name.
    const { label, budget }: Budgeted = Object.fromEntries(Object.entries(all).filter((entry) => !isOwn(entry)));
    const params = Object.keys(options).filter((option) => !cosmetic.includes(option));
    const limited = budget === undefined ? {} : { budget };
    const changed = (to: Readonly<Record<string, unknown>>): Plugin => maker({ ...given, ...to });
    const identity: Identity<Plugin> = {
      name,
      params: { ...Object.fromEntries(params.map((option) => [option, chosen[option] ?? null])), ...limited },
      source,
      ...limited,
      ...(label === undefined ? {} : { label }),
      ...(scaled && { scaled: (factor: number) => changed(scaled(chosen as Parsed<Of>, factor)) }),
    };
    makes.set(identity.params, making);
    return determined(finish(identity, make(chosen as Parsed<Of>), chosen as Parsed<Of>, changed));
  };
  const declaration: Declaration = {
    kind,
    name,
    source,
    about,
    ...(paper === undefined ? {} : { paper }),
    ...(cost === undefined ? {} : { cost }),
    options,
    presets: presets as Declaration['presets'],
    ...(positional === undefined ? {} : { positional: positional as string }),
  };
  // The function is called as the plugin is, so that whoever is handed it can say whose it is.
  Object.defineProperty(maker, 'name', { value: name });
  return Object.assign(maker, { declaration, presets: presets as Presets });
};

/**
 * What declarations made, by their parameters, which a copy with other fields shares (`{ ...kd(), steal }`), and by their
 * functions.
 */
const made = new WeakMap<object, object>();

/** How a declaration makes its plugins. */
export interface Making {
  readonly make: object;
  /** Whether its module has no other of the name, and it knows nothing but its options. */
  readonly isOnlyOne: boolean;
}

const makes = new WeakMap<object, Making>();

/** How a declaration made a plugin, by the plugin's parameters, where one did. */
export const makingOf = (params: object): Making | undefined => makes.get(params);

/**
 * Says of a plugin that its name, its parameters and its module determine it, as they do what a declaration makes. Of any
 * other the results are known by its functions' texts and the experiment's file as well. So that it stays so, nothing can be
 * assigned to it any more: who changes a field makes a copy, `{ ...kd(), steal }`.
 */
export const determined = <Plugin extends { readonly params: object }>(plugin: Plugin): Plugin => {
  made.set(plugin.params, plugin);
  // What is in it may hold itself.
  const seen = new WeakSet<object>();
  const visit = (value: unknown): void => {
    if (typeof value === 'function' && !made.has(value)) made.set(value, plugin);
    if (typeof value !== 'object' || value === null || 'params' in value || seen.has(value)) return;
    seen.add(value);
    Object.values(value).forEach(visit);
  };
  Object.values(plugin).forEach(visit);
  return frozen(plugin);
};

/**
 * A value to which nothing can be assigned, nor to the lists and records in it. Instances of classes may have a state, and of plugins
 * in it each is its own maker's, or known by its functions as they are.
 */
const frozen = <Value extends object>(value: Value): Value => {
  // Before what is in it, which may be the value itself.
  Object.freeze(value);
  for (const each of Object.values(value)) {
    const isPlain = Array.isArray(each) || (typeof each === 'object' && each !== null && isRecord(each));
    if (isPlain && !('name' in each && 'params' in each) && !Object.isFrozen(each)) frozen(each);
  }
  return value;
};

/** Whether a value is a record and no instance of a class. */
export const isRecord = (value: object): boolean => [Object.prototype, null].includes(Object.getPrototypeOf(value));

/** What a declaration made with these parameters, or with this function in it; undefined where none did. */
export const madeWith = (part: object): Readonly<Record<string, unknown>> | undefined =>
  made.get(part) as Readonly<Record<string, unknown>> | undefined;

/** What a maker takes, by name: its options, and what all of its kind take. */
export const schemaOf = ({ kind, options }: Pick<Declaration, 'kind' | 'options'>) => {
  const label = optional(text, 'Its name in the matrix; default: the name and the parameters that differ');
  const budget = optional(wholeAtLeast(1), "Answers that it may ask for in all; default: the experiment's");
  const beside: Readonly<Record<PluginKind, Options>> = {
    attack: { label, budget },
    defense: { label },
    network: {},
    optimizer: {},
    schedule: {},
    dataset: {},
  };
  return v.strictObject({ ...options, ...beside[kind] });
};

const byName = (owner: string, positional: string | undefined, argument: unknown): object => {
  if (argument === undefined) return {};
  if (positional !== undefined && typeof argument !== 'object') return { [positional]: argument };
  if (typeof argument === 'object' && argument !== null && !Array.isArray(argument)) return argument;
  throw new FailureError(
    failure('experiment', 'these are no options', { where: owner, remedy: `Give them by name: ${owner}({ … }).` }),
  );
};

/** The options that a maker takes by name: `OptionsOf<typeof kd>`. */
export type OptionsOf<Make extends (options: never) => unknown> = Extract<Parameters<Make>[0], object>;

/** Something that makes plugins and says which. */
export interface Declared {
  (...given: readonly unknown[]): unknown;
  readonly declaration: Declaration;
}

/** Whether a value is what `defineAttack`, `defineDefense` or `defineNetwork` gave. */
export const isDeclared = (value: unknown): value is Declared => typeof value === 'function' && 'declaration' in value;
