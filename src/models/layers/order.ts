import type * as tf from '@tensorflow/tfjs';
import * as ops from '../../engine/ops.js';
import type { BoundLayer, Pass } from './layer.js';

/** For what has done no activation yet: the same and one after it, if that is what comes next. */
export const withActivation =
  (done: ops.Activation | undefined, activated: (activation: ops.Activation) => BoundLayer): BoundLayer['with'] & {} =>
  ({ activation }) =>
    done === undefined && activation !== undefined ? activated(activation) : undefined;

/**
 * max(f(x)) = f(max(x)) for a non-decreasing f. So max-pooling goes before biases and activations, and leaves them a quarter
 * of their work; the numbers are the same to the last bit.
 */
export const selectedFirst = (parts: readonly BoundLayer[]): BoundLayer[] =>
  parts.reduce<BoundLayer[]>((order, part) => {
    const last = part.nature === 'selects' ? order.findLastIndex(({ nature }) => nature !== 'rises') : order.length - 1;
    return order.toSpliced(last + 1, 0, part);
  }, []);

/** What is less work together is done at once. */
export const atOnce = (parts: readonly BoundLayer[]): BoundLayer[] =>
  parts.reduce<BoundLayer[]>((done, part) => {
    const both = done.at(-1)?.with?.(part);
    return both === undefined ? done.concat(part) : done.with(-1, both);
  }, []);

/** What comes before a batch norm tells it what it needs. */
export const toldInTime = (parts: readonly BoundLayer[]): readonly BoundLayer[] =>
  parts.map((part, i) => (parts[i + 1]?.listens && part.telling) || part);

/** Whether nothing but a net's answers is wanted, in evaluation. */
export const onlyAnswers = ({ mode, asked }: Pass): boolean =>
  mode === 'eval' && !asked.batchStats && !asked.imageStats && ops.onlyAnswers();

/** Layers one after the other. Each intermediate is disposed of once used; gradients keep what they need themselves. */
export const through = (parts: readonly BoundLayer[], x: tf.Tensor, pass: Pass): tf.Tensor =>
  parts.reduce((current, part) => {
    const next = part.run(current, pass);
    if (current !== x && current !== next && current !== pass.features) current.dispose();
    return next;
  }, x);
