import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { diskFailure, guarded, removeFile } from '../../src/run/disk.js';
import { failureOf } from '../failures.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'undistill-disk-'));
});
afterEach(() => rmSync(root, { recursive: true }));

describe('what goes wrong with files', () => {
  test('is a failure that says what to do about a full disk', async ({ skip }) => {
    // The device that is always full, where the system has it.
    if (!existsSync('/dev/full')) skip();
    const full = async () => writeFileSync('/dev/full', 'x');
    const refused = await failureOf(() => guarded('weights', full));
    expect(refused).toMatchObject({ kind: 'store', where: 'weights' });
    expect(refused.remedy).toMatch(/^The disk is full\. Free some space and run again/);
    const told = diskFailure(await full().catch((error: unknown) => error));
    expect(told).toMatchObject({ kind: 'store', remedy: refused.remedy });
  });

  test('that is about something else stays what it is', async () => {
    await expect(guarded('x', () => Promise.reject(new TypeError('a mistake')))).rejects.toThrow(TypeError);
  });

  test('is a failure where a file is to go, and nothing where there is none', async () => {
    const path = join(root, 'file');
    await removeFile(path);
    writeFileSync(path, '');
    await removeFile(path);
    expect(existsSync(path)).toBe(false);
    mkdirSync(path);
    expect(await failureOf(() => removeFile(path))).toMatchObject({ kind: 'store', where: path });
  });
});

describe('what a disk refused, wherever that was', () => {
  const refused = { code: 'EROFS', syscall: 'rm', path: '/runs/tiny/failure.txt' };

  test('is a failure of that file', () => {
    expect(diskFailure(Object.assign(new Error('EROFS: read-only'), refused))).toEqual({
      _tag: 'Failure',
      kind: 'store',
      what: 'EROFS: read-only',
      where: '/runs/tiny/failure.txt',
      remedy: 'The disk is read-only. Choose another folder with --out.',
    });
    expect(diskFailure(Object.assign(new Error('EMFILE'), refused, { code: 'EMFILE' }))?.remedy).toMatch(/^Run again/);
  });

  test('of permissions is about reading as well as writing', () => {
    for (const code of ['EACCES', 'EPERM'])
      expect(diskFailure(Object.assign(new Error(code), refused, { code, syscall: 'open' }))?.remedy).toBe(
        'This user may not read or write there: change its permissions, or choose another folder with --out.',
      );
  });

  test('is no file that is missing, and no error of something else', async () => {
    const missing = await stat(join(root, 'nothing')).catch((error: unknown) => error);
    expect(missing).toMatchObject({ code: 'ENOENT' });
    expect(diskFailure(missing)).toBeUndefined();
    expect(diskFailure(Object.assign(new Error('EACCES'), { code: 'EACCES' }))).toBeUndefined();
    for (const error of [new TypeError('a mistake'), undefined, null, 'EROFS'])
      expect(diskFailure(error)).toBeUndefined();
  });
});
