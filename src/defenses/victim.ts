import * as tf from '@tensorflow/tfjs';
import type { Tree } from '../core/tree.js';
import type { Normalisation } from '../data/dataset.js';
import { logSoftmax } from '../engine/ops.js';
import type { Network, Variables } from '../models/network.js';

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

export interface Closed {
  /** Tensors the answers are computed from; part of a step's frozen input, never changed by an attacker. */
  readonly frozen: Tree;
}

export interface AnswersLabels extends Closed {
  /** Normalised images [batch, height, width, channels] to the victim's class, int32 [batch]. */
  labels(frozen: Tree, images: tf.Tensor4D): tf.Tensor1D;
}

export interface AnswersProbabilities extends AnswersLabels {
  /**
   * Natural logarithms of the class probabilities, [batch, classes]; −∞ where the victim answers 0. As logarithms,
   * softmax(log p / τ) is the softened logits exactly, also where p underflows.
   */
  logProbabilities(frozen: Tree, images: tf.Tensor4D): tf.Tensor2D;
}

export interface AnswersLogits extends AnswersProbabilities {
  logits(frozen: Tree, images: tf.Tensor4D): tf.Tensor2D;
}

export interface GivesWeights extends AnswersLogits {
  readonly network: Network;
  /** How images become the network's input: a network is of no use without it, so it lies with the weights. */
  readonly normalisation: Normalisation;
  /** The weights, as they lie in `frozen`. */
  variables(frozen: Tree): Variables;
}

interface VictimAt {
  none: Closed;
  label: AnswersLabels;
  probabilities: AnswersProbabilities;
  logits: AnswersLogits;
  weights: GivesWeights;
}

/** What an attacker with access `A` holds. A victim with more access fits wherever one with less is asked for. */
export type Victim<A extends Access = Access> = VictimAt[A];

/** A trained network, published: its weights and all that follows from them. The caller keeps owning `variables`. */
export const publish = (network: Network, variables: Variables, normalisation: Normalisation): Victim<'weights'> => {
  const weights = (frozen: Tree) => frozen as Variables;
  const logits = (frozen: Tree, images: tf.Tensor4D) => network.apply(weights(frozen), images, { mode: 'eval' }).logits;
  return {
    network,
    normalisation,
    frozen: variables,
    variables: weights,
    logits,
    logProbabilities: (frozen, images) => logSoftmax(logits(frozen, images)),
    labels: (frozen, images) => tf.argMax(logits(frozen, images), 1),
  };
};

/** The same victim with no more answers than `access`: what an attacker who declared that need is handed. */
export const restrict = (victim: Victim, access: Access): Victim => {
  const answers: readonly (readonly [string, Access])[] = [
    ['labels', 'label'],
    ['logProbabilities', 'probabilities'],
    ['logits', 'logits'],
    ['network', 'weights'],
    ['normalisation', 'weights'],
    ['variables', 'weights'],
  ];
  const allowed = answers.filter(([name, level]) => name in victim && rank[level] <= rank[access]);
  return Object.fromEntries([
    ['frozen', victim.frozen],
    ...allowed.map(([name]) => [name, (victim as unknown as Record<string, unknown>)[name]]),
  ]) as unknown as Victim;
};
