import { readdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { cacheFolder } from '../core/cache-folder.js';
import { FailureError, failure, refusal, showFailure, toFailure } from '../core/errors.js';
import { isFile } from '../core/files.js';
import { unique } from '../core/lists.js';
import { counted, showBytes } from '../core/text.js';
import { recipeFor } from '../engine/setup/wheels.js';
import { planName } from '../harness/plan-file.js';
import { isThere, openStore, storeOf } from '../run/store.js';
import { inCache, inStore, type Kept, removeKept } from '../run/unused.js';
import { readPlan } from './run-folder.js';
import { type Terminal, terminal, warn } from './terminal.js';

export interface CleanOptions {
  /** Days in which nobody touched what is removed. */
  readonly older: number;
  /** Bytes of unused things that may stay; the oldest go first. */
  readonly keep?: number;
  /** Removes of the cache too, which all projects share. */
  readonly cache?: boolean;
  /** Does not ask. */
  readonly yes?: boolean;
}

const day = 24 * 60 * 60 * 1000;

/** By a stage's id the runs beside a store whose plans name it. A plan that cannot be read may name anything: it is refused. */
const namedBy = async (folder: string): Promise<ReadonlyMap<string, readonly string[]>> => {
  const named = new Map<string, readonly string[]>();
  const runs = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const run of runs) {
    // A run that lies elsewhere may be a link, which leads nowhere while its disk is away.
    const isAway = run.isSymbolicLink() && !(await isThere(join(folder, run.name)));
    if (!isAway && !(await isFile(join(folder, run.name, planName)))) continue;
    const { stages } = await readPlan(join(folder, run.name)).catch((error) => {
      const { what, where } = toFailure('store')(error);
      throw new FailureError(
        failure('usage', `${what}: which stages that run uses is not known`, {
          where,
          remedy: 'Remove the folder of that run, or run its experiment again. Nothing was removed.',
        }),
      );
    });
    for (const { id } of stages) named.set(id, [...(named.get(id) ?? []), run.name]);
  }
  return named;
};

/** What is to go: unused, old enough, and of that no more than is beyond what may stay; the oldest first. */
export const toRemove = (
  all: readonly Kept[],
  { older, keep, now }: { readonly older: number; readonly keep?: number | undefined; readonly now: number },
): readonly Kept[] => {
  const free = all.filter(({ used }) => used === undefined);
  const old = free.filter(({ touched }) => now - touched >= older * day).sort((a, b) => a.touched - b.touched);
  if (keep === undefined) return old;
  let left = free.reduce((sum, { bytes }) => sum + bytes, 0);
  return old.filter(({ bytes }) => {
    if (left <= keep) return false;
    left -= bytes;
    return true;
  });
};

const total = (all: readonly Kept[]): string => showBytes(all.reduce((sum, { bytes }) => sum + bytes, 0));

/** What there is, a line a kind. */
export const held = (all: readonly Kept[], going: readonly Kept[]): readonly string[] =>
  unique(all.map(({ what }) => what)).map((what) => {
    const of = (some: readonly Kept[]) => some.filter((each) => each.what === what);
    const used = of(all).filter((each) => each.used !== undefined);
    return `${what}: ${of(all).length}, ${total(of(all))}; in use ${used.length}, ${total(used)}; to be removed ${of(going).length}, ${total(of(going))}`;
  });

const asked = async (question: string): Promise<boolean> => {
  const reader = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await reader.question(question)).trim());
  } finally {
    reader.close();
  }
};

/**
 * Tells what the store of some runs and the cache hold, and removes, after asking, what no run refers to and, if that is wanted, what no
 * living process uses of the cache. Gives the exit code.
 *
 * @param folder in which the runs are
 */
export const cleanCommand = async (
  folder: string,
  { older, keep, cache = false, yes = false }: CleanOptions,
  out: Terminal = terminal(),
): Promise<number> => {
  const root = resolve(folder);
  if (await isFile(join(root, planName)))
    refusal('usage')('this is one run, and its stages are kept with those of others', folder, `Give ${dirname(root)}.`);
  const store = storeOf(join(root, 'any'));
  const named = await namedBy(root);
  const engines = new Set([false, true].flatMap((cuda) => recipeFor(process.platform, process.arch, cuda)?.name ?? []));
  const [stored, cached] = await Promise.all([inStore(store, named), inCache(cacheFolder(), engines)]);
  const all = [...stored, ...cached];
  const going = toRemove(cache ? all : stored, { older, keep, now: Date.now() });
  for (const line of held(all, going)) out.log(line);
  if (!cache && cached.length > 0) out.log('The cache is shared with other projects, and left as it is: --cache.');
  if (going.length === 0) {
    out.log('There is nothing to remove.');
    return 0;
  }
  const what = `${counted(going.length, 'thing')} that nothing refers to, ${total(going)}, untouched for ${counted(older, 'day')}`;
  if (!yes) {
    if (process.stdin.isTTY !== true) {
      out.log(`Nothing was removed. --yes removes ${what}.`);
      return 0;
    }
    if (!(await asked(`Remove ${what}? All can be made again. [y/N] `))) {
      out.log('Nothing was removed.');
      return 0;
    }
  }
  const open = openStore(store, () => undefined);
  const gone: Kept[] = [];
  for (const each of going) {
    try {
      await removeKept(each, stored.includes(each) ? open : undefined, (line) => out.log(line));
      gone.push(each);
    } catch (error) {
      warn(out, showFailure(toFailure('store', each.path)(error)));
    }
  }
  out.log(`Removed: ${counted(gone.length, 'thing')}, ${total(gone)}.`);
  return gone.length === going.length ? 0 : 1;
};
