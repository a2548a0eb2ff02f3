import { createRequire } from 'node:module';
import { freemem, totalmem } from 'node:os';
import { fileURLToPath, pathToFileURL } from 'node:url';
import * as E from 'fp-ts/lib/Either.js';
import { availableCores } from '../core/job.js';
import { showBytes } from '../core/text.js';
import { type Engine, engineChoice, TFJS_CPU_SLOWER } from './engine.js';
import type { Execution } from './execution.js';
import { hugePages } from './huge-pages.js';
import type { SelfTest } from './self-test.js';
import type { Choice } from './setup/choice.js';
import { alteredFiles, enginePath, everyFile, findEngine } from './setup/folder.js';
import { install } from './setup/loading.js';
import {
  checkCache,
  findCompiler,
  findPython,
  type Machine,
  RUN_SLOWLY,
  thisMachine,
  unsupported,
} from './setup/machine.js';
import { type Ran, run } from './setup/process.js';
import { processorName, thisProcessor, vectorLevel } from './setup/processor.js';
import { installedPackage } from './setup/tfjs-node.js';
import { TENSORFLOW, TFJS_NODE } from './setup/wheels.js';

/** One thing that the doctor looked at. */
export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** What to do when it is not ok. */
  readonly remedy?: string;
}

const good = (name: string, detail: string): Check => ({ name, ok: true, detail });
const bad = (name: string, detail: string, remedy?: string): Check => ({
  name,
  ok: false,
  detail,
  ...(remedy === undefined ? {} : { remedy }),
});

const checkPlatform = (machine: Machine): Check => {
  const detail = `${machine.platform} on ${machine.arch}${machine.glibc === undefined ? '' : `, glibc ${machine.glibc}`}`;
  const reason = unsupported(machine);
  return reason === undefined
    ? good('platform', detail)
    : bad('platform', `${detail}: ${reason}`, `undistill runs here, about ${TFJS_CPU_SLOWER} times slower.`);
};

/** Python and the compiler are wanted for installing alone: once the engine is there, their absence is no fault. */
const checkTool = (
  name: string,
  found: E.Either<{ what: string; remedy?: string | undefined }, string>,
  installed: boolean,
): Check => {
  if (E.isRight(found)) return good(name, found.right);
  return installed
    ? good(name, `${found.left.what} (not needed: the engine is installed)`)
    : bad(name, found.left.what, found.left.remedy);
};

const checkCacheFolder = async (machine: Machine, needed: number): Promise<Check> => {
  const writable = await checkCache(machine);
  if (E.isLeft(writable)) {
    const { what, remedy } = writable.left;
    // A complete engine in a read-only cache is a fine arrangement.
    return needed === 0
      ? good('cache', `${machine.cache}: ${what} (not needed: the engine is installed)`)
      : bad('cache', `${machine.cache}: ${what}`, remedy);
  }
  const free = await machine.freeBytes(machine.cache);
  const detail = `${machine.cache}, ${showBytes(free)} free`;
  return free >= needed
    ? good('cache', detail)
    : bad(
        'cache',
        `${detail}, and installing takes ${showBytes(needed)}`,
        'Free some space, or point XDG_CACHE_HOME to a folder on another disk.',
      );
};

const checkInstalled = async (machine: Machine, choice: Choice): Promise<Check> => {
  switch (choice.use) {
    case 'tfjs-cpu':
      return good('engine', `pure JavaScript, about ${TFJS_CPU_SLOWER} times slower (${choice.why ?? 'as asked for'})`);
    case 'prebuilt':
      return good('engine', `the prebuilt of @tensorflow/tfjs-node-gpu at ${choice.path} (${choice.why})`);
    case 'binding':
      return good('engine', `the binding that UNDISTILL_BINDING names: ${choice.path}`);
    case 'tensorflow': {
      const { name, variant } = choice.recipe;
      const folder = await findEngine(machine.cache, name);
      if (folder === undefined)
        return bad(
          'engine',
          `not installed, or not completely: ${enginePath(machine.cache, name)}`,
          install(choice.recipe),
        );
      const altered = await alteredFiles(folder.path, folder.manifest, everyFile);
      if (altered.length > 0)
        return bad(
          'engine',
          `altered on disk: ${altered.join(', ')} in ${folder.path}`,
          `${install(choice.recipe)}, which makes it anew.`,
        );
      const bytes = folder.manifest.files.reduce((sum, file) => sum + file.size, 0);
      const kernels = installedPackage() ?? 'the cache';
      return good(
        'engine',
        `TensorFlow ${TENSORFLOW} (${variant}), ${showBytes(bytes)}, all checksums right, at ${folder.path}; kernels ${TFJS_NODE} from ${kernels}`,
      );
    }
  }
};

interface Probed {
  readonly engine: Engine;
  readonly test: SelfTest;
}

/** Loads and tests the engine in a child process, so that a crash of the native library leaves the doctor alive. */
const probe = (machine: Machine): Promise<Ran> => {
  const source = import.meta.url.endsWith('.ts');
  const path = fileURLToPath(new URL(source ? './probe.ts' : './probe.js', import.meta.url));
  // From source the child needs the loader of TypeScript that this process may have got in another way.
  const loader = source ? ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href] : [];
  // Level 1 keeps TensorFlow's warnings: they may say why it fails.
  const env = { ...machine.env, TF_CPP_MIN_LOG_LEVEL: machine.env.TF_CPP_MIN_LOG_LEVEL ?? '1' };
  return run(process.execPath, [...loader, path], { env, limit: 180_000 });
};

const causeOf = (ran: Ran): string => {
  if (ran.signal === 'SIGILL') return 'it uses instructions that this processor has not (AVX)';
  if (ran.signal === 'SIGTERM') return 'it did not end within three minutes';
  if (ran.signal !== null) return `it crashed (${ran.signal})`;
  const lines = ran.err
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !/^(at |\^|throw |node:|Node\.js v|[IW]0000|WARNING)/.test(line));
  return lines.find((line) => line.includes('Error')) ?? lines.at(-1) ?? `exit code ${ran.code}`;
};

const saidOf: Readonly<Record<Execution, string>> = {
  eager: 'run operation by operation',
  graph: 'run as one TensorFlow graph each',
  xla: 'run as one graph each, compiled by XLA',
};

/** The checks that come out of the child process. */
export const checksFromProbe = (ran: Ran): readonly Check[] => {
  const line = ran.out.trimEnd().split('\n').at(-1) ?? '';
  if (ran.code !== 0 || !line.startsWith('{'))
    return [
      bad(
        'loads',
        `the engine does not load: ${causeOf(ran)}`,
        `Run: npx undistill engine install, which makes a damaged one anew. ${RUN_SLOWLY}`,
      ),
    ];
  const { engine, test } = JSON.parse(line) as Probed;
  const speed = `matrix product ${test.matmul.toFixed(1)} GFLOPS, convolution ${test.convolution.toFixed(1)} GFLOPS`;
  return [
    good('loads', `${engine.class} ${engine.version}, ${engine.threads} thread${engine.threads === 1 ? '' : 's'}`),
    good(
      'gpu',
      engine.gpus.length > 0
        ? `${engine.gpus.join(', ')}; float32 is multiplied as ${engine.precision === 'tf32' ? 'TF32 (--precision float32 for strict)' : 'float32'}`
        : 'none in use',
    ),
    good('steps', saidOf[engine.execution]),
    test.right
      ? good('self-test', `known answers right; ${speed}`)
      : bad(
          'self-test',
          `${test.wrong ?? 'wrong'}; ${speed}`,
          'Results of this machine cannot be trusted: look at its memory and processor.',
        ),
  ];
};

/**
 * Looks at everything that the engine depends on. A missing tool is a fault only while it is needed. Takes some seconds:
 * the installed files are read and compared with their checksums, and the engine is tested for about one.
 */
export const diagnose = async (machine: Machine = thisMachine()): Promise<readonly Check[]> => {
  const choice = await engineChoice(machine);
  const basics = [
    // The command line refuses one that is too old before it loads anything.
    good('node', `Node ${process.versions.node}`),
    checkPlatform(machine),
  ];
  if (E.isLeft(choice))
    return [...basics, bad('engine', `${choice.left.where}: ${choice.left.what}`, choice.left.remedy)];
  const recipe = choice.right.use === 'tensorflow' ? choice.right.recipe : undefined;
  const installed = recipe === undefined || (await findEngine(machine.cache, recipe.name)) !== undefined;
  const python = E.map(({ version, pip }: { version: string; pip: string }) => `Python ${version}, pip ${pip}`)(
    await findPython(machine.env),
  );
  const compiler = E.map(({ command, version }: { command: string; version: string }) => `${command}: ${version}`)(
    await findCompiler(machine.env),
  );
  const engine = await checkInstalled(machine, choice.right);
  return [
    ...basics,
    checkTool('python', python, installed),
    checkTool('compiler', compiler, installed),
    await checkCacheFolder(machine, installed ? 0 : (recipe?.diskNeeded ?? 0)),
    good('cores', `${availableCores()} × ${processorName()}`),
    good('vectors', `${vectorLevel(thisProcessor())}: results of another level are kept apart`),
    good('memory', [showBytes(totalmem()), `${showBytes(freemem())} free`, hugePages() ?? []].flat().join(', ')),
    engine,
    ...(engine.ok ? checksFromProbe(await probe(machine)) : []),
  ];
};
