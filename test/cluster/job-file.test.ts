import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { progressLine } from '../../src/cli/progress.js';
import { type JobLine, jobFile, jobReader, jobWriter } from '../../src/cluster/job-file.js';
import { failure } from '../../src/core/errors.js';

const root = mkdtempSync(join(tmpdir(), 'undistill-job-file-'));
afterAll(() => rmSync(root, { recursive: true }));

const progress = {
  ...{ epoch: 1, epochs: 2, step: 3, steps: 4, metrics: { loss: 0.5, accuracy: 0.25 } },
  ...{ imagesPerSecond: 1000, secondsLeft: 60 },
};
const record = { epoch: 1, step: 3, learningRate: 0.1, metrics: { loss: 1 }, validation: 0.5, stepsPerSecond: 2 };

/** One of each. */
const lines: readonly JobLine[] = [
  { type: 'begun', job: '7', start: 0, node: 'n1' },
  { type: 'event', event: { type: 'progress', fit: '', progress } },
  { type: 'event', event: { type: 'epoch', fit: '', record, epochs: 2 } },
  { type: 'event', event: { type: 'picture', path: 'a/b.png', name: 'b' } },
  { type: 'event', event: { type: 'place', node: 'n1' } },
  { type: 'event', event: { type: 'queued', reason: 'Priority' } },
  { type: 'event', event: { type: 'note', message: 'x' } },
  { type: 'event', event: { type: 'warning', message: 'x' } },
  { type: 'stopped', again: true },
  { type: 'done' },
  { type: 'failed', failure: failure('plugin', 'it threw', { where: 'kd', remedy: 'Mend it.', trace: 'at x' }) },
];

test('what a job says of its stage is read as it was said', async () => {
  const write = jobWriter(root, 'said');
  for (const line of lines) write(line);
  expect(await jobReader(root, 'said')()).toEqual(lines);
});

test('a number that is not finite is none when it is read, and can be shown', async () => {
  const diverged = { ...progress, metrics: { loss: Number.NaN }, secondsLeft: Number.POSITIVE_INFINITY };
  jobWriter(root, 'diverged')({ type: 'event', event: { type: 'progress', fit: '', progress: diverged } });
  const [line] = await jobReader(root, 'diverged')();
  if (line?.type !== 'event' || line.event.type !== 'progress') throw new Error('it was not read');
  expect(progressLine(line.event.progress)).toContain('loss NaN');
});

test.skipIf(process.platform === 'win32')(
  'a pipe that nobody writes to says nothing, and is not waited for',
  async () => {
    mkdirSync(dirname(jobFile(root, 'pipe')), { recursive: true });
    execFileSync('mkfifo', [jobFile(root, 'pipe')]);
    expect(await jobReader(root, 'pipe')()).toEqual([]);
  },
);

test('what is no line of a job is left out, whatever it is called', async () => {
  jobWriter(root, 'foreign')({ type: 'done' });
  for (const line of [
    ...[
      '',
      'x',
      '5',
      'null',
      '[]',
      '{}',
      '{"type":"other"}',
      '{"type":"failed"}',
      '{"type":"event"}',
      '{"type":"begun"}',
    ],
    ...['{"type":"failed","failure":null}', '{"type":"failed","failure":{"_tag":"Failure","kind":"x","what":"y"}}'],
    ...['{"type":"event","event":{"type":"progress","fit":"","progress":{}}}', '{"type":"stopped","again":1}'],
  ])
    appendFileSync(jobFile(root, 'foreign'), `${line}\n`);
  expect(await jobReader(root, 'foreign')()).toEqual([{ type: 'done' }]);
});
