import * as tree from '../core/tree.js';
import { own, type Run, type Runner, type Step, take } from './step.js';

/**
 * A runner that calls the steps' operations one by one.
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
): Runner<Frozen, State, Batch, Metrics> => {
  let held: State | undefined;

  const replace = (next: State | undefined): void => {
    if (held !== undefined) tree.dispose(held);
    held = next;
  };
  const current = (): State => {
    if (held === undefined) throw new Error('this runner holds no state: call load first');
    return held;
  };
  const running =
    <B extends tree.Tree, M extends tree.Tree>(of: Step<Frozen, State, B, M>): Run<B, M> =>
    (calls) =>
      calls.map((call) => {
        const { state, metrics } = take(of, frozen, current(), call);
        replace(state);
        return metrics;
      });

  return {
    load: (state) => replace(own(state)),
    run: running(step),
    also: running,
    read: () => tree.clone(current()),
    stride: 1,
    execution: 'eager',
    dispose: () => replace(undefined),
  };
};
