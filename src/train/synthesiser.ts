import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import type { Key } from '../core/random.js';
import type { Tree } from '../core/tree.js';
import type { Normalisation } from '../data/dataset.js';
import type { ImageShape, Named, Network, Output, Variables } from '../models/network.js';
import type { BuiltLearner, Loss } from './classifier.js';
import type { Context } from './context.js';
import type { FitResult, FitSpec } from './fit.js';
import { crossEntropy, distillationKl } from './losses.js';
import type { Access, Oracle, Victim } from './oracle.js';
import { type Pictures, picturesOf } from './pictures.js';
import type { Schedule } from './schedules.js';
import type { NoTensors, Source } from './source.js';

/**
 * Stealing without data is *synthesise → distil*: a synthesiser makes images of what the victim gives away, and a
 * student is distilled on them. A new data-free attack is a new `Synthesiser`: put into `makePool` where it looks at the
 * victim alone, into `distillFromPool` where it looks at the student too, or into `trainJointly` for a generator that
 * learns together with the student.
 *
 * @typeParam State what a synthesiser changes: pixels, or a generator's weights, with their optimiser's slots
 * @typeParam A the access that it needs
 * @typeParam Memory what it keeps from one batch of a pool to the next
 */
export interface Synthesiser<State extends Tree = Tree, A extends Access = Access, Memory extends Tree = NoTensors> {
  /** Images that are made at a time. Their batch statistics are part of many losses, so at least 2. */
  readonly batch: number;
  /** One after the other on the same state; a generator that learns with the student has one. */
  readonly phases: readonly Phase[];
  /**
   * Fresh state: noise to be improved, or a generator. `before` is what the phase before left, borrowed; so is the
   * memory.
   */
  init(key: Key, about: SynthesisContext<A>, from: { readonly before?: State; readonly memory: Memory }): State;
  /** The arithmetic of one step of a phase. */
  step(about: SynthesisContext<A>, phase: number, inputs: SynthesisInputs<State, A, Memory>): SynthesisOutputs<State>;
  /** The images of a state, normalised, [batch, height, width, channels]; seed (int32 [2]) for those that draw. */
  images(about: SynthesisContext<A>, state: State, seed: tf.Tensor1D): tf.Tensor4D;
  /** What lives from batch to batch of a pool: a bank of features, a generator's starting point. */
  readonly memory?: {
    init(key: Key, about: SynthesisContext<A>): Memory;
    /** The memory after a batch, of any form. Both trees are borrowed. */
    after(
      about: SynthesisContext<A>,
      made: { readonly memory: Memory; readonly state: State; readonly key: Key },
    ): Memory;
  };
}

/** A part of a synthesiser's iterations with a schedule of its own. */
export interface Phase {
  /** In `trainJointly`, whose epochs count, of no meaning. */
  readonly iterations: number;
  /** Of all iterations as one epoch, and in `trainJointly` of its epochs: what falls on the way is given as a fraction. */
  readonly schedule: Schedule;
}

/** What a synthesiser works on. */
export interface SynthesisContext<A extends Access = Access> {
  readonly victim: Victim<A>;
  /** The images to be made. */
  readonly input: ImageShape;
  readonly classes: number;
  readonly student: Network;
  /** Of the student's images; a victim whose weights are at hand has the same. */
  readonly normalisation: Normalisation;
}

/** What a synthesiser's step is given, all of it tensors and oracle. */
export interface SynthesisInputs<State extends Tree, A extends Access = Access, Memory extends Tree = NoTensors> {
  /** Open for this step. */
  readonly victim: Oracle<A>;
  /**
   * The students as they are by now, for a synthesiser that looks for what they do not know yet: one, or several that
   * learn jointly.
   */
  readonly students: readonly [Variables, ...Variables[]];
  readonly state: State;
  readonly memory: Memory;
  /** The class that each image is to be of, int32 [batch]. */
  readonly labels: tf.Tensor1D;
  /** Of the phase's schedule. */
  readonly learningRate: tf.Scalar;
  /** int32 [2], another one at every step. */
  readonly seed: tf.Tensor1D;
}

/** What a synthesiser's step leaves. */
export interface SynthesisOutputs<State extends Tree> {
  readonly state: State;
  /** Scalars by name: the loss and its terms. */
  readonly metrics: Named;
  /**
   * The normalised images that the step looked at with the victim's logits or log-probabilities on them, where it asked
   * for them: students that take one step for each of the synthesiser's learn from these.
   */
  readonly shown?: { readonly images: tf.Tensor4D; readonly teacher: tf.Tensor2D };
}

/** What making a pool for all students is given. */
export interface PoolContext extends Context {
  /** How images become a net's input. */
  readonly normalisation: Normalisation;
}

/** What an attack on which nothing depends but the student's training is given; an `AttackContext` is one. */
export interface StudentContext extends PoolContext {
  readonly fullStepsPerEpoch: number;
}

/** A trained student, and the number of images that were made for it. */
export interface Distilled extends FitResult<Variables> {
  /** Images in the pool; absent where the images were not kept. */
  readonly pool?: number;
}

/** What students learn of an image that the victim answered. */
export type StudentLoss = (given: {
  readonly logits: tf.Tensor2D;
  /** Everything that the student gives. */
  readonly output: Output;
  /** As the student sees them: normalised, [batch, height, width, channels]. */
  readonly images: tf.Tensor4D;
  /**
   * Logits or log-probabilities, the most that the victim gives; of one that gives labels alone, their one-hot rows'
   * logarithms (0, −∞).
   */
  readonly teacher: tf.Tensor2D;
  /** Activations of the victim, where a joint distillation asks for such. */
  readonly seen?: Named | undefined;
}) => Loss;

export type Labels = { readonly labels: tf.Tensor1D };

/** Iterations in a line of the log. */
const iterationsPerEpoch = 100;

/** The same batch at every step; `batch` makes its tensors. */
export const constantSource =
  <Batch extends Tree>(batch: () => Batch, images: number, steps: number) =>
  (): Source<Batch> => ({ data: {}, steps, at: () => ({ batch: batch(), images }) });

export const labelled =
  (labels: readonly number[]): (() => Labels) =>
  () => ({ labels: tf.tensor1d([...labels], 'int32') });

/** So many steps in epochs of at most `iterationsPerEpoch`, as equal as there can be. */
const epochsOf = (steps: number) => {
  const epochs = Math.max(1, Math.ceil(steps / iterationsPerEpoch));
  return { epochs, stepsPerEpoch: Math.max(1, Math.ceil(steps / epochs)), steps };
};

export const synthesisContext = <A extends Access>(
  victim: Victim<A>,
  { network }: BuiltLearner,
  { normalisation }: Pick<StudentContext, 'normalisation'>,
): SynthesisContext<A> => {
  const { input, classes } = network;
  return { victim, input, classes, student: network, normalisation };
};

/** One phase of making one batch of images. */
export const phaseFit = <State extends Tree, A extends Access, Memory extends Tree>(
  synthesiser: Synthesiser<State, A, Memory>,
  about: SynthesisContext<A>,
  phase: number,
  {
    labels,
    student,
    memory,
    before,
    every,
  }: {
    readonly labels: readonly number[];
    /** Absent where the images are for all students. */
    readonly student?: Variables | undefined;
    readonly memory: Memory;
    readonly before: State | undefined;
    readonly every: number;
  },
): FitSpec<{ readonly student?: Variables; readonly memory: Memory }, State, Labels, State, NoTensors, A> => {
  const { iterations, schedule } = synthesiser.phases[phase] as Phase;
  return {
    step: ({ victim, frozen }, state, batch, { learningRate, seed }) =>
      synthesiser.step(about, phase, {
        victim,
        get students(): readonly [Variables] {
          return [frozen.student ?? seesStudent()];
        },
        memory: frozen.memory,
        state,
        labels: batch.labels,
        learningRate,
        seed,
      }),
    victim: about.victim,
    frozen: student === undefined ? { memory } : { student, memory },
    init: (key) => synthesiser.init(key, about, before === undefined ? { memory } : { before, memory }),
    source: constantSource(labelled(labels), labels.length, epochsOf(iterations).stepsPerEpoch),
    ...scheduleSlice({ epochs: 1, schedule }, { steps: iterations, before: 0, total: iterations }),
    keep: (state) => state,
    snapshot: { every, of: (state) => shownOf(synthesiser, about, state) },
  };
};

const someSeed = (): tf.Tensor1D => tf.tensor1d([1, 2], 'int32');

export const shownOf = <State extends Tree, A extends Access, Memory extends Tree>(
  synthesiser: Synthesiser<State, A, Memory>,
  about: SynthesisContext<A>,
  state: State,
): Pictures => {
  const images = tf.tidy(() => synthesiser.images(about, state, someSeed()).clone());
  const pictures = picturesOf(images, about.normalisation);
  images.dispose();
  return pictures;
};

export const tenthOf = (iterations: number): number => Math.max(1, Math.round(iterations / 10));

/**
 * `count` labels: the classes 0 … `classes` − 1 in turn, over and over, from position `from` of that sequence on.
 *
 * @example
 * ```ts
 * import { roundRobinLabels } from 'undistill/synthesis';
 *
 * console.log(roundRobinLabels(5, 3).join(' ')); // 0 1 2 0 1
 * console.log(roundRobinLabels(5, 3, 4).join(' ')); // 1 2 0 1 2
 * ```
 */
export const roundRobinLabels = (count: number, classes: number, from = 0): readonly number[] =>
  Array.from({ length: count }, (_, i) => (from + i) % classes);

/** τ² KL(victim ‖ student), both softened by τ; cross-entropy where the victim gives labels alone. */
export const distilled =
  (access: Access, temperature: number): StudentLoss =>
  ({ logits, teacher }) =>
    access === 'label'
      ? { loss: crossEntropy(logits, tf.argMax(teacher, 1)) }
      : distillationKl({ logits, teacher, temperature });

/** Throws a `FailureError` of kind `plugin` for a synthesiser that cannot make a batch of images of these classes. */
export const validateSynthesiser = (
  { batch, phases }: Pick<Synthesiser, 'batch' | 'phases'>,
  labels: readonly number[],
  classes: number,
): void => {
  const refuse = (what: string, remedy: string): never => {
    throw new FailureError(failure('plugin', what, { where: 'synthesiser', remedy }));
  };
  if (batch < 2) refuse(`its batches are of ${batch} images`, 'Make at least 2: a single one has no batch statistics.');
  if (phases.length === 0) refuse('it has no phases', 'Give it one, with its iterations and learning rate.');
  if (labels.length !== batch)
    refuse(
      `there are ${labels.length} labels for a batch of ${batch} images`,
      'Give a class for each image of the batch.',
    );
  const strange = labels.find((label) => !(Number.isInteger(label) && label >= 0 && label < classes));
  if (strange !== undefined) refuse(`label ${strange} is none of the ${classes} classes`, 'Count classes from 0 on.');
};

/** `steps` steps of a training of `total`, of which `before` were taken: epochs and rate as in the whole. */
export const scheduleSlice = (
  { epochs, schedule }: Pick<BuiltLearner['recipe'], 'epochs' | 'schedule'>,
  { steps, before, total }: { readonly steps: number; readonly before: number; readonly total: number },
): Required<Pick<FitSpec<Tree, Tree, Tree, Tree>, 'epochs' | 'schedule'>> & {
  readonly stepsPerEpoch: number;
  readonly steps: number;
} => {
  const perEpoch = total / epochs;
  return {
    ...epochsOf(steps),
    schedule: {
      ...schedule,
      at: ({ step }) =>
        schedule.at({
          epoch: Math.floor((step + before) / perEpoch),
          step: step + before,
          stepsPerEpoch: perEpoch,
          epochs,
        }),
    },
  };
};

export const seesStudent = (): never => {
  throw new FailureError(
    failure('plugin', 'a synthesiser whose images are for all students looks at one of them', {
      where: 'makePool',
      remedy: 'Make its images with distillFromPool in `steal`, for each student.',
    }),
  );
};
