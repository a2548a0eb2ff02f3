import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { isPrivate, writersOf } from '../../src/core/private-folder.js';

const root = mkdtempSync(join(tmpdir(), 'undistill-private-'));
afterAll(() => rmSync(root, { recursive: true }));

const me = 1000;

test.each<readonly [string, number, number, number, string | undefined]>([
  ['mine alone', 0o755, me, 100, undefined],
  ['mine, and my own group’s', 0o775, me, me, undefined],
  ['mine, and root’s group’s', 0o775, me, 0, undefined],
  ['root’s, and its group’s', 0o775, 0, 0, undefined],
  [
    'mine, and a group’s of which nobody knows who is in it',
    0o775,
    me,
    100,
    'all of a group can write to it (gid 100)',
  ],
  ['root’s, and my group’s', 0o775, 0, me, 'all of a group can write to it (gid 1000)'],
  ['mine, and everybody’s', 0o777, me, me, 'everybody can write to it'],
  ['another user’s', 0o700, 1001, me, 'it belongs to another user (uid 1001)'],
])('a folder that is %s', (_, mode, uid, gid, who) => {
  expect(writersOf({ mode, uid, gid }, me)).toBe(who);
});

test('a folder above with the sticky bit is as good as one that is mine, whoever writes to it', () => {
  expect(writersOf({ mode: 0o1777, uid: 0, gid: 100 }, me, true)).toBeUndefined();
  expect(writersOf({ mode: 0o1775, uid: 0, gid: 100 }, me, true)).toBeUndefined();
  expect(writersOf({ mode: 0o1777, uid: 0, gid: 100 }, me)).toBe('everybody can write to it');
});

test.skipIf(process.getuid?.() !== 0)('a folder that a group can write to is not private, nor is one within it', () => {
  const folder = join(root, 'above', 'graphs');
  expect(isPrivate(folder)).toBe(true);
  for (const path of [folder, join(root, 'above')]) {
    chownSync(path, 0, 100);
    expect(isPrivate(folder)).toBe(true);
    chmodSync(path, 0o775);
    expect(isPrivate(folder)).toBe(false);
    chmodSync(path, 0o755);
  }
});
