import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import { clone, dispose, type Tree } from '../core/tree.js';
import { noAugmentation } from '../data/dataset.js';
import { anotherSeed, rows, standardUniform } from '../engine/ops.js';
import type { ImageShape, Named, Variables } from '../models/network.js';
import { answersTo } from './ask.js';
import { averagedBy, type BuiltLearner, type ClassifierState, initialState, updateOn } from './classifier.js';
import type { Context, Synthesised } from './context.js';
import type { FitSpec } from './fit.js';
import type { FitStep } from './fit-step.js';
import { toPixels } from './images.js';
import { predicted } from './logits.js';
import { detach } from './losses.js';
import { type Access, accessOf, type Oracle, type Victim, type WeightOracle } from './oracle.js';
import { type Pictures, picturesOf } from './pictures.js';
import type { NoTensors } from './source.js';
import {
  type Distilled,
  distilled,
  type Labels,
  labelled,
  type Phase,
  roundRobinLabels,
  type StudentContext,
  type StudentLoss,
  type SynthesisContext,
  type Synthesiser,
  type SynthesisOutputs,
  shownOf,
  synthesisContext,
  tenthOf,
  validateSynthesiser,
} from './synthesiser.js';

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

  /** Of each student in all. */
  const updates = epochs * stepsPerEpoch * ((studentSteps ?? 1) + (replay?.steps ?? 0));

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
      students: updated.map(({ state }) => averagedBy(recipe, state, updates)),
      metrics: { ...metrics, ...(Object.keys(terms).length === 0 ? { studentLoss: value } : terms) },
    };
  };

  const asked = (victim: Oracle<A>, images: tf.Tensor4D): Answered => {
    if (access !== 'weights')
      return { images, teacher: answersTo(victim, access, toPixels(images, about.normalisation)) };
    // With its weights at hand the victim sees what students see; only an interface takes no more than pixels from 0 to 1.
    const wanted = activations === undefined ? {} : { activations: activations.victim };
    const { logits, activations: seen } = (victim as WeightOracle).apply(images, wanted);
    return { images, teacher: logits, ...(activations && { seen }) };
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
        initialState(recipe, network.init(i === 0 ? key : key.split(`student ${i}`))),
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
    augmentation: noAugmentation,
    labelled: false,
  });
  return Array.from({ length: count }, (_, i) => predicted({ values, classes: size }, i));
};
