import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { bytesOf } from '../core/bytes.js';
import { makeFolderAtOnce } from '../core/files.js';
import { sha256 } from '../core/hash.js';
import { decodeSafetensors, encodeSafetensors, type StoredTensor } from '../core/safetensors.js';
import type { Dataset } from '../data/dataset.js';
import type { Defense } from '../defenses/defense.js';
import { type Sharing, sharings } from '../experiment/sharing.js';
import { preparedRole, type Stage } from '../experiment/stage.js';
import { isToldRecorded, recordedWidth } from '../train/oracle.js';
import type { Recorded, Recordings } from '../train/recordings.js';
import { files, input } from './outputs.js';
import { imagesAsked } from './steps.js';
import { answersIn, aside, isThere, type Store, sumsOf, unfinished } from './store.js';
import type { RunEnvironment } from './types.js';

export interface RecordingsOptions {
  /** Bytes that all recordings may take; beyond them those go first that were not used for the longest time. */
  readonly limit: number;
  /** Told what a reader of the result may wonder about: a file that was altered, a disk that is full. */
  readonly say: (message: string) => void;
}

/** Processes that may add to a folder at a time: no more of them than that exceed its limit together, but for a part each. */
const manyProcesses = 16;

/** Milliseconds after which a file that is still being written is nobody's. */
const abandoned = 3_600_000;

/**
 * Recordings in a folder, a file for each part of a question. They are a cache: whatever is missing, damaged or of
 * something else is asked anew, and where the disk refuses, the run goes on without. Several processes may use one
 * folder: files are written aside and renamed, and two that record the same write the same.
 */
export const openRecordings = (folder: string, { limit, say }: RecordingsOptions): Required<Recordings> => {
  const fileOf = (question: string, part: number) => join(folder, question, `${part}.safetensors`);
  let refused = false;
  /** Bytes that were in the folder when it was last looked at, and that this process has added since. */
  let found: number | undefined;
  let added = 0;

  return {
    read: (question, part) => {
      const file = fileOf(question, part);
      const bytes = attempt(() => readFileSync(file));
      if (bytes === undefined) return new Map();
      const recorded = decoded(bytes, question, part);
      if (recorded === undefined) {
        say(`recorded answers were altered on disk (${file}): the victim is asked anew`);
        attempt(() => rmSync(file));
        return new Map();
      }
      // What is used is kept longest.
      attempt(() => touch(file, bytes));
      return recorded;
    },
    write: (question, part, recorded) => {
      if (refused) return;
      const file = fileOf(question, part);
      const written = aside(file);
      const bytes = encoded(recorded, question, part);
      const put = (): number => {
        makeFolderAtOnce(dirname(file));
        writeFileSync(written, bytes);
        // As the file system has it, of which the times of the other files are too.
        const now = statSync(written).mtimeMs;
        renameSync(written, file);
        return now;
      };
      try {
        const now = againWithoutFolder(put);
        added += bytes.length;
        // Others add to it too: the less room there was, the sooner it is looked at again.
        if (found !== undefined && added < (limit - found) / manyProcesses) return;
        found = sizeOf(filesIn(folder));
        if (found > limit) found = evict(folder, limit, now);
        added = 0;
      } catch (error) {
        refused = true;
        attempt(() => rmSync(written));
        say(`answers are no longer recorded: ${(error as Error).message}`);
      }
    },
  };
};

/**
 * Those of a store as one of its stages may use them: it adds to them where another stage of the plan that is still to
 * be made may ask the same, and all that they ask has room.
 */
export const recordingsOf = async (
  {
    answers: limit,
    plan,
    store,
    data,
    recorded,
  }: Pick<RunEnvironment, 'answers' | 'plan' | 'store' | 'data' | 'recorded'>,
  stage: Stage,
  say: (message: string) => void,
): Promise<Recordings | undefined> => {
  if (limit === undefined || stage.work.kind !== 'steal' || stage.inputs.victim === undefined) return undefined;
  const { read, write } = keptFor(
    await answering(store, stage, stage.work.wrappers),
    openRecordings(answersIn(store.root), { limit, say }),
  );
  const sharing = sharings(plan).find(({ stages }) => stages.includes(stage));
  const among = recorded ?? theftsIn(recordedSharings({ plan, data, answers: limit }));
  if (sharing === undefined || !among.includes(stage.id)) return { read };
  const others = sharing.stages.filter(({ id }) => id !== stage.id);
  const finished = await Promise.all(others.map(({ id }) => isThere(join(store.root, id))));
  return finished.includes(false) ? { read, write } : { read };
};

/** Recordings apart from all those that something else answered. */
const keptFor = (who: string, { read, write }: Required<Recordings>): Required<Recordings> => {
  const of = (question: string): string => sha256(`${question} ${who}`);
  return {
    read: (question, part) => read(of(question), part),
    write: (question, part, recorded) => write(of(question), part, recorded),
  };
};

/**
 * Who answers a theft, by what lies in the store: a victim's weights and, where it is recorded what was told, what its defences
 * prepared. A stage that was taken as other code had made it, and is made anew later, has the same id and may hold others.
 */
const answering = async (store: Store, stage: Stage, wrappers: readonly Defense[]): Promise<string> => {
  const telling = isToldRecorded(wrappers) ? wrappers.map((_, i) => preparedRole(i)) : [];
  const roles = ['victim', ...telling].filter((role) => stage.inputs[role] !== undefined);
  const sums = await Promise.all(roles.map(async (role) => sumsOf(await input(store, stage, role))));
  return JSON.stringify(sums.map((of) => [files.last, files.best, files.prepared].map((file) => of[file] ?? '')));
};

/** What thefts of a plan ask together, and what recording it takes. */
export interface Recording {
  readonly sharing: Sharing;
  /** Of its thefts those that are to be made. One alone is recorded for who comes later, where nobody else needs the room. */
  readonly stages: readonly Stage[];
  /** Images about which each of them asks, at most, where a plan tells; else 0. So with bytes. */
  readonly images: number;
  readonly bytes: number;
  readonly isRecorded: boolean;
}

/**
 * What stages of a plan ask together, and whether it is recorded: while there is room, what saves most images that a victim
 * would be asked about again comes first.
 *
 * @param among the stages that are to be made. Default: all
 */
export const recordingsIn = (
  { plan, data, answers: limit }: Pick<RunEnvironment, 'plan' | 'data' | 'answers'>,
  among: readonly Stage[] = plan.stages,
): readonly Recording[] => {
  const made = new Set(among.map(({ id }) => id));
  const all = sharings(plan).flatMap((sharing) => {
    const stages = sharing.stages.filter(({ id }) => made.has(id));
    if (stages.length === 0) return [];
    const images = Math.max(...stages.map((stage) => imagesAsked(stage, plan, data)));
    return [{ sharing, stages, images, bytes: images * bytesOfImage(sharing, data) }];
  });
  const spared = ({ images, stages }: (typeof all)[number]): number => images * (stages.length - 1);
  let room = limit ?? Number.NEGATIVE_INFINITY;
  const recorded = new Set<object>();
  for (const each of [...all].sort((a, b) => spared(b) - spared(a))) {
    if (each.bytes > room) continue;
    room -= each.bytes;
    recorded.add(each);
  }
  return all.map((each) => ({ ...each, isRecorded: recorded.has(each) }));
};

/** What thefts of a plan ask together and is recorded. */
export const recordedSharings = (...of: Parameters<typeof recordingsIn>): readonly Sharing[] =>
  recordingsIn(...of).flatMap(({ sharing, isRecorded }) => (isRecorded ? [sharing] : []));

/** The ids of all that ask together. */
export const theftsIn = (sharing: readonly Sharing[]): readonly string[] =>
  sharing.flatMap(({ stages }) => stages.map(({ id }) => id));

const bytesOfImage = ({ of }: Sharing, { classes }: Dataset): number =>
  recordedWidth(of, classes.length) * Float32Array.BYTES_PER_ELEMENT;

/** What something gives; undefined where the disk refuses, or another process was faster. */
const attempt = <A>(act: () => A): A | undefined => {
  try {
    return act();
  } catch {
    return undefined;
  }
};

/** Acts, and once more where something was not there: another process may have removed a folder before anything was in it. */
const againWithoutFolder = <A>(act: () => A): A => {
  try {
    return act();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return act();
  }
};

/** Has a file be of now. A byte is written, and not a time: that would be this machine's, and not the file system's. */
const touch = (file: string, bytes: Uint8Array): void => {
  const last = bytes.length - 1;
  const opened = openSync(file, 'r+');
  try {
    writeSync(opened, bytes, last, 1, last);
  } finally {
    closeSync(opened);
  }
};

/** Of the numbers and of what they are answers to. */
const checksum = (tensors: Readonly<Record<string, StoredTensor>>, question: string, part: number): string =>
  sha256(
    JSON.stringify([
      question,
      part,
      Object.keys(tensors)
        .sort()
        .map((name) => [name, sha256(bytesOf((tensors[name] as StoredTensor).data))]),
    ]),
  );

const encoded = (recorded: Recorded, question: string, part: number): Uint8Array => {
  const steps = [...recorded].sort(([a], [b]) => a - b);
  const answers = new Float32Array(steps.reduce((sum, [, { length }]) => sum + length, 0));
  steps.reduce((at, [, values]) => {
    answers.set(values, at);
    return at + values.length;
  }, 0);
  const column = (values: readonly number[]) => ({ shape: [values.length], data: Int32Array.from(values) });
  const tensors = {
    steps: column(steps.map(([step]) => step)),
    sizes: column(steps.map(([, { length }]) => length)),
    answers: { shape: [answers.length], data: answers },
  };
  return encodeSafetensors(tensors, { checksum: checksum(tensors, question, part) });
};

/** What a file holds; undefined where it is not what was written, or was written for something else. */
const decoded = (bytes: Buffer, question: string, part: number): Recorded | undefined => {
  const read = decodeSafetensors(bytes);
  if (E.isLeft(read)) return undefined;
  const { tensors, metadata } = read.right;
  if (metadata.checksum !== checksum(tensors, question, part)) return undefined;
  const { steps, sizes, answers } = tensors as Record<'steps' | 'sizes' | 'answers', StoredTensor>;
  let at = 0;
  return new Map(
    Array.from(steps.data, (step, i) => {
      at += sizes.data[i] as number;
      return [step, answers.data.slice(at - (sizes.data[i] as number), at) as Float32Array];
    }),
  );
};

interface Found {
  readonly path: string;
  readonly bytes: number;
  readonly used: number;
}

const filesIn = (folder: string): readonly Found[] =>
  namesIn(folder).flatMap((question) =>
    namesIn(join(folder, question)).flatMap((name) => {
      const path = join(folder, question, name);
      const found = attempt(() => statSync(path));
      return found === undefined ? [] : [{ path, bytes: found.size, used: found.mtimeMs }];
    }),
  );

const namesIn = (folder: string): readonly string[] => attempt(() => readdirSync(folder)) ?? [];

const sizeOf = (files: readonly Found[]): number => files.reduce((sum, { bytes }) => sum + bytes, 0);

/**
 * Removes what was not used for the longest time until a tenth of the limit is free; gives what is left.
 *
 * @param now by the file system's own clock, in milliseconds
 */
const evict = (folder: string, limit: number, now: number): number => {
  const files = [...filesIn(folder)].sort((a, b) => a.used - b.used);
  let left = sizeOf(files);
  for (const { path, bytes, used } of files) {
    const isUnwanted = path.endsWith(unfinished) ? now - used > abandoned : left > 0.9 * limit;
    if (!isUnwanted) continue;
    attempt(() => rmSync(path));
    left -= bytes;
    // Only an empty one is removed.
    attempt(() => rmdirSync(dirname(path)));
  }
  return left;
};
