import { join } from 'node:path';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { toFailure } from '../core/errors.js';
import type { Key } from '../core/random.js';
import { dispose, type Tree } from '../core/tree.js';
import type { Context } from '../train/context.js';
import { type EpochRecord, type FitResult, type FitSpec, fit, restoreTree, savedTree } from '../train/fit.js';
import { contactSheet, readLot, writeLot } from './pool.js';
import { logFile } from './stage-files.js';
import type { StageRun } from './types.js';

/** A stage's context: everything it makes lies in the stage's staging, under the name given. */
export const contextOf = (stageRun: StageRun, stageKey: Key): Context => {
  const used = new Set<string>();
  const fits = new Set<string>();
  /** Two things of one name would be one: the second use would be given the first one's result. */
  const claim = (kind: string, name: string): void => {
    if (!/^\w[\w.-]*$/.test(name)) throw new Error(`${JSON.stringify(name)} cannot be the name of a file`);
    if (used.has(`${kind} ${name}`)) throw new Error(`${kind} ${name} is asked for twice: give each a name of its own`);
    used.add(`${kind} ${name}`);
  };
  return {
    key: stageKey,
    warn: stageRun.warn,
    value: (name, make) =>
      TE.tryCatch(
        async () => {
          claim('value', name);
          const file = `values/${name}.json`;
          type Made = { readonly value: Awaited<ReturnType<typeof make>> };
          const kept = (): Promise<Made | undefined> => stageRun.staging.readJson(file);
          const found = await kept();
          if (found !== undefined) return found.value;
          await stageRun.staging.writeJson(file, { value: await make() });
          // As it was read back, so that it is the same when a resumed run reads it.
          return ((await kept()) as Made).value;
        },
        toFailure('plugin', name),
      ),
    images: (name, make) =>
      TE.tryCatch(
        async () => {
          claim('images', name);
          const { staging, stage } = stageRun;
          const kept = await readLot(staging, stage, name);
          if (kept !== undefined) return kept;
          const before = new Set(fits);
          const made = await make();
          await writeLot(staging, stage, name, made);
          // Large states of many lots would fill the disk, and nobody asks for them again.
          for (const fit of fits) if (!before.has(fit)) await staging.remove(`fits/${fit}`);
          return made;
        },
        toFailure('plugin', name),
      ),
    has: async (name) => (await stageRun.staging.readTensors(weightsOf(name))) !== undefined,
    drop: (name) => stageRun.staging.remove(`fits/${name}`),
    fit: (name, spec) =>
      TE.tryCatch(
        async () => {
          claim('fit', name);
          fits.add(name);
          return keptFit(stageRun, stageKey.split(name), name, spec);
        },
        toFailure('plugin', name),
      ),
  };
};

const keptFit = async <
  Frozen extends Tree,
  State extends Tree,
  Batch extends Tree,
  Kept extends Tree,
  Data extends Tree,
>(
  { staging, signal, checkpointEvery, emit, warn }: StageRun,
  fitKey: Key,
  name: string,
  spec: FitSpec<Frozen, State, Batch, Kept, Data>,
): Promise<FitResult<Kept>> => {
  const file = (what: string) => `fits/${name}/${what}`;
  type Finished = Omit<FitResult<Kept>, 'last' | 'best'> & {
    readonly best?: { readonly epoch: number; readonly validation: number };
  };

  const finished = await staging.readJson<Finished>(file('result.json'));
  const weights = finished === undefined ? undefined : await staging.readTensors(weightsOf(name));
  if (finished !== undefined && weights !== undefined) {
    const { best, ...rest } = finished;
    const state = spec.init(fitKey.split('init'));
    try {
      const read = (which: 'last' | 'best') => restoreTree(spec.keep(state), weights.tensors, which);
      const result = { ...rest, last: read('last') };
      return best === undefined ? result : { ...result, best: { ...best, kept: read('best') } };
    } finally {
      dispose(state);
    }
  }

  const checkpoint = file('checkpoint.safetensors');
  const fitted = await fit(spec, {
    key: fitKey,
    signal,
    checkpointEvery,
    load: async () => {
      const saved = await staging.readTensors(checkpoint);
      return saved === undefined ? undefined : { tensors: saved.tensors, meta: JSON.parse(saved.metadata.meta ?? '') };
    },
    save: ({ tensors, meta }) => staging.writeTensors(checkpoint, tensors, { meta: JSON.stringify(meta) }),
    epoch: async (history) => {
      // Written whole: after a resumption it must not hold an epoch twice.
      await staging.writeText(metricsFile(name), history.map((line) => `${JSON.stringify(line)}\n`).join(''));
      emit({ type: 'epoch', fit: name, record: history.at(-1) as EpochRecord, epochs: spec.epochs });
    },
    progress: (progress) => emit({ type: 'progress', fit: name, progress }),
    picture: async (step, pictures) => {
      const picture = `${name}-${String(step).padStart(6, '0')}.png`;
      await staging.writeBytes(`history/${picture}`, contactSheet(pictures));
      emit({ type: 'picture', path: join(staging.folder, 'history', picture), name: picture });
    },
    warn,
    note: (message) => emit({ type: 'note', message }),
  });
  const { last, best, ...rest } = fitted;
  await staging.writeTensors(
    weightsOf(name),
    Object.fromEntries([...savedTree(last, 'last'), ...(best === undefined ? [] : savedTree(best.kept, 'best'))]),
  );
  await staging.writeJson(
    file('result.json'),
    best === undefined ? rest : { ...rest, best: { epoch: best.epoch, validation: best.validation } },
  );
  await staging.remove(checkpoint);
  return fitted;
};

/** What a finished fit kept. */
const weightsOf = (fitName: string): string => `fits/${fitName}/weights.safetensors`;

/** Whether a fit is of the model that its stage is for; others that a plugin makes on the way are told apart by name. */
export const isOfTheModel = (fitName: string): boolean => fitName === 'teacher' || fitName === 'student';

const metricsFile = (fitName: string): string => logFile(isOfTheModel(fitName) ? '' : fitName);
