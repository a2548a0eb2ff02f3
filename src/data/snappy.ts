const cutShort = (): never => {
  throw new Error('its Snappy data ends early');
};

/** A little-endian number of so many bytes, at most 4. */
const numberAt = (bytes: Uint8Array, at: number, size: number): number => {
  if (at + size > bytes.length) cutShort();
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = value * 256 + (bytes[at + i] as number);
  return value;
};

/** The bytes before the elements: the length of the whole, 7 bits a byte. */
const preambleSize = (bytes: Uint8Array): number => {
  const end = bytes.findIndex((byte) => byte < 128);
  return end < 0 ? cutShort() : end + 1;
};

/**
 * Raw Snappy (google/snappy, format_description.txt) of a known length: elements that are bytes to take as they are, or a
 * copy of what came earlier. Every element moves on and stays within `length`, so that damaged data end in an error, soon.
 */
export const unsnap = (bytes: Uint8Array, length: number): Uint8Array => {
  const result = new Uint8Array(length);
  let at = preambleSize(bytes);
  let end = 0;
  const literal = (tag: number): void => {
    const wide = Math.max(0, (tag >> 2) - 59);
    const size = 1 + (wide === 0 ? tag >> 2 : numberAt(bytes, at, wide));
    at += wide;
    if (at + size > bytes.length) cutShort();
    // Past the end of the result it throws.
    result.set(bytes.subarray(at, at + size), end);
    at += size;
    end += size;
  };
  const copy = (tag: number): void => {
    const kind = tag & 3;
    const wide = kind === 3 ? 4 : kind;
    const size = kind === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    const offset = numberAt(bytes, at, wide) + (kind === 1 ? (tag >> 5) * 256 : 0);
    at += wide;
    if (offset === 0 || offset > end || end + size > length) throw new Error('its Snappy data are wrong');
    // One by one: a copy may take what it has just written.
    for (let i = 0; i < size; i++, end++) result[end] = result[end - offset] as number;
  };
  while (at < bytes.length) {
    const tag = bytes[at++] as number;
    if ((tag & 3) === 0) literal(tag);
    else copy(tag);
  }
  return end === length ? result : cutShort();
};
