import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { kd } from '../../src/attacks/kd.js';
import { readSources } from '../../src/experiment/identity.js';
import { namesOf, ownModule, presentCode, readCode, readReleases, releasedAs } from '../../src/experiment/numbers.js';

const folder = mkdtempSync(join(tmpdir(), 'undistill-numbers-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return pathToFileURL(path).href;
};

describe("this package's code", () => {
  const before = { 'attacks/kd': { code: 'old', numbers: 'first' }, 'attacks/dafl': { code: 'dafl', numbers: 'dafl' } };
  const now = { 'attacks/kd': 'new', 'attacks/dafl': 'dafl', 'attacks/cmi': 'cmi' };

  test('is known by the numbers that it gives, where a release says so, and else by itself', () => {
    expect(namesOf({ ...now, 'attacks/kd': 'old' }, before)).toEqual({ ...now, 'attacks/kd': 'first' });
    expect(namesOf(now, before)).toEqual(now);
  });

  test('keeps its numbers over a release that says that they are the same, and has new ones over another', () => {
    const unchanged = { 'attacks/dafl': before['attacks/dafl'], 'attacks/cmi': { code: 'cmi', numbers: 'cmi' } };
    expect(releasedAs(now, before, true)).toEqual({ 'attacks/kd': { code: 'new', numbers: 'first' }, ...unchanged });
    expect(releasedAs(now, before, false)).toEqual({ 'attacks/kd': { code: 'new', numbers: 'new' }, ...unchanged });
    expect(namesOf(now, releasedAs(now, before, true))).toEqual({ ...now, 'attacks/kd': 'first' });
  });

  test('has a name for every module that stages are known by, the same wherever the package lies', async () => {
    const { source = '' } = kd();
    expect(ownModule(source)).toBe('attacks/kd');
    expect(ownModule(source.replace('/src/', '/dist/').replace('.ts', '.js'))).toBe('attacks/kd');
    expect(ownModule(write('kd.ts', ''))).toBeUndefined();
    const code = await presentCode();
    expect(Object.keys(code)).toEqual(expect.arrayContaining(['attacks/kd', 'run/measure', 'public/train', 'index']));
    expect((await readCode([source])).get(source)?.hash).toBe(namesOf(code, readReleases())['attacks/kd']);
  });
});

describe("a user's module", () => {
  test('is known by its text, and by the numbers of what it imports of this package', async () => {
    const alone = write('alone.ts', 'export const twice = (x: number) => 2 * x;\n');
    const calling = write(
      'calling.ts',
      "import { distillationKl } from 'undistill/train';\nexport const loss = distillationKl;\n",
    );
    const [texts, code] = [await readSources([alone, calling]), await readCode([alone, calling])];
    expect(code.get(alone)).toEqual({ hash: texts.get(alone)?.hash, files: texts.get(alone)?.files });
    expect(texts.get(calling)?.imports).toEqual(['undistill/train']);
    expect(code.get(calling)?.files).toEqual({
      ...texts.get(calling)?.files,
      undistill: expect.stringMatching(/^[0-9a-f]{16}$/),
    });
    expect(code.get(calling)?.hash).not.toBe(texts.get(calling)?.hash);
  });

  test('that imports types alone depends on none of it', async () => {
    const typed = write(
      'typed.ts',
      "import type { Defense } from 'undistill/plugin';\nexport const none: Defense[] = [];\n",
    );
    expect((await readSources([typed])).get(typed)?.imports).toEqual([]);
  });
});
