import { deepStack } from '../core/errors.js';
import { type Binding, backend, DTYPES, isNative, withBinding } from './backend.js';

/** Where a NaN came from. */
export interface Origin {
  /** TensorFlow's name of the operation. */
  readonly operation: string;
  /** The stack of its call. */
  readonly trace: string;
}

/**
 * Runs a computation and tells which of its operations was the first to give a NaN; undefined where none did, or tfjs's own
 * implementations run them. Every result is read: it takes many times as long.
 */
export const firstNaN = (body: () => void): Origin | undefined => {
  if (!isNative()) {
    body();
    return undefined;
  }
  const { binding } = backend();
  let found: Origin | undefined;
  const executeOp: Binding['executeOp'] = (name, attributes, inputs, outputs) => {
    const results = binding.executeOp(name, attributes, inputs, outputs);
    const hasNaN = ({ id, dtype }: (typeof results)[number]): boolean =>
      dtype === DTYPES.float32 && binding.tensorDataSync(id).some(Number.isNaN);
    if (found === undefined && results.some(hasNaN)) found = { operation: name, trace: deepStack(name) };
    return results;
  };
  withBinding({ executeOp }, body);
  return found;
};
