import { PbfReader as Reader } from 'pbf';
import { describe, expect, test } from 'vitest';
import { crc32c } from '../../src/core/hash.js';
import { pictureToPng } from '../../src/report/pictures.js';
import { eventFile, tfRecord } from '../../src/report/tensorboard.js';

describe('CRC-32C', () => {
  test.each([
    ['the check value of its catalogue', [...'123456789'].map((digit) => digit.charCodeAt(0)), 0xe3069283],
    // RFC 3720, B.4.
    ['32 bytes of zeros', Array(32).fill(0), 0x8a9136aa],
    ['32 bytes of ones', Array(32).fill(0xff), 0x62a8ab43],
    ['32 incrementing bytes', Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    ['nothing', [], 0],
  ])('of %s', (_, bytes, sum) => {
    expect(crc32c(Uint8Array.from(bytes))).toBe(sum);
  });
});

/** The inverse of TensorFlow's mask. */
const unmasked = (sum: number): number => {
  const rotated = (sum - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
};

/** The data of each TFRecord; throws where a checksum does not hold. */
const records = (file: Uint8Array): readonly Uint8Array[] => {
  const bytes = Buffer.from(file);
  const found: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    const data = bytes.subarray(at + 12, at + 12 + length);
    expect(unmasked(bytes.readUInt32LE(at + 8))).toBe(crc32c(bytes.subarray(at, at + 8)));
    expect(unmasked(bytes.readUInt32LE(at + 12 + length))).toBe(crc32c(data));
    found.push(data);
    at += 16 + length;
  }
  return found;
};

/** A message's fields by number; what is a message itself is left as bytes. */
const fields = (message: Uint8Array): Readonly<Record<number, unknown[]>> =>
  new Reader(message).readFields((tag, to: Record<number, unknown[]>, from) => {
    const value = {
      0: () => from.readVarint(),
      1: () => from.readDouble(),
      2: () => from.readBytes(),
      5: () => from.readFloat(),
    }[from.type as 0 | 1 | 2 | 5]();
    to[tag] = [...(to[tag] ?? []), value];
  }, {});

const text = (bytes: unknown): string => Buffer.from(bytes as Uint8Array).toString();

test('a TFRecord is framed by its length and checksums', () => {
  const record = Buffer.from(tfRecord(Uint8Array.from([1, 2, 3])));
  expect(record).toHaveLength(19);
  expect(record.readBigUInt64LE(0)).toBe(3n);
  expect(records(record)).toEqual([Buffer.from([1, 2, 3])]);
  expect(records(tfRecord(new Uint8Array()))).toEqual([Buffer.from([])]);
});

describe('an event file', () => {
  const png = pictureToPng({ width: 3, height: 2, pixels: new Uint8Array(18).fill(7) });
  const [head, scalars, images, ...others] = records(
    eventFile([
      { step: 300, wallTime: 12.5, scalars: { loss: 0.5, '"a"/<b> 🐈': Number.NaN } },
      { step: 0, wallTime: 13, images: { grid: png } },
    ]),
  ).map(fields);
  const values = (event: typeof head) =>
    fields(event?.[5]?.[0] as Uint8Array)[1]?.map((each) => fields(each as Uint8Array));

  test('begins with its version', () => {
    expect(text(head?.[3]?.[0])).toBe('brain.Event:2');
    expect(head?.[1]).toEqual([12.5]);
    expect(others).toEqual([]);
    expect(records(eventFile([]))).toHaveLength(1);
  });

  test('has scalars by step and tag', () => {
    expect([scalars?.[1], scalars?.[2]]).toEqual([[12.5], [300]]);
    expect(values(scalars)?.map((value) => [text(value[1]?.[0]), value[2]?.[0]])).toEqual([
      ['loss', 0.5],
      ['"a"/<b> 🐈', Number.NaN],
    ]);
  });

  test('has images with their sizes', () => {
    expect(images?.[2]).toEqual([0]);
    const [image] = values(images) ?? [];
    const [height, width, colours, bytes] = [1, 2, 3, 4].map((tag) => fields(image?.[4]?.[0] as Uint8Array)[tag]?.[0]);
    expect([height, width]).toEqual([2, 3]);
    expect([3, 4]).toContain(colours);
    expect(Buffer.from(bytes as Uint8Array)).toEqual(Buffer.from(png));
  });
});
