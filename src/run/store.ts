import { randomBytes } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as E from 'fp-ts/lib/Either.js';
import { FailureError, failure, type Result } from '../core/errors.js';
import { isFile, isFolder, makeFolder, noFile, readPlain, sha256Of } from '../core/files.js';
import { sha256 } from '../core/hash.js';
import {
  clockOf,
  holderOf,
  isGone,
  type Lock,
  readerOf,
  removeAbandoned,
  removeLock,
  showHolder,
  thisProcess,
  tryLock,
} from '../core/lock.js';
import { decodeSafetensors, encodeSafetensors, type Safetensors, type StoredTensor } from '../core/safetensors.js';
import { jsonText } from '../core/text.js';
import { guarded, storeFailure } from './disk.js';

/**
 * Results by content: `<root>/<stage id>/` with a manifest of checksums, complete or absent. While a stage is made its
 * files lie in `<id>.partial`, from which a killed run goes on; a journal beside them says what was written and removed, in
 * order. The last act is a rename. Who makes or removes a stage holds its lock, `locks/<id>`.
 */
export interface Store {
  readonly root: string;
  /** A finished stage whose files are what they were; undefined when it is missing. */
  find(id: string): Promise<StageOutput | undefined>;
  /**
   * A finished stage that is known to be there: on a folder that machines share it may show only after a while, which is
   * waited for where the store is opened with `patience`.
   */
  expect(id: string): Promise<StageOutput | undefined>;
  /** Takes a stage for making; undefined while another process has it. */
  begin(id: string): Promise<StagingDir | undefined>;
  /** Who has a stage, in words; undefined where nobody does. */
  holder(id: string): Promise<string | undefined>;
  /** Removes stages, all or none: rejects with a failure of kind `store` while another process has one of them. */
  remove(...ids: readonly string[]): Promise<void>;
}

/** A finished stage. */
export interface StageOutput {
  readonly folder: string;
  json<Value>(name: string): Promise<Value>;
  tensors(name: string): Promise<Safetensors>;
  bytes(name: string): Promise<Buffer>;
  /** The names of the files in a folder of it, sorted; none where there is no such folder. */
  list(folder: string): Promise<readonly string[]>;
}

/** A stage in the making: files written here survive a kill. */
export interface StagingDir {
  readonly folder: string;
  has(name: string): Promise<boolean>;
  readJson<Value>(name: string): Promise<Value | undefined>;
  writeJson(name: string, value: unknown): Promise<void>;
  readTensors(name: string): Promise<Safetensors | undefined>;
  writeTensors(
    name: string,
    tensors: Readonly<Record<string, StoredTensor>>,
    metadata?: Readonly<Record<string, string>>,
  ): Promise<void>;
  writeText(name: string, text: string): Promise<void>;
  /** As they were written, if `isSound` says so of them; else the file is removed, and said to be damaged. */
  readBytes(name: string, isSound: (bytes: Buffer) => boolean): Promise<Buffer | undefined>;
  writeBytes(name: string, bytes: Uint8Array): Promise<void>;
  /** The names of the files in a folder of it, sorted; none where there is no such folder. */
  list(folder: string): Promise<readonly string[]>;
  remove(name: string): Promise<void>;
  /**
   * Makes what lies here the stage's result. Rejects with a failure of kind `store` where another process took the stage
   * over meanwhile.
   */
  finish(): Promise<void>;
  /** Gives the stage back; what lies here stays for the next one who begins it. */
  release(): Promise<void>;
}

const manifestName = 'manifest.json';

/** What was written and removed of a stage in the making, a line each, in order. */
export const journalName = 'written.log';

/** Where the runs in one folder keep their stages together, told by one run's folder. */
export const storeOf = (run: string): string => join(run, '..', '.store');

/** What is appended to the name of a stage's folder while the stage is made. */
const begunEnding = '.partial';

/** Where a stage lies while it is made. */
export const begunFolder = (root: string, id: string): string => join(root, `${id}${begunEnding}`);

const locksFolder = 'locks';

const answersFolder = 'answers';

const jobsFolder = 'jobs';

/** Where a store keeps what jobs of a cluster say of its stages. */
export const jobsIn = (root: string): string => join(root, jobsFolder);

/** A lock on something of a whole store. */
export const storeLock = (root: string, name: 'submission' | 'tables'): string => join(root, locksFolder, name);

/** Where a store keeps what victims answered. */
export const answersIn = (root: string): string => join(root, answersFolder);

/** The folder of a stage, with nothing in it checked. */
export interface StageFolder {
  readonly state: 'finished' | 'begun';
  readonly folder: string;
}

/** The names of the folders in a store that are stages', and none of the system's or of files, such as a clock is read by. */
const stageNames = async (root: string): Promise<readonly string[]> => {
  const others = [locksFolder, answersFolder, jobsFolder];
  const entries = (await readdir(root, { withFileTypes: true }).catch(() => [])).filter(
    ({ name }) => !others.includes(name) && !isSystems(name),
  );
  // A stage that was moved to another disk may be a link.
  const isStage = (entry: Dirent): boolean | Promise<boolean> =>
    entry.isDirectory() || (entry.isSymbolicLink() && isFolder(join(root, entry.name)));
  const are = await Promise.all(entries.map(isStage));
  return entries.filter((_, i) => are[i]).map(({ name }) => name);
};

/** Every stage in a store by its id; none where there is no store. Changes nothing. */
export const stagesIn = async (root: string): Promise<ReadonlyMap<string, StageFolder>> => {
  const names = await stageNames(root);
  const isBegun = (name: string): boolean => name.endsWith(begunEnding);
  const begun = names.filter(isBegun).map((name): [string, StageFolder] => {
    return [name.slice(0, -begunEnding.length), { state: 'begun', folder: join(root, name) }];
  });
  const finished = names
    .filter((name) => !isBegun(name))
    .map((name): [string, StageFolder] => [name, { state: 'finished', folder: join(root, name) }]);
  return new Map([...begun, ...finished]);
};

/** How the names of files end that are still being written; before that, who writes them. */
export const unfinished = '.tmp';

/** Where a file is written before it is put in its place: by a name that no machine beside this one comes upon too. */
export const aside = (path: string): string =>
  `${path}.${thisProcess()}-${randomBytes(6).toString('hex')}${unfinished}`;

/**
 * Removes what killed processes left half done: of a run's tables and pictures, and in its store of locks, recorded answers and stages
 * in the making. Of these it leaves what a next one goes on from, and removes folders in which there is nothing of it.
 */
export const removeLeftovers = async (run: string, root: string): Promise<void> => {
  await removeUnfinished(run);
  await removeUnfinished(answersIn(root));
  await removeUnfinished(root, { deep: false });
  await guarded(root, () => removeAbandoned(join(root, locksFolder)));
  const store = openStore(root, () => undefined);
  for (const [id, { state, folder }] of await stagesIn(root)) {
    if (state !== 'begun') continue;
    await removeUnfinished(folder, { around: root });
    // Who makes it holds it; given back with nothing in it, it goes.
    if (await isBare(folder)) await (await store.begin(id))?.release();
  }
};

/** Whether a stage in the making has no file but its journal. */
const isBare = async (folder: string): Promise<boolean> => {
  const found = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => undefined);
  return found?.every((entry) => entry.isDirectory() || entry.name === journalName) ?? false;
};

/** Releases what jobs of a cluster had in a store that have ended, by their numbers. */
export const releaseLocks = async (root: string, ended: ReadonlySet<string>): Promise<void> => {
  const folder = join(root, locksFolder);
  for (const name of await readdir(folder).catch(() => []))
    await guarded(folder, () => removeLock(join(folder, name), ({ job }) => job !== undefined && ended.has(job.id)));
};

/** Who writes a file that is not whole yet, or reads a clock by it; undefined where neither is so. */
const writerOf = (name: string): string | undefined =>
  name.endsWith(unfinished) ? (name.slice(0, -unfinished.length).split('.').at(-1) ?? '') : readerOf(name);

/**
 * Removes from a folder what no living process is writing: what killed ones left half written. What others on another
 * machine write is left for ten minutes.
 *
 * @param around a folder of the same disk, whose clock is read in it
 * @param deep also from the folders in it
 */
const removeUnfinished = async (folder: string, { around = folder, deep = true } = {}): Promise<void> => {
  const found = await readdir(folder, { recursive: deep, withFileTypes: true }).catch(() => []);
  const left = found.filter((entry) => entry.isFile() && writerOf(entry.name) !== undefined);
  if (left.length === 0) return;
  const now = await guarded(around, () => clockOf(around));
  for (const entry of left) {
    const path = pathOf(entry);
    const since = await stat(path).then(
      ({ mtimeMs }) => now - mtimeMs,
      () => 0,
    );
    if (isGone(writerOf(entry.name) ?? '', since)) await rm(path, { force: true }).catch(() => undefined);
  }
};

/**
 * Written aside, flushed to the disk, renamed into place: there in full or not at all.
 *
 * @param whenFlushed is called before it gets its place: the disk had room for it
 */
export const writeWhole = (
  path: string,
  content: string | Uint8Array,
  whenFlushed: () => Promise<void> = async () => undefined,
): Promise<void> =>
  guarded(path, async () => {
    await makeFolder(dirname(path));
    // A device or a pipe would be replaced by a file of its name.
    if ((await isThere(path)) && !(await isFile(path)))
      throw new FailureError(
        failure('store', 'there is something of this name that is no file', {
          where: path,
          remedy: 'Choose another with --out.',
        }),
      );
    const written = aside(path);
    try {
      await flushed(written, 'w', content);
      await whenFlushed();
      await rename(written, path);
    } catch (error) {
      await rm(written, { force: true }).catch(() => undefined);
      throw error;
    }
  });

const flushed = async (path: string, flag: 'w' | 'a', content: string | Uint8Array): Promise<void> => {
  const file = await open(path, flag);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
};

/** Whether there is a file or a folder. */
export const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

const readIfThere = async (path: string): Promise<Buffer | undefined> => {
  try {
    return await readPlain(path);
  } catch (error) {
    if (['ENOENT', noFile].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    return storeFailure(path, error);
  }
};

const orElse = (result: Result<Safetensors>, path: string): Safetensors => {
  if (E.isLeft(result)) throw new FailureError({ ...result.left, where: path });
  return result.right;
};

/** Node before 20.12 has the folder of an entry under another name. */
const pathOf = ({ parentPath, path, name }: Dirent): string => join(parentPath ?? path, name);

/** Names that begin with a dot are the system's (`.DS_Store`, `.nfs…`): no stage writes them. */
const isSystems = (name: string): boolean => name.startsWith('.');

/** Every file below a folder but those that tell of the others, with its checksum. */
const checksums = async (folder: string): Promise<Map<string, string>> => {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  const sums = new Map<string, string>();
  for (const entry of found.filter((each) => each.isFile() && !isSystems(each.name))) {
    const path = pathOf(entry);
    const name = path.slice(folder.length + 1);
    if (name !== manifestName && name !== journalName) sums.set(name, await sha256Of(path));
  }
  return sums;
};

const output = (folder: string): StageOutput => {
  const read = (name: string) => guarded(join(folder, name), () => readPlain(join(folder, name)));
  return {
    folder,
    json: async (name) => JSON.parse((await read(name)).toString()),
    tensors: async (name) => orElse(decodeSafetensors(await read(name)), join(folder, name)),
    bytes: read,
    list: (name) => filesIn(join(folder, name)),
  };
};

const filesIn = async (folder: string): Promise<readonly string[]> =>
  (await readdir(folder).catch(() => [])).filter((name) => !isSystems(name)).sort();

/** What is said of a file that is not what was written. */
export const alteredFile = (file: string): string => `${file} was altered on disk; it is made anew`;

/** Milliseconds in which what another machine has finished shows on a shared folder: network file systems keep listings for up to a minute. */
export const untilShown = 60_000;

/** Milliseconds between two looks for it. */
const lookAgain = 1_000;

export interface StoreOptions {
  /** Milliseconds for which a finished stage that is known to be there is waited for. Default: it shows at once. */
  readonly patience?: number;
  /** Files are taken for what was written, for who only looks at them; else a stage's are checked once a process. */
  readonly trusting?: boolean;
  /** For who makes nothing: a damaged stage is told of and is as good as missing, and is left for a run to make anew. */
  readonly reading?: boolean;
}

/**
 * @param onDamage told when a file is not what was written; the finished stage, or the checkpoint, is then removed, to be made anew
 */
export const openStore = (
  root: string,
  onDamage: (id: string, file: string) => void,
  { patience = 0, trusting = false, reading = false }: StoreOptions = {},
): Store => {
  const folderOf = (id: string) => join(root, id);
  const lockOf = (id: string) => join(root, locksFolder, id);
  const holder = async (id: string): Promise<string | undefined> => {
    const found = await holderOf(lockOf(id));
    return found === undefined ? undefined : showHolder(found);
  };
  /** A stage is checked once by each process: its folder never changes after. */
  const sound = new Set<string>();

  /** Whether a stage that looks damaged is so, which is told: what looks damaged may only be shown late. */
  const isDamaged = async (id: string): Promise<boolean> => {
    // A folder that is listed is asked for at its server.
    await readdir(root);
    const damaged = await damageIn(folderOf(id), id);
    if (damaged !== undefined && (await isThere(folderOf(id)))) onDamage(id, damaged);
    return damaged !== undefined;
  };

  /** Removes a stage that looks damaged, if it is; false where it is not. */
  const removeDamaged = async (id: string): Promise<boolean> => {
    const folder = folderOf(id);
    const lock = await guarded(root, () => tryLock(lockOf(id)));
    // It is being made anew, or removed.
    if (lock === undefined) return true;
    try {
      if (!(await isDamaged(id))) return false;
      await guarded(folder, () => rm(folder, { recursive: true, force: true }));
      return true;
    } finally {
      await lock.release();
    }
  };

  const find = async (id: string): Promise<StageOutput | undefined> => {
    const folder = folderOf(id);
    if (!(await isThere(folder))) return undefined;
    if (!trusting && !sound.has(id)) {
      if ((await damageIn(folder, id)) !== undefined && (await (reading ? isDamaged : removeDamaged)(id)))
        return undefined;
      // Its maker may have been killed before its last act.
      if (!reading) await rm(join(folder, journalName), { force: true }).catch(() => undefined);
      sound.add(id);
    }
    return output(folder);
  };

  const expect = async (id: string): Promise<StageOutput | undefined> => {
    const end = performance.now() + patience;
    for (;;) {
      const found = await find(id);
      if (found !== undefined || performance.now() >= end) return found;
      await sleep(Math.min(lookAgain, patience));
      await readdir(root).catch(() => undefined);
    }
  };

  return {
    root,
    find,
    expect,
    begin: async (id) => {
      const lock = await guarded(root, () => tryLock(lockOf(id)));
      if (lock === undefined) return undefined;
      return staging(folderOf(id), id, lock, (file) => onDamage(id, file)).catch(async (error) => {
        await lock.release();
        throw error;
      });
    },
    holder,
    remove: async (...ids) => {
      const locks: Lock[] = [];
      try {
        // All are taken before any is removed: another run may be making one of them.
        for (const id of ids) {
          const lock = await guarded(root, () => tryLock(lockOf(id)));
          if (lock === undefined) return refuseHeld(id, (await holder(id)) ?? 'another process');
          locks.push(lock);
        }
        for (const id of ids) {
          sound.delete(id);
          for (const folder of [folderOf(id), `${folderOf(id)}${begunEnding}`])
            await guarded(folder, () => rm(folder, { recursive: true, force: true }));
        }
      } finally {
        for (const lock of locks) await lock.release();
      }
    },
  };
};

const refuseHeld = (id: string, holder: string): never => {
  throw new FailureError(
    failure('store', `this stage is being made by ${holder}`, {
      where: id,
      remedy: 'Nothing was removed. Wait for it, or stop it, before making stages anew.',
    }),
  );
};

/** A finished stage in words: whose it is, and the checksums of its files. */
interface Manifest {
  readonly id: string;
  readonly files: Readonly<Record<string, string>>;
}

/** The checksums of a finished stage's files, by their names. */
export const sumsOf = async (stage: StageOutput): Promise<Manifest['files']> =>
  (await stage.json<Manifest>(manifestName)).files;

/** The name of a file of a finished stage that is not what was written, or of the manifest where that is another's. */
const damageIn = async (folder: string, id: string): Promise<string | undefined> => {
  const text = await readIfThere(join(folder, manifestName));
  if (text === undefined) return manifestName;
  try {
    const manifest = JSON.parse(text.toString()) as Manifest;
    if (manifest.id !== id) return manifestName;
    const found = await checksums(folder);
    const names = new Set([...Object.keys(manifest.files), ...found.keys()]);
    return [...names].find((name) => manifest.files[name] !== found.get(name));
  } catch {
    return manifestName;
  }
};

/** A line of a stage's journal: what a file is to hold, or that it is to be gone. */
interface JournalLine {
  readonly name: string;
  readonly sum: string | undefined;
}

const gone = 'removed';

/** Each line begins with a checksum of the rest and of whose stage it is. */
const journalText = (id: string, { name, sum = gone }: JournalLine): string => {
  const rest = `${sum} ${name}`;
  return `${sha256(`${id} ${rest}`).slice(0, 16)} ${rest}`;
};

const readJournal = async (folder: string, id: string): Promise<readonly JournalLine[]> => {
  const text = (await readIfThere(join(folder, journalName)))?.toString() ?? '';
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line) => {
    const [, said = '', name = ''] = /^\S+ (\S+) (.+)$/.exec(line) ?? [];
    const read: JournalLine = { name, sum: said === gone ? undefined : said };
    return line === journalText(id, read) ? read : unreadable;
  });
};

/** A line that was cut off or altered: it may have been any file's. */
const unreadable: JournalLine = { name: '', sum: undefined };

/** The checksums of the files that are there after some lines of a journal. */
const filesAfter = (lines: readonly JournalLine[]): Map<string, string> => {
  const files = new Map<string, string>();
  for (const { name, sum } of lines) {
    if (sum === undefined) files.delete(name);
    else files.set(name, sum);
  }
  return files;
};

/**
 * How many lines of a journal still hold where some files are damaged. A stage is made in one order, and what was made
 * after a file may have come of it: all goes back to the last moment of which no file was damaged or has changed since.
 */
const soundLines = (lines: readonly JournalLine[], damaged: readonly string[]): number => {
  let count = lines.length;
  for (;;) {
    const changed = new Set([...damaged, ...lines.slice(count).map(({ name }) => name)]);
    const first = lines.findIndex(({ name }) => changed.has(name));
    if (first < 0 || first >= count) return count;
    count = first;
  }
};

/**
 * Has the folder of a stage in the making hold what its journal says and nothing else, and gives the checksums of its files.
 * `onDamage` is told of each file that is missing, altered or nobody's.
 */
const takeUp = async (folder: string, id: string, onDamage: (file: string) => void): Promise<Map<string, string>> => {
  const found = await checksums(folder);
  const journal = await readJournal(folder, id);
  const last = journal.filter((line) => line !== unreadable).at(-1);
  // A line is written before what it tells of is done, which a crash may have prevented.
  const isDone = last?.sum === undefined || found.get(last.name) === last.sum;
  const lines = isDone ? journal : journal.filter((line) => line !== last);
  const expected = filesAfter(lines);
  const known = new Set(lines.map(({ name }) => name));
  const damaged = [...new Set([...expected.keys(), ...found.keys()])].filter(
    (name) => found.get(name) !== expected.get(name) && (expected.has(name) || !known.has(name)),
  );
  for (const name of damaged) onDamage(name);
  const isNobodys = damaged.some((name) => !known.has(name));
  const kept = lines.slice(0, soundLines(lines, isNobodys ? [...damaged, unreadable.name] : damaged));
  const files = filesAfter(kept);
  for (const name of found.keys()) if (!files.has(name)) await rm(join(folder, name));
  if (kept.length < journal.length) {
    const text = kept.filter((line) => line !== unreadable).map((line) => `\n${journalText(id, line)}`);
    await writeWhole(join(folder, journalName), text.join(''));
  }
  return files;
};

const staging = async (
  final: string,
  id: string,
  lock: Lock,
  onDamage: (file: string) => void,
): Promise<StagingDir> => {
  const folder = `${final}${begunEnding}`;
  /** The checksums of the files that are there. */
  const written = await guarded(folder, async () => {
    await makeFolder(folder);
    // What a killed writer left half written; nobody else writes here.
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }))
      if (entry.isFile() && entry.name.endsWith(unfinished)) await rm(pathOf(entry));
    return takeUp(folder, id, onDamage);
  });
  const at = (name: string) => join(folder, name);
  let before: Promise<unknown> = Promise.resolve();
  /** One change after the other: a crash leaves what the journal's last line tells of undone, and nothing else. */
  const inTurn = (change: () => Promise<void>): Promise<void> => {
    const done = before.then(change);
    before = done.catch(() => undefined);
    return done;
  };
  const note = (lines: readonly JournalLine[]): Promise<void> => {
    // Lines of their own, also where the one before was cut off.
    const text = lines.map((line) => `\n${journalText(id, line)}`).join('');
    return guarded(at(journalName), () => flushed(at(journalName), 'a', text));
  };
  /**
   * What a file holds; nothing when it is missing, or is damaged: then it is removed, and what it held is made anew.
   */
  const read = async <A>(name: string, decode: (bytes: Buffer) => A): Promise<A | undefined> => {
    const bytes = await readIfThere(at(name));
    if (bytes === undefined) return undefined;
    try {
      if (sha256(bytes) !== written.get(name)) throw new Error('it was altered');
      return decode(bytes);
    } catch {
      onDamage(name);
      await remove(name);
      return undefined;
    }
  };
  const remove = (name: string): Promise<void> =>
    inTurn(async () => {
      const names = [...written.keys()].filter((other) => other === name || other.startsWith(`${name}/`));
      if (names.length > 0) await note(names.map((each) => ({ name: each, sum: undefined })));
      await guarded(at(name), () => rm(at(name), { recursive: true, force: true }));
      for (const each of names) written.delete(each);
    });
  const write = (name: string, content: string | Uint8Array): Promise<void> =>
    inTurn(async () => {
      const sum = sha256(content);
      await writeWhole(at(name), content, () => note([{ name, sum }]));
      written.set(name, sum);
    });
  const refuseLost = async (): Promise<void> => {
    if (await lock.isHeld()) return;
    throw new FailureError(
      failure('store', 'another process took this stage over, since this one had not been heard of for ten minutes', {
        where: folder,
        remedy: 'Nothing is lost: the other one goes on from the last checkpoint.',
      }),
    );
  };
  return {
    folder,
    has: (name) => isThere(at(name)),
    readJson: (name) => read(name, (bytes) => JSON.parse(bytes.toString())),
    writeJson: (name, value) => write(name, jsonText(value)),
    readTensors: (name) => read(name, (bytes) => orElse(decodeSafetensors(bytes), at(name))),
    writeTensors: (name, tensors, metadata = {}) => write(name, encodeSafetensors(tensors, metadata)),
    writeText: write,
    readBytes: (name, isSound) =>
      read(name, (bytes) => {
        if (!isSound(bytes)) throw new Error('it was altered');
        return bytes;
      }),
    writeBytes: write,
    list: (name) => filesIn(at(name)),
    remove,
    finish: async () => {
      const manifest: Manifest = { id, files: Object.fromEntries([...written].sort(([a], [b]) => (a < b ? -1 : 1))) };
      await writeWhole(at(manifestName), jsonText(manifest));
      await refuseLost();
      await guarded(final, async () => {
        await rm(final, { recursive: true, force: true });
        await rename(folder, final);
        await rm(join(final, journalName), { force: true });
      });
      await lock.release();
    },
    release: async () => {
      // Nothing was made: another process was quicker.
      if (written.size === 0 && (await lock.isHeld()))
        await rm(folder, { recursive: true, force: true }).catch(() => undefined);
      await lock.release();
    },
  };
};
