import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { awaitable, FailureError, failure } from '../core/errors.js';
import type { Key } from '../core/random.js';
import type { Safetensors, StoredTensor } from '../core/safetensors.js';
import { dispose, fromOutline, outlineOf, type Tree } from '../core/tree.js';
import { turns } from '../core/turns.js';
import { type AnswerShift, noShift } from '../train/answer-shift.js';
import { question } from '../train/ask.js';
import type { Context, Loop, Synthesised } from '../train/context.js';
import { type FitResult, type FitSpec, fit, restoreTree, savedTree } from '../train/fit.js';
import type { EpochRecord } from '../train/fit-log.js';
import type { StoredAnswers } from '../train/images.js';
import { type Access, type Asked, nothingAsked, plus, remember, sessionOf, type Victim } from '../train/oracle.js';
import { byNumber, contactSheet, expectLot, lotsIn, readLot, writeLot } from './pool.js';
import { logFile } from './stage-files.js';
import type { StageRun } from './types.js';

/** What was done in a stage's fits, all together. */
export interface Effort {
  readonly steps: number;
  readonly images: number;
  readonly seconds: number;
  /** Images about which the victim's net was not asked, since it had been before. */
  readonly replayed: number;
}

/** What making something took, and asked of the victim: added again when a resumed run finds it made. */
export interface Footprint {
  readonly asked: Asked;
  readonly shift: AnswerShift;
  readonly effort: Effort;
}

export const noEffort: Effort = { steps: 0, images: 0, seconds: 0, replayed: 0 };

/** Names of tensors in the files of a stage in the making. */
const [stateName, memoryName] = ['state', 'memory'];

/** Images that an earlier stage made, what that took, and what the victim's defences remember of it. */
export interface MadePool {
  readonly lots: readonly Synthesised[];
  readonly footprint: Footprint;
  readonly tensors: Readonly<Record<string, StoredTensor>>;
}

/** A context, and what was asked and done through it. */
export interface StageContext extends Context {
  readonly footprint: () => Footprint;
  /** What the victim's defences remember, by name, as it is kept in files. */
  readonly remembered: () => Readonly<Record<string, StoredTensor>>;
}

/**
 * A stage's context: everything it makes lies in the stage's staging folder, under the name given. What is found made
 * counts as asked, and leaves the victim's defences with what they remembered then.
 */
export const contextOf = (
  stageRun: StageRun,
  stageKey: Key,
  { victim, pool }: { readonly victim?: Victim | undefined; readonly pool?: MadePool | undefined } = {},
): StageContext => {
  const { staging, stage, signal } = stageRun;
  const session = victim === undefined ? undefined : sessionOf(victim);
  const used = new Set<string>();
  /** Two things of one name would be one: the second use would be given the first one's result. */
  const claim = (kind: string, name: string): void => {
    if (!/^\w[\w.-]*$/.test(name)) throw new Error(`${JSON.stringify(name)} cannot be the name of a file`);
    if (used.has(`${kind} ${name}`)) throw new Error(`${kind} ${name} is asked for twice: give each a name of its own`);
    used.add(`${kind} ${name}`);
  };
  let effort = noEffort;
  const footprint = (): Footprint => ({
    asked: session?.asked ?? nothingAsked,
    shift: session?.shift ?? noShift,
    effort,
  });
  const since = (before: Footprint): Footprint => {
    const now = footprint();
    return {
      asked: plus(now.asked, before.asked, -1),
      shift: plus(now.shift, before.shift, -1),
      effort: plus(now.effort, before.effort, -1),
    };
  };
  const memory = (): [string, StoredTensor][] => (session === undefined ? [] : savedTree(session.memory, memoryName));
  /** What the victim's defences remember goes into a file of its own, where there is such. */
  const keepMemory = async (file: string): Promise<void> => {
    if (memory().length > 0) await staging.writeTensors(file, Object.fromEntries(memory()));
  };
  /** What such a file says, nothing where there is nothing to be remembered; undefined where it is missing. */
  const memoryIn = async (file: string): Promise<Readonly<Record<string, StoredTensor>> | undefined> =>
    memory().length === 0 ? {} : (await staging.readTensors(file))?.tensors;
  const spent = (more: Effort): void => {
    effort = plus(effort, more);
  };
  /** Takes in what something that is found made took then. */
  const found = (
    { asked = nothingAsked, shift = noShift, effort: more = noEffort }: Partial<Footprint>,
    tensors: Readonly<Record<string, StoredTensor>>,
  ): void => {
    spent(more);
    if (session === undefined) return;
    remember(session, { asked, shift, memory: restoreTree(session.memory, tensors, memoryName) });
  };
  const lots = new Map<string, Synthesised>();
  if (pool !== undefined) found(pool.footprint, pool.tensors);

  /**
   * A context in which everything is called by the name given and the number of the iteration, of every loop that it is
   * in (`-2-0`); and the files of what it made but for the images, which a later iteration has no use for.
   */
  const within = (numbers: string, key: Key): { readonly context: Context; readonly passing: Set<string> } => {
    const passing = new Set<string>();
    const full = (name: string): string => `${name}${numbers}`;
    const making = <A>(kind: string, name: string, make: (full: string) => Promise<A>) =>
      awaitable(
        'plugin',
        async () => {
          claim(kind, full(name));
          return make(full(name));
        },
        full(name),
      );
    const context: Context = {
      key,
      warn: stageRun.warn,
      value: (name, make) =>
        making('value', name, async (own) => {
          const [file, remembered] = [`values/${own}.json`, `values/${own}.safetensors`];
          passing.add(file).add(remembered);
          type Made = { readonly value: Awaited<ReturnType<typeof make>> } & Partial<Footprint>;
          const kept = (): Promise<Made | undefined> => staging.readJson(file);
          const made = await kept();
          const then = await memoryIn(remembered);
          // One without the other is made anew.
          if (made !== undefined && then !== undefined) {
            found(made, then);
            return made.value;
          }
          const before = footprint();
          const value = await make();
          await keepMemory(remembered);
          await staging.writeJson(file, { value, ...since(before) });
          // As it was read back, so that it is the same when a resumed run reads it.
          return ((await kept()) as Made).value;
        }),
      images: (name, make) =>
        making('images', name, async (own) => {
          const [file, remembered] = [`values/${own}-images.json`, `values/${own}-images.safetensors`];
          passing.add(file).add(remembered);
          const kept = await readLot(staging, stage, own);
          const [took, then] = [await staging.readJson<Footprint>(file), await memoryIn(remembered)];
          // Images of which it is not known what they took are made anew.
          if (kept !== undefined && took !== undefined && then !== undefined) {
            found(took, then);
            lots.set(own, kept);
            return kept;
          }
          const before = footprint();
          const images = await make();
          await keepMemory(remembered);
          await staging.writeJson(file, since(before));
          await writeLot(staging, stage, own, images);
          lots.set(own, images);
          return images;
        }),
      ask: (name, asked, set) =>
        making('answers', name, async (own): Promise<StoredAnswers> => {
          const file = `answers/${own}.safetensors`;
          passing.add(file);
          const kept = await staging.readTensors(file);
          if (kept !== undefined) {
            found(JSON.parse(kept.metadata.footprint ?? '{}'), kept.tensors);
            const { data, shape } = kept.tensors.answers as StoredTensor;
            return { values: data as Float32Array, size: shape[1] as number };
          }
          const before = footprint();
          const { recordings } = stageRun;
          const given = { key: key.split(own), recordings, signal };
          const { answers, replayed, ...rest } = await question(asked, set, given);
          remember(sessionOf(asked), rest);
          spent({ ...noEffort, replayed });
          const { values, size } = answers;
          await staging.writeTensors(
            file,
            { answers: { shape: [values.length / size, size], data: values }, ...Object.fromEntries(memory()) },
            { footprint: JSON.stringify(since(before)) },
          );
          return answers;
        }),
      pool: async () => {
        for (const name of await lotsIn(staging))
          if (!lots.has(name)) lots.set(name, await expectLot(staging, stage, name));
        const own = [...lots].sort(([a], [b]) => byNumber(a, b)).map(([, lot]) => lot);
        return [...(pool?.lots ?? []), ...own];
      },
      loop: (name, loop) =>
        making('loop', name, async (own) => {
          passing.add(`loops/${own}`);
          return repeated(own, loop, key.split(own), numbers);
        }),
      fit: (name, spec) =>
        making('fit', name, async (own) => {
          passing.add(`fits/${own}`);
          return keptFit(stageRun, key.split(name), own, spec, { found, memory, spent });
        }),
    };
    return { context, passing };
  };

  const repeated = async <State extends Tree>(
    name: string,
    { count, init, body }: Loop<State>,
    key: Key,
    numbers: string,
  ) => {
    const file = `loops/${name}/${loopStateName}`;
    const began = footprint();
    const kept = await staging.readTensors(file);
    let state: State;
    let next = 0;
    if (kept === undefined) state = await init(key.split('init'));
    else {
      next = Number(kept.metadata.iterations);
      state = treeFrom(kept, stateName) as State;
      found(JSON.parse(kept.metadata.footprint ?? '{}'), kept.tensors);
    }
    try {
      const turn = turns();
      for (; next < count; next++) {
        await turn();
        if (signal?.aborted)
          throw new FailureError(failure('interrupted', `stopped after ${next} of ${count} iterations of ${name}`));
        const { context, passing } = within(`${numbers}-${next}`, key.split(next));
        const after = await body(state, next, context);
        if (after !== state) dispose(state);
        state = after;
        const { tensors, metadata } = storedTree(state, stateName);
        await staging.writeTensors(
          file,
          { ...tensors, ...Object.fromEntries(memory()) },
          { ...metadata, iterations: String(next + 1), footprint: JSON.stringify(since(began)) },
        );
        for (const path of passing) await staging.remove(path);
      }
      return state;
    } catch (error) {
      dispose(state);
      throw error;
    }
  };

  return { ...within('', stageKey).context, footprint, remembered: () => Object.fromEntries(memory()) };
};

/** A tree as a file keeps it under a name: its tensors by path, and in the metadata how they lie in it. */
export const storedTree = (tree: Tree, name: string): Safetensors => ({
  tensors: Object.fromEntries(savedTree(tree, name)),
  metadata: { [name]: JSON.stringify(outlineOf(tree)) },
});

/** The tree that was stored under a name. The caller owns it. */
export const treeFrom = ({ tensors, metadata }: Safetensors, name: string): Tree =>
  fromOutline(
    JSON.parse(metadata[name] as string),
    (path, dtype) => {
      const { data, shape } = tensors[path] as StoredTensor;
      return tf.tensor(data, [...shape], dtype);
    },
    name,
  );

const keptFit = async <
  Frozen extends Tree,
  State extends Tree,
  Batch extends Tree,
  Kept extends Tree,
  Data extends Tree,
  A extends Access,
>(
  { staging, signal, checkpointEvery, emit, warn, recordings }: StageRun,
  fitKey: Key,
  name: string,
  spec: FitSpec<Frozen, State, Batch, Kept, Data, A>,
  session: {
    readonly found: (made: Footprint, tensors: Readonly<Record<string, StoredTensor>>) => void;
    readonly spent: (more: Effort) => void;
    readonly memory: () => readonly [string, StoredTensor][];
  },
): Promise<FitResult<Kept>> => {
  const file = (what: string) => `fits/${name}/${what}`;
  type Finished = Omit<FitResult<Kept>, 'last' | 'best'> & {
    readonly best?: { readonly epoch: number; readonly validation: number };
  };

  const finished = await staging.readJson<Finished>(file('result.json'));
  const weights = finished === undefined ? undefined : await staging.readTensors(weightsOf(name));
  if (finished !== undefined && weights !== undefined) {
    const { best, ...rest } = finished;
    const { queries, forward, backward, shift } = finished;
    session.found({ asked: { queries, forward, backward }, shift, effort: effortOf(finished) }, weights.tensors);
    const state = spec.init(fitKey.split('init'));
    try {
      const read = (which: 'last' | 'best') => restoreTree(spec.keep(state), weights.tensors, which);
      const result = { ...rest, last: read('last') };
      return best === undefined ? result : { ...result, best: { ...best, kept: read('best') } };
    } finally {
      dispose(state);
    }
  }

  const checkpoint = file(checkpointName);
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
      await staging.writeText(
        logFile(isOfTheModel(name) ? '' : name),
        history.map((line) => `${JSON.stringify(line)}\n`).join(''),
      );
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
    recordings,
  });
  const { last, best, ...rest } = fitted;
  session.spent(effortOf(rest));
  await staging.writeTensors(
    weightsOf(name),
    Object.fromEntries([
      ...savedTree(last, 'last'),
      ...(best === undefined ? [] : savedTree(best.kept, 'best')),
      ...session.memory(),
    ]),
  );
  await staging.writeJson(
    file('result.json'),
    best === undefined ? rest : { ...rest, best: { epoch: best.epoch, validation: best.validation } },
  );
  await staging.remove(checkpoint);
  return fitted;
};

const effortOf = ({ steps, images, seconds, replayed }: Effort): Effort => ({ steps, images, seconds, replayed });

/**
 * Whether a fit is of the model that its stage is for; others that a plugin makes on the way are told apart by name.
 */
export const isOfTheModel = (fitName: string): boolean => fitName === 'teacher' || fitName === 'student';

/** The state of a fit that was begun, in its folder. */
export const checkpointName = 'checkpoint.safetensors';

/** What a loop has come to, with how many iterations that took. */
export const loopStateName = 'state.safetensors';

/** What a finished fit kept. */
const weightsOf = (fitName: string): string => `fits/${fitName}/weights.safetensors`;
