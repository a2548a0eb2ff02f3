import { createReadStream, readdirSync, readFileSync, statSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setImmediate } from 'node:timers/promises';
import { createGunzip } from 'node:zlib';
import { extract, type Header } from 'tar-stream';
import { FailureError } from '../core/errors.js';
import { counted } from '../core/text.js';
import { refuse } from './assemble.js';
import { stampOf } from './cache.js';
import { refuseUnreadable } from './files.js';
import type { Entry, Source } from './source.js';
import { zipSource } from './zip.js';

/** No file of a data set in use comes near; one that is larger is not read into memory. */
const LARGEST_FILE = 2 ** 30;
/** More than ImageNet has; whoever has more gave the wrong folder. */
const MOST_FILES = 2_000_000;
const DEEPEST = 12;

const ARCHIVE_REMEDY = 'Get the archive again; a folder, a tar, a tar.gz or a zip is expected.';

const isHidden = (path: string): boolean => path.split('/').some((part) => part.startsWith('.'));

/* Folders */

interface FolderEntry extends Entry {
  readonly modified: number;
}

/** Synchronous: for tens of thousands of files many times faster than asking for each through the thread pool. */
const walk = (root: string): FolderEntry[] => {
  const entries: FolderEntry[] = [];
  const visit = (folder: string, depth: number): void => {
    if (depth > DEEPEST) {
      refuse(
        `its folders are more than ${DEEPEST} deep, at ${folder}`,
        root,
        'Give the folder of the data set itself.',
      );
    }
    for (const name of readdirSync(join(root, folder)).sort()) {
      if (name.startsWith('.')) continue;
      const path = folder === '' ? name : `${folder}/${name}`;
      // Links are followed: unlike an archive's, they are the user's own.
      const found = statSync(join(root, path));
      const isFolder = found.isDirectory();
      if (!isFolder && !found.isFile()) refuse('it is neither a file nor a folder', join(root, path), 'Remove it.');
      entries.push({
        path,
        kind: isFolder ? 'folder' : 'file',
        size: isFolder ? 0 : found.size,
        modified: isFolder ? 0 : found.mtimeMs,
      });
      if (entries.length > MOST_FILES) {
        refuse(`it has more than ${counted(MOST_FILES, 'file')}`, root, 'Give the folder of the data set itself.');
      }
      if (isFolder) visit(path, depth + 1);
    }
  };
  visit('', 0);
  return entries;
};

const folderSource = (path: string): Source => {
  const unreadable = (thrown: unknown): never =>
    refuseUnreadable((thrown as NodeJS.ErrnoException).path ?? path)(thrown);
  const attemptSync = <A>(run: () => A): A => {
    try {
      return run();
    } catch (thrown) {
      return unreadable(thrown);
    }
  };
  const entries = attemptSync(() => walk(path));
  return {
    path,
    stamp: stampOf(entries),
    list: async () => entries,
    async *read(wanted) {
      let count = 0;
      for (const name of [...wanted].sort()) {
        const file = join(path, name);
        const size = attemptSync(() => statSync(file).size);
        if (size > LARGEST_FILE) refuseLarge(file, size);
        yield { path: name, bytes: attemptSync(() => readFileSync(file)) };
        // Progress and Ctrl-C get their turn.
        if (++count % 256 === 0) await setImmediate();
      }
    },
  };
};

/* Archives */

const refuseLarge = (where: string, size: number): never =>
  refuse(
    `a file of ${counted(size, 'byte')} is too large for a data set`,
    where,
    `At most ${counted(LARGEST_FILE, 'byte')} are read.`,
  );

/** An archive's path as parts joined by `/`; absolute paths and `..` are refused, though nothing is ever written. */
export const safePath = (name: string, where: string): string => {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (name.startsWith('/') || /^[a-z]:[\\/]/i.test(name) || name.startsWith('\\')) {
    refuse(`the archive has an absolute path: ${name}`, where, 'Do not trust it; get it from where it was published.');
  }
  if (name.split(/[\\/]/).includes('..') || name.includes('\0')) {
    refuse(
      `the archive has a path that leads out of it: ${name}`,
      where,
      'Do not trust it; get it from where it was published.',
    );
  }
  return parts.join('/');
};

/** The entry of a tar header; links and devices are refused. */
const tarEntry = ({ name, type, size = 0 }: Header, where: string): Entry => {
  const path = safePath(name, where);
  // tar-stream would wait for such a file's end for ever.
  if (!Number.isSafeInteger(size) || size < 0)
    refuse(`it is not a tar archive, or a damaged one (${name} has no size)`, where, ARCHIVE_REMEDY);
  if (type === 'directory') return { path, kind: 'folder', size: 0 };
  if (type === 'file' || type === 'contiguous-file') return { path, kind: 'file', size };
  return refuse(
    `the archive has an entry that is neither a file nor a folder (${type ?? 'of an unknown type'}): ${name}`,
    where,
    'Pack it again with the files themselves (`tar --dereference --hard-dereference`).',
  );
};

/** What a broken archive makes zlib and tar-stream throw, in plain words. */
const archiveFailure =
  (where: string) =>
  (thrown: unknown): never => {
    if (thrown instanceof FailureError) throw thrown;
    const { code, message } = thrown as NodeJS.ErrnoException;
    if (code === 'Z_BUF_ERROR') return refuse('the gzip file is truncated', where, ARCHIVE_REMEDY);
    if (code?.startsWith('Z_')) return refuse(`the gzip file is damaged (${message})`, where, ARCHIVE_REMEDY);
    if (message === 'Unexpected end of data') return refuse('the tar archive is truncated', where, ARCHIVE_REMEDY);
    if (code !== undefined && /^E[A-Z]+$/.test(code)) return refuseUnreadable(where)(thrown);
    return refuse(`it is not a tar archive, or a damaged one (${message})`, where, ARCHIVE_REMEDY);
  };

/** Passes an archive's bytes on, and refuses one without the block of zeros that ends every whole tar. */
const untilEnd = (where: string) =>
  async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
    let last: Buffer = Buffer.alloc(0);
    for await (const chunk of chunks) {
      last = chunk.length >= 512 ? chunk.subarray(-512) : Buffer.concat([last, chunk]).subarray(-512);
      yield chunk;
    }
    if (last.length === 0) refuse('the archive is empty', where, ARCHIVE_REMEDY);
    if (last.length < 512 || last.some((byte) => byte !== 0))
      refuse('the tar archive is truncated', where, ARCHIVE_REMEDY);
  };

const readEntry = async (content: AsyncIterable<Buffer>, size: number): Promise<Uint8Array> => {
  const chunks: Buffer[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks, size);
};

/** The entries of an archive in order; `read` gives a file's content or skips it. */
async function* tarEntries(
  where: string,
  gzip: boolean,
  wants: (path: string) => boolean,
): AsyncGenerator<Entry & { readonly bytes?: Uint8Array }, void, void> {
  const unpacked = extract();
  const file = createReadStream(where, { highWaterMark: 2 ** 18 });
  const flow = gzip
    ? pipeline(file, createGunzip({ chunkSize: 2 ** 18 }), untilEnd(where), unpacked)
    : pipeline(file, untilEnd(where), unpacked);
  // The flow's own error is the one to tell; it is awaited below, and must not count as unhandled until then.
  flow.catch(() => undefined);
  try {
    for await (const stream of unpacked) {
      const entry = tarEntry(stream.header, where);
      if (isHidden(entry.path) || entry.path === '') {
        stream.resume();
      } else if (entry.kind === 'file' && wants(entry.path)) {
        if (entry.size > LARGEST_FILE) refuseLarge(`${where}: ${entry.path}`, entry.size);
        yield { ...entry, bytes: await readEntry(stream as AsyncIterable<Buffer>, entry.size) };
      } else {
        stream.resume();
        yield entry;
      }
    }
    await flow;
  } catch (thrown) {
    if (thrown instanceof FailureError) throw thrown;
    const first = await flow.then(
      () => thrown,
      (cause: unknown) => ((cause as NodeJS.ErrnoException).code === 'ERR_STREAM_PREMATURE_CLOSE' ? thrown : cause),
    );
    archiveFailure(where)(first);
  } finally {
    file.destroy();
    unpacked.destroy();
  }
}

const tarSource = (path: string, gzip: boolean, stamp: string): Source => ({
  path,
  stamp,
  async list() {
    const entries: Entry[] = [];
    const files = new Set<string>();
    for await (const entry of tarEntries(path, gzip, () => false)) {
      if (entry.kind === 'file') {
        if (files.has(entry.path)) refuse(`the archive has ${entry.path} twice`, path, ARCHIVE_REMEDY);
        files.add(entry.path);
      }
      entries.push(entry);
      if (entries.length > MOST_FILES) refuse(`it has more than ${counted(MOST_FILES, 'file')}`, path);
    }
    return entries;
  },
  async *read(wanted) {
    let count = 0;
    for await (const { path: name, bytes } of tarEntries(path, gzip, (name) => wanted.has(name))) {
      if (bytes === undefined) continue;
      count++;
      yield { path: name, bytes };
    }
    if (count !== wanted.size) refuse('the archive changed while it was read', path, 'Load it again.');
  },
});

/* Shards */

const ARCHIVE = /\.(tar|tar\.gz|tgz|zip)$/i;
/** Notes and checksums that lie beside shards. */
const TEXT = /(\.(md|txt|html?|json|md5|sha256)|sums|readme|license)$/i;

/** The archives of a folder that has nothing else to read in it. */
const shardsOf = (entries: readonly Entry[]): readonly string[] =>
  entries.every(({ path, kind }) => kind === 'file' && (ARCHIVE.test(path) || TEXT.test(path)))
    ? entries.map(({ path }) => path).filter((path) => ARCHIVE.test(path))
    : [];

/** Archives that make up one set, as if they had been unpacked into one folder. */
const shardedSource = (path: string, stamp: string, shards: readonly Source[]): Source => {
  /** Which shard has a file, once they were listed. */
  let holders: Promise<ReadonlyMap<string, Source>> | undefined;
  let entries: readonly Entry[] = [];
  const listed = async (): Promise<ReadonlyMap<string, Source>> => {
    const lists = await Promise.all(shards.map((shard) => shard.list()));
    const found = new Map<string, Source>();
    lists.forEach((list, i) => {
      const shard = shards[i] as Source;
      for (const { path: name, kind } of list) {
        if (kind === 'folder') continue;
        const other = found.get(name);
        if (other !== undefined) refuse(`${other.path} has ${name} as well`, shard.path, 'Keep the shards of one set.');
        found.set(name, shard);
      }
    });
    entries = lists.flat();
    return found;
  };
  const holding = (): Promise<ReadonlyMap<string, Source>> => {
    holders ??= listed();
    return holders;
  };
  return {
    path,
    stamp,
    list: async () => {
      await holding();
      return entries;
    },
    async *read(wanted) {
      const holds = await holding();
      for (const shard of shards) {
        const here = new Set([...wanted].filter((name) => holds.get(name) === shard));
        if (here.size > 0) yield* shard.read(here);
      }
    },
  };
};

/** First bytes of formats that people try, and what to do instead. */
const OTHERS: readonly (readonly [hex: string, name: string])[] = [
  ['425a68', 'compressed with bzip2'],
  ['fd377a585a00', 'compressed with xz'],
  ['28b52ffd', 'compressed with zstd'],
  ['377abcaf271c', 'a 7z archive'],
  ['526172211a07', 'a rar archive'],
];

const openFolder = async (path: string): Promise<Source> => {
  const folder = folderSource(path);
  const shards = shardsOf(await folder.list());
  if (shards.length === 0) return folder;
  return shardedSource(path, folder.stamp, await Promise.all(shards.map((name) => openSource(join(path, name)))));
};

/**
 * Opens a folder, a tar, a gzipped tar, a zip or a folder of such archives, told apart by content; a relative path starts at the
 * working folder. Nothing is ever unpacked to disk. In an archive, absolute paths, `..`, links and devices are refused.
 */
export const openSource = async (given: string): Promise<Source> => {
  const path = resolve(given);
  const found = await stat(path).catch(refuseUnreadable(path));
  if (found.isDirectory()) return openFolder(path);
  if (!found.isFile()) return refuse('it is neither a file nor a folder', path, ARCHIVE_REMEDY);
  if (found.size === 0) return refuse('the file is empty', path, ARCHIVE_REMEDY);
  const file = await open(path, 'r').catch(refuseUnreadable(path));
  const start = Buffer.alloc(8);
  await file
    .read(start, 0, 8, 0)
    .catch(refuseUnreadable(path))
    .finally(() => file.close());
  const other = OTHERS.find(([hex]) => start.toString('hex').startsWith(hex));
  if (other !== undefined) refuse(`it is ${other[1]}`, path, 'Unpack it and give the folder, or pack it as tar.gz.');
  const stamp = stampOf([{ path, size: found.size, modified: found.mtimeMs }]);
  if (start.toString('latin1', 0, 4) === 'PK\x03\x04') return zipSource(path, stamp, LARGEST_FILE);
  const gzip = start[0] === 0x1f && start[1] === 0x8b;
  return tarSource(path, gzip, stamp);
};
