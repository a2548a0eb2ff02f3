import { deflateSync } from 'node:zlib';

// SVHN as MATLAB writes it.

const [INT8, UINT8, INT32, UINT32, MATRIX, COMPRESSED] = [1, 2, 5, 6, 14, 15];
export const DOUBLE = 9;

/** A data element, small ones in the short form, as MATLAB writes them. */
const element = (type: number, data: Buffer): Buffer => {
  if (data.length > 0 && data.length <= 4) {
    const short = Buffer.alloc(8);
    short.writeUInt32LE((data.length << 16) | type);
    data.copy(short, 4);
    return short;
  }
  const tag = Buffer.alloc(8);
  tag.writeUInt32LE(type, 0);
  tag.writeUInt32LE(data.length, 4);
  const padding = type === COMPRESSED ? 0 : -data.length & 7;
  return Buffer.concat([tag, data, Buffer.alloc(padding)]);
};
export const array = (name: string, dims: readonly number[], values: Buffer, type = UINT8): Buffer =>
  element(
    MATRIX,
    Buffer.concat([
      element(UINT32, Buffer.from([9, 0, 0, 0, 0, 0, 0, 0])),
      element(INT32, Buffer.from(Int32Array.from(dims).buffer)),
      element(INT8, Buffer.from(name)),
      element(type, values),
    ]),
  );
export const matFile = (...arrays: Buffer[]): Buffer => {
  const header = Buffer.alloc(128, 'MATLAB 5.0 MAT-file ');
  header.writeUInt16LE(0x0100, 124);
  header.write('IM', 126);
  return Buffer.concat([header, ...arrays]);
};
export const packed = (one: Buffer): Buffer => element(COMPRESSED, deflateSync(one));

export const colourOf = (label: number, y: number, x: number) => [label * 20, y * 8, x * 8] as const;
/** X and y of `labels` (0 is written as 10), compressed as in the published files. */
export const digits = (labels: readonly number[], wrap = packed): Buffer => {
  const x = Buffer.alloc(labels.length * 3072);
  labels.forEach((label, n) => {
    for (let i = 0; i < 1024; i++) {
      colourOf(label, i % 32, i >> 5).forEach((value, c) => {
        x[n * 3072 + c * 1024 + i] = value;
      });
    }
  });
  const y = Buffer.from(labels.map((label) => label || 10));
  return matFile(wrap(array('X', [32, 32, 3, labels.length], x)), wrap(array('y', [labels.length, 1], y)));
};
