import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { gitState } from '../../src/run/git.js';

const folder = mkdtempSync(join(tmpdir(), 'undistill-git-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const identity = ['-c', 'user.name=one', '-c', 'user.email=one@example.org', '-c', 'commit.gpgsign=false'];
const git = (...args: string[]): string =>
  execFileSync('git', [...identity, ...args], { cwd: folder, encoding: 'utf8', stdio: 'pipe' }).trim();
const write = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

test('the state of a project is its commit, and whether what matters differs from it', async () => {
  const file = write("it's an experiment.ts", 'one');
  expect(await gitState(file)).toBeUndefined();
  git('init', '--quiet');
  // There is no commit yet.
  expect(await gitState(file)).toBeUndefined();
  git('add', '.');
  git('commit', '--quiet', '--message', 'one');
  const commit = git('rev-parse', 'HEAD');
  expect(commit).toMatch(/^[0-9a-f]{40}$/);
  expect(await gitState(file)).toEqual({ commit, dirty: false });
  // A run's folder, say, is not of the project.
  const other = write('other.ts', 'two');
  expect(await gitState(file)).toEqual({ commit, dirty: false });
  expect(await gitState(other)).toEqual({ commit, dirty: true });
  write("it's an experiment.ts", 'two');
  expect(await gitState(file)).toEqual({ commit, dirty: true });
  expect(await gitState(join(folder, 'nowhere', 'file.ts'))).toBeUndefined();
});
