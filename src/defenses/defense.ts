import * as tf from '@tensorflow/tfjs';
import { saidBy } from '../core/errors.js';
import type { Tree } from '../core/tree.js';
import type { DatasetPlugin } from '../data/dataset.js';
import type { ImageShape, NetworkPlugin, Variables } from '../models/network.js';
import type { BuiltLearner } from '../train/classifier.js';
import type { Context, Doing } from '../train/context.js';
import type { FitResult } from '../train/fit.js';
import type { ImageSet, UnlabelledBatch } from '../train/images.js';
import type { Access, Answers, Preserves, Query } from '../train/oracle.js';
import type { Learner, Recipe } from '../train/recipe.js';

/** Clean log-probabilities of those that were told, as far as they tell them; [batch, classes] each. */
export type Recovery = (answers: tf.Tensor2D) => tf.Tensor2D;

/** Undoes several defences, the last one first; they are given in the order in which they answer. */
export const undoing =
  (recoveries: readonly Recovery[]): Recovery =>
  (answers) =>
    recoveries.reduceRight((told, undo) => undo(told), answers);

/** A trained classifier. Its variables are borrowed. */
export interface Teacher {
  /** Its network and the recipe that it was trained by. */
  readonly learner: BuiltLearner;
  readonly variables: Variables;
}

/** What the owner of a teacher has at hand when protecting it. */
export interface DefenseContext extends Context {
  /** All training images but those held out. */
  readonly train: ImageSet;
  /** Held-out training images, when the experiment holds any out. */
  readonly validation: ImageSet | undefined;
  /** The images that the defence names as `outliers`; absent where it names none. */
  readonly outliers?: ImageSet<UnlabelledBatch>;
  /** The net that the defence names, trained normally; without one, the undefended teacher. Of an attacker's copy, its own net. */
  readonly adversary: Teacher;
}

/**
 * A way to make a teacher hard to steal, of up to three parts: `protect` trains another teacher, `prepare` fits what
 * the answers need (a surrogate, a quantiser, a key), `answers` changes them. Write one as a value of this type and put
 * it in an experiment's `defenses`.
 */
export interface Defense<
  Exposes extends Access = Access,
  // biome-ignore lint/suspicious/noExplicitAny: defences of every preparation and state fit one list
  Prepared extends Tree = any,
  // biome-ignore lint/suspicious/noExplicitAny: ditto
  State extends Tree = any,
> {
  readonly name: string;
  /**
   * What distinguishes two uses of this defence; plain JSON. All that its functions take from outside belongs here: of what is
   * written nowhere, such as the turn of a loop, nothing else tells.
   */
  readonly params: Readonly<Record<string, unknown>>;
  /** `import.meta.url`: results made by an older version of the file are not reused. */
  readonly source: string;
  /** What the world can ask of the victim. With `answers`, no more than probabilities. */
  readonly exposes: Exposes;
  /** A name of one's own for the matrix; default: the name and the parameters that differ. */
  readonly label?: string;
  /** It defends nothing: what the other defences are compared with. */
  readonly role?: 'identity';
  /**
   * A net to be trained normally beforehand, as `context.adversary`, and how. Default of each: the teacher's; of both: the undefended
   * teacher itself.
   */
  readonly adversary?: NetworkPlugin;
  readonly adversaryRecipe?: Recipe;
  /**
   * Out-of-distribution images, as `context.outliers`: all training images of another data set, brought to the teacher's
   * size, without labels. For outlier exposure.
   */
  readonly outliers?: DatasetPlugin;
  /** Trains the protected teacher. Absent: the teacher is used as it comes. */
  readonly protect?: (baseline: Teacher, context: DefenseContext) => Doing<FitResult<Variables>>;
  /**
   * Fits what the answers need, once for a teacher: any tensors, which are kept as a stage of their own. `teacher` is
   * the protected one. An attacker who imitates the defence calls it too, with a net and images of its own: neither it nor `answers` keeps anything
   * but in what it returns.
   */
  readonly prepare?: (teacher: Teacher, context: DefenseContext) => Doing<Prepared>;
  /**
   * Those of its parameters that `prepare` depends on; plain JSON. Default: all. Defences that differ in others alone share what is prepared.
   */
  readonly preparedBy?: Readonly<Record<string, unknown>>;
  /** How the victim answers. Absent: as it would without this defence. */
  readonly answers?: Answers<Prepared, State>;
  /**
   * How the defence's answers are undone: gives the function that makes of them, as far as they tell it, the clean log-probabilities,
   * [batch, classes] each. It is what an attacker computes who knows the defence, its parameters too, and none of its secrets. Where one is
   * known it belongs here, so that it is tried. One that tells more than the answers do is refused.
   *
   * It is called before the first step, with what `prepare` left (an empty record without it): there values may be read. Of that it takes
   * what is a parameter, such as a matrix that was learnt, and no secret.
   */
  readonly recover?: (prepared: Prepared) => Recovery;
  /**
   * What `answers` passes on as it is: an attack that asks for no more steals the same as without it. `clean label`: the label of the
   * victim's net, whatever the defences before this one made of it.
   */
  readonly preserves?: Preserves;
  /** The same with a fraction of the epochs that it names; absent where it names none. */
  readonly scaled?: (factor: number) => Defense<Exposes, Prepared, State>;
  /** Of which defences this one consists, in order; each trains, prepares and answers in turn. */
  readonly parts?: readonly Defense[];
}

type Names = Pick<Defense, 'adversary' | 'adversaryRecipe'>;

/** Whether a net is trained for a defence alone. */
export const namesAdversary = ({ adversary, adversaryRecipe }: Names): boolean =>
  adversary !== undefined || adversaryRecipe !== undefined;

/** The net that is trained for a defence alone, beside a teacher; undefined where it names none. */
export const adversaryFor = (defense: Names, { network, recipe }: Learner): Learner | undefined =>
  namesAdversary(defense)
    ? { network: defense.adversary ?? network, recipe: defense.adversaryRecipe ?? recipe }
    : undefined;

/** How many answers a recovery is tried on at once. */
const triedRows: readonly number[] = [4, 1, 9];

/**
 * Why `recover` of a defence is none, in words; undefined where none is found. It must make distributions of answers, and the same ones
 * of the same answers whatever the victim was asked in between: who is told an answer has nothing else of the victim but what the
 * defence prepared. What it takes of that only a reader can judge: a parameter, or a secret.
 *
 * @param sizes how many answers it is tried on at once: one that keeps what it saw of some batches alone is to be met with those
 * @param ask has the victim itself asked about so many images, where there is one: a defence may look at its net and at what it prepared
 */
export const unfairRecovery = (
  defense: Defense,
  at: { readonly image: ImageShape; readonly classes: number },
  prepared: Tree = {},
  sizes: readonly number[] = triedRows,
  ask: (rows: number) => void = () => undefined,
): string | undefined => {
  const { recover } = defense;
  if (recover === undefined) return undefined;
  try {
    return tf.tidy(() => {
      const recovery = recover(prepared);
      if (typeof recovery !== 'function') return 'recover gives no function of answers';
      return firstOf(sizes, (rows) => unfairOf(recovery, defense.answers, { ...at, rows, prepared, ask }));
    });
  } catch (error) {
    return `recover throws of answers alone: ${saidBy(error)}`;
  }
};

/** What is found of the first item of which something is. */
const firstOf = <Item, Found>(
  [item, ...others]: readonly Item[],
  find: (item: Item) => Found | undefined,
): Found | undefined => (item === undefined ? undefined : (find(item) ?? firstOf(others, find)));

/** The same of so many answers at once. */
const unfairOf = (
  recovery: Recovery,
  answers: Answers | undefined,
  {
    image: { height, width, channels },
    classes,
    rows,
    prepared,
    ask,
  }: {
    readonly image: ImageShape;
    readonly classes: number;
    readonly rows: number;
    readonly prepared: Tree;
    readonly ask: (rows: number) => void;
  },
): string | undefined => {
  const answersOf = (shift: number) =>
    tf.logSoftmax(
      tf.tensor2d(
        Array.from({ length: rows * classes }, (_, i) => Math.sin((i + 1) * shift)),
        [rows, classes],
      ),
    ) as tf.Tensor2D;
  const told = () => recovery(answersOf(1.7));
  const found = told();
  if (!(found instanceof tf.Tensor) || found.shape.join() !== `${rows},${classes}`)
    return `recover gives ${found instanceof tf.Tensor ? `[${found.shape}]` : String(found)} of ${rows} answers, not [${rows},${classes}]`;
  const first = found.dataSync();
  const sums = tf.sum(tf.exp(found), 1).dataSync();
  // A NaN is in no comparison.
  if (!sums.every((sum) => Math.abs(sum - 1) < 1e-3)) return 'recover gives what is no distribution';
  try {
    answers?.answer({
      logProbabilities: answersOf(0.9),
      clean: answersOf(0.9),
      images: tf.zeros([rows, height, width, channels]),
      seed: tf.zeros([2], 'int32'),
      secret: tf.zeros([2], 'int32'),
      prepared,
      state: {},
      frozen: true,
      victim: {} as Query['victim'],
    });
  } catch {
    // It looks at what it prepared, or at the net. What it kept of the answer it has kept by now.
  }
  ask(rows);
  const second = told().dataSync();
  return first.every((value, i) => value === second[i])
    ? undefined
    : 'recover gives something else of the same answers once the victim was asked again: it knows more than the answers';
};

/** What to do about a recovery that is none. */
export const recoveryRemedy = 'Let what recover gives compute with the answers alone, or take it out.';

/** Of what a defence consists, in order: of itself, unless it is composed. */
export const partsOf = (defense: Defense): readonly Defense[] => defense.parts ?? [defense];

/** Of these parts those that change what the net answers, in order. */
export const wrappersOf = (defense: Defense): readonly Defense[] =>
  partsOf(defense).filter(({ answers }) => answers !== undefined);
