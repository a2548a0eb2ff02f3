import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { clusterExecutor } from '../../src/cluster/executor.js';
import { type JobLine, jobLog, jobWriter } from '../../src/cluster/job-file.js';
import { type Owner, submit } from '../../src/cluster/submission.js';
import { failure } from '../../src/core/errors.js';
import type { Executor } from '../../src/run/executor.js';
import type { Outcome } from '../../src/run/record.js';
import { openStore, type Store } from '../../src/run/store.js';
import type { StageEvent } from '../../src/run/types.js';
import { aRecord } from '../run/record.js';
import { type PlayedCluster, planOf, playedCluster, silence, stage } from './played.js';

let root: string;
let owner: Owner;
let store: Store;
let cluster: PlayedCluster;
let executor: Executor;
let events: StageEvent[];
let silences: (string | undefined)[];
let stop: AbortController;

const [teacher, kd] = [stage('teacher', 'teacher'), stage('kd', 'steal', 'teacher')];
const submitAll = (failed: ReadonlySet<string> = new Set()) =>
  submit({
    ...{ cluster, owner, failed, plan: planOf(teacher, kd), name: 'trial', every: 5, folder: root },
    ...{ command: () => ['true'], isThere: async (id) => (await store.find(id)) !== undefined },
  });

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'undistill-executor-'));
  owner = { store: join(root, '.store'), run: join(root, 'run') };
  store = openStore(owner.store, () => undefined, { trusting: true });
  cluster = playedCluster();
  [events, silences, stop] = [[], [], new AbortController()];
  const submitted = await submitAll();
  executor = clusterExecutor({
    ...{ cluster, owner, store, submitted, resubmit: submitAll, signal: stop.signal, every: 10 },
    onSilence: (why) => silences.push(why),
  });
});
afterEach(() => rm(root, { recursive: true }));

const follow = (of = teacher): Promise<Outcome> =>
  executor.run(
    of,
    (event) => events.push(event),
    () => undefined,
  );
const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await sleep(5);
};
const say = (line: JobLine, id = 'teacher'): void => jobWriter(owner.store, id)(line);
const finish = async (id: string): Promise<void> => {
  const staging = await store.begin(id);
  await staging?.writeJson('record.json', { ...aRecord, id });
  await staging?.finish();
};
/** The job that a stage was submitted with last. */
const numberOf = (name: string): string => cluster.submitted.filter((job) => job.name === name).at(-1)?.id ?? '';
const count = (name: string): number => cluster.submitted.filter((job) => job.name === name).length;
const end = (word: string, more: { node?: string; reason?: string } = {}, name = 'teacher'): void =>
  cluster.turn(numberOf(name), { state: 'ended', word, node: 'n7', reason: 'None', ...more });
const writeLog = async (text: string): Promise<void> => {
  await mkdir(dirname(jobLog(owner.store, 'teacher')), { recursive: true });
  await writeFile(jobLog(owner.store, 'teacher'), text);
};

describe('following a stage', () => {
  test('tells why it waits, where it begins and what it says, until the store has it', async () => {
    const following = follow();
    await until(() => events.length > 0);
    cluster.turn('1', { state: 'running', word: 'RUNNING', node: 'n7', reason: 'None' });
    say({ type: 'begun', job: '1', start: 0, node: 'n7' });
    say({ type: 'event', event: { type: 'note', message: 'so far' } });
    await until(() => events.length > 2);
    await finish('teacher');
    expect(await following).toMatchObject({ status: 'done', record: { id: 'teacher' } });
    expect(events).toEqual([
      { type: 'queued', reason: 'Priority' },
      { type: 'place', node: 'n7' },
      { type: 'note', message: 'so far' },
    ]);
  });

  test('waits while the scheduler does not answer, and says so once', async () => {
    let asked = 0;
    cluster.onAsked = (what) => {
      if (what === 'jobs' && asked++ < 3) throw silence();
    };
    const following = follow();
    await until(() => silences.length === 2);
    await finish('teacher');
    expect(await following).toMatchObject({ status: 'done' });
    expect(silences).toEqual(['the scheduler does not answer', undefined]);
  });

  test('ends where it is told to, and leaves the jobs alone', async () => {
    const following = follow();
    stop.abort();
    expect(await following).toMatchObject({ status: 'failed', failure: { kind: 'interrupted' } });
    expect(cluster.cancelled).toEqual([]);
  });

  test('goes on where a job was ended and started again, whatever its first start said', async () => {
    say({ type: 'begun', job: '1', start: 0, node: 'n7' });
    say({ type: 'failed', failure: failure('cluster', 'a start that was lost') });
    say({ type: 'begun', job: '1', start: 1, node: 'n8' });
    cluster.turn('1', { state: 'running', word: 'RUNNING', node: 'n8' });
    const following = follow();
    await until(() => events.length >= 2);
    await finish('teacher');
    expect(await following).toMatchObject({ status: 'done' });
  });
});

describe('a job that is gone without a trace', () => {
  test('is submitted again, with all else that is', async () => {
    for (const { id } of [...cluster.submitted]) cluster.turn(id);
    const following = follow();
    await until(() => count('kd') === 2);
    await finish('teacher');
    expect(await following).toMatchObject({ status: 'done' });
    expect([count('teacher'), count('kd')]).toEqual([2, 2]);
    expect(events).toContainEqual({ type: 'note', message: 'its job is gone without a trace, and is submitted again' });
  });

  test('is submitted again at most twice', async () => {
    cluster.turn('1');
    cluster.onTaken = ({ name }) => {
      if (name === 'teacher') cluster.turn(numberOf('teacher'));
    };
    expect(await follow()).toMatchObject({
      status: 'failed',
      failure: { kind: 'cluster', what: 'its job is gone without a trace' },
    });
    expect(count('teacher')).toBe(3);
  });

  test('is not taken for one that ended before, though that has its number', async () => {
    for (const { id, tag } of [...cluster.submitted])
      cluster.turn(id, { state: 'ended', word: 'FAILED', tag: `${tag}0` });
    const following = follow();
    await until(() => count('kd') === 2);
    await finish('teacher');
    expect(await following).toMatchObject({ status: 'done' });
  });

  test('is submitted once for all who follow', async () => {
    for (const { id } of [...cluster.submitted]) cluster.turn(id);
    const following = [follow(), follow(kd)];
    await until(() => count('kd') === 2);
    for (const id of ['teacher', 'kd']) await finish(id);
    expect((await Promise.all(following)).map(({ status }) => status)).toEqual(['done', 'done']);
    expect([count('teacher'), count('kd')]).toEqual([2, 2]);
  });

  test('does not have those tried again that have failed, nor what takes from them', async () => {
    end('FAILED');
    say({ type: 'failed', failure: failure('plugin', 'it broke') });
    expect(await follow()).toMatchObject({ status: 'failed' });
    cluster.turn(numberOf('kd'));
    expect(await follow(kd)).toMatchObject({ status: 'failed' });
    expect([count('teacher'), count('kd')]).toEqual([1, 1]);
  });
});

/** Followed by a run that the scheduler has not answered once. */
const followAfterSilence = (): Promise<Outcome> => {
  let asked = 0;
  cluster.onAsked = (what) => {
    if (what === 'jobs' && asked++ === 0) throw silence();
  };
  return follow();
};

describe('a job that ends without a word after the scheduler was silent', () => {
  test('is submitted again, with what takes from it', async () => {
    end('FAILED', { reason: 'NonZeroExitCode' });
    cluster.turn(numberOf('kd'), { state: 'ended', word: 'CANCELLED', reason: 'DependencyNeverSatisfied' });
    const following = followAfterSilence();
    await until(() => count('kd') === 2);
    await finish('teacher');
    expect(await following).toMatchObject({ status: 'done' });
    expect([count('teacher'), count('kd')]).toEqual([2, 2]);
    expect(events).toContainEqual({
      type: 'note',
      message: 'its job 1 ended without a word after the scheduler was silent, and is submitted again',
    });
  });

  test('is submitted again at most twice', async () => {
    end('FAILED');
    cluster.onTaken = ({ name }) => {
      if (name === 'teacher') end('FAILED');
    };
    expect(await followAfterSilence()).toMatchObject({
      status: 'failed',
      failure: { what: expect.stringContaining('ended on n7 as FAILED, without a word of its own') },
    });
    expect(count('teacher')).toBe(3);
  });

  test('is not where the scheduler has a word for it', async () => {
    await writeLog('slurmstepd-n7: error: Exceeded job memory limit\n');
    end('FAILED');
    expect(await followAfterSilence()).toMatchObject({ status: 'failed' });
    expect(count('teacher')).toBe(1);
  });
});

describe('a job that is held', () => {
  test('is taken back with those that wait for it, and all are submitted again', async () => {
    cluster.turn('1', { reason: 'launch failed requeued held' });
    const following = follow();
    await until(() => count('kd') === 2);
    await finish('teacher');
    expect(await following).toMatchObject({ status: 'done' });
    expect(cluster.cancelled).toEqual(expect.arrayContaining(['1', '2']));
    expect(events).toContainEqual({ type: 'warning', message: expect.stringContaining('job 1 is held') });
  });
});

describe('a job that is held, of a stage that is there', () => {
  test('is taken back for those that wait for it', async () => {
    await finish('teacher');
    cluster.turn('1', { reason: 'launch failed requeued held' });
    const following = follow(kd);
    await until(() => count('kd') === 2);
    expect(cluster.submitted.find(({ id }) => id === numberOf('kd'))).toMatchObject({ afterOk: [] });
    await finish('kd');
    expect(await following).toMatchObject({ status: 'done' });
    expect(count('teacher')).toBe(1);
  });
});

describe('a job that ends', () => {
  /** What is said of a stage, with the path of its output in the place of `LOG`. */
  const said = async (): Promise<{ what?: string; where?: string; remedy?: string }> => {
    const outcome = await follow();
    expect(outcome.status).toBe('failed');
    return outcome.status === 'failed' ? (outcome.failure as { what: string }) : {};
  };

  test('after it said why is told by its own words, with the path of its output', async () => {
    say({ type: 'failed', failure: failure('plugin', 'it broke', { remedy: 'Mend it.' }) });
    end('FAILED');
    expect(await said()).toMatchObject({
      kind: 'plugin',
      what: 'it broke',
      remedy: `Mend it. Its job's output on n7: ${jobLog(owner.store, 'teacher')}`,
    });
  });

  test.each([
    ['OUT_OF_MEMORY', /--mem=16G/],
    ['TIMEOUT', /--time=4:00:00/],
    ['NODE_FAIL', /--no-requeue\?/],
    ['PREEMPTED', /--no-requeue\?/],
    ['BOOT_FAIL', /The same command submits it again/],
    ['FAILED', /The same command submits it again/],
  ])('as %s is told by that word, with what to do', async (word, remedy) => {
    end(word);
    expect(await said()).toMatchObject({
      kind: 'cluster',
      what: `its job 1 ended on n7 as ${word}, without a word of its own`,
      where: jobLog(owner.store, 'teacher'),
      remedy: expect.stringMatching(remedy),
    });
  });

  test('for its memory is told in the words that Slurm put into its output', async () => {
    await writeLog('slurmstepd-n7: error: Exceeded job memory limit\nslurmstepd-n7: error: *** JOB 1 CANCELLED ***\n');
    end('FAILED', { reason: 'JobLaunchFailure' });
    expect(await said()).toMatchObject({
      what: 'its job 1 ended on n7 as FAILED (JobLaunchFailure): Exceeded job memory limit',
      remedy: expect.stringContaining('--mem=16G'),
    });
  });

  test('by scancel is told as cancelled, and not submitted again', async () => {
    end('CANCELLED');
    expect(await said()).toMatchObject({
      what: 'its job 1 was cancelled on n7',
      remedy: expect.stringContaining('The same command submits it again'),
    });
    expect(count('teacher')).toBe(1);
  });
});
