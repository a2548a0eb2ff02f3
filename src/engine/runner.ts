import type * as tree from '../core/tree.js';
import { backend, isNative } from './backend.js';
import { compile } from './compile.js';
import { eager } from './eager.js';
import { engine } from './engine.js';
import type { Runner, Step } from './step.js';

/**
 * Short steps are taken four in a call: on an H100 that made ResNet-18 6 % faster and ResNet-20 36 %; on two cores LeNet-5
 * 8 %, and nothing where a step takes more than ten milliseconds. On a processor the numbers are the same bits either way, so
 * there the time may decide.
 */
const stepsTogether = 4;

/** Called with a sentence: `warn` when steps do not run as they were asked to, `note` before something that takes long. */
export interface StepReporter {
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
  { warn, note }: StepReporter = {},
): Runner<Frozen, State, Batch, Metrics> =>
  !isNative() || engine().execution === 'eager'
    ? eager(step, frozen)
    : compile(step, frozen, {
        xla: engine().execution === 'xla',
        stride: backend().isUsingGpuDevice ? stepsTogether : (milliseconds) => (milliseconds < 10 ? stepsTogether : 1),
        ...(warn === undefined ? {} : { fellBack: warn }),
        ...(note === undefined ? {} : { note }),
      });
