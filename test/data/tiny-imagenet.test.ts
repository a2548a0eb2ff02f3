import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { OptionsOf } from '../../src/core/plugin.js';
import type { LoadOptions } from '../../src/data/dataset.js';
import { tinyImageNet } from '../../src/data/tiny-imagenet.js';
import {
  afterEdit,
  type Files,
  fail,
  gzip,
  jpegOf,
  pngOf,
  succeed,
  tarOfFiles,
  temporaryFolder,
  writeFiles,
} from './helpers.js';

const root = temporaryFolder();
let made = 0;
const freshPath = () => join(root, `set${made++}`);
const folderWith = (files: Files) => writeFiles(freshPath(), files);
const load = (options: OptionsOf<typeof tinyImageNet>, more: LoadOptions = {}) =>
  tinyImageNet(options).load({ cache: false, ...more });

const TOP = 'tiny-imagenet-200/';
const red = jpegOf(64, 64, [200, 10, 10]);
const green = jpegOf(64, 64, [10, 200, 10]);
const grey = pngOf(64, 64, [90, 90, 90], 0);
/** Three classes, listed in another order than the sorted one. */
const HEAD: Files = {
  [`${TOP}wnids.txt`]: 'n03\nn01\nn02\n',
  [`${TOP}words.txt`]: 'n01\tgoldfish, Carassius auratus\nn02\tcrane, a bird\nn03\tcrane, a machine\nn99\tother\n',
};
const train = (wnid: string, ...images: Buffer[]): Files => ({
  [`${TOP}train/${wnid}/${wnid}_boxes.txt`]: `${wnid}_0.JPEG\t0\t0\t63\t63\n`,
  ...Object.fromEntries(images.map((image, i) => [`${TOP}train/${wnid}/images/${wnid}_${i}.JPEG`, image])),
});
const VAL: Files = {
  [`${TOP}val/val_annotations.txt`]:
    'val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\nval_2.JPEG\tn03\t0\t0\t9\t9\n',
  [`${TOP}val/images/val_0.JPEG`]: green,
  [`${TOP}val/images/val_1.JPEG`]: grey,
  [`${TOP}val/images/val_2.JPEG`]: red,
};
/** Of the original archive, and not to be read: its labels are unknown. */
const UNLABELLED: Files = { [`${TOP}test/images/test_0.JPEG`]: red };
const SHARDS = {
  'train-0.tar.gz': train('n01', red, grey),
  'train-1.tar.gz': { ...train('n02', green), ...train('n03', green) },
  'val.tar.gz': { ...HEAD, ...VAL },
};
const FILES: Files = {
  ...SHARDS['train-0.tar.gz'],
  ...SHARDS['train-1.tar.gz'],
  ...SHARDS['val.tar.gz'],
  ...UNLABELLED,
};

const shardsWith = async (shards: Readonly<Record<string, Files>>): Promise<string> => {
  const archives = Object.entries(shards).map(async ([name, files]) => [name, gzip(await tarOfFiles(files))] as const);
  return folderWith({ ...Object.fromEntries(await Promise.all(archives)), 'README.md': 'Tiny-ImageNet in shards.' });
};
const without = (files: Files, ...paths: string[]): Files =>
  Object.fromEntries(Object.entries(files).filter(([path]) => !paths.includes(path.slice(TOP.length))));

describe('Tiny-ImageNet', () => {
  it('is read from a folder, its parent, a tar and shards, to the same fingerprint', async () => {
    const folder = await folderWith(FILES);
    const data = await succeed(load({ path: folder, classes: 3 }));
    expect(data).toMatchObject({
      name: 'tiny-imagenet',
      image: { height: 64, width: 64, channels: 3 },
      classes: ['goldfish', 'crane, a bird', 'crane, a machine'],
      normalisation: { mean: [0.4802, 0.4481, 0.3975], std: [0.2302, 0.2265, 0.2262] },
      augmentation: { crop: 0, flip: true, rotate: 20 },
    });
    expect([...data.train.labels]).toEqual([0, 0, 1, 2]);
    expect([...data.test.labels]).toEqual([1, 0, 2]);
    const tar = `${freshPath()}.tar`;
    await writeFiles(root, { [tar.slice(root.length + 1)]: await tarOfFiles(FILES) });
    for (const path of [join(folder, TOP), tar, await shardsWith(SHARDS)]) {
      expect((await succeed(load({ path, classes: 3 }))).fingerprint).toBe(data.fingerprint);
    }
  });

  it('has its grey images in colour', async () => {
    const { train, test } = await succeed(load({ path: await folderWith(FILES), classes: 3 }));
    const pixel = ({ images }: typeof train, index: number) => [...images.slice(index * 64 * 64 * 3).slice(0, 3)];
    expect([pixel(train, 1), pixel(test, 1)]).toEqual([
      [90, 90, 90],
      [90, 90, 90],
    ]);
  });

  it('gives its first classes, in the order of the wnids', async () => {
    const data = await succeed(load({ path: await shardsWith(SHARDS), classes: 2 }));
    expect(data.classes).toEqual(['goldfish', 'crane, a bird']);
    expect([[...data.train.labels], [...data.test.labels]]).toEqual([
      [0, 0, 1],
      [1, 0],
    ]);
    expect(() => load({ path: root, classes: 1 })).toThrow(/classes is 1\n +Give a whole number from 2 to 200/);
    expect((await fail(load({ path: await folderWith(FILES) }))).what).toBe('it has 3 classes, and 200 are asked for');
  });

  it('is known by its wnids where there are no words', async () => {
    const path = await folderWith(without(FILES, 'words.txt', 'wnids.txt'));
    expect((await succeed(load({ path, classes: 3 }))).classes).toEqual(['n01', 'n02', 'n03']);
  });

  it('is read from the cache the second time, until its constants are edited', async () => {
    const path = await shardsWith(SHARDS);
    const cache = join(root, 'cache');
    const first = await succeed(load({ path, classes: 3 }, { cache }));
    const again = { cache, onProgress: () => expect.fail('decoded again') };
    expect(await succeed(load({ path, classes: 3 }, again))).toEqual(first);
    expect(await afterEdit(tinyImageNet({ path, classes: 3 }), cache)).toEqual([0, 1]);
  });

  it('with a truncated shard is refused, and the shard named', async () => {
    const path = await shardsWith(SHARDS);
    const whole = gzip(await tarOfFiles(SHARDS['train-1.tar.gz']));
    await writeFiles(path, { 'train-1.tar.gz': whole.subarray(0, whole.length / 2) });
    expect(await fail(load({ path, classes: 3 }))).toMatchObject({
      kind: 'data',
      what: 'the gzip file is truncated',
      where: join(path, 'train-1.tar.gz'),
    });
  });

  const broken: readonly (readonly [string, Files, string])[] = [
    [
      'no training images of a class',
      without(FILES, 'train/n02/images/n02_0.JPEG'),
      '1 of 3 classes have no training images: n02',
    ],
    ['no annotations', without(FILES, 'val/val_annotations.txt'), 'there is no val/val_annotations.txt in it'],
    [
      'an image missing',
      without(FILES, 'val/images/val_2.JPEG'),
      `1 image of val_annotations.txt missing: ${TOP}val/images/val_2.JPEG`,
    ],
    [
      'an unknown class',
      { ...FILES, [`${TOP}val/val_annotations.txt`]: 'val_0.JPEG\tn02\nval_1.JPEG\tn77\n' },
      'line 2 names n77, which is none of the classes',
    ],
    [
      'a line without a class',
      { ...FILES, [`${TOP}val/val_annotations.txt`]: 'val_0.JPEG\n' },
      'line 1 names no class',
    ],
    ['two sets', { ...FILES, 'other/val/val_annotations.txt': '' }, `there are several sets in it: other/, ${TOP}`],
  ];
  it.each(broken)('with %s is refused', async (_, files, what) => {
    expect(await fail(load({ path: await folderWith(files), classes: 3 }))).toMatchObject({ kind: 'data', what });
  });

  it('in other sizes is refused, and without a path as well', async () => {
    const small = Object.fromEntries(
      Object.entries(FILES).map(([path, content]) => [
        path,
        path.endsWith('.JPEG') ? jpegOf(32, 32, [1, 2, 3]) : content,
      ]),
    );
    expect((await fail(load({ path: await folderWith(small), classes: 3 }))).what).toBe(
      "its images are 32×32×3, and Tiny-ImageNet's are 64×64×3",
    );
    expect((await fail(load({}))).what).toBe('the path of the data is not given');
  });

  it('whose shards have a file twice is refused', async () => {
    const path = await shardsWith({ ...SHARDS, 'train-2.tar.gz': SHARDS['train-0.tar.gz'] });
    expect((await fail(load({ path, classes: 3 }))).what).toMatch(/train-0.tar.gz has .*n01_boxes.txt as well$/);
  });
});
