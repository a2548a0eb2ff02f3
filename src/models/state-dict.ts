import * as tf from '@tensorflow/tfjs';
import { FailureError, failure } from '../core/errors.js';
import type { StoredTensor } from '../core/safetensors.js';
import type { Named, Network, VariableSpec, Variables } from './network.js';

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

/** Row-major numbers of a tensor of `shape`, with its axes put in `order`. */
const transpose = (data: Float32Array, shape: readonly number[], order: readonly number[]): Float32Array => {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, side) => product * side, 1));
  const result = new Float32Array(data.length);
  let next = 0;
  const walk = (depth: number, offset: number): void => {
    const axis = order[depth];
    if (axis === undefined) {
      result[next++] = data[offset] as number;
      return;
    }
    const stride = strides[axis] as number;
    for (let i = 0; i < (shape[axis] as number); i++) walk(depth + 1, offset + i * stride);
  };
  walk(0, 0);
  return result;
};

/**
 * A network's variables in PyTorch's layouts, in `state_dict` order: kernels [out, in, kh, kw], dense weights [out, in]
 * with their inputs in (channel, height, width) order after a flatten. The numbers are moved, not changed.
 *
 * `countBatches` adds each batch norm's `num_batches_tracked`, which a strict `load_state_dict` asks for. It is not kept
 * here, as nothing reads it at a fixed momentum, and is written as 0.
 */
export const toStateDict = (
  network: Network,
  { params, stats }: Variables,
  { countBatches = false }: { readonly countBatches?: boolean } = {},
): StateDict =>
  Object.fromEntries(
    network.variables.flatMap((spec): [string, StoredTensor][] => {
      const { split, order } = axes(spec);
      const values = (spec.kind === 'param' ? params : stats)[spec.name]?.dataSync() as Float32Array;
      const entry: [string, StoredTensor] = [
        spec.name,
        { shape: stateDictShape(spec), data: transpose(values, split, order) },
      ];
      const suffix = '.running_var';
      if (!countBatches || !spec.name.endsWith(suffix)) return [entry];
      const counter = `${spec.name.slice(0, -suffix.length)}.num_batches_tracked`;
      return [entry, [counter, { shape: [], data: new Int32Array(1) }]];
    }),
  );

const show = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

const mismatch = (what: string, where: string): FailureError =>
  new FailureError(
    failure('data', what, {
      where,
      remedy: 'These weights belong to another network, image size or number of classes.',
    }),
  );

/** The numbers of `spec` in a state dict, in the layout of this framework. */
const imported = (spec: VariableSpec, stateDict: StateDict): Float32Array => {
  const stored = stateDict[spec.name];
  if (stored === undefined) throw mismatch('the weights lack this variable', spec.name);
  const wanted = stateDictShape(spec);
  if (show(stored.shape) !== show(wanted)) {
    throw mismatch(`the weights have shape ${show(stored.shape)}, the network has ${show(wanted)}`, spec.name);
  }
  if (!(stored.data instanceof Float32Array)) throw mismatch('the weights are not float32', spec.name);
  const { split, order } = axes(spec);
  return transpose(
    stored.data,
    order.map((axis) => split[axis] as number),
    inverse(order),
  );
};

/**
 * Variables, owned by the caller, from a PyTorch state dict; the inverse of `toStateDict`.
 *
 * @throws FailureError of kind `data` that names a variable which is missing, of another shape or type, or too many
 * (`num_batches_tracked` aside)
 */
export const fromStateDict = (network: Network, stateDict: StateDict): Variables => {
  const known = new Set(network.variables.map(({ name }) => name));
  const foreign = Object.keys(stateDict).find((name) => !known.has(name) && !name.endsWith('.num_batches_tracked'));
  if (foreign !== undefined) throw mismatch(`the network ${network.name} has no such variable`, foreign);
  // All are read before any tensor is made, so that a failure leaves none behind.
  const read = network.variables.map((spec) => ({ spec, data: imported(spec, stateDict) }));
  const ofKind = (kind: VariableSpec['kind']): Named =>
    Object.fromEntries(
      read
        .filter(({ spec }) => spec.kind === kind)
        .map(({ spec, data }) => [spec.name, tf.tensor(data, [...spec.shape], 'float32')]),
    );
  return { params: ofKind('param'), stats: ofKind('stat') };
};
