import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { hardLabel } from '../../src/attacks/hard-label.js';
import { kd } from '../../src/attacks/kd.js';
import { scratch } from '../../src/attacks/scratch.js';
import * as disk from '../../src/core/files.js';
import type { Dataset } from '../../src/data/dataset.js';
import { grad2 } from '../../src/defenses/grad2.js';
import { none } from '../../src/defenses/none.js';
import { type Plan, plan } from '../../src/experiment/plan.js';
import type { Stage } from '../../src/experiment/stage.js';
import { files as stageFiles } from '../../src/run/outputs.js';
import { openRecordings, recordedSharings, recordingsIn, recordingsOf, theftsIn } from '../../src/run/recordings.js';
import { openStore } from '../../src/run/store.js';
import type { Recorded, Recordings } from '../../src/train/recordings.js';
import { learnerOf, made, thirds, tiny } from './helpers.js';

vi.mock('../../src/core/files.js', async (original) => {
  const real = await original<typeof disk>();
  return { ...real, makeFolderAtOnce: vi.fn(real.makeFolderAtOnce) };
});

let root: string;
let said: string[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'undistill-answers-'));
  said = [];
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(root, { recursive: true, force: true });
});

const opened = (limit = 1e9, folder = join(root, 'answers')) =>
  openRecordings(folder, { limit, say: (message) => said.push(message) });

const factsOf = (data: Dataset) => ({
  ...{ data, others: new Map(), code: { modules: new Map() }, engine: 'tensorflow-cpu' },
  harness: { training: 'training 1', measuring: 'measuring 1' },
});
const numbers = (count: number, from = 0): Float32Array => Float32Array.from({ length: count }, (_, i) => from + i / 3);
const recorded: Recorded = new Map([
  [300, numbers(6)],
  [256, numbers(9, 7)],
  [257, new Float32Array()],
]);
const files = (): readonly string[] =>
  readdirSync(join(root, 'answers'), { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.'));
const fileOf = (question: string, part: number): string => join(root, 'answers', question, `${part}.safetensors`);

describe('recorded answers on disk', () => {
  test('are read as they were written, step by step', () => {
    opened().write('q', 1, recorded);
    expect(opened().read('q', 1)).toEqual(recorded);
    expect(opened().read('q', 0)).toEqual(new Map());
    expect(opened().read('another', 1)).toEqual(new Map());
    expect(said).toEqual([]);
  });

  test('replace what was kept of the same part', () => {
    const store = opened();
    store.write('q', 1, recorded);
    store.write('q', 1, new Map([[256, numbers(3)]]));
    expect(store.read('q', 1)).toEqual(new Map([[256, numbers(3)]]));
    expect(files()).toEqual(['q/1.safetensors']);
  });

  test.each(['a flipped bit', 'a missing end', 'nothing in it', 'another answer'])(
    'with %s are said and asked anew',
    (how) => {
      opened().write('q', 0, recorded);
      const file = fileOf('q', 0);
      const bytes = readFileSync(file);
      if (how === 'a flipped bit') bytes[bytes.length - 5] = (bytes[bytes.length - 5] as number) ^ 1;
      writeFileSync(
        file,
        how === 'a missing end' ? bytes.subarray(0, -4) : how === 'nothing in it' ? new Uint8Array() : bytes,
      );
      if (how === 'another answer') {
        opened().write('other', 0, new Map([[0, numbers(6)]]));
        copyFileSync(fileOf('other', 0), file);
      }
      expect(opened().read('q', 0)).toEqual(new Map());
      expect(said).toEqual([`recorded answers were altered on disk (${file}): the victim is asked anew`]);
      expect(opened().read('q', 0)).toEqual(new Map());
      expect(said.length).toBe(1);
    },
  );

  test('of every byte that was altered are none', () => {
    opened().write('q', 0, recorded);
    const file = fileOf('q', 0);
    const bytes = readFileSync(file);
    for (let at = 0; at < bytes.length; at++) {
      const altered = Buffer.from(bytes);
      altered[at] = (altered[at] as number) ^ 0x10;
      writeFileSync(file, altered);
      const found = opened().read('q', 0);
      // White space in the header says nothing.
      if (found.size > 0) expect(found).toEqual(recorded);
    }
  });

  test('that find no room on the disk are given up, once, and the run goes on', () => {
    writeFileSync(join(root, 'answers'), 'a file in the way');
    const store = opened();
    store.write('q', 0, recorded);
    store.write('q', 1, recorded);
    expect(said.length).toBe(1);
    expect(said[0]).toMatch(/^answers are no longer recorded: /);
    expect(store.read('q', 0)).toEqual(new Map());
  });

  test('take no more room than they may: what was used last stays', () => {
    opened().write('size', 0, new Map([[0, numbers(1000)]]));
    const { size } = statSync(fileOf('size', 0));
    rmSync(dirname(fileOf('size', 0)), { recursive: true });
    const store = opened(5.5 * size);
    const of = (question: number) => store.write(`q${question}`, 0, new Map([[0, numbers(1000, question)]]));
    const age = (question: number, seconds: number) => {
      const at = new Date(Date.now() - 1000 * seconds);
      utimesSync(fileOf(`q${question}`, 0), at, at);
    };
    for (const question of [0, 1, 2, 3, 4]) of(question);
    for (const question of [0, 1, 2, 3, 4]) age(question, 100 - question);
    // What is read is used.
    expect(store.read('q0', 0).size).toBe(1);
    of(5);
    for (const question of [1, 2]) expect(store.read(`q${question}`, 0).size).toBe(0);
    for (const question of [0, 3, 4, 5]) expect(store.read(`q${question}`, 0).size).toBe(1);
    expect(readdirSync(join(root, 'answers'))).not.toContain('q1');
    expect(said).toEqual([]);
  });

  test('take no more room than they may, but for a part each, where several processes add to them', () => {
    opened().write('size', 0, new Map([[0, numbers(1000)]]));
    const { size } = statSync(fileOf('size', 0));
    const limit = 40 * size;
    const stores = Array.from({ length: 8 }, () => opened(limit));
    const held = () => files().reduce((sum, name) => sum + statSync(join(root, 'answers', name)).size, 0);
    for (let question = 0; question < 30; question++)
      for (const [i, store] of stores.entries()) {
        store.write(`q${i} ${question}`, 0, new Map([[0, numbers(1000)]]));
        expect(held()).toBeLessThanOrEqual(limit + stores.length * size);
      }
    expect(held()).toBeGreaterThan(limit / 2);
  });

  test('are written beside another run that records the same', () => {
    const [one, other] = [opened(), opened()];
    one.write('q', 0, recorded);
    other.write('q', 0, recorded);
    expect(one.read('q', 0)).toEqual(recorded);
    // One that is being written by somebody else is no answer, and is left alone.
    const aside = `${fileOf('q', 0)}.123.tmp`;
    mkdirSync(dirname(aside), { recursive: true });
    writeFileSync(aside, 'half');
    opened(1).write('r', 0, recorded);
    expect(files()).toEqual(['q/0.safetensors.123.tmp']);
    const longAgo = new Date(Date.now() - 1e8);
    utimesSync(aside, longAgo, longAgo);
    opened(1).write('r', 0, recorded);
    expect(files()).toEqual([]);
  });
});

describe('a folder of recorded answers that machines share', () => {
  test('is one of files whose age is told by its own clock', () => {
    const aside = `${fileOf('q', 0)}.123.tmp`;
    mkdirSync(dirname(aside), { recursive: true });
    writeFileSync(aside, 'half');
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 1e8 });
    opened(1).write('r', 0, recorded);
    expect(files()).toEqual(['q/0.safetensors.123.tmp']);
  });

  test('is one in which what is used becomes new by its own clock', () => {
    opened().write('q', 0, recorded);
    const written = readFileSync(fileOf('q', 0));
    const longAgo = new Date(Date.now() - 1e8);
    utimesSync(fileOf('q', 0), longAgo, longAgo);
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 1e9 });
    expect(opened().read('q', 0)).toEqual(recorded);
    expect(statSync(fileOf('q', 0)).mtimeMs).toBeGreaterThan(longAgo.getTime());
    expect(readFileSync(fileOf('q', 0))).toEqual(written);
  });

  test('is one in which a folder may be removed as soon as it was made', () => {
    const make = disk.makeFolderAtOnce;
    vi.mocked(make).mockImplementationOnce((path) => {
      make(path);
      rmSync(path, { recursive: true });
    });
    const store = opened();
    store.write('q', 0, recorded);
    expect(said).toEqual([]);
    expect(store.read('q', 0)).toEqual(recorded);
  });
});

describe('recorded answers of a stage', () => {
  const data = thirds();
  const of = plan(
    made({
      attacks: [scratch(), kd({ label: 'one' }), kd({ temperature: 9, label: 'other' })],
      defenses: [none(), grad2()],
    }),
    factsOf(data),
  );
  const stage = (label: string): Stage => {
    const found = of.stages.find((each) => each.label === label);
    if (found === undefined) throw new Error(`no stage ${label} among ${of.stages.map((each) => each.label)}`);
    return found;
  };
  const victim = stage('seed-0/teacher');
  const prepared = stage('seed-0/grad2/prepare');
  const store = () => openStore(root, (_, file) => expect.unreachable(file));
  /** Makes a stage anew, as `--force` does: by the same id. */
  const make = async ({ id }: Stage, file: string, text: string): Promise<void> => {
    await store().remove(id);
    const staging = await store().begin(id);
    await staging?.writeText(file, text);
    await staging?.writeJson(stageFiles.record, { provenance: { finished: Date.now() } });
    await staging?.finish();
    await staging?.release();
  };
  const openedFor = async (label: string): Promise<Required<Recordings>> => {
    const found = await recordingsOf({ plan: of, data, answers: 1e9, store: store() }, stage(label), (said) =>
      expect.unreachable(said),
    );
    return found as Required<Recordings>;
  };
  const kept = async (label: string): Promise<number> => (await openedFor(label)).read('q', 0).size;
  const answers: Recorded = new Map([[0, numbers(6)]]);

  test('are those of the weights that lie in the store, whatever they are known by', async () => {
    await make(victim, stageFiles.last, 'weights of other code');
    (await openedFor('seed-0/none/tiny/one')).write('q', 0, answers);
    expect(await kept('seed-0/none/tiny/other')).toBe(1);
    await make(victim, stageFiles.last, 'weights of this code');
    expect(await kept('seed-0/none/tiny/other')).toBe(0);
    // The same weights give the same answers, made whenever.
    await make(victim, stageFiles.last, 'weights of other code');
    expect(await kept('seed-0/none/tiny/other')).toBe(1);
    // Who asks nobody has none.
    expect(await openedFor('seed-0/tiny/scratch')).toBeUndefined();
  });

  test('and of what a defence prepared, where what it tells is recorded', async () => {
    await make(victim, stageFiles.last, 'weights');
    await make(prepared, stageFiles.prepared, 'prepared by other code');
    (await openedFor('seed-0/grad2/tiny/one')).write('q', 0, answers);
    (await openedFor('seed-0/none/tiny/one')).write('q', 0, answers);
    expect(await kept('seed-0/grad2/tiny/other')).toBe(1);
    await make(prepared, stageFiles.prepared, 'prepared by this code');
    expect(await kept('seed-0/grad2/tiny/other')).toBe(0);
    // What the net itself says does not depend on it.
    expect(await kept('seed-0/none/tiny/other')).toBe(1);
  });
});

describe('what a plan records of what its thefts ask', () => {
  const data = thirds({ train: 144 });
  /** By seed two thefts in batches of 16, and four in batches of 8. */
  const of: Plan = plan(
    made({
      students: [learnerOf(tiny(4)), learnerOf(tiny(4), { batch: 8 }), learnerOf(tiny(5), { batch: 8 })],
      attacks: [kd(), hardLabel()],
      seeds: [0, 1, 2],
      validation: 0,
    }),
    factsOf(data),
  );
  const thefts = (seed: number, batch: number) =>
    of.stages.filter(
      ({ label, work }) =>
        label.startsWith(`seed-${seed}/none`) && work.kind === 'steal' && work.student.recipe.batch === batch,
    );
  const recorded = (answers: number | undefined, among = of.stages) =>
    recordingsIn({ plan: of, data, answers }, among).map(({ stages, isRecorded }) => [stages.length, isRecorded]);
  /** Of answers to two epochs of whole batches. */
  const bytes = 2 * 144 * 3 * 4;

  test('is all that has room together', () => {
    const found = recordingsIn({ plan: of, data, answers: 6 * bytes });
    expect(found.map((each) => each.bytes)).toEqual(Array(6).fill(bytes));
    expect(found.every(({ isRecorded }) => isRecorded)).toBe(true);
  });

  test('is what spares a victim most, where not all has room', () => {
    const [few, many] = [
      [2, false],
      [4, true],
    ];
    expect(recorded(4 * bytes - 1)).toEqual([few, many, few, many, few, many]);
    expect(recorded(4 * bytes)).toEqual([[2, true], many, few, many, few, many]);
    expect(recorded(bytes - 1).every(([, isRecorded]) => !isRecorded)).toBe(true);
    expect(recorded(undefined).every(([, isRecorded]) => !isRecorded)).toBe(true);
  });

  test('is of what a run makes, for whose thefts alone there must be room', () => {
    const seed = [...thefts(1, 16), ...thefts(1, 8)];
    expect(recorded(2 * bytes, seed)).toEqual([
      [2, true],
      [4, true],
    ]);
    const sharing = recordedSharings({ plan: of, data, answers: 2 * bytes }, seed);
    expect([...theftsIn(sharing)].sort()).toEqual(seed.map(({ id }) => id).sort());
    // One alone is recorded for those that come later, after what several ask now.
    const [first] = thefts(0, 8);
    const some = [...(first === undefined ? [] : [first]), ...thefts(2, 16)];
    expect(recorded(2 * bytes, some)).toEqual([
      [1, true],
      [2, true],
    ]);
    expect(recorded(bytes, some)).toEqual([
      [1, false],
      [2, true],
    ]);
  });
});
