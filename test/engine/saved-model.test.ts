import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { PbfReader } from 'pbf';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { backend, DTYPES } from '../../src/engine/backend.js';
import { loadEngine } from '../../src/engine/engine.js';
import { type AttrValue, type GraphNode, graphOf } from '../../src/engine/graph.js';
import { savedModel, storeGraph, TAG } from '../../src/engine/saved-model.js';
import { formsOf, trace } from '../../src/engine/trace.js';

/** What goes wrong on the disk, and what another process does meanwhile. */
const disk = vi.hoisted(() => ({
  full: false,
  beforeRename: undefined as ((to: string) => void) | undefined,
  beforeStat: undefined as ((of: string) => void) | undefined,
}));
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  const changed = {
    writeFileSync: (...args: Parameters<typeof fs.writeFileSync>) => {
      if (!disk.full) return fs.writeFileSync(...args);
      throw new Error('ENOSPC: no space left on device');
    },
    renameSync: (from: string, to: string) => {
      disk.beforeRename?.(to);
      fs.renameSync(from, to);
    },
    statSync: (...args: Parameters<typeof fs.statSync>) => {
      disk.beforeStat?.(String(args[0]));
      return fs.statSync(...args);
    },
  };
  return { ...fs, ...changed, default: { ...fs, ...changed } };
});

let cache: string;
beforeAll(async () => {
  await loadEngine();
});
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'undistill-graphs-'));
});
afterEach(() => {
  disk.full = false;
  [disk.beforeRename, disk.beforeStat] = [undefined, undefined];
  rmSync(cache, { recursive: true, force: true });
});

/** Fields by their number: numbers, and bytes of whatever is longer. */
type Fields = Readonly<Record<number, readonly (number | Uint8Array)[]>>;

const fieldsOf = (bytes: Uint8Array): Fields =>
  new PbfReader(bytes).readFields((tag, fields: Record<number, (number | Uint8Array)[]>, pbf) => {
    const value = pbf.type === 2 ? pbf.readBytes() : pbf.type === 5 ? pbf.readFloat() : pbf.readVarint(true);
    fields[tag] = [...(fields[tag] ?? []), value];
  }, {});

const messages = (fields: Fields, tag: number): readonly Fields[] =>
  (fields[tag] ?? []).map((each) => fieldsOf(each as Uint8Array));
const message = (fields: Fields, tag: number): Fields => messages(fields, tag)[0] as Fields;
const texts = (fields: Fields, tag: number): readonly string[] =>
  (fields[tag] ?? []).map((each) => Buffer.from(each as Uint8Array).toString());
/** Numbers one after the other in one field. */
const many = (fields: Fields, tag: number, read: (from: PbfReader) => number): readonly number[] => {
  const from = new PbfReader(fields[tag]?.[0] as Uint8Array);
  const numbers: number[] = [];
  while (from.pos < from.length) numbers.push(read(from));
  return numbers;
};
const packed = (fields: Fields, tag: number) => many(fields, tag, (from) => from.readVarint(true));
const floats = (fields: Fields, tag: number) => many(fields, tag, (from) => from.readFloat());

/** The graph of a saved model: nodes by name, their attributes by name. */
const graphIn = (bytes: Uint8Array): Fields => message(message(fieldsOf(bytes), 2), 2);
const attributes = (node: Fields): Readonly<Record<string, Fields>> =>
  Object.fromEntries(messages(node, 5).map((entry) => [texts(entry, 1)[0], message(entry, 2)]));

const written = (nodes: readonly GraphNode[]): Fields => graphIn(savedModel({ nodes, functions: [] }));
const attribute = (value: AttrValue): Fields =>
  attributes(messages(written([{ name: 'a', op: 'B', inputs: [], attributes: { value } }]), 1)[0] as Fields)
    .value as Fields;

const tensorOf = (array: Float32Array | Int32Array | Uint8Array, dtype: number): AttrValue => ({
  tensor: { dtype, shape: [array.length], data: new Uint8Array(array.buffer, array.byteOffset, array.byteLength) },
});
const constant = (name: string, array: Float32Array | Int32Array | Uint8Array, dtype: number): GraphNode => ({
  name,
  op: 'Const',
  inputs: [],
  attributes: { dtype: { type: dtype }, value: tensorOf(array, dtype) },
});

describe('a saved model', () => {
  test('has the nodes with their names, operations, inputs and attributes', () => {
    const graph = written([
      constant('one', Float32Array.of(1, 2), DTYPES.float32),
      { name: 'sum', op: 'AddV2', inputs: ['one:0', 'one:0', '^one'], attributes: { T: { type: 1 }, N: { int: 2 } } },
    ]);
    const nodes = messages(graph, 1);
    expect(nodes.map((node) => [texts(node, 1), texts(node, 2), texts(node, 3)])).toEqual([
      [['one'], ['Const'], []],
      [['sum'], ['AddV2'], ['one:0', 'one:0', '^one']],
    ]);
    expect(nodes.map((node) => Object.keys(attributes(node)))).toEqual([
      ['dtype', 'value'],
      ['T', 'N'],
    ]);
    expect(attributes(nodes[1] as Fields)).toEqual({ T: { 6: [1] }, N: { 3: [2] } });
  });

  test('says its version, and the tag that it is loaded by', () => {
    const model = fieldsOf(savedModel({ nodes: [], functions: [] }));
    expect(model[1]).toEqual([1]);
    expect(texts(message(message(model, 2), 1), 4)).toEqual([TAG]);
    expect(message(graphIn(savedModel({ nodes: [], functions: [] })), 4)[1]?.[0]).toBeGreaterThan(1000);
  });

  test('has single attributes by their kinds', () => {
    expect(attribute({ type: DTYPES.int64 })).toEqual({ 6: [9] });
    expect(attribute({ int: -1 })).toEqual({ 3: [-1] });
    expect(attribute({ int: 2 ** 40 })).toEqual({ 3: [2 ** 40] });
    expect(attribute({ float: 0.5 })).toEqual({ 4: [0.5] });
    expect(attribute({ float: -0 })[4]?.[0]).toBe(-0);
    expect([attribute({ bool: true }), attribute({ bool: false })]).toEqual([{ 5: [1] }, { 5: [0] }]);
    expect(texts(attribute({ text: 'SAME' }), 2)).toEqual(['SAME']);
    expect(texts(attribute({ text: '' }), 2)).toEqual(['']);
  });

  test('has lists of them, which may be empty', () => {
    expect(packed(message(attribute({ ints: [1, -2, 300, 2 ** 33] }), 1), 3)).toEqual([1, -2, 300, 2 ** 33]);
    expect(message(attribute({ ints: [] }), 1)).toEqual({});
    expect(floats(message(attribute({ floats: [0.5, -1] }), 1), 4)).toEqual([0.5, -1]);
    expect(packed(message(attribute({ bools: [true, false] }), 1), 5)).toEqual([1, 0]);
  });

  test('has shapes, also unknown ones', () => {
    const sizes = (shape: Fields) => messages(shape, 2).map((size) => size[1]?.[0] ?? 0);
    const known = message(attribute({ shape: [3, 0, 70000] }), 7);
    expect([sizes(known), known[3]]).toEqual([[3, 0, 70000], undefined]);
    const unknown = message(attribute({ shape: undefined }), 7);
    expect([sizes(unknown), unknown[3]]).toEqual([[], [1]]);
    expect(message(attribute({ shape: [] }), 7)).toEqual({});
  });

  test('has tensors as their bytes', () => {
    const array = Float32Array.of(9, 1.5, Number.NaN, -0, 9).subarray(1, 4);
    const tensor = message(attribute(tensorOf(array, DTYPES.float32)), 8);
    expect(tensor[1]).toEqual([DTYPES.float32]);
    expect(messages(message(tensor, 2), 2).map((size) => size[1])).toEqual([[3]]);
    expect(tensor[4]?.[0]).toEqual(new Uint8Array(Float32Array.from(array).buffer));
  });

  test.each([
    [0, DTYPES.float32],
    [-0, DTYPES.float32],
    [0.1, DTYPES.float32],
    [Number.NaN, DTYPES.float32],
    [Number.NEGATIVE_INFINITY, DTYPES.float32],
    [0, DTYPES.int32],
    [-1, DTYPES.int32],
    [2 ** 31 - 1, DTYPES.int32],
    [-(2 ** 31), DTYPES.int32],
  ])('has long tensors of %d alone (type %i) as this one number', (value, dtype) => {
    const make = dtype === DTYPES.float32 ? Float32Array : Int32Array;
    const tensor = (length: number) => message(attribute(tensorOf(new make(length).fill(value), dtype)), 8);
    const long = tensor(1000);
    expect(long[4]).toBeUndefined();
    const [numbers, expected] =
      dtype === DTYPES.float32 ? [floats(long, 5), Math.fround(value)] : [packed(long, 7), value];
    expect(numbers).toEqual([expected]);
    expect(tensor(4)[4]?.[0]).toEqual(new Uint8Array(new make(4).fill(value).buffer));
    const other = new make(1000).fill(value);
    other[999] = 7;
    expect(message(attribute(tensorOf(other, dtype)), 8)[4]?.[0]).toEqual(new Uint8Array(other.buffer));
  });

  test('tells 0 from −0, and has other types as they are', () => {
    const mixed = new Float32Array(100);
    mixed[50] = -0;
    expect(message(attribute(tensorOf(mixed, DTYPES.float32)), 8)[4]?.[0]).toEqual(new Uint8Array(mixed.buffer));
    const truths = new Uint8Array(100).fill(1);
    expect(message(attribute(tensorOf(truths, DTYPES.bool)), 8)[4]?.[0]).toEqual(truths);
  });

  test('has functions with their arguments, results and nodes', () => {
    const noted = tf.tidy(() => {
      const inputs = [tf.tensor1d([1, 2]), tf.tensor1d([3, 4])];
      return trace(
        inputs,
        ([x, y]) => [tf.mul(x as tf.Tensor, y as tf.Tensor)],
        (all) => all,
      ).trace as unknown as tf.TensorContainer;
    }) as unknown as ReturnType<typeof trace>['trace'];
    const graph = graphOf(formsOf(noted).slice(0, 1), [
      {
        name: 'p',
        trace: noted,
        roles: [{ variable: 0 }, { feed: 0 }],
        updates: [{ variable: 0, output: noted.outputs[0] as { node: number; output: number } }],
        metrics: [],
        repeat: 1,
        xla: true,
      },
    ]);
    const library = message(graphIn(savedModel(graph)), 2);
    const [of] = messages(library, 1) as [Fields];
    const signature = message(of, 1);
    const arguments_ = messages(signature, 2).map((each) => [texts(each, 1)[0], each[3]?.[0]]);
    expect(arguments_.map(([, dtype]) => dtype)).toEqual([DTYPES.float32, DTYPES.float32]);
    const [product] = messages(of, 3) as [Fields];
    expect([texts(product, 2), texts(product, 3)]).toEqual([['Mul'], arguments_.map(([name]) => name)]);
    const [result] = messages(of, 4).map((each) => [texts(each, 1)[0], texts(each, 2)[0]]);
    expect(result).toEqual([texts(message(signature, 3), 1)[0], `${texts(product, 1)[0]}:z:0`]);
    const [call] = messages(graphIn(savedModel(graph)), 1).filter((node) => texts(node, 2)[0] === 'PartitionedCall');
    expect(texts(message(attributes(call as Fields).f as Fields, 10), 1)).toEqual(texts(signature, 1));
  });
});

describe('TensorFlow reads', () => {
  /** The values of constants, by way of a graph that TensorFlow has loaded. */
  const readBack = (...nodes: readonly GraphNode[]): readonly Float32Array[] => {
    const { binding } = backend();
    const id = binding.loadSavedModel(storeGraph({ nodes, functions: [] }, cache), TAG);
    try {
      return tf.tidy(() =>
        binding
          .runSavedModel(id, [], '', nodes.map(({ name }) => `${name}:0`).join())
          .map((raw) => backend().createOutputTensor(raw).dataSync().slice() as Float32Array),
      );
    } finally {
      binding.deleteSavedModel(id);
    }
  };
  const bits = (array: Float32Array | Int32Array) =>
    array instanceof Float32Array ? new Int32Array(Float32Array.from(array).buffer) : array;

  test('all numbers as they were, long and short, uniform and not', () => {
    const special = fc.constantFrom(0, -0, Number.NaN, Number.POSITIVE_INFINITY, 1e-45, 0.1);
    const float = fc.oneof(special, fc.float());
    const uniform = fc
      .tuple(float, fc.integer({ min: 1, max: 40 }))
      .map(([value, length]) => Array(length).fill(value));
    const arrays = fc.array(fc.oneof(uniform, fc.array(float, { minLength: 1, maxLength: 40 })), {
      minLength: 1,
      maxLength: 5,
    });
    fc.assert(
      fc.property(arrays, fc.integer(), (all, whole) => {
        const given = all.map((array) => Float32Array.from(array));
        const integers = new Int32Array(30).fill(whole);
        const nodes = given.map((array, i) => constant(`c${i}`, array, DTYPES.float32));
        const found = readBack(...nodes, constant('whole', integers, DTYPES.int32));
        expect(found.map(bits)).toEqual([...given, integers].map(bits));
      }),
      { numRuns: 25 },
    );
  });
});

describe('a graph on the disk', () => {
  const graph = (value: number) => ({
    nodes: [constant('c', Float32Array.of(value), DTYPES.float32)],
    functions: [],
  });
  const old = (folder: string, seconds: number) => utimesSync(folder, seconds, seconds);

  test('is in a folder of its own, the same for the same nodes', () => {
    const [one, other] = [storeGraph(graph(1), cache), storeGraph(graph(2), cache)];
    expect(one).not.toBe(other);
    expect(readFileSync(join(one, 'saved_model.pb'))).toEqual(Buffer.from(savedModel(graph(1))));
    const { mtimeMs } = statSync(join(one, 'saved_model.pb'));
    old(one, 1000);
    expect(storeGraph(graph(1), cache)).toBe(one);
    expect(statSync(join(one, 'saved_model.pb')).mtimeMs).toBe(mtimeMs);
    // It is marked as used.
    expect(statSync(one).mtimeMs).toBeGreaterThan(1_000_000);
    expect(readdirSync(cache).length).toBe(2);
  });

  test('is in a cache that is made when it is not there', () => {
    expect(readdirSync(storeGraph(graph(1), join(cache, 'not', 'yet')))).toEqual(['saved_model.pb']);
  });

  test.each<readonly [string, (folder: string) => void]>([
    ['a stranger’s', (folder) => chownSync(folder, 1234, 1234)],
    ['one that anybody may write to', (folder) => chmodSync(folder, 0o777)],
    [
      'a link',
      (folder) => {
        rmSync(folder, { recursive: true });
        symlinkSync(mkdtempSync(join(tmpdir(), 'undistill-other-')), folder);
      },
    ],
    ['in a folder that anybody may write to', (folder) => chmodSync(dirname(folder), 0o777)],
  ])('is in no folder that is %s', (what, make) => {
    // Only root may give a folder away.
    if (what === 'a stranger’s' && process.getuid?.() !== 0) return;
    const folder = join(cache, 'around', 'graphs');
    mkdirSync(folder, { recursive: true });
    make(folder);
    const stored = storeGraph(graph(1), folder);
    expect(stored.startsWith(join(tmpdir(), 'undistill-graphs-'))).toBe(true);
    expect(statSync(dirname(stored)).mode & 0o777).toBe(0o700);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('makes place: beyond 200, those used longest ago go', () => {
    const kept = storeGraph(graph(1), cache);
    old(kept, 1);
    for (let i = 0; i < 210; i++) {
      mkdirSync(join(cache, `graph${i}`));
      old(join(cache, `graph${i}`), 1000 + i);
    }
    storeGraph(graph(1), cache);
    const newest = storeGraph(graph(2), cache);
    const names = readdirSync(cache);
    expect(names.length).toBe(200);
    expect(names.filter((name) => name.startsWith('graph')).length).toBe(198);
    expect([kept, newest].map((folder) => names.includes(folder.slice(cache.length + 1)))).toEqual([true, true]);
    expect([names.includes('graph11'), names.includes('graph12')]).toEqual([false, true]);
  });

  test('makes place beside another process that does so too', () => {
    for (let i = 0; i < 210; i++) mkdirSync(join(cache, `graph${i}`));
    disk.beforeStat = (of) => {
      // Not by its end alone: the cache's own name is random.
      if (/[/\\]graph\d*7$/.test(of)) rmSync(of, { recursive: true, force: true });
    };
    const folder = storeGraph(graph(1), cache);
    expect(readdirSync(folder)).toEqual(['saved_model.pb']);
    expect(readdirSync(cache).length).toBeLessThanOrEqual(200);
  });

  test('is not half written: that no disk takes it is told, and nothing stays', () => {
    disk.full = true;
    // One that no other test has stored.
    expect(() => storeGraph(graph(7), cache)).toThrow('ENOSPC');
    expect(readdirSync(cache)).toEqual([]);
    disk.full = false;
    expect(storeGraph(graph(7), cache).startsWith(cache)).toBe(true);
  });

  test('is another process’s, if that was quicker', () => {
    disk.beforeRename = (to) => {
      mkdirSync(to);
      writeFileSync(join(to, 'saved_model.pb'), savedModel(graph(1)));
    };
    const folder = storeGraph(graph(1), cache);
    expect(readdirSync(folder)).toEqual(['saved_model.pb']);
    expect(readdirSync(cache).length).toBe(1);
  });

  test('is elsewhere where a file is in the way', () => {
    const file = join(cache, 'file');
    writeFileSync(file, 'not a folder');
    expect(readdirSync(storeGraph(graph(1), file))).toEqual(['saved_model.pb']);
    expect(readFileSync(file, 'utf8')).toBe('not a folder');
    expect(readdirSync(cache)).toEqual(['file']);
  });
});
