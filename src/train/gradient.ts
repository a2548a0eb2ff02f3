import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import * as tree from '../core/tree.js';
import type { Named } from '../models/network.js';

/** What a loss function gives: the loss, and side outputs (running statistics, loss terms, logits) to carry out. */
export interface LossOutput<Aux extends tree.Tree> {
  /** Scalar. */
  readonly loss: tf.Scalar;
  readonly aux: Aux;
}

export interface Gradient<Aux extends tree.Tree> extends LossOutput<Aux> {
  /** d loss / d parameter, by the parameter's name and of its shape. */
  readonly gradients: Named;
  /** Whether a gradient other than 0 can reach any parameter at all. */
  readonly reaches: boolean;
}

/**
 * The value of a loss, its gradient with respect to every parameter, and its side outputs.
 *
 * A parameter that the loss does not depend on gets zeros. `f` is called once, with the very names of `params`; no
 * gradient flows through what it returns as `aux`. Everything returned belongs to the enclosing `tf.tidy`, or to the
 * caller where there is none; nothing else is left behind.
 *
 * @param params at least one tensor. One tensor under two names counts as two parameters.
 */
export const valueAndGradient = <Aux extends tree.Tree>(
  f: (params: Named) => LossOutput<Aux>,
  params: Named,
): Gradient<Aux> => {
  const names = Object.keys(params);
  const distinct = separate(Object.values(params));
  let kept: Aux | undefined;
  let reaches = false;
  try {
    // The engine's own entry rather than tf.grads, which refuses a parameter without a gradient.
    const { value, grads } = tf.engine().gradients(
      () => {
        const { loss, aux } = f(named(names, distinct));
        if (!(loss instanceof tf.Tensor)) throw new Error('the loss is missing: return { loss }, a scalar');
        demandScalar('a loss', loss);
        // The engine disposes of all that the forward pass made, except the loss. A clone is kept and not the tensor
        // itself, which may be somebody else's (statistics returned unchanged) or the loss.
        kept = tree.keep(tree.clone(aux));
        reaches = isReached(loss, distinct);
        return loss;
      },
      distinct,
      undefined,
      true,
    );
    const gradients = grads.map((gradient, i) => gradient ?? tf.zerosLike(distinct[i] as tf.Tensor));
    return { loss: value as tf.Scalar, gradients: named(names, gradients), reaches, aux: tree.clone(kept as Aux) };
  } catch (error) {
    forgetTape();
    throw withoutGradient(error) ?? error;
  } finally {
    if (kept !== undefined) tree.dispose(kept);
  }
};

/** The failure of a loss through an operation that TensorFlow.js has no gradient for; undefined where it is another one. */
const withoutGradient = (error: unknown): FailureError | undefined => {
  if (!(error instanceof Error)) return undefined;
  const operation = /gradient function not found for (\w+)/.exec(error.message)?.[1];
  if (operation === undefined) return undefined;
  return new FailureError(
    failure('plugin', `its loss goes through ${operation}, which has no gradient`, {
      remedy:
        'Use a soft form of it; what only chooses or compares belongs into the target of a step, or into unrecorded.',
      trace: error.stack,
    }),
  );
};

/** Throws where a tensor that is to be one number is none. */
export const demandScalar = (what: string, { size, shape }: tf.Tensor): void => {
  if (size !== 1) throw new Error(`${what} is a scalar, not of shape [${shape}]: give its mean over the batch`);
};

/** The failure of a loss that reaches nothing; `what` it is to be computed of. */
export const unreached = (what: string): FailureError =>
  new FailureError(
    failure('plugin', 'its loss has no gradient: it depends on none of the weights that it is to train', {
      remedy: `Compute it of what ${what}, by operations that have a gradient: argMax, comparisons, rounding and detach have none.`,
    }),
  );

/**
 * Runs arithmetic that no gradient is ever taken through, although it may happen inside a loss: nothing of it is noted
 * for that.
 */
export const unrecorded = <A>(body: () => A): A => {
  // The engine records what kernels do and nothing that happens inside one.
  const { state } = tf.engine();
  state.kernelDepth += 1;
  try {
    return body();
  } finally {
    state.kernelDepth -= 1;
  }
};

/** Operations whose gradient is 0 wherever it is: nothing is learnt through them. */
const flat = new Set(['ArgMax', 'ArgMin', 'Ceil', 'Floor', 'OneHot', 'OnesLike', 'Round', 'Sign', 'Step', 'ZerosLike']);

/** Tensors whose gradient goes no further, whatever made them. */
const ends = new WeakSet<tf.Tensor>();

/** Marks a tensor as one whose gradient goes no further. */
export const ending = <T extends tf.Tensor>(tensor: T): T => {
  ends.add(tensor);
  return tensor;
};

/** Whether a loss was made of some tensors by operations on the tape through which a gradient gets back. */
const isReached = (loss: tf.Tensor, tensors: readonly tf.Tensor[]): boolean => {
  const made = new Set(tensors.map(({ id }) => id));
  for (const { kernelName, inputs, outputs } of tf.engine().state.activeTape ?? []) {
    if (flat.has(kernelName) || !Object.values(inputs).some(({ id }) => made.has(id))) continue;
    for (const output of outputs) if (!ends.has(output)) made.add(output.id);
  }
  return made.has(loss.id);
};

/** Frees what the engine saved for a backward pass that never came: only a finished one frees it. */
const forgetTape = (): void => {
  const { state } = tf.engine();
  if (state.gradientDepth > 0) return;
  for (const { saved } of state.activeTape ?? []) for (const tensor of saved ?? []) tensor.dispose();
  state.activeTape = [];
};

/** The same tensors, a repeated one replaced by a clone: the engine tells parameters apart by tensor. */
const separate = (tensors: readonly tf.Tensor[]): tf.Tensor[] => {
  const seen = new Set<tf.Tensor>();
  return tensors.map((tensor) => {
    if (seen.has(tensor)) return tensor.clone();
    seen.add(tensor);
    return tensor;
  });
};

const named = (names: readonly string[], tensors: readonly tf.Tensor[]): Named =>
  Object.fromEntries(names.map((name, i) => [name, tensors[i] as tf.Tensor]));
