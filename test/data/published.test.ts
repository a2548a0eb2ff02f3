import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { dataFolder } from '../../src/core/cache-folder.js';
import { cifar100 } from '../../src/data/cifar-binary.js';
import { downloaded, published, publishedPath } from '../../src/data/published.js';
import { tinyImageNet } from '../../src/data/tiny-imagenet.js';
import { fail, temporaryFolder, writeFiles } from './helpers.js';

describe('published data sets', () => {
  it('are read from where they were downloaded to, when no path is given', async () => {
    const home = temporaryFolder();
    vi.stubEnv('XDG_DATA_HOME', home);
    expect(downloaded('cifar100')).toBeUndefined();
    expect((await fail(cifar100().load({ cache: false }))).remedy).toContain('`undistill data get cifar100`');
    expect((await fail(tinyImageNet().load({ cache: false }))).remedy).toContain('`undistill data get tiny-imagenet`');
    await writeFiles(home, { 'undistill/cifar-100-binary.tar.gz': 'no archive' });
    expect(downloaded('cifar100')).toBe(publishedPath('cifar100'));
    expect((await fail(cifar100().load({ cache: false }))).where).toBe(publishedPath('cifar100'));
  });

  it('are pinned', () => {
    for (const [name, { name: own, md5, url, file }] of Object.entries(published)) {
      expect(own).toBe(name);
      expect(md5).toMatch(/^[0-9a-f]{32}$/);
      expect(url.endsWith(`/${file}`)).toBe(true);
    }
  });

  it('lie in the folder for data of each system', () => {
    expect(dataFolder({ XDG_DATA_HOME: '/x' }, 'win32', '/home/a')).toBe('/x/undistill');
    expect(dataFolder({ XDG_DATA_HOME: '' }, 'linux', '/home/a')).toBe('/home/a/.local/share/undistill');
    expect(dataFolder({}, 'darwin', '/u')).toBe('/u/Library/Application Support/undistill');
    expect(dataFolder({ LOCALAPPDATA: '/l' }, 'win32', '/u')).toBe(join('/l', 'undistill', 'Data'));
  });
});
