import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { FailureError, failure } from '../core/errors.js';
import { sha256 } from '../core/hash.js';
import { jsonText } from '../core/text.js';
import { type Bundled, readSources, type Source } from './identity.js';

/**
 * Stages are known by the code that they came from, and this package's own modules by a name for the numbers that they give: the
 * hash that their code had when it gave them first. An upgrade that rewords an error, or makes a loop faster to the same bits,
 * keeps the name (`npm run numbers -- --same`), and makes no stage stale. What is not in the table, or differs from it, is known by
 * its present code.
 */

const root = new URL('../../', import.meta.url);
const sources = new URL('src/', root);
/** In a checkout the sources are what runs, whatever was built of them. */
const inCheckout = existsSync(new URL('index.ts', sources));
/** Committed: which numbers each release's code gives. */
const table = new URL('numbers.json', root);
/** What the build makes of both for an installed package, which has no sources. */
const built = new URL('dist/numbers.json', root);

/** By module, as `attacks/kd`. */
export type Numbers = Readonly<Record<string, string>>;
export type Releases = Readonly<Record<string, { readonly code: string; readonly numbers: string }>>;

/** Rooms whose modules stages are known by: those of plugins, of the loop, and what a user's own modules import. */
const rooms = ['attacks', 'data', 'defenses', 'metrics', 'models', 'public', 'run', 'train'] as const;

const json = <T>(url: URL): T => JSON.parse(readFileSync(url, 'utf8')) as T;

/** The module of this package that a URL is of; undefined for a user's own. */
export const ownModule = (url: string): string | undefined => {
  const path = url.startsWith(root.href) ? url.slice(root.href.length) : '';
  return /^(?:src|dist)\/(.+)\.[jt]s$/.exec(path)?.[1];
};

/** What a user's module calls of this package, by the import's name. */
const publicModule = (name: string): string => (name === 'undistill' ? 'index' : name.replace('undistill', 'public'));

const sourceOf = (module: string): string => new URL(`${module}.ts`, sources).href;

/** Names of numbers for code as it is now. */
export const namesOf = (code: Numbers, releases: Releases): Numbers =>
  Object.fromEntries(
    Object.entries(code).map(([module, hash]) => {
      const kept = releases[module];
      return [module, kept?.code === hash ? kept.numbers : hash];
    }),
  );

const incomplete = (module: string): never => {
  throw new FailureError(
    failure('experiment', `the package does not know its module ${module}`, { remedy: 'Install undistill again.' }),
  );
};

/** This package's own modules. */
const own = async (modules: readonly string[]): Promise<ReadonlyMap<string, Source>> => {
  if (!inCheckout) {
    const numbers = json<Numbers>(built);
    return new Map(modules.map((module) => [module, { hash: numbers[module] ?? incomplete(module), files: {} }]));
  }
  const found = await readSources(modules.map(sourceOf));
  const sourced = modules.map((module): [string, Source] => [module, found.get(sourceOf(module)) as Source]);
  const names = namesOf(Object.fromEntries(sourced.map(([module, { hash }]) => [module, hash])), readReleases());
  return new Map(sourced.map(([module, { files }]) => [module, { hash: names[module] as string, files }]));
};

/**
 * The code behind modules: this package's own by their numbers, a user's by their text and by the numbers of what they import of
 * this package.
 *
 * @param urls of modules, as plugins name their `source`
 *
 * Rejects with a `FailureError` of kind `experiment` that names the module that is none.
 */
export const readCode = async (urls: Iterable<string>): Promise<ReadonlyMap<string, Source>> => {
  const all = [...urls];
  const theirs = await readSources(all.filter((url) => ownModule(url) === undefined));
  const calls = [...theirs.values()].flatMap(({ imports }) => imports.map(publicModule));
  const ours = await own([...new Set([...all.flatMap((url) => ownModule(url) ?? []), ...calls])]);
  return new Map(
    all.map((url) => {
      const module = ownModule(url);
      return [url, module === undefined ? bound(theirs.get(url) as Bundled, ours) : (ours.get(module) as Source)];
    }),
  );
};

/** A user's module with the numbers of what it imports. */
const bound = ({ hash, files, imports }: Bundled, ours: ReadonlyMap<string, Source>): Source => {
  if (imports.length === 0) return { hash, files };
  const called = imports.map((name) => [name, ours.get(publicModule(name))?.hash]);
  const undistill = sha256(JSON.stringify(called)).slice(0, 16);
  return { hash: sha256(`${hash}${undistill}`).slice(0, 16), files: { ...files, undistill } };
};

/** The present code of all modules that stages are known by. */
export const presentCode = async (): Promise<Numbers> => {
  const modules = rooms.flatMap((room) =>
    readdirSync(new URL(`${room}/`, sources))
      .filter((name) => name.endsWith('.ts'))
      .map((name) => `${room}/${name.slice(0, -'.ts'.length)}`),
  );
  const all = [...modules, 'index'].sort();
  const found = await readSources(all.map(sourceOf));
  return Object.fromEntries(all.map((module) => [module, (found.get(sourceOf(module)) as Source).hash]));
};

/** Names of numbers beside what was built, for an installed package. */
export const writeBuilt = async (): Promise<void> =>
  writeFileSync(built, `${JSON.stringify(namesOf(await presentCode(), readReleases()))}\n`);

/** The table after a release: what changed gives new numbers, or those that it gave. */
export const releasedAs = (code: Numbers, releases: Releases, same: boolean): Releases =>
  Object.fromEntries(
    Object.entries(code).map(([module, hash]) => {
      const kept = releases[module];
      return [
        module,
        { code: hash, numbers: kept !== undefined && (same || kept.code === hash) ? kept.numbers : hash },
      ];
    }),
  );

export const readReleases = (): Releases => json(table);

export const writeReleases = (releases: Releases): void => writeFileSync(table, jsonText(releases));
