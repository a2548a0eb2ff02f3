import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { type FileHandle, link, open, readdir, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { makeFolder, readPlain } from './files.js';
import { sha256 } from './hash.js';
import { type ClusterJob, thisJob } from './job.js';

/** Who holds a lock: enough to tell, later and from another process, whether the holder is still alive. */
export interface LockOwner {
  readonly pid: number;
  readonly host: string;
  /**
   * The boot and the process namespace: a pid means something only within both. Empty where the system names neither.
   */
  readonly world: string;
  /** When the process started, in whatever form the system gives it: a pid that was handed out again differs here. */
  readonly started: string;
  /** Unique for each taking of a lock. */
  readonly token: string;
  /** When it was taken, in milliseconds since 1970. */
  readonly since: number;
  /** The job of a cluster in which it runs; absent elsewhere. */
  readonly job?: ClusterJob;
}

/** A file may be anybody's, and names of files are made of its token. */
const lockOwner: v.GenericSchema<LockOwner> = v.object({
  pid: v.pipe(v.number(), v.integer(), v.minValue(1)),
  host: v.string(),
  world: v.string(),
  started: v.string(),
  token: v.pipe(v.string(), v.regex(/^[0-9a-f]{1,64}$/)),
  since: v.pipe(v.number(), v.finite()),
  job: v.exactOptional(v.object({ id: v.string(), start: v.pipe(v.number(), v.integer()) })),
});

/** A lock that somebody holds. */
export interface Holder {
  readonly path: string;
  /** undefined: the file is no lock of ours, or was cut off. */
  readonly owner: LockOwner | undefined;
  /** Whether it shows at once when the holder is gone. */
  readonly isNear: boolean;
  /** The last sign of life, in milliseconds since 1970. */
  readonly seen: number;
}

/** A lock that is held by this process until `release`. */
export interface Lock {
  readonly path: string;
  /** Whether it is still this process's: who could not be heard of for ten minutes is taken for dead, and may come back. */
  isHeld(): Promise<boolean>;
  release(): Promise<void>;
}

export interface LockOptions {
  /** Called once when the lock is found held by somebody else, before waiting. */
  readonly onWait?: (holder: Holder) => void;
  /** Milliseconds between two looks at a held lock. */
  readonly every?: number;
}

/** A holder on another machine cannot be asked whether it lives; it writes to its lock this often (milliseconds) … */
const HEARTBEAT = 30_000;
/** … and is taken for dead after this long without. */
const SILENCE = 20 * HEARTBEAT;
/** A process that dies while it removes a dead holder's lock leaves a marker, which is ignored after this long. */
const BREAKING = 10_000;

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | undefined)?.code;

const orUndefined = async <A>(promise: Promise<A>): Promise<A | undefined> => {
  try {
    return await promise;
  } catch {
    return undefined;
  }
};

/** When process `pid` of this machine started, or undefined when there is none (or no way to know). */
const startOf = async (pid: number): Promise<string | undefined> => {
  if (process.platform === 'linux') {
    const line = await orUndefined(readFile(`/proc/${pid}/stat`, 'utf8'));
    // The second field, the command's name in brackets, may hold spaces: count from after it.
    const fields = line?.slice(line.lastIndexOf(')') + 2).split(' ');
    // A zombie runs no more code: its lock is nobody's.
    return fields?.[0] === 'Z' ? undefined : fields?.[19];
  }
  if (process.platform === 'win32') return undefined;
  const asked = await orUndefined(promisify(execFile)('ps', ['-o', 'lstart=', '-p', String(pid)]));
  return asked?.stdout.trim() || undefined;
};

const exists = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
};

let world: string | undefined;

const thisWorld = (): string => {
  world ??= [
    () => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    () => readlinkSync('/proc/self/ns/pid'),
  ]
    .flatMap((part) => attempt(part) ?? [])
    .join(' ');
  return world;
};

const attempt = <A>(act: () => A): A | undefined => {
  try {
    return act();
  } catch {
    return undefined;
  }
};

/** A pid means something only within its machine, boot and process namespace. */
const worldName = (): string => sha256(`${hostname()} ${thisWorld()}`).slice(0, 8);

/** This process as a part of a file's name, by which others can tell whether it still lives. */
export const thisProcess = (): string => `${worldName()}-${process.pid}`;

/**
 * Whether the process of such a name is gone. Of one elsewhere, or of no such name, that is believed after ten minutes in
 * which it gave no sign (`silent`: milliseconds).
 */
export const isGone = (name: string, silent: number): boolean => {
  const [world, pid] = name.split('-');
  return world === worldName() && /^[1-9]\d*$/.test(pid ?? '') ? !exists(Number(pid)) : silent > SILENCE;
};

const self = async (): Promise<LockOwner> => {
  const job = thisJob();
  return {
    pid: process.pid,
    host: hostname(),
    world: thisWorld(),
    started: (await startOf(process.pid)) ?? '',
    token: randomBytes(12).toString('hex'),
    since: Date.now(),
    ...(job === undefined ? {} : { job }),
  };
};

/** How the names of files begin by which a clock is read; after that, who reads it. */
const probing = '.clock-';

/** By whom a clock is read with a file of this name; undefined where none is. */
export const readerOf = (name: string): string | undefined =>
  name.startsWith(probing) ? name.slice(probing.length) : undefined;

/**
 * The clock of the file system that a folder lies on, in milliseconds since 1970, by which its files' times are judged: that
 * of a shared folder is the server's, and the machines' own may be hours apart.
 */
export const clockOf = async (folder: string): Promise<number> => {
  const probe = join(folder, `${probing}${thisProcess()}-${randomBytes(6).toString('hex')}`);
  await writeFile(probe, '', { flag: 'wx' });
  try {
    return (await stat(probe)).mtimeMs;
  } finally {
    await rm(probe, { force: true });
  }
};

/** The owner written in a lock file; undefined when there is no lock, or when it cannot be read as one. */
export const readOwner = async (path: string): Promise<LockOwner | undefined> => {
  const text = await orUndefined(readPlain(path));
  if (text === undefined) return undefined;
  try {
    const owner: unknown = JSON.parse(String(text));
    return v.is(lockOwner, owner) ? owner : undefined;
  } catch {
    return undefined;
  }
};

/** Who holds a lock; undefined where nobody does. */
export const holderOf = async (path: string): Promise<Holder | undefined> => {
  const found = await orUndefined(stat(path));
  if (found === undefined) return undefined;
  const owner = await readOwner(path);
  const isNear = owner?.host === hostname() && owner.world === thisWorld();
  return { path, owner, isNear, seen: found.mtimeMs };
};

/** `2026-11-27 14:03:09`, where this machine is. Sweden writes times as ISO 8601 does. */
const clock = (milliseconds: number): string => new Date(milliseconds).toLocaleString('sv-SE');

/** Who is waited for, where and since when; how long at most, where it does not show that a holder is gone; and what to do. */
export const showHolder = ({ path, owner, isNear, seen }: Holder): string => {
  const end = clock(seen + SILENCE);
  if (owner === undefined)
    return `a lock file that cannot be read, ${path}, which counts until ${end}. If nobody else works here, remove it`;
  const job = owner.job === undefined ? '' : ` in job ${owner.job.id}`;
  const who = `process ${owner.pid} on ${owner.host}${job}, at it since ${clock(owner.since)} (${path})`;
  return isNear
    ? who
    : `${who}. It is elsewhere: without a sign of life, of which the last was at ${clock(seen)}, it counts until ${end}. If it is gone, remove that file`;
};

/** Whether the holder of the lock at `path` is gone. `now` is the file system's own clock, in milliseconds. */
const isDead = async (path: string, owner: LockOwner | undefined, me: LockOwner, now: number): Promise<boolean> => {
  const silent = async () => {
    const found = await orUndefined(stat(path));
    return found !== undefined && now - found.mtimeMs > SILENCE;
  };
  // Not one of our files, or one cut short by a full disk.
  if (owner === undefined) return silent();
  // A cluster starts a job again when its node is gone, often elsewhere: an earlier start of this very job holds nothing.
  if (owner.job !== undefined && owner.job.id === me.job?.id && owner.job.start < me.job.start) return true;
  if (owner.host !== me.host) return silent();
  if (owner.world !== me.world) {
    const [boot] = owner.world.split(' ');
    const [ours] = me.world.split(' ');
    return boot !== ours || silent();
  }
  if (!exists(owner.pid)) return true;
  const started = await startOf(owner.pid);
  if (process.platform === 'linux') return started !== owner.started;
  return started !== undefined && owner.started !== '' && started !== owner.started;
};

/** Where a lock file is written before it is put in its place. */
const candidateOf = (path: string, { token }: LockOwner): string => `${path}.${token}`;

/**
 * Removes a dead holder's lock. Two processes may judge it dead at once, and the slower one must not remove the lock
 * that the quicker one has taken since: the right to remove it is a hard link named after the dead holder's token,
 * which only one can make, and which is then looked into to see that it is the dead one's file.
 */
const breakLock = async (path: string, owner: LockOwner | undefined, now: number): Promise<void> => {
  const marker = `${path}.${owner?.token ?? 'unknown'}.dead`;
  try {
    await link(path, marker);
  } catch (error) {
    if (codeOf(error) === 'EEXIST') {
      const left = await orUndefined(stat(marker));
      if (left !== undefined && now - left.ctimeMs > BREAKING) await rm(marker, { force: true });
      return;
    }
    if (codeOf(error) === 'ENOENT') return;
    // No hard links here: the plain removal has to do.
    await rm(path, { force: true });
    return;
  }
  const held = await readOwner(marker);
  if (held?.token === owner?.token) await rm(path, { force: true });
  // It may have died as soon as it had the lock.
  if (owner !== undefined) await rm(candidateOf(path, owner), { force: true });
  await rm(marker, { force: true });
};

/**
 * Removes from a folder of locks what processes that are gone left beside them: files that were to become locks, markers, and files
 * by which a clock was read.
 */
export const removeAbandoned = async (folder: string): Promise<void> => {
  const names = await orUndefined(readdir(folder));
  if (names === undefined || names.length === 0) return;
  const [me, now] = [await self(), await clockOf(folder)];
  for (const name of names) {
    const path = join(folder, name);
    const found = await orUndefined(stat(path));
    if (found === undefined) continue;
    const isMarker = name.endsWith('.dead') && now - found.ctimeMs > BREAKING;
    const isCandidate = /\.[0-9a-f]{24}$/.test(name) && (await isDead(path, await readOwner(path), me, now));
    const reader = readerOf(name);
    const isProbe = reader !== undefined && isGone(reader, now - found.mtimeMs);
    if (isMarker || isCandidate || isProbe) await orUndefined(rm(path, { force: true }));
  }
};

/** Removes a lock whose holder is known to be gone, as where a cluster says so of its job. */
export const removeLock = async (path: string, isGone: (owner: LockOwner) => boolean): Promise<void> => {
  const owner = await readOwner(path);
  if (owner !== undefined && isGone(owner)) await breakLock(path, owner, await clockOf(dirname(path)));
};

/** What a lock file holds: the last byte is written again as a sign of life. */
const lockText = (owner: LockOwner): string => `${JSON.stringify(owner)}\n`;

/** Puts `candidate` (a complete lock file) at `path` unless there is a lock. */
const place = async (candidate: string, path: string, owner: LockOwner): Promise<boolean> => {
  /** A server may have done what was asked, its answer been lost, and the question been sent again: then the lock is there, and is ours. */
  const isOurs = async (): Promise<boolean> => (await readOwner(path))?.token === owner.token;
  try {
    await link(candidate, path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return isOurs();
    // A file system without hard links: exclusive creation, whose content others may see incomplete for an instant.
    try {
      await writeFile(path, lockText(owner), { flag: 'wx' });
      return true;
    } catch (inner) {
      if (codeOf(inner) === 'EEXIST') return isOurs();
      throw inner;
    }
  }
};

const hold = async (path: string, owner: LockOwner): Promise<Lock> => {
  const isHeld = async (): Promise<boolean> => (await readOwner(path))?.token === owner.token;
  // Kept open: what lies at the path later may be somebody else's.
  let file: FileHandle | undefined = await orUndefined(open(path, 'r+'));
  if (file !== undefined && !(await isHeld())) {
    await orUndefined(file.close());
    file = undefined;
  }
  const last = Buffer.byteLength(lockText(owner)) - 1;
  // A byte, and not the time: the time would be this machine's, and is compared with that of the folder's server.
  const beat = setInterval(() => void (file && orUndefined(file.write('\n', last))), HEARTBEAT);
  beat.unref();
  return {
    path,
    isHeld,
    release: async () => {
      clearInterval(beat);
      if (file !== undefined) await orUndefined(file.close());
      file = undefined;
      // Only our own: if somebody took us for dead, the lock is theirs by now.
      if (await isHeld()) await orUndefined(unlink(path));
    },
  };
};

/**
 * Takes the lock file `path` if it is free, or if its holder is dead (a process of this machine that no longer exists,
 * or one elsewhere that has been silent for ten minutes); undefined when it is held. The folder is made when missing.
 */
export const tryLock = async (path: string): Promise<Lock | undefined> => {
  const me = await self();
  await makeFolder(dirname(path));
  const candidate = candidateOf(path, me);
  try {
    await writeFile(candidate, lockText(me), { flag: 'wx' });
    if (await place(candidate, path, me)) return hold(path, me);
    const owner = await readOwner(path);
    const now = (await stat(candidate)).mtimeMs;
    if (!(await isDead(path, owner, me, now))) return undefined;
    await breakLock(path, owner, now);
    return (await place(candidate, path, me)) ? hold(path, me) : undefined;
  } finally {
    await rm(candidate, { force: true });
  }
};

/** Runs `run` while holding the lock file `path`, waiting for it as long as its holder lives. */
export const withLock = async <A>(path: string, run: () => Promise<A>, options: LockOptions = {}): Promise<A> => {
  let lock = await tryLock(path);
  const holder = lock === undefined ? await holderOf(path) : undefined;
  if (holder !== undefined) options.onWait?.(holder);
  while (lock === undefined) {
    await sleep(options.every ?? 300);
    lock = await tryLock(path);
  }
  try {
    return await run();
  } finally {
    await lock.release();
  }
};
