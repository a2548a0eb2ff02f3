import { attempt } from '../core/errors.js';
import { counted } from '../core/text.js';
import { openSource } from './archive.js';
import { checkSize, type Decoded, type DecodedExamples, measuredNormalisation, refuse } from './assemble.js';
import { cached } from './cache.js';
import { type LoadOptions, noAugmentation } from './dataset.js';
import { decodeImages } from './decode.js';
import { defineDataset, placed, placeOf } from './define.js';
import { noteIgnored, planImageFolder } from './image-folder.js';
import { parseMat } from './mat.js';
import type { Source } from './source.js';

const FORMATS =
  'Accepted, each as a folder, a tar(.gz) or a zip: train_32x32.mat and test_32x32.mat, or images as JPEG or PNG in train/<digit>/ and test/<digit>/.';

const SIDE = 32;
const CLASSES = [...'0123456789'];
const FILES = ['train_32x32.mat', 'test_32x32.mat'] as const;

/** Bytes that a file may unpack to: twice what that of the training images does. */
const mostBytes = 2 ** 29;

/** X [32, 32, 3, count] with the first dimension fastest, and y, in which 10 is the digit 0. */
const examplesOf = (content: Uint8Array, where: string): DecodedExamples => {
  const arrays = parseMat(content, where, mostBytes);
  const find = (name: string) =>
    arrays.find((array) => array.name === name) ?? refuse(`there is no array ${name} in it`, where, FORMATS);
  const [x, y] = [find('X'), find('y')];
  const [height, width, channels, count = 1] = x.dims;
  if (height !== SIDE || width !== SIDE || channels !== 3) {
    refuse(`its images are ${x.dims.join(' × ')}, and SVHN's 32 × 32 × 3 × count`, where, FORMATS);
  }
  if (y.data.length !== count) {
    refuse(`there are ${counted(y.data.length, 'label')} for ${counted(count, 'image')}`, where, 'Get the file again.');
  }
  const bad = y.data.findIndex((label) => label < 1 || label > 10);
  if (bad >= 0) refuse(`label ${y.data[bad]} of image ${bad} is out of range 1 to 10`, where, 'Get the file again.');
  const size = SIDE * SIDE * 3;
  const images = new Uint8Array(x.data.length);
  for (let n = 0; n < count; n++) {
    for (let c = 0; c < 3; c++) {
      for (let i = 0; i < SIDE * SIDE; i++) {
        // i counts down the columns.
        const place = (i % SIDE) * SIDE + Math.floor(i / SIDE);
        images[n * size + place * 3 + c] = x.data[n * size + c * SIDE * SIDE + i] as number;
      }
    }
  }
  return { images, labels: y.data.map((label) => label % 10), count };
};

const readMatFiles = async (source: Source, root: string): Promise<readonly [DecodedExamples, DecodedExamples]> => {
  const parts = new Map<string, DecodedExamples>();
  for await (const { path, bytes } of source.read(new Set(FILES.map((name) => root + name)))) {
    parts.set(path, examplesOf(bytes, `${source.path}: ${path}`));
  }
  return FILES.map((name) => parts.get(root + name)) as unknown as readonly [DecodedExamples, DecodedExamples];
};

const decode = async (source: Source, options: LoadOptions): Promise<Decoded> => {
  const entries = await source.list();
  const paths = entries.map(({ path }) => path);
  const mat = paths.find((path) => FILES.some((name) => path === name || path.endsWith(`/${name}`)));
  const rest = { classes: CLASSES, augmentation: noAugmentation };
  if (mat !== undefined) {
    const root = mat.slice(0, mat.lastIndexOf('/') + 1);
    const missing = FILES.find((name) => !paths.includes(root + name));
    if (missing !== undefined) refuse(`there is no ${root}${missing} in it`, source.path, FORMATS);
    const [train, test] = await readMatFiles(source, root);
    const image = { height: SIDE, width: SIDE, channels: 3 };
    return { image, ...rest, normalisation: measuredNormalisation(train, 3), train, test };
  }
  const plan = planImageFolder(entries, source.path) ?? refuse('SVHN was not found in it', source.path, FORMATS);
  if (plan.classes.join() !== CLASSES.join())
    refuse(`its classes are not the ten digits: ${plan.classes.slice(0, 12).join(', ')}`, source.path, FORMATS);
  noteIgnored(plan, options);
  const { image, train, test } = await decodeImages(source, plan, undefined, options);
  checkSize(image, SIDE, 'SVHN', source.path);
  return { image, ...rest, normalisation: measuredNormalisation(train, 3), train, test };
};

/**
 * SVHN, cropped digits: 73,257 training and 26,032 test images of house numbers, 32×32 RGB, digits 0 to 9 (its `extra` images
 * are not used). Read from the published MATLAB files or from an image folder, told apart by content.
 *
 * Neither flipped nor cropped; mean and std are measured on the training images and rounded to 4 decimals.
 */
export const svhn = defineDataset({
  name: 'svhn',
  source: import.meta.url,
  about: '73,257 + 26,032 digits of house numbers, 32×32; the MATLAB files, or images',
  options: { path: placed('A folder, a tar(.gz) or a zip') },
  make: ({ path }) => ({
    load: (options: LoadOptions = {}) =>
      attempt('data', async () => {
        const source = await openSource(placeOf('svhn', 'svhn', path, FORMATS));
        const entry = {
          name: 'svhn',
          path: source.path,
          options: { augmentation: noAugmentation },
          stamp: source.stamp,
        };
        return cached(entry, options, () => decode(source, options));
      }),
  }),
});
