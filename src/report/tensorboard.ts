import { PbfWriter as Writer } from 'pbf';
import { bufferOf } from '../core/bytes.js';
import { crc32c } from '../core/hash.js';

/*
 * TensorBoard reads folders of event files: TFRecords of `Event` messages. The numbers of fields are those of its protocol
 * buffers event.proto and summary.proto.
 */

/** What TensorBoard shows at one step. */
export interface Event {
  readonly step: number;
  /** Seconds since 1970. */
  readonly wallTime: number;
  readonly scalars?: Readonly<Record<string, number>>;
  /** PNG files, whole. */
  readonly images?: Readonly<Record<string, Uint8Array>>;
}

/** As TFRecords have it: rotated right by 15 bits, plus a constant. */
const masked = (sum: number): number => (((sum >>> 15) | (sum << 17)) + 0xa282ead8) >>> 0;

/** Its length in 8 bytes, a checksum of these, the data, and a checksum of it. */
export const tfRecord = (data: Uint8Array): Uint8Array => {
  const framed = Buffer.alloc(8 + 4 + data.length + 4);
  framed.writeBigUInt64LE(BigInt(data.length), 0);
  framed.writeUInt32LE(masked(crc32c(framed.subarray(0, 8))), 8);
  framed.set(data, 12);
  framed.writeUInt32LE(masked(crc32c(data)), 12 + data.length);
  return framed;
};

/** Channels by the colour type of a PNG: grey, RGB, palette, grey with alpha, RGB with alpha. */
const channels: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 3, 4: 2, 6: 4 };

/** Whether bytes begin as a PNG does, up to its size. */
export const isPng = (bytes: Uint8Array): boolean =>
  bytes.length >= 33 && bufferOf(bytes).toString('latin1', 0, 16) === '\x89PNG\r\n\x1a\n\0\0\0\rIHDR';

const writeImage = (png: Uint8Array, to: Writer): void => {
  const header = bufferOf(png);
  to.writeVarintField(1, header.readUInt32BE(20));
  to.writeVarintField(2, header.readUInt32BE(16));
  to.writeVarintField(3, channels[header.readUInt8(25)] ?? 3);
  to.writeBytesField(4, png);
};

const writeSummary = ({ scalars = {}, images = {} }: Event, to: Writer): void => {
  const values = (write: (to: Writer) => void) => to.writeMessage(1, (_: undefined, each) => write(each), undefined);
  for (const [tag, value] of Object.entries(scalars))
    values((each) => {
      each.writeStringField(1, tag);
      each.writeFloatField(2, value);
    });
  for (const [tag, png] of Object.entries(images))
    values((each) => {
      each.writeStringField(1, tag);
      each.writeMessage(4, writeImage, png);
    });
};

const eventRecord = (wallTime: number, write: (to: Writer) => void): Uint8Array => {
  const to = new Writer();
  to.writeDoubleField(1, wallTime);
  write(to);
  return tfRecord(to.finish());
};

/** An event file, with the version that TensorBoard looks for at its head. */
export const eventFile = (events: readonly Event[]): Uint8Array =>
  Buffer.concat([
    eventRecord(events[0]?.wallTime ?? 0, (to) => to.writeStringField(3, 'brain.Event:2')),
    ...events.map((event) =>
      eventRecord(event.wallTime, (to) => {
        to.writeVarintField(2, event.step);
        to.writeMessage(5, writeSummary, event);
      }),
    ),
  ]);
