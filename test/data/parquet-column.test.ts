import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { parquetMetadata } from 'hyparquet';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { describe, expect, it } from 'vitest';
import { columnValues, rowsOf } from '../../src/data/parquet-column.js';

/** By what is particular in them; parquet.py says how they were written. */
const arrow: readonly (readonly [string, Uint8Array])[] = Object.entries(
  JSON.parse(readFileSync(new URL('./parquet.json', import.meta.url), 'utf8')) as Record<string, string>,
).map(([name, base64]) => [name, new Uint8Array(Buffer.from(base64, 'base64'))]);

type Metadata = ReturnType<typeof parquetMetadata>;

const valuesOf = async (
  bytes: Uint8Array,
  path: readonly string[],
  metadata: Metadata,
  room?: number,
): Promise<unknown[]> => {
  const own = bytes.slice().buffer as ArrayBuffer;
  const file = { byteLength: own.byteLength, slice: (start: number, end?: number) => own.slice(start, end) };
  const groups = metadata.row_groups.map((group) => columnValues(file, metadata, group, path, room));
  return (await Promise.all(groups)).flat();
};

const written = (codec: 'UNCOMPRESSED' | 'GZIP', compress: (bytes: Uint8Array) => Uint8Array): Uint8Array => {
  const columnData = [{ name: 'label', data: [1n, null, 3n], type: 'INT64' as const }];
  return new Uint8Array(parquetWriteBuffer({ columnData, codec, compressors: { GZIP: compress } }));
};

describe('a column of a Parquet file', () => {
  it('has null where there is no value', async () => {
    for (const bytes of [written('UNCOMPRESSED', (data) => data), written('GZIP', (data) => gzipSync(data))])
      expect(await valuesOf(bytes, ['label'], parquetMetadata(bytes))).toEqual([1n, null, 3n]);
  });

  it('is not decompressed beyond what its page says', async () => {
    const bytes = written('GZIP', () => gzipSync(Buffer.alloc(2 ** 26)));
    const before = process.memoryUsage().arrayBuffers;
    await expect(valuesOf(bytes, ['label'], parquetMetadata(bytes))).rejects.toThrow(/larger than/);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24);
  });

  it('takes no more memory than there is room for, however small its pages are in the file', async () => {
    const data = Array.from({ length: 4_000 }, (_, i) => BigInt(i));
    const columnData = [{ name: 'label', data, type: 'INT64' as const }];
    const writing = { columnData, codec: 'GZIP' as const, compressors: { GZIP: (data: Uint8Array) => gzipSync(data) } };
    const bytes = new Uint8Array(parquetWriteBuffer({ ...writing, pageSize: 2 ** 10, rowGroupSize: 4_000 }));
    const metadata = parquetMetadata(bytes);
    const pages = metadata.row_groups.map(({ columns }) => Number(columns[0]?.meta_data?.total_uncompressed_size));
    const [all = 0] = pages;
    expect(pages).toHaveLength(1);
    expect(await valuesOf(bytes, ['label'], metadata, all)).toHaveLength(4_000);
    await expect(valuesOf(bytes, ['label'], metadata, Math.floor(all / 2))).rejects.toThrow(
      /^label of a group of rows needs more than 0\.0 GiB of memory/,
    );
  });

  // As numbers of thrift and as headers of runs these are the largest, the most negative ones, and nothing at all.
  const wrong = [
    [0xff, 0xff, 0xff, 0xff, 0x0f],
    [0xfe, 0xff, 0xff, 0xff, 0x0f],
    [0xfc, 0xff, 0xff, 0xff, 0xff],
    [0, 0, 0, 0],
    [0xff],
    [0x18],
  ];
  it.each(arrow)('with wrong bytes anywhere in its pages is read or refused: %s', async (_, good) => {
    const metadata = parquetMetadata(good);
    const pages = good.length - 8 - metadata.metadata_length;
    for (const path of [['label'], ['image', 'bytes']]) {
      expect(await valuesOf(good, path, metadata)).toHaveLength(5);
      for (const values of wrong) {
        for (let at = 4; at < pages; at++) {
          const bad = good.slice();
          bad.set(values.slice(0, pages - at), at);
          const start = process.cpuUsage();
          const found = await valuesOf(bad, path, metadata).catch((thrown: unknown) => thrown);
          expect(process.cpuUsage(start).user / 1e6, `${values} at ${at}`).toBeLessThan(10);
          if (!(found instanceof Error)) expect(found, `${values} at ${at}`).toHaveLength(5);
        }
      }
    }
  });

  it('is not believed about its place, size and rows', async () => {
    const bytes = written('UNCOMPRESSED', (data) => data);
    const good = parquetMetadata(bytes);
    const [group] = good.row_groups;
    const meta = group?.columns[0]?.meta_data;
    for (const lie of [
      { data_page_offset: -1n },
      { data_page_offset: 2n ** 40n },
      { total_compressed_size: BigInt(bytes.length) },
      { total_compressed_size: -1n },
      { total_compressed_size: 0n },
      { codec: 'LZO' },
      { path_in_schema: ['other'] },
    ]) {
      const columns = [{ ...group?.columns[0], meta_data: { ...meta, ...lie } }];
      const metadata = { ...good, row_groups: [{ ...group, columns }] } as unknown as Metadata;
      await expect(valuesOf(bytes, ['label'], metadata)).rejects.toThrow();
    }
    expect(rowsOf(good, bytes.length)).toBe(3);
    for (const rows of [-1n, 2n ** 31n, 2.5, undefined]) {
      const metadata = { ...good, row_groups: [{ ...group, num_rows: rows }] } as unknown as Metadata;
      expect(() => rowsOf(metadata, bytes.length)).toThrow('the number of rows');
    }
  });
});
