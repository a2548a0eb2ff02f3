import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import { concatenated } from '../core/lists.js';
import type { Key } from '../core/random.js';
import { clone, dispose, keep, type Tree } from '../core/tree.js';
import { turns } from '../core/turns.js';
import { evaluationBatches } from '../data/batches.js';
import { runner } from '../engine/runner.js';
import type { Call, Step } from '../engine/step.js';
import { type AnswerShift, noShift, readShift } from './answer-shift.js';
import { bytesOf, type ImageSet, imagesHash, type StoredAnswers, type UnlabelledBatch, unpacked } from './images.js';
import {
  type Access,
  type Answering,
  type Asked,
  accessOf,
  budgetOf,
  checkShift,
  isBlackBox,
  type LabelOracle,
  type LogitOracle,
  nothingAsked,
  type Oracle,
  open,
  type ProbabilityOracle,
  plus,
  rank,
  recordedOf,
  remember,
  sessionOf,
  tensorsOf,
  type Victim,
  type VictimTensors,
} from './oracle.js';
import { byQuestion, questionOf, type Recordings } from './recordings.js';

/** Images at a time; the last batch is smaller. */
const imagesAtOnce = 500;

/** The most that an oracle tells of images, as a student learns from it: see `StudentLoss`. */
export const answersTo = (oracle: Oracle, access: Access, pixels: tf.Tensor4D): tf.Tensor2D => {
  if (rank[access] >= rank.logits) return (oracle as LogitOracle).logits(pixels);
  if (access === 'probabilities') return (oracle as ProbabilityOracle).logProbabilities(pixels);
  const { labels, classes } = oracle as LabelOracle;
  return tf.log(tf.oneHot(labels(pixels), classes, 1, 0, 'float32')) as tf.Tensor2D;
};

/** The same as it is stored: of a victim that gives labels alone, the classes [batch, 1]. */
const storedAnswersTo = (oracle: Oracle, access: Access, pixels: tf.Tensor4D): tf.Tensor2D =>
  access === 'label'
    ? tf.expandDims(tf.cast((oracle as LabelOracle).labels(pixels), 'float32'), 1)
    : answersTo(oracle, access, pixels);

export interface Questioned {
  readonly answers: StoredAnswers;
  readonly asked: Asked;
  readonly shift: AnswerShift;
  /** Images about which the victim's net was not asked, since it had been before. */
  readonly replayed: number;
  /** What the victim's defences remember after. The caller owns it. */
  readonly memory: Tree;
}

/**
 * Has a victim answer images, [batch, height, width, channels] in [0, 1], as if it had not been asked: nothing is counted, and no defence
 * remembers it. The tensors of the answers are left to the scope that it is called in.
 */
export const askAside = (victim: Victim, pixels: tf.Tensor4D): void => {
  const seed = tf.zeros<tf.Rank.R1>([2], 'int32');
  const opening = { tensors: tensorsOf(victim), memory: sessionOf(victim).memory, seed, frozen: true };
  const { oracle, close } = open(victim, opening);
  storedAnswersTo(oracle, accessOf(victim), pixels);
  close();
};

/**
 * Asks a victim about images in order, as they are. `frozen`: its owner looks at it, and its defences remember nothing
 * of that. Where a budget ends earlier, there are answers to the first images only. `recordings`: what the net gave
 * others, and where this is left to them. Between batches others have their turn, and after the signal it is a failure of kind `interrupted`.
 */
export const question = async (
  victim: Victim,
  set: Pick<ImageSet | ImageSet<UnlabelledBatch>, 'examples' | 'indices' | 'shape'>,
  {
    key,
    frozen = false,
    recordings,
    signal,
  }: {
    readonly key: Key;
    readonly frozen?: boolean;
    readonly recordings?: Recordings | undefined;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<Questioned> => {
  const session = sessionOf(victim);
  const access = accessOf(victim);
  const left = frozen
    ? Number.POSITIVE_INFINITY
    : (budgetOf(victim) ?? Number.POSITIVE_INFINITY) - session.asked.queries;
  const indices = set.indices.subarray(0, Math.min(set.indices.length, left));
  type Frame = { readonly victim: VictimTensors };
  type Bytes = { readonly bytes: tf.Tensor4D };
  type Answered = { readonly answers: tf.Tensor2D; readonly shift?: tf.Tensor1D };
  const stepWith =
    (answering?: Answering): Step<Frame, Tree, Bytes, Answered> =>
    (given, memory, batch, { seed }) => {
      const opening = { tensors: given.victim, memory, seed, frozen, ...(answering && { answering }) };
      const { oracle, close } = open(victim, opening);
      const answers = storedAnswersTo(oracle, access, unpacked({}, batch).images.div(255));
      const { memory: next, shift } = close();
      return { state: next, metrics: shift === undefined ? { answers } : { answers, shift } };
    };
  const asker = runner(stepWith(), { victim: tensorsOf(victim) });
  const recorded = recordings && recordedOf(victim);
  const asking = recorded && {
    width: recorded.width,
    id: questionOf(
      recorded.identity,
      // What is told may be drawn.
      ...(recorded.of === 'told' ? [key.path, frozen] : []),
      ...['as they are', set.shape, imagesAtOnce, imagesHash(set.examples.images, set.shape, indices)],
    ),
  };
  const answering = byQuestion(
    { runner: asker, stepOf: stepWith },
    recordings,
    ({ batch }) => asking && { id: asking.id, shapes: [[batch.bytes.shape[0], asking.width]] },
  );
  /** One call, which is disposed of. */
  const runOnce = (number: number, call: Call<Bytes>): Answered => {
    try {
      return (answering.run(number, [call]) as [Answered])[0];
    } finally {
      dispose(call);
    }
  };
  const { classes } = victim as Victim<'label'>;
  const seeds = key.split('step');
  let [asked, shift] = [nothingAsked, noShift];
  const parts: Float32Array[] = [];
  let size = access === 'label' ? 1 : classes;
  try {
    const memory = clone(session.memory);
    asker.load(memory);
    dispose(memory);
    const batches = evaluationBatches({ labels: new Uint8Array(set.examples.count), ...set.examples }, set.shape, {
      batchSize: imagesAtOnce,
      indices,
    });
    let number = 0;
    const turn = turns();
    for (const { images, count } of indices.length === 0 ? [] : batches.epoch(0)) {
      await turn();
      if (signal?.aborted)
        throw new FailureError(
          failure('interrupted', `stopped after ${number * imagesAtOnce} of ${indices.length} images were answered`),
        );
      const inputs = { learningRate: tf.scalar(0), seed: tf.tensor1d([...seeds.split(number).int32Pair()], 'int32') };
      const answered = runOnce(number++, { batch: { bytes: bytesOf(images, set.shape) }, inputs });
      size = answered.answers.shape[1];
      parts.push(answered.answers.dataSync().slice() as Float32Array);
      const told = answered.shift?.dataSync();
      dispose(answered);
      asked = plus(asked, { ...nothingAsked, [isBlackBox(access) ? 'queries' : 'forward']: count });
      if (told === undefined) continue;
      shift = plus(shift, readShift(told));
      checkShift(victim, told);
    }
    answering.flush();
    return {
      answers: { values: concatenated(parts), size },
      asked,
      shift,
      replayed: answering.replayed(),
      memory: asker.read(),
    };
  } finally {
    asker.dispose();
  }
};

/** What a body made of a victim's answers, and what it asked. */
export interface Interview<Result extends Tree> {
  /** The caller owns it. */
  readonly result: Result;
  readonly asked: Asked;
  /** By how much the victim's defences changed what they answered, summed over the queries. */
  readonly shift: AnswerShift;
}

/**
 * Asks a victim once, outside of a fit: for the test of a defence, or a look by hand. What its defences come to
 * remember they know at the next call.
 *
 * @param seed what the step's seed is elsewhere; a defence that draws afresh draws the same for the same one
 */
export const interview = <A extends Access, Result extends Tree>(
  victim: Victim<A>,
  body: (oracle: Oracle<A>) => Result,
  seed: readonly [number, number] = [0, 0],
): Interview<Result> => {
  const session = sessionOf(victim);
  const number = tf.tensor1d([...seed], 'int32');
  const { oracle, close } = open(victim, { tensors: tensorsOf(victim), memory: session.memory, seed: number });
  try {
    const taken = tf.tidy(() => {
      const result = body(oracle);
      const { memory, asked, shift } = close();
      return { kept: keep(clone({ result, memory, ...(shift && { shift }) } as Tree)), asked } as never;
    }) as { kept: { result: Result; memory: Tree; shift?: tf.Tensor1D }; asked: Asked };
    const { result, memory, shift: sums } = taken.kept;
    const told = sums?.dataSync();
    const shift = told === undefined ? noShift : readShift(told);
    sums?.dispose();
    remember(session, { asked: taken.asked, shift, memory });
    if (told !== undefined) checkShift(victim, told);
    return { result, asked: taken.asked, shift };
  } finally {
    number.dispose();
  }
};
