import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { jobFile, jobWriter } from '../../src/cluster/job-file.js';
import { type SubmissionOptions, submit } from '../../src/cluster/submission.js';
import { FailureError, failure } from '../../src/core/errors.js';
import { tryLock } from '../../src/core/lock.js';
import { storeLock } from '../../src/run/store.js';
import { type PlayedCluster, planOf, playedCluster, silence, stage } from './played.js';

let root: string;
let cluster: PlayedCluster;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'undistill-submission-'));
  cluster = playedCluster();
});
afterEach(() => rm(root, { recursive: true }));

/** A teacher, what is measured of it, two students of it, and one that takes from nothing. */
const plan = planOf(
  stage('teacher', 'teacher'),
  stage('answers', 'answer', 'teacher'),
  stage('kd', 'steal', 'teacher'),
  stage('asking', 'steal', 'answers'),
  stage('alone', 'steal'),
  stage('measured', 'measure', 'kd', 'alone'),
);

const submitAll = (more: Partial<SubmissionOptions> = {}) =>
  submit({
    ...{ cluster, owner: { store: join(root, '.store'), run: join(root, 'run') }, plan, name: 'trial', every: 5 },
    ...{ command: (id: string) => ['make', id], folder: root, isThere: async () => false },
    ...more,
  });

/** Jobs as `kd after teacher`, by the names of the jobs that must have succeeded, and have ended. */
const shown = (of: PlayedCluster = cluster): readonly string[] => {
  const names = new Map(of.submitted.map(({ id, name }) => [id, name]));
  const called = (ids: readonly string[]): string => ids.map((id) => names.get(id)).join(', ');
  return of.submitted.map(({ name, afterOk, afterAny }) =>
    [
      name,
      ...(afterOk.length === 0 ? [] : [`after ${called(afterOk)}`]),
      ...(afterAny.length === 0 ? [] : [`behind ${called(afterAny)}`]),
    ].join(' '),
  );
};

describe('a submission', () => {
  test('is a job for each training after those that it takes from, and one for the rest after all', async () => {
    expect(await submitAll()).toMatchObject({ submitted: 4, waiting: 0, there: 0 });
    expect(shown()).toEqual([
      'teacher',
      'kd after teacher',
      'asking after teacher',
      'alone',
      'trial: report behind teacher, kd, asking, alone',
    ]);
    expect(cluster.submitted.map(({ command }) => command[1])).toEqual([
      'teacher',
      'kd',
      'asking',
      'alone',
      expect.stringMatching(/^last-/),
    ]);
  });

  test('leaves out what is there, and what has failed with all that takes from it', async () => {
    expect(await submitAll({ isThere: async (id) => id === 'teacher' })).toMatchObject({ submitted: 3, there: 1 });
    expect(shown()).toEqual(['kd', 'asking', 'alone', 'trial: report behind kd, asking, alone']);
    cluster = playedCluster();
    expect(await submitAll({ failed: new Set(['teacher']) })).toMatchObject({ submitted: 1 });
    expect(shown()).toEqual(['alone', 'trial: report behind alone']);
  });

  test('submits nothing where all is there', async () => {
    expect(await submitAll({ isThere: async () => true })).toMatchObject({ submitted: 0, waiting: 0, there: 4 });
    expect(cluster.submitted).toEqual([]);
  });

  test('has so many jobs at a time, each behind the one so many before it', async () => {
    await submitAll({ atMost: 2 });
    expect(shown()).toEqual([
      'teacher',
      'kd after teacher',
      'asking after teacher behind teacher',
      'alone behind kd',
      'trial: report behind teacher, kd, asking, alone',
    ]);
  });

  test('has one of several that ask the same go first, unless the answers are there', async () => {
    const sharing = [{ stages: plan.stages.filter(({ id }) => id === 'kd' || id === 'asking') }];
    await submitAll({ sharing });
    expect(shown()).toContain('asking after teacher behind kd');
    cluster = playedCluster();
    await submitAll({ sharing, isThere: async (id) => id === 'kd' });
    expect(shown()).toContain('asking after teacher');
  });

  test('has one of those go first that were chosen, and have not failed', async () => {
    const sharing = [{ stages: plan.stages.filter(({ id }) => ['kd', 'asking', 'alone'].includes(id)) }];
    await submitAll({ sharing, plan: planOf(...plan.stages.filter(({ id }) => id !== 'kd' && id !== 'measured')) });
    expect(shown()).toEqual([
      'teacher',
      'asking after teacher',
      'alone behind asking',
      'trial: report behind teacher, asking, alone',
    ]);
    cluster = playedCluster();
    await submitAll({ sharing, failed: new Set(['kd']) });
    expect(shown()).toContain('alone behind asking');
    cluster = playedCluster();
    await submitAll({ sharing, plan: planOf(...plan.stages.slice(0, 2)) });
    expect(shown()).toEqual(['teacher', 'trial: report behind teacher']);
  });

  test('submits no job twice, and the last one anew where others were added', async () => {
    const some = planOf(...plan.stages.slice(0, 2));
    await submitAll({ plan: some });
    expect(await submitAll({ plan: some })).toMatchObject({ submitted: 0, waiting: 1, there: 0 });
    expect(cluster.submitted.length).toBe(2);
    expect(await submitAll()).toMatchObject({ submitted: 3, waiting: 1, there: 0 });
    expect(shown().slice(2)).toEqual([
      'kd after teacher',
      'asking after teacher',
      'alone',
      'trial: report behind teacher, kd, asking, alone',
    ]);
    expect(cluster.cancelled).toEqual(['2']);
  });

  test('by two processes at once is one', async () => {
    const both = await Promise.all([submitAll(), submitAll()]);
    expect(both.map(({ submitted }) => submitted).sort()).toEqual([0, 4]);
    expect(cluster.submitted.length).toBe(5);
  });

  test('says which process of this store it waits for, and by which file', async () => {
    const path = storeLock(join(root, '.store'), 'submission');
    const lock = await tryLock(path);
    const said: string[] = [];
    const say = (line: string) => {
      said.push(line);
      void lock?.release();
    };
    expect(await submitAll({ say })).toMatchObject({ submitted: 4 });
    expect(said).toEqual([expect.stringContaining(`Waiting for process ${process.pid} on `)]);
    expect(said[0]).toContain(`(${path})`);
  });

  test('submits what ended again, and forgets what was said of it', async () => {
    await submitAll();
    jobWriter(join(root, '.store'), 'kd')({ type: 'done' });
    for (const { id, name } of cluster.submitted)
      cluster.turn(id, { state: 'ended', word: name === 'kd' ? 'FAILED' : 'COMPLETED' });
    expect(await submitAll({ isThere: async (id) => id !== 'kd' && id !== 'measured' })).toMatchObject({
      submitted: 1,
    });
    expect(shown().slice(5)).toEqual(['kd', 'trial: report behind kd']);
    expect(existsSync(jobFile(join(root, '.store'), 'kd'))).toBe(false);
  });

  test('says so where no folder can be made for it', async () => {
    const owner = { store: '/proc/undistill/.store', run: '/proc/undistill/run' };
    const failed = { kind: 'store', where: expect.stringContaining(owner.store), remedy: expect.any(String) };
    await expect(submitAll({ owner })).rejects.toMatchObject({ failure: failed });
    jobWriter(owner.store, 'kd')({ type: 'done' });
  });

  test('takes stages from jobs that have ended, whatever machine they ran on', async () => {
    await submitAll();
    const lock = (job: string) => ({
      ...{ pid: 1, host: 'n7', world: '', started: '1', token: 'abc', since: 1, job: { id: job, start: 0 } },
    });
    const locks = join(root, '.store', 'locks');
    await writeFile(join(locks, 'teacher'), JSON.stringify(lock('1')));
    await writeFile(join(locks, 'kd'), JSON.stringify(lock('2')));
    cluster.turn('1', { state: 'ended', word: 'CANCELLED' });
    cluster.turn('2', { state: 'running', word: 'RUNNING' });
    await submitAll();
    expect(await readdir(locks)).toEqual(['kd']);
  });

  test('is all or none: where a job is refused, those before it are taken back', async () => {
    cluster.onAsked = (what, job) => {
      if (what === 'submit' && job?.name === 'asking')
        throw new FailureError(failure('cluster', 'Slurm refuses: QOSMaxSubmitJobPerUserLimit'));
    };
    await expect(submitAll()).rejects.toThrow('QOSMaxSubmitJobPerUserLimit');
    expect(cluster.cancelled).toEqual(['1', '2']);
  });

  test('waits for a scheduler that does not answer', async () => {
    let left = 3;
    cluster.onAsked = (what) => {
      if (what === 'submit' && left-- > 0) throw silence();
    };
    expect(await submitAll()).toMatchObject({ submitted: 4 });
    expect(cluster.submitted.length).toBe(5);
  });

  test('gives up on a scheduler that never answers, and says so', async () => {
    cluster.onAsked = () => {
      throw silence();
    };
    await expect(submitAll()).rejects.toThrow('does not answer');
  });

  test('finds a job by its tag where it was taken and the answer was lost', async () => {
    let isLost = false;
    cluster.onTaken = ({ name }) => {
      if (isLost || name !== 'teacher') return;
      isLost = true;
      throw silence();
    };
    expect(await submitAll()).toMatchObject({ submitted: 4 });
    expect(isLost).toBe(true);
    expect(shown().slice(0, 2)).toEqual(['teacher', 'kd after teacher']);
    expect(cluster.submitted.length).toBe(5);
  });
});
