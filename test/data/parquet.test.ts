import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { type ColumnSource, parquetWriteBuffer } from 'hyparquet-writer';
import { describe, expect, it } from 'vitest';
import type { OptionsOf } from '../../src/core/plugin.js';
import type { LoadOptions } from '../../src/data/dataset.js';
import { parquet, parquetFiles } from '../../src/data/parquet.js';
import { type Files, fail, jpegOf, pngOf, succeed, temporaryFolder, writeFiles } from './helpers.js';

const root = temporaryFolder();
let made = 0;
const folderWith = (files: Files) => writeFiles(join(root, `set${made++}`), files);
const load = (path: string, more: Partial<OptionsOf<typeof parquet>> = {}, options: LoadOptions = {}) =>
  parquet({ path, ...more }).load({ cache: false, ...options });
const refusal = async (files: Files, more: Partial<OptionsOf<typeof parquet>> = {}) =>
  fail(load(await folderWith(files), more));

const red = pngOf(4, 4, [255, 0, 0]);
const green = pngOf(4, 4, [0, 255, 0]);
const grey = pngOf(4, 4, [90, 90, 90], 0);

/** By what is particular in them; parquet.py says how they were written. */
const arrow: Readonly<Record<string, Uint8Array>> = Object.fromEntries(
  Object.entries(
    JSON.parse(readFileSync(new URL('./parquet.json', import.meta.url), 'utf8')) as Record<string, string>,
  ).map(([name, base64]) => [name, Buffer.from(base64, 'base64')]),
);

type Row = readonly [bytes: Uint8Array | null, label: number | null];

/** A file as `datasets` writes it: image is { bytes, path }, the label an int64 whose names are in the description. */
const file = (
  rows: readonly Row[],
  { image = 'image', label = 'label', names = ['cat', 'dog'] as readonly string[] | null, perGroup = 1000 } = {},
): Uint8Array => {
  const columnData: ColumnSource[] = [
    { name: image, data: rows.map(([bytes], i) => ({ bytes, path: `${i}.png` })) },
    { name: label, data: rows.map((row) => (row[1] === null ? null : BigInt(row[1]))) },
  ];
  const described = { info: { features: { [label]: { names, _type: 'ClassLabel' } } } };
  return new Uint8Array(
    parquetWriteBuffer({
      columnData,
      rowGroupSize: perGroup,
      schema: [
        { name: 'schema', num_children: 2 },
        { name: image, num_children: 2, repetition_type: 'OPTIONAL' },
        { name: 'bytes', type: 'BYTE_ARRAY', repetition_type: 'OPTIONAL' },
        { name: 'path', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
        { name: label, type: 'INT64', repetition_type: 'OPTIONAL' },
      ],
      kvMetadata: names === null ? [] : [{ key: 'huggingface', value: JSON.stringify(described) }],
    }),
  );
};

const TRAIN: readonly Row[] = [
  [red, 0],
  [green, 1],
  [grey, 0],
];
const TEST: readonly Row[] = [[green, 1]];
const FILES: Files = {
  'data/train-00000-of-00002.parquet': file(TRAIN),
  'data/train-00001-of-00002.parquet': file([[red, 1]]),
  'data/test-00000-of-00001.parquet': file(TEST),
  'README.md': 'A card.',
};

describe('Parquet files of Hugging Face', () => {
  it('are read in their order, with the names of the classes', async () => {
    const data = await succeed(load(await folderWith(FILES)));
    expect(data).toMatchObject({
      name: 'parquet',
      image: { height: 4, width: 4, channels: 3 },
      classes: ['cat', 'dog'],
      augmentation: { crop: 0, flip: false },
    });
    expect([[...data.train.labels], [...data.test.labels]]).toEqual([[0, 1, 0, 1], [1]]);
    expect([0, 1, 2, 3].map((i) => [...data.train.images.slice(48 * i, 48 * i + 3)])).toEqual([
      [255, 0, 0],
      [0, 255, 0],
      [90, 90, 90],
      [255, 0, 0],
    ]);
  });

  it('are the same in groups of rows, in folders by part, and with validation for a test', async () => {
    const { fingerprint } = await succeed(load(await folderWith(FILES)));
    const small = {
      'default/train/0000.parquet': file([...TRAIN, [red, 1]], { perGroup: 2 }),
      'default/validation/0000.parquet': file(TEST),
    };
    expect((await succeed(load(await folderWith(small)))).fingerprint).toBe(fingerprint);
  });

  it('may call their columns otherwise, and may not name their classes', async () => {
    const fine = { image: 'img', label: 'fine_label', names: null };
    const path = await folderWith({ 'train.parquet': file(TRAIN, fine), 'test.parquet': file(TEST, fine) });
    expect((await succeed(load(path))).classes).toEqual(['0', '1']);
    expect((await succeed(load(path, { image: 'img', label: 'fine_label' }))).train.count).toBe(3);
    expect((await fail(load(path, { label: 'label' }))).what).toBe(
      'it has no labels (label): its columns are img, fine_label',
    );
    expect((await fail(load(path, { image: 'image' }))).what).toBe(
      'it has no images in a column image: its columns are img, fine_label',
    );
  });

  it('are resized when asked to, JPEG as well, and read from the cache the second time', async () => {
    const path = await folderWith({
      'train.parquet': file([...TRAIN, [jpegOf(9, 7, [1, 2, 3]), 1]]),
      'test.parquet': file(TEST),
    });
    const cache = join(root, 'cache');
    const first = await succeed(load(path, { size: 2 }, { cache }));
    expect(first.image).toEqual({ height: 2, width: 2, channels: 3 });
    const again = { cache, onProgress: () => expect.fail('decoded again') };
    expect(await succeed(load(path, { size: 2 }, again))).toEqual(first);
    expect(() => load(path, { size: 0 })).toThrow(/size is 0/);
  });

  it('without images are refused, and their columns named', async () => {
    const numbers = new Uint8Array(
      parquetWriteBuffer({
        columnData: [
          { name: 'x', data: [1] },
          { name: 'label', data: [0] },
        ],
      }),
    );
    const path = await folderWith({ 'train.parquet': numbers, 'test.parquet': file(TEST) });
    expect(await fail(load(path))).toMatchObject({
      kind: 'data',
      what: 'there are no images in it: its columns are x, label',
      where: join(path, 'train.parquet'),
    });
  });

  const wrong: readonly (readonly [string, readonly Row[], string])[] = [
    ['a label out of range', [...TRAIN, [red, 2]], 'label 2 is out of range: there are 2 classes, 0 to 1'],
    ['a label of −1', [[red, -1]], 'label of row 0 is -1, and no index of a class'],
    ['no label', [...TRAIN, [red, null]], 'label of row 3 is missing'],
    [
      'no bytes',
      [
        [red, 0],
        [null, 1],
      ],
      'image of row 1 has no bytes',
    ],
    ['only one class', [[red, 0]], '1 of 2 classes have no training image: dog'],
  ];
  it.each(wrong)('with %s are refused', async (_, rows, what) => {
    const failure = await refusal({ 'train.parquet': file(rows), 'test.parquet': file(TEST) });
    expect(failure).toMatchObject({ kind: 'data', what });
    expect(failure.where).toContain(root);
  });

  it('with bytes that are no image are refused', async () => {
    const failure = await refusal({
      'train.parquet': file([...TRAIN, [Buffer.from('GIF89a'), 1]]),
      'test.parquet': file(TEST),
    });
    expect(failure.what).toMatch(
      /^1 of 5 images cannot be decoded: .*train.parquet, row 3 \(it is neither a JPEG nor a PNG\)$/,
    );
  });

  it('that are damaged are refused', async () => {
    const good = file(TRAIN);
    const changed = (at: number, by: number): Uint8Array => good.map((byte, i) => (i === at ? byte ^ by : byte));
    for (const bad of [
      good.subarray(0, good.length - 9),
      good.subarray(0, 3),
      new Uint8Array(),
      changed(good.length - 1, 1),
    ]) {
      const failure = await refusal({ 'train.parquet': bad, 'test.parquet': file(TEST) });
      expect(failure.what).toMatch(/^it is not a Parquet file, or a damaged one/);
      expect(failure.where).toContain('train.parquet');
    }
  });

  it.each(Object.entries(arrow))('that PyArrow wrote are read: %s', async (_, bytes) => {
    const data = await succeed(load(await folderWith({ 'train.parquet': bytes, 'test.parquet': bytes })));
    expect([[...data.train.labels], data.classes]).toEqual([
      [0, 1, 2, 0, 1],
      ['0', '1', '2'],
    ]);
    expect([0, 1, 2, 3, 4].map((i) => [...data.train.images.slice(12 * i, 12 * i + 3)])).toEqual([
      [255, 0, 0],
      [0, 255, 0],
      [0, 0, 255],
      [255, 0, 0],
      [9, 9, 9],
    ]);
  });

  it('are refused or read, and soon, whichever byte is wrong', async () => {
    const path = await folderWith({ 'test.parquet': file(TEST) });
    const good = file(TRAIN);
    for (let at = 0; at < good.length; at++) {
      await writeFiles(path, { 'train.parquet': good.map((byte, i) => (i === at ? byte ^ 0xff : byte)) });
      const start = process.cpuUsage();
      const result = await load(path)();
      expect(process.cpuUsage(start).user / 1e6, `byte ${at}`).toBeLessThan(10);
      if (E.isLeft(result)) {
        expect(result.left.kind, `byte ${at}`).toBe('data');
        // Where images or classes are wrong, what is said has the files.
        expect(result.left.where, `byte ${at}`).toContain(path);
      }
    }
  });

  it('with a label far off are refused before anybody counts up to it', async () => {
    const failure = await refusal({
      'train.parquet': file([...TRAIN, [red, 2 ** 40]], { names: null }),
      'test.parquet': file(TEST),
    });
    expect(failure.what).toBe(`label ${2 ** 40} is out of range: there are 4 classes, 0 to 3`);
  });

  it('are found by their names', async () => {
    const list = (...paths: string[]) =>
      parquetFiles(
        paths.map((path) => ({ path, kind: 'file', size: 1 })),
        'here',
      );
    expect(list('b/train-1.parquet', 'b/train-0.parquet', 'b/test-0.parquet', 'b/validation-0.parquet')).toEqual({
      train: ['b/train-0.parquet', 'b/train-1.parquet'],
      test: ['b/test-0.parquet'],
    });
    expect(() => list('train-0.parquet')).toThrow('neither test-');
    expect(() => list('x.parquet', 'trainer.parquet')).toThrow('no train-');
    expect(() => list('a/train-0.parquet', 'b/train-0.parquet')).toThrow('several sets');
    const single = join(await folderWith({ 'train.tar': 'x'.repeat(600) }), 'train.tar');
    expect((await fail(load(single))).what).toBe('a folder is expected, and this is a file');
  });
});
