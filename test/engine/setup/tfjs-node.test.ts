import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { fetchArchive, madeOnce, unpack } from '../../../src/engine/setup/tfjs-node.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'undistill-tfjs-node-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** An archive as npm packs one, cut off after a part of it. */
const archive = async (part = 1): Promise<string> => {
  const packing = pack();
  packing.entry({ name: 'package/package.json' }, '{}');
  packing.entry({ name: 'package/dist/index.js' }, 'x'.repeat(5000));
  packing.finalize();
  const bytes = gzipSync(Buffer.from(await text(packing)));
  const path = join(root, 'package.tgz');
  writeFileSync(path, bytes.subarray(0, part * bytes.length));
  return path;
};

describe('an archive of npm', () => {
  test('is unpacked without the folder that all of it lies in', async () => {
    await unpack(await archive(), join(root, 'into'));
    expect(readFileSync(join(root, 'into', 'package.json'), 'utf8')).toBe('{}');
    expect(readFileSync(join(root, 'into', 'dist', 'index.js'), 'utf8')).toHaveLength(5000);
  });

  test('that is cut off, or has no room, rejects, and nothing beside it', async () => {
    const stray = vi.fn();
    process.on('unhandledRejection', stray);
    try {
      await expect(unpack(await archive(0.5), join(root, 'into'))).rejects.toThrow('unexpected end of file');
      writeFileSync(join(root, 'file'), '');
      await expect(unpack(await archive(), join(root, 'file', 'into'))).rejects.toThrow('ENOTDIR');
      // Node tells of a rejection that nobody handles when the microtasks are done.
      await sleep(0);
    } finally {
      process.off('unhandledRejection', stray);
    }
    expect(stray).not.toHaveBeenCalled();
  });
});

describe.skipIf(process.platform === 'win32')('an archive that npm is to fetch', () => {
  /** An npm that brings bytes, whatever it is asked for. */
  const bringing = (bytes: string) => {
    const script = `#!/bin/sh\nfor folder; do :; done\nprintf ${bytes} > "$folder/it.tgz"\n`;
    writeFileSync(join(root, 'npm'), script, { mode: 0o755 });
    return { env: { PATH: `${root}:${process.env.PATH}` } };
  };
  const known = (bytes: string) => ({
    ...{ name: 'it', version: '1.0.0', archive: 'it.tgz' },
    integrity: `sha512-${createHash('sha512').update(bytes).digest('base64')}`,
  });

  test('is kept where it is the one that is known, and then not fetched again', async () => {
    const path = join(root, 'it.tgz');
    expect(await fetchArchive(known('right'), root, bringing('right'))).toBe(path);
    expect(readFileSync(path, 'utf8')).toBe('right');
    expect(await fetchArchive(known('right'), root, bringing('wrong'))).toBe(path);
  });

  test('is refused where it is another, or was altered since, and nothing of it stays', async () => {
    await expect(fetchArchive(known('right'), root, bringing('wrong'))).rejects.toThrow(
      'it@1.0.0 is not the package that undistill knows',
    );
    expect(readdirSync(root)).toEqual(['npm']);
    writeFileSync(join(root, 'it.tgz'), 'altered');
    await fetchArchive(known('right'), root, bringing('right'));
    expect(readFileSync(join(root, 'it.tgz'), 'utf8')).toBe('right');
  });
});

describe('a folder that several want', () => {
  const making = (
    content: string,
    before: () => Promise<unknown> = async () => undefined,
    say?: (line: string) => void,
  ) =>
    madeOnce(
      join(root, 'packages', 'it'),
      () => existsSync(join(root, 'packages', 'it', 'package.json')),
      async (staging) => {
        mkdirSync(staging);
        await before();
        writeFileSync(join(staging, 'package.json'), content);
      },
      say,
    );

  test('is made by one of them, and left as it is by the others', async () => {
    const begun = vi.fn(() => sleep(50));
    await Promise.all(['one', 'other'].map((content) => making(content, begun)));
    await making('a third', begun);
    expect(begun).toHaveBeenCalledOnce();
    expect(readFileSync(join(root, 'packages', 'it', 'package.json'), 'utf8')).toMatch(/^(one|other)$/);
  });

  test('is waited for, and it is said for whom', async () => {
    const lock = join(root, 'packages', 'it.lock');
    rmSync(join(root, 'packages', 'it'), { recursive: true, force: true });
    mkdirSync(join(root, 'packages'), { recursive: true });
    writeFileSync(lock, 'no lock of ours');
    const said = new Promise<string>((say) => {
      void making('made', undefined, say);
    });
    expect(await said).toMatch(
      /it is being made\. Waiting for a lock file that cannot be read, .*it\.lock, which counts until/,
    );
    rmSync(lock);
    while (!existsSync(join(root, 'packages', 'it', 'package.json'))) await sleep(20);
  });

  test('is made anew where it is not complete, and by the next one where one fails', async () => {
    mkdirSync(join(root, 'packages', 'it'), { recursive: true });
    writeFileSync(join(root, 'packages', 'it', 'half'), '');
    await expect(making('failed', () => Promise.reject(new Error('the disk is full')))).rejects.toThrow('full');
    await making('made');
    expect(readdirSync(join(root, 'packages'))).toEqual(['it']);
    expect(readdirSync(join(root, 'packages', 'it'))).toEqual(['package.json']);
  });
});
