import { describe, expect, it } from 'vitest';
import { decodeAll, type Tried } from '../../src/data/decoding-threads.js';
import type { FileContent } from '../../src/data/source.js';
import { pngOf } from './helpers.js';

async function* files(count: number): AsyncGenerator<FileContent, void, void> {
  for (let i = 0; i < count; i++) {
    const bytes = i === 300 ? Buffer.from('GIF89a') : pngOf(4, 4, [i & 255, i >> 8, 7]);
    yield { path: `${i}.png`, bytes };
  }
}

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

  it('ends its threads when nobody wants more', async () => {
    for await (const lot of decodeAll(files(700), 700, undefined, 2)) {
      expect(lot.length).toBe(256);
      break;
    }
  });
});
