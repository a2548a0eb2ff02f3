import { cp, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { jsonText } from '../core/text.js';
import type { Dataset } from '../data/dataset.js';
import { undefendedOf } from '../experiment/experiment.js';
import type { CellPlan, Plan } from '../experiment/plan.js';
import type { ImagesFile } from '../report/images.js';
import { grid, type Picture, pictureToPng, pngOf, sideBySide } from '../report/pictures.js';
import { guarded, removeFile } from '../run/disk.js';
import type { Inspection } from '../run/inspect.js';
import { readResult } from '../run/outputs.js';
import { readPool } from '../run/pool.js';
import type { StageOutput, Store } from '../run/store.js';
import { writeWhole } from '../run/store.js';
import { imageFiles, nameOf, shortened, withoutOddities } from './run-folder.js';

/** A cell whose attack synthesises images. */
type Synthesising = CellPlan & { readonly stages: { readonly images: string; readonly inspect: string } };

/** Where a run shows a cell's images: `images/<defense>/<attack>/<student>/seed-<label>`. */
export const folderOf = ({
  defense,
  attack,
  student,
  seed,
}: Pick<CellPlan, 'defense' | 'attack' | 'student' | 'seed'>): string =>
  join(imageFiles.folder, ...[defense, attack, student, `seed-${seed}`].map(nameOf));

const synthesising = ({ cells }: Plan): readonly Synthesising[] =>
  cells.filter((cell): cell is Synthesising => cell.stages?.inspect !== undefined);

/** Copies a picture of how a stage goes to where a person looks for it. */
export const keepPicture = async (run: string, plan: Plan, stage: string, picture: string): Promise<void> => {
  for (const cell of synthesising(plan).filter(({ stages }) => stages.images === stage)) {
    const target = join(run, folderOf(cell), imageFiles.history, basename(picture));
    await guarded(target, () => cp(picture, target));
  }
};

/** Images of one class in a row of the grid. */
const inARow = 10;

interface Shown {
  readonly cell: Synthesising;
  readonly grid: Picture;
}

/** Everything that there is to see of the images that a run's attacks made, out of the store. Gives the number of cells. */
export const writeImages = async (run: string, plan: Plan, data: Dataset, store: Store): Promise<number> => {
  const shown: Shown[] = [];
  for (const cell of synthesising(plan)) {
    const [maker, looked] = [await store.find(cell.stages.images), await store.find(cell.stages.inspect)];
    if (maker === undefined || looked === undefined) continue;
    shown.push(await write(run, cell, data, maker, looked));
  }
  const undefended = undefendedOf(plan.experiment);
  for (const one of shown) {
    const other = shown.find(
      ({ cell: { defense, attack, student, seed } }) =>
        defense === undefended &&
        defense !== one.cell.defense &&
        attack === one.cell.attack &&
        student === one.cell.student &&
        seed === one.cell.seed,
    );
    if (other === undefined) continue;
    const parts = [other, one].map(({ cell, grid: picture }) => ({ title: cell.defense, picture }));
    await writeWhole(join(run, folderOf(one.cell), imageFiles.compare), pictureToPng(sideBySide(parts)));
  }
  return shown.length;
};

const write = async (
  run: string,
  cell: Synthesising,
  data: Dataset,
  maker: StageOutput,
  looked: StageOutput,
): Promise<Shown> => {
  const folder = join(run, folderOf(cell));
  const inspection = await readResult<Inspection>(looked);
  const { images = new Uint8Array(), updates = [] } = (await readPool(maker, inspection.images.length)) ?? {};
  const { shape, count, diagnostics } = inspection;
  const size = shape.height * shape.width * shape.channels;
  const rows = data.classes.map((label, index) => ({
    label,
    places: inspection.images.flatMap((image, i) => (image.label === index ? [i] : [])).slice(0, inARow),
  }));
  const picture = grid({ images, shape }, rows, { title: `${cell.attack} on ${cell.defense}, seed ${cell.seed}` });
  await writeWhole(join(folder, imageFiles.grid), pictureToPng(picture));
  const inGrid = new Set(rows.flatMap(({ places }) => places));
  const listed: ImagesFile['images'] = inspection.images.map((image, i) => ({
    ...(inGrid.has(i) ? { file: fileName(i, image, data.classes) } : {}),
    ...(updates[i] === undefined ? {} : { updates: updates[i] }),
    ...image,
  }));
  for (const [i, { file }] of listed.entries()) {
    if (file === undefined) continue;
    await writeWhole(join(folder, file), pngOf(images.subarray(i * size, (i + 1) * size), shape));
  }
  const history = await maker.list(imageFiles.history);
  for (const name of history) {
    const target = join(folder, imageFiles.history, name);
    await guarded(target, () => cp(join(maker.folder, imageFiles.history, name), target));
  }
  // What an attack of the same label left here before it was changed.
  await keepOnly(join(folder, imageFiles.history), history);
  await keepOnly(folder, [imageFiles.grid, imageFiles.compare, ...listed.flatMap(({ file }) => file ?? [])]);
  const { attack, defense, student, seed } = cell;
  const file: ImagesFile = {
    version: 1,
    attack,
    defense,
    student,
    seed,
    classes: data.classes,
    shape,
    count,
    images: listed,
    diagnostics,
  };
  await writeWhole(join(folder, imageFiles.list), jsonText(file));
  return { cell, grid: picture };
};

/** Removes the PNG files of a folder but those named. */
const keepOnly = async (folder: string, names: readonly string[]): Promise<void> => {
  for (const name of await readdir(folder).catch(() => []))
    if (name.endsWith('.png') && !names.includes(name)) await removeFile(join(folder, name));
};

/** `0007-cat-97.png`: its number, its class, and how sure the victim is of that class in percent. */
const fileName = (
  index: number,
  { label, teacher }: Inspection['images'][number],
  classes: readonly string[],
): string =>
  `${String(index).padStart(4, '0')}-${shortened(withoutOddities(classes[label] ?? String(label)))}-${Math.round(100 * (teacher[label] ?? 0))}.png`;
