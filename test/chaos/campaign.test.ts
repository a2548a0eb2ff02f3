import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chosen, hostIn } from '../../chaos/campaign.js';
import { randomOf, shareOf } from '../../chaos/case.js';
import { kinds as all } from '../../chaos/kinds.js';
import { register } from '../cli/project.js';
import { kinds } from './planted.js';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'undistill-chaos-test-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** `npm run chaos` with the planted cases. */
const chaos = (...args: readonly string[]): Promise<{ readonly code: number; readonly out: string }> =>
  new Promise((resolve) => {
    const script = ['--import', register, at('../../chaos/chaos.ts'), '--kinds', at('planted.ts'), ...args];
    execFile(process.execPath, script, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out: out + err }),
    );
  });

const namesOf = (of: Partial<Parameters<typeof chosen>[1]>): string[] =>
  chosen(kinds, { share: 1, seed: 0, jobs: 1, say: () => undefined, ...of }).map(
    ({ kind, name }) => `${kind.name}/${name}`,
  );

describe('a campaign', () => {
  it('finds defects of each sort, counts them in their row, says how to try them again, and fails', async () => {
    const out = join(folder, 'table.md');
    const ran = await chaos('--only', 'planted', '--seed', '5', '--out', out);
    expect(ran.code).toBe(1);
    for (const [sort, name, why] of [
      ['lost', 'loses', 'weights differ'],
      ['silent', 'is silent', 'a cut file was read'],
      ['aborted', 'throws', 'TypeError: of undefined'],
      ['aborted', 'dies', 'its process ended (SIGKILL)'],
      ['aborted', 'hangs', 'it hangs: no end after 20 s'],
    ] as const) {
      expect(ran.out).toContain(`✗ ${sort}: planted/${name}: ${why}`);
      expect(ran.out).toContain(`again: npm run chaos -- --seed 5 --only 'planted/${name}'`);
    }
    // One, seven and one survive; the last column is of seconds.
    const row = /\| defects that were planted \| 14 \| 9 \| 1 \| 3 \| 1 \| 1 \| \d+ \|/;
    expect(ran.out).toMatch(row);
    expect(ran.out).toContain('planted: it holds 5 MB');
    expect(ran.out).toContain('1 case left out, planted: no disk');
    expect(ran.out.trimEnd().split('\n').at(-1)).toBe('1 lost, 3 aborted, 1 silent');
    const written = await readFile(out, 'utf8');
    expect(written).toMatch(row);
    expect(written).toContain('**1 lost, 3 aborted, 1 silent**');
  });

  it('ends well where everything survives', async () => {
    const { code, out } = await chaos('--only', 'sound', '--share', '0.1', '--seed', '3');
    expect(out.trimEnd().split('\n').at(-1)).toBe('0 lost, 0 aborted, 0 silent');
    expect(out).toMatch(/\| cases that survive \| 4 \| 4 \| 0 \| 0 \| 0 \| 0 \|/);
    expect(code).toBe(0);
  });

  it('leaves out what there is no time for, with a word, and fails where nothing was chosen or tried', async () => {
    const late = await chaos('--only', 'slow', '--minutes', '1');
    expect(late.out).toContain('40 cases left out, slow: no time was left for it');
    expect(late).toMatchObject({ code: 1, out: expect.stringContaining('No case was tried.') });
    const none = await chaos('--only', 'nothing of the kind');
    expect(none.out).toContain('No case was chosen.');
    expect(none.code).toBe(1);
  });
});

describe('a process of cases', () => {
  const { execArgv } = process;
  beforeAll(() => {
    process.execArgv = ['--import', register];
  });
  afterAll(() => {
    process.execArgv = execArgv;
  });

  it('that ends after a case is followed by another one', async () => {
    const host = hostIn(at('planted.ts'));
    const order = { seed: 0, folder, shared: folder };
    expect(await host.attempt({ ...order, kind: 'frail', name: 'dies later' }, 60)).toMatchObject({
      status: 'survived',
    });
    const pid = Number(await readFile(join(folder, 'pid'), 'utf8'));
    const lives = (): boolean => {
      try {
        return process.kill(pid, 0);
      } catch {
        return false;
      }
    };
    while (lives()) await sleep(20);
    expect(await host.attempt({ ...order, kind: 'sound', name: '0' }, 60)).toMatchObject({ status: 'survived' });
    host.close();
  });
});

describe('what is chosen', () => {
  it('is the same for the same seed and share, and one case where one is named', () => {
    expect(namesOf({ share: 0.2, seed: 7 })).toEqual(namesOf({ share: 0.2, seed: 7 }));
    expect(namesOf({ share: 0.2, seed: 8 })).not.toEqual(namesOf({ share: 0.2, seed: 7 }));
    expect(namesOf({ share: 0.1, only: 'sound/17' })).toEqual(['sound/17']);
    expect(namesOf({ only: 'planted' })).toHaveLength(9);
  });

  it.each([1, 2, 7, 40, 103])('is of %i cases each one in ten days, a tenth a day', (count) => {
    const items = Array.from({ length: count }, (_, i) => i);
    const days = Array.from({ length: 10 }, (_, day) => shareOf(items, 0.1, 20_000 + day));
    expect(days.flat().sort((a, b) => a - b)).toEqual(items);
    for (const day of days) expect(Math.abs(day.length - count / 10)).toBeLessThan(1);
  });

  it('is of cases with names of their own', () => {
    for (const kind of [...all, ...kinds]) {
      const names = kind.cases().map(({ name }) => name);
      expect(new Set(names).size, kind.name).toBe(names.length);
    }
    expect(new Set(all.map(({ name }) => name)).size).toBe(all.length);
  });

  it('draws the same for the same name, from all there is', () => {
    const draws = (name: string) => {
      const random = randomOf(name);
      return Array.from({ length: 200 }, () => random.below(10));
    };
    expect(draws('a')).toEqual(draws('a'));
    expect(draws('a')).not.toEqual(draws('b'));
    expect(new Set(draws('a')).size).toBe(10);
  });
});
