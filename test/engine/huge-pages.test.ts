import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { hugePages } from '../../src/engine/huge-pages.js';

it('says when the system gives pages of 2 MB, and nothing where that is not known', () => {
  const folder = mkdtempSync(join(tmpdir(), 'undistill-pages-'));
  const file = join(folder, 'enabled');
  const given = (text: string): string | undefined => {
    writeFileSync(file, text);
    return hugePages(file);
  };
  expect(given('always [madvise] never\n')).toBe('in pages of 2 MB on request');
  expect(given('[always] madvise never\n')).toBe('in pages of 2 MB always');
  expect(given('always madvise [never]\n')).toContain('in pages of 4 KB');
  expect(given('something else')).toBeUndefined();
  expect(hugePages(join(folder, 'none'))).toBeUndefined();
  rmSync(folder, { recursive: true });
});
