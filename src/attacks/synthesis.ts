import * as tf from '@tensorflow/tfjs';
import * as E from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { FailureError, failure, type Task, toFailure } from '../core/errors.js';
import type { Key } from '../core/random.js';
import { clone, dispose, type Tree } from '../core/tree.js';
import type { Augmentation } from '../data/dataset.js';
import type { Victim } from '../defenses/victim.js';
import type { Step } from '../engine/step.js';
import type { Named, Network, Variables } from '../models/network.js';
import { type BuiltLearner, type ClassifierState, classifier, initialState, updateOn } from '../train/classifier.js';
import type { Cost, Synthesised } from '../train/context.js';
import type { FitSpec, Given, NoTensors, Source } from '../train/fit.js';
import type { ImageSet, UnlabelledBatch } from '../train/images.js';
import { detach, distillationKl } from '../train/losses.js';
import { type Pictures, picturesOf } from '../train/pictures.js';
import { constant, type Schedule } from '../train/schedules.js';
import type { AttackContext, Extraction } from './attack.js';

/**
 * Stealing without data is *synthesise → distil*: a synthesiser makes images of what the victim's weights give away, and a
 * student is distilled on them. A new data-free attack is a new `Synthesiser`, put into `stealFromPool`, or
 * `stealJointly` for a generator that learns with the student.
 */
export interface Synthesiser<State extends Tree = Tree> {
  /** Images that are made at a time. Their batch statistics are part of the losses, so at least 2. */
  readonly batch: number;
  /** One after the other on the same state; a generator, which learns with the student, has one. */
  readonly phases: readonly Phase[];
  /** Fresh state: noise to be improved, or a generator. `before` is what the phase before left, borrowed. */
  init(key: Key, site: SynthesisContext, before?: State): State;
  /** The arithmetic of one step of a phase. */
  step(site: SynthesisContext, phase: number, given: SynthesisInputs<State>): SynthesisOutputs<State>;
  /** The images of a state, normalised, [batch, height, width, channels]; seed (int32 [2]) for those that draw. */
  images(site: SynthesisContext, state: State, seed: tf.Tensor1D): tf.Tensor4D;
}

export interface Phase {
  readonly iterations: number;
  /** Of all iterations as one epoch: what falls on the way is given as a fraction. */
  readonly schedule: Schedule;
}

/** What a synthesiser works on. */
export interface SynthesisContext {
  readonly victim: Victim<'weights'>;
  readonly student: Network;
}

export interface SynthesisInputs<State extends Tree> {
  /** The victim's tensors, which its answers are computed from. */
  readonly frozen: Tree;
  /** The student as it is by now, for a synthesiser that looks for what it does not know yet. */
  readonly student: Variables;
  readonly state: State;
  /** The class that each image is to be of, int32 [batch]. */
  readonly labels: tf.Tensor1D;
  readonly learningRate: tf.Scalar;
  readonly seed: tf.Tensor1D;
}

export interface SynthesisOutputs<State extends Tree> {
  readonly state: State;
  /** The images that the step looked at, and the victim's logits on them: what a student learns from at once. */
  readonly images: tf.Tensor4D;
  readonly logits: tf.Tensor2D;
  /** Scalars by name: the loss and its terms. */
  readonly metrics: Named;
}

type Labels = { readonly labels: tf.Tensor1D };
type Victims = { readonly victim: Tree; readonly student: Variables };

/** Iterations in a line of the log. */
const iterationsPerEpoch = 100;

const asTask = <A>(body: () => Promise<A>): Task<A> => TE.tryCatch(body, toFailure('plugin'));

/** Inside `asTask`: the value of a task; its failure ends the body. */
const done = async <A>(task: Task<A>): Promise<A> => {
  const result = await task();
  if (E.isLeft(result)) throw new FailureError(result.left);
  return result.right;
};

/** The same batch at every step; `batch` makes its tensors. */
export const constantSource =
  <Batch extends Tree>(batch: () => Batch, images: number, steps: number) =>
  (): Source<Batch> => ({ data: {}, steps, at: () => ({ batch: batch(), images }) });

const labelled =
  (labels: readonly number[]): (() => Labels) =>
  () => ({ labels: tf.tensor1d([...labels], 'int32') });

/** So many steps in epochs of at most `iterationsPerEpoch`, as equal as there can be. */
const epochsOf = (steps: number) => {
  const epochs = Math.ceil(steps / iterationsPerEpoch);
  return { epochs, stepsPerEpoch: Math.ceil(steps / epochs), steps };
};

/** One phase of making one batch of images. */
export const phaseFit = <State extends Tree>(
  synthesiser: Synthesiser<State>,
  site: SynthesisContext,
  phase: number,
  {
    labels,
    student,
    before,
    every,
  }: {
    readonly labels: readonly number[];
    readonly student: Variables;
    readonly before: State | undefined;
    readonly every: number;
  },
): FitSpec<Victims, State, Labels, State> => {
  const { iterations, schedule } = synthesiser.phases[phase] as Phase;
  const step: Step<Given<Victims, NoTensors>, State, Labels, Named> = (
    { frozen },
    state,
    batch,
    { learningRate, seed },
  ) => {
    const improved = synthesiser.step(site, phase, {
      frozen: frozen.victim,
      student: frozen.student,
      state,
      labels: batch.labels,
      learningRate,
      seed,
    });
    return { state: improved.state, metrics: improved.metrics };
  };
  return {
    step,
    frozen: { victim: site.victim.frozen, student },
    init: (key) => synthesiser.init(key, site, before),
    source: constantSource(labelled(labels), labels.length, epochsOf(iterations).stepsPerEpoch),
    ...scheduleSlice({ epochs: 1, schedule }, { steps: iterations, before: 0, total: iterations }),
    queriesPerImage: 1,
    keep: (state) => state,
    snapshot: { every, of: (state) => shownOf(synthesiser, site, state) },
  };
};

const someSeed = (): tf.Tensor1D => tf.tensor1d([1, 2], 'int32');

const shownOf = <State extends Tree>(
  synthesiser: Synthesiser<State>,
  site: SynthesisContext,
  state: State,
): Pictures => {
  const images = tf.tidy(() => synthesiser.images(site, state, someSeed()).clone());
  const pictures = picturesOf(images, site.victim.normalisation);
  images.dispose();
  return pictures;
};

const tenthOf = (iterations: number): number => Math.max(1, Math.round(iterations / 10));

/** `count` labels: the classes 0 … `classes` − 1 in turn, over and over, from position `from` of that sequence on. */
export const roundRobinLabels = (count: number, classes: number, from = 0): readonly number[] =>
  Array.from({ length: count }, (_, i) => (from + i) % classes);

/** How a student learns from a pool of images. */
export interface PoolDistillation {
  /** Batches of images in the pool. */
  readonly batches: number;
  /** The classes of each batch's images; default: every class in turn, from batch to batch. */
  readonly labels?: readonly number[] | undefined;
  readonly temperature: number;
  /** Steps of distillation; default: as many as honest training on all images takes. */
  readonly steps?: number | undefined;
  /** Steps after each new batch, on the pool as it is by then; default: 0, all images are made first. */
  readonly stepsBetween?: number | undefined;
  /** Changes of a pool's images in training; default: none. */
  readonly augmentation?: Augmentation | undefined;
  /** Iterations between two pictures of how it goes; default: a tenth of all. */
  readonly pictureEvery?: number | undefined;
}

/** A pool of fewer images than this is marked: a student of so few says little about the attack at full size. */
export const comparablePool = 10_000;

/**
 * Makes a pool of images batch by batch, and distils the student on it: τ² KL(victim ‖ student), both softened by τ.
 */
export const distillFromPool = <State extends Tree>(
  synthesiser: Synthesiser<State>,
  options: PoolDistillation,
  victim: Victim<'weights'>,
  learner: BuiltLearner,
  context: AttackContext,
): Task<Extraction> =>
  asTask(async () => {
    const { batches, temperature, stepsBetween = 0, augmentation = { crop: 0, flip: false } } = options;
    const all = synthesiser.phases.reduce((sum, { iterations }) => sum + iterations, 0);
    const pictureEvery = options.pictureEvery ?? tenthOf(all);
    const site: SynthesisContext = { victim, student: learner.network };
    const { classes } = victim.network;
    const labelsOf = (batch: number): readonly number[] =>
      options.labels ?? roundRobinLabels(synthesiser.batch, classes, batch * synthesiser.batch);
    validateSynthesiser(synthesiser, labelsOf(0), classes);
    const steps = options.steps ?? learner.recipe.epochs * context.fullStepsPerEpoch;
    const costs: Cost[] = [];
    const pool: Synthesised[] = [];
    const { network, recipe } = learner;
    let student = initialState(recipe.optimizer, network.init(context.key.split('student').split('init')));
    let taken = 0;

    /** Steps on what is in the pool by now. */
    const distil = async (name: string, count: number) => {
      const lots = pool as [Synthesised, ...Synthesised[]];
      const images = Buffer.concat(lots.map((lot) => lot.images));
      const spec = poolFit(learner, victim, {
        images,
        shape: lots[0].shape,
        count: pool.length * synthesiser.batch,
        start: student,
        temperature,
        augmentation,
        steps: count,
        before: taken,
        total: steps,
      });
      const { last, best: _, ...fitted } = await done(context.fit(name, spec));
      dispose(student);
      student = last;
      taken += count;
      return fitted;
    };

    const between = (batch: number): string => `student-${batch}`;
    let newest = stepsBetween === 0 ? 0 : batches - 1;
    while (newest > 0 && !(await context.has(between(newest)))) newest -= 1;

    try {
      for (let batch = 0; batch < batches; batch++) {
        const made = await done(
          context.images(`lot-${String(batch).padStart(4, '0')}`, () =>
            synthesise(synthesiser, site, batch, { labels: labelsOf(batch), student, every: pictureEvery, context }),
          ),
        );
        pool.push(made);
        costs.push(made.cost);
        if (stepsBetween === 0 || taken + stepsBetween >= steps) continue;
        // Of many students only the newest is kept, and a run that goes on begins with it.
        const fitted = batch < newest ? [] : [await distil(between(batch), stepsBetween)];
        if (batch < newest) taken += stepsBetween;
        costs.push(await done(context.value(between(batch), async () => costOf(fitted))));
        if (batch > 0) await context.drop(between(batch - 1));
      }
      if (stepsBetween > 0 && taken < batches * stepsBetween)
        context.warn(
          `the student's ${steps} steps were taken before the last of ${batches} batches: later images were made against a student that learnt no more`,
        );
      const fitted = await distil('student', steps - taken);
      costs.push(fitted);
      if (pool.length * synthesiser.batch < comparablePool)
        context.warn(
          `pool too small to compare: ${(pool.length * synthesiser.batch).toLocaleString('en')} images, and fewer than ${comparablePool.toLocaleString('en')} say little about the attack`,
        );
      return {
        ...costOf(costs),
        history: fitted.history,
        execution: fitted.execution,
        pool: pool.length * synthesiser.batch,
        last: clone(student.variables),
      };
    } finally {
      dispose(student);
    }
  });

/** Throws a `FailureError` of kind `plugin` for a synthesiser that cannot make a batch of images of these classes. */
const validateSynthesiser = ({ batch, phases }: Synthesiser, labels: readonly number[], classes: number): void => {
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

/** What several things cost together. */
const costOf = (all: readonly Cost[]): Cost => {
  const sum = (field: keyof Cost): number => all.reduce((total, cost) => total + cost[field], 0);
  return { steps: sum('steps'), images: sum('images'), queries: sum('queries'), seconds: sum('seconds') };
};

/** All phases of one batch. */
const synthesise = async <State extends Tree>(
  synthesiser: Synthesiser<State>,
  site: SynthesisContext,
  batch: number,
  {
    labels,
    student,
    every,
    context,
  }: {
    readonly labels: readonly number[];
    readonly student: ClassifierState;
    readonly every: number;
    readonly context: AttackContext;
  },
): Promise<Synthesised> => {
  const costs: Cost[] = [];
  let state: State | undefined;
  try {
    for (let phase = 0; phase < synthesiser.phases.length; phase++) {
      const spec = phaseFit(synthesiser, site, phase, { labels, student: student.variables, before: state, every });
      const name = synthesiser.phases.length === 1 ? `images-${batch}` : `images-${batch}-${phase}`;
      const fitted = await done(context.fit(name, spec));
      costs.push(fitted);
      if (state !== undefined) dispose(state);
      state = fitted.last;
    }
    const cost = costOf(costs);
    return { ...shownOf(synthesiser, site, state as State), labels, updates: cost.steps, cost };
  } finally {
    if (state !== undefined) dispose(state);
  }
};

/** Distillation on a pool, from a state that earlier steps left: the learning rate goes on where it was. */
const poolFit = (
  learner: BuiltLearner,
  victim: Victim<'weights'>,
  {
    images,
    shape,
    count,
    start,
    temperature,
    augmentation,
    steps,
    before,
    total,
  }: {
    readonly images: Uint8Array;
    readonly shape: Synthesised['shape'];
    readonly count: number;
    readonly start: ClassifierState;
    readonly temperature: number;
    readonly augmentation: Augmentation;
    readonly steps: number;
    readonly before: number;
    readonly total: number;
  },
) => {
  const { recipe } = learner;
  const set: ImageSet<UnlabelledBatch> = {
    examples: { images, count },
    indices: Int32Array.from({ length: count }, (_, i) => i),
    shape,
    normalisation: victim.normalisation,
    augmentation,
    labelled: false,
  };
  const spec = classifier({
    learner: { ...learner, recipe: { ...recipe, batch: Math.min(recipe.batch, count) } },
    data: set,
    queriesPerImage: 1,
    frozen: victim.frozen,
    target: (frozen, normalised) => ({ teacher: victim.logits(frozen, normalised) }),
    loss: ({ logits, target: { teacher } }) => distillationKl({ logits, teacher, temperature }),
  });
  return { ...spec, ...scheduleSlice(recipe, { steps, before, total }), init: () => clone(start), keep: whole };
};

const whole = (state: ClassifierState): ClassifierState => state;

/** `steps` steps of a training of `total`, of which `before` were taken: epochs and rate as in the whole. */
export const scheduleSlice = (
  { epochs, schedule }: Pick<BuiltLearner['recipe'], 'epochs' | 'schedule'>,
  { steps, before, total }: { readonly steps: number; readonly before: number; readonly total: number },
): Pick<FitSpec<Tree, Tree, Tree, Tree>, 'epochs' | 'stepsPerEpoch' | 'steps' | 'schedule'> => {
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

/** A generator and the student that learns from it, in one step. */
type Joint<State extends Tree> = { readonly synthesiser: State; readonly student: ClassifierState };

export interface JointDistillation {
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  readonly temperature: number;
  /** Images of the trained generator that are kept to be looked at. */
  readonly keep: number;
  /** Steps between two pictures of how it goes; default: a tenth of all. */
  readonly pictureEvery?: number | undefined;
}

/**
 * Lets a synthesiser's and the student's updates happen in one step, on the same images: no gradient flows from the student
 * to the synthesiser or back. The student's recipe gives its optimiser and learning rate.
 */
export const trainJointly = <State extends Tree>(
  synthesiser: Synthesiser<State>,
  options: JointDistillation,
  victim: Victim<'weights'>,
  learner: BuiltLearner,
  context: AttackContext,
): Task<Extraction> =>
  asTask(async () => {
    const site: SynthesisContext = { victim, student: learner.network };
    validateSynthesiser(
      synthesiser,
      roundRobinLabels(synthesiser.batch, victim.network.classes),
      victim.network.classes,
    );
    const spec = jointFit(synthesiser, site, options, learner);
    const { last, best: _, ...fitted } = await done(context.fit('student', spec));
    try {
      await done(
        context.images('generated', async () =>
          sampled(synthesiser, site, last.synthesiser, {
            count: options.keep,
            updates: fitted.steps,
            key: context.key,
          }),
        ),
      );
      return { ...fitted, last: clone(last.student.variables) };
    } finally {
      dispose(last);
    }
  });

/** The fit of a synthesiser and the student together. */
export const jointFit = <State extends Tree>(
  synthesiser: Synthesiser<State>,
  site: SynthesisContext,
  { epochs, stepsPerEpoch, temperature, pictureEvery }: Omit<JointDistillation, 'keep'>,
  learner: BuiltLearner,
): FitSpec<Tree, Joint<State>, Labels, Joint<State>> => {
  const { victim } = site;
  const { network, recipe } = learner;
  const labels = roundRobinLabels(synthesiser.batch, victim.network.classes);
  const step: Step<Given<Tree, NoTensors>, Joint<State>, Labels, Named> = (
    { frozen },
    { synthesiser: state, student },
    batch,
    { learningRate, seed },
  ) => {
    const improved = synthesiser.step(site, 0, {
      frozen,
      student: student.variables,
      state,
      labels: batch.labels,
      learningRate,
      seed,
    });
    const images = detach(improved.images);
    const updated = updateOn(learner, student, images, learningRate, ({ logits }) =>
      distillationKl({ logits, teacher: improved.logits, temperature }),
    );
    return {
      state: { synthesiser: improved.state, student: updated.state },
      metrics: { ...improved.metrics, kl: updated.terms.kl as tf.Tensor },
    };
  };
  return {
    step,
    frozen: victim.frozen,
    init: (key) => ({
      synthesiser: synthesiser.init(key.split('synthesiser'), site),
      student: initialState(recipe.optimizer, network.init(key)),
    }),
    source: constantSource(labelled(labels), labels.length, stepsPerEpoch),
    epochs,
    stepsPerEpoch,
    schedule: recipe.schedule,
    queriesPerImage: 1,
    keep: (state) => state,
    snapshot: {
      every: pictureEvery ?? tenthOf(epochs * stepsPerEpoch),
      of: (state) => shownOf(synthesiser, site, state.synthesiser),
    },
  };
};

/** So many images of a generator, each called by what the victim takes it for. */
const sampled = <State extends Tree>(
  synthesiser: Synthesiser<State>,
  site: SynthesisContext,
  state: State,
  { count, updates, key }: { readonly count: number; readonly updates: number; readonly key: Key },
): Synthesised => {
  const { victim } = site;
  const lots = Array.from({ length: Math.ceil(count / synthesiser.batch) }, (_, lot) => {
    const { images, taken } = tf.tidy(() => {
      const seed = tf.tensor1d([...key.split('generated').split(lot).int32Pair()], 'int32');
      const made = synthesiser.images(site, state, seed).clone();
      return { images: made, taken: victim.labels(victim.frozen, made) };
    });
    const found = { ...picturesOf(images, victim.normalisation), labels: Array.from(taken.dataSync()) };
    tf.dispose([images, taken]);
    return found;
  });
  const { shape } = lots[0] as Pictures;
  const size = shape.height * shape.width * shape.channels;
  return {
    shape,
    images: Buffer.concat(lots.map(({ images }) => images)).subarray(0, count * size),
    labels: lots.flatMap(({ labels }) => labels).slice(0, count),
    clipped: lots.reduce((sum, { clipped }) => sum + clipped, 0) / lots.length,
    updates,
    cost: { steps: 0, images: 0, queries: 0, seconds: 0 },
  };
};

/** For synthesisers whose learning rate is their own. */
export const zeroSchedule: Schedule = constant(0);
