import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Stage } from '../../src/experiment/stage.js';
import { deathOf } from '../../src/run/death.js';
import { processExecutor, type WorkerSetup } from '../../src/run/workers.js';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'undistill-workers-'));
  writeFileSync(join(folder, 'worker.cjs'), script);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A worker that does at once what the name of a stage says, in place of making or timing it. */
const script = `
const { spawn } = require('node:child_process');
/** Something that a plugin starts and leaves. */
const left = () => spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
const tellOf = ({ pid }) => process.send({ type: 'event', event: { pid } });
const time = { live: process.pid, replayed: 0 };
const exits = { type: 'outcome', outcome: { status: 'failed', failure: { what: 'it called process.exit(0)' } }, last: true };
const acts = {
  timed: () => process.send({ type: 'timed', time, last: false }),
  pages: () => process.send({ type: 'timed', time: process.env.GLIBC_TUNABLES, last: false }),
  exits: () => { process.on('exit', () => process.send(exits)); process.exit(0); },
  falls: () => process.kill(process.pid, 'SIGSEGV'),
  leaves: () => process.exit(3),
  keeps: () => tellOf(left()),
  leavesOne: () => { tellOf(left()); setTimeout(() => process.exit(3), 100); },
  // Its channel is held by another process, so that it is not closed with it.
  fades: () => {
    spawn('sleep', ['20'], { stdio: ['ignore', 'ignore', 'ignore', process.channel.fd], detached: true }).unref();
    process.send({ type: 'timed', time, last: false });
    setTimeout(() => process.exit(), 100);
  },
  told: () => process.send({ type: 'timed', time: told, last: false }),
};
const told = [];
process.on('message', ({ type, id, count }) => (type === 'threads' ? told.push(count) : acts[id]?.()));
process.on('disconnect', () => process.exit());
`;

const stage = (id: string): Stage => ({ id, label: id }) as unknown as Stage;
const executor = () => processExecutor({ script: join(folder, 'worker.cjs'), args: [], setup: {} as WorkerSetup });
const nothing = (): void => undefined;

/** Whether a process runs; one that has ended may still be waited for. */
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !existsSync('/proc/self/stat') || !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
};
const end = (pid: number): Promise<void> => vi.waitFor(() => expect(isAlive(pid)).toBe(false), { timeout: 600_000 });

describe('a worker', () => {
  it('that ends while a stage is timed leaves it without a time, and the next one is timed by another', async () => {
    const { time, close } = executor();
    const first = await time(stage('timed'));
    expect(first?.live).toBeGreaterThan(0);
    expect(await time(stage('timed'))).toEqual(first);
    for (const how of ['exits', 'falls', 'leaves']) {
      expect(await time(stage(how)), how).toBeUndefined();
      const again = await time(stage('timed'));
      expect(again?.live).toBeGreaterThan(0);
      expect(again).not.toEqual(first);
    }
    await close();
  });

  it('is told how many threads it may use, also one that takes the place of another', async () => {
    const { time, run, useThreads, close } = executor();
    useThreads(2);
    expect(await time(stage('told'))).toEqual([2]);
    useThreads(2);
    useThreads(1);
    expect(await time(stage('told'))).toEqual([2, 1]);
    await run(stage('leaves'), nothing, nothing);
    expect(await time(stage('told'))).toEqual([1]);
    await close();
  });

  it('has tensors in pages of 2 MB where the system gives them on request, unless a user has said otherwise', async () => {
    const given = async (set: string | undefined) => {
      vi.stubEnv('GLIBC_TUNABLES', set);
      const { time, close } = executor();
      const found: unknown = await time(stage('pages'));
      await close();
      vi.unstubAllEnvs();
      return found;
    };
    expect(await given(undefined)).toBe('glibc.malloc.hugetlb=1');
    expect(await given('glibc.malloc.arena_max=2')).toBe('glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1');
    expect(await given('glibc.malloc.hugetlb=0')).toBe('glibc.malloc.hugetlb=0');
  });

  it.each([
    ['exits', 'it called process.exit(0)'],
    ['falls', 'its process crashed in native code (SIGSEGV)'],
    ['leaves', 'its process ended before it had a result (exit code 3)'],
  ])('that %s is a failed stage that says how', async (how, what) => {
    const { run, close } = executor();
    expect(await run(stage(how), nothing, nothing)).toMatchObject({ status: 'failed', failure: { what } });
    await close();
  });

  it.each([
    ['does not stop in time', 'keeps'],
    ['ends by itself', 'leavesOne'],
  ])('that %s takes along what its plugins have started', async (_, how) => {
    const stop = new AbortController();
    const { run, close } = processExecutor({
      ...{ script: join(folder, 'worker.cjs'), args: [], setup: {} as WorkerSetup, signal: stop.signal, grace: 50 },
    });
    const started = new Promise<number>((resolve) => {
      const told = (event: unknown): void => {
        const { pid } = event as { readonly pid?: number };
        if (pid !== undefined) resolve(pid);
      };
      run(stage(how), told, nothing).catch(nothing);
    });
    const pid = await started;
    expect(isAlive(pid)).toBe(true);
    if (how === 'keeps') stop.abort();
    await end(pid);
    await close();
  });

  it('that has ended already is not waited for', async () => {
    const { time, close } = executor();
    const found = await time(stage('fades'));
    await end(found?.live as number);
    // The event comes after the end, and the channel's close after that.
    await sleep(200);
    expect(await Promise.race([close().then(() => 'closed'), sleep(5_000, 'waited')])).toBe('closed');
  });

  it('says of every death what it was, and what to do', () => {
    for (const how of ['SIGKILL', 'SIGABRT', 'SIGBUS', 'SIGHUP', 1] as const) {
      const { what, remedy } = deathOf(how);
      expect(what).toContain(String(how));
      expect(remedy).toContain('run again');
    }
  });
});
