import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as E from 'fp-ts/lib/Either.js';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { type Header, pack } from 'tar-stream';
import { afterAll, vi } from 'vitest';
import { type Failure, FailureError, type Task } from '../../src/core/errors.js';
import type { DatasetPlugin } from '../../src/data/dataset.js';

// Encoding images and writing hundreds of files takes a while on a busy machine.
vi.setConfig({ testTimeout: 60_000 });
// What the developer has downloaded is not there.
vi.stubEnv('XDG_DATA_HOME', join(tmpdir(), 'undistill-no-data'));

/** A folder that lasts as long as the test file. */
export const temporaryFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'undistill-data-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
};

export const succeed = async <A>(task: Task<A>): Promise<A> => {
  const result = await task();
  if (E.isLeft(result)) throw new FailureError(result.left);
  return result.right;
};

export const fail = async (task: Task<unknown>): Promise<Failure> => {
  const result = await task();
  if (E.isRight(result)) throw new Error('it succeeded');
  return result.left;
};

/** The failure that a function throws or a promise rejects with; anything else that is thrown fails the test. */
export const failureOf = async (run: () => unknown): Promise<Failure> => {
  try {
    await run();
  } catch (thrown) {
    if (thrown instanceof FailureError) return thrown.failure;
    throw thrown;
  }
  throw new Error('it succeeded');
};

/** The crop that a set in the cache has after its module's own was raised by one, and what it was before. */
export const afterEdit = async (plugin: DatasetPlugin, cache: string): Promise<readonly [number, number]> => {
  const { crop } = (await succeed(plugin.load({ cache }))).augmentation;
  // A set that was just decoded has the module's constants themselves.
  const constants = (await succeed(plugin.load({ cache: false }))).augmentation as { crop: number };
  constants.crop = crop + 1;
  try {
    return [crop, (await succeed(plugin.load({ cache }))).augmentation.crop];
  } finally {
    constants.crop = crop;
  }
};

export type Files = Readonly<Record<string, Uint8Array | string>>;

/** Writes files below a folder; a path that ends in `/` is an empty folder. */
export const writeFiles = async (folder: string, files: Files): Promise<string> => {
  for (const [path, content] of Object.entries(files)) {
    const file = join(folder, path);
    await mkdir(path.endsWith('/') ? file : dirname(file), { recursive: true });
    if (!path.endsWith('/')) await writeFile(file, content);
  }
  return folder;
};

export type TarEntry = Partial<Header> & { readonly name: string; readonly content?: Uint8Array | string };

export const tarOf = async (entries: readonly TarEntry[]): Promise<Buffer> => {
  const archive = pack();
  for (const { content, ...header } of entries) {
    if (content === undefined) archive.entry(header);
    else archive.entry(header, Buffer.from(content));
  }
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
};

export const tarOfFiles = (files: Files): Promise<Buffer> =>
  tarOf(
    Object.entries(files).map(([name, content]) =>
      name.endsWith('/') ? { name, type: 'directory' } : { name, content },
    ),
  );

export const gzip = (bytes: Uint8Array): Buffer => gzipSync(bytes);

/** An idx file of uint8. */
export const idxFile = (dims: readonly number[], data: ArrayLike<number>, type = 8): Buffer => {
  const header = Buffer.alloc(4 + 4 * dims.length);
  header[2] = type;
  header[3] = dims.length;
  dims.forEach((dim, i) => {
    header.writeUInt32BE(dim, 4 + 4 * i);
  });
  return Buffer.concat([header, Uint8Array.from(data)]);
};

/** The four files of an idx data set with `train` and `test` images of 2×2: image i is filled with i, its label is i mod 10. */
export const idxFiles = (train = 20, test = 10, suffix = ''): Record<string, Uint8Array> => {
  const wrap = (bytes: Buffer) => (suffix === '.gz' ? gzipSync(bytes) : bytes);
  const images = (count: number) =>
    wrap(
      idxFile(
        [count, 2, 2],
        Uint8Array.from({ length: count * 4 }, (_, i) => i >> 2),
      ),
    );
  const labels = (count: number) =>
    wrap(
      idxFile(
        [count],
        Uint8Array.from({ length: count }, (_, i) => i % 10),
      ),
    );
  return {
    [`train-images-idx3-ubyte${suffix}`]: images(train),
    [`train-labels-idx1-ubyte${suffix}`]: labels(train),
    [`t10k-images-idx3-ubyte${suffix}`]: images(test),
    [`t10k-labels-idx1-ubyte${suffix}`]: labels(test),
  };
};

/** RGBA for the encoders, from a colour a pixel. */
const rgba = (
  height: number,
  width: number,
  colour: (y: number, x: number) => readonly [number, number, number],
): Buffer => {
  const data = Buffer.alloc(height * width * 4, 255);
  for (let i = 0; i < height * width; i++) data.set(colour(Math.floor(i / width), i % width), i * 4);
  return data;
};

type Colour = readonly [number, number, number];

export const jpegOf = (
  height: number,
  width: number,
  colour: Colour | ((y: number, x: number) => Colour),
  quality = 95,
): Buffer =>
  jpeg.encode(
    { height, width, data: rgba(height, width, typeof colour === 'function' ? colour : () => colour) },
    quality,
  ).data;

export const pngOf = (
  height: number,
  width: number,
  colour: Colour | ((y: number, x: number) => Colour),
  colorType: 0 | 2 | 4 | 6 = 2,
): Buffer => {
  const png = new PNG({ height, width });
  rgba(height, width, typeof colour === 'function' ? colour : () => colour).copy(png.data);
  return PNG.sync.write(png, { colorType });
};
