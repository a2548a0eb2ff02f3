import * as E from 'fp-ts/lib/Either.js';
import { failure, type Result } from '../../core/errors.js';
import { type Machine, unsupported } from './machine.js';
import { type Recipe, recipeFor } from './wheels.js';

/** Which engine to run on, and why it is not TensorFlow where it is not. */
export type Choice =
  /** A binding that the user names. */
  | { readonly use: 'binding'; readonly path: string }
  /** The one that `installEngine` installs. */
  | { readonly use: 'tensorflow'; readonly recipe: Recipe }
  /** The old one that `@tensorflow/tfjs-node-gpu`'s own install script fetched. */
  | { readonly use: 'prebuilt'; readonly path: string; readonly why: string }
  /** Pure JavaScript. Without `why`, because the user asked for it. */
  | { readonly use: 'tfjs-cpu'; readonly why?: string };

/** What can be had on this machine, besides what can be installed. */
export interface AtHand {
  /** The binding left by the install script of `@tensorflow/tfjs-node-gpu`. */
  readonly prebuilt: string | undefined;
  /** Whether the CUDA engine is installed. */
  readonly cuda: boolean;
}

/** The values of `UNDISTILL_ENGINE`. */
const NAMES = ['tensorflow-cpu', 'tensorflow-cuda', 'tfjs-cpu'];

/**
 * The engine for a machine. `UNDISTILL_BINDING` (a path) and `UNDISTILL_ENGINE` (`tensorflow-cpu`, `tensorflow-cuda` or
 * `tfjs-cpu`) decide; else CUDA where it is installed, TensorFlow on the CPU, the package's own prebuilt, and last the
 * pure-JavaScript engine.
 */
export const chooseEngine = (
  machine: Pick<Machine, 'platform' | 'arch' | 'glibc' | 'env'>,
  atHand: AtHand,
): Result<Choice> => {
  const { UNDISTILL_BINDING: binding, UNDISTILL_ENGINE: wanted } = machine.env;
  if (wanted && !NAMES.includes(wanted))
    return E.left(
      failure('usage', `there is no engine "${wanted}"`, {
        where: 'UNDISTILL_ENGINE',
        remedy: `It may be ${NAMES.join(', ')}, or unset.`,
      }),
    );
  if (wanted === 'tfjs-cpu') return E.right({ use: 'tfjs-cpu' });
  if (binding) return E.right({ use: 'binding', path: binding });
  const cuda = wanted === undefined || wanted === '' ? atHand.cuda : wanted === 'tensorflow-cuda';
  const reason = unsupported(machine);
  const recipe = reason === undefined ? recipeFor(machine.platform, machine.arch, cuda) : undefined;
  if (recipe !== undefined) return E.right({ use: 'tensorflow', recipe });
  if (wanted)
    return E.left(
      failure('engine', reason ?? `there is no TensorFlow with CUDA for ${machine.platform} on ${machine.arch}`, {
        where: `UNDISTILL_ENGINE=${wanted}`,
        remedy: 'Unset it, and the best engine that this machine can have is used.',
      }),
    );
  const why = reason ?? `there is no TensorFlow for ${machine.platform} on ${machine.arch}`;
  return E.right(
    atHand.prebuilt === undefined ? { use: 'tfjs-cpu', why } : { use: 'prebuilt', path: atHand.prebuilt, why },
  );
};
