import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { FitProfile } from '../../src/run/profiling.js';
import { type Project, project, tiny } from './project.js';

let at: Project;
beforeAll(async () => {
  at = project();
  await at.write('tiny.ts', tiny());
});
afterAll(() => at.remove());

const profiled = (...more: readonly string[]) => at.undistill(['profile', 'tiny.ts', '--steps', '3', ...more]);

/** The rows of a table that begins with a heading, as their cells. */
const rowsOf = (out: string, heading: RegExp): readonly (readonly string[])[] => {
  const lines = out.split('\n');
  const from = lines.findIndex((line) => heading.test(line));
  const to = lines.indexOf('', from);
  return lines.slice(from + 1, to < 0 ? undefined : to).map((line) => line.trim().split(/ {2,}/));
};

const sharesOf = (rows: readonly (readonly string[])[]): readonly number[] =>
  rows.map((row) => Number(row.at(-1)?.replace(' %', '')));

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

it('shows where the time of a step goes, by layer and by operation, and writes all of it', async () => {
  const { code, out } = await profiled('--stage', 'none/plainCnn/kd', '--out', 'found');
  expect(code).toBe(0);
  expect(out).toMatch(/^seed-0\/none\/plainCnn\/kd: /m);
  expect(out).toMatch(
    /^fit student, 16 images a step: \S+ ms compiled; \S+ ms operation by operation, of which \S+ in operations \(medians of 3 steps\)$/m,
  );
  const layers = rowsOf(out, /^layer +forward +backward +update +ms +share$/);
  const operations = rowsOf(out, /^operation +calls +ms +share$/);
  for (const rows of [layers, operations]) {
    expect(rows.length).toBeGreaterThan(3);
    expect(rows.length).toBeLessThanOrEqual(21);
    // What takes most comes first.
    const listed = sharesOf(rows).slice(0, 20);
    expect(listed).toEqual([...listed].sort((a, b) => b - a));
  }
  // All of the time is some row's, or of those that have none of their own; shares are rounded.
  for (const rows of [layers, operations]) expect(Math.abs(sum(sharesOf(rows)) - 100)).toBeLessThan(2);
  const [layer, operation] = [layers, operations].map((rows) => rows.map(([name]) => name));
  expect(layer).toContain('victim: conv1');
  expect(layer).toContain('net: conv1');
  expect(operation?.some((name) => /conv/i.test(name as string))).toBe(true);

  const name = 'seed-0/none/plainCnn/kd/student';
  const file = (ending: string) => readFile(join(at.folder, 'found', name + ending), 'utf8');
  expect(out).toContain(`chart, its data, and all of it as JSON: found/${name}.*`);
  const found: FitProfile = JSON.parse(await file('.json'));
  expect(found).toMatchObject({ stage: 'seed-0/none/plainCnn/kd', fit: 'student', images: 16, steps: 3 });
  expect(found.operations.length).toBeGreaterThanOrEqual(Math.min(20, operations.length));
  expect(sum(found.operations.map(({ seconds }) => seconds))).toBeCloseTo(found.inOperations, 9);
  const [header, ...rows] = (await file('.csv')).trim().split('\r\n');
  expect(header).toBe('layer,phase,order,milliseconds');
  for (const phase of ['forward', 'backward', 'update'])
    expect(rows.some((row) => row.startsWith(`net: conv1,${phase},`))).toBe(true);
  expect(rows.length).toBe(3 * new Set(rows.map((row) => row.split(',')[0])).size);
  const svg = await file('.svg');
  expect(svg).toMatch(/^<svg /);
  expect(svg).toContain('A step of seed-0/none/plainCnn/kd');
  expect((await readFile(join(at.folder, 'found', `${name}.png`))).subarray(1, 4).toString()).toBe('PNG');
});

it('takes the theft of the most steps, into the run’s own folder, and says which stages there are', async () => {
  const { code, out } = await profiled();
  expect(code).toBe(0);
  expect(out).toMatch(/^seed-0\/.*plainCnn\/(kd|scratch): /m);
  expect(out).toMatch(/as JSON: runs\/tiny\/profile\/seed-0\/\S+\/student\.\*$/m);
  const none = await profiled('--stage', 'nowhere');
  expect(none.code).toBe(2);
  expect(none.err).toMatch(/--stage: no stage that trains something matches nowhere/);
  expect(none.err).toContain('seed-0/teacher');
});

it('looks at one experiment, and asks which where a file has several', async () => {
  const one = tiny().replace('export default experiment', 'const one = ');
  await at.write('both.ts', `${one}export default [experiment(one), experiment({ ...one, name: 'other' })];\n`);
  const { code, err } = await at.undistill(['profile', 'both.ts']);
  expect([code, err]).toEqual([2, 'both.ts: the file has several experiments\n  Say which: both.ts#NAME.\n']);
});
