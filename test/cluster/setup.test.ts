import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type JobSetup, readReport, readSetup, setupPath, writeSetup } from '../../src/cluster/setup.js';
import { failure } from '../../src/core/errors.js';

let root: string;
let setup: JobSetup;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'undistill-setup-'));
  mkdirSync(join(root, '.store'));
  setup = {
    ...{ file: '/a/b.ts', experiment: 'trial', data: undefined, run: join(root, 'run'), store: join(root, '.store') },
    ...{ checkpointEvery: 10, args: ['--partition=gpu'] },
  };
});
afterEach(() => rmSync(root, { recursive: true }));

describe('the setup of a job', () => {
  it('is read as it was written', async () => {
    const path = await writeSetup(setup);
    expect(path).toBe(setupPath(setup));
    expect(await readSetup(path)).toEqual(JSON.parse(JSON.stringify(setup)));
  });

  it('is refused where anything in it was changed: it names code that is to run', async () => {
    const path = await writeSetup(setup);
    const text = readFileSync(path, 'utf8');
    const others = ['', '{', 'null', '7', '[]', '{}', '"x"', text.replace('b.ts', 'c.ts'), text.replace('10', '11')];
    for (const other of others) {
      writeFileSync(path, other);
      await expect(readSetup(path)).rejects.toMatchObject({
        failure: { kind: 'cluster', what: expect.stringContaining('not the setup that was submitted'), where: path },
      });
    }
    await expect(readSetup(join(root, 'none.json'))).rejects.toMatchObject({ failure: { kind: 'cluster' } });
  });
});

describe('what a node wrote of itself', () => {
  const report = { host: 'n1', arithmetic: 'x', engine: 'y', stages: [{ id: 'a', label: 'b', parts: { c: [1] } }] };
  const read = async (text: string) => {
    const path = join(root, 'look.json');
    writeFileSync(path, text);
    return readReport(path);
  };

  it('is a report or a failure', async () => {
    expect(await read(JSON.stringify(report))).toEqual(report);
    const failed = failure('engine', 'there is none', { remedy: 'Install it.' });
    expect(await read(JSON.stringify(failed))).toEqual(JSON.parse(JSON.stringify(failed)));
  });

  it('counts as not written where it is damaged', async () => {
    expect(await readReport(join(root, 'none.json'))).toBeUndefined();
    for (const other of ['', '{', 'null', '{}', '[]', '{"_tag":"Failure"}', JSON.stringify({ ...report, stages: 5 })])
      expect(await read(other)).toBeUndefined();
    expect(await read(JSON.stringify({ ...report, stages: [{ id: 'a' }] }))).toBeUndefined();
  });
});
