import * as tf from '@tensorflow/tfjs';
import { bytesOf } from '../core/bytes.js';
import { sha256 } from '../core/hash.js';
import { type Key, key, uniforms } from '../core/random.js';
import { dispose, entries, type Tree } from '../core/tree.js';
import { derivationOf } from '../engine/derivation.js';
import { engine } from '../engine/engine.js';
import { type Call, formKey, type Runner, type Step } from '../engine/step.js';
import type { Frame, Noted, Whole } from './fit-step.js';
import { type Access, type Answering, type Recordable, recordedOf, type Victim } from './oracle.js';
import type { Source } from './source.js';

/**
 * Logits that victims' nets gave, for all who ask the same again: other students, temperatures, losses and defences.
 *
 * A *question* is all that they depend on: the net, and how the images that a step shows it are made, of which the
 * student is no part. What is told of logits (labels, probabilities, what a defence makes of them) is computed anew at
 * each step, and so is the count of what was asked; but of a defence that says that it is slow, what it told is recorded too.
 */
export interface Recordings {
  /** What is kept of a part of a question's steps. */
  read(question: string, part: number): Recorded;
  /** Keeps it, and what was kept of this part before no longer. Absent: nothing is added. */
  readonly write?: (question: string, part: number, recorded: Recorded) => void;
}

/** By the number of a step, what its calls were given, one after the other, flat. */
export type Recorded = ReadonlyMap<number, Float32Array>;

/** Recordings that last as long as they are held. */
export const recordingsInMemory = (): Required<Recordings> & { readonly parts: ReadonlyMap<string, Recorded> } => {
  const parts = new Map<string, Recorded>();
  return {
    read: (question, part) => parts.get(`${question} ${part}`) ?? new Map(),
    write: (question, part, recorded) => void parts.set(`${question} ${part}`, new Map(recorded)),
    parts,
  };
};

/** Steps that are kept together. */
export const stepsInPart = 256;

/** Raised when recordings of before would be read as something else. */
const version = 1;

/** The name of what is asked, by all that the answers depend on. */
export const questionOf = (...parts: readonly unknown[]): string => sha256(JSON.stringify([version, ...parts]));

/** What a step of one form asks. */
export interface Question {
  readonly id: string;
  /** Of what each call is given. */
  readonly shapes: readonly (readonly [number, number])[];
}

const sizeOf = ({ shapes }: Question): number => shapes.reduce((sum, [rows, classes]) => sum + rows * classes, 0);

/** Takes steps, with answers of before where there are such. */
export interface Answered<Batch extends Tree, Metrics extends Tree> {
  /** Takes steps, the first of which has this number. */
  run(first: number, calls: readonly Call<Batch>[]): Metrics[];
  /** Keeps what was recorded since. */
  flush(): void;
  /** Images about which the net was not asked, since it was before. */
  replayed(): number;
}

/** Steps on a runner, in which the net answers or something in its place. */
interface Steps<Frozen extends Tree, State extends Tree, Batch extends Tree, Metrics extends Tree> {
  readonly runner: Runner<Frozen, State, Batch, Metrics>;
  readonly stepOf: (answering: Answering) => Step<Frozen, State, Batch, Metrics>;
}

/**
 * Steps that ask a victim's net, ask it under somebody's eyes, or not at all, each as its question is unknown, to be
 * recorded, or was recorded before.
 */
export const byQuestion = <Frozen extends Tree, State extends Tree, Batch extends Tree, Metrics extends Tree>(
  { runner, stepOf }: Steps<Frozen, State, Batch, Metrics>,
  recordings: Recordings | undefined,
  questionIn: (call: Call<Batch>) => Question | undefined,
): Answered<Batch, Metrics> => {
  // What XLA computes depends on all that is computed beside it.
  if (recordings === undefined || engine().execution === 'xla')
    return { run: (_, calls) => runner.run(calls), flush: () => undefined, replayed: () => 0 };

  let replayed = 0;
  const kept = keeper(recordings);

  type Recording = { readonly noted: Metrics; readonly given: readonly tf.Tensor2D[] };
  const recording = runner.also<Batch, Recording>((frozen, state, batch, inputs) => {
    // Kept from every scope that it is asked in, which may be a loss's.
    const given: tf.Tensor2D[] = [];
    const answering: Answering = (_, net) => {
      const logits = net();
      given.push(tf.keep(logits.clone()));
      return logits;
    };
    try {
      const { state: after, metrics } = stepOf(answering)(frozen, state, batch, inputs);
      return { state: after, metrics: { noted: metrics, given: given.map((each) => each.clone()) } };
    } finally {
      dispose(given);
    }
  });
  type Replayed = { readonly batch: Batch; readonly given: readonly tf.Tensor2D[] };
  const replaying = runner.also<Replayed, Metrics>((frozen, state, { batch, given }, inputs) => {
    let at = 0;
    return stepOf(() => given[at++] as tf.Tensor2D)(frozen, state, batch, inputs);
  });

  /** A step that is about to be taken: what it asks, and the answer where that is known. */
  interface Next {
    readonly number: number;
    readonly call: Call<Batch>;
    readonly way: 'live' | 'record' | 'replay';
    readonly question: Question | undefined;
    readonly known: Float32Array | undefined;
  }
  const next = (number: number, call: Call<Batch>): Next => {
    const question = questionIn(call);
    const known = question === undefined ? undefined : kept.at(question, number);
    const unknown = question === undefined || recordings.write === undefined ? 'live' : 'record';
    return { number, call, way: known === undefined ? unknown : 'replay', question, known };
  };

  const record = (steps: readonly Next[]): Metrics[] =>
    recording(steps.map(({ call }) => call)).map(({ noted, given }, i) => {
      const { number, question } = steps[i] as Next;
      kept.add(question as Question, number, flat(given));
      dispose(given);
      return noted;
    });

  const replay = (steps: readonly Next[]): Metrics[] => {
    const given: Tree[] = [];
    try {
      return replaying(
        steps.map(({ call, question, known }) => {
          const tensors = unflat(known as Float32Array, question as Question);
          given.push(tensors);
          return { ...call, batch: { batch: call.batch, given: tensors } };
        }),
      );
    } finally {
      dispose(given);
      for (const { question } of steps)
        replayed += (question as Question).shapes.reduce((sum, [rows]) => sum + rows, 0);
    }
  };

  const take = (steps: readonly Next[]): Metrics[] => {
    switch ((steps[0] as Next).way) {
      case 'live':
        return runner.run(steps.map(({ call }) => call));
      case 'record':
        return record(steps);
      case 'replay':
        return replay(steps);
    }
  };

  return {
    run: (first, calls) => {
      const noted: Metrics[] = [];
      try {
        for (const together of alike(calls.map((call, i) => next(first + i, call)))) noted.push(...take(together));
        return noted;
      } catch (error) {
        dispose(noted);
        throw error;
      }
    },
    flush: kept.flush,
    replayed: () => replayed,
  };
};

/** The steps of a fit as a runner takes them. */
type FitSteps<Frozen extends Tree, State extends Tree, Batch extends Tree, Data extends Tree> = Steps<
  Frame<Frozen, Data>,
  Whole<State>,
  Batch,
  Noted
> & { readonly frame: Frame<Frozen, Data> };

/** A fit's steps, each with the answers of before where its question was recorded. */
export const answered = <
  Frozen extends Tree,
  State extends Tree,
  Batch extends Tree,
  Data extends Tree,
  A extends Access,
>(
  { victim }: { readonly victim?: Victim<A> | undefined },
  steps: FitSteps<Frozen, State, Batch, Data>,
  {
    key: own,
    source,
    recordings,
  }: {
    readonly key: Key;
    readonly source: Source<Batch, Data>;
    readonly recordings: Recordings | undefined;
  },
): Answered<Batch, Noted> => {
  const asked = victim === undefined ? undefined : recordedOf(victim);
  if (asked === undefined) return byQuestion(steps, undefined, () => undefined);
  const questions = new Map<string, Question | undefined>();
  return byQuestion(steps, recordings, (call) => {
    const form = formKey(call.batch);
    if (!questions.has(form)) {
      const state = steps.runner.read();
      try {
        questions.set(form, askedBy(steps, { asked, key: own, source }, state, call));
      } finally {
        dispose(state);
      }
    }
    return questions.get(form);
  });
};

/** Neighbours that are taken in the same way, together. */
const alike = <A extends { readonly way: string }>(all: readonly A[]): readonly (readonly A[])[] => {
  const groups: A[][] = [];
  for (const each of all) {
    const last = groups.at(-1);
    if (last?.[0]?.way === each.way) last.push(each);
    else groups.push([each]);
  }
  return groups;
};

/** The parts that a fit is at, read once and written when it has left them, or is asked to. */
const keeper = ({ read, write }: Recordings) => {
  interface Part {
    readonly number: number;
    readonly steps: Map<number, Float32Array>;
    isNew: boolean;
  }
  const parts = new Map<string, Part>();
  const save = (question: string, part: Part): void => {
    if (part.isNew) write?.(question, part.number, part.steps);
    part.isNew = false;
  };
  const partOf = ({ id }: Question, step: number): Part => {
    const number = Math.floor(step / stepsInPart);
    const last = parts.get(id);
    if (last?.number === number) return last;
    if (last !== undefined) save(id, last);
    const part: Part = { number, steps: new Map(read(id, number)), isNew: false };
    parts.set(id, part);
    return part;
  };
  return {
    at: (question: Question, step: number): Float32Array | undefined => {
      const found = partOf(question, step).steps.get(step);
      return found?.length === sizeOf(question) ? found : undefined;
    },
    add: (question: Question, step: number, answers: Float32Array): void => {
      const part = partOf(question, step);
      part.steps.set(step, answers);
      part.isNew = true;
    },
    flush: (): void => {
      for (const [question, part] of parts) save(question, part);
    },
  };
};

const flat = (tensors: readonly tf.Tensor2D[]): Float32Array => {
  const all = new Float32Array(tensors.reduce((sum, { size }) => sum + size, 0));
  tensors.reduce((at, tensor) => {
    all.set(tensor.dataSync(), at);
    return at + tensor.size;
  }, 0);
  return all;
};

const unflat = (values: Float32Array, { shapes }: Question): readonly tf.Tensor2D[] => {
  let at = 0;
  return shapes.map(([rows, classes]) => {
    const size = rows * classes;
    at += size;
    // A tensor may keep the array that it is made of.
    return tf.tensor2d(values.slice(at - size, at), [rows, classes]);
  });
};

/**
 * In place of an answer, where it only counts what is asked: numbers that nobody else uses, so that a question which is
 * made of an answer is another one than a question of constants.
 */
const standIn = ({ shape: [rows] }: tf.Tensor4D, width: number, number: number): tf.Tensor2D =>
  tf.tensor2d(uniforms(key('answer').split(number), rows * width, 1), [rows, width]);

/**
 * What a step asks; undefined where it asks nothing, or something that depends on the student, on what a defence
 * remembers, or on anything of which is not known what it is.
 */
const askedBy = <Frozen extends Tree, State extends Tree, Batch extends Tree, Data extends Tree>(
  { frame, stepOf }: FitSteps<Frozen, State, Batch, Data>,
  {
    asked: { identity, width },
    key: own,
    source,
  }: {
    readonly asked: Recordable;
    readonly key: Key;
    readonly source: Source<Batch, Data>;
  },
  state: Whole<State>,
  { batch, inputs }: Call<Batch>,
): Question | undefined => {
  let shapes: Question['shapes'] = [];
  const given = { frame, state, batch, inputs };
  const derived = derivationOf(given as Tree as typeof given & Tree, (copies) => {
    const shown: tf.Tensor4D[] = [];
    const answering: Answering = (pixels) => {
      shown.push(tf.keep(pixels.clone()));
      return standIn(pixels, width, shown.length - 1);
    };
    try {
      const taken = copies as typeof given;
      tf.tidy(() => void stepOf(answering)(taken.frame, taken.state, taken.batch, taken.inputs));
      shapes = shown.map(({ shape: [rows] }) => [rows, width]);
      return shown.map((pixels) => pixels.clone());
    } finally {
      dispose(shown);
    }
  });
  if (derived === undefined || shapes.length === 0) return undefined;
  const known = derived.inputs.map((path) => identityAt(path, { source, frozen: frame.frozen }));
  if (known.includes(undefined)) return undefined;
  return { id: questionOf(identity, own.path, derived.hash, known), shapes };
};

/** What an input of a step holds, in a word; undefined where that is not known, or changes with the student. */
const identityAt = <Batch extends Tree, Data extends Tree>(
  path: string,
  { source, frozen }: { readonly source: Source<Batch, Data>; readonly frozen: Tree },
): string | undefined => {
  const below = (place: string): string | undefined =>
    path.startsWith(`${place}/`) ? path.slice(place.length + 1) : undefined;
  // The seed of each step is the key's; the net's weights are known by the net.
  if (path === 'inputs/seed' || below('frame/victim/variables') !== undefined) return path;
  const brought = below('batch') ?? below('frame/data');
  if (brought !== undefined) return source.identity?.(brought);
  const constant = entries(frozen).find(([name]) => name === below('frame/frozen'))?.[1];
  return constant && sha256(bytesOf(constant.dataSync()));
};
