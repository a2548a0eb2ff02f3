import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { joinCommand } from '../../src/cli/join.js';
import type { Terminal } from '../../src/cli/terminal.js';
import { example, only } from '../report/matrix.js';

const root = mkdtempSync(join(tmpdir(), 'undistill-join-'));
afterAll(() => rmSync(root, { recursive: true }));

/** The folder of a run of one seed. */
const runOf = (seed: string): string => {
  const folder = join(root, seed);
  mkdirSync(folder);
  writeFileSync(join(folder, 'matrix.json'), JSON.stringify(only(example, seed)));
  return folder;
};

test.skipIf(process.platform !== 'linux')(
  'a folder that cannot be made is named, and nothing waits for it',
  async () => {
    const out = { log: () => undefined } as never as Terminal;
    const folder = '/proc/undistill/joined';
    await expect(joinCommand([runOf('0'), runOf('1')], { out: folder }, out)).rejects.toMatchObject({
      failure: { kind: 'store', where: folder, remedy: expect.stringContaining('--out') },
    });
  },
);
