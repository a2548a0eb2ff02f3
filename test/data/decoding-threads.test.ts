import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, it, vi } from 'vitest';
import { decodeAll, type Tried } from '../../src/data/decoding-threads.js';
import type { FileContent } from '../../src/data/source.js';
import { pngOf } from './helpers.js';

async function* files(count: number): AsyncGenerator<FileContent, void, void> {
  for (let i = 0; i < count; i++) {
    const bytes = i === 300 ? Buffer.from('GIF89a') : pngOf(4, 4, [i & 255, i >> 8, 7]);
    yield { path: `${i}.png`, bytes };
  }
}

/** The threads of this process, as its diagnostic report counts them: among others those that load modules. */
const threads = (): number => (process.report.getReport() as unknown as { workers: unknown[] }).workers.length;

/** A process that breaks decoding off, again and again, while its threads are at work. */
const interrupted = (rounds: number): Promise<{ readonly ended: number | string | null; readonly said: string }> => {
  const module = JSON.stringify(pathToFileURL(resolve('src/data/decoding-threads.ts')).href);
  const source = `import { decodeAll } from ${module};
    const bytes = Buffer.from(${JSON.stringify(pngOf(16, 16, [1, 2, 3]).toString('base64'))}, 'base64');
    async function* failing() {
      for (let i = 0; i < 1500; i++) yield { path: i + '.png', bytes };
      throw new Error('gone');
    }
    const threads = () => process.report.getReport().workers.length;
    let broken = 0, before = 0;
    for (let round = 0; round < ${rounds}; round++) {
      try {
        for await (const _ of decodeAll(failing(), 10000, 32, 8));
      } catch (error) {
        if (error.message === 'gone') broken++;
      }
      // After the first, which also starts what bundles the threads' script.
      if (round === 0) before = threads();
    }
    console.log(broken, 'broken off,', threads() - before, 'threads left');`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source]);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += text));
  return new Promise((done) => child.on('close', (code, signal) => done({ ended: code ?? signal, said: said.trim() })));
};

const all = async (threads: number, size?: number, count = 700): Promise<Tried[]> => {
  const tried: Tried[] = [];
  for await (const lot of decodeAll(files(count), count, size, threads)) tried.push(...lot);
  return tried;
};

describe('decoding in threads', () => {
  it('gives what one thread gives, in the same order', async () => {
    const alone = await all(1);
    expect(await all(3)).toEqual(alone);
    expect(alone.length).toBe(700);
    expect(alone[600]).toMatchObject({ path: '600.png', found: { height: 4, width: 4, channels: 3 } });
    const { found } = alone[600] as Tried;
    expect('pixels' in found && [...found.pixels.slice(0, 3)]).toEqual([600 & 255, 2, 7]);
  });

  it('tells of a file that is no image, and goes on', async () => {
    const tried = await all(2, 2);
    expect(tried[300]).toEqual({ path: '300.png', found: { wrong: 'it is neither a JPEG nor a PNG' } });
    expect(tried[301]).toMatchObject({ found: { height: 2, width: 2 } });
  });

  it('passes on what reading them throws', async () => {
    async function* failing(): AsyncGenerator<FileContent, void, void> {
      yield* files(600);
      throw new Error('gone');
    }
    await expect(async () => {
      for await (const _ of decodeAll(failing(), 700, undefined, 2));
    }).rejects.toThrow('gone');
  });

  it('lets its threads end by themselves when nobody wants more', async () => {
    const terminate = vi.spyOn(Worker.prototype, 'terminate');
    const before = threads();
    let most = 0;
    for await (const lot of decodeAll(files(700), 700, undefined, 2)) {
      expect(lot.length).toBe(256);
      most = threads();
      break;
    }
    expect(most - before).toBe(2);
    expect(threads()).toBe(before);
    expect(terminate).not.toHaveBeenCalled();
  });

  it('has no more threads than its job has cores', async () => {
    const before = threads();
    for (const [cores, more] of [
      ['1', 0],
      ['3', 3],
    ] as const) {
      vi.stubEnv('UNDISTILL_CORES', cores);
      let most = 0;
      for await (const _ of decodeAll(files(2100), 2100, undefined)) most = Math.max(most, threads());
      vi.unstubAllEnvs();
      expect(most - before).toBe(more);
    }
  });

  it('outlives being broken off while its threads are at work, and leaves none of them', async () => {
    expect(await interrupted(6)).toEqual({ ended: 0, said: '6 broken off, 0 threads left' });
  });
});
