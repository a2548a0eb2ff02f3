import type * as tf from '@tensorflow/tfjs';
import { sha256 } from '../core/hash.js';
import * as tree from '../core/tree.js';
import { isNative } from './backend.js';
import { NotTraceable, neededBy, type Ref, type Trace, type TracedNode, trace } from './trace.js';

/** How some tensors are computed from others, whatever else was computed beside them. */
export interface Derivation {
  /** Equal for equal operations on inputs of equal paths, types and shapes. */
  readonly hash: string;
  /** Paths of the inputs that they depend on, sorted. */
  readonly inputs: readonly string[];
}

/**
 * Runs `body` once, throws away what it computes, and tells how its results follow from the inputs; undefined where that
 * cannot be seen: without TensorFlow, or when `body` is more than arithmetic.
 */
export const derivationOf = <Inputs extends tree.Tree>(
  inputs: Inputs,
  body: (inputs: Inputs) => readonly tf.Tensor[],
): Derivation | undefined => {
  if (!isNative()) return undefined;
  const named = tree.entries(inputs);
  try {
    const { result, trace: noted } = trace(
      named.map(([, leaf]) => leaf),
      (copies) => body(tree.filled(inputs, copies)),
      (results) => results,
    );
    tree.dispose(result);
    return derivation(
      noted,
      named.map(([path]) => path),
    );
  } catch (error) {
    if (error instanceof NotTraceable) return undefined;
    throw error;
  }
};

const derivation = ({ nodes, outputs }: Trace, paths: readonly string[]): Derivation => {
  const used = new Set<string>();
  const known = new Map<number, string>();
  const needed = neededBy(nodes, outputs);
  const shown = ({ node, output }: Ref): string => `${known.get(node)}:${output}`;
  const described = (node: TracedNode, at: number): string => {
    switch (node.kind) {
      case 'input':
        used.add(paths[at] as string);
        return JSON.stringify(['input', paths[at], node.dtype, node.shape]);
      case 'constant': {
        const { buffer, byteOffset, byteLength } = node.data;
        return JSON.stringify([
          'constant',
          node.dtype,
          node.shape,
          sha256(new Uint8Array(buffer, byteOffset, byteLength)),
        ]);
      }
      case 'operation':
        return JSON.stringify([node.name, node.attributes, node.inputs.map(shown)]);
    }
  };
  nodes.forEach((node, at) => {
    if (needed.has(at)) known.set(at, sha256(described(node, at)));
  });
  return { hash: sha256(outputs.map(shown).join()), inputs: [...used].sort() };
};
