/** Parquet's own go down to about ten. */
const DEEPEST = 64;

const wrong = (): never => {
  throw new Error('its thrift is damaged');
};

/**
 * Where a struct of thrift's compact protocol ends that begins at `from`: all in it lies within the bytes, lists have no
 * more members than there are bytes left, numbers have at most 10 bytes, and lengths at most 5. hyparquet looks at none of
 * that, and makes room for a list of any size first.
 *
 * @throws Error when it is not so
 */
export const structEnd = (bytes: Uint8Array, from: number): number => {
  let at = from;
  const byte = (): number => bytes[at++] ?? wrong();
  const number = (most: number): number => {
    let value = 0;
    for (let i = 0; i < most; i++) {
      const next = byte();
      value += (next & 127) * 128 ** i;
      if (next < 128) return value;
    }
    return wrong();
  };
  const length = (): number => {
    const found = number(5);
    return found <= bytes.length - at ? found : wrong();
  };
  const text = (): void => {
    const size = length();
    at += size;
  };
  const list = (depth: number): void => {
    const head = byte();
    const size = head >> 4 === 15 ? length() : head >> 4;
    const type = head & 15;
    // Truth takes a byte in a list, and none in a struct.
    for (let i = 0; i < size; i++) value(type <= 2 && type > 0 ? 3 : type, depth);
  };
  const struct = (depth: number): void => {
    for (let head = byte(); (head & 15) !== 0; head = byte()) {
      if (head >> 4 === 0) number(10);
      value(head & 15, depth);
    }
  };
  const value = (type: number, depth: number): void => {
    if (depth > DEEPEST) wrong();
    if (type === 1 || type === 2) return;
    if (type === 3) byte();
    else if (type >= 4 && type <= 6) number(10);
    else if (type === 7) at += 8;
    else if (type === 8) text();
    else if (type === 9) list(depth + 1);
    else if (type === 12) struct(depth + 1);
    else wrong();
  };
  struct(0);
  return at <= bytes.length ? at : wrong();
};
