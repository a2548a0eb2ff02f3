import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readOwner, thisProcess, tryLock } from '../../src/core/lock.js';
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
import { failureOf } from '../failures.js';
import { flip } from '../flip.js';

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

describe('one bit that turned over', () => {
  const names = ['first.json', 'history/1.png', 'log.json', 'checkpoint.safetensors'];
  const written = async (id = 'a'): Promise<void> => {
    const staging = await begun(id);
    await staging.writeJson('first.json', 0);
    await staging.writeBytes(
      'history/1.png',
      Uint8Array.from({ length: 64 }, (_, i) => i),
    );
    await staging.writeJson('log.json', [1, 2, 3]);
    await staging.writeTensors('checkpoint.safetensors', weights);
    await staging.release();
  };
  const there = async (staging: StagingDir): Promise<readonly string[]> => {
    const found = await Promise.all(names.map(async (name) => ((await staging.has(name)) ? [name] : [])));
    return found.flat();
  };

  test.each(names)('in %s of a begun stage is found and said; what was written after it goes with it', async (name) => {
    await written();
    // In the last number: what it says is as well formed as before.
    const path = join(root, 'a.partial', name);
    flip(path, Math.max(0, statSync(path).size - 7));
    const again = await begun('a');
    expect(damages).toEqual([`a: ${name}`]);
    expect(await there(again)).toEqual(names.slice(0, names.indexOf(name)));
    await again.release();
    // It is said once.
    const later = await begun('a');
    expect(damages.length).toBe(1);
    await later.finish();
    expect(await store.find('a')).toBeDefined();
  });

  test('anywhere in the journal is found where it matters, and no file is taken for another', async () => {
    await written();
    const journal = join(root, 'a.partial', 'written.log');
    const [whole, files] = [readFileSync(journal), join(root, 'copy')];
    cpSync(join(root, 'a.partial'), files, { recursive: true });
    for (let at = 1; at < whole.length; at++) {
      rmSync(join(root, 'a.partial'), { recursive: true, force: true });
      cpSync(files, join(root, 'a.partial'), { recursive: true });
      flip(journal, at);
      const line =
        whole
          .subarray(0, at + 1)
          .toString()
          .trimEnd()
          .split('\n').length - 2;
      damages = [];
      const again = await begun('a');
      expect(damages.length, `byte ${at}`).toBeGreaterThan(0);
      expect(await there(again), `byte ${at}`).toEqual(names.slice(0, Math.max(0, line)));
      await again.release();
    }
  });

  test('where a file was taken away: what was written after it goes too', async () => {
    await written();
    unlinkSync(join(root, 'a.partial', 'history', '1.png'));
    const again = await begun('a');
    expect(damages).toEqual(['a: history/1.png']);
    expect(await there(again)).toEqual(['first.json']);
    await again.release();
  });

  test('goes back to a moment of which nothing has changed since', async () => {
    const staging = await begun('a');
    await staging.writeJson('before.json', 1);
    await staging.writeJson('loop.json', 1);
    await staging.writeJson('passing.json', 1);
    await staging.writeJson('lot-0.json', 1);
    await staging.remove('passing.json');
    await staging.writeJson('lot-1.json', 1);
    await staging.writeJson('loop.json', 2);
    await staging.release();
    flip(join(root, 'a.partial', 'lot-1.json'), 0);
    const again = await begun('a');
    expect(damages).toEqual(['a: lot-1.json']);
    // When lot-1 was written the loop was at its first iteration, of which loop.json tells no more.
    expect(readdirSync(again.folder).sort()).toEqual(['before.json', 'written.log']);
    await again.release();
  });

  test('is no matter in what the system put beside the files', async () => {
    await written();
    for (const name of ['.DS_Store', 'history/.nfs0001']) writeFileSync(join(root, 'a.partial', name), '');
    const again = await begun('a');
    expect([await there(again), await again.list('history')]).toEqual([names, ['1.png']]);
    await again.finish();
    writeFileSync(join(root, 'a', '.DS_Store'), 'x');
    expect(await open().find('a')).toBeDefined();
    expect(damages).toEqual([]);
  });

  test('after a crash between the journal and the file, the file before counts', async () => {
    await written();
    const journal = join(root, 'a.partial', 'written.log');
    const before = readFileSync(journal);
    const staging = await begun('a');
    await staging.writeJson('log.json', [4]);
    await staging.release();
    const after = readFileSync(journal);
    // The line is there and the file is not; then a line that was cut off.
    writeFileSync(join(root, 'a.partial', 'log.json'), `${JSON.stringify([1, 2, 3], null, 2)}\n`);
    appendFileSync(journal, '\n0123456789abcdef 01');
    expect(after.length).toBeGreaterThan(before.length);
    const again = await begun('a');
    expect([await again.readJson('log.json'), await there(again), damages]).toEqual([[1, 2, 3], names, []]);
    await again.writeJson('log.json', [5]);
    await again.release();
    expect(await (await begun('a')).readJson('log.json')).toEqual([5]);
    expect(damages).toEqual([]);
  });

  test('while the stage is made is found when the file is read', async () => {
    const staging = await begun('a');
    await staging.writeJson('log.json', [1, 2, 3]);
    flip(join(staging.folder, 'log.json'), 4);
    expect(await staging.readJson('log.json')).toBeUndefined();
    expect(damages).toEqual(['a: log.json']);
    await staging.release();
  });

  test('in the name of a stage in the making: what was begun of another one is not taken for it', async () => {
    await written();
    renameSync(join(root, 'a.partial'), join(root, 'b.partial'));
    const other = await begun('b');
    expect(await there(other)).toEqual([]);
    expect(damages.sort()).toEqual(names.map((name) => `b: ${name}`).sort());
    await other.release();
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
    // A pid that no process has.
    const ofTheDead = (path: string): string => path.replace(`-${process.pid}-`, '-4194305-');
    const mine = aside(join(run, 'mine.png'));
    const elsewhere = join(run, 'other.png.01234567-1.tmp');
    const old = join(run, 'old.png.99999.tmp');
    const probe = join(run, `.clock-${thisProcess()}-00`);
    const oldProbe = join(run, `.clock-${'0'.repeat(24)}`);
    const gone = [ofTheDead(mine), old, ofTheDead(probe), oldProbe];
    for (const path of [mine, probe, elsewhere, ...gone, join(run, 'image.png')]) writeFileSync(path, '');
    for (const path of [old, oldProbe]) utimesSync(path, new Date(0), new Date(0));
    const locks = join(root, 'locks');
    const lock = await tryLock(join(locks, 'b'));
    const owner = await readOwner(join(locks, 'b'));
    writeFileSync(join(locks, `a.${'0'.repeat(24)}`), JSON.stringify({ ...owner, pid: 4194305 }));
    for (const folder of [locks, root]) writeFileSync(join(folder, basename(ofTheDead(probe))), '');
    writeFileSync(join(root, basename(probe)), '');
    await finished('a');
    writeFileSync(join(root, 'a', basename(ofTheDead(probe))), '');
    await removeLeftovers(join(root, 'run'), root);
    expect(readdirSync(run).sort()).toEqual(
      ['image.png', ...[mine, elsewhere, probe].map((path) => basename(path))].sort(),
    );
    expect(readdirSync(locks)).toEqual(['b']);
    expect(readdirSync(root).sort()).toEqual([basename(probe), 'a', 'locks', 'run']);
    // Finished stages are left as they are.
    expect(existsSync(join(root, 'a', basename(ofTheDead(probe))))).toBe(true);
    await lock?.release();
  });

  test('of a stage in the making goes too, and the folder of one of which there is nothing', async () => {
    const ofTheDead = (path: string): string => aside(path).replace(`-${process.pid}-`, '-4194305-');
    const left = (id: string, ...names: readonly string[]): void => {
      mkdirSync(join(root, `${id}.partial`, 'fits'), { recursive: true });
      for (const name of names) writeFileSync(join(root, `${id}.partial`, name), '');
    };
    left('empty');
    left('first', 'written.log', basename(ofTheDead('record.json')));
    const staging = await begun('made');
    await staging.writeText('log', 'x');
    writeFileSync(ofTheDead(join(staging.folder, 'next')), '');
    await staging.release();
    const held = await begun('held');
    await removeLeftovers(join(root, 'run'), root);
    expect(
      readdirSync(root)
        .filter((name) => name.endsWith('.partial'))
        .sort(),
    ).toEqual(['held.partial', 'made.partial']);
    expect(readdirSync(join(root, 'made.partial')).sort()).toEqual(['log', 'written.log']);
    expect(damages).toEqual([]);
    await held.release();
  });
});

describe('a store', () => {
  test('has finished stages without their journals, though who finished one was killed before it had removed it', async () => {
    await finished('a');
    const journal = join(root, 'a', 'written.log');
    writeFileSync(journal, 'x');
    expect(await openStore(root, () => undefined, { reading: true }).find('a')).toBeDefined();
    expect(existsSync(journal)).toBe(true);
    expect(await store.find('a')).toBeDefined();
    expect(existsSync(journal)).toBe(false);
    expect(await open().find('a')).toBeDefined();
    expect(damages).toEqual([]);
  });

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

  test('has no stages but folders, and none of the system', async () => {
    await finished('made');
    mkdirSync(join(root, 'jobs'));
    renameSync(join(root, 'made'), join(root, 'jobs', 'made'));
    symlinkSync(join(root, 'jobs', 'made'), join(root, 'made'));
    for (const name of ['.DS_Store', `.clock-${thisProcess()}-00`, 'notes.txt', 'x.partial'])
      writeFileSync(join(root, name), '');
    for (const name of ['.Trash', '.old.partial']) mkdirSync(join(root, name));
    expect([...(await stagesIn(root)).keys()]).toEqual(['made']);
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

  test('that another process has keeps all others that were to be removed with it', async () => {
    await finished('a');
    await finished('c');
    const staging = await begun('b');
    await staging.writeText('log', 'one');
    expect(await failureOf(() => open().remove('a', 'b', 'c'))).toEqual({
      _tag: 'Failure',
      kind: 'store',
      what: expect.stringMatching(new RegExp(`^this stage is being made by process ${process.pid} on .*locks/b\\)$`)),
      where: 'b',
      remedy: 'Nothing was removed. Wait for it, or stop it, before making stages anew.',
    });
    expect([await open().find('a'), await open().find('c')]).not.toContain(undefined);
    await staging.release();
    await open().remove('a', 'b', 'c');
    expect(readdirSync(root)).toEqual(['locks']);
    expect(readdirSync(join(root, 'locks'))).toEqual([]);
  });
});

describe('what was altered on disk', () => {
  test.each<readonly [string, string, (folder: string) => void]>([
    ['a file', 'deep/weights.safetensors', (at) => writeFileSync(join(at, 'deep/weights.safetensors'), 'other')],
    ['a bit', 'deep/weights.safetensors', (at) => flip(join(at, 'deep/weights.safetensors'), -1)],
    ['a file added', 'more', (at) => writeFileSync(join(at, 'more'), '')],
    ['a file taken away', 'record.json', (at) => unlinkSync(join(at, 'record.json'))],
    ['the manifest taken away', 'manifest.json', (at) => unlinkSync(join(at, 'manifest.json'))],
    ['the manifest', 'manifest.json', (at) => writeFileSync(join(at, 'manifest.json'), '{"fi')],
    ['the manifest, to other JSON', 'manifest.json', (at) => writeFileSync(join(at, 'manifest.json'), '[]')],
  ])('%s: it is told, left by who only reads, removed by others, and can be made anew', async (_, file, alter) => {
    await finished('a');
    await finished('b');
    alter(join(root, 'a'));
    const told: string[] = [];
    const reading = openStore(root, (id, name) => told.push(`${id}: ${name}`), { reading: true });
    expect(await reading.find('a')).toBeUndefined();
    expect(told).toEqual([`a: ${file}`]);
    expect(existsSync(join(root, 'a'))).toBe(true);
    expect(await reading.find('b')).toBeDefined();
    const later = open();
    expect(await later.find('a')).toBeUndefined();
    expect(damages).toEqual([`a: ${file}`]);
    expect(existsSync(join(root, 'a'))).toBe(false);
    expect(await later.find('b')).toBeDefined();
    await finished('a');
    expect(await later.find('a')).toBeDefined();
    expect(damages.length).toBe(1);
  });

  test.skipIf(process.platform === 'win32')(
    'the manifest, to a pipe that nobody writes to: so it is, too',
    async () => {
      await finished('a');
      unlinkSync(join(root, 'a', 'manifest.json'));
      execFileSync('mkfifo', [join(root, 'a', 'manifest.json')]);
      expect(await open().find('a')).toBeUndefined();
      expect(damages).toEqual(['a: manifest.json']);
    },
  );

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
