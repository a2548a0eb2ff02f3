import type { Awaitable, Task } from '../core/errors.js';
import type { Key } from '../core/random.js';
import type { Tree } from '../core/tree.js';
import type { FitResult, FitSpec } from './fit.js';
import type { ImageSet, StoredAnswers, UnlabelledBatch } from './images.js';
import type { Access, Victim } from './oracle.js';
import type { Pictures } from './pictures.js';
import type { NoTensors } from './source.js';

/** Images that an attacker made: what a student is trained on is what a person can look at. */
export interface Synthesised extends Pictures {
  /** The class that each was made for, or taken for by the victim. */
  readonly labels: readonly number[];
  /** Updates that it took: of the images, or of their generator. */
  readonly updates: number;
}

/** What a plugin's function may give: a promise of its result, as an async function does, or a fp-ts task. */
export type Doing<A> = PromiseLike<A> | Task<A>;

/** A fold over a tree of tensors: `body` so many times, on a state of any form. */
export interface Loop<State extends Tree> {
  /** Iterations. */
  readonly count: number;
  /** The state before the first iteration, which the loop owns. */
  readonly init: (key: Key) => State | Promise<State>;
  /**
   * One iteration: the state after, which the loop owns, of any form. The state before is borrowed. What the body makes
   * by its own context is kept until the iteration is over, under its name and the iteration's number (`student-3`).
   */
  readonly body: (state: State, iteration: number, context: Context) => Promise<State>;
}

/**
 * What an attack or a defence may do beyond arithmetic. Everything it makes is kept under its stage and a name: a
 * killed run returns what was finished at once and goes on with what was begun, without a line in the plugin.
 */
export interface Context {
  /** The randomness of this stage. */
  readonly key: Key;
  /** Trains, with checkpoints. The caller owns the weights returned. */
  fit<
    Frozen extends Tree,
    State extends Tree,
    Batch extends Tree,
    Kept extends Tree,
    Data extends Tree = NoTensors,
    A extends Access = Access,
  >(name: string, spec: FitSpec<Frozen, State, Batch, Kept, Data, A>): Awaitable<FitResult<Kept>>;
  /**
   * Repeats something on a tree of tensors, which is checkpointed after each iteration. The caller owns the last state.
   */
  loop<State extends Tree>(name: string, loop: Loop<State>): Awaitable<State>;
  /**
   * Asks a victim about images once, as they are and in order, and keeps the answers: the most that its access gives,
   * logits or log-probabilities (size K) or classes (size 1). As `answers` of an `ImageSet` they come with its batches.
   *
   * Where a budget ends earlier there are answers to the first images only.
   */
  ask<A extends Access>(
    name: string,
    victim: Victim<A>,
    images: ImageSet<UnlabelledBatch> | ImageSet,
  ): Awaitable<StoredAnswers>;
  /** Makes images once, which are kept as PNG files and shown with the results. */
  images(name: string, make: () => Promise<Synthesised>): Awaitable<Synthesised>;
  /** All images that were made so far, in order: those of the attack's pool, and this stage's own. */
  pool(): Promise<readonly Synthesised[]>;
  /** Makes a value once; it must survive JSON. */
  value<Value>(name: string, make: () => Promise<Value>): Awaitable<Value>;
  /** A sentence for the record and the terminal: something a reader of the result must know. */
  warn(message: string): void;
}
