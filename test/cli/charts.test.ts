import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Project, project, tiny } from './project.js';

const names = [
  'accuracy-by-omega-of-nasty',
  'attacks-and-defences',
  'measures',
  'training-of-students',
  'training-of-teachers',
];

let home: Project;
let charts: string;

beforeAll(async () => {
  home = project();
  charts = join(home.folder, 'runs', 'tiny', 'charts');
  await home.write(
    'tiny.ts',
    tiny({
      imports: `import { sweep } from 'undistill';`,
      defenses: `{ ...none(), label: '<none> "/" 🦊' }, ...sweep(nasty, { omega: [0, 0.01, 0.04] })`,
    }),
  );
});
afterAll(() => home.remove());

test('a run draws its charts: pictures, data and specification of each', async () => {
  const { code, out } = await home.undistill(['run', 'tiny.ts']);
  expect(code, out).toBe(0);
  expect(out).toMatch(/6 charts: runs.tiny.charts\n/);
  const files = await readdir(charts);
  expect(files.filter((name) => name.endsWith('.svg')).sort()).toEqual(
    [...names, 'utility-against-distillability'].map((name) => `${name}.svg`),
  );
  expect(files).toHaveLength(4 * 6);
  const csv = await home.read('runs/tiny/charts/accuracy-by-omega-of-nasty.csv');
  expect(csv.split('\r\n')[1]).toMatch(/^"?plainCnn.*,kd,student,0,/);
  expect(await home.read('runs/tiny/charts/attacks-and-defences.csv')).toContain('"<none> ""/"" 🦊"');
  expect(await home.read('runs/tiny/charts/training-of-teachers.csv')).toContain('held-out images,teacher,3,');
  const spec = JSON.parse(await home.read('runs/tiny/charts/training-of-students.vl.json'));
  expect(spec.$schema).toContain('vega-lite');
  expect(spec.data.values.length).toBeGreaterThan(0);
});

test('undistill charts draws them again, half a log included, and takes away those that are no more', async () => {
  await rm(join(charts, 'attacks-and-defences.png'));
  for (const ending of ['.svg', '.vl.json']) await writeFile(join(charts, `old${ending}`), 'old');
  await writeFile(join(charts, 'mine.svg'), 'of a user');
  await writeFile(
    join(home.folder, 'runs', 'tiny', 'stages', 'seed-0', 'teacher', 'metrics.jsonl'),
    '{"epoch":0,"metrics":{"accuracy":0.5}}\n{"epoch":1,"metr',
  );
  const { code, out } = await home.undistill(['charts', 'tiny']);
  expect(code, out).toBe(0);
  for (const name of names) expect(out).toContain(`${name}.svg`);
  const files = await readdir(charts);
  expect(files).toContain('mine.svg');
  expect(files.filter((name) => name.startsWith('old'))).toEqual([]);
  expect(files).toContain('attacks-and-defences.png');
});

test('what is in the way of charts is a note and no failure of the run', async () => {
  await rm(charts, { recursive: true });
  await writeFile(charts, 'a file');
  const { code, out } = await home.undistill(['run', 'tiny.ts']);
  expect(code, out).toBe(0);
  expect(out).toMatch(/! no charts: .*charts/);
});

test('without a run, and of a run of which nothing is finished', async () => {
  expect(await home.undistill(['charts', 'nothing'])).toMatchObject({ code: 2 });
  const matrix = await home.matrix('runs/tiny');
  await mkdir(join(home.folder, 'empty'));
  await home.write('empty/matrix.json', JSON.stringify({ ...matrix, cells: [], victims: [], best: [] }));
  const { code, out } = await home.undistill(['charts', 'empty']);
  expect(code).toBe(0);
  expect(out).toContain('Nothing is finished');
  expect(await stat(join(home.folder, 'empty', 'charts')).catch(() => undefined)).toBeUndefined();
});
