import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { type Header, pack } from 'tar-stream';
import { ZipFile } from 'yazl';

// Files of data sets as others write them, for tests and for whatever else tries what is made of them.

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

export const zipOf = async (files: Files): Promise<Buffer> => {
  const zip = new ZipFile();
  for (const [path, content] of Object.entries(files)) {
    if (path.endsWith('/')) zip.addEmptyDirectory(path);
    else zip.addBuffer(Buffer.from(content), path);
  }
  zip.end();
  const chunks: Buffer[] = [];
  for await (const chunk of zip.outputStream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
};

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
