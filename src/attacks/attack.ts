import type * as tf from '@tensorflow/tfjs';
import { percentage } from '../core/text.js';
import type { DatasetPlugin, Normalisation } from '../data/dataset.js';
import type { Imitation, StandIn } from '../defenses/imitation.js';
import type { Network, Variables } from '../models/network.js';
import type { BuiltLearner } from '../train/classifier.js';
import type { Context, Doing } from '../train/context.js';
import type { FitResult } from '../train/fit.js';
import type { ImageSet, UnlabelledBatch } from '../train/images.js';
import type { Access, Victim } from '../train/oracle.js';
import type { Recipe } from '../train/recipe.js';
import type { PoolContext } from '../train/synthesiser.js';

/**
 * What the attacker owns of the victim's training data. `fraction` in (0, 1]; subsets of one seed are nested.
 * `stratified` takes the same share of every class; `shuffled` takes the first of a shuffled order, as the released
 * loader does.
 */
export type Ownership =
  | { readonly kind: 'none' }
  /**
   * Out-of-distribution images: all training images of another data set, brought to the victim's size; without labels, or
   * with that data set's own (`labelled`), which are no classes of the victim.
   */
  | { readonly kind: 'other'; readonly images: DatasetPlugin; readonly labelled?: boolean }
  | { readonly kind: 'unlabelled' | 'labelled'; readonly fraction: number; readonly how: 'stratified' | 'shuffled' };

/** Some or all of the training images, with labels. */
export type Labelled = Extract<Ownership, { readonly fraction: number }> & { readonly kind: 'labelled' };

/** Exactly what an ownership holds, and nothing more: images without labels, or none at all, cannot be peeked at. */
export type Owned<Data extends Ownership> = Data extends { kind: 'labelled' }
  ? {
      readonly train: ImageSet;
      /** Held out of what the attacker owns, for choosing a checkpoint. */
      readonly validation: ImageSet | undefined;
    }
  : Data extends { kind: 'other'; labelled: true }
    ? { readonly train: ImageSet }
    : Data extends { kind: 'unlabelled' | 'other' }
      ? { readonly train: ImageSet<UnlabelledBatch> }
      : Record<never, never>;

/**
 * Images that are made of a victim alone: no student has a part in them, so that they are made once, and all students
 * learn from the same ones, whatever it is that they learn of them.
 */
export interface PoolMaker<Need extends Access = Access> {
  /** Those of the attack's parameters that the images depend on; plain JSON. */
  readonly params: Readonly<Record<string, unknown>>;
  /** Makes the images and keeps them with `context.images`; `context.pool` has them in `steal`. */
  make(victim: Victim<Need>, context: PoolContext): Doing<unknown>;
}

/** What an attack would be tried in, beside the nets. */
export interface Circumstances {
  /** The student's. */
  readonly recipe: Recipe;
  /** Answers that a black box gives it in all; absent without a limit. */
  readonly budget?: number | undefined;
  /** Names of the victim's classes. */
  readonly classes: readonly string[];
  /** Where it owns a share of the victim's training images: how many. */
  readonly owned?: number | undefined;
  /** Where it owns out-of-distribution images: how many, and the names of their classes. */
  readonly images?: { readonly count: number; readonly classes: readonly string[] } | undefined;
}

/**
 * Why an attack cannot be tried. A reason alone is said of the nets or the data, which are then to be others; what something else mends
 * comes with what does.
 */
export type Objection = string | { readonly reason: string; readonly remedy: string };

/** What an attack has at hand beside its victim and its student. */
export interface AttackContext<Data extends Ownership = Ownership> extends Context {
  /** The images that it declared to own, and no others. */
  readonly data: Owned<Data>;
  /** How images become a student's input: it is evaluated with this. */
  readonly normalisation: Normalisation;
  /** Steps of one pass over everything the victim was trained on, for attacks compared at an equal number of steps. */
  readonly fullStepsPerEpoch: number;
  /**
   * The clean log-probabilities as far as the victim's answers tell them to who knows how it is defended, [batch, classes] each; absent
   * where the attack does not say that it knows the `inverse`.
   */
  readonly recover?: ((answers: tf.Tensor2D) => tf.Tensor2D) | undefined;
  /**
   * Makes a copy of how the victim is defended, by an attacker who knows the defences, their parameters too, and none of their secrets: a net
   * of its own stands in for the victim's, and its images for the owner's. Once in a theft, and between steps: what it tells goes into a step as a
   * tensor. Its tensors must last until it is released. Absent where the attack does not say that it knows how `answers` come about.
   */
  readonly imitate?: ((standIn: StandIn) => Promise<Imitation>) | undefined;
}

/**
 * What was stolen: a trained student, as a fit of it gives it. Of several fits on the way to it, the one with the log
 * that tells most. What was asked of the victim is counted by itself, whatever stands here.
 */
export interface Extraction extends FitResult<Variables> {
  /** Images that were made and then learnt from, where there are such. */
  readonly pool?: number;
}

/**
 * What a row of the matrix is for. `attack`: it takes something from a victim. `honest`: training on labels alone,
 * which stealing must beat. `reference`: honest training on soft labels, above which a student shows that the victim is
 * distillable.
 */
export type Role = 'attack' | 'honest' | 'reference';

/**
 * A way to steal a network, or the honest training it is compared with. Write one as a value of this type and put it in
 * an experiment's `attacks`.
 */
export interface Attack<Need extends Access = Access, Data extends Ownership = Ownership> {
  readonly name: string;
  /**
   * What distinguishes two uses of this attack; plain JSON. All that its functions take from outside belongs here: of what is
   * written nowhere, such as the turn of a loop, nothing else tells.
   */
  readonly params: Readonly<Record<string, unknown>>;
  /** `import.meta.url`: results made by an older version of the file are not reused. */
  readonly source: string;
  /** The least access it works with. `none`: trained once for all defences. */
  readonly needs: Need;
  /** What it owns of the victim's training data. */
  readonly data: Data;
  /** A name of one's own for the matrix; default: the name and the parameters that differ. */
  readonly label?: string;
  /** Default `attack`; the others ask no victim, and need `none`. */
  readonly role?: Role;
  /** Honest training on the same data, that the difference is taken to; default: `scratch` on the share it owns. */
  readonly baseline?: AnyAttack;
  /** It keeps images that it made (`context.images`), which are then looked at and shown. */
  readonly synthesises?: true;
  /**
   * What it must know of how the victim is defended, and without which it is not tried: an `inverse` (`context.recover`), how
   * `answers` come about (`context.imitate`), that they come by `chance`, so that asking again tells more, or that they may have `zeros` for
   * what is not told.
   */
  readonly knows?: 'inverse' | 'answers' | 'chance' | 'zeros';
  /** How often it asks about each image of its student's batches; default: once. */
  readonly questions?: number;
  /** It makes its images before any student learns, and of the victim alone. */
  readonly pool?: PoolMaker;
  /** Why it cannot be tried on a victim's net, with a student's, or as things are; said before anything is trained. */
  readonly refuses?: (victim: Network, student: Network, circumstances: Circumstances) => Objection | undefined;
  /** What one should know before anything is trained, though it can be tried: `plan` and `run` say it. */
  readonly warns?: (victim: Network, student: Network, circumstances: Circumstances) => string | undefined;
  /** Answers that it may ask of a black box in all; default: the experiment's. The theft ends with the last of them. */
  readonly budget?: number;
  /** The same with a fraction of its own iterations; absent where it has none but the student's. */
  readonly scaled?: (factor: number) => AnyAttack;
  // A method, so that attacks of every need and ownership fit one list; the planner hands each what it declared.
  steal(victim: Victim<Need>, student: BuiltLearner, context: AttackContext<Data>): Doing<Extraction>;
}

/** An attack of any access level and any ownership: what lists of attacks hold. */
export type AnyAttack = Attack<Access, Ownership>;

/** What a row is for. */
export const roleOf = ({ role = 'attack' }: Pick<AnyAttack, 'role'>): Role => role;

/** Whether an attack keeps images that it made. */
export const synthesises = (attack: AnyAttack): boolean => attack.synthesises === true || attack.pool !== undefined;

/** Whether an ownership is a share of the victim's own training images. */
export const ownsAShare = (data: Ownership): data is Extract<Ownership, { readonly fraction: number }> =>
  data.kind === 'unlabelled' || data.kind === 'labelled';

export const describeOwnership = (data: Ownership): string => {
  if (data.kind === 'none') return 'no images';
  if (data.kind === 'other')
    return `other images, ${data.labelled ? 'with labels of their own' : 'without labels'}: ${data.images.name}`;
  return `${data.fraction === 1 ? 'all' : percentage(data.fraction)} of the training images, ${data.kind}`;
};

/** All of the victim's training images, with labels. */
export const labelled = { kind: 'labelled', fraction: 1, how: 'stratified' } as const;
/** All of the victim's training images, without labels. */
export const unlabelled = { kind: 'unlabelled', fraction: 1, how: 'stratified' } as const;
