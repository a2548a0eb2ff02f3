import { text, yesOrNo } from '../core/check.js';
import { attempt } from '../core/errors.js';
import { option, optional, required } from '../core/options.js';
import { counted, firstFew } from '../core/text.js';
import { openSource } from './archive.js';
import { type Decoded, measuredNormalisation, unlabelled as noClasses, refuse } from './assemble.js';
import { cached } from './cache.js';
import { anyAugmentation, anyNormalisation, type LoadOptions, noAugmentation } from './dataset.js';
import { decodeImages, type ImagePlan, type LabelledFile } from './decode.js';
import { defineDataset, pixels } from './define.js';
import type { Entry } from './source.js';

const LAYOUT =
  'Expected: train/<class>/… and test/<class>/… (or val/<class>/…) with JPEG or PNG files, in a folder, a tar(.gz) or a zip.';

const IMAGE = /\.(jpe?g|png)$/i;
const OTHER_IMAGE = /\.(gif|bmp|webp|tiff?|ppm|pgm|pnm|jp2|avif|heic|tga|ico|svg|exr)$/i;

/** Pure: made from the listing alone. Classes are alphabetical (by UTF-16 code unit, as JavaScript and, but for rare characters, Python sort). */
export interface ImageFolderPlan extends ImagePlan {
  /** Files in class folders that are no images, by name. */
  readonly ignored: readonly string[];
}

const parent = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

/** All folders of a listing, those that only a file's path tells of as well. */
const foldersOf = (entries: readonly Entry[]): Set<string> => {
  const folders = new Set<string>(['']);
  for (const { path, kind } of entries) {
    for (let at = kind === 'folder' ? path : parent(path); !folders.has(at); at = parent(at)) folders.add(at);
  }
  return folders;
};

const depth = (path: string): number => (path === '' ? 0 : path.split('/').length);

/** The shallowest folder (a prefix ending in `/`, or empty) with `train` in it, and the name of its test part. */
const findRoot = (
  folders: Set<string>,
  where: string,
): { readonly root: string; readonly test: string } | undefined => {
  const trains = [...folders].filter((path) => path === 'train' || path.endsWith('/train'));
  const shallowest = Math.min(...trains.map(depth));
  const roots = trains.filter((path) => depth(path) === shallowest).map((path) => path.slice(0, -'train'.length));
  const [root] = roots;
  if (root === undefined) return undefined;
  if (roots.length > 1)
    refuse(`there are several train folders: ${firstFew(trains)}`, where, 'Give the path of one data set.');
  const test = ['test', 'val'].find((name) => folders.has(root + name));
  return test === undefined
    ? refuse(`there is ${root}train/, but neither ${root}test/ nor ${root}val/ beside it`, where, LAYOUT)
    : { root, test };
};

/** Files by class folder under `part` (a prefix ending in `/`). */
const filesByClass = (
  entries: readonly Entry[],
  folders: Set<string>,
  part: string,
  where: string,
): { readonly byClass: ReadonlyMap<string, readonly string[]>; readonly ignored: readonly string[] } => {
  const byClass = new Map<string, string[]>();
  const ignored: string[] = [];
  for (const folder of folders) {
    if (folder.startsWith(part) && !folder.slice(part.length).includes('/')) byClass.set(folder.slice(part.length), []);
  }
  for (const { path, kind } of entries) {
    if (kind === 'folder' || !path.startsWith(part)) continue;
    const [name, ...rest] = path.slice(part.length).split('/') as [string, ...string[]];
    if (OTHER_IMAGE.test(path)) {
      refuse(`${path} is an image of a format that is not read`, where, 'Convert such images to PNG or JPEG.');
    } else if (!IMAGE.test(path)) {
      ignored.push(path);
    } else if (rest.length === 0) {
      refuse(`${path} lies in no class folder`, where, LAYOUT);
    } else {
      byClass.get(name)?.push(path);
    }
  }
  const empty = [...byClass].filter(([, files]) => files.length === 0).map(([name]) => name);
  if (empty.length > 0) {
    refuse(
      `${counted(empty.length, 'class folder')} of ${part} without an image: ${firstFew(empty)}`,
      where,
      'Remove the folder (from train and test), or put its images in it.',
    );
  }
  return { byClass, ignored };
};

/**
 * The classes and files of an image folder; `undefined` when there is no `train` folder. Throws a failure of kind `data`
 * when there is no test part, when train and test differ in classes, when a class is empty or an image is out of place.
 */
export const planImageFolder = (entries: readonly Entry[], where: string): ImageFolderPlan | undefined => {
  const folders = foldersOf(entries);
  const found = findRoot(folders, where);
  if (found === undefined) return undefined;
  const { root, test } = found;
  const trainFiles = filesByClass(entries, folders, `${root}train/`, where);
  const testFiles = filesByClass(entries, folders, `${root}${test}/`, where);
  const classes = [...trainFiles.byClass.keys()].sort();
  if (classes.length === 0) refuse(`${root}train/ has no class folders`, where, LAYOUT);
  const unknown = [...testFiles.byClass.keys()].filter((name) => !trainFiles.byClass.has(name));
  if (unknown.length > 0) {
    refuse(`${root}${test}/ has classes that ${root}train/ has not: ${firstFew(unknown)}`, where, LAYOUT);
  }
  const lacking = classes.filter((name) => !testFiles.byClass.has(name));
  if (lacking.length > 0) {
    refuse(`${root}train/ has classes that ${root}${test}/ has not: ${firstFew(lacking)}`, where, LAYOUT);
  }
  const labelled = (byClass: ReadonlyMap<string, readonly string[]>): LabelledFile[] =>
    classes.flatMap((name, label) => [...(byClass.get(name) ?? [])].sort().map((path) => ({ path, label })));
  return {
    classes,
    train: labelled(trainFiles.byClass),
    test: labelled(testFiles.byClass),
    ignored: [...trainFiles.ignored, ...testFiles.ignored],
  };
};

/** All images of a listing as training images without labels. Throws a failure of kind `data` when there are none. */
const planUnlabelled = (entries: readonly Entry[], where: string): ImageFolderPlan => {
  const files = entries.filter(({ kind }) => kind !== 'folder').map(({ path }) => path);
  const train = files.filter((path) => IMAGE.test(path)).sort();
  if (train.length === 0) refuse('there are no JPEG or PNG files in it', where, 'Check the path.');
  return {
    classes: noClasses,
    train: train.map((path) => ({ path, label: 0 })),
    test: [],
    ignored: files.filter((path) => !IMAGE.test(path)),
  };
};

/** Says how many files were passed over. */
export const noteIgnored = ({ ignored }: ImageFolderPlan, { onNote }: LoadOptions): void => {
  if (ignored.length > 0)
    onNote?.(`${counted(ignored.length, 'file')} that are no images were ignored: ${firstFew(ignored)}`);
};

/** What is said of any images. */
export const imageOptions = {
  size: optional(
    pixels,
    'Height and width to which every image is resized bilinearly (aspect ratio not kept); default: as they are, all equal',
  ),
  normalisation: optional(anyNormalisation, 'Default: measured on the training images, rounded to 4 decimals'),
  augmentation: option(anyAugmentation, noAugmentation, 'Random changes of the images in training'),
};

/**
 * Any data set as images: `train/<class>/…` and `test/<class>/…` (or `val/`), JPEG and PNG, classes in alphabetical
 * order, files at any depth below their class. Other files are ignored, with a note; images of other formats are not.
 * Grey images among coloured ones become coloured; transparency is dropped.
 *
 * With `unlabelled`, any folder of images: nothing can be trained or tested on their classes.
 */
export const imageFolder = defineDataset({
  name: 'imageFolder',
  source: import.meta.url,
  about: 'Any images: train/CLASS/*.jpg or .png and test/CLASS/…; a folder, a tar(.gz) or a zip',
  options: {
    path: required(text, 'A folder, a tar(.gz) or a zip; a relative path starts at the working folder'),
    ...imageOptions,
    unlabelled: option(
      yesOrNo,
      false,
      'Take every image at any depth, without labels: for transfer, which asks a victim about them',
    ),
  },
  make: ({ path, size, normalisation, augmentation, unlabelled }) => ({
    name: 'image-folder',
    load: (load: LoadOptions = {}) =>
      attempt('data', async () => {
        const source = await openSource(path);
        const entry = {
          ...{ name: 'image-folder', path: source.path, stamp: source.stamp },
          options: { size, normalisation, augmentation, unlabelled },
        };
        return cached(entry, load, async (): Promise<Decoded> => {
          const entries = await source.list();
          const plan = unlabelled
            ? planUnlabelled(entries, source.path)
            : (planImageFolder(entries, source.path) ?? refuse('there is no train folder in it', source.path, LAYOUT));
          noteIgnored(plan, load);
          const { image, train, test } = await decodeImages(source, plan, size, load);
          const measured = normalisation ?? measuredNormalisation(train, image.channels);
          return { image, classes: plan.classes, normalisation: measured, augmentation, train, test };
        });
      }),
  }),
});
