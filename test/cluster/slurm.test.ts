import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { slurmCluster } from '../../src/cluster/slurm.js';
import { submit } from '../../src/cluster/submission.js';
import type { Stage } from '../../src/experiment/plan.js';
import { lasting, type Project, project, type Ran, tensorsIn } from '../cli/project.js';
import { noSlurm, type Played, play } from './cluster.js';

const why = noSlurm();
if (why !== undefined && process.env.UNDISTILL_SLURM === '1') throw new Error(why);
if (why !== undefined) console.warn(`left out: ${why}`);

let at: Project;
let played: Played;

/** Trainings whose steps of some stages wait for files to go. In a job its name is known; elsewhere nothing is waited for. */
const held = `\
import { existsSync, writeFileSync } from 'node:fs';
import { defineSchedule } from 'undistill/train';

const name = (process.env.SLURM_JOB_NAME ?? '').replaceAll('/', '_');

export const held = defineSchedule({
  name: 'held',
  source: import.meta.url,
  about: 'A constant rate',
  options: {},
  make: () => ({
    at: ({ step }) => {
      if (step === 12 && name !== '' && existsSync('hold/' + name)) {
        writeFileSync('hold/' + name + '.reached', '');
        while (existsSync('hold/' + name)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
      }
      return 0.01;
    },
  }),
});
`;

const experiment = (
  name: string,
  more: { defenses?: string; attacks?: string; seeds?: string; imports?: string },
): string => `\
import { adam, experiment, kd, learner, none, plainCnn, scratch, synthetic } from 'undistill';
import { held } from './held.ts';
${more.imports ?? ''}
const net = (width: number) => learner(plainCnn({ width }), { epochs: 3, batch: 16, optimizer: adam(), schedule: held() });
export default experiment({
  name: '${name}',
  data: synthetic({ train: 160, test: 64 }),
  teacher: net(4),
  students: [net(2)],
  defenses: [${more.defenses ?? 'none()'}],
  attacks: [${more.attacks ?? 'scratch()'}],
  seeds: [${more.seeds ?? '0'}],
});
`;

const env = () => ({ ...played.env, UNDISTILL_LOOK: '0.5', UNDISTILL_GRACE: '3' });
const undistill = (args: readonly string[]): Promise<Ran> => at.undistill(args, { env: env() });
const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await sleep(100);
};
const hold = (name: string) => writeFileSync(join(at.folder, 'hold', name), '');
const release = (name: string) => rmSync(join(at.folder, 'hold', name), { force: true });
const reached = (name: string) => until(() => existsSync(join(at.folder, 'hold', `${name}.reached`)));
/** The live job of a stage, by the stage's label. */
const jobOf = (label: string): { id: string; state: string; node: string } => {
  const lines = played.slurm('squeue', '--me', '-h', '--format=%i|%T|%N|%j').split('\n');
  const [id = '', state = '', node = ''] = (lines.find((line) => line.endsWith(`|${label}`)) ?? '').split('|');
  return { id, state, node };
};
/** What jobs said of a stage of a run, but for its steps. */
const linesOf = (run: string, label: string): readonly { type: string; start?: number; again?: boolean }[] => {
  const plan = JSON.parse(readFileSync(join(at.folder, run, 'plan.json'), 'utf8')) as { stages: Stage[] };
  const id = plan.stages.find((stage) => stage.label === label)?.id ?? '';
  const text = readFileSync(join(at.folder, run, '..', '.store', 'jobs', `${id}.jsonl`), 'utf8');
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
    .filter(({ type }) => type !== 'event');
};

describe.skipIf(why !== undefined)(
  `a matrix on Slurm${why === undefined ? '' : ` (${why})`}`,
  { timeout: 900_000 },
  () => {
    beforeAll(async () => {
      at = project();
      await at.write('held.ts', held);
      mkdirSync(join(at.folder, 'hold'));
      played = play({ project: at.folder, data: join(at.folder, 'data') });
    });
    afterAll(() => {
      played?.stop();
      at?.remove();
    });

    it('is bit for bit that of one machine, whatever befalls jobs: a power cut, the time limit, others that come first', async () => {
      await at.write('storm.ts', experiment('storm', { seeds: '0, 1, 2' }));
      for (const seed of [0, 1, 2]) hold(`seed-${seed}_teacher`);
      const running = undistill(['run', 'storm.ts', '--on', 'slurm', '--checkpoint-every', '5', '--out', 'far/storm']);
      for (const seed of [0, 1, 2]) await reached(`seed-${seed}_teacher`);
      const [cut, timed, preempted] = [0, 1, 2].map((seed) => jobOf(`seed-${seed}/teacher`));
      const node = cut?.node.slice(1) ?? '';
      played.control('node-kill', node);
      played.slurm('scancel', '--signal=USR1', '--batch', timed?.id ?? '');
      played.slurm(
        'sbatch',
        '--partition=urgent',
        `--nodelist=${preempted?.node}`,
        '--output=/dev/null',
        '--wrap=sleep 2',
      );
      // What holds them stays until the word has come.
      await sleep(1500);
      for (const seed of [0, 1, 2]) release(`seed-${seed}_teacher`);
      played.control('node-start', node);
      const { code, out, err } = await running;
      expect([code, err], out).toEqual([0, '']);
      expect(out).toMatch(/✓ seed-0\/teacher {2}n[123] {2}\d+ s/);

      const run = 'far/storm';
      for (const seed of [0, 1, 2])
        expect(
          linesOf(run, `seed-${seed}/teacher`).filter(({ type }) => type === 'begun').length,
          `seed ${seed}`,
        ).toBeGreaterThan(1);
      expect(linesOf(run, 'seed-1/teacher')).toContainEqual({ type: 'stopped', again: true });
      const near = await at.undistill(['run', 'storm.ts', '--threads', '1', '--out', 'near/storm']);
      expect(near.code).toBe(0);
      const [far, own] = [join(at.folder, 'far', '.store'), join(at.folder, 'near', '.store')];
      for (const store of [far, own])
        for (const name of ['jobs', 'locks', 'answers']) rmSync(join(store, name), { recursive: true, force: true });
      expect(await tensorsIn(far)).toEqual(await tensorsIn(own));
      expect(lasting(await at.matrix('far/storm'))).toEqual(lasting(await at.matrix('near/storm')));
    });

    it('takes a thousand models and gives them back', async () => {
      const stages = Array.from({ length: 1000 }, (_, i) => {
        const inputs = i % 10 === 0 ? {} : { victim: `s${i - (i % 10)}` };
        return { id: `s${i}`, label: `s${i}`, work: { kind: i % 10 === 0 ? 'teacher' : 'steal' }, inputs, parts: {} };
      }) as unknown as Stage[];
      const owner = { store: join(at.folder, 'many', '.store'), run: join(at.folder, 'many', 'many') };
      process.env.SLURM_CONF = played.env.SLURM_CONF;
      const cluster = slurmCluster(['--hold']);
      const began = performance.now();
      const options = { cluster, owner, command: () => ['true'], folder: at.folder, isThere: async () => false };
      const submitted = await submit({ ...options, plan: { stages }, name: 'many' });
      const between = performance.now();
      expect(submitted).toEqual({ submitted: 1000, waiting: 0, there: 0 });
      const live = (await cluster.jobs()).filter(({ state }) => state !== 'ended');
      // And the one that makes the report.
      expect(live.length).toBe(1001);
      await cluster.cancel(live.map(({ id }) => id));
      console.info(
        `1,000 models: ${((between - began) / 1000).toFixed(1)} s to submit, ${((performance.now() - between) / 1000).toFixed(1)} s to list and cancel`,
      );
      expect((await cluster.jobs()).filter(({ state }) => state !== 'ended')).toEqual([]);
    });

    it('says before anything is queued what is wrong', async () => {
      await at.write('tiny.ts', experiment('tiny', {}));
      const run = (args: readonly string[], more: Readonly<Record<string, string>> = {}) =>
        at.undistill(['run', '--on', 'slurm', '--out', 'bad/bad', 'tiny.ts', ...args], { env: { ...env(), ...more } });
      const cases: readonly (readonly [
        args: readonly string[],
        says: RegExp,
        env?: Readonly<Record<string, string>>,
      ])[] = [
        [['--jobs', '2'], /--jobs says how many processes share this machine\n.*--at-most/],
        [['--threads', '2'], /--cpus-per-task/],
        [[], /there is no squeue on the PATH\n.*login node/, { PATH: '/nowhere' }],
        [['--', '--partition=nope'], /Slurm refuses: invalid partition specified: nope.*\n.*sinfo/],
        [['--', '--time=never'], /Slurm refuses: .*time/i],
        [['--', '--partition=all', '--nodelist=n5'], /has left no word\n.*a folder that all machines share/],
        [
          ['--', `--export=ALL,XDG_CACHE_HOME=${at.folder}/none`],
          /on n\d: TensorFlow is not installed.*\n.*XDG_CACHE_HOME/,
        ],
      ];
      const said = await Promise.all(cases.map(([args, , more]) => run(args, more)));
      for (const [i, [args, says]] of cases.entries()) {
        expect(said[i]?.err, args.join(' ')).toMatch(says);
        expect(said[i]?.code, args.join(' ')).not.toBe(0);
      }
      expect(played.slurm('squeue', '--me', '-h').trim()).toBe('');
      const stored = join(at.folder, 'bad', '.store', 'jobs');
      expect(existsSync(stored) ? readdirSync(stored).filter((name) => name.endsWith('.jsonl')) : []).toEqual([]);
    });
  },
);
