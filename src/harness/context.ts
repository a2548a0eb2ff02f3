import * as TE from 'fp-ts/lib/TaskEither.js';
import { toFailure } from '../core/errors.js';
import type { Key } from '../core/random.js';
import { clone, dispose, type Tree } from '../core/tree.js';
import type { Context } from '../train/context.js';
import {
  type EpochRecord,
  type FitProgress,
  type FitSpec,
  type Fitted,
  fit,
  restoreTree,
  savedTree,
} from '../train/fit.js';
import type { Workshop } from './store.js';

/** What a stage tells while it runs. */
export type StageEvent =
  | { readonly type: 'progress'; readonly fit: string; readonly progress: FitProgress }
  | { readonly type: 'epoch'; readonly fit: string; readonly record: EpochRecord; readonly epochs: number }
  | { readonly type: 'warning'; readonly message: string };

/** How fits are kept and stopped. */
export interface Sitting {
  readonly workshop: Workshop;
  readonly signal?: AbortSignal | undefined;
  readonly checkpointEvery: number;
  readonly emit: (event: StageEvent) => void;
  readonly warn: (message: string) => void;
}

/** A stage's context: everything it makes lies in the stage's workshop, under the name given. */
export const contextOf = (sitting: Sitting, stageKey: Key): Context => ({
  key: stageKey,
  warn: sitting.warn,
  artefact: (name, make) =>
    TE.tryCatch(
      async () => {
        const file = `artefacts/${name}.json`;
        const made = await sitting.workshop.readJson<{ value: Awaited<ReturnType<typeof make>> }>(file);
        if (made !== undefined) return made.value;
        const value = await make();
        await sitting.workshop.writeJson(file, { value });
        return value;
      },
      toFailure('plugin', name),
    ),
  fit: (name, spec) => TE.tryCatch(() => keptFit(sitting, stageKey, name, spec), toFailure('plugin', name)),
});

const keptFit = async <Frozen extends Tree, State extends Tree, Batch extends Tree, Kept extends Tree>(
  { workshop, signal, checkpointEvery, emit }: Sitting,
  stageKey: Key,
  name: string,
  spec: FitSpec<Frozen, State, Batch, Kept>,
): Promise<Fitted<Kept>> => {
  const file = (what: string) => `fits/${name}/${what}`;
  const fitKey = stageKey.split(name);
  type Finished = Omit<Fitted<Kept>, 'last' | 'best'> & {
    readonly best?: { readonly epoch: number; readonly validation: number };
  };

  const finished = await workshop.readJson<Finished>(file('result.json'));
  const weights = finished === undefined ? undefined : await workshop.readTensors(file('weights.safetensors'));
  if (finished !== undefined && weights !== undefined) {
    const state = spec.init(fitKey.split('init'));
    const template = () => clone(spec.keep(state));
    const { best, ...rest } = finished;
    const result = { ...rest, last: restoreTree(template(), weights.tensors, 'last') };
    const restored =
      best === undefined
        ? result
        : { ...result, best: { ...best, kept: restoreTree(template(), weights.tensors, 'best') } };
    dispose(state);
    return restored;
  }

  const checkpoint = file('checkpoint.safetensors');
  const fitted = await fit(spec, {
    key: fitKey,
    signal,
    checkpointEvery,
    load: async () => {
      const saved = await workshop.readTensors(checkpoint);
      return saved === undefined ? undefined : { tensors: saved.tensors, meta: JSON.parse(saved.metadata.meta ?? '') };
    },
    save: ({ tensors, meta }) => workshop.writeTensors(checkpoint, tensors, { meta: JSON.stringify(meta) }),
    epoch: async (history) => {
      // Written whole: after a resumption it must not hold an epoch twice.
      await workshop.writeText(metricsFile(name), history.map((line) => `${JSON.stringify(line)}\n`).join(''));
      emit({ type: 'epoch', fit: name, record: history.at(-1) as EpochRecord, epochs: spec.epochs });
    },
    progress: (progress) => emit({ type: 'progress', fit: name, progress }),
  });
  const { last, best, ...rest } = fitted;
  await workshop.writeTensors(
    file('weights.safetensors'),
    Object.fromEntries([...savedTree(last, 'last'), ...(best === undefined ? [] : savedTree(best.kept, 'best'))]),
  );
  await workshop.writeJson(
    file('result.json'),
    best === undefined ? rest : { ...rest, best: { epoch: best.epoch, validation: best.validation } },
  );
  await workshop.remove(checkpoint);
  return fitted;
};

/** A stage with one fit has one `metrics.jsonl`; the fits of a plugin that trains several are told apart by name. */
const metricsFile = (fitName: string): string =>
  fitName === 'teacher' || fitName === 'student' ? 'metrics.jsonl' : `metrics-${fitName}.jsonl`;
