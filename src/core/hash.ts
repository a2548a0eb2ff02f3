import { createHash } from 'node:crypto';
import * as zlib from 'node:zlib';

/** SHA-256 in hexadecimal. */
export const sha256 = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex');

/** A cyclic redundancy check of 32 bits by its polynomial, bits reversed: a number in 0 … 2³² − 1. */
const cyclic = (polynomial: number): ((bytes: Uint8Array) => number) => {
  const table = Uint32Array.from({ length: 256 }, (_, byte) => {
    let sum = byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ polynomial : sum >>> 1;
    return sum;
  });
  return (bytes) => {
    let sum = 0xffffffff;
    for (let i = 0; i < bytes.length; i++) sum = (sum >>> 8) ^ (table[(sum ^ (bytes[i] as number)) & 0xff] as number);
    return (sum ^ 0xffffffff) >>> 0;
  };
};

/** CRC-32C (Castagnoli, RFC 3720), of event files. */
export const crc32c = cyclic(0x82f63b78);

const { crc32: native } = zlib as { crc32?: (bytes: Uint8Array) => number };

/** CRC-32 (ISO 3309), of zip archives; by Node itself where it has it, from 22.2 on. */
export const crc32: (bytes: Uint8Array) => number = native ?? cyclic(0xedb88320);
