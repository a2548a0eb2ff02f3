import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JobState } from '../../src/cluster/cluster.js';
import { slurmCluster } from '../../src/cluster/slurm.js';
import { jobsByStage, type Owner, stageOfJob, submit } from '../../src/cluster/submission.js';
import type { Stage } from '../../src/experiment/stage.js';
import { alteredFile } from '../../src/run/store.js';
import { lasting, type Project, project, type Ran, register, tensorsIn } from '../cli/project.js';
import { idxFiles, writeFiles } from '../data/files.js';
import { noSlurm, type Played, play } from './cluster.js';

const why = noSlurm();
if (why !== undefined && process.env.UNDISTILL_SLURM === '1') throw new Error(why);
if (why !== undefined) console.warn(`left out: ${why}`);

let at: Project;
let played: Played;

/**
 * A constant rate, and at the twelfth step what files ask of a training: `hold` to wait for the file to go, `fail` to throw,
 * `grow` to take more memory than it may. In a job its name is known; elsewhere nothing is asked.
 */
const held = `\
import { existsSync, writeFileSync } from 'node:fs';
import { required, text } from 'undistill/plugin';
import { defineSchedule } from 'undistill/train';

const name = (process.env.SLURM_JOB_NAME ?? '').replaceAll('/', '_');
const pause = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);

export const held = defineSchedule({
  name: 'held',
  source: import.meta.url,
  about: 'A constant rate',
  options: { of: required(text, 'Whose training it is') },
  positional: 'of',
  make: ({ of }) => ({
    at: ({ step }) => {
      const asked = (what: string) => existsSync(['signs', of, name + '.' + what].join('/'));
      if (step !== 12 || name === '') return 0.01;
      if (asked('fail')) throw new Error('the mast broke');
      const cargo = asked('grow') ? Array.from({ length: 24 }, () => Buffer.alloc(2 ** 27, 1)) : [];
      if (asked('hold')) writeFileSync(['signs', of, name + '.reached'].join('/'), '');
      while (asked('hold') || cargo.length > 0) pause();
      return 0.01;
    },
  }),
});
`;

const experiment = (
  name: string,
  { attacks = 'kd()', seeds = '0', data = 'synthetic({ train: 160, test: 64 })', plugin = './held.ts' } = {},
): string => `\
import { adam, experiment, kd, learner, mnist, none, plainCnn, scratch, synthetic } from 'undistill';
import { held } from '${plugin}';
const net = (width: number) =>
  learner(plainCnn({ width }), { epochs: 3, batch: 16, optimizer: adam(), schedule: held('${name}') });
export default experiment({
  name: '${name}',
  data: ${data},
  teacher: net(4),
  students: [net(2)],
  defenses: [none()],
  attacks: [${attacks}],
  seeds: [${seeds}],
});
`;

const cluster = slurmCluster();
const env = () => ({ ...played.env, UNDISTILL_LOOK: '0.5', UNDISTILL_GRACE: '3' });
const undistill = (args: readonly string[]): Promise<Ran> => at.undistill(args, { env: env() });

const children = new Set<ChildProcess>();

/** A command that goes on, what it has said by now, and how it ended. */
const begin = (args: readonly string[]) => {
  let said = '';
  let child: ChildProcess | undefined;
  const watch = (text: string, process: ChildProcess): void => {
    said = text;
    child = process;
    children.add(process);
  };
  const ended = at.undistill(args, { env: env(), watch });
  return { said: () => said, interrupt: () => child?.kill('SIGINT'), ended };
};

const until = async (holds: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await holds())) await sleep(100);
};

/** Slurm tidies up behind a job that has ended, and lists it meanwhile. */
const noJobIsLeft = (owner: Owner) =>
  until(async () =>
    (await cluster.jobs()).every((job) => job.state === 'ended' || stageOfJob(job, owner)?.isOurs !== true),
  );

/** A run on the cluster: where it is told, its jobs, and what is asked of its trainings. */
const runOf = (name: string) => {
  const folder = join(at.folder, 'far', name);
  const owner: Owner = { store: join(at.folder, 'far', '.store'), run: folder };
  const plan = (): readonly Stage[] => JSON.parse(readFileSync(join(folder, 'plan.json'), 'utf8')).stages;
  const idOf = (label: string): string => plan().find((stage) => stage.label === label)?.id ?? '';
  const text = (label: string, ending: string): string => {
    const path = join(owner.store, 'jobs', `${idOf(label)}.${ending}`);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  };
  const sign = (label: string, what: string): string =>
    join(at.folder, 'signs', name, `${label.replaceAll('/', '_')}.${what}`);
  mkdirSync(join(at.folder, 'signs', name), { recursive: true });
  return {
    owner,
    /** What its job has put out. */
    log: (label: string): string => text(label, 'log'),
    /** What jobs said of a stage, but for its steps. */
    lines: (label: string): readonly { type: string; job?: string; node?: string; again?: boolean }[] =>
      text(label, 'jsonl')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
        .filter(({ type }) => type !== 'event'),
    job: async (label: string): Promise<JobState | undefined> =>
      jobsByStage(await cluster.jobs(), owner).get(idOf(label)),
    over: () => noJobIsLeft(owner),
    ask: (label: string, what: 'hold' | 'fail' | 'grow') => writeFileSync(sign(label, what), ''),
    /** Waits for a training that is held. */
    reached: (label: string) => until(() => existsSync(sign(label, 'reached'))),
    release: (label: string) => {
      for (const what of ['hold', 'fail', 'grow']) rmSync(sign(label, what), { force: true });
    },
  };
};

type Run = ReturnType<typeof runOf>;

/** Lets the time of a job run out that began after `since`: within half a minute Slurm gives the word that it is nearly up. */
const limit = async (run: Run, label: string, since: number): Promise<void> => {
  const minutes = Math.floor((performance.now() - since) / 60_000) + 2;
  played.slurm('scontrol', 'update', `jobid=${(await run.job(label))?.id}`, `timelimit=${minutes}`);
};
const unlimit = async (run: Run, label: string): Promise<string> =>
  played.slurm('scontrol', 'update', `jobid=${(await run.job(label))?.id}`, 'timelimit=UNLIMITED');

const hears = (run: Run, label: string, word: string) => until(() => run.log(label).includes(word));

describe.skipIf(why !== undefined)(`a matrix on Slurm${why === undefined ? '' : ` (${why})`}`, () => {
  beforeAll(async () => {
    at = project();
    await at.write('held.ts', held);
    await writeFiles(join(at.folder, 'data'), idxFiles());
    played = play({ project: at.folder, data: join(at.folder, 'data') });
    process.env.SLURM_CONF = played.env.SLURM_CONF;
  });
  afterAll(() => {
    for (const child of children) child.kill('SIGKILL');
    played?.stop();
    at?.remove();
  });

  it.concurrent('is bit for bit that of one machine, whatever befalls jobs: a power cut, the time limit, others that come first', async () => {
    const since = performance.now();
    const storm = runOf('storm');
    await at.write('storm.ts', experiment('storm', { seeds: '0, 1' }));
    const [cut, timed, preempted] = ['seed-0/teacher', 'seed-1/teacher', 'seed-0/plainCnn/scratch'] as const;
    const struck = [cut, timed, preempted];
    for (const stage of struck) storm.ask(stage, 'hold');
    const command = ['run', 'storm.ts', '--on', 'slurm', '--checkpoint-every', '5', '--out', 'far/storm'];
    const near = at.undistill(['run', 'storm.ts', '--threads', '1', '--out', 'near/storm']);
    // The same command twice at once; one of them is then left.
    const [running, other] = [begin(command), begin(command)];
    for (const stage of struck) await storm.reached(stage);
    await until(() => [running, other].every(({ said }) => said().includes('storm: 6 models; ')));
    expect([running, other].map(({ said }) => /storm: 6 models; (.*?);/.exec(said())?.[1]).sort()).toEqual([
      '0 submitted, 6 submitted before',
      '6 submitted',
    ]);
    other.interrupt();
    const left = await other.ended;
    expect([left.code, left.err]).toEqual([130, '']);
    expect(left.out).toMatch(/Detached: 6 jobs go on\. The same command shows them again/);

    const node = (await storm.job(cut))?.node.slice(1) ?? '';
    played.control('node-kill', node);
    await limit(storm, timed, since);
    // As soon as the word comes, whatever else befalls: after 25 s, a training that is held would be ended.
    const isUnlimited = hears(storm, timed, 'The time is nearly up').then(async () => {
      await unlimit(storm, timed);
      storm.release(timed);
    });
    const urgent = `--nodelist=${(await storm.job(preempted))?.node}`;
    played.slurm('sbatch', '--partition=urgent', urgent, '--output=/dev/null', '--wrap=sleep 2');
    // What holds them stays until the word has come.
    await hears(storm, preempted, 'Ended from outside');
    storm.release(preempted);
    await until(async () => (await storm.job(cut))?.state === 'waiting');
    storm.release(cut);
    played.control('node-start', node);
    await isUnlimited;
    const { code, out, err } = await running.ended;
    expect([code, err], out).toEqual([0, '']);
    expect(out).toMatch(/✓ seed-0\/teacher {2}n[123] {2}\d+ s/);

    const others = ['seed-0/none/plainCnn/kd', 'seed-1/none/plainCnn/kd', 'seed-1/plainCnn/scratch'];
    const begun = (stage: string) => storm.lines(stage).filter(({ type }) => type === 'begun');
    for (const stage of struck) expect(begun(stage).length, stage).toBeGreaterThan(1);
    for (const stage of [...struck, ...others]) expect(new Set(begun(stage).map(({ job }) => job)).size, stage).toBe(1);
    expect(storm.lines(timed)).toContainEqual({ type: 'stopped', again: true });
    const { code: nearCode, err: nearErr } = await near;
    expect(nearCode, nearErr).toBe(0);
    const own = await tensorsIn(join(at.folder, 'near', '.store'));
    expect(own.size).toBeGreaterThan(6);
    for (const [name, bytes] of own) expect(readFileSync(join(storm.owner.store, name)).equals(bytes), name).toBe(true);
    expect(lasting(await at.matrix('far/storm'))).toEqual(lasting(await at.matrix('near/storm')));
  });

  const mishaps = ['run', 'mishaps.ts', '--on', 'slurm', '--out', 'far/mishaps', '--'];
  const apart = ['--partition=all', '--exclude=n[1-5,9]'];
  /** What goes wrong, and what is said of it. */
  const wrong: Readonly<Record<string, RegExp>> = {
    'seed-0/teacher': /the mast broke/,
    'seed-1/teacher': /its job \d+ ended on n\d as .*memory limit/,
    'seed-1/plainCnn/scratch': /its job \d+ was cancelled on n\d/,
    'seed-2/plainCnn/scratch': /the time limit left no time for a single step/,
    'seed-2/none/plainCnn/kd': /this node computes as .*avx\b.*, planned for /,
  };

  it.concurrent('says of each stage that goes wrong what befell it, and makes all that does not take from one', async () => {
    const since = performance.now();
    const run = runOf('mishaps');
    await at.write('mishaps.ts', experiment('mishaps', { seeds: '0, 1, 2' }));
    const [cancelled, timed, moved] = ['seed-1/plainCnn/scratch', 'seed-2/plainCnn/scratch', 'seed-2/teacher'] as const;
    run.ask('seed-0/teacher', 'fail');
    run.ask('seed-1/teacher', 'grow');
    for (const stage of [cancelled, timed, moved]) run.ask(stage, 'hold');
    const running = begin([...mishaps, ...apart]);
    await run.reached(moved);
    const taker = `jobid=${(await run.job('seed-2/none/plainCnn/kd'))?.id}`;
    played.slurm('scontrol', 'update', taker, 'excnodelist=', 'nodelist=n4');
    run.release(moved);
    await run.reached(cancelled);
    played.slurm('scancel', (await run.job(cancelled))?.id ?? '');
    await run.reached(timed);
    await limit(run, timed, since);
    const { code, out } = await running.ended;
    expect(code).toBe(1);
    for (const [label, says] of Object.entries(wrong))
      expect(out, label).toMatch(new RegExp(`✗ ${label}.*: .*${says.source}`));
    expect(out).toContain('--mem=16G');
    expect(out).toContain(join(run.owner.store, 'jobs'));
    for (const seed of [0, 1]) {
      const taken = `seed-${seed}/none/plainCnn/kd`;
      expect(out).toContain(`- ${taken}: left out, because seed-${seed}/teacher failed`);
      expect((await run.job(taken))?.word).toBe('CANCELLED');
    }
    for (const made of [moved, 'seed-0/plainCnn/scratch']) expect(out).toContain(`✓ ${made}`);
    // What was ended stays so.
    await run.over();
    expect((await run.job(cancelled))?.word).toBe('CANCELLED');
  });

  it.concurrent('is seen, ended and taken up again from the folder that all share', async () => {
    const run = runOf('calm');
    const [teacher, student] = ['seed-0/teacher', 'seed-0/plainCnn/scratch'];
    await at.write('calm-held.ts', held);
    await at.write('calm.ts', experiment('calm', { attacks: 'scratch()', plugin: './calm-held.ts' }));
    for (const stage of [teacher, student]) run.ask(stage, 'hold');
    const command = ['run', 'calm.ts', '--on', 'slurm', '--out', 'far/calm'];
    const place = ['--partition=all', '--nodelist=n9'];
    const submitted = await undistill([...command, '--detach', '--at-most', '1', '--', ...place]);
    expect([submitted.code, submitted.err]).toEqual([0, '']);
    expect(submitted.out).toMatch(/calm: 2 models; 2 submitted; .* on n9\nDetached: 2 jobs go on/);
    const first = await run.job(teacher);
    const second = await run.job(student);
    expect(played.slurm('squeue', '-h', '--format=%E', `--jobs=${second?.id}`)).toContain(`afterany:${first?.id}`);
    await run.reached(teacher);
    run.release(teacher);
    await run.reached(student);

    const watching = begin(['serve', 'far/calm', '--port', '0']);
    const served = async (): Promise<string> => {
      await until(() => /http:\S+/.test(watching.said()));
      const page = await fetch(/http:\S+/.exec(watching.said())?.[0] ?? '');
      watching.interrupt();
      return page.text();
    };
    const [jobs, logs, matrix, report, page] = await Promise.all([
      undistill(['jobs', 'far/calm']),
      undistill(['logs', 'far/calm', 'scratch']),
      undistill(['matrix', 'far/calm']),
      undistill(['report', 'far/calm']),
      served(),
    ]);
    expect(jobs.out).toMatch(/^seed-0\/teacher +done/m);
    expect(jobs.out).toMatch(new RegExp(`^seed-0/plainCnn/scratch +${second?.id} {2}n9`, 'm'));
    expect(jobs.out).toMatch(/^report +\d+ {2}waits: Dependency$/m);
    expect(jobs.out).toMatch(/2 models: 1 done, 1 running, 0 waiting\./);
    expect(logs.out).toMatch(/on n9, job \d+\n/);
    for (const { code, err } of [matrix, report]) expect([code, err]).toEqual([0, '']);
    expect(matrix.out).toMatch(/teacher +\d+\.\d+/);
    expect(page).toContain('calm');

    const cancelled = await undistill(['cancel', 'far/calm']);
    expect(cancelled.out).toMatch(/^2 jobs ended\./);
    await run.over();
    run.release(student);
    expect((await undistill(['jobs', 'far/calm'])).out).toMatch(/scratch +\d+ {2}ended: CANCELLED/);

    await at.write(
      'script.ts',
      `import { runExperiment, slurm } from 'undistill';
         import calm from './calm.ts';
         const executor = slurm(${JSON.stringify(place)}, { every: 500 });
         const { matrix } = await runExperiment(calm, { folder: 'far', file: 'calm.ts', executor });
         console.log(JSON.stringify(matrix));`,
    );
    const [ran] = await Promise.all([
      at.node(['--import', register, 'script.ts'], { env: env() }),
      at.undistill(['run', 'calm.ts', '--threads', '1', '--out', 'near-calm/calm']),
    ]);
    expect([ran.code, ran.err]).toEqual([0, '']);
    expect(lasting(JSON.parse(ran.out))).toEqual(lasting(await at.matrix('near-calm/calm')));
    expect((await run.job(student))?.id).not.toBe(second?.id);

    // A digit turns over on the disk where all is finished.
    const plan = JSON.parse(await at.read('far/calm/plan.json')) as { stages: { label: string; id: string }[] };
    const resultOf = (id: string) => join(run.owner.store, id, 'result.json');
    const measured = plan.stages.find(({ id }) => existsSync(resultOf(id)));
    const path = resultOf(measured?.id ?? '');
    const other = readFileSync(path, 'utf8').replace(/\d(?=\D*$)/, (digit) => (digit === '1' ? '2' : '1'));
    writeFileSync(path, other);
    const mended = await undistill([...command, '--', ...place]);
    expect([mended.code, mended.err]).toEqual([0, '']);
    expect(mended.out).toContain(`${measured?.label}: ${alteredFile('result.json')}`);
    expect(readFileSync(path, 'utf8')).not.toBe(other);
    expect(lasting(await at.matrix('far/calm'))).toEqual(lasting(await at.matrix('near-calm/calm')));

    // The same numbers by other code, as whoever changed it says.
    await at.write('calm-held.ts', `// Another comment.\n${held}`);
    const accepted = await undistill([...command, '--accept-stale', 'a comment', '--', ...place]);
    expect([accepted.code, accepted.err]).toEqual([0, '']);
    expect(accepted.out).toMatch(/stages of other code taken as they are: a comment/);
    expect(accepted.out).toMatch(/calm: 2 models; 0 submitted, 2 there from before/);
  });

  it.concurrent('says before anything is queued what is wrong', async () => {
    await at.write('tiny.ts', experiment('tiny'));
    await at.write('digits.ts', experiment('digits', { data: "mnist({ path: 'data' })" }));
    const run = (args: readonly string[], more: Readonly<Record<string, string>> = {}) =>
      at.undistill(['run', '--on', 'slurm', '--out', 'bad/bad', ...args], { env: { ...env(), ...more } });
    const cases: readonly (readonly [args: readonly string[], says: RegExp, env?: Readonly<Record<string, string>>])[] =
      [
        [['tiny.ts', '--jobs', '2'], /--jobs says how many processes share this machine\n.*--at-most/],
        [['tiny.ts', '--threads', '2'], /--cpus-per-task/],
        [['tiny.ts'], /there is no squeue on the PATH\n.*login node/, { PATH: '/nowhere' }],
        [['tiny.ts', '--', '--partition=nope'], /Slurm refuses: invalid partition specified: nope.*\n.*sinfo/],
        [['tiny.ts', '--', '--time=never'], /Slurm refuses: .*time/i],
        [['tiny.ts', '--', '--partition=all', '--nodelist=n5'], /has left no word\n.*a folder that all machines share/],
        [['digits.ts', '--', '--partition=all', '--nodelist=n4'], /on n4: 4 files missing: train-images/],
        [
          ['tiny.ts', '--', '--partition=all', '--nodelist=n9', `--export=ALL,XDG_CACHE_HOME=${at.folder}/none`],
          /on n9: TensorFlow is not installed.*\n.*XDG_CACHE_HOME/,
        ],
      ];
    for (const [args, says, more] of cases) {
      const { code, err } = await run(args, more);
      expect(err, args.join(' ')).toMatch(says);
      expect(code, args.join(' ')).not.toBe(0);
    }
    const owner = { store: join(at.folder, 'bad', '.store'), run: join(at.folder, 'bad', 'bad') };
    await noJobIsLeft(owner);
    expect(readdirSync(join(owner.store, 'jobs')).filter((name) => name.endsWith('.jsonl'))).toEqual([]);
  });

  it('makes the rest by the same command, though the controller of Slurm dies and forgets it all', async () => {
    const run = runOf('mishaps');
    for (const label of Object.keys(wrong)) run.release(label);
    const running = begin([...mishaps, ...apart]);
    await until(() => running.said().includes('mishaps: 9 models; 7 submitted, 2 there from before'));
    await sleep(1_000);
    played.control('controller-kill');
    await until(() => running.said().includes('Slurm does not answer'));
    played.control('controller-start');
    const { code, out, err } = await running.ended;
    const [, label, job] = /✗ (\S+) .*its job (\d+)/.exec(out) ?? [];
    const story = label === undefined || job === undefined ? '' : `${run.log(label)}\n${played.story(job)}`;
    expect([code, err], `${out}\n${story}`).toEqual([0, '']);
    expect(out).toContain('The cluster answers again.');
    await run.over();
  });

  it('takes a thousand models and gives them back', async () => {
    const stages = Array.from({ length: 1000 }, (_, i) => {
      const inputs = i % 10 === 0 ? {} : { victim: `s${i - (i % 10)}` };
      return { id: `s${i}`, label: `s${i}`, work: { kind: i % 10 === 0 ? 'teacher' : 'steal' }, inputs, parts: {} };
    }) as unknown as Stage[];
    const owner = { store: join(at.folder, 'many', '.store'), run: join(at.folder, 'many', 'many') };
    const many = slurmCluster(['--hold']);
    const began = performance.now();
    const options = { cluster: many, owner, command: () => ['true'], folder: at.folder, isThere: async () => false };
    const submitted = await submit({ ...options, plan: { stages }, name: 'many' });
    const between = performance.now();
    expect(submitted).toMatchObject({ submitted: 1000, waiting: 0, there: 0 });
    const listed = async () =>
      (await many.jobs()).filter((job) => job.state !== 'ended' && stageOfJob(job, owner) !== undefined);
    const live = await listed();
    // And the one that makes the report.
    expect(live.length).toBe(1001);
    await many.cancel(live.map(({ id }) => id));
    console.info(
      `1,000 models: ${((between - began) / 1000).toFixed(1)} s to submit, ${((performance.now() - between) / 1000).toFixed(1)} s to list and cancel`,
    );
    expect(await listed()).toEqual([]);
  });
});
