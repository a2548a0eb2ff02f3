import { readFile } from 'node:fs/promises';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { FailureError, failure, refusal } from '../core/errors.js';
import { sha256 } from '../core/hash.js';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** A module's code: one hash over it and everything it imports locally, and one for each file, to say what changed. */
export interface Source {
  readonly hash: string;
  readonly files: Readonly<Record<string, string>>;
}

/** Sources by module URL. */
export type Sources = ReadonlyMap<string, Source>;

/** A plugin, whatever its kind: functions beside the parameters and the module that they depend on. */
interface Plugin {
  readonly name: string;
  readonly params: unknown;
  readonly source?: unknown;
}

const isPlugin = (value: object): value is Plugin => 'name' in value && 'params' in value;

/**
 * A value as JSON with sorted keys: two values that would compute the same have the same text. A plugin is its name,
 * its parameters and its code.
 *
 * Throws a `FailureError` of kind `experiment` for what JSON cannot tell apart: functions, maps, typed arrays.
 */
export const canonical = (value: unknown, sources: Sources, field = 'params'): Json => {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  // JSON has no NaN or infinity.
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (Array.isArray(value)) return value.map((each) => canonical(each, sources, field));
  if (typeof value !== 'object') return refuse(field);
  if (isPlugin(value)) {
    const { name, params, source } = value;
    const code = typeof source === 'string' ? { source: sources.get(source)?.hash ?? null } : {};
    return { name, params: canonical(params, sources), ...code };
  }
  if (!isRecord(value)) return refuse(field);
  const fields = Object.entries(value)
    .filter(([, each]) => each !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(fields.map(([name, each]) => [name, canonical(each, sources, name)]));
};

const isRecord = (value: object): boolean => [Object.prototype, null].includes(Object.getPrototypeOf(value));

const refuse = (field: string): never =>
  refusal('experiment')(
    `${field} is neither plain JSON nor a plugin`,
    'the parameters of a plugin',
    'Parameters are numbers, strings, lists and records of them, so that results can be known by them.',
  );

/** Every module named by a plugin inside a value. */
export const sourcesIn = (value: unknown): ReadonlySet<string> => {
  const found = new Set<string>();
  const seen = new Set<unknown>();
  const visit = (each: unknown): void => {
    if (typeof each !== 'object' || each === null || seen.has(each)) return;
    seen.add(each);
    if (isPlugin(each) && typeof each.source === 'string') found.add(each.source);
    for (const field of Object.values(each)) visit(field);
  };
  visit(value);
  return found;
};

/**
 * Reads a module and what it imports from files (packages are left to their versions): bundled, so that comments,
 * spaces and unused code do not count.
 */
export const readSource = async (url: string): Promise<Source> => {
  const path = url.startsWith('file:') ? fileURLToPath(url) : url;
  const bundle = await build({
    entryPoints: [path],
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'node',
    packages: 'external',
    minifyWhitespace: true,
    legalComments: 'none',
    logLevel: 'silent',
    // Where a bundle is made must not change its hash.
    absWorkingDir: process.cwd(),
  }).catch((error: unknown) => {
    throw new FailureError(
      failure('experiment', error instanceof Error ? error.message : String(error), {
        where: path,
        remedy: 'A plugin names its own module: source: import.meta.url.',
      }),
    );
  });
  const files: Record<string, string> = {};
  for (const input of Object.keys(bundle.metafile.inputs)) {
    files[relative(process.cwd(), input)] = sha256(await readFile(input)).slice(0, 16);
  }
  return { hash: sha256(bundle.outputFiles[0]?.text ?? '').slice(0, 16), files };
};

export const readSources = async (urls: Iterable<string>): Promise<Sources> => {
  const sources = new Map<string, Source>();
  for (const url of urls) sources.set(url, await readSource(url));
  return sources;
};
