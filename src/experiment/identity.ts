import { readFile } from 'node:fs/promises';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { FailureError, failure, refusal, saidBy } from '../core/errors.js';
import { sha256 } from '../core/hash.js';
import { isRecord, madeWith, makingOf } from '../core/plugin.js';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** A module's code: one hash over it and everything it imports locally, and one for each file, to say what changed. */
export interface Source {
  readonly hash: string;
  readonly files: Readonly<Record<string, string>>;
}

/** A module with what it imports of this package by its name: `undistill/train`. */
export interface Bundled extends Source {
  readonly imports: readonly string[];
}

/** The code that plugins are made of. */
export interface Code {
  /** By URL. */
  readonly modules: ReadonlyMap<string, Source>;
  /** The experiment's own file, where it came from one. */
  readonly experiment?: Source | undefined;
}

/** A plugin, whatever its kind: functions beside the parameters and the module that they depend on. */
interface Plugin {
  readonly name: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly source?: unknown;
}

const isPlugin = (value: object): value is Plugin => 'name' in value && 'params' in value;

/**
 * A value as JSON with sorted keys: two values that would compute the same have the same text. A plugin is its name,
 * its parameters and its module's code. Where no declaration made it, or fields of it were changed since, it is these
 * fields too, functions by their text, and the file of the experiment, from which such functions may know anything; and so it is
 * where a function declared what made it.
 *
 * Throws a `FailureError` of kind `experiment` for what JSON cannot tell apart: functions among parameters, maps, typed
 * arrays, plugins that are instances of a class.
 */
export const canonical = (value: unknown, code: Code, field = 'params'): Json => jsonOf(value, code, field, false, []);

/** @param around the lists and records that it is in */
const jsonOf = (value: unknown, code: Code, field: string, mayCall: boolean, around: readonly unknown[]): Json => {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  // JSON has no NaN or infinity.
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (typeof value === 'function' && mayCall) return functionOf(value, code, field);
  // What holds itself is no JSON either.
  if (typeof value !== 'object' || around.includes(value)) return refuse(field);
  const within = [...around, value];
  if (Array.isArray(value)) return value.map((each) => jsonOf(each, code, field, mayCall, within));
  if (isPlugin(value)) {
    if (!isRecord(value) && madeWith(value.params) !== (value as object)) refuseInstance(value);
    const { name, params, source } = value;
    const module = typeof source === 'string' ? { source: code.modules.get(source)?.hash ?? null } : {};
    return { name, params: canonical(params, code), ...module, ...ownPart(value, code, within) };
  }
  if (!isRecord(value)) return refuse(field);
  return Object.fromEntries(sorted(value).map(([name, each]) => [name, jsonOf(each, code, name, mayCall, within)]));
};

/** A function by its text, and by the plugin that it was made for, whose parameters it knows. */
const functionOf = (value: object, code: Code, field: string): Json => {
  const text = String(value);
  if (/\{\s*\[native code\]\s*\}$/.test(text)) refuseHidden(field);
  const maker = madeWith(value);
  return [sha256(text).slice(0, 16), ...(maker === undefined ? [] : [canonical(maker, code)])];
};

/** A function of one's own, and where it was found: `mine: steal`. */
export interface OwnFunction {
  readonly where: string;
  readonly value: object;
}

/**
 * The functions inside a value that are known by their text or their module alone, in the order of `canonical`: of plugins that no declaration
 * made, or that were changed since, and by which declarations make theirs, which may know more where a function declares them.
 */
export const ownFunctions = (value: unknown, where = ''): readonly OwnFunction[] => {
  if (typeof value === 'function') return madeWith(value) === undefined ? [{ where, value }] : [];
  if (typeof value !== 'object' || value === null) return [];
  if (Array.isArray(value)) return value.flatMap((each) => ownFunctions(each, where));
  if (isPlugin(value)) {
    const { name, params } = value;
    const own = ownFields(value).flatMap(([field, each]) => ownFunctions(each, `${name}: ${field}`));
    const making = makingOf(params);
    return [...(making ? [{ where: `${name}: make`, value: making.make }] : []), ...ownFunctions(params, name), ...own];
  }
  return sorted(value).flatMap(([field, each]) => ownFunctions(each, where === '' ? field : `${where}.${field}`));
};

/**
 * The first of some functions that is none of the others, which have the same texts in the same order: what each knows beside its text, such
 * as what was given to the function that made it, shows nowhere.
 */
export const otherFunction = (
  functions: readonly OwnFunction[],
  others: readonly OwnFunction[],
): OwnFunction | undefined => functions.find(({ value }, i) => value !== others[i]?.value);

/** Fields of a plugin that its declaration did not make of its parameters. */
const ownFields = (plugin: Plugin): [string, unknown][] => {
  const made = madeWith(plugin.params);
  return sorted(plugin).filter(([name, value]) => !told.has(name) && made?.[name] !== value);
};

/** The function by which a declaration that may know more than its options made a plugin. */
const ownMake = (plugin: Plugin): [string, unknown][] => {
  const making = makingOf(plugin.params);
  return making === undefined || making.isOnlyOne ? [] : [['make', making.make]];
};

/** Whether a plugin is what its module's declaration makes of its parameters, and no more. */
export const isDeclared = (plugin: Plugin): boolean => [...ownFields(plugin), ...ownMake(plugin)].length === 0;

/** What a plugin is besides what its module's declaration makes of its parameters. */
const ownPart = (plugin: Plugin, code: Code, within: readonly unknown[]): { readonly [key: string]: Json } => {
  const own = [...ownFields(plugin), ...ownMake(plugin)];
  if (own.length === 0) return {};
  return {
    own: Object.fromEntries(own.map(([name, each]) => [name, jsonOf(each, code, name, true, within)])),
    ...(code.experiment && { experiment: code.experiment.hash }),
  };
};

/** Fields that are told beside, or change no number. */
const told: ReadonlySet<string> = new Set(['name', 'params', 'source', 'label', 'scaled']);

const sorted = (value: object): [string, unknown][] =>
  Object.entries(value)
    .filter(([, each]) => each !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));

const refuse = (field: string): never =>
  refusal('experiment')(
    `${field} is neither plain JSON nor a plugin`,
    'the parameters of a plugin',
    'Parameters are numbers, strings, lists and records of them, so that results can be known by them.',
  );

const refuseHidden = (field: string): never =>
  refusal('experiment')(
    'it is a bound or built-in function, whose text no result can be known by',
    field,
    'Write it as a function of its own: (…) => original(…).',
  );

/** Of two instances of a class nothing shows that they compute something else: methods are the class's, and `#private` fields hidden. */
const refuseInstance = ({ name }: Plugin): never =>
  refusal('experiment')(
    'it is an instance of a class, whose methods and private fields no result is known by',
    String(name),
    'Give a plain object with all that distinguishes two of them in its parameters: { name, params: { … }, source, … }.',
  );

/** Every plugin inside a value. */
export const pluginsIn = (value: unknown): readonly Plugin[] => {
  const found: Plugin[] = [];
  const seen = new Set<unknown>();
  const visit = (each: unknown): void => {
    if (typeof each !== 'object' || each === null || seen.has(each)) return;
    seen.add(each);
    if (isPlugin(each)) found.push(each);
    for (const field of Object.values(each)) visit(field);
  };
  visit(value);
  return found;
};

/** Every module named by a plugin inside a value. */
export const sourcesIn = (value: unknown): ReadonlySet<string> =>
  new Set(pluginsIn(value).flatMap(({ source }) => (typeof source === 'string' ? [source] : [])));

/**
 * Reads modules and what each imports from files (packages are left to their versions): bundled, so that comments, spaces
 * and unused code do not count.
 *
 * Rejects with a `FailureError` of kind `experiment` that names the module that is none.
 */
export const readSources = async (urls: Iterable<string>): Promise<ReadonlyMap<string, Bundled>> => {
  const hashes = new Map<string, string>();
  const hashOf = async (file: string): Promise<string> => {
    const hash = hashes.get(file) ?? sha256(await readFile(file)).slice(0, 16);
    hashes.set(file, hash);
    return hash;
  };
  const pathOf = (url: string): string => (url.startsWith('file:') ? fileURLToPath(url) : url);
  const all = [...urls];
  const bundles = bundlesOf(all.map(pathOf));
  const sources = new Map<string, Bundled>();
  for (const url of all) {
    const { text, inputs, imports } = bundles.get(pathOf(url)) as Bundle;
    const files: Record<string, string> = {};
    for (const input of inputs) files[relative(process.cwd(), input)] = await hashOf(input);
    sources.set(url, { hash: sha256(text).slice(0, 16), files, imports });
  }
  return sources;
};

interface Bundle {
  readonly text: string;
  /** The files that it was made of, from the working directory. */
  readonly inputs: readonly string[];
  readonly imports: readonly string[];
}

/** What is wrong with a module is said of that module, for which each is bundled by itself. */
const bundlesOf = (paths: readonly string[]): ReadonlyMap<string, Bundle> => {
  try {
    return bundled(paths);
  } catch {
    return new Map(
      paths.flatMap((path) => {
        try {
          return [...bundled([path])];
        } catch (error) {
          throw new FailureError(
            failure('experiment', saidBy(error), {
              where: path,
              remedy: 'A plugin names its own module: source: import.meta.url.',
            }),
          );
        }
      }),
    );
  }
};

/** Each module with what it imports, all made by one process that ends at once (see bin/loader.js). */
const bundled = (paths: readonly string[]): ReadonlyMap<string, Bundle> => {
  // Where a bundle is made must not change its hash.
  const here = process.cwd();
  const { outputFiles, metafile } = buildSync({
    entryPoints: paths.map((path, i) => ({ in: path, out: `${i}` })),
    outdir: here,
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'node',
    packages: 'external',
    // Whatever a tsconfig.json makes of them.
    external: ['undistill', 'undistill/*'],
    minifyWhitespace: true,
    legalComments: 'none',
    logLevel: 'silent',
    absWorkingDir: here,
  });
  const texts = new Map(outputFiles.map(({ path, text }) => [relative(here, path), text]));
  return new Map(
    paths.map((path, i) => {
      const name = `${i}.js`;
      const { inputs = {}, imports = [] } = metafile.outputs[name] ?? {};
      const own = imports.map(({ path: imported }) => imported).filter((each) => /^undistill(\/|$)/.test(each));
      return [path, { text: texts.get(name) ?? '', inputs: Object.keys(inputs), imports: [...new Set(own)].sort() }];
    }),
  );
};
