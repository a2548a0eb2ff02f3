import { deserializeTCompactProtocol } from 'hyparquet/src/thrift.js';
import { describe, expect, it } from 'vitest';
import { structEnd } from '../../src/data/thrift.js';

describe('a struct of thrift', () => {
  it.each([
    ['nothing', [0]],
    ['a number', [0x15, 4, 0]],
    ['a far field', [0x05, 40, 4, 0]],
    ['truth, a byte, a double', [0x11, 0x13, 9, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
    ['a text and a struct', [0x18, 2, 65, 66, 0x1c, 0x15, 4, 0, 0]],
    ['lists of numbers, of truths and of structs', [0x19, 0x25, 2, 4, 0x19, 0x21, 1, 2, 0x19, 0x1c, 0x15, 4, 0, 0]],
    ['a long list', [0x19, 0xf3, 16, ...new Array<number>(16).fill(7), 0]],
  ])('ends where it does: %s', (_, values) => {
    const bytes = Uint8Array.of(9, ...values, 9);
    expect(structEnd(bytes, 1)).toBe(values.length + 1);
    const reader = { view: new DataView(bytes.buffer), offset: 1 };
    deserializeTCompactProtocol(reader);
    expect(reader.offset).toBe(values.length + 1);
  });

  it.each([
    ['no end', [0x15, 4]],
    ['a list of 2³¹ members', [0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x07, 0]],
    ['a text that is too long', [0x18, 9, 65, 0]],
    ['half a double', [0x17, 0, 0, 0]],
    ['a number without an end', [0x15, ...new Array<number>(11).fill(0x80), 0, 0]],
    ['an unknown type', [0x1b, 0, 0]],
    ['no bottom', new Array<number>(5000).fill(0x1c)],
    ['lists in lists', new Array<number>(5000).fill(0x19)],
  ])('is refused with %s', (_, values) => {
    expect(() => structEnd(Uint8Array.from(values), 0)).toThrow('thrift');
  });
});
