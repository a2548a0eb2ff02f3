import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, test, vi } from 'vitest';
import { checksFromProbe, diagnose } from '../../src/engine/doctor.js';
import { type Engine, engine, loadEngine } from '../../src/engine/engine.js';
import { selfTest } from '../../src/engine/self-test.js';

const engineModule = JSON.stringify(pathToFileURL(resolve('src/engine/engine.ts')).href);

/** Loads the engine in a process of its own: what the library reads of the environment it reads once a process. */
const loadedWith = async (env: NodeJS.ProcessEnv): Promise<{ loaded: Engine; tasks: number; errors: string }> => {
  const source = `import { loadEngine } from ${engineModule};
    import { readdirSync } from 'node:fs';
    const loaded = await loadEngine();
    const tasks = process.platform === 'linux' ? readdirSync('/proc/self/task').length : 0;
    console.log(JSON.stringify({ loaded, tasks }));`;
  const args = ['--import', 'tsx', '--input-type=module', '-e', source];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { env: { ...process.env, ...env } });
  return { ...(JSON.parse(stdout) as { loaded: Engine; tasks: number }), errors: stderr };
};

describe('the engine', () => {
  test('is loaded once, becomes the backend, and computes rightly', async () => {
    const first = await loadEngine();
    expect(await loadEngine({ threads: 63 })).toBe(first);
    expect(engine()).toBe(first);
    expect(tf.getBackend()).toBe(first.native ? 'tensorflow' : 'cpu');
    const before = tf.memory().numTensors;
    const test = selfTest(first.native);
    expect(test.wrong).toBeUndefined();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('tells TensorFlow its number of threads, and keeps its greetings to itself', async () => {
    if (!(await loadEngine()).native) return;
    const one = await loadedWith({ TF_NUM_INTRAOP_THREADS: '1', TF_NUM_INTEROP_THREADS: '' });
    const six = await loadedWith({ TF_NUM_INTRAOP_THREADS: '6', TF_NUM_INTEROP_THREADS: '' });
    expect([one.loaded.threads, six.loaded.threads]).toEqual([1, 6]);
    if (process.platform === 'linux') expect(six.tasks).toBeGreaterThan(one.tasks);
    if (process.env.UNDISTILL_BINDING === undefined) expect(one.errors).toBe('');
  });

  test('may be the pure-JavaScript one, which says how slow it is', async () => {
    const { loaded, errors } = await loadedWith({ UNDISTILL_ENGINE: 'tfjs-cpu' });
    expect(loaded).toMatchObject({ class: 'tfjs-cpu', native: false });
    expect(errors).toMatch(/WARNING.*times slower/);
  });
});

describe('the doctor', () => {
  test('finds an installed engine well', async () => {
    vi.stubEnv('UNDISTILL_CORES', '3');
    const checks = await diagnose();
    vi.unstubAllEnvs();
    const names = checks.map(({ name }) => name);
    for (const name of [
      'node',
      'platform',
      'python',
      'compiler',
      'cache',
      'cores',
      'vectors',
      'memory',
      'engine',
      'loads',
      'self-test',
    ])
      expect(names).toContain(name);
    for (const name of ['node', 'engine', 'loads', 'self-test'])
      expect(checks.find((check) => check.name === name)).toMatchObject({ ok: true });
    expect(checks.find(({ name }) => name === 'cores')?.detail).toMatch(/^3 × /);
  });

  test('survives an engine that crashes, and says what it died of', () => {
    const ran = { code: null, signal: 'SIGILL' as const, out: '', err: '', missing: false };
    const [check] = checksFromProbe(ran);
    expect(check).toMatchObject({ name: 'loads', ok: false });
    expect(check?.detail).toMatch(/AVX/);
    expect(check?.remedy).toBeTruthy();
  });

  test('does not trust a machine that computes wrongly', () => {
    const engine = { class: 'tensorflow-cpu', version: '1', threads: 1, gpus: [], native: true };
    const out = JSON.stringify({ engine, test: { right: false, wrong: 'a product is 5', matmul: 1, convolution: 1 } });
    const checks = checksFromProbe({ code: 0, signal: null, out: `${out}\n`, err: '', missing: false });
    expect(checks.at(-1)).toMatchObject({ name: 'self-test', ok: false });
  });
});
