import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { FailureError } from '../../src/core/errors.js';
import { key, normals } from '../../src/core/random.js';
import * as tree from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import { contextOf } from '../../src/run/context.js';
import { openStore, type StagingDir } from '../../src/run/store.js';
import type { Context, Loop, Synthesised } from '../../src/train/context.js';
import { type Oracle, sessionOf, type Victim } from '../../src/train/oracle.js';
import { fresh, tiring } from '../defenses/answering.js';
import { bitsOf } from '../engine/bits.js';
import { flip } from '../flip.js';
import { type AskingSpec, asking, victims } from '../train/asking.js';
import { failureOf, setOf, succeed } from '../train/bench.js';

const all = victims();
let root: string;
let staging: StagingDir;
let before: number;
beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'undistill-loop-'));
  staging = (await openStore(root, () => undefined).begin('a')) as StagingDir;
  before = tf.memory().numTensors;
});
afterEach(async () => {
  all.retire();
  await staging.release();
  rmSync(root, { recursive: true, force: true });
  expect(tf.memory().numTensors).toBe(before);
});

/** A new run at the same stage: what a killed one begins with. */
const stageRun = (victim?: Victim, signal?: AbortSignal) => {
  const quiet = { emit: () => undefined, warn: () => undefined };
  return contextOf({ stage: 'a', staging, checkpointEvery: 2, signal, ...quiet }, key('stage'), { victim });
};
/** The stage without anything that was made for it. */
const anew = async (): Promise<void> => {
  await staging.release();
  await openStore(root, () => undefined).remove('a');
  staging = (await openStore(root, () => undefined).begin('a')) as StagingDir;
};

const wrappers = [tiring, fresh];
const black = (): Victim<'probabilities'> => all.of('probabilities', { wrappers });

/** Names of what is kept of a stage's making, below a folder. */
const kept = (folder: string): readonly string[] => {
  const path = join(staging.folder, folder);
  return existsSync(path) ? readdirSync(path).sort() : [];
};

/** The paths of the files in a folder and in those below it. */
const filesBelow = (folder: string): readonly string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => statSync(join(folder, name)).isFile())
    .sort();

const row = (from: readonly number[]) => tf.tensor1d([...from]);

describe('a loop', () => {
  /** Each iteration takes in what all before it left: a bank that grows, and a record of the newest, drawn. */
  type Bank = { readonly bank: readonly tf.Tensor[]; readonly newest: { readonly [name: string]: tf.Tensor } };
  const growing = (happens: (iteration: number) => void = () => undefined): Loop<Bank> => ({
    count: 5,
    init: (from) => ({ bank: [row(Array.from(normals(from, 2)))], newest: {} }),
    body: async ({ bank, newest }, iteration, { key: own }) => {
      happens(iteration);
      const last = tree.leaves(newest).reduce((sum, leaf) => sum + (leaf.dataSync()[0] as number), 0);
      return tf.tidy(() =>
        tree.keep({
          bank: [...bank.map((each) => each.mul(0.5)), row(Array.from(normals(own, iteration + 1)))],
          newest:
            iteration % 2 === 1
              ? {}
              : { drawn: tf.scalar(own.uniform()() + last), counted: tf.scalar(iteration, 'int32') },
        }),
      ) as Bank;
    },
  });
  const bitsAfter = async (loop: Loop<Bank>, context: Context = stageRun()) => {
    const state = await context.loop('bank', loop);
    const bits = [bitsOf(state), Object.keys(state), state.bank.length, Object.keys(state.newest)] as const;
    tree.dispose(state);
    return bits;
  };

  test('folds trees whose form changes, and leaves no tensor but its last state', async () => {
    const alive: number[] = [];
    const loop = growing(() => alive.push(tf.memory().numTensors - before));
    const [bits, names, banked, newest] = await bitsAfter(loop);
    expect([names, banked, newest]).toEqual([['bank', 'newest'], 6, ['drawn', 'counted']]);
    expect(bits.map(([path, dtype, shape]) => [path, dtype, shape])).toEqual([
      ...[2, 1, 2, 3, 4, 5].map((size, i) => [`bank/${i}`, 'float32', [size]]),
      ['newest/counted', 'int32', []],
      ['newest/drawn', 'float32', []],
    ]);
    // One leaf a bank, and two every other time.
    expect(alive).toEqual([1, 2 + 2, 3, 4 + 2, 5]);
  });

  test('killed in each of its iterations goes on with the same bits', async () => {
    const whole = await bitsAfter(growing());
    for (let at = 0; at < 5; at++) {
      await staging.remove('loops');
      const done: number[] = [];
      const failing = growing((iteration) => {
        done.push(iteration);
        if (iteration === at) throw new Error('killed');
      });
      expect((await failureOf(stageRun().loop('bank', failing))).what).toBe('killed');
      expect(tf.memory().numTensors).toBe(before);
      expect(await bitsAfter(growing((iteration) => done.push(iteration)))).toEqual(whole);
      expect(done).toEqual([0, 1, 2, 3, 4].flatMap((iteration) => (iteration === at ? [at, at] : [iteration])));
    }
    // One that is finished is found.
    const again = growing(() => {
      throw new Error('it was made again');
    });
    expect(await bitsAfter(again)).toEqual(whole);
  });

  test('keeps records and lists with nothing in them, and types other than float32', async () => {
    type State = {
      readonly empty: Record<never, tf.Tensor>;
      readonly none: readonly tf.Tensor[];
      readonly flags: tf.Tensor;
    };
    const loop = (fails: boolean): Loop<State> => ({
      count: 2,
      init: () => ({ empty: {}, none: [], flags: tf.tensor1d([true, false], 'bool') }),
      body: async (state, iteration) => {
        if (fails && iteration === 1) throw new Error('killed');
        return tree.clone(state);
      },
    });
    await failureOf(stageRun().loop('odd', loop(true)));
    const state = await stageRun().loop('odd', loop(false));
    expect([state.empty, state.none, state.flags.dtype, Array.from(state.flags.dataSync())]).toEqual([
      {},
      [],
      'bool',
      [1, 0],
    ]);
    tree.dispose(state);
  });

  test('ends between two iterations after the signal, and goes on from there', async () => {
    const controller = new AbortController();
    const rounds = {
      count: 3,
      init: () => ({ x: tf.scalar(0) }),
      body: async ({ x }: { x: tf.Scalar }, i: number) => {
        if (i === 1) controller.abort();
        return { x: tf.add<tf.Scalar>(x, 10 ** i) };
      },
    };
    expect(await failureOf(stageRun(undefined, controller.signal).loop('rounds', rounds))).toMatchObject({
      kind: 'interrupted',
      what: 'stopped after 2 of 3 iterations of rounds',
    });
    const { x } = await stageRun().loop('rounds', { ...rounds, init: () => expect.fail() });
    expect(x.dataSync()[0]).toBe(111);
    x.dispose();
  });

  test('of no iteration is its beginning; its body may return what it was given', async () => {
    const one = await stageRun().loop('none', { count: 0, init: () => ({ x: tf.scalar(1) }), body: async (x) => x });
    const other = await stageRun().loop('same', { count: 3, init: () => ({ x: tf.scalar(2) }), body: async (x) => x });
    expect([one, other].map(({ x }) => x.dataSync()[0])).toEqual([1, 2]);
    tree.dispose([one, other]);
  });
});

/** The iterations of a loop ask a victim by fits, once about images, in values and in images, each of which may be killed. */
const thieving = (
  victim: Victim<'probabilities'>,
  dies: (where: string) => void = () => undefined,
): Loop<{ readonly sum: tf.Tensor }> => ({
  count: 3,
  init: () => ({ sum: tf.scalar(0) }),
  body: async ({ sum }, iteration, context) => {
    const ask = (oracle: Oracle<'probabilities'>, pixels: tf.Tensor4D) => [oracle.logProbabilities(pixels)];
    const spec: AskingSpec<'probabilities'> = {
      ...asking(victim, ask, { epochs: 1 }),
      init: () => ({ sum: sum.clone() }),
      snapshot: { every: 2, of: ({ sum: shown }) => ({ ...lotOf(0), images: pixelsOf(shown) }) },
    };
    dies(`${iteration} before`);
    const { last } = await context.fit(
      'fit',
      watched(spec, () => dies(`${iteration} in the fit`)),
    );
    const found = last.sum.dataSync()[0] as number;
    tree.dispose(last);
    dies(`${iteration} after the fit`);
    const { values } = await context.ask('ask', victim, setOf(undefined, iteration, iteration + 3));
    dies(`${iteration} after asking`);
    const value = await context.value('value', async () => values.reduce((a, b) => a + b, found));
    dies(`${iteration} after the value`);
    const { labels } = await context.images('lot', async () => lotOf(Math.abs(Math.round(100 * value)) % 3));
    dies(`${iteration} at its end`);
    return { sum: tf.scalar(value + (labels[0] as number)) };
  },
});
const pixelsOf = (sum: tf.Tensor): Uint8Array => {
  const brightness = Math.abs(Math.round(1000 * (sum.dataSync()[0] as number))) % 256;
  return lotOf(0).images.map((pixel) => pixel ^ brightness);
};
const watched = (spec: AskingSpec<'probabilities'>, happens: () => void): AskingSpec<'probabilities'> => ({
  ...spec,
  source: (from) => {
    const source = spec.source(from);
    return {
      ...source,
      at: (step, atMost) => {
        if (step === 2) happens();
        return source.at(step, atMost);
      },
    };
  },
});
const lotOf = (label: number): Synthesised => ({
  images: Uint8Array.from({ length: 6 }, (_, i) => i),
  shape: { height: 2, width: 3, channels: 1 },
  labels: [label],
  clipped: 0,
  updates: 1,
});

/** A theft by that loop: what it leaves, counts and has the victim remember. */
const theft = async (dies?: (where: string) => void) => {
  const victim = black();
  const context = stageRun(victim);
  const { sum } = await context.loop('theft', thieving(victim, dies));
  const bits = bitsOf(sum);
  sum.dispose();
  const { asked, shift, effort } = context.footprint();
  expect(asked).toEqual(sessionOf(victim).asked);
  return {
    bits,
    asked,
    shift,
    effort: { steps: effort.steps, images: effort.images },
    memory: bitsOf(sessionOf(victim).memory),
    lots: (await context.pool()).map(({ labels }) => labels),
  };
};

describe('a loop that asks a victim', () => {
  const places = [0, 1, 2].flatMap((i) =>
    ['before', 'in the fit', 'after the fit', 'after asking', 'after the value', 'at its end'].map(
      (at) => `${i} ${at}`,
    ),
  );

  test('counts and remembers all of it, and keeps no more than its pool when it is over', async () => {
    const { asked, effort, shift, lots, memory } = await theft();
    expect(asked).toEqual({ queries: 3 * (10 + 3), forward: 0, backward: 0 });
    expect(effort).toEqual({ steps: 9, images: 30 });
    expect(shift.l1).toBeGreaterThan(0);
    expect(memory.find(([path]) => path === '0/seen')?.[3]).toEqual([39]);
    expect(lots.length).toBe(3);
    expect([kept('fits'), kept('answers'), kept('values')]).toEqual([[], [], []]);
    expect(kept('loops')).toEqual(['theft']);
    expect(kept('images')).toEqual(['lot-0.json', 'lot-0.png', 'lot-1.json', 'lot-1.png', 'lot-2.json', 'lot-2.png']);
    expect(
      readdirSync(staging.folder)
        .filter((name) => name.endsWith('.jsonl'))
        .sort(),
    ).toEqual(['metrics-fit-0.jsonl', 'metrics-fit-1.jsonl', 'metrics-fit-2.jsonl']);
  });

  test('killed at any place goes on with the same bits, the same count and the same memory', async () => {
    const whole = await theft();
    for (const place of places) {
      await anew();
      const killed = theft((where) => {
        if (where === place) throw new Error('killed');
      });
      expect((await failureOf(() => killed)).what, place).toBe('killed');
      const made = kept('fits');
      expect(made, place).toEqual(/before/.test(place) ? [] : [`fit-${place[0]}`]);
      expect(await theft(), place).toEqual(whole);
    }
    // And killed at every one of them, one after the other.
    await anew();
    for (const place of places)
      await failureOf(() =>
        theft((where) => {
          if (where === place) throw new Error('killed');
        }),
      );
    expect(await theft()).toEqual(whole);
  });

  test('goes on with the same bits, counts, logs and pictures from a folder in which a bit turned over', async () => {
    /** Every file of the stage in the making; logs without how long it took. */
    const contents = (): Readonly<Record<string, string>> =>
      Object.fromEntries(
        filesBelow(staging.folder)
          .filter((name) => !/written.log|loops/.test(name))
          .map((name) => {
            const text = readFileSync(join(staging.folder, name), 'latin1');
            return [name, text.replace(/"stepsPerSecond":[^,}]*/g, '')];
          }),
      );
    const whole = [await theft(), contents()];
    await anew();
    await failureOf(() =>
      theft((where) => {
        if (where === '1 at its end') throw new Error('killed');
      }),
    );
    const { folder } = staging;
    const copy = join(root, 'copy');
    cpSync(folder, copy, { recursive: true });
    const names = filesBelow(folder);
    expect(names.map((name) => name.replace(/\d/g, '0'))).toEqual(
      expect.arrayContaining([
        ...['history/fit-0-000000.png', 'metrics-fit-0.jsonl', 'fits/fit-0/result.json', 'images/lot-0.png'],
        ...['fits/fit-0/weights.safetensors', 'values/value-0.safetensors', 'values/lot-0-images.json'],
        ...['answers/ask-0.safetensors', 'loops/theft/state.safetensors', 'values/lot-0-images.safetensors'],
      ]),
    );
    for (const name of names) {
      await staging.release();
      rmSync(folder, { recursive: true });
      cpSync(copy, folder, { recursive: true });
      const path = join(folder, name);
      flip(path, Math.floor(statSync(path).size / 2));
      const said: string[] = [];
      staging = (await openStore(root, (_, file) => said.push(file)).begin('a')) as StagingDir;
      if (name !== 'written.log') expect(said).toEqual([name]);
      expect([await theft(), contents()], name).toEqual(whole);
    }
  });

  test('may be in another loop: what both make has names of its own, and is killed and resumed alike', async () => {
    const nested = (victim: Victim<'probabilities'>, fails: boolean): Loop<{ readonly sum: tf.Tensor }> => ({
      count: 2,
      init: () => ({ sum: tf.scalar(1) }),
      body: async ({ sum }, outer, context) =>
        context.loop('inner', {
          count: 2,
          init: () => ({ sum: sum.clone() }),
          body: async (state, inner, { fit, images, pool }) => {
            if (fails && outer === 1 && inner === 1) throw new Error('killed');
            const ask = (oracle: Oracle<'probabilities'>, pixels: tf.Tensor4D) => [oracle.logProbabilities(pixels)];
            const { last } = await fit('fit', { ...asking(victim, ask, { epochs: 1 }), init: () => tree.clone(state) });
            await images('lot', async () => lotOf(2 * outer + inner));
            expect((await pool()).map(({ labels }) => labels[0])).toEqual(
              Array.from({ length: 2 * outer + inner + 1 }, (_, i) => i),
            );
            return last;
          },
        }),
    });
    const run = async (fails = false) => {
      const victim = black();
      const context = stageRun(victim);
      const { sum } = await context.loop('outer', nested(victim, fails));
      const bits = bitsOf(sum);
      sum.dispose();
      return { bits, asked: context.footprint().asked, memory: bitsOf(sessionOf(victim).memory) };
    };
    const whole = await run();
    expect(whole.asked.queries).toBe(4 * 10);
    await anew();
    expect((await failureOf(() => run(true))).what).toBe('killed');
    expect([kept('fits'), kept('loops')]).toEqual([[], ['inner-1', 'outer']]);
    expect(await run()).toEqual(whole);
    expect([kept('fits'), kept('loops')]).toEqual([[], ['outer']]);
    expect(kept('images').filter((name) => name.endsWith('.png'))).toEqual([
      'lot-0-0.png',
      'lot-0-1.png',
      'lot-1-0.png',
      'lot-1-1.png',
    ]);
  });
});

describe('what a context makes', () => {
  const spec = () => asking(black(), (oracle, pixels) => [oracle.labels(pixels)], { epochs: 1 });

  test('may be awaited, and chained as a task; it is made once whatever is done', async () => {
    const context = stageRun();
    let made = 0;
    const value = context.value('value', async () => ++made);
    expect(made).toBe(0);
    expect(await value).toBe(1);
    expect(await value).toBe(1);
    expect(await value()).toEqual({ _tag: 'Right', right: 1 });
    expect(await TE.map((found: number) => found + 1)(value)()).toEqual({ _tag: 'Right', right: 2 });
    expect(made).toBe(1);

    const fitting = context.fit('fit', spec());
    const chained = TE.chain(({ steps, last }: Awaited<typeof fitting>) => {
      tree.dispose(last);
      return context.value('steps', async () => steps);
    })(fitting);
    expect(await chained()).toEqual({ _tag: 'Right', right: 3 });
    expect((await fitting).steps).toBe(3);
  });

  test('is awaited with its failure thrown, and chained with it on the left', async () => {
    const failing = stageRun().value('value', () => Promise.reject(new Error('out of ideas')));
    await expect(succeed(failing)).rejects.toBeInstanceOf(FailureError);
    expect(await failing()).toMatchObject({
      _tag: 'Left',
      left: { kind: 'plugin', where: 'value', what: 'out of ideas' },
    });
    const mended = TE.orElse(() => TE.right(7))(failing);
    expect(await mended()).toEqual({ _tag: 'Right', right: 7 });
  });

  test('of one name is one: a second use is a mistake', async () => {
    const context = stageRun();
    await context.value('twice', async () => 1);
    const victim = black();
    await context.ask('twice', victim, setOf());
    expect((await failureOf(context.ask('twice', victim, setOf()))).what).toBe(
      'answers twice is asked for twice: give each a name of its own',
    );
    const loop = { count: 1, init: () => ({}), body: async () => ({}) };
    await context.loop('twice', loop);
    expect((await failureOf(context.loop('twice', loop))).what).toBe(
      'loop twice is asked for twice: give each a name of its own',
    );
  });

  test('by asking is kept: answers, count and memory are those of one that was not killed', async () => {
    const victim = black();
    const context = stageRun(victim);
    const first = await context.ask('pool', victim, setOf(undefined, 2, 9));
    const again = black();
    const resumed = stageRun(again);
    expect(await resumed.ask('pool', again, setOf(undefined, 2, 9))).toEqual(first);
    expect([first.values.length, first.size]).toEqual([21, 3]);
    expect(resumed.footprint()).toEqual(context.footprint());
    expect(resumed.footprint().asked).toEqual({ queries: 7, forward: 0, backward: 0 });
    expect(bitsOf(sessionOf(again).memory)).toEqual(bitsOf(sessionOf(victim).memory));
    // What is asked next is answered as by a victim that was never another.
    const next = async (of: Victim<'probabilities'>, on: typeof context) =>
      Array.from((await on.ask('next', of, setOf())).values);
    const one = await next(victim, context);
    await staging.remove('answers/next.safetensors');
    expect(await next(again, resumed)).toEqual(one);
  });
});
