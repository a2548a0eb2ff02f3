import { type ChildProcess, spawn } from 'node:child_process';

/** How a child process ended, and what it wrote. */
export interface Ran {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
  /** The command does not exist (or may not be run). */
  readonly missing: boolean;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Called with each piece of standard output. */
  readonly onOutput?: (text: string) => void;
  /** Milliseconds after which the child is killed. */
  readonly limit?: number;
}

const running = new Set<ChildProcess>();
// A child left behind would go on writing into a folder that the next installation cleans.
const killAll = () => {
  for (const child of running) child.kill();
};
let watching = false;

/** Runs a command to its end; never rejects. */
export const run = (command: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> =>
  new Promise((resolve) => {
    if (!watching) process.once('exit', killAll);
    watching = true;
    let out = '';
    let err = '';
    const child = spawn(command, args, {
      env: options.env ?? process.env,
      cwd: options.cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: options.limit,
    });
    running.add(child);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
      options.onOutput?.(text);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      err += text;
    });
    child.on('error', (error) => {
      running.delete(child);
      resolve({ code: null, signal: null, out, err: err + error.message, missing: true });
    });
    child.on('close', (code, signal) => {
      running.delete(child);
      resolve({ code, signal, out, err, missing: false });
    });
  });
