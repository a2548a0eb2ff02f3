import { chmod, mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { delimiter, dirname, join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ImagesOptions, imagesCommand } from '../../src/cli/images.js';
import { terminal } from '../../src/cli/terminal.js';
import { decodeImage } from '../../src/data/images.js';
import { decodeImagesFile, type ImagesFile, type SynthesisedImage } from '../../src/report/images.js';
import { type Picture, pictureToPng } from '../../src/report/pictures.js';
import { failureOf } from '../failures.js';
import { emptyMatrix, type Project, project } from './project.js';

let at: Project;
beforeAll(() => {
  at = project();
});
afterAll(() => at.remove());

const images: readonly SynthesisedImage[] = [
  { file: 'images/0.png', updates: 7, label: 0, teacher: [0.75, 0.25], verifier: [0.5, 0.25] },
  { updates: 7, label: 1, teacher: [0, 1], verifier: [0.75, 0.25] },
];

const example: ImagesFile = {
  version: 1,
  attack: 'dafl(steps 10)',
  defense: 'none',
  student: 'small',
  seed: '0',
  classes: ['cat', 'dog'],
  shape: { height: 4, width: 4, channels: 3 },
  count: 25_600,
  images,
  diagnostics: [
    { name: 'entropy', value: [0.5, 0.5], sentence: 'All classes are made alike.', warning: false },
    { name: 'variety', value: 0.01, sentence: 'The images are nearly one.', warning: true },
  ],
};

const plain = (side: number, value: number): Picture => ({
  width: side,
  height: side,
  pixels: new Uint8Array(3 * side * side).fill(value),
});

/** Writes a run by hand; `cells` are the files of each cell by its folder below `images`. */
const runOf = async (
  name: string,
  cells: Readonly<Record<string, Readonly<Record<string, string | Uint8Array>>>>,
): Promise<string> => {
  const files = Object.entries(cells).flatMap(([cell, own]) =>
    Object.entries(own).map(([file, content]) => [join('images', cell, file), content] as const),
  );
  for (const [path, content] of [['matrix.json', emptyMatrix] as const, ...files]) {
    const target = join(at.folder, 'runs', name, path);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, content);
  }
  return join(at.folder, 'runs', name);
};

const list = async (run: string, options: ImagesOptions = {}) => {
  let out = '';
  const stream = {
    write: (text: string) => {
      out += text;
      return true;
    },
  } as unknown as NodeJS.WriteStream;
  const code = await imagesCommand(run, options, terminal(stream, {}));
  return { code, lines: out.split('\n') };
};

const text = JSON.stringify(example);

describe('undistill images', () => {
  it('lists the cells, each with what is known of it and there', async () => {
    const run = await runOf('two', {
      'none/dafl(steps 10)/small/seed-0': { 'images.json': text, 'grid.png': '', 'compare.png': '' },
      'none/dafl(steps 10)/small/seed-10': {
        'images.json': JSON.stringify({ ...example, seed: '10', count: 0, images: [], diagnostics: [] }),
      },
      'none/dafl(steps 10)/small/seed-2': { 'images.json': JSON.stringify({ ...example, seed: '2' }) },
    });
    const { code, lines } = await list(run);
    expect(code).toBe(0);
    const path = (name: string) => relative('', join(run, 'images/none/dafl(steps 10)/small/seed-0', name));
    const known = [
      '  images      25,600 in the pool, 1 shown',
      '  findings    ! The images are nearly one.',
      '                All classes are made alike.',
    ];
    expect(lines).toEqual([
      'none/dafl(steps 10)/small/seed-0',
      ...known,
      `  grid        ${path('grid.png')}`,
      `  compare     ${path('compare.png')}`,
      '',
      'none/dafl(steps 10)/small/seed-2',
      ...known,
      '',
      'none/dafl(steps 10)/small/seed-10',
      '  images      0 in the pool, 0 shown',
      '',
    ]);
  });

  it('is found by the name of a run, and says so when there are no images', async () => {
    await runOf('bare', {});
    const { code, out, err } = await at.undistill(['images', 'bare']);
    expect([code, err]).toEqual([0, '']);
    expect(out).toBe('runs/bare: no attack of this run has synthesised images.\n');
  });

  it('refuses a list that no string could hold', async () => {
    const run = await runOf('endless', { 'none/dafl/small/seed-0': { 'images.json': text } });
    await truncate(join(run, 'images/none/dafl/small/seed-0/images.json'), 600 * 2 ** 20);
    expect(await failureOf(() => list(run))).toMatchObject({ what: expect.stringContaining('629,145,600 bytes') });
  });

  it('animates the histories that there are', async () => {
    const history = Object.fromEntries(
      [9, 10, 8].map((step) => [`history/step-${step}.png`, pictureToPng(plain(step, step))]),
    );
    const run = await runOf('moving', {
      'none/dafl/small/seed-0': { 'images.json': text, 'history/notes.txt': 'no picture', ...history },
      'none/dafl/small/seed-1': { 'images.json': text, 'history/notes.txt': 'no picture' },
      'none/dafl/small/seed-2': { 'images.json': text },
    });
    const { code, lines } = await list(run, { gif: true });
    expect(code).toBe(0);
    const target = join(run, 'images/none/dafl/small/seed-0/history.gif');
    expect(lines.filter((line) => line.startsWith('  history'))).toEqual([
      `  history     ${relative('', target)}`,
      '  history     none to animate',
      '  history     none to animate',
    ]);
    const made = await readFile(target);
    expect(made.toString('latin1', 0, 6)).toBe('GIF89a');
    expect([made.readUInt16LE(6), made.readUInt16LE(8)]).toEqual([10, 10]);
    // The first colour of the first picture: the numbers in the names are in order, not their digits.
    expect([...made.subarray(13, 16)]).toEqual([8, 8, 8]);
  });

  it('makes a sheet of a student and seed: a row an attack, the image of each class of which the victim is surest', async () => {
    const image = (file: string, label: number, sure: number): SynthesisedImage => ({
      ...{ file, label, verifier: [0.5, 0.5] },
      teacher: label === 0 ? [sure, 1 - sure] : [1 - sure, sure],
    });
    const cell = (attack: string, images: readonly SynthesisedImage[], values: Readonly<Record<string, number>>) => ({
      'images.json': JSON.stringify({ ...example, attack, images }),
      ...Object.fromEntries(Object.entries(values).map(([name, value]) => [name, pictureToPng(plain(4, value))])),
    });
    const run = await runOf('sheeted', {
      'none/a/small/seed-0': cell('a', [image('0.png', 1, 0.6), image('1.png', 1, 0.9)], { '0.png': 10, '1.png': 20 }),
      'none/b/small/seed-0': cell('b', [image('0.png', 0, 0.6), image('1.png', 1, 0.9)], { '0.png': 30, '1.png': 40 }),
    });
    const { code, lines } = await list(run, { sheet: true });
    const path = join(run, 'images/sheet-small-seed-0.png');
    expect([code, lines.at(-2)]).toEqual([0, `sheet: ${relative('', path)}`]);
    const { pixels, width } = decodeImage(await readFile(path));
    // 16 pixels for each of an image's 4, each way; there is no other ink of these greys.
    const amount = (value: number) => pixels.filter((each) => each === value).length / (3 * 64 * 64);
    expect([10, 20, 30, 40].map(amount)).toEqual([0, 1, 1, 1]);
    // Of the first attack the first class has none: its place stays empty, and the other class is below each other.
    const columnOf = (value: number) => (pixels.indexOf(value) / 3) % width;
    expect(columnOf(20)).toBe(columnOf(40));
    expect(columnOf(30)).toBeLessThan(columnOf(40));
  });

  it('makes no sheet of pictures that are not among the images of the run', async () => {
    await writeFile(join(at.folder, 'secret.png'), pictureToPng(plain(4, 7)));
    const file = '../../../../../../../secret.png';
    const run = await runOf('curious', {
      'none/dafl/small/seed-0': { 'images.json': JSON.stringify({ ...example, images: [{ ...images[0], file }] }) },
    });
    expect(await failureOf(() => list(run, { sheet: true }))).toMatchObject({
      kind: 'usage',
      what: `it lies outside of ${join(run, 'images')}`,
    });
  });

  it('names a damaged picture of a history', async () => {
    const run = await runOf('torn', {
      'none/dafl/small/seed-0': { 'images.json': text, 'history/1.png': pictureToPng(plain(9, 9)).subarray(0, 40) },
    });
    expect(await failureOf(() => list(run, { gif: true }))).toMatchObject({
      kind: 'usage',
      what: expect.stringContaining('PNG'),
      where: expect.stringMatching(/seed-0\/history\/1\.png$/),
      remedy: expect.stringContaining('again'),
    });
  });

  const long = { width: 1, height: 70_000, pixels: new Uint8Array(210_000) };
  const large = pictureToPng({ width: 4000, height: 4000, pixels: new Uint8Array(48_000_000) });
  it.each([
    ['longer than a GIF can be', { '1.png': pictureToPng(long) }, /are no animation/],
    [
      'that would take all memory',
      Object.fromEntries(Array.from({ length: 7 }, (_, i) => [`${i}.png`, large])),
      /more than 100,000,000 pixels/,
    ],
  ])('animates no history %s', async (name, pictures, what) => {
    const history = Object.fromEntries(Object.entries(pictures).map(([file, png]) => [`history/${file}`, png]));
    const run = await runOf(name, { 'none/dafl/small/seed-0': { 'images.json': text, ...history } });
    expect(await failureOf(() => list(run, { gif: true }))).toMatchObject({
      kind: 'usage',
      what: expect.stringMatching(what),
      where: expect.stringMatching(/seed-0\/history$/),
    });
  });

  it.each([
    ['of several sizes', [plain(4, 1), plain(5, 2)], /not of 4×4/],
    ['that would take all memory', [{ width: 3300, height: 3300, pixels: new Uint8Array(32_670_000) }], /100,000,000/],
  ])('makes no sheet of pictures %s', async (name, pictures, what) => {
    const own = pictures.map((_, label) => ({ ...(images[0] as SynthesisedImage), label, file: `${label}.png` }));
    const files = Object.fromEntries(pictures.map((picture, i) => [`${i}.png`, pictureToPng(picture)]));
    const run = await runOf(name, {
      'none/dafl/small/seed-0': { 'images.json': JSON.stringify({ ...example, images: own }), ...files },
    });
    expect(await failureOf(() => list(run, { sheet: true }))).toMatchObject({
      kind: 'usage',
      what: expect.stringMatching(what),
    });
  });

  it('takes sizes from the pictures, whatever their list says of them', async () => {
    const shape = { height: 1e9, width: 1e9, channels: 3 };
    const run = await runOf('announced', {
      'none/dafl/small/seed-0': {
        'images.json': JSON.stringify({ ...example, shape, images: [{ ...images[0], file: '0.png' }] }),
        '0.png': pictureToPng(plain(4, 1)),
      },
    });
    expect((await list(run, { sheet: true })).code).toBe(0);
  });

  describe.skipIf(process.platform === 'win32')('opens', () => {
    /** A folder for PATH with an opener that notes what it is given, or fails. */
    const viewer = async (name: string, script: string): Promise<string> => {
      for (const opener of ['xdg-open', 'open']) {
        await at.write(`${name}/${opener}`, `#!/bin/sh\n${script}\n`);
        await chmod(join(at.folder, name, opener), 0o755);
      }
      return join(at.folder, name);
    };

    it('the grids that are there, and says which are not', async () => {
      const run = await runOf('seen', {
        'none/dafl/small/seed-0': { 'images.json': text, 'grid.png': '' },
        'none/dafl/small/seed-1': { 'images.json': JSON.stringify({ ...example, seed: '1' }) },
      });
      const bin = await viewer('good', `echo "$1" >> '${join(at.folder, 'opened')}'`);
      const path = `${bin}${delimiter}${process.env.PATH}`;
      const { code, out } = await at.undistill(['images', 'seen', '--open'], { env: { PATH: path } });
      expect(code).toBe(0);
      expect(out).toContain('! none/dafl(steps 10)/small/seed-1: there is no grid.png to open\n');
      expect(await at.read('opened')).toBe(`${join(run, 'images/none/dafl/small/seed-0/grid.png')}\n`);
    });

    it('nothing where there is no viewer, and says what is missing', async () => {
      await runOf('unseen', { 'none/dafl/small/seed-0': { 'images.json': text, 'grid.png': '' } });
      const missing = await at.undistill(['images', 'unseen', '--open'], { env: { PATH: at.folder } });
      expect(missing.code).toBe(1);
      expect(missing.out).toMatch(/grid\.png cannot be opened: (xdg-)?open is not installed\n$/);
      const failing = await at.undistill(['images', 'unseen', '--open'], {
        env: { PATH: await viewer('bad', 'exit 3') },
      });
      expect(failing.code).toBe(1);
      expect(failing.out).toMatch(/cannot be opened: (xdg-)?open failed \(3\)\n$/);
    });
  });

  it('refuses what is no run', async () => {
    await at.write('elsewhere/notes.txt', '{}');
    const folder = await at.undistill(['images', 'elsewhere']);
    expect(folder.code).toBe(2);
    expect(folder.err).toMatch(/^elsewhere: there is no matrix\.json.*\n {2}.*undistill images quickstart/);
    expect(await failureOf(() => list(join(at.folder, 'elsewhere/notes.txt')))).toMatchObject({
      kind: 'usage',
      where: expect.stringMatching(/notes\.txt$/),
    });
  });

  it('names a damaged list', async () => {
    const run = await runOf('damaged', {
      'none/dafl/small/seed-0': { 'images.json': text },
      'none/dafl/small/seed-1': { 'images.json': text.slice(0, 99) },
    });
    expect(await failureOf(() => list(run))).toEqual({
      _tag: 'Failure',
      kind: 'usage',
      what: 'the file is not JSON',
      where: relative('', join(run, 'images/none/dafl/small/seed-1/images.json')),
      remedy: 'Run the experiment again to make it anew.',
    });
  });
});

describe('a list of images', () => {
  it('is what was written', () => {
    expect(decodeImagesFile(text, 'x')).toEqual(example);
  });

  it('has NaN where a number was not finite', () => {
    const infinite = {
      ...example,
      diagnostics: [{ name: 'kl', value: [Number.POSITIVE_INFINITY], sentence: '', warning: true }],
    };
    expect(decodeImagesFile(JSON.stringify(infinite), 'x').diagnostics[0]?.value).toEqual([Number.NaN]);
  });

  it.each([null, [], { ...example, version: 2 }])(
    'is refused when it is of no version that is known: %j',
    async (value) => {
      expect(await failureOf(() => decodeImagesFile(JSON.stringify(value), 'x/images.json'))).toMatchObject({
        ...{
          kind: 'usage',
          what: 'the file is no list of images of this version of undistill',
          where: 'x/images.json',
        },
        remedy: expect.stringContaining('again'),
      });
    },
  );

  const whole = { name: 'a', value: 1, sentence: 'b', warning: true };
  it.each<[unknown, string, string]>([
    [{ ...example, attack: undefined }, '', 'attack is missing'],
    [{ ...example, seed: null }, '', 'seed is null'],
    [{ ...example, classes: 'cat' }, '', 'classes is "cat"'],
    [{ ...example, count: -1 }, '', 'count is -1'],
    [{ ...example, shape: { height: 4, width: 4, channels: 2 } }, ': shape', 'channels is 2'],
    [{ ...example, images: {} }, '', 'images is {}'],
    [{ ...example, images: [images[0], { ...images[1], label: 2 }] }, ': images: 1', 'label is 2'],
    [{ ...example, images: [{ ...images[0], teacher: [1] }] }, ': images: 0', 'teacher is [1]'],
    [{ ...example, images: [{ ...images[0], verifier: [1, '0'] }] }, ': images: 0: verifier', '1 is "0"'],
    [{ ...example, images: [{ ...images[0], file: 7 }] }, ': images: 0', 'file is 7'],
    [{ ...example, diagnostics: [7] }, ': diagnostics', '0 is 7'],
    [{ ...example, diagnostics: [{ ...whole, value: '1' }] }, ': diagnostics: 0', 'value is "1"'],
    [{ ...example, diagnostics: [{ ...whole, warning: undefined }] }, ': diagnostics: 0', 'warning is missing'],
  ])('is refused when it is damaged: %j', async (value, where, what) => {
    const failure = await failureOf(() => decodeImagesFile(JSON.stringify(value), 'x/images.json'));
    expect(failure).toMatchObject({ kind: 'usage', what, where: `x/images.json${where}` });
    expect(failure.remedy).toMatch(/^Give .* again/);
  });
});
