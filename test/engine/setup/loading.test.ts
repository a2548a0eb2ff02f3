import { type ChildProcess, execFile, spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import * as E from 'fp-ts/lib/Either.js';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { cacheFolder } from '../../../src/core/cache-folder.js';
import { FailureError } from '../../../src/core/errors.js';
import { thisProcess } from '../../../src/core/lock.js';
import { loadEngine } from '../../../src/engine/engine.js';
import { BINDING, type EngineFolder, findEngine, KERNELS } from '../../../src/engine/setup/folder.js';
import { installEngine } from '../../../src/engine/setup/install.js';
import { loadMarked, refuseOthers } from '../../../src/engine/setup/loading.js';
import { failureOf } from '../../failures.js';
import { flip } from '../../flip.js';
import { LIBRARIES, makeSite, type Site } from '../fixtures/site.js';

let site: Site;
let engine: EngineFolder;
const children: ChildProcess[] = [];

const installed = async (thorough: boolean, said: string[] = []): Promise<EngineFolder> => {
  const options = { machine: site.machine(), recipe: site.recipe, thorough, say: (line: string) => said.push(line) };
  const result = await installEngine(options)();
  if (E.isLeft(result)) throw new FailureError(result.left);
  return result.right;
};
beforeEach(async () => {
  site = makeSite();
  engine = await installed(false);
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  site.remove();
  vi.useRealTimers();
});

const marks = (): readonly string[] => readdirSync(dirname(engine.path)).filter((name) => name.includes('.loading-'));
/** Its size stays what it was. */
const damage = (): void => {
  const library = join(engine.path, LIBRARIES[0] as string);
  writeFileSync(library, readFileSync(library, 'utf8').replace('tensorflow', 'TENSORFLOW'));
};
const damaged = () => ({
  kind: 'engine',
  what: `the engine is damaged on disk: ${LIBRARIES[0]}`,
  where: engine.path,
  remedy: 'Run: npx undistill engine install, which makes it anew.',
});

const module = JSON.stringify(pathToFileURL(resolve('src/engine/setup/loading.ts')).href);

/** A process that dies, or waits, while it loads the engine. */
const loadingInChild = (doing: string): Promise<NodeJS.Signals | null> => {
  const source = `import { loadMarked } from ${module};
    await loadMarked(${JSON.stringify(engine)}, async () => { ${doing} });`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], { stdio: 'inherit' });
  children.push(child);
  return new Promise((done) => child.on('exit', (_, signal) => done(signal)));
};

describe('loading the engine', () => {
  test('leaves no mark, and looks at no content of TensorFlow’s or CUDA’s, where all goes well', async () => {
    damage();
    const cublas = join(engine.path, 'nvidia/cublas/lib/libcublas.so.12');
    writeFileSync(cublas, readFileSync(cublas, 'utf8').toUpperCase());
    const seen = await loadMarked(engine, async () => marks());
    expect(seen).toEqual([`${basename(engine.path)}.loading-${thisProcess()}`]);
    expect(marks()).toEqual([]);
  });

  test('refuses operations of ours of which a bit has turned over', async () => {
    flip(join(engine.path, KERNELS), 0);
    let loaded = 0;
    expect(await failureOf(loadMarked(engine, async () => ++loaded))).toMatchObject({
      ...damaged(),
      what: `the engine is damaged on disk: ${KERNELS}`,
    });
    expect(loaded).toBe(0);
  });

  test('that ended a process before has its files looked at: damaged ones are named, and install makes them anew', async () => {
    damage();
    expect(await loadingInChild("process.kill(process.pid, 'SIGSEGV'); await new Promise(() => undefined);")).toBe(
      'SIGSEGV',
    );
    expect(marks().length).toBe(1);
    let loaded = 0;
    const load = async () => ++loaded;
    for (let turn = 0; turn < 2; turn++) expect(await failureOf(loadMarked(engine, load))).toMatchObject(damaged());
    expect(loaded).toBe(0);
    const said: string[] = [];
    // Sizes alone tell nothing.
    await installed(false, said);
    expect(said).toEqual([]);
    await installed(true, said);
    expect(said).toEqual([`The installed engine is damaged on disk (${LIBRARIES[0]}): it is made anew.`]);
    expect(await loadMarked(engine, load)).toBe(1);
    expect(marks()).toEqual([]);
  });

  test('goes on where a process ended for another reason, and lets the marks of living ones be', async () => {
    void loadingInChild(
      `(await import('node:fs')).writeFileSync(${JSON.stringify(join(site.root, 'at-it'))}, ''); setInterval(() => undefined, 1000); await new Promise(() => undefined);`,
    );
    while (!existsSync(join(site.root, 'at-it'))) await new Promise((done) => setTimeout(done, 20));
    expect(await loadingInChild("process.kill(process.pid, 'SIGKILL'); await new Promise(() => undefined);")).toBe(
      'SIGKILL',
    );
    expect(marks().length).toBe(2);
    expect(await loadMarked(engine, async () => 'loaded')).toBe('loaded');
    expect(marks().length).toBe(1);
  });

  test('takes a process elsewhere for gone by the clock of the folder', async () => {
    const mark = `${engine.path}.loading-01234567-1`;
    writeFileSync(mark, '');
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 1e8 });
    await loadMarked(engine, async () => undefined);
    expect(readdirSync(dirname(engine.path))).toContain(basename(mark));
    utimesSync(mark, 1, 1);
    await loadMarked(engine, async () => undefined);
    expect(marks()).toEqual([]);
  });

  test('that throws says of damaged files, and of others what was thrown', async () => {
    const load = () => Promise.reject(new Error('invalid ELF header'));
    await expect(loadMarked(engine, load)).rejects.toThrow('invalid ELF header');
    damage();
    expect(await failureOf(loadMarked(engine, load))).toMatchObject(damaged());
    expect(marks()).toEqual([]);
  });
});

describe('an engine that others can write to', () => {
  const files = () => engine.manifest.files.map(({ path }) => join(engine.path, path));

  test.each([
    ['its folder', () => engine.path],
    ['the folder of a library', () => join(engine.path, 'tensorflow')],
    ['the folder above', () => dirname(engine.path)],
    ['a library', () => join(engine.path, LIBRARIES[0] as string)],
  ])('%s is refused', async (_, path) => {
    await refuseOthers(files());
    chmodSync(path(), 0o777);
    expect(await failureOf(refuseOthers(files()))).toMatchObject({
      kind: 'engine',
      what: 'code from there is not run: everybody can write to it',
      where: path(),
      remedy: expect.stringContaining('chmod -R go-w'),
    });
  });

  test('is made as its owner’s alone, whatever the umask', async () => {
    site.remove();
    const before = process.umask(0o002);
    try {
      site = makeSite();
      engine = await installed(false);
    } finally {
      process.umask(before);
    }
    for (const path of [...files(), engine.path, dirname(engine.path), dirname(dirname(engine.path))])
      expect([path, statSync(path).mode & 0o022]).toEqual([path, 0]);
  });

  test('lies as well in a folder like /tmp, whose sticky bit protects it, and not in that itself', async () => {
    chmodSync(dirname(engine.path), 0o1777);
    await refuseOthers(files());
    chmodSync(engine.path, 0o1777);
    expect((await failureOf(refuseOthers(files()))).where).toBe(engine.path);
  });
});

describe('the installed engine', () => {
  let cache: string;
  beforeEach(() => {
    cache = mkdtempSync(join(tmpdir(), 'undistill-damaged-'));
  });
  afterEach(() => rmSync(cache, { recursive: true, force: true }));

  /** The same engine elsewhere, of which one file is a copy and the others, half a gigabyte, are links; undefined without an engine. */
  const copied = async (name: RegExp): Promise<{ readonly folder: string; readonly file: string } | undefined> => {
    const { folder } = await loadEngine();
    if (folder === undefined) return undefined;
    const found = await findEngine(cacheFolder(), basename(folder));
    const paths = found?.manifest.files.map(({ path }) => path) ?? [];
    const own = paths.find((path) => name.test(path));
    if (own === undefined) return undefined;
    const copy = join(cache, 'undistill', 'engines', basename(folder));
    for (const path of [...paths, 'engine.json']) {
      mkdirSync(dirname(join(copy, path)), { recursive: true });
      if ([own, 'engine.json'].includes(path)) copyFileSync(join(folder, path), join(copy, path));
      else symlinkSync(join(folder, path), join(copy, path));
    }
    const packages = join(cacheFolder(), 'packages');
    if (existsSync(packages)) symlinkSync(packages, join(cache, 'undistill', 'packages'));
    return { folder: copy, file: own };
  };

  const starting = async (): Promise<string> => {
    const engineModule = JSON.stringify(pathToFileURL(resolve('src/engine/engine.ts')).href);
    const source = `import { loadEngine } from ${engineModule}; await loadEngine();`;
    const args = ['--import', 'tsx', '--input-type=module', '-e', source];
    const env = { ...process.env, XDG_CACHE_HOME: cache };
    return promisify(execFile)(process.execPath, args, { env }).then(
      () => 'it loads',
      ({ stderr, signal }: { stderr: string; signal: string | null }) => signal ?? stderr,
    );
  };

  const fillPart = (path: string): void => {
    const bytes = readFileSync(path);
    bytes.fill(0, bytes.length >> 2, bytes.length >> 1);
    writeFileSync(path, bytes);
  };

  test('with damaged code of the same size is named by the next start at the latest', async ({ skip }) => {
    const engine = await copied(/^tfjs_binding\.node$/);
    if (engine === undefined) return skip();
    expect(await starting()).toBe('it loads');
    fillPart(join(engine.folder, engine.file));
    const first = await starting();
    const told = /SIG/.test(first) ? await starting() : first;
    expect(told).toContain(`the engine is damaged on disk: ${BINDING}`);
    expect(told).toContain('npx undistill engine install');
  });

  test('that ended a process before is looked at, TensorFlow’s libraries too', async ({ skip }) => {
    const engine = await copied(/libtensorflow_framework\./);
    if (engine === undefined) return skip();
    fillPart(join(engine.folder, engine.file));
    // As a process left it that died of this long ago.
    const mark = `${engine.folder}.loading-01234567-1`;
    writeFileSync(mark, '');
    utimesSync(mark, 1, 1);
    expect(await starting()).toContain(`the engine is damaged on disk: ${engine.file}`);
  });

  test('is not loaded where anybody could have written to it', async ({ skip }) => {
    const engine = await copied(/^kernels\.node$/);
    if (engine === undefined) return skip();
    chmodSync(join(engine.folder, engine.file), 0o777);
    expect(await starting()).toContain('code from there is not run: everybody can write to it');
  });
});
