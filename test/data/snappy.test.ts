import { snappyUncompress } from 'hyparquet';
import { describe, expect, it } from 'vitest';
import { unsnap } from '../../src/data/snappy.js';

const bytes = (...values: (number | string)[]): Uint8Array =>
  Buffer.concat(values.map((value) => (typeof value === 'string' ? Buffer.from(value) : Buffer.of(value))));
const text = (data: Uint8Array, length: number) => Buffer.from(unsnap(data, length)).toString();

describe('Snappy', () => {
  // Tags by hand: literals of 3 and, with a byte of their size, 61; copies with offsets of 1, 2 and 4 bytes.
  const long = 'x'.repeat(61);
  const good: readonly (readonly [string, Uint8Array, string])[] = [
    ['nothing', bytes(0), ''],
    ['a literal', bytes(3, 2 << 2, 'abc'), 'abc'],
    ['a long literal', bytes(61, 60 << 2, 60, long), long],
    ['a copy that takes what it writes', bytes(9, 2 << 2, 'abc', (2 << 2) | 1, 3), 'abcabcabc'],
    ['a copy with 2 bytes', bytes(5, 2 << 2, 'abc', (1 << 2) | 2, 3, 0), 'abcab'],
    ['a copy with 4 bytes', bytes(4, 2 << 2, 'abc', 3, 1, 0, 0, 0), 'abcc'],
  ];
  it.each(good)('of %s is read', (_, data, wanted) => {
    expect(text(data, wanted.length)).toBe(wanted);
    const other = new Uint8Array(wanted.length);
    if (wanted !== '') snappyUncompress(data, other);
    expect(Buffer.from(other).toString()).toBe(wanted);
  });

  it.each([
    ['no preamble', bytes(), 0],
    ['a preamble without an end', bytes(200, 200), 3],
    ['less than it says', bytes(3, 2 << 2, 'ab'), 3],
    ['fewer bytes than are wanted', bytes(3, 2 << 2, 'abc'), 4],
    ['more than are wanted', bytes(3, 2 << 2, 'abc'), 2],
    ['a copy from before the start', bytes(5, 2 << 2, 'abc', (1 << 2) | 2, 4, 0), 5],
    ['a copy from nowhere', bytes(5, 2 << 2, 'abc', (1 << 2) | 2, 0, 0), 5],
    ['a copy past the end', bytes(5, 2 << 2, 'abc', (9 << 2) | 2, 1, 0), 5],
    // As a signed number of 32 bits the size would lead back.
    ['a literal of 4 GiB', bytes(5, 63 << 2, 0xf8, 0xff, 0xff, 0xff, 'abc'), 5],
  ])('with %s is refused', (_, data, length) => {
    expect(() => unsnap(data, length)).toThrow();
  });
});
