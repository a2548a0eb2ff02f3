import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { decodeSafetensors } from '../core/safetensors.js';
import { checkpointName } from './context.js';
import { begunFolder } from './store.js';

/** A checkpoint with the step that it was taken at; undefined where that cannot be read. */
const stepOf = async (path: string): Promise<number | undefined> => {
  const read = decodeSafetensors(await readFile(path));
  return E.isLeft(read) ? undefined : JSON.parse(read.right.metadata.meta ?? '{}').step;
};

/**
 * What there is of a stage in the making: its files, and of checkpoints the step. Where the text is the same as before,
 * nothing was added. Empty where it was not begun, or is finished.
 */
export const madeSoFar = async (store: string, id: string): Promise<string> => {
  const folder = begunFolder(store, id);
  const names = (await readdir(folder, { recursive: true }).catch(() => [])).sort();
  const made = await Promise.all(
    names.map(async (name) =>
      name.endsWith(checkpointName) ? `${name} ${await stepOf(join(folder, name)).catch(() => undefined)}` : name,
    ),
  );
  // How long it took is written at each end, whatever came of it.
  return made.filter((name) => name !== 'elapsed.json').join('\n');
};
