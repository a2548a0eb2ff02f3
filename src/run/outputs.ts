import { join } from 'node:path';
import { inFile } from '../core/check.js';
import { FailureError, failure, refusal } from '../core/errors.js';
import type { Stage } from '../experiment/stage.js';
import { recordSchema, type StageRecord } from './record.js';
import type { StageOutput, Store } from './store.js';

/**
 * The files of a finished stage that others read; a model's weights are in PyTorch's names and layouts, by checkpoint.
 */
export const files = {
  record: 'record.json',
  result: 'result.json',
  logits: 'logits.safetensors',
  /** What was asked for the images of a pool, and what the victim's defences remember of it. */
  asked: 'asked.safetensors',
  /** What a defence prepared for its answers. */
  prepared: 'prepared.safetensors',
  last: 'last.safetensors',
  best: 'best.safetensors',
} as const;

/** What to do about a stage's file that is whole, and still not as a run leaves it: checksums do not say by whom it was left so. */
export const notOfARun = 'No run left it so: take another copy of the run, or make the stage anew with run --force.';

/**
 * A finished stage's record. Rejects with a failure of kind `usage` that names the file and the field where it is none.
 *
 * @param path the file's, as it is named then. Default: where it lies
 */
export const readRecord = async (
  output: StageOutput,
  path: string = join(output.folder, files.record),
): Promise<StageRecord> => {
  const value = await output.json<unknown>(files.record).catch((error) => {
    if (error instanceof SyntaxError) return refusal('usage')('the file is not JSON', path, notOfARun);
    throw error;
  });
  inFile(path, recordSchema, value, notOfARun);
  return value as StageRecord;
};

/** The checkpoint that counts: the best where it counts and exists, the last otherwise. */
export const checkpointOf = (
  { training }: { readonly training?: { readonly best?: unknown } },
  select: 'last' | 'best',
): 'last' | 'best' => (training?.best === undefined ? 'last' : select);

/** A finished measurement. Rejects with a failure of kind `store` where there is another file of its name. */
export const readResult = async <Value extends object>(output: StageOutput): Promise<Value> => {
  const value = await output.json<unknown>(files.result).catch((error) => {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  });
  return typeof value === 'object' && value !== null
    ? (value as Value)
    : refusal('store')('the file holds no result', join(output.folder, files.result), notOfARun);
};

/** The finished stage that another takes in a role; undefined where it takes none. */
export const optionalInput = async (store: Store, stage: Stage, role: string): Promise<StageOutput | undefined> => {
  const id = stage.inputs[role];
  if (id === undefined) return undefined;
  const found = await store.expect(id);
  if (found !== undefined) return found;
  throw new FailureError(
    failure('store', `the ${role} of ${stage.label} is missing, or was altered`, {
      where: store.root,
      remedy: 'Run again: it is made anew.',
    }),
  );
};

export const input = async (store: Store, stage: Stage, role: string): Promise<StageOutput> => {
  const found = await optionalInput(store, stage, role);
  if (found === undefined) throw new Error(`the stage ${stage.label} takes no ${role}`);
  return found;
};
