import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { isFailure, toFailure } from '../src/core/errors.js';
import { decodeSafetensors, encodeSafetensors } from '../src/core/safetensors.js';
import type { Dataset, DatasetPlugin } from '../src/data/dataset.js';
import { cifar10, imageFolder, mnist, parquet, svhn, tinyImageNet } from '../src/index.js';
import { type Files, gzip, idxFiles, jpegOf, pngOf, tarOf, tarOfFiles, writeFiles, zipOf } from '../test/data/files.js';
import { digits } from '../test/data/mat-files.js';
import { type Case, Defect, type Kind, must, type Random } from './case.js';

/** Data of somebody's: some files, and what reads them. */
interface Source {
  readonly name: string;
  readonly files: () => Promise<Files> | Files;
  readonly plugin: (path: string) => DatasetPlugin;
  /** Whether the format itself has checksums, so that no bit of an image can turn over unseen. */
  readonly isSummed: boolean;
}

const colours = { a: [255, 0, 0], b: [0, 255, 0] } as const;
const images: Files = Object.fromEntries(
  (['train', 'test'] as const).flatMap((part) =>
    (['a', 'b'] as const).flatMap((name) =>
      [0, 1].map((i) => [
        `${part}/${name}/${i}.png`,
        pngOf(4, 4, (y, x) => [colours[name][0], colours[name][1], 16 * y + x + i]),
      ]),
    ),
  ),
);
const jpegs: Files = Object.fromEntries(
  Object.keys(images).map((name) => [name.replace('.png', '.jpg'), jpegOf(8, 8, (y, x) => [20 * y, 20 * x, 9])]),
);

const cifarBatch = (): Buffer =>
  Buffer.concat(Array.from({ length: 10 }, (_, label) => Buffer.from([label, ...Array(3072).fill(20 * label)])));
const cifarClasses = 'airplane automobile bird cat deer dog frog horse ship truck'.split(' ').join('\n');

const tiny: Files = Object.fromEntries(
  ['n1', 'n2']
    .flatMap((wnid, i): [string, string | Buffer][] => [
      [`tiny-imagenet-200/train/${wnid}/images/${wnid}_0.JPEG`, jpegOf(64, 64, [200 * i, 10, 10])],
      [`tiny-imagenet-200/val/images/val_${i}.JPEG`, jpegOf(64, 64, [200 * i, 10, 10])],
    ])
    .concat([
      ['tiny-imagenet-200/wnids.txt', 'n1\nn2\n'],
      ['tiny-imagenet-200/words.txt', 'n1\tone\nn2\ttwo\n'],
      ['tiny-imagenet-200/val/val_annotations.txt', 'val_0.JPEG\tn1\t0\t0\t1\t1\nval_1.JPEG\tn2\t0\t0\t1\t1\n'],
    ]),
);

const sources: readonly Source[] = [
  { name: 'idx', files: () => idxFiles(), plugin: (path) => mnist({ path, size: 28 }), isSummed: false },
  {
    name: 'idx in gzip',
    files: () => idxFiles(20, 10, '.gz'),
    plugin: (path) => mnist({ path, size: 28 }),
    isSummed: true,
  },
  {
    name: "CIFAR's binary version",
    files: () => ({
      ...Object.fromEntries([1, 2, 3, 4, 5].map((i) => [`data_batch_${i}.bin`, cifarBatch()])),
      'test_batch.bin': cifarBatch(),
      'batches.meta.txt': cifarClasses,
    }),
    plugin: (path) => cifar10({ path }),
    isSummed: false,
  },
  { name: 'folder of PNG', files: () => images, plugin: (path) => imageFolder({ path }), isSummed: true },
  { name: 'folder of JPEG', files: () => jpegs, plugin: (path) => imageFolder({ path }), isSummed: false },
  {
    name: 'tar',
    files: async () => ({ 'a.tar': await tarOfFiles(images) }),
    plugin: (path) => imageFolder({ path: join(path, 'a.tar') }),
    isSummed: false,
  },
  {
    name: 'tar.gz',
    files: async () => ({ 'a.tar.gz': gzip(await tarOfFiles(images)) }),
    plugin: (path) => imageFolder({ path: join(path, 'a.tar.gz') }),
    isSummed: true,
  },
  {
    name: 'zip',
    files: async () => ({ 'a.zip': await zipOf(images) }),
    plugin: (path) => imageFolder({ path: join(path, 'a.zip') }),
    isSummed: true,
  },
  {
    name: 'Parquet',
    files: async () => {
      const [first] = Object.values(
        JSON.parse(await readFile(new URL('../test/data/parquet.json', import.meta.url), 'utf8')),
      );
      const bytes = Buffer.from(String(first), 'base64');
      return { 'train-0.parquet': bytes, 'test-0.parquet': bytes };
    },
    plugin: (path) => parquet({ path }),
    isSummed: false,
  },
  {
    name: 'MATLAB',
    files: () => ({
      'train_32x32.mat': digits([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
      'test_32x32.mat': digits([0, 1, 2, 3]),
    }),
    plugin: (path) => svhn({ path }),
    isSummed: false,
  },
  { name: 'Tiny-ImageNet', files: () => tiny, plugin: (path) => tinyImageNet({ path, classes: 2 }), isSummed: false },
];

/** A set as it was read, or why it was not; another error is a defect. */
const read = async (plugin: DatasetPlugin, cache: string | false = false): Promise<Dataset | undefined> => {
  try {
    const result = await plugin.load({ cache })();
    if (E.isRight(result)) return result.right;
    const { what, where } = result.left;
    must('silent', `${where}${what}`.length > 8, () => `it says no more than ${where}: ${what}`);
    return undefined;
  } catch (error) {
    if (isFailure(toFailure('data')(error)) && (error as Error)?.name === 'FailureError') return undefined;
    throw new Defect('aborted', `${(error as Error)?.stack ?? error}`);
  }
};

type Damage = readonly [name: string, act: (bytes: Buffer, random: Random) => Buffer];

/** Damage after which less is there than before. */
const cut: Damage = ['cut off', (bytes, random) => bytes.subarray(0, random.below(bytes.length))];
const flipped: Damage = [
  'a bit turned over',
  (bytes, random) => {
    const own = Buffer.from(bytes);
    const at = random.below(own.length);
    own[at] = (own[at] as number) ^ (1 << random.below(8));
    return own;
  },
];
/** So many bytes somewhere replaced by another, as many times. */
const filled = (bytes: Buffer, by: number, count: number, random: Random): Buffer => {
  const from = random.below(bytes.length);
  return Buffer.from(bytes).fill(by, from, Math.min(bytes.length, from + count));
};
const damages: readonly Damage[] = [
  cut,
  flipped,
  [
    'some bytes at random',
    (bytes, random) => Buffer.from(bytes.map((byte) => (random.below(20) === 0 ? random.below(256) : byte))),
  ],
  ['huge numbers', (bytes, random) => filled(bytes, random.of([0xff, 0x7f]), random.of([1, 2, 4, 8]), random)],
  ['zeros', (bytes, random) => filled(bytes, 0, 1 + random.below(64), random)],
  [
    'a part twice',
    (bytes, random) => {
      const at = random.below(bytes.length);
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(random.below(at + 1))]);
    },
  ],
  [
    'something else',
    (_, random) =>
      Buffer.from(
        random.of([
          '',
          '{}',
          '<html>404</html>',
          '\0'.repeat(5000),
          'PK\u0003\u0004',
          '\u001f\u008b\u0008',
          'PAR1PAR1',
        ]),
      ),
  ],
];

/** How many times a file of a source is damaged in each way. */
const times = 12;

const damaged = (source: Source, [how, act]: Damage): Case => ({
  name: `${source.name}: ${how}`,
  attempt: async (random) => {
    const files = Object.entries(await source.files()).map(([name, content]) => [name, Buffer.from(content)] as const);
    const folder = join(process.cwd(), 'data');
    await writeFiles(folder, Object.fromEntries(files));
    const whole = await read(source.plugin(folder));
    if (whole === undefined) throw new Error(`${source.name} is not read where it is whole: mend the campaign`);
    for (let i = 0; i < times; i++) {
      const [name, bytes] = random.of(files);
      await writeFile(join(folder, name), act(bytes, random));
      const found = await read(source.plugin(folder));
      const isOther = found !== undefined && found.fingerprint !== whole.fingerprint;
      const isSeen = how === cut[0] ? !/\.txt$|\.jpe?g$/i.test(name) : source.isSummed && how === flipped[0];
      must('silent', !isOther || !isSeen, () => `${name}, ${how}, was read as other images`);
      await writeFile(join(folder, name), bytes);
    }
    return times;
  },
});

/** What leads out of an archive, or is no file. */
const hostileNames = [
  '../out.png',
  '/tmp/out.png',
  'train/../../out.png',
  'train/a/\0.png',
  'C:\\out.png',
  'train\\..\\..\\out.png',
  'train/a/./../../../out.png',
];

/** A tar header that says another size: 12 octal digits, and the sum of all bytes, its own taken as spaces. */
const withSize = (header: Uint8Array, size: number): Buffer => {
  const changed = Buffer.from(header);
  changed.write(`${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  changed.fill(' ', 148, 156);
  const sum = changed.reduce((all, byte) => all + byte, 0);
  changed.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return changed;
};

const archives: readonly Case[] = [
  ...hostileNames.map((name) => ({
    name: `tar with ${JSON.stringify(name)}`,
    attempt: async () => {
      const folder = join(process.cwd(), 'in', 'deep');
      await mkdir(folder, { recursive: true });
      const path = join(folder, 'a.tar');
      const whole = Object.entries(images).map(([each, content]) => ({ name: each, content }));
      await writeFile(
        path,
        await tarOf([...whole, { name, content: images['train/a/0.png'] as Uint8Array }]).catch(() => tarOf(whole)),
      );
      await read(imageFolder({ path }));
      for (const each of [process.cwd(), join(process.cwd(), 'in'), folder, '/tmp'])
        must('silent', !(await readdir(each)).includes('out.png'), () => `${name} was written to ${each}`);
    },
  })),
  ...(['symlink', 'link', 'fifo', 'character-device', 'block-device'] as const).map((type) => ({
    name: `tar with a ${type}`,
    attempt: async () => {
      const path = join(process.cwd(), 'a.tar');
      const whole = Object.entries(images).map(([name, content]) => ({ name, content }));
      await writeFile(path, await tarOf([...whole, { name: 'train/a/x.png', type, linkname: '/etc/passwd' }]));
      await read(imageFolder({ path }));
    },
  })),
  {
    name: 'an archive that unpacks to gigabytes',
    attempt: async () => {
      const path = join(process.cwd(), 'a.tar.gz');
      const [part, parts] = [2 ** 26, 32];
      const header = withSize((await tarOf([{ name: 'train/a/0.png', content: '' }])).subarray(0, 512), part * parts);
      const zeros = gzip(Buffer.alloc(part));
      await writeFile(path, Buffer.concat([gzip(header), ...Array<Uint8Array>(parts).fill(zeros)]));
      const before = process.resourceUsage().maxRSS;
      const found = await read(imageFolder({ path }));
      must('silent', found === undefined, () => 'zeros were read as an image');
      const taken = (process.resourceUsage().maxRSS - before) / 1024;
      must('silent', taken < 1024, () => `it took ${Math.round(taken)} MB of memory`);
    },
  },
];

/** The set in the cache, with a bit of it turned over, is made again, and never another one. */
const cached: Case = {
  name: 'packed data in the cache: a bit turned over',
  attempt: async (random) => {
    const [folder, cache] = [join(process.cwd(), 'data'), join(process.cwd(), 'cache')];
    await writeFiles(folder, images);
    const plugin = imageFolder({ path: folder });
    const whole = await read(plugin, cache);
    for (let i = 0; i < 5 * times; i++) {
      const [name = ''] = await readdir(cache);
      const path = join(cache, name);
      await writeFile(path, flipped[1](await readFile(path), random));
      const found = await read(plugin, cache);
      const isSame = (part: 'train' | 'test') =>
        found !== undefined &&
        whole !== undefined &&
        Buffer.from(found[part].images.slice(0)).equals(Buffer.from(whole[part].images.slice(0)));
      must(
        'silent',
        found?.fingerprint === whole?.fingerprint && isSame('train') && isSame('test'),
        () => `another set was read from ${name}`,
      );
    }
    await rm(cache, { recursive: true });
    return 5 * times;
  },
};

const tensors: readonly Case[] = damages.map(([how, act]) => ({
  name: `safetensors: ${how}`,
  attempt: async (random) => {
    const whole = Buffer.from(
      encodeSafetensors(
        {
          'b.weight': { shape: [2, 3], data: Float32Array.from([1, 2, 3, 4, 5, 6]) },
          a: { shape: [2], data: Int32Array.of(1, 2) },
        },
        { format: 'pt' },
      ),
    );
    for (let i = 0; i < 50 * times; i++) {
      const bytes = act(whole, random);
      const result = decodeSafetensors(bytes);
      must('silent', how !== cut[0] || E.isLeft(result), () => `a file cut off after ${bytes.length} bytes was read`);
    }
    return 50 * times;
  },
}));

/** Data, archives and weights of somebody who means no good, or of a disk that is failing. */
export const data: Kind = {
  name: 'data',
  about: 'hostile and damaged data sets, archives and safetensors: read as they were, or refused in words',
  limit: 180,
  takes: 5,
  cases: () => [
    ...sources.flatMap((source) => damages.map((damage) => damaged(source, damage))),
    ...archives,
    cached,
    ...tensors,
  ],
};
