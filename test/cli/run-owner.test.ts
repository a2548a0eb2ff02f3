import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { otherOwner } from '../../src/cli/run-owner.js';
import type { Plan } from '../../src/experiment/plan.js';
import { type Project, project, tiny } from './project.js';

type Owned = Parameters<typeof otherOwner>[0];

describe('a run that another experiment file has written', () => {
  let folder: string;
  let run: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'undistill-owner-'));
    run = join(folder, 'runs', 'mine');
    for (const name of ['a.ts', 'b.ts']) writeFileSync(join(folder, name), '');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** A plan of a teacher so wide, on so much of the data, by code of a hash, and of one attack. */
  const planned = (width = 4, fraction = 1, source = 'x', attack = 'kd') =>
    ({
      file: '../../a.ts',
      stages: [
        {
          ...{ id: 'a', label: 'seed-0/teacher', kind: 'teacher', inputs: {} },
          parts: {
            ...{ kind: 'teacher', seed: 0, inputs: {}, engine: source, harness: source },
            learner: { network: { name: 'net', params: { width }, source } },
            data: { fingerprint: 'f', fraction, set: { name: 'mnist', params: {}, source } },
          },
        },
        { id: 'b', label: `seed-0/none/net/${attack}`, kind: 'steal', inputs: {}, parts: { kind: 'steal', attack } },
      ],
    }) as unknown as NonNullable<Owned> & Plan;
  const owner = (earlier: Owned, now: Plan, file: string) =>
    otherOwner(earlier, now, { folder: run, path: join(folder, file) });

  it('is taken as it is by its own file, whatever was edited, and by any where none is named', () => {
    expect(owner(planned(), planned(8, 0.5), 'a.ts')).toBeUndefined();
    expect(owner(undefined, planned(), 'b.ts')).toBeUndefined();
    const { file: _, ...unnamed } = planned();
    expect(owner(unnamed, planned(8), 'b.ts')).toBeUndefined();
  });

  it('is refused to a file of another teacher or other data, with what to do', () => {
    expect(owner(planned(), planned(8, 0.5), 'b.ts')).toMatchObject({
      refusal: {
        kind: 'usage',
        where: expect.stringMatching(/runs\/mine$/),
        what: expect.stringMatching(
          /^this is the run of .*\/a\.ts, another experiment: learner\.network\.params\.width: 4 → 8, data\.fraction: 1 → 0\.5$/,
        ),
        remedy: expect.stringContaining('--out FOLDER'),
      },
    });
  });

  it('is told of where teacher and data are the same, and where the other file is gone', () => {
    const shared = owner(planned(), planned(4, 1, 'other code', 'dkd'), 'b.ts');
    expect(shared).toEqual({ warning: expect.stringMatching(/a\.ts, and becomes this file's\. Give one/) });
    const renamed = owner({ ...planned(), file: '../../before.ts' }, planned(8, 0.5), 'b.ts');
    expect(renamed).toEqual({ warning: expect.stringMatching(/before\.ts, which is gone: it becomes this file's$/) });
    // What an earlier version wrote says less.
    const untold = { file: '../../a.ts', stages: [] };
    expect(owner(untold, planned(), 'b.ts')).toEqual({ warning: expect.stringContaining('becomes this') });
  });
});

describe('two files with experiments of one name', () => {
  let at: Project;
  beforeAll(async () => {
    at = project();
    await at.write('a.ts', tiny());
    await at.write('b.ts', tiny().replace("net('teacher', 4)", "net('teacher', 5)"));
  });
  afterAll(() => at.remove());

  it('do not share a run, unless it is one file by another name', async () => {
    const run = (file: string, ...more: string[]) =>
      at.undistill(['run', file, '--threads', '1', '--only', 'seed-0/teacher', ...more]);
    expect(await run('a.ts')).toMatchObject({ code: 0, err: '' });
    const kept = () => Promise.all(['plan.json', 'matrix.json'].map((name) => at.read(`runs/tiny/${name}`)));
    const before = await kept();

    const refused = await run('b.ts', '--force');
    expect(refused.code).toBe(2);
    expect(refused.err).toMatch(/^runs\/tiny: this is the run of a\.ts, another experiment: .*width: 4 → 5/);
    expect(await kept()).toEqual(before);
    const planned = await at.undistill(['plan', 'b.ts', '--no-time']);
    expect(planned).toMatchObject({
      code: 0,
      out: expect.stringContaining('! run refuses runs/tiny: this is the run'),
    });
    expect(await run('b.ts', '--out', 'other/tiny')).toMatchObject({ code: 0 });

    await rename(join(at.folder, 'a.ts'), join(at.folder, 'c.ts'));
    const renamed = await run('c.ts');
    expect(renamed).toMatchObject({ code: 0, err: '' });
    expect(renamed.out).toContain("! runs/tiny is the run of a.ts, which is gone: it becomes this file's");
    expect(renamed.out).not.toContain('stale');
  });
});
