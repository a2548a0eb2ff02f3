import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import type { Key } from '../core/random.js';
import { clone, dispose, type Tree } from '../core/tree.js';
import type { Augmentation, Normalisation } from '../data/dataset.js';
import { anotherSeed, rows, standardUniform } from '../engine/ops.js';
import type { ImageShape, Named, Network, Output, Variables } from '../models/network.js';
import { answersTo } from './ask.js';
import {
  type BuiltLearner,
  type ClassifierState,
  classifier,
  initialState,
  type Loss,
  updateOn,
} from './classifier.js';
import type { Context, Synthesised } from './context.js';
import type { FitResult, FitSpec } from './fit.js';
import type { FitStep } from './fit-step.js';
import { type ImageSet, type RawBatch, type Resident, toPixels, type UnlabelledBatch } from './images.js';
import { predicted } from './logits.js';
import { crossEntropy, detach, distillationKl } from './losses.js';
import { type Access, accessOf, type Oracle, type Victim, type WeightOracle } from './oracle.js';
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

type Labels = { readonly labels: tf.Tensor1D };

/** Iterations in a line of the log. */
const iterationsPerEpoch = 100;

/** The same batch at every step; `batch` makes its tensors. */
export const constantSource =
  <Batch extends Tree>(batch: () => Batch, images: number, steps: number) =>
  (): Source<Batch> => ({ data: {}, steps, at: () => ({ batch: batch(), images }) });

const labelled =
  (labels: readonly number[]): (() => Labels) =>
  () => ({ labels: tf.tensor1d([...labels], 'int32') });

/** So many steps in epochs of at most `iterationsPerEpoch`, as equal as there can be. */
const epochsOf = (steps: number) => {
  const epochs = Math.max(1, Math.ceil(steps / iterationsPerEpoch));
  return { epochs, stepsPerEpoch: Math.max(1, Math.ceil(steps / epochs)), steps };
};

const synthesisContext = <A extends Access>(
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

const shownOf = <State extends Tree, A extends Access, Memory extends Tree>(
  synthesiser: Synthesiser<State, A, Memory>,
  about: SynthesisContext<A>,
  state: State,
): Pictures => {
  const images = tf.tidy(() => synthesiser.images(about, state, someSeed()).clone());
  const pictures = picturesOf(images, about.normalisation);
  images.dispose();
  return pictures;
};

const tenthOf = (iterations: number): number => Math.max(1, Math.round(iterations / 10));

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
const distilled =
  (access: Access, temperature: number): StudentLoss =>
  ({ logits, teacher }) =>
    access === 'label'
      ? { loss: crossEntropy(logits, tf.argMax(teacher, 1)) }
      : distillationKl({ logits, teacher, temperature });

/** A pool of images, batch by batch. */
export interface Pooling {
  /** Batches of images in the pool. */
  readonly batches: number;
  /** The classes of each batch's images; default: every class in turn, from batch to batch. */
  readonly labels?: readonly number[] | undefined;
  /** Iterations between two pictures of how it goes; default: a tenth of all. */
  readonly pictureEvery?: number | undefined;
}

/** How a student learns from a pool of images. */
export interface Distillation {
  /** τ of the student's distillation. */
  readonly temperature: number;
  /** Instead of distillation at `temperature`. */
  readonly loss?: StudentLoss | undefined;
  /** Steps of distillation; default: as many as honest training on all images takes. */
  readonly steps?: number | undefined;
  /** Changes of a pool's images in training; default: none. */
  readonly augmentation?: Augmentation | undefined;
}

/** How a student learns from a pool that is made while it learns, or for it alone. */
export interface PoolDistillation extends Pooling, Distillation {
  /** Steps after each new batch, on the pool as it is by then; default: 0, all images are made first. */
  readonly stepsBetween?: number | undefined;
  /** Batches before the first after which such steps are taken; default 0. */
  readonly learnsAfter?: number | undefined;
}

/** A pool of fewer images than this is marked: a student of so few says little about the attack at full size. */
export const comparablePool = 10_000;

/** What goes from batch to batch: the synthesiser's memory, and the student where it learns in between. */
type Between<Memory extends Tree> = { readonly memory: Memory; readonly student?: ClassifierState };

/** A student beside a pool in the making. The caller owns what each of these gives. */
interface Beside {
  readonly fresh: () => ClassifierState;
  /** The student after the steps that follow a batch; absent where it learns when the pool is made. */
  readonly learn?: (context: Context, student: ClassifierState, batch: number) => Promise<ClassifierState>;
}

/** Makes a pool's batches one after the other; gives the student that learnt in between, which the caller owns. */
const makeBatches = async <State extends Tree, A extends Access, Memory extends Tree>(
  synthesiser: Synthesiser<State, A, Memory>,
  about: SynthesisContext<A>,
  { batches, labels: given, pictureEvery }: Pooling,
  context: Context,
  beside: Beside | undefined,
): Promise<ClassifierState | undefined> => {
  const all = synthesiser.phases.reduce((sum, { iterations }) => sum + iterations, 0);
  const every = pictureEvery ?? tenthOf(all);
  const labelsOf = (batch: number): readonly number[] =>
    given ?? roundRobinLabels(synthesiser.batch, about.classes, batch * synthesiser.batch);
  validateSynthesiser(synthesiser, labelsOf(0), about.classes);
  const { memory, student } = await context.loop<Between<Memory>>('pool', {
    count: batches,
    init: (key) => ({
      memory: synthesiser.memory?.init(key, about) ?? ({} as Memory),
      ...(beside?.learn === undefined ? {} : { student: beside.fresh() }),
    }),
    body: async ({ memory, student: learning }, batch, inner) => {
      const known = learning ?? beside?.fresh();
      // What is made on the way is this iteration's, whatever fails in it.
      const owned: Tree[] = learning === undefined && known !== undefined ? [known] : [];
      try {
        const labels = labelsOf(batch);
        const { state, updates } = await synthesise(synthesiser, about, {
          labels,
          student: known?.variables,
          memory,
          every,
          context: inner,
        });
        owned.push(state);
        await inner.images('lot', async () => ({ ...shownOf(synthesiser, about, state), labels, updates }));
        const student = learning === undefined ? undefined : await beside?.learn?.(inner, learning, batch);
        if (student !== undefined) owned.push(student);
        const key = inner.key.split('memory');
        const after = synthesiser.memory?.after(about, { memory, state, key }) ?? clone(memory);
        return student === undefined ? { memory: after } : { memory: after, student: clone(student) };
      } finally {
        dispose(owned);
      }
    },
  });
  dispose(memory);
  return student;
};

/**
 * Makes a pool of images of a victim alone, batch by batch: for `pool` of an attack, from which all its students learn
 * (`distilPool`). A synthesiser that looks at the student is refused here: use `distillFromPool`.
 */
export const makePool = async <State extends Tree, A extends Access, Memory extends Tree = NoTensors>(
  synthesiser: Synthesiser<State, A, Memory>,
  options: Pooling,
  victim: Victim<A>,
  context: PoolContext,
): Promise<void> => {
  const { input, classes } = victim as Victim<'label'>;
  const about = { victim, input, classes, normalisation: context.normalisation } as SynthesisContext<A>;
  Object.defineProperty(about, 'student', { get: seesStudent });
  await makeBatches(synthesiser, about, options, context, undefined);
};

const seesStudent = (): never => {
  throw new FailureError(
    failure('plugin', 'a synthesiser whose images are for all students looks at one of them', {
      where: 'makePool',
      remedy: 'Make its images with distillFromPool in `steal`, for each student.',
    }),
  );
};

/** Fits of a student on the pool as it is by then: `count` steps, of which `before` were taken earlier. */
const distilling = <A extends Access>(
  { temperature, loss, steps, augmentation = { crop: 0, flip: false } }: Distillation,
  victim: Victim<A>,
  learner: BuiltLearner,
  context: StudentContext,
) => {
  const total = steps ?? learner.recipe.epochs * context.fullStepsPerEpoch;
  return {
    steps: total,
    fresh: (): ClassifierState =>
      initialState(learner.recipe.optimizer, learner.network.init(context.key.split('student').split('init'))),
    fit: async (on: Pick<Context, 'fit'>, student: ClassifierState, before: number, count: number) => {
      const [first, ...others] = await context.pool();
      if (first === undefined) throw new FailureError(nothingPooled);
      return on.fit(
        'student',
        poolFit(learner, victim, {
          lots: [first, ...others],
          normalisation: context.normalisation,
          start: student,
          loss: loss ?? distilled(accessOf(victim), temperature),
          augmentation,
          steps: count,
          before,
          total,
        }),
      );
    },
  };
};

const nothingPooled = failure('plugin', 'there are no images to learn from', {
  where: 'distilPool',
  remedy: 'Make them in `pool`, with makePool or context.images.',
});

/** What a last fit on a pool leaves, without the optimiser's memory. */
const withPool = async (
  { last, best: _, ...fitted }: FitResult<ClassifierState>,
  context: StudentContext,
): Promise<Distilled> => {
  const made = (await context.pool()).reduce((sum, { labels }) => sum + labels.length, 0);
  if (made < comparablePool)
    context.warn(
      `pool too small to compare: ${made.toLocaleString('en')} images, and fewer than ${comparablePool.toLocaleString('en')} say little about the attack`,
    );
  const variables = clone(last.variables);
  dispose(last);
  return { ...fitted, pool: made, last: variables };
};

/** Distils the student on the attack's pool: τ² KL(victim ‖ student), both softened by τ. */
export const distilPool = async <A extends Access>(
  options: Distillation,
  victim: Victim<A>,
  learner: BuiltLearner,
  context: StudentContext,
): Promise<Distilled> => {
  const { fresh, fit, steps } = distilling(options, victim, learner, context);
  const student = fresh();
  try {
    return await withPool(await fit(context, student, 0, steps), context);
  } finally {
    dispose(student);
  }
};

/**
 * Makes a pool of images batch by batch, for this student alone, and distils it on them: τ² KL(victim ‖ student), both
 * softened by τ. For synthesisers that look at the student; see `makePool` for others.
 */
export const distillFromPool = async <State extends Tree, A extends Access, Memory extends Tree = NoTensors>(
  synthesiser: Synthesiser<State, A, Memory>,
  options: PoolDistillation,
  victim: Victim<A>,
  learner: BuiltLearner,
  context: StudentContext,
): Promise<Distilled> => {
  const { batches, stepsBetween = 0, learnsAfter = 0 } = options;
  const { fresh, fit, steps } = distilling(options, victim, learner, context);
  const takenBefore = (batch: number): number => Math.min(Math.max(0, batch - learnsAfter) * stepsBetween, steps);

  // The last steps of all are one fit, whose log is the student's.
  const learn = async (on: Pick<Context, 'fit'>, student: ClassifierState, batch: number) => {
    const count = takenBefore(batch + 1) - takenBefore(batch);
    if (count === 0 || takenBefore(batch + 1) === steps) return clone(student);
    return (await fit(on, student, takenBefore(batch), count)).last;
  };

  const about = synthesisContext(victim, learner, context);
  const beside = stepsBetween === 0 ? { fresh } : { fresh, learn };
  const student = (await makeBatches(synthesiser, about, options, context, beside)) ?? fresh();
  const learning = batches - learnsAfter;
  if (stepsBetween > 0 && steps < learning * stepsBetween)
    context.warn(
      `the student's ${steps} steps were taken before the last of ${batches} batches: later images were made against a student that learnt no more`,
    );
  const before = lastBefore(steps, stepsBetween, learning);
  try {
    return await withPool(await fit(context, student, before, steps - before), context);
  } finally {
    dispose(student);
  }
};

/** Steps that were taken between batches when the last fit begins: at least one is left to it. */
const lastBefore = (steps: number, between: number, batches: number): number =>
  between === 0 ? 0 : Math.min(batches, Math.ceil(steps / between) - 1) * between;

/** Throws a `FailureError` of kind `plugin` for a synthesiser that cannot make a batch of images of these classes. */
const validateSynthesiser = (
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

/** All phases of one batch: what the last one left, which the caller owns, and the updates that it took. */
const synthesise = async <State extends Tree, A extends Access, Memory extends Tree>(
  synthesiser: Synthesiser<State, A, Memory>,
  about: SynthesisContext<A>,
  {
    context,
    ...given
  }: {
    readonly labels: readonly number[];
    readonly student: Variables | undefined;
    readonly memory: Memory;
    readonly every: number;
    readonly context: Context;
  },
): Promise<{ readonly state: State; readonly updates: number }> => {
  const { phases } = synthesiser;
  let before: State | undefined;
  let updates = 0;
  for (const phase of phases.keys()) {
    const spec = phaseFit(synthesiser, about, phase, { ...given, before });
    try {
      const { last, steps } = await context.fit(phases.length === 1 ? 'images' : `images-phase-${phase}`, spec);
      updates += steps;
      if (before !== undefined) dispose(before);
      before = last;
    } catch (error) {
      if (before !== undefined) dispose(before);
      throw error;
    }
  }
  return { state: before as State, updates };
};

/** Distillation on a pool, from a state that earlier steps left: the learning rate goes on where it was. */
const poolFit = <A extends Access>(
  learner: BuiltLearner,
  victim: Victim<A>,
  {
    lots,
    normalisation,
    start,
    loss,
    augmentation,
    steps,
    before,
    total,
  }: {
    readonly lots: readonly [Synthesised, ...Synthesised[]];
    readonly normalisation: Normalisation;
    readonly start: ClassifierState;
    readonly loss: StudentLoss;
    readonly augmentation: Augmentation;
    readonly steps: number;
    readonly before: number;
    readonly total: number;
  },
): FitSpec<NoTensors, ClassifierState, RawBatch, ClassifierState, Resident, A> => {
  const { recipe } = learner;
  const access = accessOf(victim);
  const count = lots.reduce((sum, { labels }) => sum + labels.length, 0);
  const set: ImageSet<UnlabelledBatch> = {
    examples: { images: Buffer.concat(lots.map(({ images }) => images)), count },
    indices: Int32Array.from({ length: count }, (_, i) => i),
    shape: lots[0].shape,
    normalisation,
    augmentation,
    labelled: false,
  };
  const spec = classifier({
    learner: { ...learner, recipe: { ...recipe, batch: Math.min(recipe.batch, count) } },
    data: set,
    victim,
    target: ({ victim: oracle, pixels, images }) => ({ teacher: answersTo(oracle, access, pixels), images }),
    loss: ({ logits, output, target: { teacher, images } }) => loss({ logits, output, images, teacher }),
  });
  return {
    ...(spec as FitSpec<NoTensors, ClassifierState, RawBatch, Variables, Resident, A>),
    ...scheduleSlice(recipe, { steps, before, total }),
    init: () => clone(start),
    keep: whole,
    until: undefined,
  };
};

const whole = (state: ClassifierState): ClassifierState => state;

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

/** Images that the victim answered, the latest last, and how many of them there are by now: [size, …], [size, classes], scalar. */
type Replay = { readonly images: tf.Tensor4D; readonly teacher: tf.Tensor2D; readonly filled: tf.Scalar };

/** A generator and the students that learn from it. */
type Joint<State extends Tree> = {
  readonly synthesiser: State;
  readonly students: readonly ClassifierState[];
  readonly replay?: Replay;
};

/** How a synthesiser and students learn together. */
export interface JointDistillation {
  /** The fit takes `epochs` · `stepsPerEpoch` steps, and logs a line an epoch. */
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  /** τ of the students' distillation, unless `loss` is given. Default 1. */
  readonly temperature?: number;
  /** Instead of distillation at `temperature`. */
  readonly loss?: StudentLoss;
  /** Steps of the synthesiser in one step of the fit. Default 1. */
  readonly synthesiserSteps?: number;
  /**
   * Steps of the students after them. Default: one step, on the images that the synthesiser's last step has shown, with the
   * answers it had.
   */
  readonly studentSteps?: number;
  /**
   * What those steps are on: fresh images each, about which the victim is asked (`fresh`, the default); the first one on what
   * the synthesiser has shown and the others on fresh ones (`shown first`); or all on the images that it makes of its last
   * step's seed by then, about which the victim is asked once (`same`).
   */
  readonly studentImages?: 'fresh' | 'shown first' | 'same';
  /** Further steps on images that were answered before, and how many batches of them are remembered. Default: none. */
  readonly replay?: { readonly steps: number; readonly batches: number } | undefined;
  /** Students that learn from the same images; the first one is what is stolen. Default 1. */
  readonly students?: number;
  /** Activations that the loss compares, by name; with `weights` and without `replay` alone. Default: none. */
  readonly activations?: { readonly victim: readonly string[]; readonly student: readonly string[] };
  /** Images of the trained generator that are kept to be looked at. */
  readonly keep: number;
  /** Steps between two pictures of how it goes; default: a tenth of all. */
  readonly pictureEvery?: number | undefined;
}

/**
 * Lets a synthesiser and students learn in one step of a fit, in any ratio: no gradient flows from the students to the
 * synthesiser or back. The student's recipe gives their optimiser and learning rate.
 */
export const trainJointly = async <State extends Tree, A extends Access>(
  synthesiser: Synthesiser<State, A>,
  options: JointDistillation,
  victim: Victim<A>,
  learner: BuiltLearner,
  context: StudentContext,
): Promise<Distilled> => {
  const about = synthesisContext(victim, learner, context);
  validateSynthesiser(synthesiser, roundRobinLabels(synthesiser.batch, about.classes), about.classes);
  const { last, best: _, ...fitted } = await context.fit('student', jointFit(synthesiser, about, options, learner));
  try {
    const [student] = last.students as [ClassifierState];
    await context.images('generated', async () => ({
      ...(await sampled(synthesiser, about, last.synthesiser, options.keep, { context, student: student.variables })),
      updates: fitted.steps * (options.synthesiserSteps ?? 1),
    }));
    return { ...fitted, last: clone(student.variables) };
  } finally {
    dispose(last);
  }
};

const noMemory: NoTensors = {};

/** Images with what the victim told of them. */
interface Answered {
  /** Normalised. */
  readonly images: tf.Tensor4D;
  readonly teacher: tf.Tensor2D;
  readonly seen?: Named | undefined;
}

/** The fit of a synthesiser and students together. */
export const jointFit = <State extends Tree, A extends Access>(
  synthesiser: Synthesiser<State, A>,
  about: SynthesisContext<A>,
  {
    epochs,
    stepsPerEpoch,
    temperature = 1,
    loss = distilled(accessOf(about.victim), temperature),
    synthesiserSteps = 1,
    studentSteps,
    studentImages = studentSteps === undefined ? 'shown first' : 'fresh',
    replay,
    students: count = 1,
    activations,
    pictureEvery,
  }: Omit<JointDistillation, 'keep'>,
  learner: BuiltLearner,
): FitSpec<NoTensors, Joint<State>, JointBatch, Joint<State>, NoTensors, A> => {
  const { network, recipe } = learner;
  const access = accessOf(about.victim);
  const labels = roundRobinLabels(synthesiser.batch, about.classes);
  const { schedule } = synthesiser.phases[0] as Phase;
  type Learning = Pick<Joint<State>, 'students'> & { readonly metrics: Named };

  /** One update of each student, and the first one's loss. */
  const update = ({ students, metrics }: Learning, answered: Answered, learningRate: tf.Scalar): Learning => {
    const updated = students.map((student) =>
      updateOn(
        learner,
        student,
        answered.images,
        learningRate,
        ({ logits, output }) => loss({ logits, output, ...answered }),
        activations === undefined ? {} : { activations: activations.student },
      ),
    );
    const { terms, loss: value } = updated[0] as (typeof updated)[0];
    return {
      students: updated.map(({ state }) => state),
      metrics: { ...metrics, ...(Object.keys(terms).length === 0 ? { studentLoss: value } : terms) },
    };
  };

  const asked = (victim: Oracle<A>, images: tf.Tensor4D): Answered => {
    if (activations === undefined)
      return { images, teacher: answersTo(victim, access, toPixels(images, about.normalisation)) };
    const { logits, activations: seen } = (victim as WeightOracle).apply(images, { activations: activations.victim });
    return { images, teacher: logits, seen };
  };

  const step: FitStep<NoTensors, Joint<State>, JointBatch, NoTensors, A> = ({ victim }, joint, batch, inputs) => {
    const { learningRate, seed } = inputs;
    const known = joint.students.map(({ variables }) => variables) as [Variables, ...Variables[]];
    let made: SynthesisOutputs<State> = { state: joint.synthesiser, metrics: {} };
    for (let i = 0; i < synthesiserSteps; i++)
      made = synthesiser.step(about, 0, {
        victim,
        students: known,
        memory: noMemory,
        state: made.state,
        labels: batch.labels,
        learningRate: batch.rate,
        seed: anotherSeed(seed, i),
      });
    const drawn = (i: number): Answered =>
      asked(victim, synthesiser.images(about, made.state, anotherSeed(seed, synthesiserSteps + i)));
    const lots = (steps: number): readonly Answered[] => {
      if (studentImages === 'same') return Array<Answered>(steps).fill(drawn(-1));
      if (studentImages === 'fresh') return Array.from({ length: steps }, (_, i) => drawn(i));
      if (made.shown === undefined) throw new FailureError(nothingShown);
      const { images, teacher } = made.shown;
      const first = { images: detach(images), teacher };
      return [first, ...Array.from({ length: steps - 1 }, (_, i) => drawn(i))];
    };
    const fresh = lots(studentSteps ?? 1);
    const start: Learning = { students: joint.students, metrics: made.metrics };
    const learning = fresh.reduce((so, lot) => update(so, lot, learningRate), start);
    if (replay === undefined || joint.replay === undefined)
      return { state: { synthesiser: made.state, students: learning.students }, metrics: learning.metrics };
    const remembered = withLatest(joint.replay, fresh.at(-1) as Answered);
    const again = Array.from({ length: replay.steps }, (_, i) =>
      recalled(remembered, synthesiser.batch, anotherSeed(seed, replaySeeds + i)),
    );
    // What is logged is of fresh images, the first students' loss among them.
    const { students } = again.reduce((so, lot) => update(so, lot, learningRate), learning);
    return { state: { synthesiser: made.state, students, replay: remembered }, metrics: learning.metrics };
  };
  return {
    step,
    victim: about.victim,
    init: (key) => ({
      synthesiser: synthesiser.init(key.split('synthesiser'), about, { memory: noMemory }),
      students: Array.from({ length: count }, (_, i) =>
        // Students that began alike would agree for ever.
        initialState(recipe.optimizer, network.init(i === 0 ? key : key.split(`student ${i}`))),
      ),
      ...(replay === undefined ? {} : { replay: nothingYet(about, replay.batches * synthesiser.batch) }),
    }),
    source: () => ({
      data: {},
      steps: epochs * stepsPerEpoch,
      at: (step) => {
        const rate = schedule.at({ epoch: Math.floor(step / stepsPerEpoch), step, stepsPerEpoch, epochs });
        return { batch: { ...labelled(labels)(), rate: tf.scalar(rate) }, images: labels.length };
      },
    }),
    epochs,
    stepsPerEpoch,
    schedule: recipe.schedule,
    keep: (state) => state,
    snapshot: {
      every: pictureEvery ?? tenthOf(epochs * stepsPerEpoch),
      of: (state) => shownOf(synthesiser, about, state.synthesiser),
    },
  };
};

/** The classes that are asked for, and the synthesiser's learning rate. */
type JointBatch = Labels & { readonly rate: tf.Scalar };

/** Where the seeds of replayed images begin, far from those of fresh ones. */
const replaySeeds = 250_000;

const nothingYet = ({ input: { height, width, channels }, classes }: SynthesisContext, size: number): Replay => ({
  images: tf.zeros([size, height, width, channels]),
  teacher: tf.zeros([size, classes]),
  filled: tf.scalar(0),
});

/** With a batch more, and without the oldest where there is no room. */
const withLatest = ({ images, teacher, filled }: Replay, latest: Answered): Replay => {
  const [size, batch] = [images.shape[0], latest.images.shape[0]];
  return {
    images: tf.concat([tf.slice(images, [batch, 0, 0, 0]), latest.images]),
    teacher: tf.concat([tf.slice(teacher, [batch, 0]), latest.teacher]),
    filled: tf.minimum(tf.add(filled, batch), size),
  };
};

/** So many of the images that are remembered, drawn with replacement. */
const recalled = ({ images, teacher, filled }: Replay, count: number, seed: tf.Tensor1D): Answered => {
  const back = tf.floor(tf.mul(standardUniform([count], seed), filled));
  const places = tf.cast(tf.sub(images.shape[0] - 1, tf.minimum(back, tf.sub(filled, 1))), 'int32') as tf.Tensor1D;
  return { images: rows(images, places), teacher: rows(teacher, places) };
};

const nothingShown = failure('plugin', 'its step shows no images with answers', {
  where: 'synthesiser',
  remedy: 'Return `shown`, or give trainJointly the number of studentSteps.',
});

/**
 * So many images of a generator, each called by what the victim takes it for; by what the student does, where asking
 * the victim would be one more query.
 */
const sampled = async <State extends Tree, A extends Access>(
  synthesiser: Synthesiser<State, A>,
  about: SynthesisContext<A>,
  state: State,
  count: number,
  { context, student }: { readonly context: Context; readonly student: Variables },
): Promise<Omit<Synthesised, 'updates'>> => {
  const lots = Array.from({ length: Math.ceil(count / synthesiser.batch) }, (_, lot) => {
    const seed = tf.tensor1d([...context.key.split('generated').split(lot).int32Pair()], 'int32');
    const { images, taken } = tf.tidy(() => {
      const made = synthesiser.images(about, state, seed).clone();
      return { images: made, taken: about.student.apply(student, made, { mode: 'eval' }).logits.argMax(1) };
    });
    const found = { ...picturesOf(images, about.normalisation), labels: Array.from(taken.dataSync()) };
    tf.dispose([seed, images, taken]);
    return found;
  });
  const { shape } = lots[0] as Pictures;
  const images = Buffer.concat(lots.map(({ images }) => images)).subarray(
    0,
    count * shape.height * shape.width * shape.channels,
  );
  const byStudent = lots.flatMap(({ labels }) => labels).slice(0, count);
  const labels =
    accessOf(about.victim) === 'weights' ? await byVictim(context, about, { images, shape, count }) : byStudent;
  return { shape, images, labels, clipped: lots.reduce((sum, { clipped }) => sum + clipped, 0) / lots.length };
};

const byVictim = async <A extends Access>(
  context: Context,
  { victim, normalisation }: SynthesisContext<A>,
  { images, shape, count }: { readonly images: Uint8Array; readonly shape: ImageShape; readonly count: number },
): Promise<readonly number[]> => {
  const { values, size } = await context.ask('generated', victim, {
    examples: { images, count },
    indices: Int32Array.from({ length: count }, (_, i) => i),
    shape,
    normalisation,
    augmentation: { crop: 0, flip: false },
    labelled: false,
  });
  return Array.from({ length: count }, (_, i) => predicted({ values, classes: size }, i));
};
