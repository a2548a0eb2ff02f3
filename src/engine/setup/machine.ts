import { existsSync } from 'node:fs';
import { access, constants, rm, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { cacheFolder } from '../../core/cache-folder.js';
import { type Failure, failure, type Result } from '../../core/errors.js';
import { makeFolder } from '../../core/files.js';
import { run } from './process.js';
import { OLDEST_GLIBC } from './wheels.js';

/** What the engine's installation and choice depend on; a test gives another. */
export interface Machine {
  readonly platform: NodeJS.Platform;
  readonly arch: string;
  /** glibc's version on Linux; undefined where the C library is another (musl). */
  readonly glibc: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** The per-user cache. */
  readonly cache: string;
  /** The Node that tries a freshly built module. */
  readonly node: string;
  /** Bytes free where `path`, or the nearest folder above it that exists, lies. */
  readonly freeBytes: (path: string) => Promise<number>;
}

const runtimeGlibc = (): string | undefined => {
  if (process.platform !== 'linux') return undefined;
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return report.header?.glibcVersionRuntime;
};

/** `path`, or the nearest folder above it that exists. */
const existing = (path: string): string =>
  existsSync(path) || dirname(path) === path ? path : existing(dirname(path));

const freeBytes = async (path: string): Promise<number> => {
  const { bavail, bsize } = await statfs(existing(path));
  return bavail * bsize;
};

/** This machine. */
export const thisMachine = (): Machine => ({
  platform: process.platform,
  arch: process.arch,
  glibc: runtimeGlibc(),
  env: process.env,
  cache: cacheFolder(),
  node: process.execPath,
  freeBytes,
});

/** Why TensorFlow's wheels cannot run on this machine, or undefined when they can. */
export const unsupported = ({
  platform,
  arch,
  glibc,
}: Pick<Machine, 'platform' | 'arch' | 'glibc'>): string | undefined => {
  const wheels = 'TensorFlow has wheels for Linux on x86-64 and arm64, and for macOS on arm64';
  if (!['linux-x64', 'linux-arm64', 'darwin-arm64'].includes(`${platform}-${arch}`))
    return `there is no TensorFlow for ${platform} on ${arch} (${wheels})`;
  if (platform !== 'linux') return undefined;
  if (glibc === undefined)
    return `TensorFlow's Linux wheels need glibc, and this system's C library is another (musl?)`;
  const [major = 0, minor = 0] = glibc.split('.').map(Number);
  const [oldest, old] = OLDEST_GLIBC;
  return major > oldest || (major === oldest && minor >= old)
    ? undefined
    : `TensorFlow needs glibc ${oldest}.${old} or newer, and this system has ${glibc}`;
};

/** How to go on without TensorFlow; part of every remedy. */
export const RUN_SLOWLY = 'To go on without it, much more slowly: UNDISTILL_ENGINE=tfjs-cpu';

const engineFailure = (what: string, remedy: string, where?: string): Failure =>
  failure('engine', what, { remedy, where });

export interface Python {
  readonly command: string;
  readonly version: string;
  readonly pip: string;
}

/** A Python 3 that has pip. */
export const findPython = async (env: NodeJS.ProcessEnv): Promise<Result<Python>> => {
  let without: string | undefined;
  for (const command of ['python3', 'python']) {
    const asked = await run(command, ['-c', 'import sys; print("%d.%d.%d" % sys.version_info[:3])'], { env });
    const version = asked.out.trim();
    if (asked.code !== 0 || !version.startsWith('3.')) continue;
    const pip = await run(command, ['-m', 'pip', '--version'], { env });
    if (pip.code === 0) return E.right({ command, version, pip: /pip (\S+)/.exec(pip.out)?.[1] ?? 'unknown' });
    without ??= version;
  }
  return E.left(
    without === undefined
      ? engineFailure(
          'Python 3 was not found; TensorFlow is fetched with its pip',
          `Install Python 3 with pip (Debian, Ubuntu: apt install python3 python3-pip). ${RUN_SLOWLY}`,
          'python3',
        )
      : engineFailure(
          `Python ${without} has no pip, which fetches TensorFlow`,
          `Install it (Debian, Ubuntu: apt install python3-pip; elsewhere: python3 -m ensurepip --user). ${RUN_SLOWLY}`,
          'python3 -m pip',
        ),
  );
};

/** A C++ compiler's command: `$CXX`, else the first of `c++`, `g++`, `clang++`. */
export const findCompiler = async (env: NodeJS.ProcessEnv): Promise<Result<{ command: string; version: string }>> => {
  const named = env.CXX?.trim();
  for (const command of [...(named ? [named] : []), 'c++', 'g++', 'clang++']) {
    const asked = await run(command, ['--version'], { env });
    if (asked.code === 0) return E.right({ command, version: asked.out.split('\n')[0]?.trim() ?? '' });
  }
  return E.left(
    engineFailure(
      'no C++ compiler was found (looked for $CXX, c++, g++, clang++)',
      `Install one (Debian, Ubuntu: apt install g++; macOS: xcode-select --install). ${RUN_SLOWLY}`,
      'c++',
    ),
  );
};

/** Whether files can be made in the cache folder; makes it when missing. */
export const checkCache = async ({ cache }: Pick<Machine, 'cache'>): Promise<Result<string>> => {
  const probe = join(cache, `.probe-${process.pid}`);
  try {
    // Asked first, because a recursive mkdir on a read-only disk says that there is no such folder.
    await access(existing(cache), constants.W_OK);
    await makeFolder(cache);
    await writeFile(probe, '');
    await rm(probe);
    return E.right(cache);
  } catch (error) {
    return E.left(fromDisk(error, cache));
  }
};

/** A file system's error as a failure that says what to do. */
export const fromDisk = (error: unknown, where: string): Failure => {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return engineFailure(
      'the disk is full',
      'Free some space, or point XDG_CACHE_HOME to a folder on another disk, and run again.',
      where,
    );
  if (code === 'EROFS' || code === 'EACCES' || code === 'EPERM' || code === 'ENOTDIR')
    return engineFailure(
      `the cache folder cannot be written (${code})`,
      'Make it writable, or point XDG_CACHE_HOME to a folder that is.',
      where,
    );
  return engineFailure(message ?? String(error), 'Run again; `npx undistill doctor` looks at the machine.', where);
};
