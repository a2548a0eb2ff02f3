import { lstat, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Holder, showHolder, withLock } from '../core/lock.js';
import { guarded } from './disk.js';
import { answersIn, type Store, stagesIn } from './store.js';

/** Something on disk that can be made again. */
export interface Kept {
  readonly what: 'stage' | 'stage in the making' | 'recorded answers' | 'data set' | 'engine' | 'compiled steps';
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  /** When one of its files was last written or, as far as the system notes that, read; in milliseconds since 1970. */
  readonly touched: number;
  /** Why it is not removed; absent where nothing refers to it. */
  readonly used?: string;
}

/** Bytes of all files at a path, and when the last of them was touched; of a link its own, which is all that would be removed. */
const sizeOf = async (path: string): Promise<Pick<Kept, 'bytes' | 'touched'>> => {
  const own = await lstat(path).catch(() => undefined);
  if (own === undefined) return { bytes: 0, touched: 0 };
  if (!own.isDirectory()) return { bytes: own.size, touched: Math.max(own.mtimeMs, own.atimeMs) };
  const names = await readdir(path).catch(() => []);
  const within = await Promise.all(names.map((name) => sizeOf(join(path, name))));
  return {
    bytes: within.reduce((sum, { bytes }) => sum + bytes, 0),
    touched: within.reduce((last, { touched }) => Math.max(last, touched), own.mtimeMs),
  };
};

/**
 * What a store holds. A stage that a run's plan names is used.
 *
 * @param named by a stage's id the runs whose plans name it
 */
export const inStore = async (
  root: string,
  named: ReadonlyMap<string, readonly string[]>,
): Promise<readonly Kept[]> => {
  const stages = [...(await stagesIn(root))].map(async ([id, { state, folder }]): Promise<Kept> => {
    const runs = named.get(id);
    return {
      what: state === 'finished' ? 'stage' : 'stage in the making',
      name: id,
      path: folder,
      ...(await sizeOf(folder)),
      ...(runs === undefined ? {} : { used: `a stage of ${runs.join(', ')}` }),
    };
  });
  const recorded = (await readdir(answersIn(root)).catch(() => [])).map(async (name): Promise<Kept> => {
    const path = join(answersIn(root), name);
    return { what: 'recorded answers', name, path, ...(await sizeOf(path)) };
  });
  return Promise.all([...stages, ...recorded]);
};

/** The paths of files that living processes have mapped, one text; undefined where the system does not tell. */
const mappedFiles = async (): Promise<string | undefined> => {
  if (process.platform !== 'linux') return undefined;
  const processes = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const maps = await Promise.all(processes.map((pid) => readFile(`/proc/${pid}/maps`, 'utf8').catch(() => '')));
  return maps.join('\n');
};

/**
 * What the cache holds. Engines are used that this version would install, and what a living process has loaded; where the system does
 * not tell what processes have loaded, all of them.
 *
 * @param current names of the engines of this version
 */
export const inCache = async (cache: string, current: ReadonlySet<string>): Promise<readonly Kept[]> => {
  const loaded = await mappedFiles();
  const below = async (folder: string): Promise<readonly string[]> =>
    (await readdir(join(cache, folder)).catch(() => [])).filter((name) => !name.endsWith('.lock'));
  const kept = async (
    what: Kept['what'],
    folder: string,
    usedFor: (name: string, path: string) => string | undefined,
  ) =>
    Promise.all(
      (await below(folder)).map(async (name): Promise<Kept> => {
        const path = join(cache, folder, name);
        const used = usedFor(name, path);
        return { what, name, path, ...(await sizeOf(path)), ...(used === undefined ? {} : { used }) };
      }),
    );
  const inProcess = (path: string): string | undefined => {
    if (loaded === undefined) return 'whether a process uses it is not known here';
    return loaded.includes(path) ? 'a living process uses it' : undefined;
  };
  const all = await Promise.all([
    kept('data set', 'data', (_, path) => inProcess(path)),
    kept('engine', 'engines', (name, path) => (current.has(name) ? "this version's engine" : inProcess(path))),
    kept('compiled steps', 'graphs', (_, path) => inProcess(path)),
  ]);
  return all.flat();
};

/**
 * Removes what nothing uses. A stage is removed under its lock: rejects with a failure of kind `store` where a process has it. Who
 * installs an engine is waited for, and named to `say`.
 */
export const removeKept = async (
  { what, name, path }: Kept,
  store: Store | undefined,
  say: (line: string) => void,
): Promise<void> => {
  if (store !== undefined && (what === 'stage' || what === 'stage in the making')) return store.remove(name);
  const remove = () => guarded(path, () => rm(path, { recursive: true, force: true }));
  // Who installs one holds its lock, also while its files lie in a folder aside.
  if (what !== 'engine') return remove();
  const onWait = (holder: Holder) => say(`The engine ${name} is being installed. Waiting for ${showHolder(holder)}.`);
  const lock = `${path.replace(/\.staging$/, '')}.lock`;
  return guarded(lock, () => withLock(lock, remove, { onWait }));
};
