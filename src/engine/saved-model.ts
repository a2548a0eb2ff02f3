import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { PbfWriter as Writer } from 'pbf';
import { makeFolderAtOnce } from '../core/files.js';
import { sha256 } from '../core/hash.js';
import { isPrivate, temporaryFolder } from '../core/private-folder.js';
import { DTYPES } from './backend.js';
import type { AttrValue, Graph, GraphFunction, GraphNode } from './graph.js';
import type { Form } from './trace.js';

/*
 * TensorFlow loads a graph from a folder with a `saved_model.pb`. The numbers of fields are those of its `.proto` files:
 * saved_model, meta_graph, graph, node_def, attr_value, tensor, tensor_shape, versions.
 */

/** The version of the graph's meaning, `TF_GRAPH_DEF_VERSION` of TensorFlow 2.9; a later TensorFlow honours it. */
const PRODUCER = 1087;

const writeShape = (shape: readonly number[] | undefined, to: Writer): void => {
  if (shape === undefined) to.writeBooleanField(3, true);
  for (const size of shape ?? []) to.writeMessage(2, (dim: number, each) => each.writeVarintField(1, dim), size);
};

/** The one value that a tensor consists of, if it is long. */
const uniform = ({ dtype, data }: Form & { readonly data: Uint8Array }): number | undefined => {
  if (data.length < 64 || (dtype !== DTYPES.float32 && dtype !== DTYPES.int32)) return undefined;
  const words = new Uint32Array(data.slice().buffer);
  if (!words.every((word) => word === words[0])) return undefined;
  return dtype === DTYPES.int32 ? new Int32Array(words.buffer)[0] : new Float32Array(words.buffer)[0];
};

const writeTensor = (tensor: Form & { readonly data: Uint8Array }, to: Writer): void => {
  to.writeVarintField(1, tensor.dtype);
  to.writeMessage(2, writeShape, tensor.shape);
  const value = uniform(tensor);
  if (value === undefined) to.writeBytesField(4, tensor.data);
  else if (tensor.dtype === DTYPES.float32) to.writePackedFloat(5, [value]);
  else to.writePackedVarint(7, [value]);
};

const writeAttribute = (value: AttrValue, to: Writer): void => {
  const list = (write: (to: Writer) => void) => to.writeMessage(1, (_: undefined, each) => write(each), undefined);
  if ('type' in value) to.writeVarintField(6, value.type);
  else if ('types' in value) list((each) => each.writePackedVarint(6, [...value.types]));
  else if ('function' in value)
    to.writeMessage(10, (name: string, each) => each.writeStringField(1, name), value.function);
  else if ('int' in value) to.writeVarintField(3, value.int);
  else if ('ints' in value) list((each) => each.writePackedVarint(3, [...value.ints]));
  else if ('float' in value) to.writeFloatField(4, value.float);
  else if ('floats' in value) list((each) => each.writePackedFloat(4, [...value.floats]));
  else if ('bool' in value) to.writeBooleanField(5, value.bool);
  else if ('bools' in value) list((each) => each.writePackedBoolean(5, [...value.bools]));
  else if ('text' in value) to.writeStringField(2, value.text);
  else if ('shape' in value) to.writeMessage(7, writeShape, value.shape);
  else to.writeMessage(8, writeTensor, value.tensor);
};

const writeAttributes = (attributes: GraphNode['attributes'], to: Writer): void => {
  for (const [key, value] of Object.entries(attributes))
    to.writeMessage(
      5,
      (entry: AttrValue, each) => {
        each.writeStringField(1, key);
        each.writeMessage(2, writeAttribute, entry);
      },
      value,
    );
};

const writeNode = ({ name, op, inputs, attributes }: GraphNode, to: Writer): void => {
  to.writeStringField(1, name);
  to.writeStringField(2, op);
  for (const input of inputs) to.writeStringField(3, input);
  writeAttributes(attributes, to);
};

type Argument = GraphFunction['inputs'][number];

const writeArgument = ({ name, dtype }: Argument, to: Writer): void => {
  to.writeStringField(1, name);
  to.writeVarintField(3, dtype);
};

const writeSignature = ({ name, inputs, outputs }: GraphFunction, to: Writer): void => {
  to.writeStringField(1, name);
  for (const input of inputs) to.writeMessage(2, writeArgument, input);
  for (const output of outputs) to.writeMessage(3, writeArgument, output);
};

const writeFunction = (of: GraphFunction, to: Writer): void => {
  to.writeMessage(1, writeSignature, of);
  for (const node of of.nodes) to.writeMessage(3, writeNode, node);
  for (const output of of.outputs)
    to.writeMessage(
      4,
      ({ name, from }: typeof output, each) => {
        each.writeStringField(1, name);
        each.writeStringField(2, from);
      },
      output,
    );
  writeAttributes({ _XlaMustCompile: { bool: true }, _noinline: { bool: true } }, to);
};

const writeGraph = ({ nodes, functions }: Graph, to: Writer): void => {
  for (const node of nodes) to.writeMessage(1, writeNode, node);
  to.writeMessage(
    2,
    (all: readonly GraphFunction[], library) => {
      for (const each of all) library.writeMessage(1, writeFunction, each);
    },
    functions,
  );
  to.writeMessage(4, (producer: number, each) => each.writeVarintField(1, producer), PRODUCER);
};

/** The tag that the graph is loaded by. */
export const TAG = 'serve';

/** The bytes of a `saved_model.pb` with this graph. */
export const savedModel = (graph: Graph): Uint8Array => {
  const to = new Writer();
  to.writeVarintField(1, 1);
  to.writeMessage(
    2,
    (of: Graph, meta) => {
      meta.writeMessage(1, (tag: string, info) => info.writeStringField(4, tag), TAG);
      meta.writeMessage(2, writeGraph, of);
    },
    graph,
  );
  return to.finish();
};

/** Graphs kept in the cache; those used longest ago go first. */
const KEPT = 200;

const prune = (cache: string): void => {
  const folders = readdirSync(cache).map((name) => join(cache, name));
  if (folders.length <= KEPT) return;
  // Another process may take some away meanwhile.
  const age = (folder: string): number => statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const byAge = folders.map((folder) => [age(folder), folder] as const).sort(([a], [b]) => a - b);
  for (const [, folder] of byAge.slice(0, folders.length - KEPT)) rmSync(folder, { recursive: true, force: true });
};

/**
 * Writes a graph where TensorFlow can load it from, unless an equal one is there already. Gives the folder.
 *
 * @param cache where to put it; where that cannot be written to, or is somebody else's, it is a folder of this process
 */
export const storeGraph = (graph: Graph, cache: string): string => {
  const content = savedModel(graph);
  const name = sha256(content).slice(0, 32);
  try {
    if (isPrivate(cache)) return storeIn(cache, name, content);
  } catch {
    // Read-only, full, or a file in the way.
  }
  elsewhere ??= temporaryFolder('undistill-graphs');
  return storeIn(elsewhere, name, content);
};

let elsewhere: string | undefined;

const storeIn = (cache: string, name: string, content: Uint8Array): string => {
  const folder = join(cache, name);
  if (existsSync(folder)) {
    if (holds(folder, content)) {
      touch(folder);
      return folder;
    }
    // Cut off by a crash of the machine, or altered.
    rmSync(folder, { recursive: true, force: true });
  }
  makeFolderAtOnce(cache);
  const staging = mkdtempSync(join(cache, 'incoming-'));
  try {
    writeFileSync(join(staging, 'saved_model.pb'), content);
    renameSync(staging, folder);
  } catch (error) {
    rmSync(staging, { recursive: true, force: true });
    // Another process was quicker with the very same content.
    if (!existsSync(folder)) throw error;
  }
  prune(cache);
  return folder;
};

const holds = (folder: string, content: Uint8Array): boolean => {
  try {
    return readFileSync(join(folder, 'saved_model.pb')).equals(content);
  } catch {
    return false;
  }
};

/** Marks a folder as used just now; not where the cache is read-only, which then is not pruned either. */
const touch = (folder: string): void => {
  const now = new Date();
  try {
    utimesSync(folder, now, now);
  } catch {}
};
