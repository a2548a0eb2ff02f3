import {
  existsSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type CleanOptions, cleanCommand, toRemove } from '../../src/cli/clean.js';
import type { Terminal } from '../../src/cli/terminal.js';
import { tryLock } from '../../src/core/lock.js';
import type { Kept } from '../../src/run/unused.js';

let folder: string;
const cacheBefore = process.env.XDG_CACHE_HOME;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'undistill-clean-'));
  process.env.XDG_CACHE_HOME = join(folder, 'cache');
});
afterEach(() => {
  if (cacheBefore === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = cacheBefore;
  rmSync(folder, { recursive: true, force: true });
});

const long = new Date(Date.now() - 30 * 24 * 60 * 60 * 1000);

/** A file that nobody has touched for a month, or now. */
const write = (name: string, text: string, old = true): string => {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  if (old) for (const each of [path, dirname(path)]) utimesSync(each, long, long);
  return path;
};

/** @param onWait is called as soon as it waits for another process */
const cleaned = async (options: Partial<CleanOptions> = { yes: true }, onWait?: () => void) => {
  const lines: string[] = [];
  const log = (line: string): void => {
    lines.push(line);
    if (line.includes('Waiting for')) onWait?.();
  };
  const plain = (text: string): string => text;
  const out = { log, paint: { warning: plain } } as never as Terminal;
  const code = await cleanCommand(join(folder, 'runs'), { older: 7, cache: true, ...options }, out);
  return { code, text: lines.join('\n') };
};

const planOf = (...ids: readonly string[]): string =>
  JSON.stringify({
    version: 1,
    experiment: 'e',
    stages: ids.map((id) => ({ id, label: id, kind: 'teacher', inputs: {} })),
    cells: [],
  });

const store = (): Readonly<Record<string, string>> => {
  write('runs/mine/plan.json', planOf('named', 'named-begun'));
  return {
    named: write('runs/.store/named/last.safetensors', 'x'.repeat(1000)),
    namedBegun: write('runs/.store/named-begun.partial/x', 'x'),
    old: write('runs/.store/old/last.safetensors', 'x'.repeat(3000)),
    begun: write('runs/.store/begun.partial/x', 'x'),
    young: write('runs/.store/young/last.safetensors', 'x', false),
    engine: write('cache/undistill/engines/tensorflow-1/engine.json', '{}'),
    data: write('cache/undistill/data/set', 'x'),
  };
};

const there = (paths: Readonly<Record<string, string>>): readonly string[] =>
  Object.keys(paths).filter((name) => existsSync(paths[name] as string));

describe('undistill clean', () => {
  test('removes what no run names and nobody has touched, and nothing else', async () => {
    const paths = store();
    const { code, text } = await cleaned();
    expect(code).toBe(0);
    expect(text).toContain('stage: 3, 5 kB; in use 1, 1 kB; to be removed 1, 3 kB');
    // Whether an engine or a data set is in use is known on Linux alone.
    const kept = process.platform === 'linux' ? [] : ['engine', 'data'];
    expect(there(paths)).toEqual(['named', 'namedBegun', 'young', ...kept]);
    expect((await cleaned()).text).toContain('There is nothing to remove.');
  });

  test('leaves the cache to all who share it, unless it is asked for', async () => {
    const paths = store();
    const { code, text } = await cleaned({ yes: true, cache: false });
    expect(code).toBe(0);
    expect(text).toContain('The cache is shared with other projects, and left as it is: --cache.');
    expect(there(paths)).toEqual(['named', 'namedBegun', 'young', 'engine', 'data']);
  });

  test('removes nothing unasked', async () => {
    const paths = store();
    const { code, text } = await cleaned({});
    expect(code).toBe(0);
    expect(text).toContain('Nothing was removed. --yes removes');
    expect(there(paths)).toEqual(Object.keys(paths));
  });

  test('leaves what a process holds, and says who', async () => {
    const paths = store();
    const lock = await tryLock(join(folder, 'runs/.store/locks/old'));
    try {
      const { code, text } = await cleaned();
      expect(code).toBe(1);
      expect(text).toContain(`this stage is being made by process ${process.pid}`);
      expect(there(paths)).toContain('old');
      expect(there(paths)).not.toContain('begun');
    } finally {
      await lock?.release();
    }
  });

  test.skipIf(process.platform !== 'linux')('says which process it waits for that installs an engine', async () => {
    const engine = dirname(write('cache/undistill/engines/other/engine.json', '{}'));
    const lock = await tryLock(`${engine}.lock`);
    const { code, text } = await cleaned({ yes: true }, () => void lock?.release());
    expect(code).toBe(0);
    expect(text).toContain(`The engine other is being installed. Waiting for process ${process.pid} on `);
    expect(text).toContain(`(${engine}.lock)`);
    expect(existsSync(engine)).toBe(false);
  });

  test('removes nothing where a plan cannot be read, and nothing of one run by itself', async () => {
    const paths = store();
    write('runs/broken/plan.json', '{');
    await expect(cleaned()).rejects.toThrow('which stages that run uses is not known');
    expect(there(paths)).toEqual(Object.keys(paths));
    await expect(cleanCommand(join(folder, 'runs/mine'), { older: 7 }, {} as Terminal)).rejects.toThrow(
      'this is one run',
    );
  });

  test('knows the stages of a run that a link leads to, and removes nothing where it leads nowhere', async () => {
    const paths = store();
    renameSync(join(folder, 'runs/mine'), join(folder, 'elsewhere'));
    symlinkSync(join(folder, 'elsewhere'), join(folder, 'runs/mine'));
    expect((await cleaned({ yes: true, cache: false })).code).toBe(0);
    expect(there(paths)).toEqual(['named', 'namedBegun', 'young', 'engine', 'data']);
    rmSync(join(folder, 'elsewhere'), { recursive: true });
    await expect(cleaned()).rejects.toThrow('which stages that run uses is not known');
    expect(there(paths)).toEqual(['named', 'namedBegun', 'young', 'engine', 'data']);
  });

  test('counts a link as itself, and not what it leads to', async () => {
    write('large/x', 'x'.repeat(5000));
    const { old } = store();
    const link = join(dirname(old as string), 'large');
    symlinkSync(join(folder, 'large'), link);
    lutimesSync(link, long, long);
    utimesSync(dirname(link), long, long);
    expect((await cleaned({})).text).toContain('to be removed 1, 4 kB');
  });

  test('takes the oldest first, until so much is left as may stay', () => {
    const kept = (name: string, bytes: number, touched: number, used?: string): Kept => ({
      ...{ what: 'stage', name, path: name, bytes, touched },
      ...(used === undefined ? {} : { used }),
    });
    const all = [kept('a', 5, 3), kept('b', 5, 1), kept('c', 5, 2), kept('used', 50, 0, 'run')];
    const names = (keep?: number) => toRemove(all, { older: 0, keep, now: 10 }).map(({ name }) => name);
    expect(names()).toEqual(['b', 'c', 'a']);
    expect(names(5)).toEqual(['b', 'c']);
    expect(names(15)).toEqual([]);
  });
});
