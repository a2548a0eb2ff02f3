import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ZipFile } from 'yazl';
import { openSource } from '../../src/data/archive.js';
import { imageFolder } from '../../src/data/image-folder.js';
import { type Files, fail, failureOf, pngOf, succeed, temporaryFolder, writeFiles, zipOf } from './helpers.js';

const root = temporaryFolder();
let made = 0;
const written = async (bytes: Uint8Array): Promise<string> => {
  const name = `${made++}.zip`;
  await writeFiles(root, { [name]: bytes });
  return join(root, name);
};
/** Lists an archive and reads all of it. */
const readAll = async (path: string): Promise<Record<string, string>> => {
  const source = await openSource(path);
  const files = (await source.list()).filter(({ kind }) => kind === 'file').map((entry) => entry.path);
  const contents: Record<string, string> = {};
  for await (const file of source.read(new Set(files))) contents[file.path] = Buffer.from(file.bytes).toString();
  return contents;
};

const FILES: Files = {
  'a/1.txt': 'one'.repeat(100),
  'a/2.txt': 'two',
  'b/': '',
  '__MACOSX/a/1.txt': 'x',
  '.hidden': 'x',
};

describe('a zip archive', () => {
  it('is read, without what is hidden', async () => {
    const path = await written(await zipOf(FILES));
    expect(await readAll(path)).toEqual({ 'a/1.txt': FILES['a/1.txt'], 'a/2.txt': 'two' });
    const source = await openSource(path);
    expect(await source.list()).toEqual([
      { path: 'a/1.txt', kind: 'file', size: 300 },
      { path: 'a/2.txt', kind: 'file', size: 3 },
      { path: 'b', kind: 'folder', size: 0 },
    ]);
    expect(await failureOf(() => source.read(new Set(['gone'])).next())).toMatchObject({ kind: 'data' });
  });

  it('is a set of images like any other source', async () => {
    const image = pngOf(2, 2, [1, 2, 3]);
    const paths = ['train/a/1.png', 'train/b/1.png', 'test/a/1.png', 'test/b/1.png'];
    const files = Object.fromEntries(paths.map((path) => [`set/${path}`, image]));
    const zipped = await succeed(imageFolder({ path: await written(await zipOf(files)) }).load({ cache: false }));
    const folder = await writeFiles(join(root, 'folder'), files);
    expect(zipped.fingerprint).toBe((await succeed(imageFolder({ path: folder }).load({ cache: false }))).fingerprint);
  });

  it('that is cut off, damaged or leads out of itself is refused', async () => {
    const good = await zipOf(FILES);
    for (const length of [30, 200, good.length - 1]) {
      const path = await written(good.subarray(0, length));
      expect(await fail(imageFolder({ path }).load({ cache: false }))).toMatchObject({
        kind: 'data',
        what: expect.stringMatching(/^the zip archive is truncated or damaged/),
        where: path,
      });
    }
    const out = Buffer.from(good.toString('latin1').replaceAll('a/1.txt', '../1.tx'), 'latin1');
    expect((await failureOf(async () => readAll(await written(out)))).what).toMatch(/invalid relative path/);
    const absolute = Buffer.from(good.toString('latin1').replaceAll('a/1.txt', '/a1.txt'), 'latin1');
    expect((await failureOf(async () => readAll(await written(absolute)))).what).toMatch(/absolute path/);
  });

  it('of which one bit of a file turned over is refused, packed or as it is', async () => {
    for (const compress of [false, true]) {
      const zip = new ZipFile();
      zip.addBuffer(Buffer.from('one'.repeat(100)), '1.txt', { compress });
      zip.end();
      const chunks: Buffer[] = [];
      for await (const chunk of zip.outputStream) chunks.push(chunk as Buffer);
      const bytes = Buffer.concat(chunks);
      // Behind the header of 30 bytes, the name, and the beginning of what is packed.
      const at = 30 + '1.txt'.length + 3;
      bytes[at] = (bytes[at] as number) ^ 1;
      const path = await written(bytes);
      expect(await failureOf(() => readAll(path))).toMatchObject({ kind: 'data', where: path });
      if (!compress)
        expect((await failureOf(() => readAll(path))).what).toBe(
          'the zip archive is truncated or damaged (1.txt is not what its checksum says)',
        );
    }
  });

  it('is read as it was or refused whatever bit of it is turned over, in its directory too', async () => {
    const good = await zipOf({ 'a/1': 'one', 'b/': '' });
    const path = join(root, 'flipped.zip');
    const read = async (bytes: Uint8Array): Promise<unknown> => {
      await writeFiles(root, { 'flipped.zip': bytes });
      const source = await openSource(path);
      const list = await source.list();
      const files = [];
      for await (const { bytes } of source.read(new Set(['a/1']))) files.push(Buffer.from(bytes).toString());
      return [list, files];
    };
    const whole = await read(good);
    for (let bit = 0; bit < 8 * good.length; bit++) {
      const bad = Buffer.from(good);
      bad[bit >> 3] = (bad[bit >> 3] as number) ^ (1 << (bit & 7));
      const found = await read(bad).catch((thrown: Error) => thrown.name);
      if (found !== 'FailureError') expect(found, `bit ${bit}`).toEqual(whole);
    }
  });
});
