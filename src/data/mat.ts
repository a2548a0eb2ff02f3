import { inflateSync } from 'node:zlib';
import { bufferOf } from '../core/bytes.js';
import { counted } from '../core/text.js';
import { refuse } from './assemble.js';

/** A variable of a MATLAB file: whole numbers of 0 to 255, first dimension fastest. */
export interface MatArray {
  readonly name: string;
  readonly dims: readonly number[];
  readonly data: Uint8Array;
}

/** Types of data elements ("MAT-File Level 5 File Format", MathWorks, table 1-1). */
const UINT8 = 2;
const DOUBLE = 9;
const MATRIX = 14;
const COMPRESSED = 15;

const HEADER = 128;
/** A little file can be inflated to fill the memory: so much may all of its arrays have together. */
const MOST_BYTES = 2 ** 30;

const REMEDY = 'Get the file again: a MATLAB file of version 5 with arrays of bytes is expected.';

interface Element {
  readonly type: number;
  readonly data: Buffer;
}

/** The data elements that follow each other in `bytes`, each of whose ends is rounded up to 8 bytes unless compressed. */
function* elementsOf(bytes: Buffer, where: string): Generator<Element, void, void> {
  for (let at = 0; at + 8 <= bytes.length; ) {
    const tag = bytes.readUInt32LE(at);
    // A small element has its size in the upper half of the tag, and its data where else the size is.
    const small = tag >>> 16;
    const [type, size, begin] = small > 0 ? [tag & 0xffff, small, at + 4] : [tag, bytes.readUInt32LE(at + 4), at + 8];
    if (begin + size > bytes.length) refuse('the MATLAB file is truncated', where, REMEDY);
    yield { type, data: bytes.subarray(begin, begin + size) };
    at = small > 0 ? at + 8 : begin + (type === COMPRESSED ? size : Math.ceil(size / 8) * 8);
  }
}

const inflated = (data: Buffer, { left, most }: { left: number; most: number }, where: string): Buffer => {
  try {
    return inflateSync(data, { maxOutputLength: Math.max(1, left) });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE')
      refuse(`the MATLAB file unpacks to more than ${counted(most, 'byte')}`, where, REMEDY);
    return refuse(`the MATLAB file is damaged (${(thrown as Error).message})`, where, REMEDY);
  }
};

/** MATLAB stores numbers of any class in the smallest type that holds them. */
const bytesOf = ({ type, data }: Element, where: string): Uint8Array => {
  if (type === UINT8) return data;
  if (type !== DOUBLE) return refuse(`an array of the MATLAB file holds no bytes (type ${type})`, where, REMEDY);
  return Uint8Array.from({ length: data.length / 8 }, (_, i) => {
    const value = data.readDoubleLE(8 * i);
    if (!(Number.isInteger(value) && value >= 0 && value <= 255))
      refuse(`an array of the MATLAB file holds ${value}, and whole numbers from 0 to 255 are expected`, where, REMEDY);
    return value;
  });
};

const arrayOf = (data: Buffer, where: string): MatArray => {
  // Flags, dimensions, name, values.
  const [, dimensions, name, values] = [...elementsOf(data, where)];
  if (dimensions === undefined || name === undefined || values === undefined)
    return refuse('an array of the MATLAB file is damaged', where, REMEDY);
  const dims = Array.from({ length: dimensions.data.length >> 2 }, (_, i) => dimensions.data.readInt32LE(4 * i));
  const bytes = bytesOf(values, where);
  const count = dims.reduce((product, dim) => product * dim, 1);
  if (count !== bytes.length)
    refuse(`an array of the MATLAB file has ${bytes.length} values for ${dims.join(' × ')}`, where, REMEDY);
  return { name: name.data.toString('latin1'), dims, data: bytes };
};

/** MATLAB's format of version 7.3 is HDF5 behind a header that is the older ones' but for this. */
const isVersion73 = (bytes: Buffer): boolean =>
  bytes.toString('latin1', 0, 10) === 'MATLAB 7.3' ||
  bytes.subarray(0, 8).equals(HDF5) ||
  bytes.subarray(512, 520).equals(HDF5);
const HDF5 = Buffer.from('\x89HDF\r\n\x1a\n', 'latin1');

/**
 * The arrays of a MATLAB file of version 5 (`save -v7` and `-v6`), little-endian. Throws a failure of kind `data` naming
 * `where`.
 *
 * @param most bytes to which all of it may unpack
 */
export const parseMat = (content: Uint8Array, where: string, most = MOST_BYTES): readonly MatArray[] => {
  const bytes = bufferOf(content);
  if (isVersion73(bytes))
    refuse(
      'it is a MATLAB file of version 7.3 (HDF5), which is not read',
      where,
      "Save it in MATLAB as the older version: save('FILE.mat', 'X', 'y', '-v7').",
    );
  if (bytes.length < HEADER || bytes.toString('latin1', 126, 128) !== 'IM')
    refuse('it is no MATLAB file of version 5', where, REMEDY);
  let left = most;
  const unpacked = ({ data }: Element): Buffer => {
    const found = inflated(data, { left, most }, where);
    left -= found.length;
    return found;
  };
  return [...elementsOf(bytes.subarray(HEADER), where)].flatMap((element) => {
    const inner = element.type === COMPRESSED ? [...elementsOf(unpacked(element), where)] : [element];
    return inner.filter(({ type }) => type === MATRIX).map(({ data }) => arrayOf(data, where));
  });
};
