import { open } from 'node:fs/promises';
import yauzl, { type Entry as ZipEntry, type ZipFile } from 'yauzl';
import { FailureError } from '../core/errors.js';
import { crc32 } from '../core/hash.js';
import { refuse } from './assemble.js';
import { refuseUnreadable } from './files.js';
import type { Entry, Source } from './source.js';

const REMEDY = 'Get the archive again; a folder, a tar, a tar.gz or a zip is expected.';

/** What a broken archive makes yauzl and zlib throw, in plain words. */
const zipFailure =
  (where: string) =>
  (thrown: unknown): never => {
    if (thrown instanceof FailureError) throw thrown;
    const { code, message } = thrown as NodeJS.ErrnoException;
    if (code !== undefined && /^E[A-Z]+$/.test(code)) return refuseUnreadable(where)(thrown);
    return refuse(`the zip archive is truncated or damaged (${message})`, where, REMEDY);
  };

const entryOf = ({ fileName, uncompressedSize }: ZipEntry): Entry =>
  fileName.endsWith('/')
    ? { path: fileName.replace(/\/+$/, ''), kind: 'folder', size: 0 }
    : { path: fileName, kind: 'file', size: uncompressedSize };

const isHidden = ({ path }: Entry): boolean =>
  path.split('/').some((part) => part.startsWith('.') || part === '__MACOSX');

/** The files and folders of a zip, each with what it takes to read it. Names that lead out of it are refused by yauzl. */
async function* entriesOf(
  zip: ZipFile,
): AsyncGenerator<{ readonly entry: Entry; readonly packed: ZipEntry }, void, void> {
  for await (const packed of zip.eachEntry()) {
    const entry = entryOf(packed);
    if (!isHidden(entry)) yield { entry, packed };
  }
}

/** Names have no checksum, but are told twice: in the directory, and before what is packed. */
const checkName = async (zip: ZipFile, packed: ZipEntry): Promise<void> => {
  const { fileName } = await zip.readLocalFileHeaderPromise(packed);
  if (!fileName.equals(packed.fileNameRaw)) throw new Error(`${packed.fileName} has two names`);
};

/** The record at the end of an archive, without the comment of at most 65,535 bytes behind it. */
const end = { signature: Buffer.from([0x50, 0x4b, 5, 6]), size: 22 };

/** So is the number of entries, by which yauzl ends: of this volume, and of all. */
const checkCount = async (path: string): Promise<void> => {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const length = Math.min(size, end.size + 0xffff);
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
    const at = buffer.lastIndexOf(end.signature, length - end.size);
    if (at >= 0 && buffer.readUInt16LE(at + 8) !== buffer.readUInt16LE(at + 10))
      throw new Error('it has two numbers of entries');
  } finally {
    await file.close();
  }
};

const contentOf = async (zip: ZipFile, packed: ZipEntry): Promise<Uint8Array> => {
  const chunks: Buffer[] = [];
  // Ends with an error when there is more than the archive says, or less.
  for await (const chunk of await zip.openReadStreamPromise(packed)) chunks.push(chunk as Buffer);
  const content = Buffer.concat(chunks);
  // yauzl leaves it to others to look at the content.
  if (crc32(content) !== packed.crc32) throw new Error(`${packed.fileName} is not what its checksum says`);
  return content;
};

/** A zip archive; files of more than `largest` bytes are refused. */
export const zipSource = (path: string, stamp: string, largest: number): Source => ({
  path,
  stamp,
  async list() {
    const zip = await yauzl.openPromise(path).catch(zipFailure(path));
    const entries: Entry[] = [];
    const files = new Set<string>();
    try {
      await checkCount(path);
      for await (const { entry, packed } of entriesOf(zip)) {
        await checkName(zip, packed);
        if (files.has(entry.path)) refuse(`the archive has ${entry.path} twice`, path, REMEDY);
        if (entry.kind === 'file') files.add(entry.path);
        entries.push(entry);
      }
      return entries;
    } catch (thrown) {
      return zipFailure(path)(thrown);
    } finally {
      zip.close();
    }
  },
  async *read(wanted) {
    const zip = await yauzl.openPromise(path).catch(zipFailure(path));
    let count = 0;
    try {
      for await (const { entry, packed } of entriesOf(zip)) {
        if (entry.kind === 'folder' || !wanted.has(entry.path)) continue;
        if (entry.size > largest)
          refuse(`a file of ${entry.size} bytes is too large for a data set`, `${path}: ${entry.path}`);
        count++;
        yield { path: entry.path, bytes: await contentOf(zip, packed) };
      }
    } catch (thrown) {
      zipFailure(path)(thrown);
    } finally {
      zip.close();
    }
    if (count !== wanted.size) refuse('the archive changed while it was read', path, 'Load it again.');
  },
});
