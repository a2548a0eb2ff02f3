import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { DatasetPlugin, LoadOptions } from '../../src/data/dataset.js';
import { imageFolder, planImageFolder } from '../../src/data/image-folder.js';
import { type Files, fail, gzip, jpegOf, pngOf, succeed, tarOfFiles, temporaryFolder, writeFiles } from './helpers.js';

const root = temporaryFolder();
let made = 0;
const folderWith = (files: Files) => writeFiles(join(root, `set${made++}`), files);
const tarWith = async (files: Files) => {
  const name = `set${made++}.tar.gz`;
  await writeFiles(root, { [name]: gzip(await tarOfFiles(files)) });
  return join(root, name);
};

const red = pngOf(4, 4, [255, 0, 0]);
const green = pngOf(4, 4, [0, 255, 0]);
const grey = pngOf(4, 4, [90, 90, 90], 0);
const FILES: Files = {
  'train/b-green/2.png': green,
  'train/b-green/10.png': pngOf(4, 4, [0, 200, 0]),
  'train/a-red/1.png': red,
  'test/a-red/1.png': red,
  'test/b-green/1.png': green,
};

const load = (plugin: DatasetPlugin, options: LoadOptions = {}) => plugin.load({ cache: false, ...options });
const refusal = (files: Files) => folderWith(files).then((path) => fail(load(imageFolder({ path }))));

describe('an image folder', () => {
  it('is read from a folder and from a tar.gz, to the same fingerprint', async () => {
    const data = await succeed(load(imageFolder({ path: await folderWith(FILES) })));
    expect(data.image).toEqual({ height: 4, width: 4, channels: 3 });
    expect(data.classes).toEqual(['a-red', 'b-green']);
    expect([...data.train.labels]).toEqual([0, 1, 1]);
    expect([0, 48, 96].map((at) => [...data.train.images.slice(at, at + 3)])).toEqual([
      [255, 0, 0],
      [0, 200, 0],
      [0, 255, 0],
    ]);
    expect(data.augmentation).toEqual({ crop: 0, flip: false });
    // Red is 255 in one of three images, green 0, 200 and 255.
    expect(data.normalisation).toEqual({ mean: [0.3333, 0.5948, 0], std: [0.4714, 0.4297, 1] });
    const reversed = Object.fromEntries(Object.entries(FILES).reverse());
    const packed = await succeed(load(imageFolder({ path: await tarWith(reversed) })));
    expect(packed.fingerprint).toBe(data.fingerprint);
  });

  it('may lie deeper, have val instead of test, and files deeper in a class', async () => {
    const path = await tarWith({
      './set/train/a/images/1.png': red,
      './set/train/b/1.JPEG': jpegOf(4, 4, [0, 255, 0]),
      './set/val/a/1.png': red,
      './set/val/b/1.jpg': jpegOf(4, 4, [0, 255, 0]),
    });
    const data = await succeed(load(imageFolder({ path })));
    expect([data.train.count, data.test.count]).toEqual([2, 2]);
  });

  it('without labels is any folder of images, at any depth', async () => {
    const path = await folderWith({
      'b.png': green,
      'deep/er/a.png': grey,
      'deep/c.jpg': jpegOf(4, 4, [0, 255, 0]),
      'x.txt': red,
    });
    const notes: string[] = [];
    const options: LoadOptions = { onNote: (note) => notes.push(note), cache: join(root, 'cache') };
    const data = await succeed(imageFolder({ path, unlabelled: true }).load(options));
    expect(data).toMatchObject({ classes: ['unlabelled'], train: { count: 3 }, test: { count: 0 } });
    expect(data.image).toEqual({ height: 4, width: 4, channels: 3 });
    expect(notes.join()).toContain('x.txt');
    const again = await succeed(
      imageFolder({ path, unlabelled: true }).load({ ...options, onProgress: () => expect.fail('decoded again') }),
    );
    expect(again.fingerprint).toBe(data.fingerprint);
    expect(await fail(load(imageFolder({ path: await folderWith({ 'x.txt': red }), unlabelled: true })))).toMatchObject(
      {
        what: 'there are no JPEG or PNG files in it',
      },
    );
  });

  it('takes given constants', async () => {
    const normalisation = { mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2] };
    const augmentation = { crop: 2, flip: true };
    const data = await succeed(load(imageFolder({ path: await folderWith(FILES), normalisation, augmentation })));
    expect(data).toMatchObject({ normalisation, augmentation });
    const wrong = { mean: [0.5], std: [0.2] };
    expect((await fail(load(imageFolder({ path: await folderWith(FILES), normalisation: wrong })))).what).toBe(
      'normalisation has 1 means and 1 stds for 3 channels',
    );
    const zero = { mean: [0, 0, 0], std: [1, 0, 1] };
    expect(() => imageFolder({ path: 'x', normalisation: zero })).toThrow(/normalisation: std: 1 is 0/);
    for (const mean of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => imageFolder({ path: 'x', normalisation: { mean: [mean], std: [1] } })).toThrow(
        `normalisation: mean: 0 is ${mean}\n  Give a number.`,
      );
    expect(() => imageFolder({ path: 'x', augmentation: { crop: -1, flip: false } })).toThrow(/crop is -1/);
    expect(() => imageFolder({ path: 'x', augmentation: { crop: 1, flop: true } as never })).toThrow(/flop is none of/);
  });

  it('stays grey when all are grey, and becomes coloured when one is', async () => {
    const greys = { 'train/a/1.png': grey, 'train/b/1.png': grey, 'test/a/1.png': grey, 'test/b/1.png': grey };
    const one = await succeed(load(imageFolder({ path: await folderWith(greys) })));
    expect(one.image.channels).toBe(1);
    expect([...one.train.images.slice()]).toEqual(new Array(32).fill(90));
    for (const where of ['train/a/1.png', 'train/b/1.png', 'test/b/1.png']) {
      const { image, train, test } = await succeed(
        load(imageFolder({ path: await folderWith({ ...greys, [where]: red }) })),
      );
      expect(image.channels).toBe(3);
      expect([train.images.length, test.images.length]).toEqual([96, 96]);
      const greyFirst = where === 'train/a/1.png' ? [255, 0, 0] : [90, 90, 90];
      expect([...train.images.slice(0, 3)]).toEqual(greyFirst);
      expect([...test.images.slice(0, 3)]).toEqual([90, 90, 90]);
    }
  });

  it('is resized when asked to', async () => {
    const files = { ...FILES, 'train/a-red/2.png': pngOf(7, 5, [255, 0, 0]) };
    const data = await succeed(load(imageFolder({ path: await folderWith(files), size: 3 })));
    expect(data.image).toEqual({ height: 3, width: 3, channels: 3 });
    expect([...data.train.images.slice(27, 30)]).toEqual([255, 0, 0]);
    expect(() => imageFolder({ path: 'x', size: 0 })).toThrow(/size is 0/);
  });

  it('tells of progress and of what was ignored', async () => {
    const notes: string[] = [];
    const progress: (readonly [number, number])[] = [];
    const path = await folderWith({ ...FILES, 'train/a-red/notes.txt': 'x', 'train/Thumbs.db': 'x', 'README.md': 'x' });
    await succeed(
      load(imageFolder({ path }), {
        onNote: (note) => notes.push(note),
        onProgress: (done, total) => progress.push([done, total]),
      }),
    );
    expect(notes).toEqual(['2 files that are no images were ignored: train/Thumbs.db, train/a-red/notes.txt']);
    expect(progress).toEqual([[5, 5]]);
  });

  it('with corrupt images is refused as a whole, with their count and the first names', async () => {
    const jpg = jpegOf(4, 4, [1, 2, 3]);
    const failure = await refusal({
      ...FILES,
      'train/a-red/bad1.jpg': jpg.subarray(0, jpg.length - 30),
      'train/a-red/bad2.png': red.subarray(0, 40),
      'test/a-red/bad3.jpg': '',
      'test/a-red/bad4.jpg': 'GIF89a',
      'test/a-red/good.jpg': jpg,
    });
    expect(failure.kind).toBe('data');
    expect(failure.what).toMatch(
      /^4 of 10 images cannot be decoded: test\/a-red\/bad3.jpg \(the file is empty\), test\/a-red\/bad4.jpg \(it is neither a JPEG nor a PNG\), train\/a-red\/bad1.jpg \(the JPEG is truncated\), train\/a-red\/bad2.png \(.+\)$/,
    );
    expect(failure.remedy).toBe('Get these files again, or remove them.');
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`train/a-red/x${10 + i}.png`, 'x']));
    expect((await refusal({ ...FILES, ...many })).what).toMatch(/^30 of 35 images cannot be decoded: .* and 25 more$/);
  });

  it('with images of several sizes is refused', async () => {
    const failure = await refusal({ ...FILES, 'train/b-green/odd.png': pngOf(5, 4, [0, 255, 0]) });
    expect(failure.what).toBe(
      'the images differ in height×width: 4×4 (5 images, such as test/a-red/1.png), 5×4 (1 image, such as train/b-green/odd.png)',
    );
    expect(failure.remedy).toContain('`size: N`');
  });

  const misplaced: readonly (readonly [string, Files, string])[] = [
    ['no train folder', { 'a/1.png': red }, 'there is no train folder in it'],
    ['no test folder', { 'train/a/1.png': red }, 'there is train/, but neither test/ nor val/ beside it'],
    [
      'an empty class',
      { ...FILES, 'train/c/': '', 'test/c/1.png': red },
      '1 class folder of train/ without an image: c',
    ],
    ['a class of other files', { ...FILES, 'train/c/a.txt': 'x' }, '1 class folder of train/ without an image: c'],
    ['an empty test class', { ...FILES, 'test/c/': '' }, '1 class folder of test/ without an image: c'],
    ['a class in train only', { ...FILES, 'train/c/1.png': red }, 'train/ has classes that test/ has not: c'],
    ['a class in test only', { ...FILES, 'test/c/1.png': red }, 'test/ has classes that train/ has not: c'],
    ['images beside the classes', { ...FILES, 'train/1.png': red }, 'train/1.png lies in no class folder'],
    ['an empty train folder', { 'train/': '', 'test/': '' }, 'train/ has no class folders'],
    [
      'two data sets',
      { 'x/train/a/1.png': red, 'y/train/a/1.png': red },
      'there are several train folders: x/train, y/train',
    ],
    ['one class', { 'train/a/1.png': red, 'test/a/1.png': red }, 'a data set needs at least two classes'],
    [
      'images of another format',
      { ...FILES, 'train/a-red/1.webp': 'x' },
      'train/a-red/1.webp is an image of a format that is not read',
    ],
  ];
  it.each(misplaced)('with %s is refused', async (_, files, what) => {
    const failure = await refusal(files);
    expect(failure).toMatchObject({ kind: 'data', what });
    expect(failure.where).toContain(root);
  });

  it('with more than 256 classes has labels of 16 bits', () => {
    const entries = Array.from({ length: 300 }, (_, i) =>
      ['train', 'test'].map((part) => ({ path: `${part}/c${1000 + i}/1.png`, kind: 'file' as const, size: 1 })),
    ).flat();
    const plan = planImageFolder(entries, 'x');
    expect(plan?.classes.length).toBe(300);
    expect(plan?.train[299]).toEqual({ path: 'train/c1299/1.png', label: 299 });
  });

  it('with more than 256 classes is read and cached', async () => {
    const files = Object.fromEntries(
      Array.from({ length: 260 }, (_, i) =>
        ['train', 'test'].map((part) => [`${part}/c${1000 + i}/1.png`, grey]),
      ).flat(),
    );
    const path = await folderWith(files);
    const cache = join(root, 'cache');
    const first = await succeed(imageFolder({ path }).load({ cache }));
    const second = await succeed(imageFolder({ path }).load({ cache, onProgress: () => expect.fail('decoded again') }));
    expect(first.train.labels).toBeInstanceOf(Uint16Array);
    expect(second).toEqual(first);
    expect(second.train.labels[259]).toBe(259);
  });
});
