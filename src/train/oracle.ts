import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import { clone, dispose, keep, map, type Tree } from '../core/tree.js';
import type { Normalisation } from '../data/dataset.js';
import { anotherSeed, logSoftmax } from '../engine/ops.js';
import type { ApplyOptions, ImageShape, Network, Output, Variables } from '../models/network.js';
import { type AnswerShift, allShifts, faultOf, noShift, readShift, type Shift, shiftOf } from './answer-shift.js';
import { unrecorded } from './gradient.js';
import { normalisePixels } from './images.js';

/** What a victim's owner lets the outside see. Each level includes the ones before it. */
export type Access = 'none' | 'label' | 'probabilities' | 'logits' | 'weights';

/** The levels in order: a victim at rank r answers every question of rank r or below. */
export const rank: Readonly<Record<Access, number>> = { none: 0, label: 1, probabilities: 2, logits: 3, weights: 4 };

/** Every access level at or above `Need`. */
export type AtLeast<Need extends Access> = {
  none: Access;
  label: Exclude<Access, 'none'>;
  probabilities: 'probabilities' | 'logits' | 'weights';
  logits: 'logits' | 'weights';
  weights: 'weights';
}[Need];

/** Whether an attacker asks a victim over an interface, and so pays by the answer. */
export const isBlackBox = (access: Access): boolean => rank[access] > rank.none && rank[access] < rank.weights;

interface Interface {
  /** The images that it takes. */
  readonly input: ImageShape;
  readonly classes: number;
}

/**
 * A victim as a step may ask it. Images are pixels in [0, 1], [batch, height, width, channels]; what lies outside is
 * clipped and the victim normalises, as an interface on the web would. Every image of a call is one query.
 *
 * No gradient flows through the answers of a black box: differentiating one is an error.
 */
export interface LabelOracle extends Interface {
  /** The class that the victim names, int32 [batch]. */
  labels(pixels: tf.Tensor4D): tf.Tensor1D;
}

/** A victim that tells how likely each class is. */
export interface ProbabilityOracle extends LabelOracle {
  /**
   * Natural logarithms of the class probabilities, [batch, classes]; −∞ where the victim answers 0. As logarithms,
   * softmax(log p / τ) is the softened logits exactly, also where p underflows.
   */
  logProbabilities(pixels: tf.Tensor4D): tf.Tensor2D;
}

/** A victim that tells its logits. */
export interface LogitOracle extends ProbabilityOracle {
  /** [batch, classes]. */
  logits(pixels: tf.Tensor4D): tf.Tensor2D;
}

/**
 * A victim whose weights the attacker holds. What is computed with them is no query: passes forward and backward
 * through the net are counted apart. Gradients flow.
 */
export interface WeightOracle extends LogitOracle {
  readonly network: Network;
  /** How images become the network's input: a network is of no use without it, so it lies with the weights. */
  readonly normalisation: Normalisation;
  /** The weights and running statistics. */
  readonly variables: Variables;
  /** A pass in evaluation mode; normalised images [batch, height, width, channels], any size that the net takes. */
  apply(images: tf.Tensor4D, options?: Omit<ApplyOptions, 'mode'>): Output;
}

interface OracleAt {
  none: Record<never, never>;
  label: LabelOracle;
  probabilities: ProbabilityOracle;
  logits: LogitOracle;
  weights: WeightOracle;
}

/** What a step with access `A` asks. One with more access fits wherever one with less is asked for. */
export type Oracle<A extends Access = Access> = OracleAt[A];

interface VictimAt {
  none: Record<never, never>;
  label: Interface & Budgeted;
  probabilities: Interface & Budgeted;
  logits: Interface & Budgeted;
  weights: Interface & Budgeted & Pick<WeightOracle, 'network' | 'normalisation'>;
}

interface Budgeted {
  /** Answers that may be asked for in all; absent without a limit. */
  readonly budget?: number;
}

/**
 * A victim as an attack is handed it: known, but not to be asked. It goes into a fit (`victim`), whose step is given
 * the oracle, or into `context.ask`. The victim's tensors cannot be reached through it.
 */
export type Victim<A extends Access = Access> = VictimAt[A] & { readonly [held]: A };

/** The place of what a victim hides; never read, so that no plugin depends on it. */
declare const held: unique symbol;

/** One query, as a defence answers it. */
export interface Query<Prepared extends Tree = Tree, State extends Tree = Tree> {
  /**
   * Natural logarithms of the probabilities that the victim gives, or that the defence before this one does: [batch,
   * classes].
   */
  readonly logProbabilities: tf.Tensor2D;
  /** The same of the victim's net, before any defence; of the first one `logProbabilities`. */
  readonly clean: tf.Tensor2D;
  /** What was asked about: pixels in [0, 1], [batch, height, width, channels]. */
  readonly images: tf.Tensor4D;
  /** int32 [2], another at every call: for noise that is drawn afresh. */
  readonly seed: tf.Tensor1D;
  /** int32 [2], the same as long as the victim lives, and known to nobody else: for noise that sticks to an image. */
  readonly secret: tf.Tensor1D;
  /** What `prepare` left; an empty record without it. */
  readonly prepared: Prepared;
  /** What the queries before left; an empty record of a defence that is not stateful. */
  readonly state: State;
  /** The state that this call leaves is thrown away: the victim is looked at by its owner, or imitated. */
  readonly frozen: boolean;
  /** The victim's own net and how its images are normalised, for a defence that looks at more than the answer. */
  readonly victim: Pick<WeightOracle, 'network' | 'normalisation' | 'variables'>;
}

/**
 * How a defence answers: arithmetic on tensors and nothing else, so that it runs inside an attacker's compiled step.
 */
export interface Answers<Prepared extends Tree = Tree, State extends Tree = Tree> {
  /** `pure`: of the image alone. `random`: drawn with `seed` or `secret`. `stateful`: also of the queries before. */
  readonly kind: 'pure' | 'random' | 'stateful';
  /** Rows need not sum to 1: what is told is rounded, or cut. */
  readonly unnormalised?: true;
  /** No class is given 0 that was not before: what an attacker would do about zeros is not tried. */
  readonly positive?: true;
  /**
   * The victim's net is asked anew, about other images (`query.victim`), and the answer that it gave goes unused: a defence before this one
   * would change it for nothing, and `compose` refuses it.
   */
  readonly asksAnew?: true;
  /**
   * It takes as long as a net's pass, or longer: what it tells is recorded for all who ask the same, with the net's own answers and not made
   * anew of them. Of no stateful defence.
   */
  readonly slow?: true;
  /** The state before the first query; of a stateful defence. The caller owns it. */
  init?(prepared: Prepared, about: Interface): State;
  /**
   * Natural logarithms of the probabilities that are given, [batch, classes], rows summing to 1, −∞ for 0; and the
   * state after, of the form it had, of a stateful defence.
   */
  answer(query: Query<Prepared, State>): { readonly logProbabilities: tf.Tensor2D; readonly state?: State };
}

/** What answers pass on as it is: the label of the defence before them, or that of the victim's net, whatever those before them made of it. */
export type Preserves = 'label' | 'clean label';

/** A defence's answers on the way from a net to an attacker. */
export interface Wrapper {
  readonly name: string;
  readonly answers: Answers;
  /** The label that is told is the one before this wrapper, or the one before any. */
  readonly preserves?: Preserves | undefined;
  /** What the defence's `prepare` left. Borrowed. */
  readonly prepared: Tree;
}

/**
 * What was asked of a victim. `queries`: images that a black box answered; the passes: images through weights at hand.
 */
export interface Asked {
  readonly queries: number;
  readonly forward: number;
  readonly backward: number;
}

/** Everything that was asked of a victim so far, and what its stateful defences remember of it. */
export interface Session {
  asked: Asked;
  shift: AnswerShift;
  /** By wrapper, in order; owned. */
  memory: Tree;
}

export const nothingAsked: Asked = { queries: 0, forward: 0, backward: 0 };

/** The field-by-field sum. */
export const plus = <T extends Readonly<Record<keyof T, number>>>(a: T, b: T, times = 1): T =>
  Object.fromEntries((Object.keys(a) as (keyof T)[]).map((name) => [name, a[name] + times * b[name]])) as T;

/** The tensors that a victim is made of, as they travel into a step. */
export type VictimTensors = {
  readonly variables: Variables;
  readonly prepared: readonly Tree[];
  readonly secret: tf.Tensor1D;
};

interface Hidden {
  readonly access: Access;
  readonly network: Network;
  readonly normalisation: Normalisation;
  readonly wrappers: readonly Wrapper[];
  readonly budget: number | undefined;
  readonly recordable: Recordable | undefined;
  readonly tensors: VictimTensors;
  readonly session: Session;
}

/** What can be recorded of a victim's answers. */
export interface Recordable {
  /** What they are, in a word: equal for answers that are equal wherever a step asks the same, with the same seed. */
  readonly identity: string;
  /** The net's logits, of which what is told is made anew, or what is told as well. */
  readonly of: 'logits' | 'told';
  /** Numbers of an image. */
  readonly width: number;
}

const hidden = new WeakMap<object, Hidden>();

const hiddenOf = (victim: object): Hidden => {
  const found = hidden.get(victim);
  if (found === undefined)
    throw new FailureError(
      failure('plugin', 'this is no victim', { remedy: 'Pass on the victim that the attack was handed, as it is.' }),
    );
  return found;
};

/** A trained network and how it answers. */
export interface Publication<A extends Access> {
  readonly network: Network;
  /** Borrowed as long as the victim is asked. */
  readonly variables: Variables;
  readonly normalisation: Normalisation;
  /** What an attacker may ask. Default: `weights`. */
  readonly access?: A;
  /** Default: none. With one, there is no access to logits or weights. */
  readonly wrappers?: readonly Wrapper[];
  /** Default: [0, 0]. */
  readonly secret?: readonly [number, number];
  /** Answers that may be asked for in all. */
  readonly budget?: number | undefined;
  /** What its net computes, in a word: equal for equal weights of an equal net on one arithmetic. Default: unknown. */
  readonly identity?: string | undefined;
  /** What its wrappers make of that, in a word, with their secret and all that they prepared. Default: unknown. */
  readonly telling?: string | undefined;
}

/** A trained network as a victim. `retire` it when nobody asks it any more. */
export const publish = <A extends Access = 'weights'>({
  network,
  variables,
  normalisation,
  access = 'weights' as A,
  wrappers = [],
  secret = [0, 0],
  budget,
  identity,
  telling,
}: Publication<A>): Victim<A> => {
  if (wrappers.length > 0 && rank[access] > rank.probabilities)
    throw new FailureError(
      failure('experiment', `what wraps answers gives no ${access}`, { where: wrappers[0]?.name }),
    );
  const about: Interface = { input: network.input, classes: network.classes };
  const session: Session = { asked: nothingAsked, shift: noShift, memory: keep(freshMemory(wrappers, about)) };
  const tensors = {
    variables,
    prepared: wrappers.map(({ prepared }) => prepared),
    secret: tf.keep(tf.tensor1d([...secret], 'int32')),
  };
  const victim = (
    rank[access] === rank.none
      ? {}
      : {
          ...about,
          ...(budget === undefined ? {} : { budget }),
          ...(access === 'weights' ? { network, normalisation } : {}),
        }
  ) as Victim<A>;
  refuseBeyond(victim, access, { network: 'weights', normalisation: 'weights' });
  hidden.set(victim, {
    access,
    network,
    normalisation,
    wrappers,
    budget: isBlackBox(access) ? budget : undefined,
    recordable: identity === undefined ? undefined : recordableOf(identity, telling, wrappers, network.classes),
    tensors,
    session,
  });
  return victim;
};

/** What slow defences tell is recorded, where it depends on nothing that was asked before. */
export const isToldRecorded = (
  wrappers: readonly { readonly answers?: Pick<Answers, 'slow' | 'kind'> | undefined }[],
): boolean =>
  wrappers.some(({ answers }) => answers?.slow) && wrappers.every(({ answers }) => answers?.kind !== 'stateful');

/** Numbers of an image that are recorded. */
export const recordedWidth = (of: Recordable['of'], classes: number): number =>
  of === 'told' ? 2 * classes + 1 : classes;

const recordableOf = (
  identity: string,
  telling: string | undefined,
  wrappers: readonly Wrapper[],
  classes: number,
): Recordable => {
  const told = telling !== undefined && isToldRecorded(wrappers);
  const of = told ? 'told' : 'logits';
  return { identity: told ? `${identity} ${telling}` : identity, of, width: recordedWidth(of, classes) };
};

/** What the stateful wrappers begin with. */
const freshMemory = (wrappers: readonly Wrapper[], about: Interface): readonly Tree[] =>
  wrappers.map(({ name, answers, prepared }) => {
    if (answers.kind !== 'stateful') return {};
    if (answers.init === undefined)
      throw new FailureError(
        failure('plugin', 'its answers are stateful, and it has no state to begin with', {
          where: name,
          remedy: 'Give answers.init.',
        }),
      );
    return answers.init(prepared, about);
  });

/** Frees what a victim owns: its secret and what its defences remember. */
export const retire = (victim: Victim): void => {
  const { tensors, session } = hiddenOf(victim);
  dispose([tensors.secret, session.memory]);
};

/**
 * Adds to a session what was asked since, and replaces what the defences remember, which the session owns from then on.
 */
export const remember = (session: Session, { asked, shift, memory }: Session): void => {
  session.asked = plus(session.asked, asked);
  session.shift = plus(session.shift, shift);
  dispose(session.memory);
  session.memory = keep(memory);
};

export const sessionOf = (victim: Victim): Session => hiddenOf(victim).session;
export const accessOf = (victim: Victim): Access => hiddenOf(victim).access;
export const tensorsOf = (victim: Victim): VictimTensors => hiddenOf(victim).tensors;
/** Answers that a black box gives in all; undefined without a limit, and for an attacker who holds the weights. */
export const budgetOf = (victim: Victim): number | undefined => hiddenOf(victim).budget;

/** What can be recorded of what a victim answers; undefined where it is not known what that is. */
export const recordedOf = (victim: Victim): Recordable | undefined => hiddenOf(victim).recordable;

/** Properties that are beyond an access, which say so when they are read. */
const refuseBeyond = (of: object, access: Access, needs: Readonly<Record<string, Access>>): void => {
  for (const [name, need] of Object.entries(needs)) {
    if (rank[need] <= rank[access]) continue;
    Object.defineProperty(of, name, {
      enumerable: false,
      get: () => {
        throw new FailureError(
          failure('plugin', `it asks the victim for ${name}, and declares that it needs ${access}`, {
            remedy: `Declare needs: '${need}', or do without.`,
          }),
        );
      },
    });
  }
};

/** An oracle that is open for one step, and what the step leaves. */
export interface Opened<A extends Access> {
  readonly oracle: Oracle<A>;
  /**
   * Ends it: what was asked, what the defences remember now, and by how much answers were changed (of a wrapped victim;
   * as `readShift` and `checkShift` read it).
   */
  close(): { readonly asked: Asked; readonly memory: Tree; readonly shift: tf.Tensor1D | undefined };
}

export interface Opening {
  readonly tensors: VictimTensors;
  readonly memory: Tree;
  /** int32 [2]: the step's. */
  readonly seed: tf.Tensor1D;
  /** What defences come to remember is thrown away. */
  readonly frozen?: boolean;
  /** Stands between a question and who answers it. Default: nothing does. */
  readonly answering?: Answering;
}

/** Gives what is recorded of the answers to clipped pixels, [batch, width], which `answer` would. */
export type Answering = (pixels: tf.Tensor4D, answer: () => tf.Tensor2D) => tf.Tensor2D;

/**
 * Opens a victim inside a step. Everything it is asked there is counted, and the defences' state is handed from call to
 * call.
 */
export const open = <A extends Access>(
  victim: Victim<A>,
  { tensors, memory, seed, frozen = false, answering = (_, answer) => answer() }: Opening,
): Opened<A> => {
  const { access, network, normalisation, wrappers, recordable } = hiddenOf(victim);
  const { variables } = tensors;
  const blackBox = isBlackBox(access);
  let asked = nothingAsked;
  let remembered = memory as readonly Tree[];
  /** Kept from the scope of whoever asks, which may be a loss whose tensors are gone before the step is over. */
  const shifts: Shift[] = [];
  const held: Tree[] = [];
  let calls = 0;
  let isOpen = true;
  const count = (more: Partial<Asked>): void => {
    asked = plus(asked, { ...nothingAsked, ...more });
  };
  const use = (images: tf.Tensor4D): void => {
    if (!isOpen)
      throw new FailureError(
        failure('plugin', 'an oracle was asked after the step that it was given to', {
          remedy: 'Ask it inside the step only.',
        }),
      );
    count(blackBox ? { queries: images.shape[0] } : { forward: images.shape[0] });
  };
  const through = (images: tf.Tensor4D, options: Omit<ApplyOptions, 'mode'> = {}): Output =>
    counting(network.apply(variables, images, { ...options, mode: 'eval' }), () =>
      count({ backward: images.shape[0] }),
    );
  /** Of pixels that are clipped already, as are those below. */
  const logits = (pixels: tf.Tensor4D): tf.Tensor2D => through(normalisePixels(pixels, normalisation)).logits;
  const clean = (pixels: tf.Tensor4D): tf.Tensor2D => answering(pixels, () => logits(pixels));

  /** What the defences make of the net's logits. A label stays the one before a wrapper that preserves it, or the net's own. */
  const defended = (images: tf.Tensor4D, own: tf.Tensor2D): Told => {
    const exact = logSoftmax(own);
    let given = exact;
    let labels: tf.Tensor1D | undefined;
    wrappers.forEach(({ name, answers, preserves }, i) => {
      if (preserves === 'clean label') labels = tf.argMax(exact, 1) as tf.Tensor1D;
      else labels = preserves === 'label' ? (labels ?? (tf.argMax(given, 1) as tf.Tensor1D)) : undefined;
      const { logProbabilities, state } = answers.answer({
        logProbabilities: handedOn(given, wrappers[i - 1]?.answers, answers),
        clean: exact,
        images,
        seed: seedOfCall(seed, calls, i),
        secret: tensors.secret,
        prepared: tensors.prepared[i] as Tree,
        state: remembered[i] as Tree,
        frozen,
        victim: { network, normalisation, variables },
      });
      given = checkedAnswer(name, logProbabilities, exact.shape);
      if ((state !== undefined) !== (answers.kind === 'stateful'))
        throw new FailureError(
          state === undefined
            ? failure('plugin', 'its answers are stateful, and one came without a state', {
                where: name,
                remedy: 'Return { logProbabilities, state }.',
              })
            : failure('plugin', `its answers are ${answers.kind}, and one came with a state`, {
                where: name,
                remedy: "Declare kind: 'stateful', or leave the state out.",
              }),
        );
      if (state === undefined) return;
      const after = keep(clone(state));
      held.push(after);
      remembered = remembered.map((each, j) => (j === i ? after : each));
    });
    return { exact, logProbabilities: given, labels: labels ?? tf.argMax(given, 1) };
  };
  const wrapped = (images: tf.Tensor4D): Told => {
    const told =
      recordable?.of === 'told'
        ? apart(answering(images, () => inOne(defended(images, logits(images)))))
        : defended(images, clean(images));
    calls += 1;
    shifts.push(keep(shiftOf(told.exact, told.logProbabilities, wrappers.at(-1)?.answers.unnormalised ?? false)));
    return told;
  };

  /** Answers to clipped pixels; those of a black box nobody differentiates. */
  const answered = <T extends tf.Tensor>(pixels: tf.Tensor4D, answer: (pixels: tf.Tensor4D) => T): T =>
    blackBox ? withoutGradient(pixels, (each) => answer(clipped(each))) : answer(clipped(pixels));

  const all: WeightOracle = {
    input: network.input,
    classes: network.classes,
    labels: (pixels) => {
      use(pixels);
      return answered(pixels, (each) => (wrappers.length === 0 ? tf.argMax(clean(each), 1) : wrapped(each).labels));
    },
    logProbabilities: (pixels) => {
      use(pixels);
      return answered(pixels, (each) =>
        wrappers.length === 0 ? logSoftmax(clean(each)) : wrapped(each).logProbabilities,
      );
    },
    logits: (pixels) => {
      use(pixels);
      return answered(pixels, clean);
    },
    network,
    normalisation,
    variables,
    apply: (images, options) => {
      use(images);
      return through(images, options);
    },
  };
  const needs: Readonly<Record<keyof WeightOracle, Access>> = {
    input: 'label',
    classes: 'label',
    labels: 'label',
    logProbabilities: 'probabilities',
    logits: 'logits',
    network: 'weights',
    normalisation: 'weights',
    variables: 'weights',
    apply: 'weights',
  };
  const allowed = (Object.keys(needs) as (keyof WeightOracle)[]).filter((name) => rank[needs[name]] <= rank[access]);
  const oracle = Object.fromEntries(allowed.map((name) => [name, all[name]]));
  refuseBeyond(oracle, access, needs);
  return {
    oracle: oracle as unknown as Oracle<A>,
    close: () => {
      isOpen = false;
      const none = wrappers.length > 0 ? tf.zeros<tf.Rank.R1>([5 + network.classes]) : undefined;
      const shift = shifts.length > 0 ? allShifts(shifts) : none;
      const after = frozen ? memory : (clone([...remembered]) as Tree);
      dispose([...shifts, ...held]);
      return { asked, memory: after, shift };
    },
  };
};

/**
 * What a wrapper is given of what one before it told, log-probabilities: where that is rounded or cut it sums to 1 again, for one that takes it
 * for a distribution.
 */
export const handedOn = (
  told: tf.Tensor2D,
  before: Pick<Answers, 'unnormalised'> | undefined,
  to: Pick<Answers, 'unnormalised'>,
): tf.Tensor2D => (before?.unnormalised && !to.unnormalised ? logSoftmax(told) : told);

const clipped = (pixels: tf.Tensor4D): tf.Tensor4D => tf.clipByValue(pixels, 0, 1);

/** What a wrapped victim answers to images, and what its net would have. */
interface Told {
  /** Of the net: [images, classes]. */
  readonly exact: tf.Tensor2D;
  /** [images, classes] */
  readonly logProbabilities: tf.Tensor2D;
  /** int32 [images] */
  readonly labels: tf.Tensor1D;
}

/** As it is recorded: [images, 2 classes + 1]. */
const inOne = ({ exact, logProbabilities, labels }: Told): tf.Tensor2D =>
  tf.concat([exact, logProbabilities, tf.cast<tf.Tensor2D>(tf.expandDims<tf.Tensor2D>(labels, 1), 'float32')], 1);

const apart = (recorded: tf.Tensor2D): Told => {
  const classes = (recorded.shape[1] - 1) / 2;
  const [exact, logProbabilities, labels] = tf.split(recorded, [classes, classes, 1], 1) as [
    tf.Tensor2D,
    tf.Tensor2D,
    tf.Tensor2D,
  ];
  return { exact, logProbabilities, labels: tf.cast(tf.reshape(labels, [-1]), 'int32') };
};

/** A seed for each call and each wrapper in it, far from the ones that an attacker draws with. */
const seedOfCall = (seed: tf.Tensor1D, call: number, wrapper: number): tf.Tensor1D =>
  anotherSeed(seed, 1_000_003 * (call + 1) + wrapper);

const checkedAnswer = (name: string, given: tf.Tensor2D, [rows, classes]: readonly [number, number]): tf.Tensor2D => {
  if (given instanceof tf.Tensor && given.dtype === 'float32' && given.shape.join() === `${rows},${classes}`)
    return given;
  const found = given instanceof tf.Tensor ? `${given.dtype} [${given.shape}]` : String(given);
  throw new FailureError(
    failure('plugin', `its answer is ${found}, not float32 [${rows},${classes}]`, {
      where: name,
      remedy: 'Return one row of log-probabilities an image.',
    }),
  );
};

/**
 * Throws when answers were no distributions: nothing that is learnt from them is a result.
 *
 * @param told what a step's shift holds
 * @param step its number, from 1, where it is one of a training
 */
export const checkShift = (victim: Victim, told: ArrayLike<number> & Iterable<number>, step?: number): void => {
  const { invalid } = readShift(told);
  if (invalid === 0) return;
  const [image, ...row] = [...told].slice(4) as [number, ...number[]];
  const { wrappers } = hiddenOf(victim);
  const { what, remedy } = faultOf(row, wrappers.at(-1)?.answers.unnormalised ?? false);
  const when = step === undefined ? '' : ` in step ${step}`;
  throw new FailureError(
    failure(
      'plugin',
      `${invalid} of its answers${when} are no distribution; the first, to image ${image} of its batch (from 0): ${what}`,
      { where: wrappers.map(({ name }) => name).join(' + '), remedy },
    ),
  );
};

/** A function of images that is no part of any gradient: asking for one through it is an error. */
const withoutGradient = <T extends tf.Tensor>(images: tf.Tensor4D, answer: (images: tf.Tensor4D) => T): T => {
  const answered = unrecorded(() => answer(images));
  return tf.customGrad((...args) => ({
    value: (args[1] as T).clone(),
    gradFunc: () => {
      throw new FailureError(
        failure('plugin', 'a gradient was asked for through the answers of a black box', {
          remedy:
            'Detach the images that it is asked about, or estimate the gradient from answers (forwardDifferences).',
        }),
      );
    },
  }))(images, answered) as T;
};

/** The same output, and a call of `backward` when a gradient first flows back through it. */
const counting = ({ stats, ...output }: Output, backward: () => void): Output => {
  let counted = false;
  const marked = (tensor: tf.Tensor): tf.Tensor =>
    tf.customGrad((x) => ({
      value: (x as tf.Tensor).clone(),
      gradFunc: (dy: tf.Tensor) => {
        if (!counted) backward();
        counted = true;
        return dy;
      },
    }))(tensor);
  return { ...map(output as Tree, marked), stats } as Output;
};
