import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { rankCommand } from '../../src/cli/rank.js';
import { terminal } from '../../src/cli/terminal.js';
import type { Ranking } from '../../src/results/ranking.js';
import { ranked as matrix } from '../report/ranked.js';

const folder = mkdtempSync(join(tmpdir(), 'undistill-rank-'));
afterAll(() => rmSync(folder, { recursive: true }));

const ranked = async (name: string, value: unknown): Promise<Ranking> => {
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify(value));
  let said = '';
  const out = terminal({ write: (text: string) => (said += text) });
  expect(await rankCommand([path], { format: 'json' }, out)).toBe(0);
  return JSON.parse(said);
};

test('a matrix and a ranking are told apart by what they hold, whatever the order of their fields', async () => {
  const said = await ranked('matrix.json', matrix);
  const { runs, ...rest } = said;
  expect(await ranked('ranking.json', { ...rest, runs })).toEqual(said);
});
