import { readdir, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Refusal, refusal } from '../../core/errors.js';
import { clockOf, isGone, thisProcess } from '../../core/lock.js';
import { othersIn } from '../../core/private-folder.js';
import { firstFew } from '../../core/text.js';
import { alteredFiles, type EngineFolder, everyFile, type Manifest } from './folder.js';

/*
 * What stands between an engine that is installed and its library in this process. A library that was damaged on disk, and
 * has its size still, ends the process that loads it without a word, or computes something else. Our own operations are hashed each time they
 * are loaded; hashing all of TensorFlow takes a second, and hundreds of megabytes of memory bandwidth. So a mark lies beside the engine
 * while it is loaded. Whoever finds one whose process is gone hashes TensorFlow first.
 */

const refuse: Refusal = refusal('engine');

/** How to have an engine made anew. */
export const install = ({ variant }: Pick<Manifest, 'variant'>): string =>
  `Run: npx undistill engine install${variant === 'cuda' ? ' --cuda' : ''}`;

const marking = '.loading-';

/** Whether a file beside engines is no part of one, but says that it is being loaded. */
export const isMark = (name: string): boolean => name.includes(marking);

/** The marks of processes that ended while they loaded the engine in `folder`. */
const marksIn = async (folder: string): Promise<readonly string[]> => {
  const start = `${basename(folder)}${marking}`;
  const names = (await readdir(dirname(folder)).catch(() => [])).filter((name) => name.startsWith(start));
  if (names.length === 0) return [];
  // Where nothing can be written, this machine's clock has to do.
  const now = await clockOf(dirname(folder)).catch(() => Date.now());
  const left: string[] = [];
  for (const name of names) {
    const path = join(dirname(folder), name);
    const found = await stat(path).catch(() => undefined);
    const owner = name.slice(start.length);
    // This process has made none yet: one of its number is of an earlier one.
    if (found !== undefined && (owner === thisProcess() || isGone(owner, now - found.mtimeMs))) left.push(path);
  }
  return left;
};

/** Of libraries of a few hundred kilobytes: TensorFlow's and CUDA's lie in folders. */
const isOwn: typeof everyFile = ({ path }) => !path.includes('/');

const refuseDamaged = async ({ path, manifest }: EngineFolder, read = everyFile): Promise<void> => {
  const altered = await alteredFiles(path, manifest, read);
  if (altered.length > 0)
    refuse(`the engine is damaged on disk: ${firstFew(altered)}`, path, `${install(manifest)}, which makes it anew.`);
};

/** Loads an engine, and finds out where it, or an earlier attempt, fails whether that is for damaged files. */
export const loadMarked = async <A>(engine: EngineFolder, load: () => Promise<A>): Promise<A> => {
  const marks = await marksIn(engine.path);
  await refuseDamaged(engine, marks.length > 0 ? everyFile : isOwn);
  for (const mark of marks) await rm(mark, { force: true }).catch(() => undefined);
  const mark = `${engine.path}${marking}${thisProcess()}`;
  // A cache that cannot be written to does without.
  await writeFile(mark, '').catch(() => undefined);
  try {
    return await load();
  } catch (error) {
    await refuseDamaged(engine);
    throw error;
  } finally {
    await rm(mark, { force: true }).catch(() => undefined);
  }
};

/**
 * Rejects with a failure of kind `engine` where others could have put something in the place of one of these files: what is
 * loaded from them is run.
 */
export const refuseOthers = async (files: readonly string[]): Promise<void> => {
  const all = await Promise.all(files.map((file) => realpath(file)));
  const own = new Set(all.flatMap((file) => [file, dirname(file)]));
  const above = new Set([...own].map((path) => dirname(path)).filter((path) => !own.has(path)));
  for (const path of [...own, ...above]) {
    const who = othersIn(path, above.has(path));
    if (who === undefined) continue;
    refuse(
      `code from there is not run: ${who}`,
      path,
      'Make it your own (chown, chmod -R go-w), or have another: XDG_CACHE_HOME=FOLDER npx undistill engine install.',
    );
  }
};
