import * as E from 'fp-ts/lib/Either.js';
import { describe, expect, test } from 'vitest';
import { nativeEnvironment, TFJS_CPU_SLOWER, usedGpu, warningFor } from '../../../src/engine/engine.js';
import { type AtHand, type Choice, chooseEngine } from '../../../src/engine/setup/choice.js';
import { type Machine, unsupported } from '../../../src/engine/setup/machine.js';
import { compileArguments, pipArguments, recipeFor, wheelFor } from '../../../src/engine/setup/wheels.js';

const linux: Pick<Machine, 'platform' | 'arch' | 'glibc' | 'env'> = {
  platform: 'linux',
  arch: 'x64',
  glibc: '2.36',
  env: {},
};
const nothing: AtHand = { prebuilt: undefined, cuda: false };

type Given = { [Key in keyof Machine]?: Machine[Key] | undefined };
const choice = (given: Given, atHand = nothing) => chooseEngine({ ...linux, ...given } as typeof linux, atHand);
const chosen = (...given: Parameters<typeof choice>): Choice => {
  const result = choice(...given);
  if (E.isLeft(result)) throw new Error(result.left.what);
  return result.right;
};
const name = (one: Choice) => (one.use === 'tensorflow' ? one.recipe.name : one.use);

describe('the choice of an engine', () => {
  test('is TensorFlow where it has a wheel', () => {
    expect(name(chosen({}))).toMatch(/^tensorflow-2\.21\.0-cpu-linux-x64-tfjs-4\.22\.0/);
    expect(name(chosen({ arch: 'arm64' }))).toMatch(/cpu-linux-arm64/);
    expect(name(chosen({ platform: 'darwin', arch: 'arm64', glibc: undefined }))).toMatch(/cpu-darwin-arm64/);
  });

  test('is CUDA where that is installed, unless the CPU is asked for', () => {
    const atHand = { ...nothing, cuda: true };
    expect(name(chosen({}, atHand))).toMatch(/-cuda-/);
    expect(name(chosen({ env: { UNDISTILL_ENGINE: 'tensorflow-cpu' } }, atHand))).toMatch(/-cpu-/);
    expect(name(chosen({ env: { UNDISTILL_ENGINE: 'tensorflow-cuda' } }))).toMatch(/-cuda-/);
  });

  test.each<[Given]>([
    [{ platform: 'win32' }],
    [{ platform: 'darwin', arch: 'x64' }],
    [{ glibc: undefined }],
    [{ glibc: '2.26' }],
    [{ arch: 'riscv64' }],
  ])('falls back on %j: to the prebuilt, else to JavaScript, and says so loudly', (machine) => {
    const slow = chosen(machine);
    expect(slow.use).toBe('tfjs-cpu');
    expect(warningFor(slow)).toContain(`WARNING`);
    expect(warningFor(slow)).toContain(`about ${TFJS_CPU_SLOWER} times slower`);
    const prebuilt = chosen(machine, { ...nothing, prebuilt: '/x/tfjs_binding.node' });
    expect(prebuilt.use).toBe('prebuilt');
    expect(warningFor(prebuilt)).toContain('WARNING');
  });

  test('follows the environment', () => {
    expect(chosen({ env: { UNDISTILL_ENGINE: 'tfjs-cpu', UNDISTILL_BINDING: '/x' } })).toEqual({ use: 'tfjs-cpu' });
    expect(chosen({ platform: 'win32', env: { UNDISTILL_BINDING: '/x' } })).toEqual({ use: 'binding', path: '/x' });
    expect(warningFor(chosen({}))).toBeUndefined();
  });

  test('refuses an engine that does not exist, or cannot be had here', () => {
    const wrong = choice({ env: { UNDISTILL_ENGINE: 'tensorflow' } });
    expect(E.isLeft(wrong) && [wrong.left.kind, wrong.left.where]).toEqual(['usage', 'UNDISTILL_ENGINE']);
    const cuda = choice({ arch: 'arm64', env: { UNDISTILL_ENGINE: 'tensorflow-cuda' } });
    expect(E.isLeft(cuda) && cuda.left.what).toMatch(/no TensorFlow with CUDA for linux on arm64/);
  });
});

describe('the recipes', () => {
  test('name one wheel for each platform', () => {
    expect(wheelFor('linux', 'x64')?.package).toBe('tensorflow-cpu');
    expect(wheelFor('linux', 'arm64')?.platform).toBe('manylinux_2_27_aarch64');
    expect(wheelFor('darwin', 'arm64')?.platform).toBe('macosx_12_0_arm64');
    expect(wheelFor('linux', 'x64', true)?.package).toBe('tensorflow');
    for (const [platform, arch, cuda] of [
      ['darwin', 'x64', false],
      ['win32', 'x64', false],
      ['linux', 'arm64', true],
      ['darwin', 'arm64', true],
    ] as const)
      expect(wheelFor(platform, arch, cuda)).toBeUndefined();
  });

  test('pin every wheel by hash and size', () => {
    const all = [recipeFor('linux', 'x64'), recipeFor('linux', 'arm64'), recipeFor('darwin', 'arm64')];
    for (const recipe of [...all, recipeFor('linux', 'x64', true)])
      for (const wheel of recipe?.wheels ?? [undefined]) {
        expect(wheel?.sha256).toMatch(/^[0-9a-f]{64}$/);
        expect(wheel?.size).toBeGreaterThan(1e6);
      }
    expect(recipeFor('linux', 'x64', true)?.wheels).toHaveLength(13);
  });

  test('have libraries and a link path of the platform', () => {
    const mac = recipeFor('darwin', 'arm64');
    expect(mac?.libraries).toContain('tensorflow/libtensorflow_cc.2.dylib');
    const common = { includes: ['/i'], sources: ['/s.cc'], libraries: ['/l'], output: '/o' };
    expect(compileArguments({ platform: 'darwin', ...common })).toContain('-Wl,-rpath,@loader_path/tensorflow');
    expect(compileArguments({ platform: 'linux', ...common })).toContain('-Wl,-rpath,$ORIGIN/tensorflow');
  });

  test('ask pip for exactly that wheel, without its dependencies', () => {
    const wheel = wheelFor('linux', 'arm64');
    if (wheel === undefined) throw new Error('no wheel');
    const args = pipArguments(wheel, '/folder');
    expect(args).toContain('tensorflow==2.21.0');
    expect(args).toContain('--platform=manylinux_2_27_aarch64');
    expect(args).toContain('--no-deps');
  });

  test('know the oldest glibc', () => {
    expect(unsupported({ ...linux, glibc: '2.27' })).toBeUndefined();
    expect(unsupported({ ...linux, glibc: '3.0' })).toBeUndefined();
    expect(unsupported({ ...linux, glibc: '2.9' })).toMatch(/2\.27/);
  });
});

describe('what the native library reads', () => {
  const options = { threads: undefined, cores: 8, folder: undefined };
  test('is all cores by default, the environment if set, and the option before both', () => {
    expect(nativeEnvironment({}, options)).toMatchObject({ TF_NUM_INTRAOP_THREADS: '8', TF_NUM_INTEROP_THREADS: '1' });
    const env = { TF_NUM_INTRAOP_THREADS: '3', TF_CPP_MIN_LOG_LEVEL: '0' };
    expect(nativeEnvironment(env, options)).toMatchObject({ TF_NUM_INTRAOP_THREADS: '3', TF_CPP_MIN_LOG_LEVEL: '0' });
    expect(nativeEnvironment(env, { ...options, threads: 1 })).toMatchObject({ TF_NUM_INTRAOP_THREADS: '1' });
    expect(nativeEnvironment({ TF_NUM_INTRAOP_THREADS: 'x' }, options)).toMatchObject({ TF_NUM_INTRAOP_THREADS: '8' });
  });

  test('is no more threads than are taken, of one operation and of several, and none that is no number', () => {
    const read = (INTRAOP: string, INTEROP: string) => {
      const env = { TF_NUM_INTRAOP_THREADS: INTRAOP, TF_NUM_INTEROP_THREADS: INTEROP };
      const { TF_NUM_INTRAOP_THREADS, TF_NUM_INTEROP_THREADS } = nativeEnvironment(env, options);
      return [TF_NUM_INTRAOP_THREADS, TF_NUM_INTEROP_THREADS];
    };
    expect(read('100000', '100000')).toEqual(['512', '512']);
    expect(read('2', '3')).toEqual(['2', '3']);
    for (const none of ['', 'x', '0', '-1', '1.5']) expect(read(none, none)).toEqual(['8', '1']);
  });

  test('is the last visible card', () => {
    expect(usedGpu('A\nB\n', undefined)).toBe('B');
    expect(usedGpu('A\nB\n', '0')).toBe('A');
    expect(usedGpu('A\nB\n', '0,1')).toBe('B');
    expect(usedGpu('', undefined)).toBe('GPU');
  });
});
