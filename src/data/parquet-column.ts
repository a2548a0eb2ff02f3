import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import type { AsyncBuffer, ColumnMetaData, DecodedArray, FileMetaData, RowGroup } from 'hyparquet';
import { parquetMetadata } from 'hyparquet';
import { parquetHeader } from 'hyparquet/src/column.js';
import { convert, DEFAULT_PARSERS } from 'hyparquet/src/convert.js';
import { deltaBinaryUnpack, deltaLengthByteArray } from 'hyparquet/src/delta.js';
import { readPlain } from 'hyparquet/src/plain.js';
import { getMaxDefinitionLevel, getMaxRepetitionLevel, getSchemaPath } from 'hyparquet/src/schema.js';
import { readVarInt } from 'hyparquet/src/thrift.js';
import { roomFor, showGiB } from './assemble.js';
import { unsnap } from './snappy.js';
import { structEnd } from './thrift.js';

/** Of a page, uncompressed. Writers make pages of about 1 MiB, or of one value where that is larger. */
const LARGEST_PAGE = 2 ** 30;

const whole = (value: unknown, least: number, most: number, what: string): number => {
  const number = typeof value === 'bigint' ? Number(value) : value;
  if (!Number.isSafeInteger(number) || (number as number) < least || (number as number) > most)
    throw new Error(`${what} is ${number}, and no number from ${least} to ${most}`);
  return number as number;
};

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/* Compression */

const codecs: Readonly<Record<string, (bytes: Uint8Array, length: number) => Uint8Array>> = {
  UNCOMPRESSED: (bytes) => bytes,
  SNAPPY: unsnap,
  GZIP: (bytes, length) => gunzipSync(bytes, { maxOutputLength: length }),
  BROTLI: (bytes, length) => brotliDecompressSync(bytes, { maxOutputLength: length }),
};

const decompress = (bytes: Uint8Array, length: number, codec: string): Uint8Array => {
  const run = codecs[codec];
  if (run === undefined) throw new Error(`its compression is ${codec}, which is not read`);
  const found = length === 0 ? new Uint8Array() : run(bytes, length);
  if (found.length !== length) throw new Error(`a page has ${found.length} bytes, and not ${length}`);
  return found;
};

/* Runs */

/** Value `i` of a group of 8 that are packed from byte `at` on, least significant bits first. */
const packed = (bytes: Uint8Array, at: number, i: number, width: number): number => {
  let value = 0;
  for (let done = 0; done < width; ) {
    const bit = i * width + done;
    const byte = bytes[at + (bit >> 3)];
    if (byte === undefined) throw new Error('a run ends early');
    const taken = Math.min(8 - (bit & 7), width - done);
    value += ((byte >> (bit & 7)) & (2 ** taken - 1)) * 2 ** done;
    done += taken;
  }
  return value;
};

/** Runs of one value and groups of 8 packed ones, of `width` bits: the first `count` of them, however long a run says it is. */
const readRuns = (bytes: Uint8Array, width: number, count: number): Uint32Array => {
  if (width > 32) throw new Error(`its values are of ${width} bits`);
  const values = new Uint32Array(count);
  // Of no bits there is nothing but zeros.
  if (width === 0) return values;
  const reader = { view: viewOf(bytes), offset: 0 };
  for (let seen = 0; seen < count; ) {
    // Past the end it throws: every run takes at least a byte.
    const header = readVarInt(reader) >>> 0;
    const length = header >>> 1;
    const start = reader.offset;
    if (header & 1) {
      const end = Math.min(count, seen + 8 * length);
      for (let i = 0; seen < end; i++) values[seen++] = packed(bytes, start + (i >> 3) * width, i & 7, width);
      reader.offset = start + length * width;
    } else {
      const size = Math.ceil(width / 8);
      const end = Math.min(count, seen + length);
      values.fill(packed(bytes, start, 0, 8 * size), seen, end);
      seen = end;
      reader.offset = start + size;
    }
  }
  return values;
};

/* Pages */

/** What is the same for all pages of a column. */
interface Decoder {
  readonly meta: ColumnMetaData;
  /** Of bytes of a fixed length. */
  readonly length: number | undefined;
  /** The definition level of a value that is there. */
  readonly level: number;
  readonly convert: (values: DecodedArray) => DecodedArray;
}

/** hyparquet goes back in the page, or on for ever, where these are not as the format has them. */
const checkDelta = (bytes: Uint8Array): void => {
  const reader = { view: viewOf(bytes), offset: 0 };
  const block = whole(readVarInt(reader), 1, 2 ** 20, 'a block of differences');
  const parts = whole(readVarInt(reader), 1, block, 'its number of parts');
  if (block % parts !== 0) throw new Error('a block of differences has no whole parts');
};

/** The values of a page that are there, `count` of them, from its bytes after the levels. */
const readValues = (
  bytes: Uint8Array,
  encoding: string,
  count: number,
  dictionary: DecodedArray | undefined,
  { meta: { type }, length, convert: converted }: Decoder,
): DecodedArray => {
  if (count === 0) return [];
  const reader = { view: viewOf(bytes), offset: 0 };
  switch (encoding) {
    case 'PLAIN':
      return converted(readPlain(reader, type, count, length));
    case 'PLAIN_DICTIONARY':
    case 'RLE_DICTIONARY':
      if (dictionary === undefined || bytes.length === 0) throw new Error('there is no dictionary');
      return Array.from(readRuns(bytes.subarray(1), bytes[0] as number, count), (i): unknown => dictionary[i]);
    case 'DELTA_BINARY_PACKED': {
      checkDelta(bytes);
      const values = type === 'INT32' ? new Int32Array(count) : new BigInt64Array(count);
      deltaBinaryUnpack(reader, count, values);
      return converted(values);
    }
    case 'DELTA_LENGTH_BYTE_ARRAY': {
      checkDelta(bytes);
      const values: Uint8Array[] = [];
      deltaLengthByteArray(reader, count, values);
      return converted(values);
    }
    default:
      throw new Error(`its encoding is ${encoding}, which is not read`);
  }
};

/** A page's values by row, null where there is none. */
const byRow = (
  levels: Uint8Array | undefined,
  count: number,
  decoder: Decoder,
  read: (present: number) => DecodedArray,
): readonly unknown[] => {
  if (levels === undefined) return Array.from(read(count));
  const found = readRuns(levels, 32 - Math.clz32(decoder.level), count);
  const values = read(found.reduce((sum, level) => sum + (level === decoder.level ? 1 : 0), 0));
  let next = 0;
  return Array.from(found, (level): unknown => (level === decoder.level ? values[next++] : null));
};

type PageHeader = ReturnType<typeof parquetHeader>;

interface Page {
  readonly header: PageHeader;
  /** As they are in the file. */
  readonly bytes: Uint8Array;
  /** Uncompressed. */
  readonly size: number;
}

const readDictionary = ({ header, bytes, size }: Page, decoder: Decoder): DecodedArray => {
  const page = decompress(bytes, size, decoder.meta.codec);
  const count = whole(header.dictionary_page_header?.num_values, 0, size, 'the size of a dictionary');
  const reader = { view: viewOf(page), offset: 0 };
  return decoder.convert(readPlain(reader, decoder.meta.type, count, decoder.length));
};

/** Version 1: levels and values are compressed together. */
const readPage = (
  { header, bytes, size }: Page,
  left: number,
  dictionary: DecodedArray | undefined,
  decoder: Decoder,
): readonly unknown[] => {
  const head = header.data_page_header;
  const count = whole(head?.num_values, 0, left, 'the number of values of a page');
  const page = decompress(bytes, size, decoder.meta.codec);
  const levelBytes = decoder.level === 0 ? 0 : 4 + viewOf(page).getUint32(0, true);
  if (levelBytes > page.length) throw new Error('the levels of a page end early');
  const levels = decoder.level === 0 ? undefined : page.subarray(4, levelBytes);
  return byRow(levels, count, decoder, (present) =>
    readValues(page.subarray(levelBytes), `${head?.encoding}`, present, dictionary, decoder),
  );
};

/** Version 2: the levels are not compressed. */
const readPageV2 = (
  { header, bytes, size }: Page,
  left: number,
  dictionary: DecodedArray | undefined,
  decoder: Decoder,
): readonly unknown[] => {
  const head = header.data_page_header_v2;
  const count = whole(head?.num_values, 0, left, 'the number of values of a page');
  const most = Math.min(bytes.length, size);
  const start = whole(head?.repetition_levels_byte_length, 0, most, 'the length of the repetition levels');
  const end =
    start + whole(head?.definition_levels_byte_length, 0, most - start, 'the length of the definition levels');
  const rest = bytes.subarray(end);
  const page = head?.is_compressed === false ? rest : decompress(rest, size - end, decoder.meta.codec);
  const levels = decoder.level === 0 ? undefined : bytes.subarray(start, end);
  return byRow(levels, count, decoder, (present) =>
    readValues(page, `${head?.encoding}`, present, dictionary, decoder),
  );
};

/* A column */

const chunkOf = async (file: AsyncBuffer, meta: ColumnMetaData): Promise<Uint8Array> => {
  const start = whole(
    meta.dictionary_page_offset || meta.data_page_offset,
    4,
    file.byteLength,
    'the place of a column',
  );
  const size = whole(meta.total_compressed_size, 0, file.byteLength - start, 'the size of a column');
  return new Uint8Array(await file.slice(start, start + size));
};

const decoderOf = (metadata: FileMetaData, path: readonly string[], meta: ColumnMetaData): Decoder => {
  const schemaPath = getSchemaPath(metadata.schema, [...path]);
  const { element } = schemaPath[schemaPath.length - 1] as (typeof schemaPath)[number];
  if (getMaxRepetitionLevel(schemaPath.slice(1)) > 0) throw new Error(`${path.join('.')} has lists in it`);
  const { type, codec } = meta;
  const column = { pathInSchema: [...path], type, element, schemaPath, codec, parsers: DEFAULT_PARSERS, utf8: false };
  return {
    meta,
    length: element.type_length,
    level: getMaxDefinitionLevel(schemaPath),
    convert: (values) => convert(values, column),
  };
};

/** What the footer says of the file: it is thrift, and its length and `PAR1` follow. */
export const metadataOf = async (file: AsyncBuffer): Promise<FileMetaData> => {
  const size = file.byteLength;
  if (size < 12) throw new Error('it is too short');
  const length = new DataView(await file.slice(size - 8, size)).getUint32(0, true);
  const footer = await file.slice(size - 8 - whole(length, 1, size - 12, 'the length of its footer'), size);
  structEnd(new Uint8Array(footer, 0, length), 0);
  // Places on a map are of no use here, and a damaged schema keeps hyparquet looking for them for ever.
  return parquetMetadata(footer, { geoparquet: false });
};

/** The rows of all groups, which are no more than the file has bytes: an image has some of its own. */
export const rowsOf = ({ row_groups }: FileMetaData, bytes: number): number =>
  row_groups.reduce((sum, { num_rows }) => sum + whole(num_rows, 0, bytes - sum, 'the number of rows'), 0);

/**
 * The values of a column in a group of rows, null where there is none. `path`: the names down to it, none of them repeated. `room`: bytes that
 * all its pages together may have, uncompressed.
 *
 * Page by page, and every size in the file is checked before it is believed: hyparquet's own `readColumn` goes on for ever
 * or takes gigabytes where one is damaged. What is taken from it decodes values, whose number is known here.
 *
 * @throws Error that says what is wrong
 */
export const columnValues = async (
  file: AsyncBuffer,
  metadata: FileMetaData,
  group: RowGroup,
  path: readonly string[],
  room = roomFor(),
): Promise<readonly unknown[]> => {
  const meta = group.columns
    .map((column) => column.meta_data)
    .find((each) => each !== undefined && each.path_in_schema.join('\0') === path.join('\0'));
  if (meta === undefined) throw new Error(`a group of rows has no column ${path.join('.')}`);
  const decoder = decoderOf(metadata, path, meta);
  const chunk = await chunkOf(file, meta);
  const count = Number(group.num_rows);
  const reader = { view: viewOf(chunk), offset: 0 };
  const rows: unknown[] = [];
  let dictionary: DecodedArray | undefined;
  /** Bytes of pages, which live as long as their values. */
  let taken = 0;
  while (rows.length < count) {
    // At the end of the chunk it throws.
    const start = structEnd(chunk, reader.offset);
    const header = parquetHeader(reader);
    const stored = whole(header.compressed_page_size, 0, chunk.length - start, 'the size of a page');
    reader.offset = start + stored;
    const size = whole(header.uncompressed_page_size, 0, LARGEST_PAGE, 'the uncompressed size of a page');
    taken += size;
    if (taken > room)
      throw new Error(
        `${path.join('.')} of a group of rows needs more than ${showGiB(room)} of memory, which is the most that is read at once; write it with smaller groups of rows`,
      );
    const page: Page = { header, bytes: chunk.subarray(start, start + stored), size };
    const left = count - rows.length;
    if (header.type === 'DICTIONARY_PAGE') dictionary = readDictionary(page, decoder);
    else if (header.type === 'DATA_PAGE') for (const row of readPage(page, left, dictionary, decoder)) rows.push(row);
    else if (header.type === 'DATA_PAGE_V2')
      for (const row of readPageV2(page, left, dictionary, decoder)) rows.push(row);
    else if (header.type !== 'INDEX_PAGE') throw new Error(`it has pages of type ${header.type}`);
  }
  return rows;
};
