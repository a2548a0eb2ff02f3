import { attempt } from '../core/errors.js';
import { counted } from '../core/text.js';
import { openSource } from './archive.js';
import { checkRoom, checkSize, type Decoded, type DecodedExamples, readAsFolder, refuse } from './assemble.js';
import { cached } from './cache.js';
import type { DatasetPlugin, LoadOptions } from './dataset.js';
import { decodeImages } from './decode.js';
import { defineDataset, placed, placeOf } from './define.js';
import { noteIgnored, planImageFolder } from './image-folder.js';
import type { Entry, Source } from './source.js';

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

/** In the order of the fine labels, which is alphabetical. */
export const CIFAR100_CLASSES: readonly string[] =
  `apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest
fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse
mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon
ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table
tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm`.split(
    /\s+/,
  );

/** As released with the Nasty Teacher (`data_loader.py`), the same for both: normalisation, crop from 4 pixels of padding, flip. */
const CONSTANTS = {
  normalisation: { mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.243, 0.261] },
  augmentation: { crop: 4, flip: true },
} as const;

const SIDE = 32;
const PLANE = SIDE * SIDE;

/** What tells one of the two sets from the other. */
interface Cifar {
  readonly name: 'cifar10' | 'cifar100';
  /** As people write it. */
  readonly title: string;
  readonly classes: readonly string[];
  /** Bytes before the three planes of an image, red, green and blue; the last of them is its label. */
  readonly labelBytes: number;
  readonly trainFiles: readonly string[];
  readonly testFile: string;
  /** The names of the classes, one a line. */
  readonly namesFile: string;
  /** A file of the pickled version, which people take for this one. */
  readonly pickled: RegExp;
}

const CIFAR10: Cifar = {
  name: 'cifar10',
  title: 'CIFAR-10',
  classes: CIFAR10_CLASSES,
  labelBytes: 1,
  trainFiles: [1, 2, 3, 4, 5].map((n) => `data_batch_${n}.bin`),
  testFile: 'test_batch.bin',
  namesFile: 'batches.meta.txt',
  pickled: /(^|\/)data_batch_1$/,
};

const CIFAR100: Cifar = {
  name: 'cifar100',
  title: 'CIFAR-100',
  classes: CIFAR100_CLASSES,
  // The coarse label (one of 20 kinds), which is not used, and the fine one.
  labelBytes: 2,
  trainFiles: ['train.bin'],
  testFile: 'test.bin',
  namesFile: 'fine_label_names.txt',
  pickled: /(^|\/)train$/,
};

const recordBytes = ({ labelBytes }: Cifar): number => labelBytes + 3 * PLANE;

const formatsOf = ({ title, trainFiles, testFile }: Cifar): string =>
  `Accepted, each as a folder, a tar(.gz) or a zip: the binary version of ${title} (${[trainFiles[0], trainFiles.at(-1)]
    .filter((file, i, ends) => ends.indexOf(file) === i)
    .join(' … ')}, ${testFile}), or its images as JPEG or PNG in train/<class>/ and test/<class>/.`;

/** Records of the binary version as images with interleaved channels. `at` is where the first one goes. */
const readRecords = (set: Cifar, bytes: Uint8Array, into: DecodedExamples, at: number, where: string): void => {
  const record = recordBytes(set);
  const most = set.classes.length - 1;
  for (let n = 0; n < bytes.length / record; n++) {
    const first = n * record + set.labelBytes;
    const label = bytes[first - 1] as number;
    if (label > most) {
      refuse(
        `label ${label} of image ${n} is out of range 0 to ${most}`,
        where,
        `Get the file again: it is damaged, or not of ${set.title}.`,
      );
    }
    into.labels[at + n] = label;
    const write = (at + n) * 3 * PLANE;
    for (let i = 0; i < PLANE; i++) {
      for (let c = 0; c < 3; c++) into.images[write + 3 * i + c] = bytes[first + c * PLANE + i] as number;
    }
  }
};

/** The folder of the batches inside the source (a prefix ending in `/`, or empty); `undefined` when there are none. */
const binaryRoot = ({ trainFiles, testFile }: Cifar, entries: readonly Entry[]): string | undefined => {
  const names = new Set([...trainFiles, testFile]);
  return entries
    .filter(({ path, kind }) => kind === 'file' && names.has(path.slice(path.lastIndexOf('/') + 1)))
    .map(({ path }) => path.slice(0, path.lastIndexOf('/') + 1))
    .sort((a, b) => a.length - b.length)[0];
};

/** Images a file, after its size. */
const recordCounts = (
  set: Cifar,
  entries: readonly Entry[],
  root: string,
  where: string,
): ReadonlyMap<string, number> => {
  const record = recordBytes(set);
  const sizes = new Map(entries.map(({ path, size }) => [path, size]));
  const files = [...set.trainFiles, set.testFile];
  const missing = files.filter((name) => !sizes.has(root + name));
  if (missing.length > 0) {
    refuse(
      `${counted(missing.length, 'file')} of the binary version missing: ${missing.join(', ')}`,
      where,
      formatsOf(set),
    );
  }
  return new Map(
    files.map((name) => {
      const size = sizes.get(root + name) as number;
      if (size === 0) refuse('the file is empty', `${where}: ${root}${name}`, 'Get the file again.');
      if (size % record !== 0) {
        refuse(
          `its ${counted(size, 'byte')} are no whole number of images (${record.toLocaleString('en')} bytes each): it is truncated`,
          `${where}: ${root}${name}`,
          'Get the file again.',
        );
      }
      return [root + name, size / record];
    }),
  );
};

const checkNames = (set: Cifar, bytes: Uint8Array, where: string): void => {
  const names = Buffer.from(bytes).toString('utf8').split(/\s+/).filter(Boolean);
  if (names.join() !== set.classes.join()) {
    refuse(`its classes are not those of ${set.title}: ${names.slice(0, 12).join(', ')}`, where, formatsOf(set));
  }
};

const decodeBinary = async (set: Cifar, source: Source, entries: readonly Entry[], root: string): Promise<Decoded> => {
  const counts = recordCounts(set, entries, root, source.path);
  const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
  checkRoom(all, { height: SIDE, width: SIDE, channels: 3 }, source.path);
  const empty = (count: number): DecodedExamples => ({
    images: new Uint8Array(count * 3 * PLANE),
    labels: new Uint8Array(count),
    count,
  });
  const testPath = root + set.testFile;
  const test = empty(counts.get(testPath) as number);
  // Training images are numbered through the batches in their order, in whatever order an archive has them.
  const starts = new Map<string, number>([[testPath, 0]]);
  let total = 0;
  for (const path of set.trainFiles.map((name) => root + name)) {
    starts.set(path, total);
    total += counts.get(path) as number;
  }
  const train = empty(total);
  const names = entries.filter(({ path }) => path === root + set.namesFile).map(({ path }) => path);
  for await (const { path, bytes } of source.read(new Set([...starts.keys(), ...names]))) {
    const where = `${source.path}: ${path}`;
    if (names.includes(path)) {
      checkNames(set, bytes, where);
    } else {
      if (bytes.length !== (counts.get(path) as number) * recordBytes(set))
        refuse('the file changed while it was read', where, 'Load it again.');
      readRecords(set, bytes, path === testPath ? test : train, starts.get(path) as number, where);
    }
  }
  return {
    image: { height: SIDE, width: SIDE, channels: 3 },
    classes: set.classes,
    ...CONSTANTS,
    train,
    test,
  };
};

const decodeFolder = async (
  set: Cifar,
  source: Source,
  entries: readonly Entry[],
  options: LoadOptions,
): Promise<Decoded | undefined> => {
  const plan = planImageFolder(entries, source.path);
  if (plan === undefined) return undefined;
  if (plan.classes.join() !== set.classes.join()) {
    refuse(
      `its ${plan.classes.length} classes are not those of ${set.title}: ${plan.classes.slice(0, 12).join(', ')}`,
      source.path,
      readAsFolder,
    );
  }
  noteIgnored(plan, options);
  const { image, train, test } = await decodeImages(source, plan, undefined, options);
  checkSize(image, SIDE, set.title, source.path);
  return { image, classes: plan.classes, ...CONSTANTS, train, test };
};

const decode = async (set: Cifar, source: Source, options: LoadOptions): Promise<Decoded> => {
  const entries = await source.list();
  const root = binaryRoot(set, entries);
  if (root !== undefined) return decodeBinary(set, source, entries, root);
  if (entries.some(({ path, kind }) => kind === 'file' && set.pickled.test(path))) {
    refuse(
      `this is the Python version of ${set.title} (pickled)`,
      source.path,
      `Get the binary version instead. ${formatsOf(set)}`,
    );
  }
  const decoded = await decodeFolder(set, source, entries, options);
  return decoded ?? refuse(`${set.title} was not found in it`, source.path, formatsOf(set));
};

const loading =
  (set: Cifar, path: string | undefined): DatasetPlugin['load'] =>
  (options: LoadOptions = {}) =>
    attempt('data', async () => {
      const source = await openSource(placeOf(set.name, set.name, path, formatsOf(set)));
      const entry = { name: set.name, path: source.path, options: CONSTANTS, stamp: source.stamp };
      return cached(entry, options, () => decode(set, source, options));
    });

const path = placed('A folder, a tar(.gz) or a zip');

/**
 * CIFAR-10: 50,000 training and 10,000 test images, 32×32 RGB, 10 classes. Read from the binary version or from an image
 * folder, told apart by content. Results on images that were stored as JPEG are not comparable digit by digit with
 * published ones: their pixels, and so their fingerprint, differ.
 *
 * Normalisation (0.4914, 0.4822, 0.4465) / (0.247, 0.243, 0.261) and augmentation (random crop from 4 pixels of zero
 * padding, flip) as released with the Nasty Teacher.
 */
export const cifar10 = defineDataset({
  name: 'cifar10',
  source: import.meta.url,
  about: '50,000 + 10,000 photographs of 10 classes, 32×32; the binary version or images',
  options: { path },
  make: ({ path }) => ({ load: loading(CIFAR10, path) }),
});

/**
 * CIFAR-100: 50,000 training and 10,000 test images, 32×32 RGB, 100 classes (the fine labels). Read as `cifar10` is.
 *
 * Normalisation and augmentation are those of CIFAR-10, as released with the Nasty Teacher.
 */
export const cifar100 = defineDataset({
  name: 'cifar100',
  source: import.meta.url,
  about: '50,000 + 10,000 photographs of 100 classes (the fine labels), 32×32; the binary version or images',
  options: { path },
  make: ({ path }) => ({ load: loading(CIFAR100, path) }),
});
