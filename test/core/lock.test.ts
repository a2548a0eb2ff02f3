import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Holder, holderOf, readOwner, showHolder, tryLock, withLock } from '../../src/core/lock.js';

let folder: string;
let path: string;
const children: ChildProcess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'undistill-lock-'));
  path = join(folder, 'it.lock');
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

const lockModule = JSON.stringify(pathToFileURL(resolve('src/core/lock.ts')).href);

/** A process of its own that runs `body` with the lock's functions imported. */
const child = (body: string): { readonly process: ChildProcess; readonly ended: Promise<number | null> } => {
  const source = `import { tryLock, withLock } from ${lockModule};
    import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    const path = ${JSON.stringify(path)}, folder = ${JSON.stringify(folder)};
    ${body}`;
  const started = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
    stdio: 'inherit',
  });
  children.push(started);
  // Listened to from the start: it may end while the test waits for something else.
  return { process: started, ended: new Promise((done) => started.on('exit', done)) };
};

const until = async (condition: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await condition())) await sleep(20);
};

describe('a lock', () => {
  test('is held by one until it is released, and leaves no file behind', async () => {
    const first = await tryLock(path);
    expect(first).toBeDefined();
    expect(await tryLock(path)).toBeUndefined();
    expect((await readOwner(path))?.pid).toBe(process.pid);
    await first?.release();
    const second = await tryLock(path);
    expect(second).toBeDefined();
    await second?.release();
    expect(await readdir(folder)).toEqual([]);
  });

  test.each([
    ['a token that is a path', { token: 'x/../../precious' }],
    ['a token that is no text', { token: 5 }],
    ['a pid that is none', { pid: 'one' }],
    ['no world', { world: undefined }],
  ])('with %s is no lock of ours, and deletes nothing', async (_, changes) => {
    // Where the token leads from there, if it is taken for a part of a path.
    const deep = join(folder, 'deep', 'it.lock');
    await mkdir(`${deep}.x`, { recursive: true });
    await writeFile(join(folder, 'precious'), '');
    await writeFile(join(folder, 'precious.dead'), '');
    const mine = await tryLock(deep);
    const owner = { ...(await readOwner(deep)), pid: 4194305, ...changes };
    await mine?.release();
    await writeFile(deep, JSON.stringify(owner));
    expect(await readOwner(deep)).toBeUndefined();
    await utimes(deep, new Date(0), new Date(0));
    const taken = await tryLock(deep);
    expect(taken).toBeDefined();
    await taken?.release();
    expect((await readdir(folder)).sort()).toEqual(['deep', 'precious', 'precious.dead']);
    expect(await readdir(join(folder, 'deep'))).toEqual(['it.lock.x']);
  });

  test('is released when the work throws', async () => {
    await expect(withLock(path, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await readdir(folder)).toEqual([]);
  });

  test('keeps the work of two processes apart', async () => {
    const body = `
      await withLock(path, async () => {
        appendFileSync(folder + '/log', 'in ' + process.pid + '\\n');
        await sleep(150);
        appendFileSync(folder + '/log', 'out ' + process.pid + '\\n');
      }, { every: 10 });`;
    expect(await Promise.all([child(body).ended, child(body).ended])).toEqual([0, 0]);
    const log = (await readFile(join(folder, 'log'), 'utf8')).trim().split('\n');
    expect(log).toHaveLength(4);
    expect(log[0]?.replace('in', 'out')).toBe(log[1]);
    expect(log[2]?.replace('in', 'out')).toBe(log[3]);
    expect(await readdir(folder)).toEqual(['log']);
  });

  test('tells who is waited for', async () => {
    const holder = child(`
      await withLock(path, async () => { while (!existsSync(folder + '/go')) await sleep(10); });`);
    await until(() => existsSync(path));
    const waiting: (number | undefined)[] = [];
    const onWait = (held: Holder) => {
      waiting.push(held.owner?.pid);
      writeFileSync(join(folder, 'go'), '');
    };
    expect(await withLock(path, async () => 'done', { every: 10, onWait })).toBe('done');
    expect(waiting).toEqual([holder.process.pid]);
    expect(await holder.ended).toBe(0);
  });

  test('says who holds it, where, since when and until when it counts', async () => {
    const said = async (): Promise<string> => showHolder((await holderOf(path)) as Holder);
    const time = /\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/.source;
    expect(await holderOf(path)).toBeUndefined();
    const mine = await tryLock(path);
    const who = `process ${process.pid} on ${hostname()}, at it since`;
    expect(await said()).toMatch(new RegExp(`^${who} ${time} \\(${path}\\)$`));
    const owner = await readOwner(path);
    await mine?.release();
    await writeFile(path, JSON.stringify({ ...owner, pid: 7, host: 'elsewhere', since: Date.UTC(2026, 0, 2) }));
    await utimes(path, new Date(0), new Date(0));
    const [begun, seen, end] = [Date.UTC(2026, 0, 2), 0, 600_000].map((at) => new Date(at).toLocaleString('sv-SE'));
    expect(await said()).toBe(
      `process 7 on elsewhere, at it since ${begun} (${path}). It is elsewhere: without a sign of life, of which the last was at ${seen}, it counts until ${end}. If it is gone, remove that file`,
    );
    await writeFile(path, '{"pid":');
    expect(await said()).toMatch(
      new RegExp(
        `^a lock file that cannot be read, ${path}, which counts until ${time}\\. If nobody else works here, `,
      ),
    );
  });

  test('of a killed process is taken over, by one of many that want it', async () => {
    const holder = child(`await tryLock(path); setInterval(() => {}, 1000);`);
    await until(() => existsSync(path));
    holder.process.kill('SIGKILL');
    await holder.ended;
    await writeFile(join(folder, 'count'), '0');
    // Reading and writing apart: a second holder at the same time would lose a count.
    const body = `
      for (let turn = 0; turn < 5; turn++) await withLock(path, async () => {
        const count = Number(readFileSync(folder + '/count', 'utf8'));
        await sleep(5);
        writeFileSync(folder + '/count', String(count + 1));
      }, { every: 3 });`;
    const many = Array.from({ length: 4 }, () => child(body));
    expect(await Promise.all(many.map(({ ended }) => ended))).toEqual([0, 0, 0, 0]);
    expect(await readFile(join(folder, 'count'), 'utf8')).toBe('20');
    expect(await readdir(folder)).toEqual(['count']);
  });

  test('of a process that was killed as soon as it had it is taken over with all that it left', async () => {
    const lock = await tryLock(path);
    const owner = await readOwner(path);
    await lock?.release();
    const dead = { ...owner, pid: 2 ** 22 + 1 };
    for (const file of [path, `${path}.${owner?.token}`]) await writeFile(file, JSON.stringify(dead));
    await (await tryLock(path))?.release();
    expect(await readdir(folder)).toEqual([]);
  });

  test('of a process whose number was given to another one is taken over', async () => {
    const lock = await tryLock(path);
    const owner = await readOwner(path);
    await lock?.release();
    await writeFile(path, JSON.stringify({ ...owner, started: 'another time', token: 'abc' }));
    const taken = await tryLock(path);
    expect(taken).toBeDefined();
    await taken?.release();
  });

  test('of another machine holds while it gives signs of life', async () => {
    const elsewhere = { pid: 1, host: 'elsewhere', world: '', started: '1', token: 'abc', since: 1 };
    await writeFile(path, JSON.stringify(elsewhere));
    expect(await tryLock(path)).toBeUndefined();
    const long = new Date(Date.now() - 3_600_000);
    await utimes(path, long, long);
    const taken = await tryLock(path);
    expect(taken).toBeDefined();
    await taken?.release();
  });

  test('file that is not one holds for a while, then is taken over', async () => {
    await writeFile(path, '{"pid":');
    expect(await tryLock(path)).toBeUndefined();
    const long = new Date(Date.now() - 3_600_000);
    await utimes(path, long, long);
    const taken = await tryLock(path);
    expect(taken).toBeDefined();
    await taken?.release();
  });
});
