import { mkdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reportCommand } from '../../src/cli/report.js';
import { runReader } from '../../src/cli/report-run.js';
import { terminal } from '../../src/cli/terminal.js';
import { FailureError } from '../../src/core/errors.js';
import { pageOf } from '../../src/report/html/model.js';
import type { ImagesFile } from '../../src/report/images.js';
import { pictureToPng } from '../../src/report/pictures.js';
import { cell, example, result } from '../report/matrix.js';
import { aRecord } from '../run/record.js';
import { type Project, project } from './project.js';

let at: Project;
beforeAll(() => {
  at = project();
});
afterAll(() => at.remove());

const picture = (side: number): Buffer =>
  pictureToPng({ width: side, height: side, pixels: Uint8Array.from({ length: 3 * side * side }, (_, i) => i) });

const list = (files: readonly string[]): ImagesFile => ({
  version: 1,
  attack: 'kd',
  defense: 'none',
  student: 'small',
  seed: '0',
  classes: ['cat', '<dog>'],
  shape: { height: 4, width: 4, channels: 3 },
  count: files.length,
  images: files.map((file, i) => ({ file, updates: 3, label: i % 2, teacher: [0.25, 0.75], verifier: [0.5, 0.25] })),
  diagnostics: [{ name: 'entropy', value: 0.5, sentence: 'All classes are made alike.', warning: true }],
});

const plan = {
  version: 1,
  experiment: 'example',
  stages: [
    { id: 'aaaa', label: 'seed-0/teacher', kind: 'teacher', inputs: {}, parts: {} },
    { id: 'bbbb', label: 'seed-0/none/small/kd', kind: 'steal', inputs: { victim: 'aaaa' }, parts: {} },
    { id: 'cccc', label: 'seed-0/none/small/kd/evaluate', kind: 'evaluate', inputs: {}, parts: {} },
  ],
  cells: [
    {
      attack: 'kd',
      defense: 'none',
      student: 'small',
      seed: '0',
      stages: { steal: 'bbbb', measure: 'x', baseline: 'y', baselineMeasure: 'z' },
    },
  ],
  code: {},
};

const record = JSON.stringify(aRecord);

const line = (epoch: number): string => `${JSON.stringify({ epoch, metrics: { loss: 1 / (epoch + 1) } })}\n`;

/** Writes files below the project's folder. */
const write = async (files: Readonly<Record<string, string | Uint8Array>>): Promise<void> => {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(at.folder, path)), { recursive: true });
    await writeFile(join(at.folder, path), content);
  }
};

const cellFolder = 'images/none/kd/small/seed-0';

/** A finished run with all that a report shows. */
const finished = async (name: string): Promise<string> => {
  await write({
    [`runs/${name}/matrix.json`]: JSON.stringify({ ...example, experiment: name }),
    [`runs/${name}/matrix.csv`]: '',
    [`runs/${name}/plan.json`]: JSON.stringify(plan),
    [`runs/${name}/stages/seed-0/teacher/metrics.jsonl`]: line(0),
    [`runs/${name}/stages/seed-0/teacher/record.json`]: record,
    [`runs/${name}/stages/seed-0/none/small/kd/metrics.jsonl`]: line(0) + line(1),
    [`runs/${name}/stages/seed-0/none/small/kd/metrics-images-10.jsonl`]: line(0),
    [`runs/${name}/stages/seed-0/none/small/kd/metrics-images-9.jsonl`]: line(0),
    [`runs/${name}/stages/seed-0/none/small/kd/record.json`]: record,
    [`runs/${name}/${cellFolder}/images.json`]: JSON.stringify(list(['a b.png', 'large.png', 'gone.png', 'no.png'])),
    [`runs/${name}/${cellFolder}/a b.png`]: picture(4),
    [`runs/${name}/${cellFolder}/large.png`]: picture(200),
    [`runs/${name}/${cellFolder}/no.png`]: 'this is no picture',
    [`runs/${name}/${cellFolder}/grid.png`]: picture(8),
    [`runs/${name}/${cellFolder}/compare.png`]: picture(8),
  });
  return join(at.folder, 'runs', name);
};

const reading = (folder: string, embed = 1e6) => runReader(folder, { embed }).read();

describe('what is read of a run', () => {
  it('is its matrix, its plan, its logs and its pictures', async () => {
    const run = await reading(await finished('whole'));
    expect(run.matrix?.experiment).toBe('whole');
    expect(run.stages.get('bbbb')).toMatchObject({
      state: 'finished',
      logs: [
        { fit: '', epochs: [{ epoch: 0 }, { epoch: 1 }] },
        { fit: 'images-9', epochs: [{ epoch: 0 }] },
        { fit: 'images-10', epochs: [{ epoch: 0 }] },
      ],
    });
    expect(run.stages.has('cccc')).toBe(false);
    expect(run.files.map(({ name }) => name)).toEqual(['matrix.csv', 'matrix.json']);
    const [images] = run.images;
    // The one that is missing and the one that is none are left out; the large one is made small.
    expect(images?.thumbnails.map(({ width, label }) => [width, label])).toEqual([
      [4, 0],
      [64, 1],
    ]);
    expect(images?.thumbnails.every(({ source }) => source.startsWith('data:image/png;base64,'))).toBe(true);
    expect(images?.links).toEqual([
      ['grid.png', `${cellFolder}/grid.png`],
      ['compare.png', `${cellFolder}/compare.png`],
    ]);
  });

  it('has addresses in place of the pictures that would be too many', async () => {
    const folder = await finished('many');
    const sources = async (embed: number) =>
      (await reading(folder, embed)).images[0]?.thumbnails.map(({ source }) => source.slice(0, 60));
    expect(await sources(0)).toEqual([`${cellFolder}/a%20b.png`, `${cellFolder}/large.png`]);
    const [first, second] = (await sources(300)) ?? [];
    expect(first).toMatch(/^data:/);
    expect(second).toBe(`${cellFolder}/large.png`);
  });

  it('is no file from outside its images', async () => {
    const folder = await finished('outside');
    await write({ 'secret.png': picture(4) });
    await symlink(join(at.folder, 'secret.png'), join(folder, cellFolder, 'link.png'));
    const names = [
      '../../../../../../../secret.png',
      join(at.folder, 'secret.png'),
      'link.png',
      '../../../../../matrix.csv',
    ];
    await write({ [`runs/outside/${cellFolder}/images.json`]: JSON.stringify(list(names)) });
    expect((await reading(folder)).images[0]?.thumbnails).toEqual([]);
  });

  it('is as much as there is of a run that is half written', async () => {
    await write({
      'half/runs/half/plan.json': JSON.stringify(plan),
      'half/runs/.store/aaaa/record.json': '{}',
      'half/runs/.store/aaaa/metrics.jsonl': line(0) + line(1),
      'half/runs/.store/bbbb.partial/metrics.jsonl': line(0) + line(1).slice(0, 12),
      'half/runs/half/images/none/kd/small/seed-0/images.json': '{"version":1,',
      'half/runs/half/images/none/kd/small/seed-1/a.png': picture(4),
    });
    const run = await reading(join(at.folder, 'half/runs/half'));
    expect(run.matrix).toBeUndefined();
    expect(run.stages.get('aaaa')).toMatchObject({
      state: 'finished',
      logs: [{ epochs: [{ epoch: 0 }, { epoch: 1 }] }],
    });
    expect(run.stages.get('bbbb')).toMatchObject({ state: 'begun', logs: [{ epochs: [{ epoch: 0 }] }] });
    expect(run.images).toEqual([]);
  });

  it('has what is not finite as such, and a parameter that is left open', async () => {
    const folder = await finished('infinite');
    const student = {
      images: 10,
      last: 0.5,
      metrics: { accuracy: 0.5, negativeLogLikelihood: Number.POSITIVE_INFINITY },
    };
    const cells = [cell('kd', 'none', [result('0', 0.5, { student })])];
    const attacks = example.attacks.map((attack) => ({ ...attack, params: { adversary: null } }));
    await write({ 'runs/infinite/matrix.json': JSON.stringify({ ...example, attacks, cells }) });
    const { matrix } = await reading(folder);
    expect(matrix?.cells[0]?.seeds[0]?.student?.metrics).toEqual({ accuracy: 0.5, negativeLogLikelihood: Number.NaN });
    expect(matrix?.attacks[0]?.params).toEqual({ adversary: null });
    expect(JSON.stringify(pageOf(await reading(folder)).details)).toContain('"values":["not finite"]');
  });

  it('is said to be another when something was written', async () => {
    const folder = await finished('marked');
    const reader = runReader(folder, { embed: 0 });
    const first = await reader.mark();
    expect(await reader.mark()).toBe(first);
    await write({ 'runs/.store/aaaa.partial/metrics.jsonl': line(0) });
    const second = await reader.mark();
    expect(second).not.toBe(first);
    await rm(join(at.folder, 'runs/.store'), { recursive: true });
    expect(await reader.mark()).toBe(first);
  });
});

describe('undistill report', () => {
  const told = async (run: string, out?: string) => {
    const lines: string[] = [];
    const stream = { write: (text: string) => lines.push(text) > 0 } as unknown as NodeJS.WriteStream;
    const code = await reportCommand(run, out === undefined ? {} : { out }, terminal(stream, {}));
    return { code, lines };
  };

  it('writes one file beside the matrix, or where it is told to', async () => {
    const folder = await finished('written');
    for (const run of [folder, join(folder, 'matrix.json'), join(folder, 'plan.json')]) {
      await rm(join(folder, 'report.html'), { force: true });
      expect(await told(run)).toEqual({ code: 0, lines: [`report: ${join(folder, 'report.html')}\n`] });
      expect(await readFile(join(folder, 'report.html'), 'utf8')).toContain('<h1><bdi>written</bdi></h1>');
    }
    const elsewhere = join(at.folder, 'other', 'page.html');
    await told(folder, elsewhere);
    expect(await readFile(elsewhere, 'utf8')).toContain('href="../runs/written/matrix.csv"');
  });

  it('refuses what is no run, and a matrix that is damaged', async () => {
    const refused = async (run: string) => {
      try {
        return await told(run);
      } catch (error) {
        return error instanceof FailureError ? error.failure : error;
      }
    };
    expect(await refused(join(at.folder, 'nothing'))).toMatchObject({
      kind: 'usage',
      where: join(at.folder, 'nothing'),
    });
    await write({ 'runs/damaged/matrix.json': '{' });
    expect(await refused(join(at.folder, 'runs/damaged'))).toMatchObject({
      kind: 'usage',
      what: 'the file is not JSON',
    });
    const { victims: _, best: __, ...lacking } = example;
    await write({ 'runs/damaged/matrix.json': JSON.stringify(lacking) });
    expect(await refused(join(at.folder, 'runs/damaged'))).toMatchObject({
      kind: 'usage',
      what: 'victims is missing',
    });
    await truncate(join(at.folder, 'runs/damaged/matrix.json'), 600 * 2 ** 20);
    expect(await refused(join(at.folder, 'runs/damaged'))).toMatchObject({
      kind: 'usage',
      what: expect.stringContaining('629,145,600 bytes'),
    });
    await write({ 'notes.txt': 'mine' });
    expect(await refused(join(at.folder, 'notes.txt'))).toMatchObject({ kind: 'usage' });
  });
});
