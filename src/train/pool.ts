import { FailureError, failure } from '../core/errors.js';
import { clone, dispose, type Tree } from '../core/tree.js';
import { type Augmentation, type Normalisation, noAugmentation } from '../data/dataset.js';
import type { Variables } from '../models/network.js';
import { answersTo } from './ask.js';
import { type BuiltLearner, type ClassifierState, classifier, initialState } from './classifier.js';
import type { Context, Synthesised } from './context.js';
import type { FitResult, FitSpec } from './fit.js';
import type { ImageSet, RawBatch, Resident, UnlabelledBatch } from './images.js';
import { type Access, accessOf, type Victim } from './oracle.js';
import type { NoTensors } from './source.js';
import {
  type Distilled,
  distilled,
  type PoolContext,
  phaseFit,
  roundRobinLabels,
  type StudentContext,
  type StudentLoss,
  type SynthesisContext,
  type Synthesiser,
  scheduleSlice,
  seesStudent,
  shownOf,
  synthesisContext,
  tenthOf,
  validateSynthesiser,
} from './synthesiser.js';

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

/** Fits of a student on the pool as it is by then: `count` steps, of which `before` were taken earlier. */
const distilling = <A extends Access>(
  { temperature, loss, steps, augmentation = noAugmentation }: Distillation,
  victim: Victim<A>,
  learner: BuiltLearner,
  context: StudentContext,
) => {
  const total = steps ?? learner.recipe.epochs * context.fullStepsPerEpoch;
  return {
    steps: total,
    fresh: (): ClassifierState =>
      initialState(learner.recipe, learner.network.init(context.key.split('student').split('init'))),
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
    steps: total,
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
