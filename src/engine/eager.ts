import * as tf from '@tensorflow/tfjs';
import * as tree from '../core/tree.js';
import type { Runner, Step } from './step.js';

/**
 * A runner that calls the step's operations one by one.
 *
 * It owns its state and borrows `frozen`. A step that throws leaves the state as it was.
 *
 * @throws Error when a step's new state has not the paths, shapes and types of the old one; from `run` and `read` before `load`
 */
export const eager = <
  Frozen extends tree.Tree,
  State extends tree.Tree,
  Batch extends tree.Tree,
  Metrics extends tree.Tree,
>(
  step: Step<Frozen, State, Batch, Metrics>,
  frozen: Frozen,
): Runner<State, Batch, Metrics> => {
  let held: State | undefined;
  let form: readonly string[] = [];

  const replace = (next: State | undefined): void => {
    if (held !== undefined) tree.dispose(held);
    held = next;
  };
  const current = (): State => {
    if (held === undefined) throw new Error('this runner holds no state: call load first');
    return held;
  };

  return {
    load: (state) => {
      replace(own(state));
      form = formOf(state);
    },
    run: (batch, inputs) => {
      const { state, metrics } = scoped(() => {
        const next = step(frozen, current(), batch, inputs);
        assertForm(form, formOf(next.state));
        // Clones share the numbers but have lives of their own: so a leaf may be the old state's, appear twice, or be a
        // tensor of the batch or of `frozen`, and the old state can still be disposed of.
        return { state: own(next.state), metrics: tree.clone(next.metrics) };
      });
      replace(state);
      return metrics;
    },
    read: () => tree.clone(current()),
    dispose: () => replace(undefined),
  };
};

/** A copy that survives every enclosing `tf.tidy`. */
const own = <T extends tree.Tree>(of: T): T => tree.keep(tree.clone(of));

const scoped = <T extends object>(body: () => T): T => tf.tidy(() => body() as T & tf.TensorContainer);

const formOf = (state: tree.Tree): string[] =>
  tree.entries(state).map(([path, leaf]) => `${path}: ${leaf.dtype} [${leaf.shape}]`);

const assertForm = (before: readonly string[], after: readonly string[]): void => {
  if (before.length === after.length && before.every((leaf, i) => leaf === after[i])) return;
  const without = (all: readonly string[], others: readonly string[]) => {
    const set = new Set(others);
    return all.filter((leaf) => !set.has(leaf)).join(', ') || 'nothing';
  };
  throw new Error(
    `a step's new state must have the paths, shapes and types of the old: it lost ${without(before, after)} and gained ${without(after, before)}`,
  );
};
