import type * as tf from '@tensorflow/tfjs';
import { firstLine } from '../core/errors.js';
import * as tree from '../core/tree.js';
import type { Taken } from './step.js';

/** A step that can be taken by the plain graph and by XLA, of a state that can be read and written. */
export interface BothWays<State extends tree.Tree, Metrics extends tree.Tree> {
  take(xla: boolean): Metrics;
  /** The caller owns what it is given. */
  read(): State;
  write(state: State): void;
}

/**
 * Takes a step by the plain graph and by XLA, and compares. Its metrics, and the state that is left, are XLA's where nothing but rounding
 * differs; else the plain graph's, and `unfit` says why.
 */
export const takenBothWays = <State extends tree.Tree, Metrics extends tree.Tree>({
  take,
  read,
  write,
}: BothWays<State, Metrics>): { readonly metrics: Metrics; readonly unfit?: string } => {
  const by = (xla: boolean): Taken<State, Metrics> => ({ metrics: take(xla), state: read() });
  const before = read();
  const plain = by(false);
  let unfit: string;
  try {
    write(before);
    const other = by(true);
    const apart = difference(before, plain, other);
    if (apart === undefined) {
      tree.dispose([plain.state, plain.metrics, other.state]);
      return { metrics: other.metrics };
    }
    tree.dispose([other.state, other.metrics]);
    unfit = `XLA computes ${apart}`;
  } catch (error) {
    unfit = `XLA does not compile the step: ${firstLine(error)}`;
  } finally {
    tree.dispose(before);
  }
  write(plain.state);
  tree.dispose(plain.state);
  return { metrics: plain.metrics, unfit };
};

/**
 * What differs by more than rounding between two outcomes of one step, in a sentence; undefined where nothing does. Tensors
 * are compared as a whole, by how far the step moved them: at a ReLU a rounding may close a gate and change single numbers.
 */
const difference = <State extends tree.Tree, Metrics extends tree.Tree>(
  before: State,
  plain: Taken<State, Metrics>,
  other: Taken<State, Metrics>,
): string | undefined => {
  const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  const minus = (a: tf.Tensor, b: tf.Tensor): Float32Array => {
    const [left, right] = [a.dataSync(), b.dataSync()];
    return Float32Array.from(left, (value, i) => value - (right[i] as number));
  };
  const leaves = (of: tree.Tree) => tree.entries(of);
  const old = tree.leaves(before);
  const others = tree.leaves(other.state);
  const rows = leaves(plain.state).map(([path, leaf], i) => ({
    path,
    moved: norm(minus(leaf, old[i] as tf.Tensor)),
    apart: norm(minus(leaf, others[i] as tf.Tensor)),
  }));
  const largest = Math.max(...rows.map(({ moved }) => moved));
  const worst = rows.find(({ moved, apart }) => !(apart <= tolerance * Math.max(moved, largest / 100)));
  if (worst !== undefined) return `another ${worst.path}`;
  const values = tree.leaves(other.metrics);
  const metric = leaves(plain.metrics).find(([, leaf], i) => {
    const [a, apart] = [norm(leaf.dataSync() as Float32Array), norm(minus(leaf, values[i] as tf.Tensor))];
    return !(apart <= tolerance * Math.max(a, 1e-3));
  });
  return metric === undefined ? undefined : `another ${metric[0]}`;
};

/** Beyond TF32's roundings and closed gates, and far below a wrong gradient. */
const tolerance = 0.05;
