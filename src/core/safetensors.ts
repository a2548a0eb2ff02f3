import * as E from 'fp-ts/lib/Either.js';
import { bytesOf } from './bytes.js';
import { FailureError, failure, type Result, toFailure } from './errors.js';

/** A tensor outside the engine: its numbers in row-major order. `shape: []` is a scalar. */
export interface StoredTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}

export interface Safetensors {
  readonly tensors: Readonly<Record<string, StoredTensor>>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** What can be written: also int64, which PyTorch counts batches in. It is read back as int32. */
export interface WrittenTensor {
  readonly shape: readonly number[];
  readonly data: StoredTensor['data'] | BigInt64Array;
}

type DType = 'BF16' | 'F16' | 'F32' | 'F64' | 'I32' | 'I64' | 'U8';

const bytesPer: Record<DType, number> = { BF16: 2, F16: 2, F32: 4, F64: 8, I32: 4, I64: 8, U8: 1 };

/** The header's own limit in the reference implementation, which also keeps a lying length from costing memory. */
const maximalHeader = 100_000_000;
const prefix = 8;

const dtypeOf = (data: WrittenTensor['data']): DType => {
  if (data instanceof Float32Array) return 'F32';
  if (data instanceof BigInt64Array) return 'I64';
  return data instanceof Int32Array ? 'I32' : 'U8';
};

const elements = (shape: readonly number[]): number => shape.reduce((product, side) => product * side, 1);

/** The name of a tensor with a number in it that is NaN or infinite. */
export const notFinite = (tensors: Readonly<Record<string, StoredTensor>>): string | undefined =>
  Object.keys(tensors).find((name) => !tensors[name]?.data.every(Number.isFinite));

const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * The bytes of a safetensors file: header length (8 bytes, little-endian), JSON header padded with spaces to a multiple
 * of 8, data without gaps. Equal input gives equal bytes, whatever the order of its names: wider elements come first,
 * so that each tensor is aligned to its element size, and names are sorted among equals.
 *
 * Throws when a shape does not fit its data, or a name is `__metadata__`.
 */
export const encodeSafetensors = (
  tensors: Readonly<Record<string, WrittenTensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array => {
  const sorted = Object.entries(tensors).sort(
    ([a, x], [b, y]) => y.data.BYTES_PER_ELEMENT - x.data.BYTES_PER_ELEMENT || byName(a, b),
  );
  const header: [string, unknown][] = [];
  const strings = Object.entries(metadata).sort(([a], [b]) => byName(a, b));
  if (strings.length > 0) header.push(['__metadata__', Object.fromEntries(strings)]);
  let end = 0;
  for (const [name, { shape, data }] of sorted) {
    if (name === '__metadata__')
      throw new FailureError(failure('store', 'a tensor cannot have this name', { where: name }));
    if (elements(shape) !== data.length) {
      const what = `shape [${shape.join(', ')}] does not hold ${data.length} numbers`;
      throw new FailureError(failure('store', what, { where: name }));
    }
    header.push([name, { dtype: dtypeOf(data), shape, data_offsets: [end, end + data.byteLength] }]);
    end += data.byteLength;
  }
  // Written entry by entry: an object would put names that look like integers first.
  const text = `{${header.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`;
  const unpadded = new TextEncoder().encode(text);
  const headerLength = Math.ceil(unpadded.length / 8) * 8;
  const bytes = new Uint8Array(prefix + headerLength + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerLength), true);
  bytes.fill(0x20, prefix, prefix + headerLength).set(unpadded, prefix);
  let offset = prefix + headerLength;
  for (const [, { data }] of sorted) {
    bytes.set(bytesOf(data), offset);
    offset += data.byteLength;
  }
  return bytes;
};

const fail = (what: string, where?: string): never => {
  const remedy = 'The file is damaged or was written by a faulty program; make it again.';
  throw new FailureError(failure('store', what, { where, remedy }));
};

const asInt32 = (wide: BigInt64Array, name: string): Int32Array =>
  Int32Array.from(wide, (value) => {
    if (value !== BigInt.asIntN(32, value)) fail(`the value ${value} does not fit in 32 bits`, name);
    return Number(value);
  });

const asFloat32 = (wide: Float64Array, name: string): Float32Array =>
  Float32Array.from(wide, (value) => {
    if (Number.isFinite(value) && !Number.isFinite(Math.fround(value)))
      fail(`the value ${value} does not fit in float32`, name);
    return value;
  });

/** IEEE 754 binary16: a sign, 5 bits of exponent, 10 of fraction. */
const half = (bits: number): number => {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
};

/** bfloat16 is the upper half of float32. */
const widened = (upper: Uint16Array): Float32Array =>
  new Float32Array(Uint32Array.from(upper, (bits) => bits << 16).buffer);

/** A tensor's own bytes as numbers. */
const numbers: Record<DType, (own: ArrayBuffer, name: string) => StoredTensor['data']> = {
  BF16: (own) => widened(new Uint16Array(own)),
  F16: (own) => Float32Array.from(new Uint16Array(own), half),
  F32: (own) => new Float32Array(own),
  F64: (own, name) => asFloat32(new Float64Array(own), name),
  I32: (own) => new Int32Array(own),
  I64: (own, name) => asInt32(new BigInt64Array(own), name),
  U8: (own) => new Uint8Array(own),
};

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The names of a JSON object's own members as written, so that a name given twice, which JSON.parse hides, is seen. */
const writtenNames = (json: string): string[] => {
  const names: string[] = [];
  let depth = 0;
  for (const token of json.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g)) {
    const text = token[0];
    if (text === '{' || text === '[') depth++;
    else if (text === '}' || text === ']') depth--;
    else if (depth === 1 && token[1] !== undefined) names.push(JSON.parse(text.slice(0, -token[1].length)));
  }
  return names;
};

interface Entry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

const entry = (name: string, value: unknown, available: number): Entry => {
  if (!isRecord(value)) return fail('its header entry is not an object', name);
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !Object.hasOwn(bytesPer, dtype)) {
    return fail(`element type ${JSON.stringify(dtype)} is not one of ${Object.keys(bytesPer).join(', ')}`, name);
  }
  if (!Array.isArray(shape) || !shape.every(isCount))
    return fail(`shape ${JSON.stringify(shape)} is not a list of sizes`, name);
  const [begin, end] = Array.isArray(offsets) && offsets.length === 2 ? (offsets as unknown[]) : [];
  if (!isCount(begin) || !isCount(end) || begin > end) {
    return fail(`data offsets ${JSON.stringify(offsets)} are not a range`, name);
  }
  if (end > available) return fail(`its data ends at byte ${end} of ${available}`, name);
  const size = elements(shape) * bytesPer[dtype as DType];
  if (size !== end - begin) {
    return fail(
      `${dtype} of shape [${shape.join(', ')}] takes ${size} bytes, its data offsets hold ${end - begin}`,
      name,
    );
  }
  return { name, dtype: dtype as DType, shape, begin, end };
};

const decodeMetadata = (value: unknown): Record<string, string> => {
  if (value === undefined) return {};
  if (!isRecord(value) || !Object.values(value).every((item) => typeof item === 'string')) {
    return fail('it is not an object of strings', '__metadata__');
  }
  return value as Record<string, string>;
};

const decode = (bytes: Uint8Array): Safetensors => {
  if (bytes.length < prefix)
    return fail(`a safetensors file has at least ${prefix} bytes, this one has ${bytes.length}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const written = view.getBigUint64(0, true);
  if (written > BigInt(Math.min(maximalHeader, bytes.length - prefix))) {
    return fail(`the header is said to have ${written} bytes, the file has ${bytes.length}`);
  }
  const dataStart = prefix + Number(written);
  const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(prefix, dataStart));
  const header: unknown = JSON.parse(text);
  if (!isRecord(header)) return fail('the header is not a JSON object');
  const names = writtenNames(text);
  const seen = new Set<string>();
  const twice = names.find((name) => seen.size === seen.add(name).size);
  if (twice !== undefined) return fail('the header names it twice', twice);

  const available = bytes.length - dataStart;
  const placed = names
    .filter((name) => name !== '__metadata__')
    .map((name) => entry(name, header[name], available))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  let reached = 0;
  for (const { name, begin, end } of placed) {
    if (begin < reached) return fail(`its data overlaps another tensor's (byte ${begin})`, name);
    if (begin > reached) return fail(`bytes ${reached} to ${begin} before its data belong to no tensor`, name);
    reached = end;
  }
  if (reached !== available) return fail(`the last ${available - reached} bytes belong to no tensor`);

  const tensors = placed.map(({ name, dtype, shape, begin, end }): [string, StoredTensor] => {
    // A copy: its start is aligned, and it does not keep the whole file alive. (A Buffer's own `slice` would not copy.)
    const own = new Uint8Array(bytes.subarray(dataStart + begin, dataStart + end)).buffer;
    return [name, { shape, data: numbers[dtype](own, name) }];
  });
  return { tensors: Object.fromEntries(tensors), metadata: decodeMetadata(header.__metadata__) };
};

/**
 * Reads a safetensors file: F32, I32 and U8 bit for bit, F16 and BF16 as float32, which holds them exactly, F64 rounded
 * to float32, and I64 as int32, both refused where a value is out of range. It takes no more than a few times the
 * memory of the file, whatever its header says. Whatever is wrong with it, from a lying header to a gap between
 * tensors, is a failure of kind `store` that names the tensor.
 */
export const decodeSafetensors = (bytes: Uint8Array): Result<Safetensors> =>
  E.tryCatch(() => decode(bytes), toFailure('store', 'safetensors header'));
