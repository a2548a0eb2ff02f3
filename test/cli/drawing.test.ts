import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import { makeRun } from '../../src/cli/run.js';
import type { Terminal } from '../../src/cli/terminal.js';
import { foldersOf, planFor } from '../../src/harness/session.js';
import { adam, constant, experiment, learner, none, plainCnn, scratch, synthetic } from '../../src/index.js';
import { crewOf } from '../../src/run/crew.js';
import { openStore } from '../../src/run/store.js';

vi.mock('../../src/cli/report.js', () => ({
  readRun: () => Promise.reject(new RangeError('Maximum call stack size exceeded')),
  writeReport: () => expect.unreachable('there is nothing to write'),
}));

const folder = mkdtempSync(join(tmpdir(), 'undistill-drawing-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('a run that cannot be read for its charts and its report is warned of, and has not failed', async () => {
  const net = learner(plainCnn({ width: 2 }), { epochs: 1, batch: 16, optimizer: adam(), schedule: constant(0.01) });
  const parts = { name: 'undrawn', data: synthetic(), teacher: net, students: [net], seeds: [0] };
  const of = experiment({ ...parts, defenses: [none()], attacks: [scratch()] });
  const folders = foldersOf(of, join(folder, 'undrawn'));
  const planned = await planFor(of, 'tfjs-cpu');
  const said: string[] = [];
  const plain = (text: string): string => text;
  const out = {
    width: 80,
    log: (line: string) => void said.push(line),
    update: () => undefined,
    foot: () => undefined,
  };
  const paint = { good: plain, bad: plain, warning: plain, faint: plain };
  const code = await makeRun({
    ...{ planned, folders, chosen: { ...planned.plan, stages: [] }, crew: crewOf(), stop: new AbortController() },
    store: openStore(folders.store, (_, file) => expect.unreachable(file)),
    ...{ commandLine: '', out: { ...out, paint } as Partial<Terminal> as Terminal },
  });
  expect(said).toContain('! no charts and no report: Maximum call stack size exceeded');
  expect(said.some((line) => line.startsWith('report:'))).toBe(false);
  expect(code).toBe(0);
});
