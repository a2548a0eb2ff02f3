import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { makeFolder, makeFolderAtOnce, readEnd, readPlain, readText, readWithin } from '../../src/core/files.js';

const root = mkdtempSync(join(tmpdir(), 'undistill-files-'));
afterAll(() => rmSync(root, { recursive: true }));

describe.each([
  ['makeFolder', makeFolder],
  ['makeFolderAtOnce', async (path: string) => makeFolderAtOnce(path)],
])('%s', (name, make) => {
  it('makes what is missing, and is content with what is there', async () => {
    const path = join(root, name, 'a', 'b');
    await Promise.all([make(path), make(join(path, 'c')), make(path)]);
    expect(statSync(join(path, 'c')).isDirectory()).toBe(true);
  });

  it('says what is in the way', async () => {
    const file = join(root, `${name}.txt`);
    writeFileSync(file, '');
    await expect(make(file)).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(make(join(file, 'a', 'b'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  it.skipIf(process.platform !== 'linux')('ends where no folder can be made', async () => {
    await expect(make('/proc/undistill/a')).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe.skipIf(process.platform === 'win32')('readPlain', () => {
  it('reads files, and waits for nobody who would write into a pipe', async () => {
    writeFileSync(join(root, 'file'), 'text');
    execFileSync('mkfifo', [join(root, 'pipe')]);
    expect(String(await readPlain(join(root, 'file')))).toBe('text');
    await expect(readPlain(join(root, 'pipe'))).rejects.toMatchObject({ code: 'ENOFILE' });
    await expect(readPlain(root)).rejects.toThrow(/it is no file/);
    await expect(readPlain(join(root, 'nothing'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('readText', () => {
  it('reads a text, and refuses one that no string could hold', async () => {
    const path = join(root, 'text.json');
    writeFileSync(path, '{"é":1}');
    expect(await readText(path)).toBe('{"é":1}');
    truncateSync(path, 600 * 2 ** 20);
    await expect(readText(path)).rejects.toMatchObject({
      failure: { kind: 'usage', what: expect.stringContaining('629,145,600 bytes'), where: path },
    });
  });
});

describe('readEnd', () => {
  it('reads the end of a text of any length', async () => {
    const path = join(root, 'long.log');
    writeFileSync(path, 'first\nlast');
    expect(await readEnd(path)).toBe('first\nlast');
    expect(await readEnd(path, 4)).toBe('last');
    truncateSync(path, 600 * 2 ** 20);
    expect(await readEnd(path, 8)).toBe('\0'.repeat(8));
  });
});

describe('readWithin', () => {
  it('reads what lies in a folder, and nothing that a path or a link leads to elsewhere', async () => {
    const folder = join(root, 'within');
    mkdirSync(join(folder, 'deep'), { recursive: true });
    for (const path of ['deep/file', '../within-not', '../secret']) writeFileSync(join(folder, path), path);
    symlinkSync(join(root, 'secret'), join(folder, 'link'));
    symlinkSync('deep/file', join(folder, 'inner'));
    for (const path of ['deep/file', 'deep/../deep/file', 'inner'])
      expect(String(await readWithin(folder, join(folder, path)))).toBe('deep/file');
    for (const path of ['../secret', '../within-not', 'link', '.'])
      await expect(readWithin(folder, join(folder, path)), path).rejects.toThrow('it lies outside of');
  });
});
