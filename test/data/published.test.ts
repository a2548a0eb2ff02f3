import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { dataFolder } from '../../src/core/cache-folder.js';
import { cifar100 } from '../../src/data/cifar-binary.js';
import { downloaded, published } from '../../src/data/published.js';
import { tinyImageNet } from '../../src/data/tiny-imagenet.js';
import { fail, temporaryFolder, writeFiles } from './helpers.js';

describe('published data sets', () => {
  it('are read from where they were downloaded to, when no path is given', async () => {
    const home = temporaryFolder();
    vi.stubEnv('XDG_DATA_HOME', home);
    expect(downloaded('cifar100')).toBeUndefined();
    expect((await fail(cifar100().load({ cache: false }))).remedy).toContain('`undistill data get cifar100`');
    expect((await fail(tinyImageNet().load({ cache: false }))).remedy).toContain('`undistill data get tiny-imagenet`');
    await writeFiles(home, { 'undistill/cifar100/cifar-100-binary.tar.gz': 'no archive' });
    const path = join(home, 'undistill', 'cifar100', 'cifar-100-binary.tar.gz');
    expect(downloaded('cifar100')).toBe(path);
    expect((await fail(cifar100().load({ cache: false }))).where).toBe(path);
    await writeFiles(home, { 'undistill/svhn/train_32x32.mat': 'x' });
    expect(downloaded('svhn')).toBeUndefined();
    await writeFiles(home, { 'undistill/svhn/test_32x32.mat': 'x' });
    expect(downloaded('svhn')).toBe(join(home, 'undistill', 'svhn'));
  });

  it('are pinned', () => {
    for (const { sha256, size, url } of Object.values(published).flatMap(({ files }) => files)) {
      expect(sha256).toMatch(/^[0-9a-f]{64}$/);
      expect(size).toBeGreaterThan(5000);
      expect(url).toMatch(/^https:\/\/.*\.(gz|zip|mat)$/);
    }
  });

  it('lie in the folder for data of each system', () => {
    expect(dataFolder({ XDG_DATA_HOME: '/x' }, 'win32', '/home/a')).toBe('/x/undistill');
    expect(dataFolder({ XDG_DATA_HOME: '' }, 'linux', '/home/a')).toBe('/home/a/.local/share/undistill');
    expect(dataFolder({}, 'darwin', '/u')).toBe('/u/Library/Application Support/undistill');
    expect(dataFolder({ LOCALAPPDATA: '/l' }, 'win32', '/u')).toBe(join('/l', 'undistill', 'Data'));
  });
});
