import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import type { StoredTensor, WrittenTensor } from '../core/safetensors.js';
import { floatsOf } from '../core/tree.js';
import type { Named, Network, VariableSpec, Variables } from './network.js';

const counter = '.num_batches_tracked';

/** A network's variables as PyTorch's `state_dict` has them: its names, shapes, layouts and order. */
export type StateDict = Readonly<Record<string, StoredTensor>>;

/**
 * The dimensions of a variable, split where a layout interleaves them, and the order in which PyTorch has them: so that
 * one transposition (of the split shape, by `order`) and its inverse do all conversions.
 */
const axes = ({
  shape,
  layout,
}: VariableSpec): { readonly split: readonly number[]; readonly order: readonly number[] } => {
  if (layout === 'conv') return { split: shape, order: [3, 2, 0, 1] };
  if (layout === 'dense') return { split: shape, order: [1, 0] };
  if (layout === 'plain') return { split: shape, order: shape.map((_, axis) => axis) };
  const { height, width, channels } = layout.flattened;
  return { split: [height, width, channels, shape[1] as number], order: [3, 2, 0, 1] };
};

/** The variable's shape in PyTorch. */
export const stateDictShape = (spec: VariableSpec): readonly number[] => {
  if (typeof spec.layout === 'object') return [...spec.shape].reverse();
  const { split, order } = axes(spec);
  return order.map((axis) => split[axis] as number);
};

const inverse = (order: readonly number[]): number[] => order.map((_, axis) => order.indexOf(axis));

/**
 * A network's variables in PyTorch's layouts, in `state_dict` order: kernels [out, in, kh, kw], dense weights [out, in]
 * with their inputs in (channel, height, width) order after a flatten. The numbers are moved, not changed.
 */
export const toStateDict = (network: Network, { params, stats }: Variables): StateDict =>
  Object.fromEntries(
    network.variables.map((spec) => {
      const { split, order } = axes(spec);
      const value = (spec.kind === 'param' ? params : stats)[spec.name] as tf.Tensor;
      const data = floatsOf(() => tf.transpose(tf.reshape(value, [...split]), [...order]));
      return [spec.name, { shape: stateDictShape(spec), data }];
    }),
  );

/**
 * A state dict with each batch norm's `num_batches_tracked`, int64 of shape [], which a strict `load_state_dict` asks for.
 * Batches are not counted here, as nothing reads their number at a fixed momentum: it is 0.
 */
export const withCounters = (stateDict: StateDict): Readonly<Record<string, WrittenTensor>> =>
  Object.fromEntries(
    Object.entries(stateDict).flatMap(([name, tensor]): [string, WrittenTensor][] => {
      const own: [string, WrittenTensor] = [name, tensor];
      const norm = /^(.*)\.running_var$/.exec(name)?.[1];
      return norm === undefined ? [own] : [own, [`${norm}${counter}`, { shape: [], data: new BigInt64Array(1) }]];
    }),
  );

export const withoutCounters = (stateDict: StateDict): StateDict =>
  Object.fromEntries(Object.entries(stateDict).filter(([name]) => !name.endsWith(counter)));

const show = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

const mismatch = (
  what: string,
  where: string,
  remedy = 'These weights belong to another network, image size or number of classes.',
): FailureError => new FailureError(failure('data', what, { where, remedy }));

/** What PyTorch's wrappers put before every name, and what to save instead. */
const wrappers = [
  { prefix: 'module.', remedy: 'Save model.module.state_dict(), without DataParallel.' },
  { prefix: '_orig_mod.', remedy: 'Save model._orig_mod.state_dict(), without torch.compile.' },
] as const;

/**
 * Whether a PyTorch state dict is of a network, its batch norms' counters aside.
 *
 * @throws FailureError of kind `data` that names a variable which is missing, of another shape or type, or too many
 */
export const checkStateDict = (network: Network, stateDict: StateDict): void => {
  const known = new Set(network.variables.map(({ name }) => name));
  const foreign = Object.keys(withoutCounters(stateDict)).find((name) => !known.has(name));
  for (const { prefix, remedy } of wrappers) {
    if (foreign?.startsWith(prefix) && known.has(foreign.slice(prefix.length)))
      throw mismatch(`the names begin with ${prefix}`, foreign, remedy);
  }
  if (foreign !== undefined) throw mismatch(`the network ${network.name} has no such variable`, foreign);
  for (const spec of network.variables) {
    const stored = stateDict[spec.name];
    if (stored === undefined) throw mismatch('the weights lack this variable', spec.name);
    const wanted = stateDictShape(spec);
    if (show(stored.shape) !== show(wanted))
      throw mismatch(`the weights have shape ${show(stored.shape)}, the network has ${show(wanted)}`, spec.name);
    if (!(stored.data instanceof Float32Array)) throw mismatch('the weights are not of floating point', spec.name);
  }
};

/** A variable with its numbers in a state dict that was checked, in the layout of this framework. */
const imported = (spec: VariableSpec, stateDict: StateDict): tf.Tensor =>
  tf.tidy(() => {
    const { split, order } = axes(spec);
    const theirs = tf.tensor(
      stateDict[spec.name]?.data as Float32Array,
      order.map((axis) => split[axis] as number),
      'float32',
    );
    return tf.reshape(tf.transpose(theirs, inverse(order)), [...spec.shape]);
  });

/** Variables, owned by the caller, from a PyTorch state dict; the inverse of `toStateDict`. Throws as `checkStateDict`. */
export const fromStateDict = (network: Network, stateDict: StateDict): Variables => {
  // All is looked at before any tensor is made, so that a failure leaves none behind.
  checkStateDict(network, stateDict);
  const ofKind = (kind: VariableSpec['kind']): Named =>
    Object.fromEntries(
      network.variables.filter((spec) => spec.kind === kind).map((spec) => [spec.name, imported(spec, stateDict)]),
    );
  return { params: ofKind('param'), stats: ofKind('stat') };
};
