import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import { cacheFolder, findEngine } from './folder.js';
import { recipeFor } from './recipe.js';

/** What the numbers run on. */
export interface Engine {
  /** Part of every result's identity: equal seeds give equal bits only within one class (and version, and threads). */
  readonly class: 'tensorflow-cpu' | 'tensorflow-cuda' | 'tfjs-cpu';
  /** TensorFlow's version, or tfjs's for the pure-JavaScript engine. */
  readonly version: string;
  /** Threads that one operation may use. */
  readonly threads: number;
  /** Names of the graphics cards in use; empty on a CPU. */
  readonly gpus: readonly string[];
  /** Whether TensorFlow's native operations can be called. */
  readonly native: boolean;
  /** Where the engine is installed. */
  readonly folder?: string;
}

export interface LoadOptions {
  /** Threads of one operation; default: `TF_NUM_INTRAOP_THREADS`, else all cores. It holds for the whole process. */
  readonly threads?: number;
}

let loaded: Engine | undefined;
let loading: Promise<Engine> | undefined;

const setEnvironment = (threads: number): void => {
  process.env.TF_NUM_INTRAOP_THREADS = String(threads);
  process.env.TF_NUM_INTEROP_THREADS ??= String(threads);
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
};

const wantedThreads = (options: LoadOptions): number => {
  const named = Number(process.env.TF_NUM_INTRAOP_THREADS);
  return options.threads ?? (Number.isInteger(named) && named > 0 ? named : availableParallelism());
};

const load = async (options: LoadOptions): Promise<Engine> => {
  const threads = wantedThreads(options);
  setEnvironment(threads);
  const recipe = recipeFor(process.platform, process.arch);
  const folder = recipe && (await findEngine(cacheFolder(), recipe.name));
  if (folder === undefined)
    throw new FailureError(
      failure('engine', 'TensorFlow is not installed', { remedy: 'Run: npx undistill engine install' }),
    );
  const require = createRequire(folder.binding);
  const binding = require(folder.binding);
  await import('@tensorflow/tfjs-node-gpu/dist/register_all_kernels.js');
  const { NodeJSKernelBackend } = await import('@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js');
  tf.registerBackend('tensorflow', () => new NodeJSKernelBackend(binding, 'tensorflow'), 3);
  await tf.setBackend('tensorflow');
  await tf.ready();
  return { class: 'tensorflow-cpu', version: binding.TF_Version, threads, gpus: [], native: true, folder: folder.path };
};

/** Loads the engine and makes it tfjs's backend. The second call returns the first one's engine. */
export const loadEngine = async (options: LoadOptions = {}): Promise<Engine> => {
  loading ??= load(options).catch((error: unknown) => {
    loading = undefined;
    throw error;
  });
  loaded = await loading;
  return loaded;
};

/** The loaded engine. */
export const engine = (): Engine => {
  if (loaded === undefined) throw new Error('the engine is not loaded: await loadEngine() first');
  return loaded;
};
