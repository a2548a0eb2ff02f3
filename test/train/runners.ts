import type * as tree from '../../src/core/tree.js';
import { compile } from '../../src/engine/compile.js';
import { eager } from '../../src/engine/eager.js';
import type { StepReporter } from '../../src/engine/runner.js';
import type { Step } from '../../src/engine/step.js';

/** What every runner of a test file is: eager, or compiled with this many steps in a call. */
export const how = { stride: 1 as number | 'eager', cache: '' };

/** Stands in for the engine's: `vi.mock('../../src/engine/runner.js', () => import('./runners.js'))`. */
export const runner = (
  step: Step<tree.Tree, tree.Tree, tree.Tree, tree.Tree>,
  frozen: tree.Tree,
  { warn }: StepReporter = {},
) =>
  how.stride === 'eager'
    ? eager(step, frozen)
    : compile(step, frozen, { stride: how.stride, cache: how.cache, ...(warn && { fellBack: warn }) });
