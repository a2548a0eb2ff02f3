import { bufferOf, bytesOf } from '../core/bytes.js';
import { type Attribute, backend, DTYPES } from './backend.js';
import { definitionOf, typeAttributes } from './operations.js';
import {
  type Form,
  isOperation,
  NotTraceable,
  type Ref,
  type Trace,
  type TracedConstant,
  type TracedNode,
  type TracedOperation,
} from './trace.js';

/** An attribute's value, by its kind in TensorFlow's `attr_value.proto`. */
export type AttrValue =
  | { readonly type: number }
  | { readonly types: readonly number[] }
  | { readonly function: string }
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly floats: readonly number[] }
  | { readonly bool: boolean }
  | { readonly bools: readonly boolean[] }
  | { readonly text: string }
  /** Undefined: of any rank. */
  | { readonly shape: readonly number[] | undefined }
  | { readonly tensor: Form & { readonly data: Uint8Array } };

/** A node of a TensorFlow graph. Inputs are `name:output`, or `^name` for one that must merely have run before. */
export interface GraphNode {
  readonly name: string;
  readonly op: string;
  readonly inputs: readonly string[];
  readonly attributes: Readonly<Record<string, AttrValue>>;
}

/** Where an input of a step comes from: a variable of the session, or what the caller feeds. */
export type Role = { readonly variable: number } | { readonly feed: number };

/** A traced step over the variables of a session. */
export interface Program {
  /** Letters and digits, beginning with a letter; unique in a session. */
  readonly name: string;
  readonly trace: Trace;
  /** Of each input of the trace. */
  readonly roles: readonly Role[];
  /** The variables that the step changes, each with the output of the trace that is its next value. */
  readonly updates: readonly { readonly variable: number; readonly output: Ref }[];
  /** What the caller gets, in order. */
  readonly metrics: readonly Ref[];
  /** Steps a call, one after the other on the same variables. */
  readonly repeat: number;
  /** Whether XLA compiles it. */
  readonly xla: boolean;
}

/** The names that a call feeds and fetches to write all variables and, last, the scalars; what is fetched depends on every assignment. */
export const writing = (variables: number) => ({
  feeds: indices(variables + 1).map((index) => `${nextName(index)}:0`),
  fetches: ['written:0'],
});

/** The names that a call fetches to read some variables. */
export const reading = (variables: readonly number[]): string[] => variables.map((index) => `${valueName(index)}:0`);

/** The names of a call's feeds: step by step, feed by feed. */
export const feedNames = (program: Program): string[] =>
  indices(program.repeat).flatMap((step) => feedsOf(program).map(({ feed }) => `${feedName(program, step, feed)}:0`));

/** What a call fetches: step by step, metric by metric, and last a constant that depends on every assignment. */
export const fetchNames = (program: Program): string[] => [
  ...indices(program.repeat).flatMap((step) =>
    program.metrics.map((_, metric) => `${metricName(program, step, metric)}:0`),
  ),
  `${program.name}done:0`,
];

/** A function of a graph, which XLA compiles as a whole. In its nodes' inputs, outputs go by name. */
export interface GraphFunction {
  readonly name: string;
  readonly inputs: readonly { readonly name: string; readonly dtype: number }[];
  readonly outputs: readonly { readonly name: string; readonly dtype: number; readonly from: string }[];
  readonly nodes: readonly GraphNode[];
}

export interface Graph {
  readonly nodes: readonly GraphNode[];
  readonly functions: readonly GraphFunction[];
}

/**
 * A graph of all programs over one set of variables, and the scalars that are to be written beside these: steps that differ
 * in a weight or a temperature alone have one graph.
 */
export const graphOf = (
  variables: readonly Form[],
  programs: readonly Program[],
): Graph & { readonly scalars: Float32Array } => {
  const hidden: Hidden = { scalars: new Map(), constants: new Map() };
  const parts = programs.map((program) => programNodes(program, variables, hidden));
  const [scalars, constants] = [[...hidden.scalars.keys()], [...hidden.constants.values()]];
  const all = [...variables, { dtype: DTYPES.float32, shape: [scalars.length] }];
  return {
    nodes: [
      ...all.flatMap(variable),
      ...(scalars.length === 0 ? [] : [unpackedScalars(variables.length, scalars.length)]),
      ...constants.flatMap(hiddenConstant),
      number('written', [
        ...all.map((_, index) => `^${variableName(index)}set`),
        ...constants.map(({ name }) => `^${name}set`),
      ]),
      ...parts.flatMap(({ nodes }) => nodes),
    ],
    functions: parts.flatMap(({ functions }) => functions),
    scalars: Float32Array.from(scalars, ({ data }) => data[0] as number),
  };
};

const indices = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

// No name may hold a comma, since the binding splits lists of names there.
const variableName = (index: number): string => `variable${index}`;
const valueName = (index: number): string => `${variableName(index)}value`;
const nextName = (index: number): string => `${variableName(index)}next`;
const stepName = ({ name }: Program, step: number): string => `${name}step${step}`;
const feedName = (program: Program, step: number, feed: number): string => `${stepName(program, step)}feed${feed}`;
const metricName = (program: Program, step: number, metric: number): string =>
  `${stepName(program, step)}metric${metric}`;

const node = (
  name: string,
  op: string,
  inputs: readonly string[] = [],
  attributes: GraphNode['attributes'] = {},
): GraphNode => ({ name, op, inputs, attributes });

const constant = (name: string, { dtype, shape }: Form, data: ArrayBufferView, inputs: readonly string[] = []) =>
  node(name, 'Const', inputs, {
    dtype: { type: dtype },
    value: { tensor: { dtype, shape, data: bytesOf(data) } },
  });

/** A constant with control dependencies: whoever fetches it makes TensorFlow run the nodes in `after` first. */
const number = (name: string, after: readonly string[]): GraphNode =>
  constant(name, { dtype: DTYPES.int32, shape: [] }, new Int32Array(1), after);

const placeholder = (name: string, { dtype }: Form): GraphNode =>
  node(name, 'Placeholder', [], { dtype: { type: dtype }, shape: { shape: undefined } });

/** A copy of a fed tensor: its memory may be JavaScript's, which no variable may keep, nor a view of it. */
const copy = (name: string, of: string, dtype: number): GraphNode =>
  node(name, 'DeepCopy', [of], { T: { type: dtype } });

const assign = (name: string, index: number, inputs: readonly string[], dtype: number): GraphNode =>
  node(name, 'AssignVariableOp', [`${variableName(index)}:0`, ...inputs], {
    dtype: { type: dtype },
    validate_shape: { bool: false },
  });

/** A variable, its reading and its writing. */
const variable = (form: Form, index: number): GraphNode[] => {
  const [name, next, type] = [variableName(index), nextName(index), { dtype: { type: form.dtype } }];
  return [
    node(name, 'VarHandleOp', [], {
      ...type,
      shape: { shape: undefined },
      shared_name: { text: name },
      container: { text: '' },
    }),
    node(valueName(index), 'ReadVariableOp', [`${name}:0`], type),
    placeholder(next, form),
    copy(`${next}copy`, `${next}:0`, form.dtype),
    assign(`${name}set`, index, [`${next}copy:0`], form.dtype),
  ];
};

const feedsOf = ({ roles, trace }: Program): { readonly feed: number; readonly form: Form }[] =>
  roles.flatMap((role, input) =>
    'feed' in role ? [{ feed: role.feed, form: trace.nodes[input] as Form & TracedNode }] : [],
  );

const programNodes = (program: Program, variables: readonly Form[], hidden: Hidden): Graph => {
  const { name, trace, updates, metrics } = program;
  const placeholders = indices(program.repeat).flatMap((step) =>
    feedsOf(program).flatMap(({ feed, form }) => {
      const fed = feedName(program, step, feed);
      return [placeholder(fed, form), copy(`${fed}copy`, `${fed}:0`, form.dtype)];
    }),
  );
  const { nodes, functions, computed } = program.xla ? xlaCall(program, variables) : inline(program, hidden);
  const results = computed.metrics.flatMap((step, i) =>
    step.map((from, metric) =>
      node(metricName(program, i, metric), 'Identity', [from], {
        T: { type: formOf(trace, metrics[metric] as Ref).dtype },
      }),
    ),
  );
  // Nothing is written before all is computed: a step that fails leaves every variable as it was.
  const all = node(`${name}all`, 'NoOp', [
    ...new Set([...computed.updates, ...results.flatMap(({ inputs }) => inputs)].map((from) => `^${nodeOf(from)}`)),
  ]);
  const writes = updates.map(({ variable: index, output }, i) =>
    assign(
      `${name}set${index}`,
      index,
      // Nor before what was there has been read.
      [computed.updates[i] as string, `^${valueName(index)}`, `^${all.name}`],
      formOf(trace, output).dtype,
    ),
  );
  const done = number(
    `${name}done`,
    updates.map(({ variable: index }) => `^${name}set${index}`),
  );
  return { nodes: [...placeholders, ...nodes, ...results, all, ...writes, done], functions };
};

/** The names of what the steps of a program compute. */
interface Computed {
  /** After the last step, in the order of the program's updates. */
  readonly updates: readonly string[];
  /** By step. */
  readonly metrics: readonly (readonly string[])[];
}

/** How the steps of a program become nodes: where their inputs come from, and the names of their outputs. */
interface Writing {
  readonly value: (variable: number) => string;
  readonly feed: (step: number, feed: number) => string;
  /** The name of an output that is computed elsewhere. */
  readonly elsewhere: (step: number, ref: Ref) => string | undefined;
  readonly output: (node: string, of: TracedNode, output: number) => string;
  readonly operation: (name: string, traced: TracedOperation, inputs: readonly string[]) => readonly GraphNode[];
}

/** Steps one after the other, each on the values that the one before it left. */
const write = (program: Program, to: Writing): { readonly nodes: GraphNode[]; readonly computed: Computed } => {
  const { trace, roles, updates, repeat } = program;
  const values = new Map<number, string>();
  const nodes: GraphNode[] = [];
  const metrics = indices(repeat).map((step) => {
    const given = roles.map((role) =>
      'feed' in role ? to.feed(step, role.feed) : (values.get(role.variable) ?? to.value(role.variable)),
    );
    const nameOf = (index: number): string => `${stepName(program, step)}node${index}`;
    const at = (ref: Ref): string =>
      given[ref.node] ??
      to.elsewhere(step, ref) ??
      to.output(nameOf(ref.node), trace.nodes[ref.node] as TracedNode, ref.output);
    trace.nodes.forEach((traced, index) => {
      if (traced.kind === 'input' || to.elsewhere(step, { node: index, output: 0 }) !== undefined) return;
      if (traced.kind === 'constant') nodes.push(constant(nameOf(index), traced, traced.data));
      else nodes.push(...to.operation(nameOf(index), traced, traced.inputs.map(at)));
    });
    const next = updates.map(({ variable: index, output }) => [index, at(output)] as const);
    for (const [index, value] of next) values.set(index, value);
    return program.metrics.map(at);
  });
  return { nodes, computed: { updates: updates.map(({ variable: index }) => values.get(index) as string), metrics } };
};

type Written = Graph & { readonly computed: Computed };

const operationNode = (trace: Trace, name: string, traced: TracedOperation, inputs: readonly string[]): GraphNode =>
  node(name, traced.name, inputs, { ...attributesOf(traced.attributes), ...typesOf(trace, traced) });

/** The node that computes an output. */
const nodeOf = (output: string): string => output.slice(0, output.indexOf(':'));

const plainOutput = (name: string, _: unknown, output: number): string => `${name}:${output}`;

/** A constant of float32, and what it is called in a graph. */
type Constant = TracedConstant & { readonly name: string };

/**
 * Constants of float32, which are read from variables, so that TensorFlow's optimiser does not know their values: it would
 * divide by multiplying with the inverse, fold constants and write powers as products, all of which round differently.
 */
interface Hidden {
  /** Where each is among the scalars: equal ones have places of their own, so that values do not change the graph. */
  readonly scalars: Map<TracedConstant, number>;
  /** The others by their values. */
  readonly constants: Map<string, Constant>;
}

const scalarsNode = 'scalars';

const unpackedScalars = (index: number, count: number): GraphNode =>
  node(scalarsNode, 'Unpack', [`${valueName(index)}:0`], {
    T: { type: DTYPES.float32 },
    num: { int: count },
    axis: { int: 0 },
  });

const hiddenConstant = ({ name, dtype, shape, data }: Constant): GraphNode[] => {
  const type = { dtype: { type: dtype } };
  return [
    node(name, 'VarHandleOp', [], {
      ...type,
      shape: { shape: undefined },
      shared_name: { text: name },
      container: { text: '' },
    }),
    node(`${name}value`, 'ReadVariableOp', [`${name}:0`], type),
    constant(`${name}data`, { dtype, shape }, data),
    node(`${name}set`, 'AssignVariableOp', [`${name}:0`, `${name}data:0`], {
      ...type,
      validate_shape: { bool: false },
    }),
  ];
};

/** Operations that TensorFlow's optimiser would fuse with the next one into another that rounds differently … */
const noFuseWithNext = new Set(['Sqrt', 'Sigmoid', 'Softplus']);

/** … and those that it would fuse with the one before: any, or those named. */
const apartFromLast = new Map<string, readonly string[] | 'any'>([
  ['FusedBatchNormV3', ['Conv2D']],
  ['Sigmoid', ['BiasAdd', 'Add', 'AddV2']],
  ['Tanh', ['BiasAdd', 'Add', 'AddV2']],
  // The largest exponential would become the exponential of the largest.
  ['Max', 'any'],
  ['Min', 'any'],
  // Where shapes are known, sums of sums would become one of many, which begins with whichever one's memory is free.
  ['Add', ['Add', 'AddV2']],
  ['AddV2', ['Add', 'AddV2']],
]);

/**
 * Whether a batch norm gives the same bits with the ReLU after it fused or not. Where the number of channels is a multiple of
 * four but not of eight, oneDNN has one routine with a ReLU and another without.
 */
const roundsAlikeWithRelu = ({ outputs: [normalised] }: TracedOperation): boolean =>
  ((normalised as Form).shape.at(-1) as number) % 8 !== 4;

/** The nodes after which a node is put that the optimiser cannot fuse across. */
const fusionBarriers = ({ nodes }: Trace): Set<number> => {
  const found = new Set<number>();
  nodes.forEach((each, index) => {
    if (each.kind !== 'operation') return;
    const [first] = each.inputs;
    // A constant in another type is one still, and would be seen to be one.
    const isConstant = each.name === 'Cast' && first !== undefined && nodes[first.node]?.kind === 'constant';
    if (noFuseWithNext.has(each.name) || isConstant) found.add(index);
    if (each.name === 'Relu' && first !== undefined) {
      const last = nodes[first.node];
      if (isOperation(last, 'FusedBatchNormV3') && !roundsAlikeWithRelu(last)) found.add(first.node);
    }
    const lasts = apartFromLast.get(each.name);
    if (lasts === undefined) return;
    for (const { node: input } of each.inputs) {
      const last = nodes[input] as TracedNode;
      if (last.kind === 'operation' && (lasts === 'any' || lasts.includes(last.name))) found.add(input);
    }
  });
  return found;
};

const hide = (of: TracedConstant, { scalars, constants }: Hidden): string => {
  if (of.shape.length === 0) {
    if (!scalars.has(of)) scalars.set(of, scalars.size);
    return `${scalarsNode}:${scalars.get(of)}`;
  }
  const key = `${of.shape}/${bufferOf(of.data).toString('base64')}`;
  const found = constants.get(key) ?? { ...of, name: `constant${constants.size}` };
  constants.set(key, found);
  return `${found.name}value:0`;
};

const inline = (program: Program, to: Hidden): Written => {
  const { nodes: all } = program.trace;
  const hidden = new Map(
    all.flatMap((each, index) =>
      each.kind === 'constant' && each.dtype === DTYPES.float32 ? [[index, hide(each, to)] as const] : [],
    ),
  );
  const apart = new Set<TracedNode>([...fusionBarriers(program.trace)].map((index) => all[index] as TracedNode));
  const written = write(program, {
    value: (index) => `${valueName(index)}:0`,
    feed: (step, feed) => `${feedName(program, step, feed)}copy:0`,
    elsewhere: (_, { node: index }) => hidden.get(index),
    output: (name, of, output) => (apart.has(of) ? `${name}apart${output}:0` : plainOutput(name, of, output)),
    operation: (name, traced, inputs) => {
      const own = operationNode(program.trace, name, traced, inputs);
      if (!apart.has(traced)) return [own];
      const behind = traced.outputs.map(({ dtype }, output) =>
        node(`${name}apart${output}`, 'PlaceholderWithDefault', [`${name}:${output}`], {
          dtype: { type: dtype },
          shape: { shape: undefined },
        }),
      );
      return [own, ...behind];
    },
  });
  return { ...written, functions: [] };
};

/**
 * The steps as one function that XLA compiles. Random numbers are drawn outside of it, since XLA has another generator:
 * so the numbers are those of the plain graph.
 */
const xlaCall = (program: Program, variables: readonly Form[]): Written => {
  const { name, trace, roles, updates, metrics, repeat } = program;
  const drawn = drawnOutside(program);
  const outside = write(program, {
    value: (index) => `${valueName(index)}:0`,
    feed: (step, feed) => `${feedName(program, step, feed)}copy:0`,
    elsewhere: () => undefined,
    output: plainOutput,
    operation: (called, traced, inputs) => [operationNode(trace, called, traced, inputs)],
  }).nodes.filter(({ name: called }) => drawn.all.has(Number(called.slice(called.lastIndexOf('node') + 4))));

  const read = roles.flatMap((role) => ('variable' in role ? [role.variable] : []));
  const steps = indices(repeat);
  // What the function is given: its name within, its type, and where it comes from.
  const given = [
    ...read.map((index) => ({
      name: `v${index}`,
      dtype: (variables[index] as Form).dtype,
      from: `${valueName(index)}:0`,
    })),
    ...steps.flatMap((step) => [
      ...feedsOf(program).map(({ feed, form }) => ({
        name: `s${step}f${feed}`,
        dtype: form.dtype,
        from: `${feedName(program, step, feed)}copy:0`,
      })),
      ...drawn.random.map((index) => ({
        name: `s${step}r${index}`,
        dtype: formOf(trace, { node: index, output: 0 }).dtype,
        from: `${stepName(program, step)}node${index}:0`,
      })),
    ]),
  ];
  const { nodes, computed } = write(program, {
    value: (index) => `v${index}`,
    feed: (step, feed) => `s${step}f${feed}`,
    elsewhere: (step, { node: index }) => (drawn.random.includes(index) ? `s${step}r${index}` : undefined),
    output: (called, of, output) => `${called}:${outputName(of, output)}`,
    operation: (called, traced, inputs) => forXla(called, operationNode(trace, called, traced, inputs)),
  });
  const outputs = [
    ...updates.map(({ output }, i) => ({ from: computed.updates[i] as string, dtype: formOf(trace, output).dtype })),
    ...computed.metrics.flatMap((step) =>
      step.map((from, i) => ({ from, dtype: formOf(trace, metrics[i] as Ref).dtype })),
    ),
  ].map((each, i) => ({ ...each, name: `o${i}` }));
  const call = node(
    `${name}call`,
    'PartitionedCall',
    given.map(({ from }) => from),
    {
      Tin: { types: given.map(({ dtype }) => dtype) },
      Tout: { types: outputs.map(({ dtype }) => dtype) },
      f: { function: `${name}function` },
      _XlaMustCompile: { bool: true },
    },
  );
  const result = (index: number): string => `${name}call:${index}`;
  return {
    nodes: [...outside, call],
    functions: [{ name: `${name}function`, inputs: given, outputs, nodes }],
    computed: {
      updates: updates.map((_, i) => result(i)),
      metrics: steps.map((step) => metrics.map((_, i) => result(updates.length + step * metrics.length + i))),
    },
  };
};

/** The nodes that draw random numbers from what is fed, and all that these need. */
const drawnOutside = ({ trace, roles }: Program): { readonly random: readonly number[]; readonly all: Set<number> } => {
  const needs = (index: number, found = new Set<number>()): Set<number> => {
    const traced = trace.nodes[index] as TracedNode;
    if (traced.kind === 'operation' && !found.has(index))
      for (const { node: input } of traced.inputs) needs(input, found);
    return found.add(index);
  };
  const all = new Set<number>();
  const random = indices(trace.nodes.length).filter((index) => {
    const traced = trace.nodes[index] as TracedNode;
    if (traced.kind !== 'operation' || !traced.name.startsWith('Stateless')) return false;
    const needed = [...needs(index)];
    if (needed.some((each) => 'variable' in (roles[each] ?? {}))) return false;
    for (const each of needed) all.add(each);
    return true;
  });
  return { random, all };
};

/**
 * On a graphics card TensorFlow joins a batch norm with a ReLU after it even within a function that XLA compiles, into an
 * operation whose gradient XLA reads otherwise: gradients come out wrong. A maximum is not joined.
 */
const forXla = (name: string, of: GraphNode): GraphNode[] => {
  if (of.op !== 'Relu') return [of];
  const zero = `${name}zero`;
  return [
    constant(zero, { dtype: (of.attributes.T as { type: number }).type, shape: [] }, new Float32Array(1)),
    node(name, 'Maximum', [...of.inputs, `${zero}:output:0`], of.attributes),
  ];
};

/** The name of an output within a function: `name:index`, where TensorFlow gives an output, or a list of them, its name. */
const outputName = (of: TracedNode, output: number): string => {
  if (of.kind !== 'operation') return `output:${output}`;
  if (of.name === 'Relu') return 'z:0';
  const outputs = definitionOf(of.name)?.outputs;
  if (outputs === undefined) throw new NotTraceable(`XLA is not told how to call the outputs of ${of.name}`);
  const [first] = outputs;
  return first?.list ? `${first.name}:${output}` : `${outputs[output]?.name}:0`;
};

const formOf = (trace: Trace, { node: index, output }: Ref): Form => {
  const found = trace.nodes[index] as TracedNode;
  return found.kind === 'operation' ? (found.outputs[output] as Form) : found;
};

/**
 * The types of an operation's inputs. Called eagerly it takes them from its inputs, whatever the attributes say, and tfjs
 * says some wrong (the mean of truth values is told to be one of `bool`); in a graph they must be right.
 */
const typesOf = (trace: Trace, { name, inputs }: TracedOperation): GraphNode['attributes'] => {
  const definition = definitionOf(name);
  if (definition === undefined) return {};
  const types: Record<string, AttrValue> = {};
  typeAttributes(definition, inputs.length).forEach((attribute, i) => {
    if (attribute !== undefined) types[attribute] = { type: formOf(trace, inputs[i] as Ref).dtype };
  });
  if (definition.inputs.some(({ list }) => list)) types.N = { int: inputs.length - definition.inputs.length + 1 };
  return types;
};

/** As TensorFlow's C interface takes them: an array is a list. */
const attributesOf = (attributes: readonly Attribute[]): GraphNode['attributes'] => {
  const { TF_ATTR_TYPE, TF_ATTR_INT, TF_ATTR_FLOAT, TF_ATTR_BOOL, TF_ATTR_STRING, TF_ATTR_SHAPE } = backend().binding;
  const converted = ({ name, type, value }: Attribute): AttrValue => {
    switch (type) {
      case TF_ATTR_TYPE:
        return { type: value as number };
      case TF_ATTR_INT:
        return Array.isArray(value) ? { ints: value } : { int: value as number };
      case TF_ATTR_FLOAT:
        return Array.isArray(value) ? { floats: value } : { float: value as number };
      case TF_ATTR_BOOL:
        return Array.isArray(value) ? { bools: value } : { bool: value as boolean };
      case TF_ATTR_STRING:
        return { text: value as string };
      case TF_ATTR_SHAPE:
        return { shape: value as number[] };
      default:
        throw new NotTraceable(`attribute ${name} is of a kind that a graph is not written with`);
    }
  };
  return Object.fromEntries(attributes.map((each) => [each.name, converted(each)]));
};
