import { existsSync, readdirSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type LockOwner, readOwner, tryLock } from '../../src/core/lock.js';
import { aside, openStore, removeLeftovers, type Store } from '../../src/run/store.js';
import { canBeSeveral, type Host, onHost } from '../hosts.js';

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof fs>();
  return { ...real, link: vi.fn(real.link), readdir: vi.fn(real.readdir) };
});

let root: string;
let path: string;
let damages: string[];
let store: Store;
const hosts: Host[] = [];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'undistill-shared-'));
  path = join(root, 'locks', 'a');
  damages = [];
  store = openStore(root, (id, file) => damages.push(`${id}: ${file}`));
});
afterEach(async () => {
  for (const host of hosts.splice(0)) host.process.kill('SIGKILL');
  vi.useRealTimers();
  vi.unstubAllEnvs();
  await rm(root, { recursive: true, force: true });
});

const until = async (condition: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await condition())) await sleep(20);
};

/** A lock of another machine, which was taken just now. */
const elsewhere = async (more: Partial<LockOwner> = {}): Promise<void> => {
  const owner = { pid: 1, host: 'elsewhere', world: '', started: '1', token: 'abc', since: 1, ...more };
  await mkdir(join(root, 'locks'), { recursive: true });
  await writeFile(path, JSON.stringify(owner));
};

/** This machine's clock is wrong by so many milliseconds; the file system's is not. */
const wrongBy = (milliseconds: number): void => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
  vi.setSystemTime(Date.now() + milliseconds);
};

const hour = 3_600_000;
const tenMinutes = 600_000;
const finish = async (id: string, of = store): Promise<void> => {
  const staging = await of.begin(id);
  await staging?.writeJson('record.json', { id });
  await staging?.finish();
};

describe('a lock on a folder that machines share', () => {
  test('of an earlier start of the same job is free, and of no other', async () => {
    vi.stubEnv('SLURM_JOB_ID', '7');
    vi.stubEnv('SLURM_RESTART_COUNT', '1');
    for (const job of [
      { id: '7', start: 1 },
      { id: '7', start: 2 },
      { id: '8', start: 0 },
    ]) {
      await elsewhere({ job });
      expect(await tryLock(path)).toBeUndefined();
    }
    await elsewhere({ job: { id: '7', start: 0 } });
    const taken = await tryLock(path);
    expect((await readOwner(path))?.job).toEqual({ id: '7', start: 1 });
    await taken?.release();
  });

  test("is one's own where the server did what was asked and its answer was lost", async () => {
    const { link } = await vi.importActual<typeof fs>('node:fs/promises');
    vi.mocked(fs.link).mockImplementationOnce(async (from, to) => {
      await link(from, to);
      throw Object.assign(new Error('EEXIST: file already exists'), { code: 'EEXIST' });
    });
    const lock = await tryLock(path);
    expect(await lock?.isHeld()).toBe(true);
    await lock?.release();
    expect(await readdir(join(root, 'locks'))).toEqual([]);
  });

  test("gives signs of life by the server's clock", async () => {
    wrongBy(-hour);
    const lock = await tryLock(path);
    const before = await readOwner(path);
    const long = new Date((await stat(path)).mtimeMs - tenMinutes);
    await utimes(path, long, long);
    vi.advanceTimersByTime(30_000);
    await until(async () => (await stat(path)).mtimeMs > long.getTime() + tenMinutes - 1000);
    expect(await readOwner(path)).toEqual(before);
    await lock?.release();
  });

  test.each([hour, -hour])('holds where clocks are %d ms apart, and so do files that are being written', async (by) => {
    await elsewhere();
    const written = join(root, 'run', 'matrix.json.0123abcd-7-1f.tmp');
    const candidate = `${path}.0123456789abcdef01234567`;
    await mkdir(join(root, 'run'));
    await writeFile(written, '');
    await writeFile(candidate, await readFile(path));
    wrongBy(by);
    expect(await tryLock(path)).toBeUndefined();
    await removeLeftovers(join(root, 'run'), root);
    expect([written, candidate].filter(existsSync)).toEqual([written, candidate]);
    const long = new Date((await stat(path)).mtimeMs - 2 * tenMinutes);
    for (const file of [written, candidate]) await utimes(file, long, long);
    await removeLeftovers(join(root, 'run'), root);
    expect([written, candidate].filter(existsSync)).toEqual([]);
  });
});

describe('a store on a folder that machines share', () => {
  test('writes each file aside by a name of its own', () => {
    expect(aside('x')).not.toBe(aside('x'));
  });

  test('takes no stage for damaged whose folder is shown late', async () => {
    await finish('a');
    const real = (await vi.importActual<typeof fs>('node:fs/promises')).readdir;
    vi.mocked(fs.readdir).mockImplementationOnce((async (folder: string, options: object) =>
      (await real(folder, options as { withFileTypes: true })).filter(
        ({ name }) => name !== 'record.json',
      )) as unknown as typeof fs.readdir);
    const other = openStore(root, (id, file) => damages.push(`${id}: ${file}`));
    expect(await other.find('a')).toBeDefined();
    expect([damages, readdirSync(join(root, 'a')).sort()]).toEqual([[], ['manifest.json', 'record.json']]);
  });

  test('removes no damaged stage that another process has', async () => {
    await finish('a');
    await writeFile(join(root, 'a', 'record.json'), 'altered');
    await elsewhere();
    expect(await store.find('a')).toBeUndefined();
    expect(existsSync(join(root, 'a', 'record.json'))).toBe(true);
    await rm(path);
    expect(await store.find('a')).toBeUndefined();
    expect([damages, existsSync(join(root, 'a'))]).toEqual([['a: record.json'], false]);
  });

  test('waits for what another machine has finished, where it is told to', async () => {
    const patient = openStore(root, () => undefined, { patience: 60_000 });
    const late = sleep(300).then(() => finish('a'));
    expect(await store.expect('a')).toBeUndefined();
    expect(await patient.expect('a')).toBeDefined();
    await late;
  });
});

const module = (file: string): string => JSON.stringify(pathToFileURL(resolve(file)).href);

/** Begins the stage `a`, says so, and finishes it when there is a file `go`. */
const making = (root: string, by: string): string => `
  import { existsSync } from 'node:fs';
  import { hostname } from 'node:os';
  import { setTimeout as sleep } from 'node:timers/promises';
  const { openStore } = await import(${module('src/run/store.ts')});
  const store = openStore(${JSON.stringify(root)}, () => undefined);
  let staging;
  while ((staging = await store.begin('a')) === undefined) {
    console.log('waits for ' + (await store.holder('a')));
    await sleep(50);
  }
  await staging.writeJson('record.json', hostname());
  console.log('begun by ' + hostname());
  while (!existsSync(${JSON.stringify(root)} + '/go-${by}')) await sleep(20);
  console.log(await staging.finish().then(() => 'finished', (error) => error.message));`;

describe.skipIf(!canBeSeveral)('two machines on one folder (left out where they cannot be played)', () => {
  const host = (name: string): Host => {
    const started = onHost(name, making(root, name));
    hosts.push(started);
    return started;
  };

  test('wait for each other, though neither sees the other’s processes', async () => {
    const first = host('n1');
    await until(() => first.said().includes('begun by n1'));
    const second = host('n2');
    await until(() => second.said().includes('waits for process'));
    expect(second.said()).toMatch(/waits for process \d+ on n1, at it since/);
    await writeFile(join(root, 'go-n1'), '');
    await until(() => second.said().includes('begun by n2'));
    expect(first.said()).toContain('finished');
  });

  test('leave the stage to one of them, where the other was cut off and comes back', async () => {
    const first = host('n1');
    await until(() => first.said().includes('begun by n1'));
    // The writer stands still, as seen from the folder.
    const long = new Date((await stat(path)).mtimeMs - 2 * tenMinutes);
    await utimes(path, long, long);
    const second = host('n2');
    await until(() => second.said().includes('begun by n2'));
    await writeFile(join(root, 'go-n1'), '');
    await first.ended;
    expect(first.said()).toContain('another process took this stage over');
    expect([existsSync(join(root, 'a')), (await readOwner(path))?.host]).toEqual([false, 'n2']);
    await writeFile(join(root, 'go-n2'), '');
    await second.ended;
    expect(second.said()).toContain('finished');
    expect(await (await store.find('a'))?.json('record.json')).toBe('n2');
    expect(await readdir(join(root, 'locks'))).toEqual([]);
  });
});
