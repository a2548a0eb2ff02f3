import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { example } from '../report/matrix.js';
import { bin, type Project, project, tiny } from './project.js';

const evil = 'a\x1b[2J\u202eb';

let at: Project;
beforeAll(async () => {
  at = project();
  await at.write('tiny.ts', tiny());
  await at.write('runs/example/matrix.json', JSON.stringify(example));
});
afterAll(() => at.remove());

/** A command whose output goes to a file, or to a reader that has gone away. */
const withOutput = (args: readonly string[], to: string | undefined): Promise<{ code: number | null; err: string }> =>
  new Promise((resolve, reject) => {
    const file = to === undefined ? undefined : openSync(to, 'w');
    const child = spawn(process.execPath, [bin, ...args], {
      cwd: at.folder,
      stdio: ['ignore', file ?? 'pipe', 'pipe'],
    });
    if (file !== undefined) closeSync(file);
    child.stdout?.destroy();
    let err = '';
    child.stderr?.on('data', (data) => {
      err += data;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, err }));
  });

const commands: readonly (readonly string[])[] = [
  ['--help'],
  ['--version'],
  ['list', '--json'],
  ['plan', 'tiny.ts', '--no-time'],
  ['matrix', 'example'],
  ['matrix', 'example', '--format', 'csv'],
  ['report', 'example'],
  ['charts', 'example'],
  ['images', 'example'],
  ['tensorboard', 'example'],
  ['doctor'],
];

describe.skipIf(process.platform !== 'linux')('where the output cannot be written', () => {
  it.each(commands.map((args) => [args]))('%j says so in a sentence', async (args) => {
    const { code, err } = await withOutput(args, '/dev/full');
    expect(err).toMatch(/^standard output: .*ENOSPC.*\n {2}What is said from here on is lost\..*\n$/);
    expect(code).toBe(1);
  });

  it('a run goes on to its end, and its matrix is kept', async () => {
    const { code, err } = await withOutput(['run', 'tiny.ts', '--threads', '1'], '/dev/full');
    expect(err).toMatch(/^standard output: .*ENOSPC/);
    expect(code).toBe(1);
    expect((await at.matrix('runs/tiny')).cells.map(({ accuracy }) => accuracy?.count)).toEqual([1, 1, 1, 1]);
  });

  it('new has written its files all the same', async () => {
    expect(await withOutput(['new', 'metric', 'full'], '/dev/full')).toMatchObject({ code: 1 });
    expect(await at.read('metrics/full.test.ts')).toContain('full');
  });
});

describe('where the reader has gone away', () => {
  it.each(commands.slice(0, 5).map((args) => [args]))('%j ends quietly', async (args) => {
    expect((await withOutput(args, undefined)).err).toBe('');
  });
});

describe('a path that will not do', () => {
  it.each([
    [['new', 'attack', 'mine'], 'attacks', /^attacks: .*EEXIST.*\n {2}A file is in the way\./],
    [['report', 'example', '--out', 'taken/page.html'], 'taken', /^\S*taken\/page\.html: .*(ENOTDIR|EEXIST)/],
  ])('%j is refused', async (args, file, says) => {
    await at.write(file, '');
    const { code, err } = await at.undistill(args);
    expect(err).toMatch(says);
    expect(code).toBe(1);
  });

  it.skipIf(process.platform !== 'linux').each(['project', 'attack'])(
    'new %s in a folder of the system is refused',
    async (kind) => {
      const { code, err } = await at.undistill(['new', kind, 'mine'], { cwd: '/sys' });
      expect(err).toMatch(/^(mine|attacks): E[A-Z]+: .*\n {2}.* [Gg]o to another folder\.\n$/);
      expect(code).toBe(1);
    },
  );

  it.skipIf(process.platform !== 'linux').each([
    ['report', 'example', '--out', '/proc/x/page.html'],
    ['report', 'example', '--out', '/proc/page.html'],
    ['tensorboard', 'example', '--out', '/proc/x'],
    ['run', 'tiny.ts', '--out', '/proc/x'],
    ['run', 'tiny.ts', '--out', '/dev/full'],
    ['run', 'tiny.ts', '--out', 'tiny.ts'],
  ])('%s %s %s %s is refused, and does not hang', async (...args) => {
    if (args[0] === 'tensorboard') await at.write('runs/example/stages/seed-0/teacher/metrics.jsonl', epoch);
    const { code, out, err } = await at.undistill(args);
    expect(err).toMatch(/(\/proc\/|\/dev\/full|tiny\.ts).*: E[A-Z]+: .*\n {2}\S.*\n$/);
    expect(out).not.toContain('mistake in undistill');
    expect(code).toBe(1);
  });

  it.skipIf(process.platform === 'win32')('is never a pipe or a device that a file would replace', async () => {
    await at.node(['-e', "require('node:child_process').execFileSync('mkfifo', ['pipe'])"]);
    const { code, err } = await at.undistill(['report', 'example', '--out', 'pipe']);
    expect(err).toMatch(/pipe: there is something of this name that is no file\n {2}Choose another with --out\./);
    expect(code).toBe(1);
    expect((await at.node(['-p', "fs.statSync('pipe').isFIFO()"])).out).toBe('true\n');
  });
});

const epoch = `${JSON.stringify({ epoch: 0, step: 1, metrics: { loss: 1 }, learningRate: 0.1, stepsPerSecond: 1 })}\n`;

describe('what steers a terminal', () => {
  it('comes from no matrix, no argument and no file', async () => {
    const renamed = JSON.parse(JSON.stringify(example).replaceAll('"kd"', JSON.stringify(evil)));
    await at.write('runs/evil/matrix.json', JSON.stringify({ ...renamed, about: evil }));
    await at.write(join('runs', 'damaged', 'matrix.json'), evil);
    await at.write('throws.ts', `throw new Error(${JSON.stringify(evil)});`);
    const said = await Promise.all(
      [
        ['matrix', 'evil'],
        ['matrix', evil],
        [evil],
        ['plan', `${evil}.ts`],
        ['plan', 'throws.ts'],
        ['matrix', 'evil', '--metric', evil],
        ['matrix', 'damaged'],
      ].map((args) => at.undistill(args)),
    );
    for (const { out, err } of said)
      for (const steering of ['\x1b', '\u202e']) expect(out + err).not.toContain(steering);
    expect(said[0]?.out).toContain('a\\x1b[2J\\u202eb');
    expect(said[1]?.err).toContain('a\\x1b[2J\\u202eb');
  });
});
