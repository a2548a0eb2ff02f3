import type * as tf from '@tensorflow/tfjs';
import type { Tree } from '../core/tree.js';

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
 * `frozen` is borrowed and never changed (a teacher, an adversary, normalisation constants); `state` is what is trained
 * and checkpointed (weights, running statistics, optimiser slots); `metrics` are named tensors, by convention batch means.
 */
export type Step<Frozen extends Tree, State extends Tree, Batch extends Tree, Metrics extends Tree> = (
  frozen: Frozen,
  state: State,
  batch: Batch,
  inputs: StepInputs,
) => { readonly state: State; readonly metrics: Metrics };

/** Runs a step again and again, holding its state. `load` and `read` copy; `run` disposes of what it replaces. */
export interface Runner<State extends Tree, Batch extends Tree, Metrics extends Tree> {
  load(state: State): void;
  /** The caller owns, and disposes of, the metrics. */
  run(batch: Batch, inputs: StepInputs): Metrics;
  read(): State;
  dispose(): void;
}
