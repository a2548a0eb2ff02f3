import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { loadEngine } from '../../src/engine/engine.js';

const moduleOf = (path: string): string => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href);

/** Runs a module that has loaded the engine, in a process of its own. */
const loaded = async (body: string, options: readonly string[] = []): Promise<string> => {
  const script = `
    import { execFileSync } from 'node:child_process';
    import { readFileSync } from 'node:fs';
    const { loadEngine } = await import(${moduleOf('engine/engine.js')});
    await loadEngine();
    const blocked = (of) => BigInt('0x' + /SigBlk:\\s*(\\w+)/.exec(readFileSync('/proc/' + of + '/status', 'utf8'))[1]);
    ${body}`;
  const args = [...options, '--import', 'tsx', '--input-type=module', '--eval', script];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return stdout.trim();
};

const { own } = await loadEngine();

// oneDNN uses the stack pointer for other things: a signal on that thread then writes over what is in memory there.
describe.skipIf(own === undefined || process.platform !== 'linux')('signals to a process that computes', () => {
  it('do not interrupt the thread that calls operations, and reach their handlers', async () => {
    const said = await loaded(`
      const names = { SIGHUP: 1n, SIGINT: 2n, SIGTERM: 15n, SIGCHLD: 17n, SIGWINCH: 28n };
      const free = Object.entries(names).filter(([, number]) => ((blocked('self') >> (number - 1n)) & 1n) === 0n);
      const own = { SIGSEGV: 11n, SIGABRT: 6n, SIGPROF: 27n };
      const kept = Object.entries(own).filter(([, number]) => ((blocked('self') >> (number - 1n)) & 1n) === 1n);
      const alive = setInterval(() => undefined, 1000);
      const came = await Promise.all(['SIGINT', 'SIGTERM', 'SIGWINCH'].map((name) => {
        const arrives = new Promise((resolve) => process.once(name, resolve));
        process.kill(process.pid, name);
        return arrives;
      }));
      clearInterval(alive);
      console.log(JSON.stringify({ free, kept, came }));`);
    expect(JSON.parse(said)).toEqual({ free: [], kept: [], came: ['SIGINT', 'SIGTERM', 'SIGWINCH'] });
  });

  it('end it where nothing handles them', async () => {
    const ended = loaded(`process.kill(process.pid, 'SIGTERM'); setInterval(() => undefined, 1000);`);
    await expect(ended).rejects.toMatchObject({ signal: 'SIGTERM' });
  });

  it('are open to processes that it starts', async () => {
    const status = await loaded(
      `console.log(execFileSync('grep', ['SigBlk', '/proc/self/status'], { encoding: 'utf8' }));`,
    );
    expect(status).toMatch(/^SigBlk:\s*0+$/);
  });

  it('may be those of Node’s profiler', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'undistill-profile-'));
    const said = await loaded(
      `
      const tf = await import('@tensorflow/tfjs');
      const images = tf.randomNormal([64, 2048]);
      const filter = tf.randomNormal([2048, 128]);
      for (let i = 0; i < 50; i++) tf.tidy(() => tf.matMul(tf.matMul(images, filter), filter, false, true).dataSync());
      console.log('done');`,
      ['--cpu-prof', `--cpu-prof-dir=${folder}`],
    );
    expect(said).toBe('done');
    expect((await readdir(folder)).length).toBeGreaterThan(0);
    await rm(folder, { recursive: true });
  });
});
