import { attempt } from '../core/errors.js';
import { type Entry, openSource, type Source } from './archive.js';
import { type Decoded, plural, refuse } from './assemble.js';
import { cached } from './cache.js';
import type { DatasetPlugin, Examples, LoadOptions } from './dataset.js';
import { decodeImages } from './decode.js';
import { noteIgnored, planImageFolder } from './image-folder.js';

/** In the order of the labels, which is alphabetical. */
export const CIFAR10_CLASSES = [
  'airplane',
  'automobile',
  'bird',
  'cat',
  'deer',
  'dog',
  'frog',
  'horse',
  'ship',
  'truck',
] as const;

/** As released with the Nasty Teacher (`data_loader.py`): mean and std of the normalisation, crop from 4 pixels of padding, flip. */
const CIFAR10_CONSTANTS = {
  normalisation: { mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.243, 0.261] },
  augmentation: { crop: 4, flip: true },
} as const;

const SIDE = 32;
const PLANE = SIDE * SIDE;
/** A label and three planes: red, green, blue. */
const RECORD = 1 + 3 * PLANE;

const TRAIN_FILES = [1, 2, 3, 4, 5].map((n) => `data_batch_${n}.bin`);
const TEST_FILE = 'test_batch.bin';
const META_FILE = 'batches.meta.txt';

const FORMATS =
  'Accepted, each as a folder, a tar or a tar.gz: the binary version of CIFAR-10 (data_batch_1.bin … data_batch_5.bin, test_batch.bin), or its images as JPEG or PNG in train/<class>/ and test/<class>/.';

/** Records of the binary version as images with interleaved channels. `at` is where the first one goes. */
export const readCifarRecords = (bytes: Uint8Array, into: Examples, at: number, where: string): void => {
  const count = bytes.length / RECORD;
  for (let n = 0; n < count; n++) {
    const label = bytes[n * RECORD] as number;
    if (label >= CIFAR10_CLASSES.length) {
      refuse(
        `label ${label} of image ${n} is out of range 0 to 9`,
        where,
        'Get the file again: it is damaged, or not of CIFAR-10.',
      );
    }
    into.labels[at + n] = label;
    const read = n * RECORD + 1;
    const write = (at + n) * 3 * PLANE;
    for (let i = 0; i < PLANE; i++) {
      for (let c = 0; c < 3; c++) into.images[write + 3 * i + c] = bytes[read + c * PLANE + i] as number;
    }
  }
};

/** The folder of the batches inside the source (a prefix ending in `/`, or empty); `undefined` when there are none. */
const binaryRoot = (entries: readonly Entry[]): string | undefined =>
  entries
    .filter(({ path, kind }) => kind === 'file' && /(^|\/)(data_batch_[1-5]|test_batch)\.bin$/.test(path))
    .map(({ path }) => path.slice(0, path.lastIndexOf('/') + 1))
    .sort((a, b) => a.length - b.length)[0];

const recordCounts = (entries: readonly Entry[], root: string, where: string): ReadonlyMap<string, number> => {
  const sizes = new Map(entries.map(({ path, size }) => [path, size]));
  const files = [...TRAIN_FILES, TEST_FILE];
  const missing = files.filter((name) => !sizes.has(root + name));
  if (missing.length > 0) {
    refuse(`${plural(missing.length, 'file')} of the binary version missing: ${missing.join(', ')}`, where, FORMATS);
  }
  return new Map(
    files.map((name) => {
      const size = sizes.get(root + name) as number;
      if (size === 0) refuse('the file is empty', `${where}: ${root}${name}`, 'Get the file again.');
      if (size % RECORD !== 0) {
        refuse(
          `its ${plural(size, 'byte')} are no whole number of images (${RECORD.toLocaleString('en')} bytes each): it is truncated`,
          `${where}: ${root}${name}`,
          'Get the file again.',
        );
      }
      return [root + name, size / RECORD];
    }),
  );
};

const checkMeta = (bytes: Uint8Array, where: string): void => {
  const names = Buffer.from(bytes).toString('utf8').split(/\s+/).filter(Boolean);
  if (names.join() !== CIFAR10_CLASSES.join()) {
    refuse(`its classes are not those of CIFAR-10: ${names.slice(0, 12).join(', ')}`, where, FORMATS);
  }
};

const decodeBinary = async (source: Source, entries: readonly Entry[], root: string): Promise<Decoded> => {
  const counts = recordCounts(entries, root, source.path);
  const empty = (count: number): Examples => ({
    images: new Uint8Array(count * 3 * PLANE),
    labels: new Uint8Array(count),
    count,
  });
  const testPath = root + TEST_FILE;
  const test = empty(counts.get(testPath) as number);
  // Training images are numbered through the batches in their order, in whatever order an archive has them.
  const starts = new Map<string, number>([[testPath, 0]]);
  let total = 0;
  for (const path of TRAIN_FILES.map((name) => root + name)) {
    starts.set(path, total);
    total += counts.get(path) as number;
  }
  const train = empty(total);
  const meta = entries.filter(({ path }) => path === root + META_FILE).map(({ path }) => path);
  for await (const { path, bytes } of source.read(new Set([...starts.keys(), ...meta]))) {
    const where = `${source.path}: ${path}`;
    if (meta.includes(path)) {
      checkMeta(bytes, where);
    } else {
      if (bytes.length !== (counts.get(path) as number) * RECORD)
        refuse('the file changed while it was read', where, 'Load it again.');
      readCifarRecords(bytes, path === testPath ? test : train, starts.get(path) as number, where);
    }
  }
  return {
    image: { height: SIDE, width: SIDE, channels: 3 },
    classes: CIFAR10_CLASSES,
    ...CIFAR10_CONSTANTS,
    train,
    test,
  };
};

const decodeFolder = async (
  source: Source,
  entries: readonly Entry[],
  options: LoadOptions,
): Promise<Decoded | undefined> => {
  const plan = planImageFolder(entries, source.path);
  if (plan === undefined) return undefined;
  if (plan.classes.join() !== CIFAR10_CLASSES.join()) {
    refuse(
      `its ${plan.classes.length} classes are not those of CIFAR-10: ${plan.classes.slice(0, 12).join(', ')}`,
      source.path,
      'Read another data set with `imageFolder({ path })`.',
    );
  }
  noteIgnored(plan, options);
  const { image, train, test } = await decodeImages(source, plan, undefined, options);
  if (image.height !== SIDE || image.width !== SIDE || image.channels !== 3) {
    refuse(
      `its images are ${image.height}×${image.width}×${image.channels}, and CIFAR-10's are 32×32×3`,
      source.path,
      'Read another data set with `imageFolder({ path })`.',
    );
  }
  return { image, classes: plan.classes, ...CIFAR10_CONSTANTS, train, test };
};

const decode = async (source: Source, options: LoadOptions): Promise<Decoded> => {
  const entries = await source.list();
  const root = binaryRoot(entries);
  if (root !== undefined) return decodeBinary(source, entries, root);
  if (entries.some(({ path }) => /(^|\/)data_batch_1$/.test(path))) {
    refuse(
      'this is the Python version of CIFAR-10 (pickled)',
      source.path,
      `Get the binary version instead. ${FORMATS}`,
    );
  }
  const decoded = await decodeFolder(source, entries, options);
  return decoded ?? refuse('CIFAR-10 was not found in it', source.path, FORMATS);
};

export interface Cifar10Options {
  /** Folder, tar or tar.gz; a relative path starts at the working folder. May be left to `--data PATH`. */
  readonly path?: string | undefined;
}

/**
 * CIFAR-10: 50,000 training and 10,000 test images, 32×32 RGB, 10 classes. Read from the binary version or from an image
 * folder, told apart by content. Results on images that were stored as JPEG are not comparable digit by digit with
 * published ones: their pixels, and so their fingerprint, differ.
 *
 * Normalisation (0.4914, 0.4822, 0.4465) / (0.247, 0.243, 0.261) and augmentation (random crop from 4 pixels of zero
 * padding, flip) as released with the Nasty Teacher.
 */
export const cifar10 = ({ path }: Cifar10Options = {}): DatasetPlugin => ({
  name: 'cifar10',
  params: {},
  from: (other) => cifar10({ path: other }),
  load: (options: LoadOptions = {}) =>
    attempt('data', async () => {
      if (path === undefined || path === '') {
        return refuse(
          'the path of the data is not given',
          'cifar10()',
          `Bring the data with \`--data PATH\`, or write \`cifar10({ path })\`. ${FORMATS}`,
        );
      }
      const source = await openSource(path);
      const entry = { name: 'cifar10', path: source.path, options: null, stamp: source.stamp };
      return cached(entry, options, () => decode(source, options));
    }),
});
