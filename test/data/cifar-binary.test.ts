import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CIFAR10_CLASSES, CIFAR100_CLASSES, cifar10, cifar100 } from '../../src/data/cifar-binary.js';
import type { Dataset } from '../../src/data/dataset.js';
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
const folderWith = (files: Files) => writeFiles(join(root, `set${made++}`), files);
const tarWith = async (files: Files) => {
  const name = `set${made++}.tar.gz`;
  await writeFiles(root, { [name]: gzip(await tarOfFiles(files)) });
  return join(root, name);
};
const load = (path: string) => cifar10({ path }).load({ cache: false });

const colourOf = (label: number, y: number, x: number) => [label * 20, y * 8, x * 8] as const;

/** A label and the planes of `colourOf`. */
const record = (label: number): Buffer => {
  const bytes = Buffer.alloc(3073);
  bytes[0] = label;
  for (let i = 0; i < 1024; i++) {
    colourOf(label, i >> 5, i & 31).forEach((value, c) => {
      bytes[1 + c * 1024 + i] = value;
    });
  }
  return bytes;
};

const batch = (...labels: number[]) => Buffer.concat(labels.map(record));
const binary = (folder = ''): Record<string, Uint8Array | string> => ({
  [`${folder}batches.meta.txt`]: `${CIFAR10_CLASSES.join('\n')}\n\n`,
  [`${folder}data_batch_1.bin`]: batch(0, 1),
  [`${folder}data_batch_2.bin`]: batch(2, 3),
  [`${folder}data_batch_3.bin`]: batch(4, 5),
  [`${folder}data_batch_4.bin`]: batch(6, 7),
  [`${folder}data_batch_5.bin`]: batch(8, 9),
  [`${folder}test_batch.bin`]: batch(3, 0, 7),
  [`${folder}readme.html`]: '<html>',
});

const images = (encode: (label: number) => Buffer, suffix: string): Record<string, Uint8Array> =>
  Object.fromEntries(
    CIFAR10_CLASSES.flatMap((name, label) => [
      [`train/${name}/0000.${suffix}`, encode(label)],
      [`test/${name}/0000.${suffix}`, encode(label)],
    ]),
  );
const asPng = (label: number) => pngOf(32, 32, (y, x) => colourOf(label, y, x));

const checkTrain = ({ train, image, classes, normalisation, augmentation }: Dataset) => {
  expect(image).toEqual({ height: 32, width: 32, channels: 3 });
  expect(classes).toEqual(CIFAR10_CLASSES);
  expect(normalisation).toEqual({ mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.243, 0.261] });
  expect(augmentation).toEqual({ crop: 4, flip: true });
  expect([...train.labels]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  for (const label of [0, 4, 9]) {
    const at = (label * 1024 + 5 * 32 + 17) * 3;
    expect([...train.images.slice(at, at + 3)]).toEqual(colourOf(label, 5, 17));
  }
};

describe('CIFAR-10, binary version', () => {
  it('is read from a folder, a folder inside it, and a tar.gz in any order, to the same fingerprint', async () => {
    const data = await succeed(load(await folderWith(binary())));
    checkTrain(data);
    expect([...data.test.labels]).toEqual([3, 0, 7]);
    const inside = await succeed(load(await folderWith(binary('cifar-10-batches-bin/'))));
    const packed = await succeed(
      load(await tarWith(Object.fromEntries(Object.entries(binary('cifar-10-batches-bin/')).reverse()))),
    );
    expect([inside.fingerprint, packed.fingerprint]).toEqual([data.fingerprint, data.fingerprint]);
  });

  it('in the cache follows an edit of its constants', async () => {
    const path = await folderWith(binary());
    expect(await afterEdit(cifar10({ path }), join(root, 'cache'))).toEqual([4, 5]);
  });

  it('is read without batches.meta.txt', async () => {
    const { 'batches.meta.txt': _, ...files } = binary();
    checkTrain(await succeed(load(await folderWith(files))));
  });

  it('lacks files', async () => {
    const { 'data_batch_3.bin': _, 'test_batch.bin': __, ...files } = binary();
    const path = await folderWith(files);
    const failure = await fail(load(path));
    expect(failure).toMatchObject({
      kind: 'data',
      what: '2 files of the binary version missing: data_batch_3.bin, test_batch.bin',
      where: path,
    });
  });

  it('is truncated, empty or has wrong labels', async () => {
    const cut = await folderWith({ ...binary(), 'data_batch_2.bin': batch(1, 2).subarray(0, 6000) });
    expect(await fail(load(cut))).toMatchObject({
      what: 'its 6,000 bytes are no whole number of images (3,073 bytes each): it is truncated',
      where: `${cut}: data_batch_2.bin`,
    });
    const empty = await folderWith({ ...binary(), 'test_batch.bin': '' });
    expect(await fail(load(empty))).toMatchObject({ what: 'the file is empty', where: `${empty}: test_batch.bin` });
    const wrong = await tarWith({ ...binary(), 'data_batch_4.bin': batch(1, 10) });
    expect(await fail(load(wrong))).toMatchObject({
      what: 'label 10 of image 1 is out of range 0 to 9',
      where: `${wrong}: data_batch_4.bin`,
    });
    const lacking = await folderWith({ ...binary(), 'data_batch_4.bin': batch(1, 1) });
    expect((await fail(load(lacking))).what).toBe('2 of 10 classes have no training image: frog, horse');
    const meta = await folderWith({ ...binary(), 'batches.meta.txt': 'apple\npear\n' });
    expect((await fail(load(meta))).what).toBe('its classes are not those of CIFAR-10: apple, pear');
  });
});

describe('CIFAR-10, image folder', () => {
  it('is read exactly from PNG, with the labels of the standard order', async () => {
    checkTrain(await succeed(load(await folderWith(images(asPng, 'png')))));
    checkTrain(await succeed(load(await tarWith(images(asPng, 'png')))));
  });

  it('is read from JPEG', async () => {
    const [dark, light] = [jpegOf(32, 32, [20, 50, 90]), jpegOf(32, 32, [180, 50, 90])] as const;
    const data = await succeed(load(await tarWith(images((label) => (label === 9 ? light : dark), 'jpg'))));
    expect([...data.test.labels]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(Math.abs((data.train.images.slice()[0] as number) - 20)).toBeLessThanOrEqual(3);
    expect(Math.abs((data.train.images.slice()[9 * 3072] as number) - 180)).toBeLessThanOrEqual(3);
  });

  it('of other classes or another size is refused', async () => {
    const other = await folderWith({
      'train/a/1.png': asPng(0),
      'train/b/1.png': asPng(0),
      'test/a/1.png': asPng(0),
      'test/b/1.png': asPng(0),
    });
    expect(await fail(load(other))).toMatchObject({
      what: 'its 2 classes are not those of CIFAR-10: a, b',
      where: other,
      remedy: 'Read another data set with `imageFolder({ path })`.',
    });
    const small = await folderWith(images(() => pngOf(16, 16, [1, 2, 3]), 'png'));
    expect((await fail(load(small))).what).toBe("its images are 16×16×3, and CIFAR-10's are 32×32×3");
  });
});

describe('CIFAR-10 that is not there', () => {
  it('tells how to bring it', async () => {
    const failure = await fail(cifar10().load({ cache: false }));
    expect(failure).toMatchObject({ kind: 'data', what: 'the path of the data is not given', where: 'cifar10()' });
    expect(failure.remedy).toContain('`--data PATH`');
    expect(failure.remedy).toContain('data_batch_1.bin');
    expect(failure.remedy).toContain('train/<class>/');
    checkTrain(
      await succeed(
        cifar10()
          .from?.(await folderWith(binary()))
          .load({ cache: false }) ?? expect.fail(),
      ),
    );
  });

  it('tells the Python version and other things apart', async () => {
    const python = await fail(load(await folderWith({ 'cifar-10-batches-py/data_batch_1': 'x' })));
    expect(python.what).toBe('this is the Python version of CIFAR-10 (pickled)');
    expect((await fail(load(await folderWith({ 'a.txt': 'x' })))).what).toBe('CIFAR-10 was not found in it');
    const missing = join(root, 'nowhere.tar.gz');
    expect(await fail(load(missing))).toMatchObject({ what: 'there is no such file or folder', where: missing });
  });
});

describe('CIFAR-100', () => {
  const load100 = (path?: string) => cifar100({ path }).load({ cache: false });
  /** A coarse label that is not used, the fine one, and planes as in CIFAR-10. */
  const record100 = (label: number): Buffer =>
    Buffer.concat([Buffer.of(label % 20, label), record(label % 10).subarray(1)]);
  const labels = [...CIFAR100_CLASSES.keys()];
  const FILES: Files = {
    'cifar-100-binary/train.bin': Buffer.concat([...labels].reverse().map(record100)),
    'cifar-100-binary/test.bin': Buffer.concat([7, 99, 0].map(record100)),
    'cifar-100-binary/fine_label_names.txt': `${CIFAR100_CLASSES.join('\n')}\n`,
    'cifar-100-binary/coarse_label_names.txt': 'aquatic_mammals\nfish\n',
  };

  it('has a hundred classes in alphabetical order', () => {
    expect(CIFAR100_CLASSES.length).toBe(100);
    expect([...new Set(CIFAR100_CLASSES)].sort()).toEqual(CIFAR100_CLASSES);
  });

  it('is read with its fine labels from a folder, the folder around it and a tar.gz, to the same fingerprint', async () => {
    const folder = await folderWith(FILES);
    const data = await succeed(load100(folder));
    expect(data).toMatchObject({ name: 'cifar100', classes: CIFAR100_CLASSES, augmentation: { crop: 4, flip: true } });
    expect([...data.train.labels]).toEqual([...labels].reverse());
    expect([...data.test.labels]).toEqual([7, 99, 0]);
    const at = (1024 + 5 * 32 + 17) * 3;
    expect([...data.train.images.slice(at, at + 3)]).toEqual(colourOf(98 % 10, 5, 17));
    for (const path of [join(folder, 'cifar-100-binary'), await tarWith(FILES)]) {
      expect((await succeed(load100(path))).fingerprint).toBe(data.fingerprint);
    }
  });

  it('that is truncated, damaged, incomplete or something else is refused', async () => {
    const changed = (files: Files) => folderWith({ ...FILES, ...files });
    const cut = await changed({ 'cifar-100-binary/train.bin': record100(3).subarray(1) });
    expect(await fail(load100(cut))).toMatchObject({
      kind: 'data',
      what: 'its 3,073 bytes are no whole number of images (3,074 bytes each): it is truncated',
      where: `${cut}: cifar-100-binary/train.bin`,
    });
    const wrong = await changed({ 'cifar-100-binary/test.bin': record100(100) });
    expect((await fail(load100(wrong))).what).toBe('label 100 of image 0 is out of range 0 to 99');
    const few = await changed({ 'cifar-100-binary/train.bin': Buffer.concat([5, 6].map(record100)) });
    expect((await fail(load100(few))).what).toMatch(/^98 of 100 classes have no training image: apple, /);
    const names = await changed({ 'cifar-100-binary/fine_label_names.txt': 'apple\npear\n' });
    expect((await fail(load100(names))).what).toBe('its classes are not those of CIFAR-100: apple, pear');
    const half = await folderWith({ 'train.bin': record100(0) });
    expect((await fail(load100(half))).what).toBe('1 file of the binary version missing: test.bin');
    const pickled = await folderWith({ 'cifar-100-python/train': 'x', 'cifar-100-python/test': 'x' });
    expect((await fail(load100(pickled))).what).toBe('this is the Python version of CIFAR-100 (pickled)');
    expect((await fail(load100(await folderWith(binary())))).what).toBe('CIFAR-100 was not found in it');
    expect(await fail(load100())).toMatchObject({ what: 'the path of the data is not given', where: 'cifar100()' });
  });
});
