import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stageFolder } from '../../src/cli/run-folder.js';
import { tensorboardCommand } from '../../src/cli/tensorboard.js';
import { terminal } from '../../src/cli/terminal.js';
import { pictureToPng } from '../../src/report/pictures.js';
import { aRecord } from '../run/record.js';
import { emptyMatrix, type Project, project } from './project.js';

/** A Python that has `tensorboard`, whose reader then reads what was written. */
const python = process.env.UNDISTILL_TENSORBOARD_PYTHON;

const hostile = stageFolder('seed-0/none/"<b>&\' 🐈/kd(temperature 4)');
const png = pictureToPng({ width: 3, height: 2, pixels: new Uint8Array(18).fill(7) });

const line = (step: number, loss: number | null): string =>
  `${JSON.stringify({ epoch: step / 10, step, learningRate: 0.1, metrics: { loss }, stepsPerSecond: 5, validation: 0.5 })}\n`;

let at: Project;
let run: string;
const written: string[] = [];

const command = async (name: string, out?: string): Promise<string> => {
  let said = '';
  const stream = {
    write: (text: string) => {
      said += text;
      return true;
    },
  } as unknown as NodeJS.WriteStream;
  expect(await tensorboardCommand(name, out === undefined ? {} : { out }, terminal(stream, {}))).toBe(0);
  return said;
};

const filesOf = (folder: string): readonly string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.includes('tfevents'))
    .sort();

beforeAll(async () => {
  at = project();
  run = join(at.folder, 'runs', 'made');
  await at.write('runs/made/matrix.json', emptyMatrix);
  await at.write(`runs/made/stages/${hostile}/metrics.jsonl`, `${line(10, 2)}${line(20, null)}{"epoch":2,"st`);
  await at.write(
    `runs/made/stages/${hostile}/record.json`,
    JSON.stringify({
      ...aRecord,
      seconds: 60,
      provenance: { ...aRecord.provenance, finished: '2026-01-01T00:01:00.000Z' },
    }),
  );
  await at.write('runs/made/stages/seed-0/teacher/metrics-images-1.jsonl', line(7, 0.25));
  await at.write('runs/made/stages/seed-0/empty/metrics.jsonl', '');
  await at.write('runs/made/images/none/dafl/small/seed-0/images.json', '{}');
  for (const name of ['images-json', 'grid.png']) await at.write(`runs/made/images/of-a-user/${name}`, png as never);
  for (const name of ['grid.png', 'history/student-000040.png', 'history/student-000080.png'])
    await at.write(`runs/made/images/none/dafl/small/seed-0/${name}`, png as never);
  written.push(await command(run));
});
afterAll(() => at.remove());

test('each log and each student’s images are a run of TensorBoard’s', () => {
  expect(filesOf(join(run, 'tensorboard')).map((path) => path.replace(/\/[^/]+$/, ''))).toEqual([
    'images/none/dafl/small/seed-0',
    hostile,
    'seed-0/teacher/images-1',
  ]);
  expect(written[0]).toMatch(/^3 logs in .*tensorboard; tensorboard --logdir .* shows them\n$/);
});

test('the same run gives the same files', async () => {
  const out = join(at.folder, 'elsewhere');
  await command(run, out);
  for (const name of filesOf(out))
    expect(readFileSync(join(out, name))).toEqual(readFileSync(join(run, 'tensorboard', name)));
});

test('what is no picture, or has no step, is left out and said; and what a link leads to is not taken', async () => {
  const place = join(at.folder, 'runs', 'foreign');
  const own = join(place, 'images/a');
  await at.write('runs/foreign/matrix.json', emptyMatrix);
  await at.write('runs/foreign/stages/a/metrics.jsonl', `${line(2 ** 70, 2)}null\n7\n{"step":3,"metrics":"ab"}\n`);
  await at.write('runs/foreign/images/a/images.json', '{}');
  await at.write('runs/foreign/images/a/history/student-99999999999999999999.png', png as never);
  for (const name of ['1', '2'])
    await at.write(`runs/foreign/images/a/history/${name}.png`, png.subarray(0, 12) as never);
  await at.write('runs/secret.png', png as never);
  symlinkSync(join(at.folder, 'runs/secret.png'), join(own, 'grid.png'));
  const said = await command(place);
  for (const name of ['history/1.png', 'history/2.png', '99999.png'])
    expect(said).toMatch(new RegExp(`${name} is no picture, and is left out`));
  expect(filesOf(join(place, 'tensorboard')).map((path) => path.replace(/\/[^/]+$/, ''))).toEqual(['a']);
});

test('a run without a log says so', async () => {
  await at.write('runs/bare/matrix.json', emptyMatrix);
  expect(await command(join(at.folder, 'runs', 'bare'))).toContain('nothing was logged in this run');
});

test.skipIf(python === undefined)(
  'TensorBoard’s own reader reads them (UNDISTILL_TENSORBOARD_PYTHON names a Python that has it)',
  () => {
    const script = fileURLToPath(new URL('fixtures/read-events.py', import.meta.url));
    const read = JSON.parse(
      // NaN is Python's own addition to JSON.
      execFileSync(python as string, [script, join(run, 'tensorboard')], { encoding: 'utf8' }).replaceAll(
        'NaN',
        'null',
      ),
    );
    const began = Date.parse('2026-01-01T00:00:00Z') / 1000;
    expect(read[hostile]).toEqual({
      scalars: {
        loss: [
          [10, began + 30, 2],
          [20, began + 60, null],
        ],
        validation: [
          [10, began + 30, 0.5],
          [20, began + 60, 0.5],
        ],
        learning_rate: expect.any(Array),
        steps_per_second: expect.any(Array),
      },
      images: {},
    });
    const hex = Buffer.from(png).toString('hex');
    expect(read['images/none/dafl/small/seed-0'].images).toEqual({
      grid: [[0, 3, 2, hex]],
      history: [
        [40, 3, 2, hex],
        [80, 3, 2, hex],
      ],
    });
  },
);
