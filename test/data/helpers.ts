import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { afterAll, vi } from 'vitest';
import { type Failure, FailureError, type Task } from '../../src/core/errors.js';
import type { DatasetPlugin } from '../../src/data/dataset.js';

export { failureOf } from '../failures.js';
export * from './files.js';

// What the developer has downloaded is not there.
vi.stubEnv('XDG_DATA_HOME', join(tmpdir(), 'undistill-no-data'));

/** A folder that lasts as long as the test file. */
export const temporaryFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'undistill-data-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
};

export const succeed = async <A>(task: Task<A>): Promise<A> => {
  const result = await task();
  if (E.isLeft(result)) throw new FailureError(result.left);
  return result.right;
};

export const fail = async (task: Task<unknown>): Promise<Failure> => {
  const result = await task();
  if (E.isRight(result)) throw new Error('it succeeded');
  return result.left;
};

/** The crop that a set in the cache has after its module's own was raised by one, and what it was before. */
export const afterEdit = async (plugin: DatasetPlugin, cache: string): Promise<readonly [number, number]> => {
  const { crop } = (await succeed(plugin.load({ cache }))).augmentation;
  // A set that was just decoded has the module's constants themselves.
  const constants = (await succeed(plugin.load({ cache: false }))).augmentation as { crop: number };
  constants.crop = crop + 1;
  try {
    return [crop, (await succeed(plugin.load({ cache }))).augmentation.crop];
  } finally {
    constants.crop = crop;
  }
};
