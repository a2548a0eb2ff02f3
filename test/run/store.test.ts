import { type ChildProcess, fork } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Failure, FailureError } from '../../src/core/errors.js';
import { readOwner, tryLock } from '../../src/core/lock.js';
import {
  aside,
  openStore,
  removeLeftovers,
  type StagingDir,
  type Store,
  stagesIn,
  storeOf,
  writeWhole,
} from '../../src/run/store.js';

let root: string;
let damages: string[];
let store: Store;
const open = (at = root): Store => openStore(at, (id, file) => damages.push(`${id}: ${file}`));
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'undistill-store-'));
  damages = [];
  store = open();
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const begun = async (id: string, of = store): Promise<StagingDir> => {
  const staging = await of.begin(id);
  if (staging === undefined) throw new Error(`${id} is taken`);
  return staging;
};
const weights = { w: { shape: [2], data: new Float32Array([1, 2]) } };
const finished = async (id: string): Promise<void> => {
  const staging = await begun(id);
  await staging.writeJson('record.json', { id });
  await staging.writeTensors('deep/weights.safetensors', weights, { network: 'tiny' });
  await staging.finish();
};
const failureOf = async (run: () => Promise<unknown>): Promise<Failure> => {
  const error = await run().then(
    () => new Error('it succeeded'),
    (thrown: unknown) => thrown,
  );
  if (error instanceof FailureError) return error.failure;
  throw error;
};

/** One bit of a file turned over. */
const flip = (path: string, byte: number): void => {
  const bytes = readFileSync(path);
  bytes[byte] = (bytes[byte] as number) ^ 1;
  writeFileSync(path, bytes);
};

describe('one bit that turned over', () => {
  test.each(['checkpoint.safetensors', 'log.json', 'history/1.png'])(
    'in %s of a begun stage is found and said',
    async (name) => {
      const staging = await begun('a');
      await staging.writeTensors('checkpoint.safetensors', weights);
      await staging.writeJson('log.json', [1, 2, 3]);
      await staging.writeBytes(
        'history/1.png',
        Uint8Array.from({ length: 64 }, (_, i) => i),
      );
      await staging.release();
      // In the last number: what it says is as well formed as before.
      const path = join(root, 'a.partial', name);
      flip(path, statSync(path).size - 7);
      const again = await begun('a');
      expect(damages).toEqual([`a: ${name}`]);
      const files = ['checkpoint.safetensors', 'log.json', 'history/1.png'];
      for (const each of files) expect(await again.has(each)).toBe(each !== name);
      await again.finish();
      expect(await store.find('a')).toBeDefined();
    },
  );

  test('in the journal costs the file that the line is of, and no other', async () => {
    const staging = await begun('a');
    await staging.writeJson('one.json', 1);
    await staging.writeJson('two.json', 2);
    await staging.release();
    flip(join(root, 'a.partial', 'written.log'), 10);
    const again = await begun('a');
    expect(damages).toEqual(['a: one.json']);
    expect(await again.readJson('two.json')).toBe(2);
  });

  test('after a crash between the journal and the file, the file before counts', async () => {
    const staging = await begun('a');
    await staging.writeJson('step.json', 1);
    await staging.release();
    appendFileSync(join(root, 'a.partial', 'written.log'), `\n${'0'.repeat(64)} step.json\n${'1'.repeat(30)}`);
    const again = await begun('a');
    expect([await again.readJson('step.json'), damages]).toEqual([1, []]);
    await again.writeJson('step.json', 2);
    await again.release();
    expect(await (await begun('a')).readJson('step.json')).toBe(2);
  });

  test('in the name of a stage: the folder of another one is not taken for it', async () => {
    await finished('a');
    cpSync(join(root, 'a'), join(root, 'b'), { recursive: true });
    expect(await store.find('a')).toBeDefined();
    expect(await store.find('b')).toBeUndefined();
    expect(damages).toEqual(['b: manifest.json']);
  });
});

describe('what killed processes left', () => {
  test('is removed where no living process owns it', async () => {
    const run = join(root, 'run', 'images');
    mkdirSync(run, { recursive: true });
    const mine = aside(join(run, 'mine.png'));
    const gone = mine.replace(/-\d+\.tmp$/, '-4194305.tmp');
    const elsewhere = join(run, 'other.png.01234567-1.tmp');
    const old = join(run, 'old.png.99999.tmp');
    for (const path of [mine, gone, elsewhere, old, join(run, 'image.png')]) writeFileSync(path, '');
    utimesSync(old, new Date(0), new Date(0));
    const locks = join(root, 'locks');
    const lock = await tryLock(join(locks, 'b'));
    const owner = await readOwner(join(locks, 'b'));
    // A pid that no process has.
    writeFileSync(join(locks, `a.${'0'.repeat(24)}`), JSON.stringify({ ...owner, pid: 4194305 }));
    await removeLeftovers(join(root, 'run'), root);
    expect(readdirSync(run).sort()).toEqual(['image.png', basename(mine), basename(elsewhere)].sort());
    expect(readdirSync(locks)).toEqual(['b']);
    await lock?.release();
  });
});

describe('a store', () => {
  test('is one for all runs in a folder', () => {
    expect(storeOf('/runs/a')).toBe('/runs/.store');
    expect(storeOf('/runs/b')).toBe(storeOf('/runs/a'));
  });

  test('tells which stages are finished and which are begun, and where they lie', async () => {
    await finished('made');
    await begun('begun');
    // Another process finished it first.
    await (await begun('made')).release();
    expect(await stagesIn(root)).toEqual(
      new Map([
        ['begun', { state: 'begun', folder: join(root, 'begun.partial') }],
        ['made', { state: 'finished', folder: join(root, 'made') }],
      ]),
    );
    // Of a stage that nothing was made of, nothing stays.
    expect(readdirSync(root).sort()).toEqual(['begun.partial', 'locks', 'made']);
  });

  test('that is not there has no stages', async () => {
    expect(await stagesIn(join(root, 'nowhere'))).toEqual(new Map());
  });
});

describe('a stage', () => {
  test('is absent until it is finished, and then complete', async () => {
    const staging = await begun('a');
    await staging.writeJson('record.json', { id: 'a' });
    expect(await store.find('a')).toBeUndefined();
    await staging.writeTensors('w.safetensors', weights, { network: 'tiny' });
    await staging.finish();
    const found = await store.find('a');
    expect(await found?.json('record.json')).toEqual({ id: 'a' });
    expect(await found?.tensors('w.safetensors')).toEqual({ tensors: weights, metadata: { network: 'tiny' } });
    expect(existsSync(join(root, 'a.partial'))).toBe(false);
    expect(await open().find('a')).toBeDefined();
  });

  test('that is given back goes on with what was written', async () => {
    const staging = await begun('a');
    await staging.writeText('log', 'one');
    await staging.writeJson('step.json', { step: 3 });
    await staging.release();
    const again = await begun('a');
    expect(await again.has('log')).toBe(true);
    expect(await again.readJson('step.json')).toEqual({ step: 3 });
    expect(await again.readJson('other.json')).toBeUndefined();
    expect(await again.readTensors('other.safetensors')).toBeUndefined();
    await again.remove('log');
    expect(await again.has('log')).toBe(false);
    await again.release();
  });

  test('is begun by one at a time, and is free again once finished or given back', async () => {
    const staging = await begun('a');
    expect(await store.begin('a')).toBeUndefined();
    expect(await open().begin('a')).toBeUndefined();
    await (await begun('b')).release();
    await staging.finish();
    await (await begun('a')).release();
    const [one, two] = await Promise.all([store.begin('c'), open().begin('c')]);
    expect([one, two].filter((each) => each !== undefined).length).toBe(1);
  });

  test('that is removed is gone, begun or finished', async () => {
    await finished('a');
    const staging = await begun('b');
    await staging.writeText('log', 'one');
    await staging.release();
    await store.remove('a');
    await store.remove('b');
    await store.remove('c');
    expect(await store.find('a')).toBeUndefined();
    expect(readdirSync(root)).toEqual(['locks']);
  });
});

describe('what was altered on disk', () => {
  test.each<readonly [string, string, (folder: string) => void]>([
    ['a file', 'deep/weights.safetensors', (at) => writeFileSync(join(at, 'deep/weights.safetensors'), 'other')],
    [
      'a bit',
      'deep/weights.safetensors',
      (at) => {
        const path = join(at, 'deep/weights.safetensors');
        const bytes = readFileSync(path);
        bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1;
        writeFileSync(path, bytes);
      },
    ],
    ['a file added', 'more', (at) => writeFileSync(join(at, 'more'), '')],
    ['a file taken away', 'record.json', (at) => unlinkSync(join(at, 'record.json'))],
    ['the manifest taken away', 'manifest.json', (at) => unlinkSync(join(at, 'manifest.json'))],
    ['the manifest', 'manifest.json', (at) => writeFileSync(join(at, 'manifest.json'), '{"fi')],
    ['the manifest, to other JSON', 'manifest.json', (at) => writeFileSync(join(at, 'manifest.json'), '[]')],
  ])('%s: it is told, removed and can be made anew', async (_, file, alter) => {
    await finished('a');
    await finished('b');
    alter(join(root, 'a'));
    const later = open();
    expect(await later.find('a')).toBeUndefined();
    expect(damages).toEqual([`a: ${file}`]);
    expect(existsSync(join(root, 'a'))).toBe(false);
    expect(await later.find('b')).toBeDefined();
    await finished('a');
    expect(await later.find('a')).toBeDefined();
    expect(damages.length).toBe(1);
  });

  test('a checkpoint, or a note of a stage in the making: it is told and taken for missing', async () => {
    const staging = await begun('a');
    await staging.writeTensors('checkpoint.safetensors', weights);
    await staging.writeJson('step.json', { step: 1 });
    const path = join(staging.folder, 'checkpoint.safetensors');
    writeFileSync(path, readFileSync(path).subarray(0, 20));
    writeFileSync(join(staging.folder, 'step.json'), '{"step');
    expect(await staging.readTensors('checkpoint.safetensors')).toBeUndefined();
    expect(await staging.readJson('step.json')).toBeUndefined();
    expect(damages).toEqual(['a: checkpoint.safetensors', 'a: step.json']);
    expect(await staging.has('checkpoint.safetensors')).toBe(false);
    await staging.release();
  });
});

describe('a disk that refuses', () => {
  test('a file in the way of the store, of a stage or of a folder', async () => {
    writeFileSync(join(root, 'file'), '');
    const inside = await failureOf(() => open(join(root, 'file')).begin('a'));
    expect(inside).toMatchObject({ kind: 'store', remedy: expect.stringContaining('--out') });
    writeFileSync(join(root, 'a.partial'), '');
    const partial = await failureOf(() => store.begin('a'));
    expect(partial).toMatchObject({ kind: 'store', where: join(root, 'a.partial') });
    expect(partial.remedy).toBe('A file is in the way. Choose another folder with --out.');
    writeFileSync(join(root, 'b'), '');
    expect((await failureOf(() => store.find('b'))).remedy).toContain('A file is in the way');
    mkdirSync(join(root, 'folder', 'x'), { recursive: true });
    expect((await failureOf(() => writeWhole(join(root, 'folder'), 'text'))).kind).toBe('store');
    // A stage that could not be begun is not locked.
    unlinkSync(join(root, 'a.partial'));
    await (await begun('a')).release();
  });

  test('one that is full', async ({ skip }) => {
    // The device that is always full, where the system has it.
    if (!existsSync('/dev/full')) skip();
    const refused = await failureOf(async () => {
      const { guarded } = await import('../../src/run/store.js');
      await guarded('weights', async () => writeFileSync('/dev/full', 'x'));
    });
    expect(refused).toMatchObject({ kind: 'store', where: 'weights' });
    expect(refused.remedy).toMatch(/^The disk is full\. Free some space and run again/);
  });

  test('an error that is not about files stays what it is', async () => {
    const { guarded } = await import('../../src/run/store.js');
    await expect(guarded('x', () => Promise.reject(new TypeError('a mistake')))).rejects.toThrow(TypeError);
  });

  test('a write that fails leaves what was there, and nothing beside it', async () => {
    const path = join(root, 'file');
    await writeWhole(path, 'old');
    await expect(writeWhole(path, { length: 3 } as never)).rejects.toThrow();
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(root)).toEqual(['file']);
  });
});

describe('a killed writer', () => {
  const started = async (): Promise<ChildProcess> => {
    const child = fork(fileURLToPath(new URL('fixtures/writer.ts', import.meta.url)), [root], {
      execArgv: ['--import', 'tsx'],
      stdio: 'ignore',
    });
    await new Promise((resolve) => child.once('message', resolve));
    return child;
  };
  const killed = (child: ChildProcess) =>
    new Promise((resolve) => {
      child.once('exit', resolve);
      child.kill('SIGKILL');
    });

  test('leaves whole files only, and its stage to the next one', async () => {
    for (const wait of [0, 3, 11]) {
      const child = await started();
      expect(await store.begin('a')).toBeUndefined();
      await new Promise((resolve) => setTimeout(resolve, wait));
      await killed(child);
      const staging = await begun('a');
      expect(readdirSync(staging.folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
      const { metadata, tensors } = (await staging.readTensors('checkpoint.safetensors')) ?? {};
      const { data } = tensors?.w ?? {};
      expect(data?.length).toBe(100_000);
      expect(data?.every((value) => value === Number(metadata?.step))).toBe(true);
      expect(damages).toEqual([]);
      await staging.release();
    }
  });

  test('a half-written file that it left goes with the next begin', async () => {
    const staging = await begun('a');
    await staging.writeText('fits/log', 'x');
    writeFileSync(join(staging.folder, 'fits', 'log.99999.tmp'), 'hal');
    await staging.release();
    const again = await begun('a');
    expect(readdirSync(join(again.folder, 'fits'))).toEqual(['log']);
    await again.finish();
    expect(await store.find('a')).toBeDefined();
  });
});
