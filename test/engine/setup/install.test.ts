import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as E from 'fp-ts/lib/Either.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Failure } from '../../../src/core/errors.js';
import {
  alteredFiles,
  type EngineFolder,
  enginePath,
  everyFile,
  findEngine,
} from '../../../src/engine/setup/folder.js';
import { explain, type InstallOptions, installEngine } from '../../../src/engine/setup/install.js';
import type { ProgressState } from '../../../src/engine/setup/progress.js';
import { type Faults, LIBRARIES, makeSite, type Site } from '../fixtures/site.js';

let site: Site;
const children: ChildProcess[] = [];

beforeEach(() => {
  site = makeSite();
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  site.remove();
});

const install = (
  faults: Faults = {},
  options: Partial<InstallOptions> = {},
): Promise<E.Either<Failure, EngineFolder>> =>
  installEngine({ machine: site.machine(faults), recipe: site.recipe, ...options })();

const installed = async (faults: Faults = {}, options: Partial<InstallOptions> = {}): Promise<EngineFolder> => {
  const result = await install(faults, options);
  if (E.isLeft(result)) throw new Error(JSON.stringify(result.left));
  return result.right;
};

const refused = async (faults: Faults = {}, options: Partial<InstallOptions> = {}): Promise<Failure> => {
  const result = await install(faults, options);
  if (E.isRight(result)) throw new Error('it was installed');
  expect(result.left.kind).toBe('engine');
  expect(result.left.where).toBeTruthy();
  expect(result.left.remedy).toBeTruthy();
  return result.left;
};

const installInChild = (faults: Faults = {}): ChildProcess => {
  const argument = JSON.stringify({ machine: site.machine(faults), recipe: site.recipe });
  const script = resolve('test/engine/fixtures/install-child.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', script, argument], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  return child;
};

const outputOf = (child: ChildProcess): Promise<string> =>
  new Promise((done) => {
    let text = '';
    child.stdout?.on('data', (chunk) => {
      text += chunk;
    });
    child.on('close', () => done(text));
  });

const killedWhileHanging = async (faults: Faults): Promise<void> => {
  const child = installInChild(faults);
  // 'exit', not 'close': the make-believe tool sleeps on with the pipe open.
  const gone = new Promise((done) => child.on('exit', done));
  while (!existsSync(join(site.root, 'hanging'))) await sleep(20);
  child.kill('SIGKILL');
  await gone;
};

const engines = () => readdirSync(join(site.root, 'cache', 'engines'));

describe('installing the engine', () => {
  test('keeps the libraries and the modules, nothing else, with their sums', async () => {
    const seen: ProgressState[] = [];
    const folder = await installed({}, { progress: (state) => seen.push(state) });
    expect(folder.path).toBe(enginePath(join(site.root, 'cache'), 'fake-1.0'));
    expect(folder.manifest.files.map(({ path }) => path)).toEqual([
      'kernels.node',
      'nvidia/cublas/lib/libcublas.so.12',
      'quiet.node',
      ...LIBRARIES,
      'tfjs_binding.node',
    ]);
    expect(await alteredFiles(folder.path, folder.manifest, everyFile)).toEqual([]);
    expect(engines()).toEqual(['fake-1.0']);
    expect(existsSync(join(site.root, 'cache', 'outside'))).toBe(false);
    expect([...new Set(seen.map(({ label }) => label))]).toEqual([
      'downloading fake 1.0',
      'unpacking fake 1.0',
      'building the binding',
    ]);
    for (const { done, total } of seen) expect(done).toBeLessThanOrEqual(total);
  });

  test('touches nothing, and asks for no tool, when it is there', async () => {
    const before = await installed();
    const again = await installed({ FAKE_PIP: 'network', FAKE_CXX: 'missing' });
    expect(again).toEqual(before);
    expect(site.downloads()).toBe(1);
  });

  test('is done again when a file is missing or cut short', async () => {
    const { path } = await installed();
    writeFileSync(join(path, LIBRARIES[0] ?? ''), 'cut');
    expect(await findEngine(join(site.root, 'cache'), 'fake-1.0')).toBeUndefined();
    await installed();
    rmSync(join(path, LIBRARIES[1] ?? ''));
    await installed();
    expect(site.downloads()).toBe(3);
  });

  test.each(['"path": "quiet', '"variant": "cpu', '"tensorflow": "2', '"size"'])(
    'is none where its list reads otherwise: %s',
    async (written) => {
      const { path } = await installed();
      const list = join(path, 'engine.json');
      const text = readFileSync(list, 'utf8');
      expect(text).toContain(written);
      writeFileSync(list, text.replace(written, written.replace(/\w/, 'X')));
      expect(await findEngine(join(site.root, 'cache'), 'fake-1.0')).toBeUndefined();
    },
  );

  test('finds a file altered without a change of size when it looks closely', async () => {
    const { path, manifest } = await installed();
    const library = join(path, LIBRARIES[0] ?? '');
    writeFileSync(library, readFileSync(library, 'utf8').replace('tensorflow', 'TENSORFLOW'));
    expect(await alteredFiles(path, manifest)).toEqual([]);
    expect(await alteredFiles(path, manifest, everyFile)).toEqual([LIBRARIES[0]]);
  });

  test('by two processes at once happens once', async () => {
    const results = await Promise.all([installInChild(), installInChild()].map(outputOf));
    for (const result of results) expect(JSON.parse(result)._tag).toBe('Right');
    expect(results[0]).toBe(results[1]);
    expect(site.downloads()).toBe(1);
    expect(engines()).toEqual(['fake-1.0']);
  });

  test('that another process is at is waited for, and it is said for whom', async () => {
    const lock = join(site.root, 'cache', 'engines', 'fake-1.0.lock');
    mkdirSync(dirname(lock), { recursive: true });
    writeFileSync(lock, 'no lock of ours');
    const said: string[] = [];
    const say = (line: string): void => {
      said.push(line);
      if (/^The engine is being installed\./.test(line)) rmSync(lock);
    };
    await installed({}, { say });
    expect(said[0]).toMatch(/Waiting for a lock file that cannot be read, .*fake-1\.0\.lock, which counts until/);
    expect(engines()).toEqual(['fake-1.0']);
  });

  test('killed while pip downloads is begun again', async () => {
    await killedWhileHanging({ FAKE_PIP: 'hang' });
    expect(engines()).toContain('fake-1.0.staging');
    expect(await findEngine(join(site.root, 'cache'), 'fake-1.0')).toBeUndefined();
    const said: string[] = [];
    await installed({}, { say: (line) => said.push(line) });
    expect(said.join()).toMatch(/interrupted/);
    expect(engines()).toEqual(['fake-1.0']);
  });

  test('killed while the compiler runs goes on without a second download', async () => {
    await killedWhileHanging({ FAKE_CXX: 'hang' });
    await installed();
    expect(site.downloads()).toBe(1);
    expect(engines()).toEqual(['fake-1.0']);
  });

  test('keeps the download when the compiler fails', async () => {
    expect((await refused({ FAKE_CXX: 'error' })).what).toMatch(/building.*unrecognized language/);
    await installed();
    expect(site.downloads()).toBe(1);
  });

  test.each<[string, Faults, RegExp, RegExp]>([
    ['no pip', { FAKE_PIP: 'missing' }, /no pip/, /python3-pip/],
    ['no compiler', { FAKE_CXX: 'missing' }, /no C\+\+ compiler/, /UNDISTILL_ENGINE=tfjs-cpu/],
    ['no network', { FAKE_PIP: 'network' }, /could not be reached/, /network/],
    ['an index without it', { FAKE_PIP: 'absent' }, /does not have it/, /index/],
    ['a disk that fills up', { FAKE_PIP: 'full' }, /disk is full/, /XDG_CACHE_HOME/],
    ['another wheel', { FAKE_PIP: 'other' }, /not the one that undistill knows/, /sha256/],
    ['a binding that does not load', { FAKE_NODE: 'old-glibc' }, /does not load.*GLIBC_2.27/, /doctor/],
    ['a processor without AVX', { FAKE_NODE: 'illegal' }, /AVX/, /UNDISTILL_ENGINE=tfjs-cpu/],
  ])('says what to do about %s', async (_, faults, what, remedy) => {
    const failure = await refused(faults);
    expect(failure.what).toMatch(what);
    expect(failure.remedy).toMatch(remedy);
    expect(await findEngine(join(site.root, 'cache'), 'fake-1.0')).toBeUndefined();
    // And afterwards, with the cause gone, it works.
    await installed();
  });

  test('says what to do about too little disk space, before downloading', async () => {
    const machine = { ...site.machine(), freeBytes: async () => 1000 };
    expect((await refused({}, { machine })).what).toMatch(/needs 1 MB of free disk space/);
    expect(site.downloads()).toBe(0);
  });

  test('says what to do about a cache that cannot be written', async () => {
    // A file in the way: unlike a permission it also stops the superuser, whom tests may run as.
    writeFileSync(join(site.root, 'file'), '');
    const failure = await refused({}, { machine: { ...site.machine(), cache: join(site.root, 'file', 'cache') } });
    expect(failure.what).toMatch(/cannot be written/);
    expect(failure.remedy).toMatch(/XDG_CACHE_HOME/);
  });

  test('says that Python is missing', async () => {
    const machine = { ...site.machine(), env: { PATH: '/nonexistent' } };
    expect((await refused({}, { machine })).what).toMatch(/Python 3 was not found/);
  });

  test.each([
    [{ glibc: '2.17' }, /glibc 2.27 or newer, and this system has 2.17/],
    [{ glibc: undefined }, /C library is another/],
    [{ platform: 'win32' as const }, /no TensorFlow for win32 on x64/],
  ])('says why it cannot be on %j', async (difference, what) => {
    expect((await refused({}, { machine: { ...site.machine(), ...difference } })).what).toMatch(what);
  });

  test('with CUDA is for Linux on x86-64', async () => {
    const machine = { ...site.machine(), arch: 'arm64' };
    const result = await installEngine({ machine, cuda: true })();
    expect(E.isLeft(result) && result.left.what).toMatch(/CUDA is for Linux on x86-64/);
  });
});

test('a read-only file system is told from other failures', () => {
  const ran = {
    code: 1,
    signal: null,
    out: '',
    err: "OSError: [Errno 30] Read-only file system: '/x'",
    missing: false,
  };
  expect(explain('downloading', ran, '/x').what).toMatch(/cannot be written/);
});
