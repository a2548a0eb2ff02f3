import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('slurm-one-machine.sh', import.meta.url));

/** Why a real Slurm cannot be played on this machine; undefined where it can. */
export const noSlurm = (): string | undefined => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'a cluster is played by root, on Linux';
  const has = (program: string): boolean => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
  return ['slurmctld', 'slurmd', 'sbatch', 'munged', 'unshare'].every(has)
    ? undefined
    : 'Slurm is not installed: test/cluster/slurm-one-machine.sh install, on Debian as root';
};

/** A Slurm cluster on this machine, its nodes namespaces; ended by `stop`. */
export interface Played {
  /** By which Slurm's programs find it. */
  readonly env: Readonly<Record<string, string>>;
  /** A command of the script, such as `node-kill 2`. */
  control(...args: readonly string[]): void;
  /** What the controller has written down of a job, for a failure's message. */
  story(job: string): string;
  /** What a program of Slurm's says. */
  slurm(program: string, ...args: readonly string[]): string;
  stop(): void;
}

/**
 * Nine nodes: main has the first three, and those after the fifth are for whoever names them. The fourth has an older
 * processor, and what lies at `hidden.data` is not there; the fifth does not see `hidden.project`.
 */
export const play = (hidden: { readonly project: string; readonly data: string }): Played => {
  const folder = mkdtempSync(join(tmpdir(), 'undistill-slurm-'));
  const older = join(folder, 'cpuinfo');
  mkdirSync(hidden.data, { recursive: true });
  writeFileSync(older, 'processor\t: 0\nflags\t\t: fpu sse2 avx\n');
  const env = { SLURM_CONF: join(folder, 'slurm.conf') };
  // Clusters that other test runs play on this machine have other ports.
  const port = 20_000 + 10 * (process.pid % 1_000);
  // A node that is silent for so long is lost. On a busy machine it takes some time to answer: a job of a node that only seemed lost is
  // started again, and what the node then says of the first start's end counts as the second's.
  const own = {
    ...{ SLURM_DIR: folder, SLURM_PORT: String(port), NODE_TIMEOUT: '30', REQUEUE_DELAY: '5' },
    ...{ CPUINFO_4: older, HIDE_4: hidden.data, HIDE_5: hidden.project },
  };
  const run = (program: string, args: readonly string[]): string => {
    // What goes on in the background keeps no pipe open.
    const done = spawnSync(program, [...args], {
      env: { ...process.env, ...env, ...own },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (done.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${done.stderr}`);
    return done.stdout;
  };
  const control = (...args: readonly string[]): void => void run('bash', [script, ...args]);
  const story = (job: string): string =>
    readFileSync(join(folder, 'log', 'slurmctld.log'), 'utf8')
      .split('\n')
      .filter((line) => line.includes(`JobId=${job}`) || /node|error/i.test(line))
      .slice(-60)
      .join('\n');
  const stop = (): void => {
    control('stop');
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    control('start', '9');
  } catch (error) {
    stop();
    throw error;
  }
  return { env, control, story, slurm: (program, ...args) => run(program, args), stop };
};
