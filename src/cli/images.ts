import { spawn } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { attempt, orThrow, type Refusal, refusal } from '../core/errors.js';
import { isFile, readText, readWithin } from '../core/files.js';
import { grouped, thinned, unique } from '../core/lists.js';
import { whole } from '../core/text.js';
import { decodeImage, toColour } from '../data/images.js';
import { decodeImagesFile, type ImagesFile } from '../report/images.js';
import { gif, grid, type Picture, pictureToPng, sideBySide } from '../report/pictures.js';
import type { Matrix } from '../results/types.js';
import { writeWhole } from '../run/store.js';
import { inNaturalOrder, shown } from './paths.js';
import { decodeMatrix, imageFiles, matrixPath, nameOf } from './run-folder.js';
import { type Terminal, terminal, warn } from './terminal.js';

export interface ImagesOptions {
  /** Also make an animation of each history. */
  readonly gif?: boolean;
  /** Also make one picture of all attacks and defences, for each student and seed. */
  readonly sheet?: boolean;
  /** Also open each grid. */
  readonly open?: boolean;
}

/** The images of one student: where they are, and what its file says of them. */
interface Cell {
  readonly folder: string;
  /** That of all images of the run. */
  readonly root: string;
  readonly file: ImagesFile;
}

/** How long a picture of a history stays, in milliseconds. */
const shownFor = 400;

/** After this many milliseconds a viewer that has not ended is one that shows the picture. */
const openBy = 2000;

const remedy = 'Run the experiment again to make it anew.';

const refuse: Refusal = refusal('usage');

const cellsOf = async (run: string): Promise<readonly Cell[]> => {
  const root = join(run, imageFiles.folder);
  const names = await readdir(root, { recursive: true }).catch(() => []);
  const lists = names.filter((name) => basename(name) === imageFiles.list).sort(inNaturalOrder);
  return Promise.all(
    lists.map(async (name) => {
      const path = join(root, name);
      const text = await orThrow(attempt('usage', () => readText(path), shown(path), remedy));
      return { root, folder: dirname(path), file: decodeImagesFile(text, shown(path)) };
    }),
  );
};

const labelOf = ({ defense, attack, student, seed }: ImagesFile): string =>
  `${defense}/${attack}/${student}/seed-${seed}`;

/** What there is to say of a cell, by name; several lines may go by one name. */
const factsOf = async ({ folder, file }: Cell, out: Terminal): Promise<readonly (readonly [string, string])[]> => {
  const findings = [...file.diagnostics]
    .sort((a, b) => Number(b.warning) - Number(a.warning))
    .map(({ warning, sentence }) => `${warning ? out.paint.warning('!') : ' '} ${sentence}`);
  const pictures = [imageFiles.grid, imageFiles.compare].map((name) => join(folder, name));
  const there = await Promise.all(pictures.map(isFile));
  const alone = file.images.filter((image) => image.file !== undefined).length;
  return [
    ['images', `${whole(file.count)} in the pool, ${whole(alone)} shown`],
    ...findings.map((finding, i) => [i === 0 ? 'findings' : '', finding] as const),
    ...pictures.filter((_, i) => there[i]).map((path) => [basename(path, '.png'), shown(path)] as const),
  ];
};

/** A picture among the images of a run, whose lists may be somebody else's. */
const pictureIn = (root: string, path: string): Promise<Picture> =>
  orThrow(
    attempt(
      'usage',
      async () => {
        const { height, width, channels, pixels } = decodeImage(await readWithin(root, path));
        return { height, width, pixels: channels === 1 ? toColour(pixels) : pixels };
      },
      shown(path),
      remedy,
    ),
  );

/** An animation of more pictures would take the memory, and nobody's time is worth more of them. */
const mostFrames = 200;

/** Pixels of an animation, all its pictures together, or of a defence's column of a sheet: some ten times as many as either has. */
const mostPixels = 1e8;

/** Makes the animation of a cell's history. Gives its path; undefined where there is no history. */
const animate = async (cell: Cell): Promise<string | undefined> => {
  const history = join(cell.folder, imageFiles.history);
  const names = await readdir(history).catch(() => []);
  const pictures = thinned(names.filter((name) => name.endsWith('.png')).sort(inNaturalOrder), mostFrames);
  if (pictures.length === 0) return undefined;
  const target = join(cell.folder, imageFiles.animation);
  const read: Picture[] = [];
  let pixels = 0;
  for (const name of pictures) {
    const picture = await pictureIn(cell.root, join(history, name));
    pixels += picture.height * picture.width;
    if (pixels > mostPixels)
      refuse(`its pictures have more than ${whole(mostPixels)} pixels together`, shown(history), remedy);
    read.push(picture);
  }
  await writeWhole(target, await orThrow(attempt('usage', () => gif(read, shownFor), shown(history), remedy)));
  return target;
};

/** Classes that have an image on a sheet, the first ones. */
const classesOnSheet = 10;

/** Of each class the image of which the victim is surest, as a path; undefined where none is shown. */
const surest = ({ folder, file: { images, classes } }: Cell): readonly (string | undefined)[] =>
  classes.slice(0, classesOnSheet).map((_, label) => {
    const sure = ({ teacher }: ImagesFile['images'][number]): number => teacher[label] ?? 0;
    const own = images.filter((image) => image.label === label && image.file !== undefined);
    const name = own.sort((one, other) => sure(other) - sure(one))[0]?.file;
    return name === undefined ? undefined : join(folder, name);
  });

/** A column of a sheet: the images of one defence, a row an attack and in it a place a class. */
const columnOf = async (attacks: readonly string[], cells: readonly [Cell, ...Cell[]]): Promise<Picture> => {
  const paths = attacks.map((attack) => {
    const cell = cells.find(({ file }) => file.attack === attack);
    return cell === undefined ? [] : surest(cell);
  });
  const known = paths.flat().filter((path) => path !== undefined);
  const pictures: Picture[] = [];
  for (const path of known) pictures.push(await pictureIn(cells[0].root, path));
  const { height, width } = pictures[0] ?? { height: 1, width: 1 };
  const other = pictures.findIndex((picture) => picture.height !== height || picture.width !== width);
  if (other !== -1) refuse(`it is not of ${height}×${width} as others are`, shown(known[other] as string), remedy);
  if (attacks.length * classesOnSheet * height * width > mostPixels)
    refuse(`a sheet would have more than ${whole(mostPixels)} pixels a defence`, shown(cells[0].root), remedy);
  return grid(
    { images: Buffer.concat(pictures.map(({ pixels }) => pixels)), shape: { height, width, channels: 3 } },
    paths.map((own, i) => ({
      label: attacks[i] as string,
      places: own.map((path) => (path === undefined ? undefined : known.indexOf(path))),
    })),
  );
};

/** Makes the sheet of each student and seed, attacks and defences in the matrix's order. Gives their paths. */
const writeSheets = async (run: string, matrix: Matrix, cells: readonly Cell[]): Promise<readonly string[]> => {
  const placeOf = (of: readonly { readonly label: string }[], name: string) =>
    of.findIndex(({ label }) => label === name);
  const ordered = [...cells].sort(
    ({ file: one }, { file: other }) =>
      placeOf(matrix.defenses, one.defense) - placeOf(matrix.defenses, other.defense) ||
      placeOf(matrix.attacks, one.attack) - placeOf(matrix.attacks, other.attack),
  );
  const paths: string[] = [];
  for (const [name, own] of grouped(ordered, ({ file }) => `${nameOf(file.student)}-seed-${nameOf(file.seed)}`)) {
    const attacks = unique(own.map(({ file }) => file.attack));
    const columns: { title: string; picture: Picture }[] = [];
    for (const [title, some] of grouped(own, ({ file }) => file.defense))
      columns.push({ title, picture: await columnOf(attacks, some as readonly [Cell, ...Cell[]]) });
    const path = join(run, imageFiles.folder, `${imageFiles.sheet}-${name}.png`);
    await writeWhole(path, pictureToPng(sideBySide(columns)));
    paths.push(path);
  }
  return paths;
};

const opener = process.platform === 'darwin' ? 'open' : 'xdg-open';

/** Opens a file in the viewer that the platform has for it. Gives what is in the way; undefined when nothing is. */
const open = (path: string): Promise<string | undefined> =>
  new Promise((resolve) => {
    // Detached: some viewers last as long as the process that starts them.
    const child = spawn(opener, [path], { stdio: 'ignore', detached: true });
    const settle = (obstacle: string | undefined): void => {
      clearTimeout(patience);
      child.unref();
      resolve(obstacle);
    };
    const patience = setTimeout(() => settle(undefined), openBy);
    child.once('error', (error: NodeJS.ErrnoException) =>
      settle(error.code === 'ENOENT' ? `${opener} is not installed` : error.message),
    );
    child.once('exit', (code, signal) => settle(code === 0 ? undefined : `${opener} failed (${code ?? signal})`));
  });

/** Opens the grids one after another. Gives whether all of those that are there were opened. */
const openAll = async (cells: readonly Cell[], out: Terminal): Promise<boolean> => {
  for (const { folder, file } of cells) {
    const path = join(folder, imageFiles.grid);
    if (!(await isFile(path))) {
      warn(out, `${labelOf(file)}: there is no ${imageFiles.grid} to open`);
      continue;
    }
    const obstacle = await open(path);
    if (obstacle !== undefined) {
      out.log(`${out.paint.bad('✗')} ${shown(path)} cannot be opened: ${obstacle}`);
      return false;
    }
  }
  return true;
};

/**
 * Lists what the attacks of a run synthesised. Gives the exit code: 1 where a picture cannot be opened. Rejects with a
 * failure of kind `usage` for a folder that is no run's and for damaged files.
 */
export const imagesCommand = async (
  run: string,
  options: ImagesOptions,
  out: Terminal = terminal(),
): Promise<number> => {
  const matrix = await matrixPath(run, 'images');
  // Any file that is named passes for one until it is read.
  const decoded = decodeMatrix(await readText(matrix), shown(matrix));
  const folder = dirname(matrix);
  const cells = await cellsOf(folder);
  if (cells.length === 0) {
    out.log(`${shown(folder)}: no attack of this run has synthesised images.`);
    return 0;
  }
  for (const [i, cell] of cells.entries()) {
    if (i > 0) out.log('');
    out.log(labelOf(cell.file));
    const facts = [...(await factsOf(cell, out))];
    if (options.gif) {
      const path = await animate(cell);
      facts.push(['history', path === undefined ? 'none to animate' : shown(path)]);
    }
    for (const [name, fact] of facts) out.log(`  ${name.padEnd(10)}  ${fact}`);
  }
  if (options.sheet) for (const path of await writeSheets(folder, decoded, cells)) out.log(`\nsheet: ${shown(path)}`);
  return options.open && !(await openAll(cells, out)) ? 1 : 0;
};
