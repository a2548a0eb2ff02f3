import { readFileSync, writeFileSync } from 'node:fs';

/** Turns a bit of a file over, in the byte at a place; a negative one counts from the end. */
export const flip = (path: string, place: number): void => {
  const bytes = readFileSync(path);
  const at = place < 0 ? bytes.length + place : place;
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(path, bytes);
};
