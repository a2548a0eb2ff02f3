import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Stage } from '../../src/experiment/plan.js';
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
const time = { live: process.pid, replayed: 0 };
const exits = { type: 'outcome', outcome: { status: 'failed', failure: { what: 'it called process.exit(0)' } }, last: true };
const acts = {
  timed: () => process.send({ type: 'timed', time, last: false }),
  pages: () => process.send({ type: 'timed', time: process.env.GLIBC_TUNABLES, last: false }),
  exits: () => { process.on('exit', () => process.send(exits)); process.exit(0); },
  falls: () => process.kill(process.pid, 'SIGSEGV'),
  leaves: () => process.exit(3),
  told: () => process.send({ type: 'timed', time: told, last: false }),
};
const told = [];
process.on('message', ({ type, id, count }) => (type === 'threads' ? told.push(count) : acts[id]?.()));
process.on('disconnect', () => process.exit());
`;

const stage = (id: string): Stage => ({ id, label: id }) as unknown as Stage;
const executor = () => processExecutor({ script: join(folder, 'worker.cjs'), args: [], setup: {} as WorkerSetup });
const nothing = (): void => undefined;

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

  it('says of every death what it was, and what to do', () => {
    for (const how of ['SIGKILL', 'SIGABRT', 'SIGBUS', 'SIGHUP', 1] as const) {
      const { what, remedy } = deathOf(how);
      expect(what).toContain(String(how));
      expect(remedy).toContain('run again');
    }
  });
});
