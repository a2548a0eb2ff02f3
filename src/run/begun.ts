import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { readPlain } from '../core/files.js';
import { decodeSafetensors } from '../core/safetensors.js';
import { checkpointName } from './context.js';
import { fitOf } from './stage-files.js';
import { begunFolder, journalName } from './store.js';

/** A checkpoint with the step that it was taken at; undefined where that cannot be read. */
const stepOf = async (path: string): Promise<number | undefined> => {
  const read = decodeSafetensors(await readPlain(path));
  return E.isLeft(read) ? undefined : JSON.parse(read.right.metadata.meta ?? '{}').step;
};

/** Logs, and how long it took, are written whatever comes of it: where there is no checkpoint, their steps are lost. */
const isMade = (name: string): boolean => fitOf(name) === undefined && name !== journalName && name !== 'elapsed.json';

/**
 * What there is of a stage in the making: its files, and of checkpoints the step. Where the text is the same as before,
 * nothing was added. Empty where it was not begun, or is finished.
 */
export const madeSoFar = async (store: string, id: string): Promise<string> => {
  const folder = begunFolder(store, id);
  const names = (await readdir(folder, { recursive: true }).catch(() => [])).filter(isMade).sort();
  const made = await Promise.all(
    names.map(async (name) =>
      name.endsWith(checkpointName) ? `${name} ${await stepOf(join(folder, name)).catch(() => undefined)}` : name,
    ),
  );
  return made.join('\n');
};
