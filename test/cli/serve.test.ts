import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { type IncomingHttpHeaders, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isOurs, serve } from '../../src/cli/serve.js';
import type { FailureError } from '../../src/core/errors.js';
import { pictureToPng } from '../../src/report/pictures.js';
import { example } from '../report/matrix.js';
import { project } from './project.js';

const png = pictureToPng({ width: 2, height: 2, pixels: new Uint8Array(12) });

let root: string;
let run: string;
let server: Server;

const matrixOf = (experiment: string): string => JSON.stringify({ ...example, experiment });

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'undistill-serve-'));
  run = join(root, 'runs', 'example');
  await mkdir(join(run, 'images', 'none', 'a b'), { recursive: true });
  await mkdir(join(root, 'runs', '.store'));
  await writeFile(join(run, 'matrix.json'), matrixOf('example'));
  await writeFile(join(run, 'matrix.csv'), 'a,b\r\n');
  await writeFile(join(run, 'notes.txt'), 'mine');
  await writeFile(join(run, 'images', 'none', 'a b', 'grid.png'), png);
  await writeFile(join(root, 'secret.png'), 'secret');
  await writeFile(join(root, 'matrix.csv'), 'secret');
  await symlink(join(root, 'secret.png'), join(run, 'images', 'link.png'));
  await symlink(root, join(run, 'images', 'out'));
  server = await serve(run, { port: 0, host: '127.0.0.1' });
});
afterAll(async () => {
  server.close();
  server.closeAllConnections();
  await rm(root, { recursive: true });
});

interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Asks for a path as it is written: nothing is made tidy on the way. */
const ask = (path: string, { method = 'GET', host }: { method?: string; host?: string } = {}): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const { port } = server.address() as AddressInfo;
    const headers = host === undefined ? {} : { host };
    const asked = request({ host: '127.0.0.1', port, path, method, headers }, (response) => {
      let body = '';
      response.on('data', (data) => {
        body += data;
      });
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }));
    });
    asked.on('error', reject);
    asked.end();
  });

describe('undistill serve', () => {
  it('shows the page, its tables and its images', async () => {
    const page = await ask('/');
    expect(page.status).toBe(200);
    expect(page.body).toContain('<h1><bdi>example</bdi></h1>');
    expect(page.body).toContain('class="live"');
    expect(page.headers['content-security-policy']).toMatch(/^default-src 'none'.*frame-ancestors 'none'$/);
    expect(page.headers['x-content-type-options']).toBe('nosniff');
    expect(await ask('/matrix.csv')).toMatchObject({ status: 200, body: 'a,b\r\n' });
    const image = await ask('/images/none/a%20b/grid.png?1');
    expect([image.status, image.headers['content-type']]).toEqual([200, 'image/png']);
  });

  it('only shows', async () => {
    const before = await readdir(root, { recursive: true });
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      expect((await ask('/matrix.csv', { method })).status).toBe(405);
    }
    const head = await ask('/', { method: 'HEAD' });
    expect([head.status, head.body]).toEqual([200, '']);
    expect(Number(head.headers['content-length'])).toBeGreaterThan(1000);
    expect(await readdir(root, { recursive: true })).toEqual(before);
  });

  it.each([
    '/notes.txt',
    '/plan.json',
    '/images',
    '/images/',
    '/images/none',
    '/images/link.png',
    '/images/out/secret.png',
    '/../secret.png',
    '/../../matrix.csv',
    '/%2e%2e/%2e%2e/matrix.csv',
    '/images/../../../secret.png',
    '/images/%2e%2e/%2e%2e/%2e%2e/secret.png',
    '/images/..%2f..%2f..%2fsecret.png',
    '/images/%252e%252e/secret.png',
    '/images/..\\..\\..\\secret.png',
    '/images/..%5c..%5csecret.png',
    '/images//etc/passwd',
    '/images/none/a%20b/grid.png%00.png',
    '/.store/x.png',
    '//etc/passwd',
    '/etc/passwd',
    'http://127.0.0.1/../matrix.csv',
  ])('has nothing at %s', async (path) => {
    const { status, body } = await ask(path);
    expect(status).toBe(404);
    expect(body).not.toContain('secret');
  });

  it('refuses an address that is malformed', async () => {
    expect((await ask('/%zz')).status).toBe(400);
  });

  it('answers to its own names alone, so that no page elsewhere reads it under its name', async () => {
    expect((await ask('/', { host: 'evil.example' })).status).toBe(421);
    expect((await ask('/', { host: 'evil.example:4747' })).status).toBe(421);
    expect((await ask('/', { host: 'localhost:1' })).status).toBe(200);
    const asked = (host: string | undefined, own = '127.0.0.1') => isOurs(host, own);
    expect(['127.0.0.1', '127.0.0.1:80', '[::1]:80', '192.168.0.7', 'LOCALHOST'].every((each) => asked(each))).toBe(
      true,
    );
    expect(
      [undefined, '', 'localhost.evil.example', '127.0.0.1.evil.example', 'a:b:c'].some((each) => asked(each)),
    ).toBe(false);
    expect(asked('box.lan:80', 'box.lan')).toBe(true);
  });

  it('says so when something is new, and shows it', async () => {
    const { port } = server.address() as AddressInfo;
    const changes: string[] = [];
    const seen = await new Promise<string>((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port, path: '/events' }, (response) => {
        expect(response.headers['content-type']).toBe('text/event-stream');
        response.on('data', async (data) => {
          changes.push(String(data));
          // The first is for what may have changed since the page was made.
          if (changes.length > 1) {
            asked.destroy();
            resolve((await ask('/')).body);
            return;
          }
          // As a run writes it; after the server has looked once.
          await new Promise((wait) => setTimeout(wait, 2500));
          await writeFile(join(run, 'aside'), matrixOf('renamed'));
          await rename(join(run, 'aside'), join(run, 'matrix.json'));
        });
        response.on('error', () => undefined);
      });
      asked.on('error', (error) => (changes.length > 1 ? undefined : reject(error)));
      asked.end();
    });
    expect(changes.at(-1)).toContain('event: changed');
    expect(seen).toContain('<h1><bdi>renamed</bdi></h1>');
  });

  it('shows what there is of a run without a matrix', async () => {
    const half = join(root, 'runs', 'half');
    await mkdir(half);
    const plan = {
      version: 1,
      experiment: 'half',
      stages: [{ id: 'a', label: 'seed-0/teacher', kind: 'teacher', inputs: {}, parts: {} }],
      code: {},
    };
    await writeFile(join(half, 'plan.json'), JSON.stringify({ ...plan, cells: [] }));
    const other = await serve(half, { port: 0, host: '127.0.0.1' });
    const answer = await fetch(`http://127.0.0.1:${(other.address() as AddressInfo).port}/`);
    const text = await answer.text();
    expect(text).toContain('<h1><bdi>half</bdi></h1>');
    expect(text).toContain('0 of 1 stage');
    other.close();
    other.closeAllConnections();
  });

  it('says so when its port is taken', async () => {
    const { port } = server.address() as AddressInfo;
    await expect(serve(run, { port, host: '127.0.0.1' })).rejects.toSatisfy(
      (error: FailureError) => error.failure.kind === 'usage' && error.failure.what === `port ${port} is taken`,
    );
  });

  it('is a command that says where, and ends with Ctrl-C', async () => {
    const at = project();
    let status: number | undefined;
    const ran = await at.undistill(['serve', run, '--port', '0'], {
      watch: (said, child) => {
        const url = /http:\S+/.exec(said)?.[0];
        if (url === undefined || status !== undefined) return;
        status = 0;
        void fetch(url).then((answer) => {
          status = answer.status;
          child.kill('SIGINT');
        });
      },
    });
    at.remove();
    expect(status).toBe(200);
    expect(ran.code).toBe(0);
    expect(ran.out).toBe(`${run}: ${/http:\S+/.exec(ran.out)?.[0]} (Ctrl-C ends it)\n`);
  });
});

describe.skipIf(process.platform === 'win32')('what is called a picture and is none', () => {
  it('is neither waited for nor shown', async () => {
    const odd = join(root, 'runs', 'odd');
    const cell = join(odd, 'images', 'none', 'kd', 'small', 'seed-0');
    await mkdir(join(cell, 'folder.png'), { recursive: true });
    execFileSync('mkfifo', [join(cell, 'pipe.png'), join(odd, 'matrix.csv'), join(cell, 'compare.png')]);
    await writeFile(join(odd, 'matrix.json'), matrixOf('odd'));
    const image = { label: 0, teacher: [1], verifier: [1] };
    const images = ['pipe.png', 'folder.png'].map((file) => ({ file, ...image }));
    const list = { version: 1, attack: 'kd', defense: 'none', student: 'small', seed: '0', classes: ['cat'] };
    const rest = { shape: { height: 2, width: 2, channels: 3 }, count: 2, images, diagnostics: [] };
    await writeFile(join(cell, 'images.json'), JSON.stringify({ ...list, ...rest }));
    const stage = join(odd, 'stages', 'seed-0', 'teacher');
    await mkdir(stage, { recursive: true });
    execFileSync('mkfifo', [join(stage, 'metrics.jsonl'), join(stage, 'record.json'), join(odd, 'plan.json')]);
    const other = await serve(odd, { port: 0, host: '127.0.0.1' });
    const at = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
    const asked = (path: string) => fetch(`${at}${path}`);
    try {
      for (const path of ['pipe.png', 'folder.png', 'compare.png'])
        expect((await asked(`/images/none/kd/small/seed-0/${path}`)).status).toBe(404);
      expect((await asked('/matrix.csv')).status).toBe(404);
      expect(await (await asked('/')).text()).toContain('<h1><bdi>odd</bdi></h1>');
    } finally {
      other.close();
      other.closeAllConnections();
    }
  });
});
