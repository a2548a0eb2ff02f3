import { type ChildProcess, spawn, spawnSync } from 'node:child_process';

/** Whether this machine can play several: as root, with namespaces (Linux). */
export const canBeSeveral =
  process.platform === 'linux' && spawnSync('unshare', ['--uts', '--pid', '--fork', 'true']).status === 0;

export interface Host {
  readonly process: ChildProcess;
  /** The exit code. */
  readonly ended: Promise<number | null>;
  /** All that it has said. */
  said(): string;
}

/**
 * A process on a host of its own: its name, and its processes' numbers, are no one else's, and what it shares with this
 * machine is the disk. It ends with whoever started it.
 *
 * @param body TypeScript, as a module
 */
export const onHost = (name: string, body: string, env: Readonly<Record<string, string>> = {}): Host => {
  const inside = `hostname ${name} && exec "$0" --import tsx --input-type=module -e "$1"`;
  const child = spawn(
    'unshare',
    ['--uts', '--pid', '--mount-proc', '--fork', '--kill-child=KILL', 'sh', '-c', inside, process.execPath, body],
    { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let said = '';
  child.stdout.on('data', (data) => {
    said += data;
  });
  return { process: child, ended: new Promise((done) => child.on('exit', done)), said: () => said };
};
