import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { failure } from '../../src/core/errors.js';
import type { Plan } from '../../src/experiment/plan.js';
import type { Stage } from '../../src/experiment/stage.js';
import { coresOf, crewOf } from '../../src/run/crew.js';
import { type Executor, localExecutor } from '../../src/run/executor.js';
import type { Outcome, StageRecord } from '../../src/run/record.js';
import { type RunEvent, run } from '../../src/run/scheduler.js';
import { openStore, type Store } from '../../src/run/store.js';
import type { RunEnvironment } from '../../src/run/types.js';

let folder = '';
let store: Store;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'undistill-run-'));
  store = openStore(join(folder, '.store'), () => undefined);
});
afterAll(() => rm(folder, { recursive: true }));

/** A plan of stages that need each other: `{ b: ['a'] }`. Its order is the order of writing. */
const planOf = (needs: Readonly<Record<string, readonly string[]>>): Plan =>
  ({
    stages: Object.entries(needs).map(
      ([id, inputs]) =>
        ({
          id,
          label: id,
          work: { kind: id.startsWith('quick') ? 'measure' : 'steal' },
          inputs: Object.fromEntries(inputs.map((input) => [input, input])),
        }) as unknown as Stage,
    ),
  }) as unknown as Plan;

const done: Outcome = { status: 'done', record: {} as StageRecord };
const failed = (kind: Parameters<typeof failure>[0]): Outcome => ({ status: 'failed', failure: failure(kind, 'no') });

describe('a stage that another process has', () => {
  it('is waited for, and it is said at once for whom', async () => {
    await mkdir(join(store.root, 'locks'), { recursive: true });
    await writeFile(join(store.root, 'locks', 'held'), 'not a lock');
    const stop = new AbortController();
    const executor = localExecutor({ store, signal: stop.signal } as RunEnvironment);
    const said: string[] = [];
    const waiting = (holder: string): void => {
      said.push(holder);
      stop.abort();
    };
    const { stages } = planOf({ held: [] });
    const outcome = await executor.run(stages[0] as Stage, () => undefined, waiting);
    expect(outcome).toEqual({ status: 'failed', failure: failure('interrupted', 'stopped') });
    expect(said).toEqual([expect.stringContaining(join(store.root, 'locks', 'held'))]);
  });
});

/** Executors that are told when a stage ends, and how. */
const manual = (count: number) => {
  const open = new Map<string, (outcome: Outcome) => void>();
  const started: string[] = [];
  const executor: Executor = {
    run: (stage) =>
      new Promise((resolve) => {
        started.push(stage.id);
        open.set(stage.id, resolve);
      }),
    close: async () => undefined,
  };
  const begun = async (id: string): Promise<void> => {
    while (!open.has(id)) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  const end = async (id: string, outcome: Outcome = done): Promise<void> => {
    await begun(id);
    open.get(id)?.(outcome);
    open.delete(id);
  };
  return { executors: Array.from({ length: count }, () => executor), started, begun, end };
};

/** An executor that gives the outcome at once. */
const instant = (outcomes: Readonly<Record<string, Outcome>> = {}) => {
  const ran: string[] = [];
  const executor: Executor = {
    run: async (stage) => {
      ran.push(stage.id);
      return outcomes[stage.id] ?? done;
    },
    close: async () => undefined,
  };
  return { executor, ran };
};

describe('cores', () => {
  const crew = (cores: number, atMost?: number) => {
    /** Threads of each executor, in the order in which they were made. */
    const threads: number[] = [];
    const closed: number[] = [];
    const made = coresOf(
      cores,
      () => {
        const own = threads.push(0) - 1;
        return {
          run: async () => done,
          useThreads: (count) => {
            threads[own] = count;
          },
          close: async () => void closed.push(own),
        };
      },
      atMost,
    );
    return { ...made, shareCores: () => made.shareCores?.(), threads, closed };
  };

  it('are shared among what is being made', () => {
    const { take, giveBack, shareCores, threads } = crew(4);
    const first = take() as Executor;
    shareCores();
    expect(threads).toEqual([4]);
    const others = [take(), take()] as Executor[];
    shareCores();
    expect(threads).toEqual([2, 1, 1]);
    expect(take()).toBeDefined();
    expect(take()).toBeUndefined();
    shareCores();
    expect(threads).toEqual([1, 1, 1, 1]);
    giveBack(first);
    giveBack(others[0] as Executor);
    shareCores();
    expect(threads.slice(2)).toEqual([2, 2]);
    // Whoever is there is taken again.
    expect([first, others[0]]).toContain(take());
    expect(threads).toHaveLength(4);
  });

  it('are shared by no more than there is memory for', () => {
    const { take, shareCores, threads } = crew(7, 2);
    expect([take(), take(), take()].map((each) => each !== undefined)).toEqual([true, true, false]);
    shareCores();
    expect(threads).toEqual([4, 3]);
  });

  it('are let go of in the end, idle or not', async () => {
    const { take, giveBack, closed, close } = crew(4);
    const first = take() as Executor;
    take();
    giveBack(first);
    await close();
    expect(closed.toSorted()).toEqual([0, 1]);
  });

  it('are all given to the last stage that is left', async () => {
    const { executors, begun, end } = manual(2);
    const given = new Map<string, number>();
    const at = ['a', 'b'];
    const crew = coresOf(2, () => {
      const own = at.shift() as string;
      return { ...(executors[0] as Executor), useThreads: (count) => void given.set(own, count) };
    });
    const running = run(planOf({ a: [], b: [] }), store, crew, silent);
    await begun('a');
    await begun('b');
    expect([...given]).toEqual([
      ['a', 1],
      ['b', 1],
    ]);
    await end('a');
    await vi.waitFor(() => expect([...given.values()].toSorted()).toEqual([1, 2]), { timeout: 600_000 });
    await end('b');
    await running;
  });
});

const silent = (): void => undefined;
const statuses = (outcomes: ReadonlyMap<string, Outcome>) =>
  Object.fromEntries([...outcomes].map(([id, { status }]) => [id, status]));

describe('a run', () => {
  it('runs each stage once, after what it needs', async () => {
    const { executor, ran } = instant();
    const outcomes = await run(planOf({ a: [], b: ['a'], c: ['a', 'b'], d: [] }), store, crewOf(executor), silent);
    expect(ran).toEqual(['a', 'b', 'c', 'd']);
    expect(statuses(outcomes)).toEqual({ a: 'done', b: 'done', c: 'done', d: 'done' });
  });

  it('goes on after a failure, without what needs it', async () => {
    const { executor, ran } = instant({ b: failed('diverged') });
    const outcomes = await run(
      planOf({ a: [], b: ['a'], c: ['b'], d: ['c'], e: ['a'] }),
      store,
      crewOf(executor),
      silent,
    );
    expect(ran).toEqual(['a', 'b', 'e']);
    expect(statuses(outcomes)).toEqual({ a: 'done', b: 'failed', c: 'skipped', d: 'skipped', e: 'done' });
    // What failed, and not what was left out of it.
    for (const id of ['c', 'd']) expect(outcomes.get(id)).toEqual({ status: 'skipped', because: 'b' });
  });

  it('ends when the last stages are left out', async () => {
    const { executor } = instant({ a: failed('plugin') });
    const outcomes = await run(planOf({ a: [], b: ['a'], c: ['b'] }), store, crewOf(executor), silent);
    expect(statuses(outcomes)).toEqual({ a: 'failed', b: 'skipped', c: 'skipped' });
  });

  it.each(['interrupted', 'store', 'engine'] as const)('stops after a failure of kind %s', async (kind) => {
    const { executor, ran } = instant({ b: failed(kind) });
    const events: RunEvent[] = [];
    const running = run(planOf({ a: [], b: ['a'], c: ['a'] }), store, crewOf(executor), (event) => events.push(event));
    await expect(running).rejects.toMatchObject({ failure: { kind } });
    expect(ran).toEqual(['a', 'b']);
    expect(events.filter(({ type }) => type === 'end')).toHaveLength(2);
  });

  it('takes what an executor throws as the failure of its stage', async () => {
    const broken: Executor = {
      run: async ({ id }) => {
        if (id === 'a') throw new Error('broken');
        return done;
      },
      close: async () => undefined,
    };
    const outcomes = await run(planOf({ a: [], b: ['a'], c: [] }), store, crewOf(broken), silent);
    expect(statuses(outcomes)).toEqual({ a: 'failed', b: 'skipped', c: 'done' });
    expect(outcomes.get('a')).toMatchObject({ failure: { kind: 'plugin', what: 'broken', where: 'a' } });
  });

  it('keeps several executors at work, and none on a stage that lacks its inputs', async () => {
    const { executors, started, begun, end } = manual(2);
    const running = run(planOf({ a: [], b: ['a'], c: ['a'], d: ['b', 'c'] }), store, crewOf(...executors), silent);
    await end('a');
    // b and c run side by side; which of them begins first is the file system's choice.
    await begun('b');
    await begun('c');
    expect(started.toSorted()).toEqual(['a', 'b', 'c']);
    await end('c');
    await end('b');
    await end('d');
    expect(statuses(await running)).toEqual({ a: 'done', b: 'done', c: 'done', d: 'done' });
    expect(started.at(-1)).toBe('d');
  });

  it('lets others finish what they are at when the run must stop', async () => {
    const { executors, end } = manual(2);
    const ends: string[] = [];
    const running = run(planOf({ a: [], b: [], c: [] }), store, crewOf(...executors), (event) => {
      if (event.type === 'end') ends.push(event.stage.id);
    });
    const stopped = expect(running).rejects.toMatchObject({ failure: { kind: 'interrupted' } });
    await end('a', failed('interrupted'));
    await end('b');
    await stopped;
    expect(ends).toEqual(['a', 'b']);
  });

  it('begins with what most waits for', async () => {
    const { executor, ran } = instant();
    // d is a longer way from its end than b and c, also where it is written last.
    await run(planOf({ a: [], b: [], c: ['b'], d: [], e: ['d'], f: ['e'] }), store, crewOf(executor), silent);
    expect(ran).toEqual(['d', 'b', 'e', 'a', 'c', 'f']);
  });

  it('fills cells as it goes: what is over in a moment is not left to the end', async () => {
    const { executor, ran } = instant();
    await run(planOf({ a: [], b: [], quickA: ['a'], quickB: ['b'] }), store, crewOf(executor), silent);
    expect(ran).toEqual(['a', 'quickA', 'b', 'quickB']);
  });

  it('begins with what takes longest, where that is known', async () => {
    const { executor, ran } = instant();
    const seconds = ({ id }: Stage) => ({ a: 1, b: 5, c: 3 })[id];
    await run(planOf({ a: [], b: [], c: [], d: ['a'] }), store, crewOf(executor), silent, { seconds });
    expect(ran).toEqual(['b', 'c', 'a', 'd']);
  });

  it('finds what is made before it makes anything, however much waits for that', async () => {
    const { executor, ran } = instant();
    const seconds = ({ id }: Stage) => (id === 'b' ? 0 : undefined);
    await run(planOf({ a: [], b: [], c: ['a'], d: ['c'] }), store, crewOf(executor), silent, { seconds });
    expect(ran).toEqual(['b', 'a', 'c', 'd']);
  });

  it('lets one of those that share go first, and the others when it is done', async () => {
    const { executors, started, begun, end } = manual(3);
    const plan = planOf({ a: [], b: [], c: [], d: [] });
    const [a, b, c] = plan.stages as [Stage, Stage, Stage];
    const running = run(plan, store, crewOf(...executors), silent, { sharing: [{ stages: [a, b, c] }] });
    await begun('a');
    await begun('d');
    // Side by side: which of them the disk answers first is open.
    expect([...started].sort()).toEqual(['a', 'd']);
    await end('d');
    // It failed: another one leads.
    await end('a', failed('plugin'));
    await begun('b');
    expect(started.slice(2)).toEqual(['b']);
    await end('b');
    await end('c');
    expect(statuses(await running)).toEqual({ a: 'failed', b: 'done', c: 'done', d: 'done' });
  });

  it('lets no other one go first where one is left out that waits', async () => {
    const { executors, started, begun, end } = manual(4);
    const plan = planOf({ x: [], a: [], b: ['x'], c: [], d: ['b'] });
    const [, a, b, c] = plan.stages as [Stage, Stage, Stage, Stage];
    const running = run(plan, store, crewOf(...executors), silent, { sharing: [{ stages: [a, b, c] }] });
    await begun('a');
    await end('x', failed('plugin'));
    // Longer than a stage takes to begin.
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(started.toSorted()).toEqual(['a', 'x']);
    await end('a');
    await end('c');
    expect(statuses(await running)).toEqual({ x: 'failed', b: 'skipped', d: 'skipped', a: 'done', c: 'done' });
  });

  it('refuses stages that wait for each other', async () => {
    const { executor } = instant();
    await expect(run(planOf({ a: ['b'], b: ['a'] }), store, crewOf(executor), silent)).rejects.toThrow(
      /wait for each other/,
    );
  });
});
