import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Matrix } from '../../src/results/types.js';

/** What the command line is run from: this checkout, or the package that is installed at `UNDISTILL_INSTALLED`, which starts faster. */
export const root = process.env.UNDISTILL_INSTALLED ?? fileURLToPath(new URL('../../', import.meta.url));
export const bin = join(root, 'bin', 'undistill.js');
export const register = join(root, 'bin', 'register.js');

export interface Ran {
  /** The exit code, or the signal that killed it. */
  readonly code: number | NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

/** A folder of a user's, outside the repository, and the command line in it. */
export interface Project {
  readonly folder: string;
  write(path: string, text: string): Promise<void>;
  read(path: string): Promise<string>;
  /** A process of the command line, which leads a group as in a terminal; `watch` sees its output as it comes. */
  undistill(
    args: readonly string[],
    options?: {
      readonly env?: Readonly<Record<string, string>>;
      /** Default: the folder. */
      readonly cwd?: string;
      readonly watch?: (text: string, child: ChildProcess) => void;
      /** Milliseconds after which it is killed. */
      readonly limit?: number | undefined;
    },
  ): Promise<Ran>;
  node(args: readonly string[], options?: Parameters<Project['undistill']>[1]): Promise<Ran>;
  matrix(run: string): Promise<Matrix>;
  remove(): void;
}

export const project = (): Project => {
  const folder = mkdtempSync(join(tmpdir(), 'undistill-cli-'));
  writeFileSync(join(folder, 'stoppable.ts'), stoppable);
  const start: (...args: Parameters<Project['undistill']>) => Promise<Ran> = (
    args,
    { env = {}, cwd = folder, watch, limit } = {},
  ) =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [...args], {
        cwd,
        env: { ...process.env, ...env },
        detached: true,
      });
      const late = limit === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), limit);
      const said = { out: '', err: '' };
      child.stdout.on('data', (data) => {
        said.out += data;
        watch?.(said.out, child);
      });
      child.stderr.on('data', (data) => {
        said.err += data;
      });
      child.on('error', reject);
      child.on('close', (code, signal) => {
        clearTimeout(late);
        resolve({ code: signal ?? code, ...said });
      });
    });
  return {
    folder,
    write: async (path, text) => {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), text);
    },
    read: (path) => readFile(join(folder, path), 'utf8'),
    undistill: (args, options) => start([bin, ...args], options),
    node: (args, options) => start(args, options),
    matrix: async (run) => JSON.parse(await readFile(join(folder, run, 'matrix.json'), 'utf8')),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
};

/** What is the same in every run of an experiment: all but when, how fast and with what it was made. */
export const lasting = (matrix: Matrix): unknown =>
  JSON.parse(
    JSON.stringify(matrix, (name, value) =>
      ['seconds', 'stepsPerSecond', 'provenance'].includes(name) ? undefined : value,
    ),
  );

/** Every stored file of numbers, by stage and name. */
export const tensorsIn = async (store: string): Promise<ReadonlyMap<string, Buffer>> => {
  const found = new Map<string, Buffer>();
  for (const stage of (await readdir(store)).sort()) {
    for (const name of (await readdir(join(store, stage))).filter((each) => each.endsWith('.safetensors')).sort()) {
      found.set(`${stage}/${name}`, await readFile(join(store, stage, name)));
    }
  }
  return found;
};

/**
 * A constant rate, at a step of which a signal comes where the environment says so: `STOP="SIGINT teacher 20"` sends it to the
 * run when the learner `teacher` asks for the rate of step 20, at the same place in every run and without a change of any
 * identity. SIGKILL goes to the worker too, which would take some steps more, and with `alone` after it to the worker alone.
 * A file of its own: others may be edited.
 */
const stoppable = `\
import { required, text } from 'undistill/plugin';
import { defineSchedule } from 'undistill/train';

const [signal, whose, at, alone] = (process.env.STOP ?? '').split(' ');

export const stoppable = defineSchedule({
  name: 'stoppable',
  source: import.meta.url,
  about: 'A constant rate',
  options: { who: required(text, 'Whose training it is') },
  positional: 'who',
  make: ({ who }) => ({
    at: ({ step }) => {
      if (who !== whose || step !== Number(at)) return 0.01;
      if (alone === undefined) process.kill(process.ppid, signal);
      if (signal === 'SIGKILL') process.kill(process.pid, signal);
      return 0.01;
    },
  }),
});
`;

/** An experiment of seconds. */
export const tiny = ({
  imports = '',
  defenses = 'none(), nasty()',
  attacks = 'scratch(), kd()',
  seeds = '0',
}: {
  readonly imports?: string;
  readonly defenses?: string;
  readonly attacks?: string;
  readonly seeds?: string;
} = {}): string => `\
import { adam, constant, experiment, kd, labelOnly, learner, nasty, none, plainCnn, scratch, synthetic } from 'undistill';
import { stoppable } from './stoppable.ts';
${imports}
const net = (who: string, width: number) =>
  learner(plainCnn({ width }), { epochs: 3, batch: 16, optimizer: adam(), schedule: stoppable(who) });

export default experiment({
  name: 'tiny',
  data: synthetic({ train: 160, test: 64 }),
  teacher: net('teacher', 4),
  students: [net('student', 2)],
  defenses: [${defenses}],
  attacks: [${attacks}],
  seeds: [${seeds}],
});
`;

/** The matrix.json of a run in which nothing was planned. */
export const emptyMatrix = JSON.stringify({
  version: 1,
  experiment: 'empty',
  about: '',
  data: { name: '', fingerprint: '', fraction: 1, validation: 0 },
  report: 'test',
  select: 'last',
  teacher: '',
  attacks: [],
  defenses: [],
  students: [],
  seeds: [],
  victims: [],
  cells: [],
  best: [],
  provenance: [],
});
