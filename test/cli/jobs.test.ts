import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { logsCommand } from '../../src/cli/jobs.js';
import type { Terminal } from '../../src/cli/terminal.js';
import { jobLog } from '../../src/cluster/job-file.js';
import { storeOf } from '../../src/run/store.js';

const root = mkdtempSync(join(tmpdir(), 'undistill-jobs-'));
afterAll(() => rmSync(root, { recursive: true }));

test.skipIf(process.platform === 'win32')(
  'the output of a job is printed; a pipe in its place is refused',
  async () => {
    const run = join(root, 'run');
    const log = jobLog(storeOf(run), 'a');
    for (const folder of [run, dirname(log)]) mkdirSync(folder, { recursive: true });
    const stages = [{ id: 'a', label: 'seed-0/teacher', kind: 'teacher', inputs: {} }];
    writeFileSync(join(run, 'plan.json'), JSON.stringify({ version: 1, experiment: 'e', stages, cells: [] }));
    const printed: string[] = [];
    const out = { print: (text: string) => printed.push(text) } as never as Terminal;
    await expect(logsCommand(run, 'teacher', out)).rejects.toThrow('its job has said nothing yet');
    writeFileSync(log, 'it began');
    await logsCommand(run, 'teacher', out);
    expect(printed).toEqual(['it began']);
    rmSync(log);
    execFileSync('mkfifo', [log]);
    await expect(logsCommand(run, 'teacher', out)).rejects.toMatchObject({
      failure: { kind: 'store', what: `it is no file: ${log}`, where: log },
    });
  },
);
