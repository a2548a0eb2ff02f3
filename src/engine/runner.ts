import type * as tree from '../core/tree.js';
import { isNative } from './backend.js';
import { compile } from './compile.js';
import { eager } from './eager.js';
import { engine } from './engine.js';
import type { Runner, Step } from './step.js';

/** Who is told in a sentence: that steps do not run as they should, and what takes its time. */
export interface Told {
  readonly warn?: (message: string) => void;
  readonly note?: (message: string) => void;
}

/**
 * A runner of the kind that the engine was loaded for: what every training and evaluation runs on.
 */
export const runner = <
  Frozen extends tree.Tree,
  State extends tree.Tree,
  Batch extends tree.Tree,
  Metrics extends tree.Tree,
>(
  step: Step<Frozen, State, Batch, Metrics>,
  frozen: Frozen,
  { warn, note }: Told = {},
): Runner<Frozen, State, Batch, Metrics> =>
  !isNative() || engine().execution === 'eager'
    ? eager(step, frozen)
    : compile(step, frozen, {
        xla: engine().execution === 'xla',
        ...(warn === undefined ? {} : { fellBack: warn }),
        ...(note === undefined ? {} : { note }),
      });
