import { type Attribute, backend } from './backend.js';
import { hasOneDnn } from './ops-native.js';
import { type Form, isOperation, type Ref, type Trace, type TracedNode, type TracedOperation } from './trace.js';

/**
 * Operations that TensorFlow has in one piece for a processor and its own optimiser does not put together. Each gives the
 * very bits of the operations that it stands for.
 */

const attribute = (name: string, value: boolean | number | string): Attribute => {
  const { TF_ATTR_BOOL, TF_ATTR_INT, TF_ATTR_STRING } = backend().binding;
  const type = { boolean: TF_ATTR_BOOL, number: TF_ATTR_INT, string: TF_ATTR_STRING }[
    typeof value as 'boolean' | 'number' | 'string'
  ];
  return { name, type, value };
};

/** How often each output is used, by `node:output`. */
const uses = ({ nodes, outputs }: Trace): Map<string, number> => {
  const counts = new Map<string, number>();
  const all = [...nodes.flatMap((node) => (node.kind === 'operation' ? node.inputs : [])), ...outputs];
  for (const { node, output } of all) counts.set(`${node}:${output}`, (counts.get(`${node}:${output}`) ?? 0) + 1);
  return counts;
};

/**
 * Whether a batch norm rounds alike with a ReLU in one piece and before one. Where the number of channels is a multiple of
 * four but not of eight, oneDNN has one routine with a ReLU and another without.
 */
export const roundsAlikeWithRelu = ({ outputs: [normalised] }: TracedOperation): boolean =>
  ((normalised as Form).shape.at(-1) as number) % 8 !== 4;

/**
 * A training batch norm with the ReLU that alone reads its result, as oneDNN's one operation: the ReLU costs nothing more.
 * (By TensorFlow's own name for it, so that a TensorFlow without it refuses the graph.)
 */
const fuseBatchNormRelu = (trace: Trace): Trace => {
  const counts = uses(trace);
  const fused = new Map<number, number>();
  trace.nodes.forEach((node, index) => {
    if (!isOperation(node, 'Relu')) return;
    const from = node.inputs[0] as Ref;
    const norm = trace.nodes[from.node];
    if (!isOperation(norm, 'FusedBatchNormV3') || from.output !== 0) return;
    const training = norm.attributes.some(({ name, value }) => name === 'is_training' && value === true);
    if (training && roundsAlikeWithRelu(norm) && counts.get(`${from.node}:0`) === 1) fused.set(from.node, index);
  });
  const byRelu = new Map([...fused].map(([norm, relu]) => [relu, norm]));
  const moved = (ref: Ref): Ref => ({ ...ref, node: byRelu.get(ref.node) ?? ref.node });
  return {
    outputs: trace.outputs.map(moved),
    nodes: trace.nodes.map((node, index): TracedNode => {
      if (node.kind !== 'operation') return node;
      // The ReLU stays where it is, unread: so every other node keeps its number.
      if (byRelu.has(index)) return node;
      const inputs = node.inputs.map(moved);
      if (!fused.has(index)) return { ...node, inputs };
      return {
        ...node,
        inputs,
        name: '_MklNativeFusedBatchNormEx',
        attributes: [
          ...node.attributes,
          attribute('num_side_inputs', 0),
          attribute('activation_mode', 'Relu'),
          attribute('_kernel', 'MklNameChangeOp'),
        ],
      };
    }),
  };
};

/** The same computation in fewer operations, where the machine has them. */
export const fuse = (trace: Trace): Trace => (hasOneDnn() ? fuseBatchNormRelu(trace) : trace);
