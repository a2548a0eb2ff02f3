import { existsSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nameOf } from '../../src/cli/run-folder.js';
import { decodeImage } from '../../src/data/images.js';
import { decodeImagesFile, type ImagesFile } from '../../src/report/images.js';
import { type Project, project, type Ran, tiny } from './project.js';

let at: Project;
beforeAll(async () => {
  at = project();
  await at.write(
    'tiny.ts',
    tiny({
      imports: "import { dafl, deepInversion } from 'undistill';",
      attacks: `
    dafl({ batch: 8, epochs: 2, stepsPerEpoch: 20, latent: 6, width: 4, keep: 60, pictureEvery: 10 }),
    ...['my/own', 'my:own'].map((label, i) =>
      deepInversion({ batch: 6, iterations: 8, batches: 2, steps: 6 + i, pictureEvery: 4, label }))`,
    }),
  );
});
afterAll(() => at.remove());

const run = ['run', 'tiny.ts', '--threads', '1', '--checkpoint-every', '4'];
const cells = ['none', 'nasty'].flatMap((defense) =>
  (['dafl', 'my/own', 'my:own'] as const).map((attack) => [defense, attack] as const),
);
const folder = (defense: string, attack: string, name = 'tiny'): string =>
  // A label is one folder, be there a slash in it, and no other label's.
  join(at.folder, 'runs', name, 'images', defense, nameOf(attack), 'plainCnn/seed-0');
const listed = async (...where: Parameters<typeof folder>): Promise<ImagesFile> => {
  const path = join(folder(...where), 'images.json');
  return decodeImagesFile(await readFile(path, 'utf8'), path);
};
const picture = async (...path: string[]) => decodeImage(await readFile(join(...path)));

describe('a run of data-free attacks', () => {
  let stopped: Ran;
  let whole: Ran;
  beforeAll(async () => {
    // Honest training takes 27 steps: it is the first DAFL that is stopped.
    stopped = await at.undistill(run, { env: { STOP: 'SIGINT student 34' } });
  });

  it('shows how it goes while it goes: a stopped one leaves its pictures, and nothing that is finished', async () => {
    expect(stopped).toMatchObject({ code: 130, err: '' });
    expect(await readdir(folder('none', 'dafl'))).toEqual(['history']);
    expect((await readdir(join(folder('none', 'dafl'), 'history'))).sort()).toEqual([
      'student-000010.png',
      'student-000020.png',
      'student-000030.png',
    ]);
    whole = await at.undistill(run);
    expect(whole).toMatchObject({ code: 0, err: '' });
  });

  it('says where the images are, and what is to be minded', () => {
    expect(stopped.out).not.toContain('synthesised images:');
    expect(whole.out).toContain('synthesised images: runs/tiny/images; undistill images runs/tiny lists them');
    expect(whole.out).toContain('pool too small to compare: 12 images, and fewer than 10,000 say little');
  });

  it.each(cells)('writes a grid, a list, and each image of the grid (%s, %s)', async (defense, attack) => {
    const own = folder(defense, attack);
    const file = await listed(defense, attack);
    expect(file).toMatchObject({
      attack,
      defense,
      student: 'plainCnn',
      seed: '0',
      shape: { height: 8, width: 8, channels: 1 },
      count: attack === 'dafl' ? 60 : 12,
    });
    expect(file.images.length).toBe(file.count);
    expect(file.diagnostics.length).toBe(9);

    const singles = file.images.flatMap((image) => (image.file === undefined ? [] : [image.file]));
    const expected = file.images.flatMap(({ label, teacher }, i) => {
      const before = file.images.slice(0, i).filter((other) => other.label === label).length;
      const confidence = Math.round(100 * (teacher[label] as number));
      return before < 10 ? [`${String(i).padStart(4, '0')}-class ${label}-${confidence}.png`] : [];
    });
    expect(singles).toEqual(expected);
    const compared = defense === 'nasty' ? ['compare.png'] : [];
    expect((await readdir(own)).sort()).toEqual([...singles, ...compared, 'grid.png', 'history', 'images.json'].sort());
    for (const name of singles) expect(await picture(own, name)).toMatchObject({ height: 8, width: 8, channels: 1 });
    // An image of 8×8 is eight times as large in a grid, whose rows are four classes.
    const grid = await picture(own, 'grid.png');
    expect(grid.height).toBeGreaterThan(4 * 64);
    expect(grid.width).toBeGreaterThan(2 * 64);
  });

  it.each(cells)('writes pictures of how it went, all of them (%s, %s)', async (defense, attack) => {
    const history = join(folder(defense, attack), 'history');
    const names = (await readdir(history)).sort();
    expect(names).toEqual(
      attack === 'dafl'
        ? [10, 20, 30, 40].map((step) => `student-0000${step}.png`)
        : [0, 1].flatMap((lot) => [4, 8].map((step) => `images-${lot}-00000${step}.png`)),
    );
    // Eight or six images in a square of three a side.
    for (const name of names) expect(await picture(history, name)).toMatchObject({ height: 24, width: 24 });
  });

  it('shows what became of the images on a defended teacher beside those on a plain one', async () => {
    for (const [, attack] of cells.slice(0, 3)) {
      const [plain, spoilt] = await Promise.all(
        ['none', 'nasty'].map((defense) => picture(folder(defense, attack), 'grid.png')),
      );
      const compare = await picture(folder('nasty', attack), 'compare.png');
      expect(compare.width).toBeGreaterThan((plain?.width as number) + (spoilt?.width as number));
      expect(compare.height).toBeGreaterThan(Math.max(plain?.height as number, spoilt?.height as number));
      expect(existsSync(join(folder('none', attack), 'compare.png'))).toBe(false);
    }
  });

  it('is listed by undistill images', async () => {
    const { code, out, err } = await at.undistill(['images', 'tiny']);
    expect([code, err]).toEqual([0, '']);
    const heads = out.split('\n').filter((line) => line !== '' && !line.startsWith(' '));
    expect(heads.sort()).toEqual([
      'nasty/dafl/plainCnn/seed-0',
      'nasty/my/own/plainCnn/seed-0',
      'nasty/my:own/plainCnn/seed-0',
      'none/dafl/plainCnn/seed-0',
      'none/my/own/plainCnn/seed-0',
      'none/my:own/plainCnn/seed-0',
    ]);
    for (const [defense, attack] of cells) {
      const { images } = await listed(defense, attack);
      const count = attack === 'dafl' ? 60 : 12;
      const alone = images.filter(({ file }) => file !== undefined).length;
      expect(out).toContain(`  images      ${count} in the pool, ${alone} shown\n`);
    }
    expect(out.match(/^ {2}grid {8}runs\/tiny\/images\/.*\/grid\.png$/gm)?.length).toBe(6);
    expect(out.match(/^ {2}compare {5}runs\/tiny\/images\/nasty\/.*\/compare\.png$/gm)?.length).toBe(3);
  });

  it('is cached the next time, and writes the images anew where they were removed', async () => {
    const before = await readFile(join(folder('nasty', 'dafl'), 'grid.png'));
    await rm(join(at.folder, 'runs/tiny/images'), { recursive: true });
    const again = await at.undistill(run);
    expect(again).toMatchObject({ code: 0, err: '' });
    expect(again.out).toContain('11 of 11 trainings are there from before');
    expect((await readFile(join(folder('nasty', 'dafl'), 'grid.png'))).equals(before)).toBe(true);
    expect((await readdir(join(folder('none', 'dafl'), 'history'))).length).toBe(4);
  });
});

describe('a fraction of the schedules', () => {
  it('is a run of another name, of shorter trainings and fewer images', async () => {
    const { code, err } = await at.undistill([...run, '--scale', '0.25', '--only', 'none/*/my/own']);
    expect([code, err]).toEqual([0, '']);
    const { experiment, about } = await at.matrix('runs/tiny-scale-0.25');
    expect([experiment, about]).toEqual(['tiny-scale-0.25', 'at 25 % of its schedules']);
    expect((await listed('none', 'my/own', 'tiny-scale-0.25')).count).toBe(6);
    // Half of a batch’s iterations, since there is one batch at least.
    const history = await readdir(join(folder('none', 'my/own', 'tiny-scale-0.25'), 'history'));
    expect(history.sort().at(-1)).toBe('images-0-000004.png');
  });

  it.each(['0', '2', 'half'])('cannot be %s', async (scale) => {
    const { code, err } = await at.undistill(['plan', 'tiny.ts', '--scale', scale]);
    expect(code).toBe(2);
    expect(err).toMatch(/scale/);
  });
});
