import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { FailureError, failure } from '../core/errors.js';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** A module's code: one hash over it and everything it imports locally, and one for each file, to say what changed. */
export interface Source {
  readonly hash: string;
  readonly files: Readonly<Record<string, string>>;
}

/** Sources by module URL. */
export type Sources = ReadonlyMap<string, Source>;

export const sha256 = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex');

/**
 * Any value as JSON with sorted keys: two values that would compute the same have the same text. Functions and labels are
 * left out; a plugin (a value with a `source`) is its name, its parameters and its code.
 */
export const canonical = (value: unknown, sources: Sources): Json => {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  // JSON has no −0, NaN or infinity.
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (Array.isArray(value)) return value.map((each) => canonical(each, sources));
  if (typeof value !== 'object') return null;
  const fields = Object.entries(value)
    .filter(
      ([name, field]) => name !== 'label' && name !== 'source' && field !== undefined && typeof field !== 'function',
    )
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, field]) => [name, canonical(field, sources)] as const);
  const source = (value as { source?: unknown }).source;
  return Object.fromEntries(
    typeof source === 'string' ? [...fields, ['source', sources.get(source)?.hash ?? null] as const] : fields,
  );
};

/** Every module named by a plugin inside a value. */
export const sourcesIn = (value: unknown, seen = new Set<unknown>()): ReadonlySet<string> => {
  const found = new Set<string>();
  const visit = (each: unknown): void => {
    if (typeof each !== 'object' || each === null || seen.has(each)) return;
    seen.add(each);
    for (const [name, field] of Object.entries(each)) {
      if (name === 'source' && typeof field === 'string') found.add(field);
      else visit(field);
    }
  };
  visit(value);
  return found;
};

/**
 * Reads a module and what it imports from files (packages are left to their versions): bundled, so that comments, spaces and
 * unused code do not count.
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
