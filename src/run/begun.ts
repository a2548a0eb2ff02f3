import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { readPlain } from '../core/files.js';
import { decodeSafetensors } from '../core/safetensors.js';
import { checkpointName, loopStateName } from './context.js';
import { fitOf } from './stage-files.js';
import { begunFolder, journalName } from './store.js';

/** The step at which a fit's checkpoint was taken, or a loop's iterations so far; undefined where that cannot be read. */
const stepsOf = async (path: string): Promise<unknown> => {
  const read = decodeSafetensors(await readPlain(path));
  if (E.isLeft(read)) return undefined;
  const { iterations, meta = '{}' } = read.right.metadata;
  return iterations ?? JSON.parse(meta).step;
};

/** Logs, and how long it took, are written whatever comes of it: where there is no checkpoint, their steps are lost. */
const isMade = (name: string): boolean => fitOf(name) === undefined && name !== journalName && name !== 'elapsed.json';

/**
 * What there is of a stage in the making: its files, and how far its fits and loops are. Where the text is the same as before,
 * nothing was added. Empty where it was not begun, or is finished.
 */
export const madeSoFar = async (store: string, id: string): Promise<string> => {
  const folder = begunFolder(store, id);
  const names = (await readdir(folder, { recursive: true }).catch(() => [])).filter(isMade).sort();
  const made = await Promise.all(
    names.map(async (name) =>
      [checkpointName, loopStateName].includes(basename(name))
        ? `${name} ${await stepsOf(join(folder, name)).catch(() => undefined)}`
        : name,
    ),
  );
  return made.join('\n');
};
