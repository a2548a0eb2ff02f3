import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { FailureError, failure } from '../core/errors.js';
import { quoted } from '../core/text.js';
import { type Cluster, type JobRequest, type JobState, Unreachable } from './cluster.js';

/** What a program of Slurm's said. */
interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a program of Slurm's. */
type Call = (program: string, args: readonly string[]) => Promise<Said>;

const call: Call = (program, args) =>
  new Promise((resolve, reject) => {
    // A thousand jobs with their reasons are some hundred kilobytes.
    execFile(program, [...args], { maxBuffer: 1 << 28 }, (error, out, err) => {
      if (error !== null && typeof error.code !== 'number')
        reject(error.code === 'ENOENT' ? missing(program) : new FailureError(failure('cluster', error.message)));
      else resolve({ code: Number(error?.code ?? 0), out, err });
    });
  });

const missing = (program: string): FailureError =>
  new FailureError(
    failure('cluster', `there is no ${program} on the PATH`, {
      where: '--on slurm',
      remedy:
        'Run this where jobs are submitted, on a login node of the cluster, or have its software loaded first, such as by `module load slurm`.',
    }),
  );

/** Slurm's words without its own prefixes, in one line. */
const words = ({ out, err }: Said): string =>
  (err.trim() || out.trim() || 'it failed without a word')
    .split('\n')
    .map((line) => line.replace(/^\w+: (?:error: )?/, '').trim())
    .join('; ');

/** What Slurm's library says where its controller does not answer, dies while it does, or is about to be another's. */
const unreachable =
  /unable to contact|timed out|connection (?:refused|reset)|communication|zero bytes were|message (?:send|receive) failure|header lengths are longer|insane message length|standby mode|not responding|temporarily unable/i;

/** What to do about some of Slurm's refusals. */
const remedies: readonly (readonly [said: RegExp, remedy: string])[] = [
  [/invalid partition/i, '`sinfo` lists the partitions; give one after --, as in -- --partition=NAME.'],
  [
    /invalid account|invalid qos|account\/partition/i,
    'Give your account after --, as in -- --account=NAME --qos=NAME.',
  ],
  [/time limit/i, '`sinfo -o "%P %l"` lists the time limits; give one after --, as in -- --time=4:00:00.'],
  [/unrecognized option|invalid option|ambiguous/i, 'What stands after -- are options of sbatch: `man sbatch`.'],
  [
    /MaxSubmit|submit limit|max.*jobs|too many/i,
    'Give it fewer jobs at once: --seed or --only chooses some of them; the same stages are found again by the next run.',
  ],
  [
    /node configuration|not available|memory specification|cpu count|gres/i,
    'Ask for less after --, or for another partition.',
  ],
  [unreachable, 'Try again when Slurm answers: `sinfo` tells.'],
  [
    /resolve_ctls_from_dns|configuration source/i,
    'This machine belongs to no cluster: begin on one where `sinfo` answers, such as the login node.',
  ],
];

const refused = (program: string, said: Said): FailureError => {
  const what = words(said);
  const remedy =
    remedies.find(([pattern]) => pattern.test(what))?.[1] ?? 'What stands after -- goes to sbatch as it is.';
  return unreachable.test(what)
    ? new Unreachable(failure('cluster', `Slurm does not answer: ${what}`, { where: program, remedy }))
    : new FailureError(failure('cluster', `Slurm refuses: ${what}`, { where: program, remedy }));
};

/** Seconds before its time is up that a job is told; Slurm may be a minute early. */
const notice = 120;

const script = fileURLToPath(new URL('../../bin/slurm-job.sh', import.meta.url));

/** The arguments of `sbatch` for a job; `own` are the user's, which come later and so have the last word. */
const sbatch = (job: JobRequest, own: readonly string[]): readonly string[] => {
  const dependency = [
    ...(job.afterOk.length === 0 ? [] : [['afterok', ...job.afterOk].join(':')]),
    ...(job.afterAny.length === 0 ? [] : [['afterany', ...job.afterAny].join(':')]),
  ];
  return [
    '--parsable',
    `--comment=${job.tag}`,
    `--job-name=${job.name}`,
    `--chdir=${job.folder}`,
    // Slurm puts its own in the place of a percent sign and a letter.
    `--output=${job.log.replaceAll('%', '%%')}`,
    '--open-mode=append',
    '--requeue',
    `--signal=B:USR1@${notice}`,
    '--kill-on-invalid-dep=yes',
    ...(dependency.length === 0 ? [] : [`--dependency=${dependency.join(',')}`]),
    ...own,
    script,
    ...job.command,
  ];
};

const waiting = ['PENDING', 'CONFIGURING', 'REQUEUED', 'REQUEUE_FED', 'REQUEUE_HOLD', 'SPECIAL_EXIT', 'RESV_DEL_HOLD'];
const running = ['RUNNING', 'COMPLETING', 'SUSPENDED', 'STOPPED', 'SIGNALING', 'STAGE_OUT', 'RESIZING'];

const stateOf = (word: string): JobState['state'] =>
  waiting.includes(word) ? 'waiting' : running.includes(word) ? 'running' : 'ended';

/** A line of `squeue` in the format below; `--json` changes from release to release. */
const format = '%i|%T|%N|%k|%r';

const jobOf = (line: string): readonly JobState[] => {
  const [id = '', word = '', node = '', tag = '', reason = ''] = line.split('|');
  return tag.startsWith('undistill:') ? [{ id, tag, state: stateOf(word), word, reason, node }] : [];
};

/** Jobs in one call of `scancel`: an argument list has an end. */
const cancelledAtOnce = 500;

/**
 * Slurm, by its commands.
 *
 * @param own arguments of `sbatch` for every job, such as `--partition=gpu`
 */
export const slurmCluster = (own: readonly string[] = []): Cluster => ({
  name: 'slurm',
  submit: async (job) => {
    const said = await call('sbatch', sbatch(job, own));
    // `--parsable`: the number, and the cluster's name after a semicolon where there are several.
    const [, id] = /^(\d+)(?:;.*)?$/m.exec(said.out) ?? [];
    if (said.code !== 0 || id === undefined) throw refused('sbatch', said);
    return id;
  },
  jobs: async () => {
    const said = await call('squeue', ['--me', '--noheader', '--states=all', `--format=${format}`]);
    if (said.code !== 0) throw refused('squeue', said);
    return said.out.split('\n').flatMap(jobOf);
  },
  cancel: async (ids) => {
    for (let from = 0; from < ids.length; from += cancelledAtOnce) {
      const said = await call('scancel', ids.slice(from, from + cancelledAtOnce));
      if (said.code !== 0 && !/invalid job id|already/i.test(said.err)) throw refused('scancel', said);
    }
  },
});

/** Submits nothing, and has `print` say what would be; other jobs are called by their names. */
export const dryRunOfSlurm = (own: readonly string[], print: (line: string) => void): Cluster => ({
  name: 'slurm',
  submit: async (job) => {
    print(['sbatch', ...sbatch(job, own)].map(quoted).join(' '));
    return `<${job.name}>`;
  },
  jobs: async () => [],
  cancel: async () => undefined,
});
