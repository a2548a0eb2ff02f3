import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Project, project } from './project.js';

let at: Project;
const server = createServer((_, response) => {
  response.writeHead(200, { 'content-length': 200_000 }).end('x'.repeat(200_000));
});
let url = '';
beforeAll(async () => {
  at = project();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
afterAll(() => {
  server.close();
  at.remove();
});

describe('undistill data get', () => {
  const get = (...args: string[]) => {
    const data = { XDG_DATA_HOME: join(at.folder, 'data') };
    return at.undistill(['data', 'get', ...args], { env: data });
  };

  it('tells of its progress, and refuses a file with another checksum', async () => {
    const { code, err } = await get('cifar100', '--from', url);
    expect(code).toBe(1);
    expect(err).toContain('downloading cifar-100-binary.tar.gz');
    expect(err).toContain('200 kB of 200 kB');
    expect(err).toMatch(/the file that came has the SHA-256 [0-9a-f]{64}, and not 58a81ae192c23a4b/);
  });

  it('takes no more than the file is known to have', async () => {
    const endless = createServer((_, response) => {
      response.writeHead(200, { 'content-length': 10 ** 12 });
      const more = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(2 ** 20)));
      };
      response.on('drain', more);
      more();
    });
    await new Promise<void>((resolve) => endless.listen(0, '127.0.0.1', resolve));
    const address = `http://127.0.0.1:${(endless.address() as AddressInfo).port}/`;
    const { code, err } = await get('svhn', '--from', address).finally(() => endless.close());
    expect(code).toBe(1);
    expect(err).toContain('the server sends more than the 182,040,794 bytes that this file has');
  });

  it('says where there is no network what to do instead', async () => {
    const { code, err } = await get('tiny-imagenet', '--from', 'http://127.0.0.1:1/');
    expect(code).toBe(1);
    expect(err).toMatch(/the server cannot be reached/);
    expect(err).toContain('Download it yourself from https://cs231n.stanford.edu/tiny-imagenet-200.zip');
    expect(err).toContain('--data PATH');
    expect(err).not.toMatch(/\n\s+at /);
  });

  it('is told which sets there are, and list tells of it', async () => {
    const { code, err } = await get('imagenet');
    expect(code).toBe(2);
    expect(err).toMatch(/cifar10, cifar100, svhn, tiny-imagenet/);
    const { out } = await at.undistill(['list', 'data']);
    for (const said of ['tinyImageNet(', 'cifar100(', 'parquet(', 'undistill data get tiny-imagenet']) {
      expect(out).toContain(said);
    }
  });
});
