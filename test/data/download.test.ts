import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type DownloadOptions, download } from '../../src/data/download.js';
import { failureOf, temporaryFolder } from './helpers.js';

const root = temporaryFolder();
let made = 0;
const freshPath = () => join(root, `folder${made++}`, 'set.tar.gz');

const content = Buffer.from(Uint8Array.from({ length: 200_000 }, (_, i) => (i * 7) & 255));
const sha256 = createHash('sha256').update(content).digest('hex');

const open: (() => void)[] = [];
afterEach(() => {
  for (const close of open.splice(0)) close();
});
const serve = (answer: RequestListener): Promise<string> =>
  new Promise((resolve) => {
    const server = createServer(answer).listen(0, '127.0.0.1', () =>
      resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}/set.tar.gz`),
    );
    open.push(() => {
      server.closeAllConnections();
      server.close();
    });
  });

/** A server that knows ranges, and notes what it was asked for. */
const ranged = async (asked: (string | undefined)[] = []): Promise<string> =>
  serve(({ headers: { range } }, response) => {
    asked.push(range);
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
    if (from >= content.length) return void response.writeHead(416).end();
    response.writeHead(range === undefined ? 200 : 206, { 'content-length': content.length - from });
    response.end(content.subarray(from));
  });
const whole: RequestListener = (_, response) => {
  response.writeHead(200, { 'content-length': content.length }).end(content);
};

const get = (url: string, path: string, more: Partial<DownloadOptions> = {}) =>
  download({ url, path, sha256, size: content.length, remedy: 'Bring it yourself.', ...more });

describe('a download', () => {
  it('is there whole, with progress on the way, and is not made twice', async () => {
    const path = freshPath();
    const progress: (readonly [number, number])[] = [];
    const url = await serve(whole);
    expect(await get(url, path, { onProgress: (done, total) => progress.push([done, total]) })).toBe(true);
    expect(readFileSync(path).equals(content)).toBe(true);
    expect(progress.at(-1)).toEqual([content.length, content.length]);
    expect(existsSync(`${path}.part`)).toBe(false);
    expect(await get('http://127.0.0.1:1/nobody', path)).toBe(false);
  });

  it('that broke goes on where it stopped', async () => {
    const path = freshPath();
    const breaking = await serve((_, response) => {
      response.writeHead(200, { 'content-length': content.length });
      response.write(content.subarray(0, 50_000), () => setTimeout(() => response.destroy(), 50));
    });
    expect(await failureOf(() => get(breaking, path))).toMatchObject({
      kind: 'data',
      remedy: 'Run again: what was downloaded is kept.',
    });
    expect(existsSync(path)).toBe(false);
    expect(readFileSync(`${path}.part`).length).toBe(50_000);
    const asked: (string | undefined)[] = [];
    await get(await ranged(asked), path);
    expect(asked).toEqual(['bytes=50000-']);
    expect(readFileSync(path).equals(content)).toBe(true);
  });

  it('begins anew where the server knows no ranges, and ends where nothing is left', async () => {
    const path = freshPath();
    await get(await ranged(), path);
    for (const [left, url] of [
      [content.subarray(0, 9), await serve(whole)],
      [content, await ranged()],
    ] as const) {
      const other = freshPath();
      await failureOf(() => get('http://127.0.0.1:1/', other));
      writeFileSync(`${other}.part`, left);
      await get(url, other);
      expect(readFileSync(other).equals(content)).toBe(true);
    }
  });

  it('of something else is refused and deleted', async () => {
    const path = freshPath();
    const failure = await failureOf(async () =>
      get(await serve((_, response) => void response.end('a login page')), path),
    );
    expect(failure.what).toMatch(/^the file that came has the SHA-256 [0-9a-f]{64}, and not .*; it was deleted$/);
    expect([existsSync(path), existsSync(`${path}.part`)]).toEqual([false, false]);
  });

  it('that is larger than the file is stopped, whether the server says so or not', async () => {
    const larger = Buffer.concat([content, Buffer.from('x')]);
    const said = await serve((_, response) => {
      response.writeHead(200, { 'content-length': 10 ** 12 });
      response.write('x');
    });
    const unsaid = await serve((_, response) => {
      response.writeHead(200);
      response.write(larger);
      response.write('x', () => setTimeout(() => response.destroy(), 2000));
    });
    for (const url of [said, unsaid]) {
      const path = freshPath();
      expect(await failureOf(() => get(url, path))).toMatchObject({
        what: 'the server sends more than the 200,000 bytes that this file has; nothing of it was kept',
        where: url,
      });
      expect([existsSync(path), existsSync(`${path}.part`)]).toEqual([false, false]);
    }
    // A part that is longer than the file is a part of something else.
    const path = freshPath();
    await failureOf(() => get('http://127.0.0.1:1/', path));
    writeFileSync(`${path}.part`, larger);
    await get(await ranged(), path);
    expect(readFileSync(path).equals(content)).toBe(true);
  });

  it('of what was put there by hand checks that, and lets it be', async () => {
    const path = freshPath();
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    expect(await get('http://127.0.0.1:1/nobody', path)).toBe(false);
    writeFileSync(path, 'another file');
    const failure = await failureOf(() => get('http://127.0.0.1:1/nobody', path));
    expect(failure).toMatchObject({ kind: 'data', where: path });
    expect(failure.what).toMatch(/^the file that is there already has the SHA-256 [0-9a-f]{64}, and not /);
    expect(readFileSync(path, 'utf8')).toBe('another file');
  });

  it('without a network, or a file, says what to do instead', async () => {
    expect(await failureOf(() => get('http://127.0.0.1:1/set', freshPath()))).toMatchObject({
      kind: 'data',
      what: expect.stringContaining('the server cannot be reached'),
      where: 'http://127.0.0.1:1/set',
      remedy: 'Bring it yourself.',
    });
    const gone = await serve((_, response) => void response.writeHead(404).end());
    expect((await failureOf(() => get(gone, freshPath()))).what).toBe('the server answers 404 Not Found');
  });

  it('that another one is at is waited for, and it is said for whom', async () => {
    const path = freshPath();
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.lock`, 'no lock of ours');
    const url = await serve(whole);
    const said: string[] = [];
    const say = (line: string): void => {
      said.push(line);
      rmSync(`${path}.lock`);
    };
    expect(await get(url, path, { say })).toBe(true);
    expect(said).toEqual([
      expect.stringMatching(
        /^It is being downloaded\. Waiting for a lock file that cannot be read, .*set\.tar\.gz\.lock,/,
      ),
    ]);
  });

  it('made by two at once is made once', async () => {
    const path = freshPath();
    const asked: (string | undefined)[] = [];
    const url = await ranged(asked);
    expect((await Promise.all([get(url, path), get(url, path)])).sort()).toEqual([false, true]);
    expect(asked.length).toBe(1);
  });
});
