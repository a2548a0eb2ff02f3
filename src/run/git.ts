import { execFile } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';

/** The state of a project under git. */
export interface GitState {
  /** The commit that is checked out. */
  readonly commit: string;
  /** Whether a file that git follows, or the one asked about, differs from it. */
  readonly dirty: boolean;
}

/** Milliseconds after which git is done without. */
const patience = 10_000;

/**
 * The git state of the project in which a file lies; undefined without git, outside a repository and before a commit.
 */
export const gitState = async (file: string): Promise<GitState | undefined> => {
  const path = resolve(file);
  const git = async (...args: readonly string[]): Promise<string> => {
    // Without optional locks, so that looking changes nothing.
    const all = ['--no-optional-locks', '-C', dirname(path), ...args];
    return (await promisify(execFile)('git', all, { timeout: patience, maxBuffer: 2 ** 26 })).stdout.trim();
  };
  try {
    const commit = await git('rev-parse', '--verify', 'HEAD');
    const changes = [
      await git('status', '--porcelain', '--untracked-files=no'),
      await git('status', '--porcelain', '--', path),
    ];
    return { commit, dirty: changes.some((text) => text !== '') };
  } catch {
    return undefined;
  }
};
