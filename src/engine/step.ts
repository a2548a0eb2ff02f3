import * as tf from '@tensorflow/tfjs';
import { firstFew } from '../core/text.js';
import * as tree from '../core/tree.js';

/** What changes from step to step without being state: tensors, so that a traced step takes them as inputs. */
export type StepInputs = {
  /** Scalar. */
  readonly learningRate: tf.Scalar;
  /** int32 [2], made from the stage's key and the step's number: the seed of every stateless random operation. */
  readonly seed: tf.Tensor1D;
};

/**
 * One pure step of training or synthesis. It does arithmetic and nothing else: no counter, no JavaScript randomness, no
 * schedule, no reading of a tensor's value, so that it can be traced once into a graph and run many times.
 *
 * `frozen` is borrowed and never changed (a teacher, an adversary, the training images); `state` is what is trained
 * and checkpointed (weights, running statistics, optimiser slots); `metrics` are named tensors, by convention batch means.
 */
export type Step<
  Frozen extends tree.Tree,
  State extends tree.Tree,
  Batch extends tree.Tree,
  Metrics extends tree.Tree,
> = (
  frozen: Frozen,
  state: State,
  batch: Batch,
  inputs: StepInputs,
) => { readonly state: State; readonly metrics: Metrics };

/** What one step is given. */
export type Call<Batch extends tree.Tree> = { readonly batch: Batch; readonly inputs: StepInputs };

/** Takes steps, one after the other, and gives the metrics of each, which the caller owns. */
export type Run<Batch extends tree.Tree, Metrics extends tree.Tree> = (calls: readonly Call<Batch>[]) => Metrics[];

/** Runs steps again and again, holding their state. `load` and `read` copy; `run` disposes of what it replaces. */
export interface Runner<
  Frozen extends tree.Tree,
  State extends tree.Tree,
  Batch extends tree.Tree,
  Metrics extends tree.Tree,
> {
  load(state: State): void;
  readonly run: Run<Batch, Metrics>;
  /** Another step on the same state: an evaluation beside the training. */
  also<OtherBatch extends tree.Tree, OtherMetrics extends tree.Tree>(
    step: Step<Frozen, State, OtherBatch, OtherMetrics>,
  ): Run<OtherBatch, OtherMetrics>;
  read(): State;
  /** How many steps it likes to be given at once; fewer or more are right too. */
  readonly stride: number;
  /** What its steps run as, with the reason where that is not what was asked for. */
  readonly execution: string;
  dispose(): void;
}

/** What one step leaves. */
export interface Taken<State extends tree.Tree, Metrics extends tree.Tree> {
  readonly state: State;
  readonly metrics: Metrics;
}

/**
 * Takes a step now, operation by operation. The caller owns the new state and the metrics; the new state's leaves are kept
 * from every enclosing `tf.tidy`.
 *
 * @throws Error when the new state has not the paths, shapes and types of the old one
 */
export const take = <
  Frozen extends tree.Tree,
  State extends tree.Tree,
  Batch extends tree.Tree,
  Metrics extends tree.Tree,
>(
  step: Step<Frozen, State, Batch, Metrics>,
  frozen: Frozen,
  state: State,
  { batch, inputs }: Call<Batch>,
): Taken<State, Metrics> =>
  scoped(() => {
    const next = step(frozen, state, batch, inputs);
    assertForm(state, next.state);
    // Clones share the numbers but have lives of their own: so a leaf may be the old state's, appear twice, or be a
    // tensor of the batch or of `frozen`, and the old state can still be disposed of.
    return { state: own(next.state), metrics: tree.clone(next.metrics) };
  });

/** A copy that survives every enclosing `tf.tidy`. */
export const own = <T extends tree.Tree>(of: T): T => tree.keep(tree.clone(of));

const scoped = <T extends object>(body: () => T): T => tf.tidy(() => body() as T & tf.TensorContainer);

/** The leaves of a tree with their types and shapes. */
const formOf = (of: tree.Tree): string[] =>
  tree.entries(of).map(([path, leaf]) => `${path}: ${leaf.dtype} [${leaf.shape}]`);

/** The leaves of a tree with their types and shapes in one text, which equal forms share: it is asked for in every step. */
export const formKey = (of: tree.Tree): string => {
  if (of instanceof tf.Tensor) return `${of.dtype} ${of.shape.join()};`;
  if (Array.isArray(of)) return `[${of.map(formKey).join('')}]`;
  let key = '{';
  for (const name of Object.keys(of).sort())
    key += `${name}: ${formKey((of as Record<string, tree.Tree>)[name] as tree.Tree)}`;
  return `${key}}`;
};

const assertForm = (old: tree.Tree, next: tree.Tree): void => {
  const [before, after] = [formOf(old), formOf(next)];
  if (before.length === after.length && before.every((leaf, i) => leaf === after[i])) return;
  const without = (all: readonly string[], others: readonly string[]) => {
    const set = new Set(others);
    return firstFew(all.filter((leaf) => !set.has(leaf))) || 'nothing';
  };
  throw new Error(
    `a step's new state must have the paths, shapes and types of the old: it lost ${without(before, after)} and gained ${without(after, before)}`,
  );
};
