import { wholeBetween } from '../core/check.js';
import { attempt } from '../core/errors.js';
import { option } from '../core/options.js';
import { counted, firstFew } from '../core/text.js';
import { openSource } from './archive.js';
import { checkSize, type Decoded, refuse } from './assemble.js';
import { cached } from './cache.js';
import type { LoadOptions } from './dataset.js';
import { decodeImages, type ImagePlan, type LabelledFile } from './decode.js';
import { defineDataset, placed, placeOf } from './define.js';
import type { Entry, Source } from './source.js';

const LAYOUT =
  'Expected, as a folder, a tar(.gz), a zip or a folder of such archives: train/<wnid>/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt, wnids.txt and words.txt.';

const SIDE = 64;
const CLASSES = 200;

/** As released with the Nasty Teacher (`data_loader.py`). */
const CONSTANTS = {
  normalisation: { mean: [0.4802, 0.4481, 0.3975], std: [0.2302, 0.2265, 0.2262] },
  augmentation: { crop: 0, flip: true, rotate: 20 },
} as const;

/** The set's folder inside the source (a prefix ending in `/`, or empty). */
const rootOf = (entries: readonly Entry[], where: string): string => {
  const annotations = /^(.*\/)?val\/val_annotations\.txt$/;
  const roots = entries.flatMap(({ path }) => {
    const found = annotations.exec(path);
    return found === null ? [] : [found[1] ?? ''];
  });
  if (roots.length > 1) refuse(`there are several sets in it: ${firstFew(roots)}`, where, 'Give the path of one.');
  return roots[0] ?? refuse('there is no val/val_annotations.txt in it', where, LAYOUT);
};

/** The texts of a set by name, empty where there is none. */
const readTexts = async <Name extends string>(
  source: Source,
  entries: readonly Entry[],
  root: string,
  names: readonly Name[],
): Promise<Readonly<Record<Name, string>>> => {
  const paths = new Set(entries.map(({ path }) => path));
  const texts = Object.fromEntries(names.map((name) => [name, ''])) as Record<Name, string>;
  const wanted = names.map((name) => root + name).filter((path) => paths.has(path));
  for await (const { path, bytes } of source.read(new Set(wanted))) {
    texts[path.slice(root.length) as Name] = Buffer.from(bytes).toString('utf8');
  }
  return texts;
};

/** Lines of fields separated by tabs. */
const rowsOf = (text: string): readonly (readonly string[])[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => line.split('\t'));

/** Training files by wnid. */
const trainingFiles = (entries: readonly Entry[], root: string): ReadonlyMap<string, readonly string[]> => {
  const byWnid = new Map<string, string[]>();
  for (const { path } of entries) {
    if (!path.startsWith(`${root}train/`) || !/\.jpe?g$/i.test(path)) continue;
    const wnid = path.slice(`${root}train/`.length).split('/')[0] as string;
    const files = byWnid.get(wnid);
    if (files === undefined) byWnid.set(wnid, [path]);
    else files.push(path);
  }
  return byWnid;
};

/** The first of a class's synonyms, such as "goldfish" of "goldfish, Carassius auratus"; all where that is not one class's alone. */
const namesOf = (wnids: readonly string[], words: string): readonly string[] => {
  const glosses = new Map(rowsOf(words).map(([wnid = '', gloss = '']) => [wnid, gloss]));
  const all = wnids.map((wnid) => glosses.get(wnid) || wnid);
  const short = all.map((gloss) => gloss.split(',')[0] as string);
  return short.map((name, i) => (short.indexOf(name) === short.lastIndexOf(name) ? name : (all[i] as string)));
};

const validationFiles = (
  annotations: string,
  root: string,
  wnids: readonly string[],
  where: string,
): readonly LabelledFile[] =>
  rowsOf(annotations).map(([file = '', wnid = ''], i) => {
    const label = wnids.indexOf(wnid);
    if (label < 0)
      refuse(
        `line ${i + 1} names ${wnid === '' ? 'no class' : `${wnid}, which is none of the classes`}`,
        `${where}: ${root}val/val_annotations.txt`,
        'Get the file again.',
      );
    return { path: `${root}val/images/${file}`, label };
  });

/** Which image is of which class; refuses what is missing. */
const planOf = async (source: Source, classes: number): Promise<ImagePlan> => {
  const entries = await source.list();
  const where = source.path;
  const root = rootOf(entries, where);
  const texts = await readTexts(source, entries, root, ['wnids.txt', 'words.txt', 'val/val_annotations.txt']);
  const byWnid = trainingFiles(entries, root);
  const listed = rowsOf(texts['wnids.txt']).map(([wnid]) => wnid as string);
  const wnids = [...(listed.length > 0 ? listed : byWnid.keys())].sort();
  const lacking = wnids.filter((wnid) => !byWnid.has(wnid));
  if (lacking.length > 0) {
    const what = `${lacking.length} of ${counted(wnids.length, 'class', 'classes')} have no training images: ${firstFew(lacking)}`;
    refuse(what, where, `Is a shard missing? ${LAYOUT}`);
  }
  if (wnids.length < classes) refuse(`it has ${wnids.length} classes, and ${classes} are asked for`, where, LAYOUT);
  const validation = validationFiles(texts['val/val_annotations.txt'], root, wnids, where);
  const paths = new Set(entries.map(({ path }) => path));
  const gone = validation.filter(({ path }) => !paths.has(path)).map(({ path }) => path);
  if (gone.length > 0)
    refuse(`${counted(gone.length, 'image')} of val_annotations.txt missing: ${firstFew(gone)}`, where, LAYOUT);
  return {
    classes: namesOf(wnids, texts['words.txt']).slice(0, classes),
    train: wnids
      .slice(0, classes)
      .flatMap((wnid, label) => [...(byWnid.get(wnid) as readonly string[])].sort().map((path) => ({ path, label }))),
    test: validation.filter(({ label }) => label < classes),
  };
};

const decode = async (source: Source, classes: number, options: LoadOptions): Promise<Decoded> => {
  const plan = await planOf(source, classes);
  const { image, train, test } = await decodeImages(source, plan, undefined, options);
  checkSize(image, SIDE, 'Tiny-ImageNet', source.path);
  return { image, classes: plan.classes, ...CONSTANTS, train, test };
};

/**
 * Tiny-ImageNet-200: 200 classes of 500 training images and 50 test images, 64×64 RGB, in its original layout. The test set
 * is its `val`: the labels of its own `test` were never published. Grey images among them become coloured.
 *
 * Labels are in the order of the sorted wnids (n01443537 is 0), as in torchvision's `ImageFolder` and so in the Nasty
 * Teacher's code, and not in that of `wnids.txt`. Class names are the first synonyms of `words.txt`.
 *
 * Normalisation (0.4802, 0.4481, 0.3975) / (0.2302, 0.2265, 0.2262) and augmentation (random rotation by up to 20 degrees,
 * and flip) as released with the Nasty Teacher, whose rotation takes the nearest pixel and ours is bilinear.
 */
export const tinyImageNet = defineDataset({
  name: 'tinyImageNet',
  source: import.meta.url,
  about: '100,000 + 10,000 photographs of 200 classes, 64×64; the original layout',
  options: {
    path: placed('A folder, a tar(.gz), a zip, or a folder of such archives'),
    classes: option(wholeBetween(2, CLASSES), CLASSES, 'Only the first so many classes in the order of their wnids'),
  },
  make: ({ path, classes }) => ({
    name: 'tiny-imagenet',
    load: (options: LoadOptions = {}) =>
      attempt('data', async () => {
        const source = await openSource(placeOf('tinyImageNet', 'tiny-imagenet', path, LAYOUT));
        const entry = {
          ...{ name: 'tiny-imagenet', path: source.path, stamp: source.stamp },
          options: { classes, ...CONSTANTS },
        };
        return cached(entry, options, () => decode(source, classes, options));
      }),
  }),
});
