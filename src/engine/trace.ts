import * as tf from '@tensorflow/tfjs';
import { type Attribute, type Binding, backend, type Raw, type TypedArray, withBinding } from './backend.js';

/** Output `output` of node `node` of a trace. */
export interface Ref {
  readonly node: number;
  readonly output: number;
}

/** A tensor's type, as TensorFlow's number, and shape. */
export type Form = Pick<Raw, 'dtype' | 'shape'>;

export interface TracedOperation {
  readonly kind: 'operation';
  readonly name: string;
  readonly attributes: readonly Attribute[];
  readonly inputs: readonly Ref[];
  readonly outputs: readonly Form[];
}

export type TracedConstant = { readonly kind: 'constant'; readonly data: TypedArray } & Form;

export type TracedNode = ({ readonly kind: 'input' } & Form) | TracedConstant | TracedOperation;

export const isOperation = (node: TracedNode | undefined, name: string): node is TracedOperation =>
  node?.kind === 'operation' && node.name === name;

/** The operations that a computation called, in their order. */
export interface Trace {
  /** The inputs first, in the order in which they were given. */
  readonly nodes: readonly TracedNode[];
  readonly outputs: readonly Ref[];
}

/** The nodes of a trace that lead to its outputs. */
export const neededBy = (nodes: Trace['nodes'], outputs: Trace['outputs']): ReadonlySet<number> => {
  const needed = new Set(outputs.map(({ node }) => node));
  // Nodes refer to earlier ones alone.
  for (let at = nodes.length - 1; at >= 0; at--) {
    const node = nodes[at];
    if (needed.has(at) && node?.kind === 'operation') for (const { node: before } of node.inputs) needed.add(before);
  }
  return needed;
};

/** The forms of a trace's inputs. */
export const formsOf = ({ nodes }: Trace): Form[] => nodes.flatMap((node) => (node.kind === 'input' ? [node] : []));

/** Why a computation cannot become a graph. */
export class NotTraceable extends Error {
  override readonly name = 'NotTraceable';
}

/**
 * Runs `body` once and notes every native operation that it calls.
 *
 * What `body` gets are copies of `inputs`, so that two inputs with the same memory are told apart; which tensors it
 * computed is told by `outputs`. The result of that one run is a result like any other.
 *
 * @throws NotTraceable when `body` reads a tensor's values, draws from `Math.random`, or gives back a tensor that it neither
 * was given nor computed: a graph would freeze what it saw this time
 */
export const trace = <Result>(
  inputs: readonly tf.Tensor[],
  body: (inputs: readonly tf.Tensor[]) => Result,
  outputs: (result: Result) => readonly tf.Tensor[],
): { readonly result: Result; readonly trace: Trace } => {
  const recorder = record(backend().binding);
  const copies = inputs.map((input) => {
    const raw = copied(input);
    recorder.input(raw);
    return backend().createOutputTensor(raw);
  });
  const { random } = Math;
  Math.random = () => {
    throw new NotTraceable('it draws from a generator of JavaScript; use stateless operations with the given seed');
  };
  try {
    return withBinding(recorder.recording, () => {
      const result = body(copies);
      const refs = backend()
        .getInputTensorIds(outputs(result))
        .map((id) => recorder.ref(id));
      return { result, trace: { nodes: recorder.nodes, outputs: refs } };
    });
  } finally {
    Math.random = random;
    tf.dispose(copies as tf.Tensor[]);
  }
};

/** The same numbers as a tensor of its own, in the type that the binding knows: tfjs calls a byte an int32. */
const copied = (tensor: tf.Tensor): Raw =>
  backend().binding.executeOp('Identity', [], backend().getInputTensorIds([tensor]), 1)[0] as Raw;

const record = (binding: Binding) => {
  const nodes: TracedNode[] = [];
  const known = new Map<number, Ref>();
  const add = (node: TracedNode, ids: readonly number[]): void => {
    ids.forEach((id, output) => {
      known.set(id, { node: nodes.length, output });
    });
    nodes.push(node);
  };
  const ref = (id: number): Ref => {
    const found = known.get(id);
    if (found === undefined)
      throw new NotTraceable('it uses a tensor that it was not given and did not compute, which would be frozen');
    return found;
  };
  const form = ({ dtype, shape }: Form): Form => ({ dtype, shape });
  const recording: Pick<Binding, 'createTensor' | 'executeOp' | 'tensorDataSync'> = {
    createTensor: (shape, dtype, values) => {
      // The array may be written to later, or its memory be kept by the tensor.
      const data = values.slice() as TypedArray;
      const id = binding.createTensor(shape, dtype, values);
      add({ kind: 'constant', dtype, shape: [...shape], data }, [id]);
      return id;
    },
    executeOp: (name, attributes, inputs, outputs) => {
      const refs = inputs.map(ref);
      const results = binding.executeOp(name, attributes, inputs, outputs);
      add(
        { kind: 'operation', name, attributes, inputs: refs, outputs: results.map(form) },
        results.map(({ id }) => id),
      );
      return results;
    },
    tensorDataSync: () => {
      throw new NotTraceable("it reads a tensor's values");
    },
  };
  return {
    nodes,
    recording,
    input: (raw: Raw) => add({ kind: 'input', ...form(raw) }, [raw.id]),
    ref,
  };
};
