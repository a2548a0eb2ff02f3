import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import { describe, expect, it } from 'vitest';
import { type Failure, isFailure } from '../../src/core/errors.js';
import { decodeSafetensors, encodeSafetensors, type StoredTensor } from '../../src/core/safetensors.js';

const some: Record<string, StoredTensor> = {
  'b.weight': { shape: [2, 3], data: Float32Array.of(0, -0, 1.5, Number.POSITIVE_INFINITY, Number.NaN, 1e-42) },
  a: { shape: [], data: Int32Array.of(-7) },
  bytes: { shape: [3], data: Uint8Array.of(0, 128, 255) },
  empty: { shape: [0, 4], data: new Float32Array(0) },
  '2': { shape: [1], data: Int32Array.of(2 ** 31 - 1) },
};

/** A file from a header as text (or as a value) and its data. */
const file = (header: unknown, data: number, length?: number): Uint8Array => {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + data);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length ?? text.length), true);
  bytes.set(text, 8);
  return bytes;
};

const failureOf = (bytes: Uint8Array): Failure => {
  const result = decodeSafetensors(bytes);
  if (E.isRight(result)) throw new Error('it was accepted');
  return result.left;
};

const f32 = (begin: number, end: number, shape = [(end - begin) / 4]) => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
});

describe('round trip', () => {
  it('gives back every bit, with metadata', () => {
    const bytes = encodeSafetensors(some, { format: 'pt', note: 'ü' });
    const decoded = decodeSafetensors(bytes);
    expect(decoded).toEqual(E.right({ tensors: some, metadata: { format: 'pt', note: 'ü' } }));
    // Negative zero and NaN compare equal to their like, but let the bits be seen too.
    if (E.isRight(decoded)) {
      expect(encodeSafetensors(decoded.right.tensors, decoded.right.metadata)).toEqual(bytes);
    }
  });

  it('gives equal bytes in any order of names, aligned to 8', () => {
    const reversed = Object.fromEntries(Object.entries(some).reverse());
    const bytes = encodeSafetensors(some, { b: '1', a: '2' });
    expect(encodeSafetensors(reversed, { a: '2', b: '1' })).toEqual(bytes);
    expect(Number(new DataView(bytes.buffer).getBigUint64(0, true)) % 8).toBe(0);
  });

  it('reads a view into a larger buffer, at any offset', () => {
    const bytes = encodeSafetensors(some);
    const larger = new Uint8Array(bytes.length + 3);
    larger.set(bytes, 3);
    expect(decodeSafetensors(larger.subarray(3))).toEqual(E.right({ tensors: some, metadata: {} }));
  });

  it('has the documented bytes', () => {
    const bytes = encodeSafetensors({ x: { shape: [1], data: Float32Array.of(1) } });
    const header = '{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}';
    const length = Math.ceil(header.length / 8) * 8;
    expect(new TextDecoder().decode(bytes.slice(8, 8 + length))).toBe(header.padEnd(length));
    expect([...bytes.slice(8 + length)]).toEqual([0, 0, 0x80, 0x3f]);
  });

  it('holds names of every kind', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'binary' }), fc.array(fc.integer({ min: 0, max: 255 }))), (lists) => {
        const tensors = Object.fromEntries(
          Object.entries(lists)
            .filter(([name]) => name !== '__metadata__' && name !== '__proto__')
            .map(([name, list]) => [name, { shape: [list.length], data: Uint8Array.from(list) }]),
        );
        expect(decodeSafetensors(encodeSafetensors(tensors))).toEqual(E.right({ tensors, metadata: {} }));
      }),
    );
  });
});

describe('int64', () => {
  const wide = (value: bigint) => {
    const bytes = file({ n: { dtype: 'I64', shape: [], data_offsets: [0, 8] } }, 8);
    new DataView(bytes.buffer).setBigInt64(bytes.length - 8, value, true);
    return bytes;
  };

  it('is read as int32 where it fits, and refused where not', () => {
    expect(decodeSafetensors(wide(-5n))).toMatchObject({ right: { tensors: { n: { data: Int32Array.of(-5) } } } });
    expect(failureOf(wide(2n ** 31n))).toMatchObject({ kind: 'store', where: 'n' });
  });
});

describe('other widths', () => {
  const of = (dtype: string, data: ArrayBufferView, shape: readonly number[]) => {
    const bytes = file({ x: { dtype, shape, data_offsets: [0, data.byteLength] } }, data.byteLength);
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), bytes.length - data.byteLength);
    return bytes;
  };
  const read = (bytes: Uint8Array): number[] => {
    const result = decodeSafetensors(bytes);
    if (E.isLeft(result)) throw new Error(result.left.what);
    const { data } = result.right.tensors.x as StoredTensor;
    expect(data).toBeInstanceOf(Float32Array);
    return [...data];
  };

  it('float16 is widened exactly: normal, subnormal, both zeros, infinities, NaN', () => {
    // 1, -2, the largest, the least normal, the least, -0, 0.333251953125, ∞, -∞, NaN
    const bits = [0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x8000, 0x3555, 0x7c00, 0xfc00, 0x7e01];
    const wanted = [1, -2, 65504, 2 ** -14, 2 ** -24, -0, 0.333251953125, 1 / 0, -1 / 0, 0 / 0];
    expect(read(of('F16', Uint16Array.from(bits), [2, 5]))).toEqual(wanted);
  });

  it('bfloat16 is the upper half of float32', () => {
    const bits = [0x3f80, 0xc000, 0x7f7f, 0x0001, 0x8000, 0x7f80];
    const wanted = [1, -2, (2 - 2 ** -7) * 2 ** 127, 2 ** -133, -0, 1 / 0];
    expect(read(of('BF16', Uint16Array.from(bits), [6]))).toEqual(wanted);
  });

  it('float64 is rounded, and refused beyond float32', () => {
    expect(read(of('F64', Float64Array.of(0.1, -1 / 0, 1e-300), [3]))).toEqual([Math.fround(0.1), -1 / 0, 0]);
    expect(failureOf(of('F64', Float64Array.of(1, 1e39), [2]))).toMatchObject({
      what: 'the value 1e+39 does not fit in float32',
      where: 'x',
    });
  });
});

describe('what is written', () => {
  it('may be int64', () => {
    const bytes = encodeSafetensors({ n: { shape: [2], data: BigInt64Array.of(-5n, 7n) } });
    expect(new TextDecoder().decode(bytes)).toContain('"dtype":"I64","shape":[2],"data_offsets":[0,16]');
    expect(decodeSafetensors(bytes)).toMatchObject({ right: { tensors: { n: { data: Int32Array.of(-5, 7) } } } });
  });

  it('is refused where shape and numbers disagree', () => {
    expect(() => encodeSafetensors({ x: { shape: [2], data: Float32Array.of(1) } })).toThrow('x: shape [2]');
    expect(() => encodeSafetensors({ __metadata__: { shape: [1], data: Float32Array.of(1) } })).toThrow('__metadata__');
  });
});

describe('damaged files', () => {
  it.each([
    ['an empty file', new Uint8Array(0)],
    ['seven bytes', new Uint8Array(7)],
    ['a header longer than the file', file({}, 0, 3)],
    ['a header of 2⁶³ bytes', file({}, 0, 2 ** 63)],
    ['a header that is not JSON', file('{"a":', 0)],
    ['a header that is not UTF-8', Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0xff)],
    ['a header that is a list', file([], 0)],
    ['a header that is null', file('null', 0)],
    ['data without a tensor', file({ a: f32(0, 4) }, 8)],
  ])('%s', (_, bytes) => {
    expect(failureOf(bytes)).toMatchObject({ kind: 'store' });
  });

  it.each([
    ['data beyond the file', { a: f32(0, 8) }, 4, 'a'],
    ['an overlap', { a: f32(0, 8), b: f32(4, 12) }, 12, 'b'],
    ['two tensors in one place', { a: f32(0, 4), b: f32(0, 4) }, 4, 'b'],
    ['a hole', { a: f32(0, 4), b: f32(8, 12) }, 12, 'b'],
    ['a hole at the start', { a: f32(4, 8) }, 8, 'a'],
    ['an unknown element type', { a: { ...f32(0, 4), dtype: 'C64' } }, 4, 'a'],
    ['an element type out of the prototype', { a: { ...f32(0, 4), dtype: 'toString' } }, 4, 'a'],
    ['no element type', { a: { shape: [1], data_offsets: [0, 4] } }, 4, 'a'],
    ['a shape that does not fit', { a: f32(0, 4, [2]) }, 4, 'a'],
    ['a negative shape', { a: f32(0, 4, [-1, -1]) }, 4, 'a'],
    ['a fractional shape', { a: f32(0, 4, [0.5, 2]) }, 4, 'a'],
    ['a shape whose product is too large to count', { a: f32(0, 0, [2 ** 52, 2 ** 52, 0.25]) }, 0, 'a'],
    ['offsets backwards', { a: { dtype: 'F32', shape: [1], data_offsets: [4, 0] } }, 4, 'a'],
    ['three offsets', { a: { dtype: 'F32', shape: [1], data_offsets: [0, 4, 8] } }, 4, 'a'],
    ['negative offsets', { a: f32(-4, 0) }, 0, 'a'],
    ['offsets as text', { a: { dtype: 'F32', shape: [1], data_offsets: ['0', '4'] } }, 4, 'a'],
    ['an entry that is null', { a: null }, 0, 'a'],
    ['metadata of numbers', { __metadata__: { a: 1 } }, 0, '__metadata__'],
    ['a name given twice', '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":null}', 0, 'a'],
    [
      'a name given twice in other letters',
      '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\\u0061":0}',
      0,
      'a',
    ],
  ])('%s', (_, header, data, where) => {
    const found = failureOf(file(header, data));
    expect(found).toMatchObject({ kind: 'store', where });
    expect(found.remedy).toBeDefined();
  });

  it('never throws, whatever byte is changed or lost', () => {
    const good = encodeSafetensors(some, { format: 'pt' });
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), (at, byte, length) => {
        const bytes = good.slice(0, length);
        if (at < length) bytes[at] = byte;
        const result = decodeSafetensors(bytes);
        expect(E.isRight(result) || isFailure(result.left)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  /** What a hostile header may say of a tensor: often nearly right. */
  const size = fc.oneof(fc.nat(3), fc.constantFrom(-1, 0.5, 2 ** 31, 2 ** 53, 1e300));
  const said = fc.record(
    {
      dtype: fc.constantFrom('F32', 'F16', 'BF16', 'F64', 'I64', 'U8', 'F8_E4M3', 7, null),
      shape: fc.oneof(fc.array(size, { maxLength: 4 }), fc.constantFrom(null, '2', { length: 2 })),
      data_offsets: fc.oneof(fc.tuple(fc.nat(40), fc.nat(40)), fc.array(size, { maxLength: 3 })),
    },
    { requiredKeys: [] },
  );
  const names = fc.oneof(fc.constantFrom('a', 'b', '__metadata__', '__proto__', 'constructor', ''), fc.string());

  it('never throws, whatever a header says, and makes no more numbers than there are bytes', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.dictionary(names, fc.oneof(said, fc.jsonValue())), fc.jsonValue(), fc.string()),
        fc.nat(48),
        fc.option(fc.oneof(fc.nat(200), fc.constantFrom(2 ** 31, 2 ** 53, 2 ** 63)), { nil: undefined }),
        (header, data, length) => {
          const bytes = file(header, data, length);
          const result = decodeSafetensors(bytes);
          const tensors = E.isRight(result) ? Object.values(result.right.tensors) : [];
          expect(E.isRight(result) || isFailure(result.left)).toBe(true);
          expect(tensors.reduce((sum, tensor) => sum + tensor.data.length, 0)).toBeLessThanOrEqual(data);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('takes time in proportion to a header of many names', () => {
    const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`n${i}`, f32(0, 0)]));
    expect(E.isRight(decodeSafetensors(file(many, 0)))).toBe(true);
  });
});
