import { median } from '../core/lists.js';
import * as tree from '../core/tree.js';
import { type Binding, backend } from './backend.js';
import { type Call, type Step, take } from './step.js';
import { type Trace, trace } from './trace.js';

/** Where a step's time goes, operation by operation. */
export interface StepProfile {
  readonly trace: Trace;
  /** By node of the trace: seconds of its operation, 0 of what is none. Medians over the steps. */
  readonly seconds: Float64Array;
  /** Of a whole step, taken operation by operation. Median. */
  readonly step: number;
  /** By input of the trace, in its order: where it lies among the step's trees. */
  readonly inputs: readonly string[];
  /** The outputs of the trace that are the new state's and the metrics', by where they lie. */
  readonly outputs: readonly string[];
}

/**
 * Takes a step again and again from the same state, operation by operation, and times each operation. Only processors
 * are done with an operation when its call returns.
 */
export const profile = <
  Frozen extends tree.Tree,
  State extends tree.Tree,
  Batch extends tree.Tree,
  Metrics extends tree.Tree,
>(
  step: Step<Frozen, State, Batch, Metrics>,
  {
    frozen,
    state,
    call,
    steps,
  }: { readonly frozen: Frozen; readonly state: State; readonly call: Call<Batch>; readonly steps: number },
): StepProfile => {
  const given = { frozen, state, batch: call.batch, inputs: call.inputs };
  const named = tree.entries(given as tree.Tree);
  const all: Float64Array[] = [];
  const whole: number[] = [];
  let last: Trace | undefined;
  let outputs: readonly string[] = [];
  for (let i = 0; i <= steps; i++) {
    const { restore, times } = timing();
    const began = performance.now();
    try {
      const { result, trace: noted } = trace(
        named.map(([, leaf]) => leaf),
        (copies) => {
          const again = tree.filled(given as tree.Tree, copies) as typeof given;
          return take(step, again.frozen, again.state, { batch: again.batch, inputs: again.inputs });
        },
        (taken) => tree.leaves(taken as unknown as tree.Tree),
      );
      const passed = (performance.now() - began) / 1000;
      outputs = tree.entries(result as unknown as tree.Tree).map(([path]) => path);
      tree.dispose(result as unknown as tree.Tree);
      // The first step is for caches and for memory that is asked of the system.
      if (i === 0) continue;
      last = noted;
      whole.push(passed);
      // What was timed first are the copies of the inputs.
      all.push(byNode(noted, times.slice(named.length)));
    } finally {
      restore();
    }
  }
  const noted = last as Trace;
  return {
    trace: noted,
    seconds: Float64Array.from(noted.nodes, (_, node) => median(all.map((seconds) => seconds[node] ?? 0))),
    step: median(whole),
    inputs: named.map(([path]) => path),
    outputs,
  };
};

/** The times of calls, in order, at the nodes of a trace that they are. */
const byNode = ({ nodes }: Trace, times: readonly number[]): Float64Array => {
  let at = 0;
  return Float64Array.from(nodes, ({ kind }) => (kind === 'operation' ? (times[at++] ?? 0) : 0));
};

/** Times every operation that is called from now on until `restore`. */
const timing = () => {
  const { binding } = backend();
  const times: number[] = [];
  const executeOp: Binding['executeOp'] = (...args) => {
    const began = performance.now();
    const results = binding.executeOp(...args);
    times.push((performance.now() - began) / 1000);
    return results;
  };
  backend().binding = Object.create(binding, { executeOp: { value: executeOp } }) as Binding;
  return {
    times,
    restore: (): void => {
      backend().binding = binding;
    },
  };
};
