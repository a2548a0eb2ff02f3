import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import util from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { checked, wholeBetween } from '../core/check.js';
import { attempt, FailureError, failure, orFail, orThrow, type Result, type Task } from '../core/errors.js';
import { availableCores } from '../core/job.js';
import { visible } from '../core/text.js';
import type { Binding } from './backend.js';
import { type CardPrecision, type Execution, mostThreads } from './execution.js';
import { type Choice, chooseEngine } from './setup/choice.js';
import { findEngine, KERNELS, QUIET } from './setup/folder.js';
import { type InstallOptions, installEngine } from './setup/install.js';
import { install, loadMarked, refuseOthers } from './setup/loading.js';
import { type Machine, RUN_SLOWLY, thisMachine } from './setup/machine.js';
import { ownHash } from './setup/own-source.js';
import { run } from './setup/process.js';
import { thisProcessor, vectorLevel } from './setup/processor.js';
import { quietly } from './setup/quiet.js';
import { bundled, packageFolder, prebuiltBinding } from './setup/tfjs-node.js';
import { recipeFor } from './setup/wheels.js';
import { steadyArithmetic } from './steady.js';

/** What the numbers run on. */
export interface Engine {
  /** Part of every result's identity: equal seeds give equal bits only within one class and version. */
  readonly class: 'tensorflow-cpu' | 'tensorflow-cuda' | 'tfjs-cpu';
  /** TensorFlow's version; tfjs's for the pure-JavaScript engine. */
  readonly version: string;
  /** Threads that one operation may use. */
  readonly threads: number;
  /** The name of the graphics card in use; empty on a CPU. */
  readonly gpus: readonly string[];
  /** Whether TensorFlow's own operations can be called. */
  readonly native: boolean;
  readonly execution: Execution;
  readonly precision: CardPrecision;
  /** The hash of the source of our own operations (`ownHash`); absent where it has none of them, as on graphics cards. */
  readonly own?: string;
  /** The level of vector extensions by which kernels are chosen, where TensorFlow computes on a processor. */
  readonly vectors?: string;
  /** Where it is installed. */
  readonly folder?: string;
}

export const defaultExecution = (of: Engine['class']): Execution =>
  of === 'tensorflow-cuda' ? 'xla' : of === 'tensorflow-cpu' ? 'graph' : 'eager';

/**
 * What a result's bits depend on besides TensorFlow's version: the engine's class, the source of our own
 * operations, the processor's vector extensions and XLA; eager steps and graphs give the same bits. It is part of every
 * stage's identity, so that a store made on a machine with AVX-512 and read on one with AVX2 gives other stages, and what
 * the first has made is neither taken nor overwritten.
 *
 * @returns such as `tensorflow-cpu+1a2b3c4d+avx512`
 */
export const arithmeticOf = ({
  class: kind,
  execution,
  precision,
  own,
  vectors,
}: Pick<Engine, 'class' | 'execution' | 'precision' | 'own' | 'vectors'>): string =>
  [
    kind,
    ...(own === undefined ? [] : [own]),
    ...(vectors === undefined ? [] : [vectors]),
    ...(execution === 'xla' ? ['xla'] : []),
    ...(precision === 'tf32' ? ['tf32'] : []),
  ].join('+');

export interface LoadOptions {
  /**
   * Threads of one operation, 1 to 512. Default: `TF_NUM_INTRAOP_THREADS`, else all cores. The first load decides for the
   * whole process: TensorFlow reads it once.
   */
  readonly threads?: number;
  /** Default: `xla` on a graphics card and `graph` on a processor, where XLA is slower. The first load decides. */
  readonly execution?: Execution | undefined;
  /** How a graphics card multiplies float32. Default: `tf32`. The first load decides. */
  readonly precision?: CardPrecision | undefined;
  /** Told, in a line, that a slow engine is in use and why. Default: standard error. */
  readonly say?: (line: string) => void;
}

/**
 * How many times slower the pure-JavaScript engine is than TensorFlow on a CPU.
 *
 * Measured once, on 2 cores of an x86-64 server with AVX-512 (2026-11-23, Node 20): forward and both gradients of a 3×3
 * convolution, 8 images of 16×16, 32 to 64 channels, then ReLU; the median of 5 runs was 8.1 to 11 s in JavaScript, that
 * of 30 runs 7.1 to 7.7 ms in TensorFlow.
 */
export const TFJS_CPU_SLOWER = 1000;

type BackendMaker = new (binding: Binding, packageName: string) => tf.KernelBackend;

/**
 * Registers TensorFlow's kernels with tfjs, and gives the class of its backend. The package is CommonJS without complete
 * types, so this is where they are asserted.
 */
const loadKernels = async (machine: Machine, options: LoadOptions): Promise<BackendMaker> => {
  giveBackRemoved();
  if (bundled()) {
    await import('@tensorflow/tfjs-node-gpu/dist/register_all_kernels.js');
    const module = await import('@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js');
    return module.NodeJSKernelBackend as unknown as BackendMaker;
  }
  const manifest = join(await packageFolder(machine, sayingTo(options)), 'package.json');
  // One of node_modules is as safe as this very code.
  if (manifest.startsWith(machine.cache)) await refuseOthers([manifest]);
  const require = createRequire(manifest);
  require('./dist/register_all_kernels');
  return (require('./dist/nodejs_kernel_backend') as { NodeJSKernelBackend: BackendMaker }).NodeJSKernelBackend;
};

/** Node's console is not stopped by an output that is full or closed. */
const sayingTo = ({ say = (line) => console.error(visible(line)) }: LoadOptions): ((line: string) => void) => say;

/** The package calls two functions that Node 23 has removed. */
const giveBackRemoved = (): void => {
  const removed: Partial<Pick<typeof util, 'isArray' | 'isNullOrUndefined'>> = util;
  removed.isArray ??= Array.isArray;
  removed.isNullOrUndefined ??= (value: unknown): value is null | undefined => value === null || value === undefined;
};

/** A number of threads out of the environment, as many as are taken at most; undefined where it is none. */
const threadsIn = (text: string | undefined): number | undefined => {
  const value = positive(text);
  return value === undefined ? undefined : Math.min(value, mostThreads);
};

const positive = (text: string | undefined): number | undefined => {
  const value = Number(text);
  return text && Number.isInteger(value) && value > 0 ? value : undefined;
};

/** The environment variables that the native library reads once, when it is loaded. */
export const nativeEnvironment = (
  env: NodeJS.ProcessEnv,
  options: {
    readonly threads: number | undefined;
    readonly cores: number;
    readonly folder: string | undefined;
    readonly precision?: CardPrecision | undefined;
  },
): Readonly<Record<string, string>> => {
  const threads = options.threads ?? threadsIn(env.TF_NUM_INTRAOP_THREADS) ?? Math.min(options.cores, mostThreads);
  const cuda = options.folder === undefined ? undefined : join(options.folder, 'nvidia', 'cuda_nvcc');
  const onCard = cuda !== undefined && existsSync(cuda);
  const strict = options.precision === 'float32';
  const flags = [
    // XLA looks for ptxas and libdevice in a system-wide CUDA unless told otherwise.
    ...(onCard ? [`--xla_gpu_cuda_data_dir=${cuda}`] : []),
    // Its own matrix products do not ask CUDA's libraries whether TF32 is allowed.
    ...(strict ? ['--xla_gpu_enable_triton_gemm=false'] : []),
  ].filter((flag) => !env.XLA_FLAGS?.includes(flag.slice(0, flag.indexOf('='))));
  return {
    TF_NUM_INTRAOP_THREADS: String(threads),
    // Operations one after the other, each with all threads: at the same time they would take each other's cache. It makes
    // a ResNet-18 10 % faster on two cores, the five-layer CNN 20 %, and a ShuffleNetV2 15 % slower.
    TF_NUM_INTEROP_THREADS: String(threadsIn(env.TF_NUM_INTEROP_THREADS) ?? (onCard ? threads : 1)),
    TF_CPP_MIN_LOG_LEVEL: env.TF_CPP_MIN_LOG_LEVEL || '2',
    // By itself TensorFlow takes oneDNN's operations, of which some have no others, where a processor has AVX-512 VNNI, AMX or the like alone.
    TF_ENABLE_ONEDNN_OPTS: env.TF_ENABLE_ONEDNN_OPTS || '1',
    // Otherwise the first process takes the whole card, and a second worker finds none of its memory.
    TF_FORCE_GPU_ALLOW_GROWTH: env.TF_FORCE_GPU_ALLOW_GROWTH || 'true',
    // The binding passes no configuration on: CUDA's own libraries look at this.
    ...(strict ? { NVIDIA_TF32_OVERRIDE: '0' } : {}),
    ...(flags.length === 0 ? {} : { XLA_FLAGS: [env.XLA_FLAGS ?? '', ...flags].join(' ').trim() }),
  };
};

/** The card that the binding computes on, which is the last that TensorFlow sees; `listing` is one name a line. */
export const usedGpu = (listing: string, visible: string | undefined): string => {
  const names = listing.split('\n').map((line) => line.trim());
  const indices = visible?.split(',').map((text) => positive(text.trim()) ?? 0);
  const last = indices === undefined ? names.filter((name) => name !== '').at(-1) : names[indices.at(-1) ?? 0];
  return last || 'GPU';
};

const gpuName = async (): Promise<string> => {
  const asked = await run('nvidia-smi', ['--query-gpu=name', '--format=csv,noheader'], { limit: 20_000 });
  return usedGpu(asked.code === 0 ? asked.out : '', process.env.CUDA_VISIBLE_DEVICES);
};

/** What the module of our own operations exports. */
interface OwnKernels {
  useThreads(count: number): void;
}
let ownKernels: OwnKernels | undefined;

/**
 * So many threads share each of our own operations from now on, 1 to 512: fewer or more than the engine was loaded with, whose
 * number the others keep. No bit of a result depends on it. Without our own operations nothing changes.
 *
 * @throws RangeError outside that range
 */
export const useThreads = (count: number): void => ownKernels?.useThreads(count);

const loadNative = async (
  machine: Machine,
  path: string,
  folder: string | undefined,
  options: LoadOptions,
): Promise<Engine> => {
  // Node passes changes of process.env on to the C library's environment, which is where TensorFlow looks.
  const environment = nativeEnvironment(process.env, {
    threads: options.threads,
    cores: availableCores(),
    folder,
    precision: options.precision,
  });
  Object.assign(process.env, environment);
  const require = createRequire(path);
  const kernels = join(dirname(path), KERNELS);
  // A binding from elsewhere does without.
  const hasOwn = existsSync(kernels);
  let binding: Binding;
  try {
    binding = quietly(join(dirname(path), QUIET), machine.env, () => require(path) as Binding);
    if (hasOwn) ownKernels = require(kernels) as OwnKernels;
  } catch (error) {
    throw new FailureError(
      failure('engine', `TensorFlow does not load: ${(error as Error).message.split('\n')[0]}`, {
        where: path,
        remedy: `\`npx undistill doctor\` looks at the machine. ${RUN_SLOWLY}`,
      }),
    );
  }
  const Backend = await loadKernels(machine, options);
  tf.registerBackend('tensorflow', () => new Backend(binding, 'tensorflow'), 3);
  await tf.setBackend('tensorflow');
  await tf.ready();
  steadyArithmetic();
  const cuda = binding.isUsingGpuDevice();
  return {
    class: cuda ? 'tensorflow-cuda' : 'tensorflow-cpu',
    execution: options.execution ?? defaultExecution(cuda ? 'tensorflow-cuda' : 'tensorflow-cpu'),
    // Somebody may have forbidden it in the environment.
    precision: cuda && process.env.NVIDIA_TF32_OVERRIDE !== '0' ? 'tf32' : 'float32',
    version: binding.TF_Version,
    threads: Number(environment.TF_NUM_INTRAOP_THREADS),
    gpus: cuda ? [await gpuName()] : [],
    native: true,
    ...(hasOwn && !cuda ? { own: ownHash() } : {}),
    ...(cuda ? {} : { vectors: vectorLevel(thisProcessor()) }),
    ...(folder === undefined ? {} : { folder }),
  };
};

const loadJavaScript = async (): Promise<Engine> => {
  await tf.setBackend('cpu');
  await tf.ready();
  return {
    class: 'tfjs-cpu',
    version: tf.version.tfjs,
    threads: 1,
    gpus: [],
    native: false,
    execution: 'eager',
    precision: 'float32',
  };
};

/** The warning that goes with a choice, for standard error. */
export const warningFor = (choice: Choice): string | undefined => {
  if (choice.use === 'tfjs-cpu')
    return `WARNING: running on the pure-JavaScript engine, about ${TFJS_CPU_SLOWER} times slower than TensorFlow: ${choice.why ?? 'UNDISTILL_ENGINE=tfjs-cpu'}`;
  if (choice.use === 'prebuilt')
    return `WARNING: running on the old TensorFlow that came with @tensorflow/tfjs-node-gpu: ${choice.why}`;
  return undefined;
};

/**
 * Which engine `loadEngine` will take. Only `use: 'tensorflow'` asks for an installation: with any other, `engine install`
 * has nothing to do, and `warningFor` says why.
 */
export const engineChoice = async (machine: Machine = thisMachine()): Promise<Result<Choice>> => {
  const cuda = recipeFor(machine.platform, machine.arch, true);
  return chooseEngine(machine, {
    prebuilt: prebuiltBinding(),
    cuda: cuda !== undefined && (await findEngine(machine.cache, cuda.name)) !== undefined,
  });
};

const choose = async (machine: Machine): Promise<Choice> => orFail(await engineChoice(machine));

const loadChoice = async (machine: Machine, choice: Choice, options: LoadOptions): Promise<Engine> => {
  if (options.threads !== undefined)
    checked('loadEngine', { threads: wholeBetween(1, mostThreads) }, { threads: options.threads });
  const warning = warningFor(choice);
  if (warning !== undefined) sayingTo(options)(warning);
  switch (choice.use) {
    case 'tfjs-cpu':
      return loadJavaScript();
    case 'prebuilt':
      return loadNative(machine, choice.path, undefined, options);
    case 'binding': {
      const path = resolve(choice.path);
      if (!existsSync(path))
        throw new FailureError(
          failure('engine', 'there is no such file', {
            where: `UNDISTILL_BINDING=${choice.path}`,
            remedy: 'It names a tfjs_binding.node; unset it to use the installed engine.',
          }),
        );
      await refuseOthers([path]);
      return loadNative(machine, path, undefined, options);
    }
    case 'tensorflow': {
      const folder = await findEngine(machine.cache, choice.recipe.name);
      if (folder === undefined)
        throw new FailureError(
          failure('engine', 'TensorFlow is not installed, or not completely', {
            where: machine.cache,
            remedy: install(choice.recipe),
          }),
        );
      await refuseOthers(folder.manifest.files.map(({ path }) => join(folder.path, path)));
      return loadMarked(folder, () => loadNative(machine, folder.binding, folder.path, options));
    }
  }
};

let loaded: Engine | undefined;
let loading: Promise<Engine> | undefined;

const once = async (load: () => Promise<Engine>): Promise<Engine> => {
  loading ??= load().catch((error: unknown) => {
    loading = undefined;
    throw error;
  });
  loaded = await loading;
  return loaded;
};

/**
 * Loads the engine and makes it tfjs's backend; the first call decides, a later one returns the same engine.
 *
 * @throws FailureError when it is not installed or does not load
 */
export const loadEngine = (options: LoadOptions = {}): Promise<Engine> =>
  once(async () => {
    const machine = thisMachine();
    return loadChoice(machine, await choose(machine), options);
  });

/**
 * `loadEngine`, which first installs what is missing; on a platform that TensorFlow has no wheel for it loads the best
 * engine there is, with a warning.
 */
export const prepareEngine = (options: LoadOptions & Omit<InstallOptions, 'machine' | 'recipe'> = {}): Task<Engine> =>
  attempt('engine', () =>
    once(async () => {
      const machine = thisMachine();
      const chosen = await choose(machine);
      const cuda = options.cuda ?? (chosen.use === 'tensorflow' && chosen.recipe.variant === 'cuda');
      if (chosen.use === 'tensorflow') await orThrow(installEngine({ ...options, cuda, machine }));
      return loadChoice(machine, options.cuda ? await choose(machine) : chosen, options);
    }),
  );

/**
 * The loaded engine.
 *
 * @throws Error when none is loaded
 */
export const engine = (): Engine => {
  if (loaded === undefined) throw new Error('the engine is not loaded: await loadEngine() first');
  return loaded;
};
