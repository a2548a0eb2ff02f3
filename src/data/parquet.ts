import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type AsyncBuffer, asyncBufferFromFile, type FileMetaData, parquetSchema } from 'hyparquet';
import { text } from '../core/check.js';
import { attempt, FailureError } from '../core/errors.js';
import { unique } from '../core/lists.js';
import { optional, type Parsed, required } from '../core/options.js';
import { firstFew } from '../core/text.js';
import { openSource } from './archive.js';
import { type Decoded, measuredNormalisation, refuse } from './assemble.js';
import { cached } from './cache.js';
import type { LoadOptions } from './dataset.js';
import { decodeImages, type LabelledFile } from './decode.js';
import { defineDataset } from './define.js';
import { refuseUnreadable } from './files.js';
import { imageOptions } from './image-folder.js';
import { columnValues, metadataOf, rowsOf } from './parquet-column.js';
import type { Entry, FileContent } from './source.js';

const LAYOUT =
  'Expected: a folder with train-….parquet and test-….parquet (or validation-….parquet), as Hugging Face has them, with a column of images ({ bytes, path }) and one of whole numbers.';

/* Which files */

type Part = 'train' | 'test' | 'validation';

/** `data/train-00000-of-00002.parquet` or `default/train/0000.parquet`: the part, and the folder of the whole set. */
const PLACE = /^(?:(.*)\/)?(train|test|validation)(?:[-_.][^/]*|\/[^/]*)?\.parquet$/;

/** Files of the training and of the test part, relative to the folder. Pure: made from the listing alone. */
export const parquetFiles = (
  entries: readonly Entry[],
  where: string,
): { readonly train: readonly string[]; readonly test: readonly string[] } => {
  const found = entries
    .filter(({ kind }) => kind === 'file')
    .flatMap(({ path }) => {
      const place = PLACE.exec(path);
      return place === null ? [] : [{ path, root: place[1] ?? '', part: place[2] as Part }];
    });
  const roots = unique(found.map(({ root }) => root));
  if (roots.length > 1) refuse(`there are several sets in it: ${firstFew(roots)}`, where, 'Give the folder of one.');
  const of = (part: Part): string[] => found.filter((each) => each.part === part).map(({ path }) => path);
  const [train, test, validation] = [of('train'), of('test'), of('validation')];
  if (train.length === 0) refuse('there is no train-….parquet in it', where, LAYOUT);
  if (test.length + validation.length === 0)
    refuse('there is neither test-….parquet nor validation-….parquet in it', where, LAYOUT);
  return { train: train.sort(), test: (test.length > 0 ? test : validation).sort() };
};

/* One file */

interface Table {
  /** Absolute. */
  readonly path: string;
  readonly buffer: AsyncBuffer;
  readonly metadata: FileMetaData;
  readonly columns: Columns;
}

interface Columns {
  readonly image: string;
  readonly label: string;
}

/** Turns what reading a Parquet file throws into a failure of kind `data`. */
const refuseDamaged =
  (path: string) =>
  (thrown: unknown): never => {
    if (thrown instanceof FailureError) throw thrown;
    const { code, message } = thrown as NodeJS.ErrnoException;
    if (code !== undefined && /^E[A-Z]+$/.test(code)) return refuseUnreadable(path)(thrown);
    return refuse(`it is not a Parquet file, or a damaged one (${message})`, path, 'Get the file again.');
  };

const LABELS = ['label', 'fine_label', 'labels'];

/** The column of images, which has bytes in it, and that of labels. */
const columnsOf = (metadata: FileMetaData, path: string, given: Partial<Columns>): Columns => {
  const { children } = parquetSchema(metadata);
  const names = children.map(({ element }) => element.name);
  const images = children.filter((column) => column.children.some(({ element }) => element.name === 'bytes'));
  const all = `its columns are ${names.join(', ') || 'none'}`;
  const image = given.image ?? images[0]?.element.name;
  if (image === undefined) return refuse(`there are no images in it: ${all}`, path, LAYOUT);
  if (!images.some(({ element }) => element.name === image))
    refuse(`it has no images in a column ${image}: ${all}`, path, LAYOUT);
  const label = given.label ?? LABELS.find((name) => names.includes(name));
  if (label === undefined || !names.includes(label)) {
    return refuse(`it has no labels (${label ?? LABELS.join(', ')}): ${all}`, path, 'Name the column with `label`.');
  }
  return { image, label };
};

const openTable = async (path: string, given: Partial<Columns>): Promise<Table> => {
  const buffer = await asyncBufferFromFile(path).catch(refuseUnreadable(path));
  try {
    const metadata = await metadataOf(buffer);
    rowsOf(metadata, buffer.byteLength);
    return { path, buffer, metadata, columns: columnsOf(metadata, path, given) };
  } catch (thrown) {
    return refuseDamaged(path)(thrown);
  }
};

/** The values of a column with their rows, one group of rows at a time. */
async function* valuesOf(
  { path, buffer, metadata, columns }: Table,
  which: keyof Columns,
): AsyncGenerator<readonly [row: number, value: unknown], void, void> {
  const column = which === 'image' ? [columns.image, 'bytes'] : [columns.label];
  let row = 0;
  for (const group of metadata.row_groups) {
    const values = await columnValues(buffer, metadata, group, column).catch(refuseDamaged(path));
    for (const value of values) yield [row++, value];
  }
}

/** Names of the classes, where the file was written by Hugging Face's `datasets` and says them. */
const classNames = ({ metadata, columns }: Table): readonly string[] | undefined => {
  const text = metadata.key_value_metadata?.find(({ key }) => key === 'huggingface')?.value;
  if (text === undefined) return undefined;
  try {
    const names: unknown = JSON.parse(text)?.info?.features?.[columns.label]?.names;
    return Array.isArray(names) && names.every((name) => typeof name === 'string') ? names : undefined;
  } catch {
    return undefined;
  }
};

const keyOf = (path: string, row: number): string => `${path}, row ${row}`;

const labelsOf = async (table: Table): Promise<readonly LabelledFile[]> => {
  const files: LabelledFile[] = [];
  for await (const [row, value] of valuesOf(table, 'label')) {
    const label = typeof value === 'bigint' ? Number(value) : value;
    if (!Number.isSafeInteger(label) || (label as number) < 0) {
      const shown = value === null || value === undefined ? 'missing' : `${value}, and no index of a class`;
      refuse(`${table.columns.label} of row ${row} is ${shown}`, table.path, 'Images without a label cannot be used.');
    }
    files.push({ path: keyOf(table.path, row), label: label as number });
  }
  return files;
};

async function* imagesOf(tables: readonly Table[]): AsyncGenerator<FileContent, void, void> {
  for (const table of tables) {
    for await (const [row, bytes] of valuesOf(table, 'image')) {
      if (!(bytes instanceof Uint8Array)) {
        return refuse(
          `${table.columns.image} of row ${row} has no bytes`,
          table.path,
          'Files that only name images are not read: embed them (`datasets`: embed_external_files).',
        );
      }
      yield { path: keyOf(table.path, row), bytes };
    }
  }
}

/* The set */

const checkLabels = (files: readonly LabelledFile[], classes: number): void => {
  const bad = files.find(({ label }) => label >= classes);
  if (bad !== undefined) {
    refuse(`label ${bad.label} is out of range: there are ${classes} classes, 0 to ${classes - 1}`, bad.path);
  }
};

const options = {
  path: required(text, 'A folder; a relative path starts at the working folder'),
  image: optional(text, 'The column of images; default: the first that has bytes in it'),
  label: optional(text, 'The column of labels; default: label, fine_label or labels, whichever comes first'),
  ...imageOptions,
};

const decode = async (
  folder: string,
  files: { readonly train: readonly string[]; readonly test: readonly string[] },
  { image, label, size, normalisation, augmentation }: Parsed<typeof options>,
  load: LoadOptions,
): Promise<Decoded> => {
  const given = { ...(image === undefined ? {} : { image }), ...(label === undefined ? {} : { label }) };
  const open = (names: readonly string[]) => Promise.all(names.map((name) => openTable(join(folder, name), given)));
  const [trainTables, testTables] = [await open(files.train), await open(files.test)];
  const labels = async (tables: readonly Table[]) => (await Promise.all(tables.map(labelsOf))).flat();
  const [train, test] = [await labels(trainTables), await labels(testTables)];
  const names = classNames(trainTables[0] as Table);
  const most = train.reduce((largest, each) => Math.max(largest, each.label), 0);
  // Every class has a training image: a larger label is damaged, and no reason to count up to it.
  const classes = names ?? Array.from({ length: Math.min(most + 1, train.length) }, (_, i) => `${i}`);
  for (const part of [train, test]) checkLabels(part, classes.length);
  const source = { path: folder, read: () => imagesOf([...trainTables, ...testTables]) };
  const decoded = await decodeImages(source, { classes, train, test }, size, load);
  return {
    ...decoded,
    classes,
    normalisation: normalisation ?? measuredNormalisation(decoded.train, decoded.image.channels),
    augmentation,
  };
};

/**
 * Any set of labelled images of Hugging Face in Parquet: `train-….parquet` and `test-….parquet`, or `validation-….parquet`
 * where there is no test, with columns of images (`{ bytes, path }`, JPEG or PNG) and of labels. Class names come from the
 * file's own description; without one they are the numbers up to the largest label. Compressed with Snappy, gzip or Brotli.
 *
 * A damaged file is refused, whichever of its bytes are wrong: no size in it is believed unchecked.
 */
export const parquet = defineDataset({
  name: 'parquet',
  source: import.meta.url,
  about: 'Any set of labelled images of Hugging Face: a folder of train-….parquet and test-….parquet',
  options,
  make: (chosen) => ({
    load: (load: LoadOptions = {}) =>
      attempt('data', async () => {
        const { path, ...said } = chosen;
        const source = await openSource(path);
        if (!(await stat(source.path)).isDirectory()) refuse('a folder is expected, and this is a file', path, LAYOUT);
        const files = parquetFiles(await source.list(), source.path);
        const entry = { name: 'parquet', path: source.path, options: said, stamp: source.stamp };
        return cached(entry, load, () => decode(source.path, files, chosen, load));
      }),
  }),
});
