import { execFileSync } from 'node:child_process';
import { Ajv } from 'ajv';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { publishedSchema } from '../../schemas/generate.js';
import { type Project, project, tiny } from './project.js';

let at: Project;
const git = (...args: string[]): string =>
  execFileSync(
    'git',
    ['-c', 'user.name=one', '-c', 'user.email=one@example.org', '-c', 'commit.gpgsign=false', ...args],
    {
      cwd: at.folder,
      encoding: 'utf8',
    },
  ).trim();

beforeAll(async () => {
  at = project();
  await at.write('tiny.ts', tiny({ seeds: '0, 1' }));
  git('init', '--quiet');
  git('add', '.');
  git('commit', '--quiet', '--message', 'one');
  const { code } = await at.undistill([
    'run',
    'tiny.ts',
    '--threads',
    '1',
    '--seed',
    '0',
    '--scale',
    '0.7',
    '--jobs',
    '2',
  ]);
  expect(code).toBe(0);
});
afterAll(() => at.remove());

const files = ['diagnostics.json', 'diagnostics.md', 'teachers.csv', 'responses.csv', 'maps.csv'];
const run = 'tiny-scale-0.7';
const written = () => Promise.all(files.map((name) => at.read(`runs/${run}/diagnostics/${name}`)));
const diagnosed = (...args: string[]) =>
  at.undistill(['diagnose', 'tiny.ts', '--scale', '0.7', '--threads', '1', '--images', '40', ...args]);

describe('undistill diagnose', () => {
  it('reads the experiment again as it was run, and writes the same files each time', async () => {
    const { code, out, err } = await diagnosed();
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain('Teachers of tiny-scale-0.7: On 64 test images');
    const first = await written();
    const json = JSON.parse(first[0] as string);
    expect(json).toMatchObject({ version: 1, images: 64 });
    // Of the seed that was not run.
    expect(json.missing).toEqual(['none', 'nasty'].map((defense) => ({ defense, seed: '1' })));
    expect(json.teachers.map((teacher: { defense: string }) => teacher.defense)).toEqual(['none', 'nasty']);
    expect(json.maps.images).toHaveLength(40);
    const page = await at.read(`runs/${run}/report.html`);
    for (const title of ['answers by temperature', 'Logits of single images', 'Where images lie for each teacher'])
      expect(page).toContain(title);
    expect(await at.read(`runs/${run}/charts/logits-of-single-images.csv`)).toMatch(
      /^image,teacher,class,logit,bar\r\n/,
    );
    await diagnosed();
    expect(await written()).toEqual(first);
  });

  it('is no part of the report of other teachers', async () => {
    const path = `runs/${run}/diagnostics/diagnostics.json`;
    const own = await at.read(path);
    await at.write(path, JSON.stringify({ ...JSON.parse(own), stages: ['another'] }));
    expect(await at.undistill(['report', run])).toMatchObject({ code: 0 });
    expect(await at.read(`runs/${run}/report.html`)).not.toContain('Logits of single images');
    await at.write(path, own);
    expect(await at.undistill(['report', run])).toMatchObject({ code: 0 });
    expect(await at.read(`runs/${run}/report.html`)).toContain('Logits of single images');
  });

  it('reads no file that the run names, and refuses the run of another experiment', async () => {
    const plan = JSON.parse(await at.read(`runs/${run}/plan.json`));
    await at.write('evil.ts', "import { writeFileSync } from 'node:fs';\nwriteFileSync('owned', '');\n");
    await at.write(`runs/${run}/plan.json`, JSON.stringify({ ...plan, file: '../../evil.ts' }));
    expect(await diagnosed()).toMatchObject({ code: 0 });
    await expect(at.read('owned')).rejects.toThrow(/ENOENT/);
    expect(await at.undistill(['diagnose', `runs/${run}`])).toMatchObject({
      code: 1,
      err: expect.stringContaining('it is a folder'),
    });
    await at.write('other.ts', tiny().replace("name: 'tiny'", "name: 'other'"));
    const others = await at.undistill(['diagnose', 'other.ts', '--out', `runs/${run}`]);
    expect(others).toMatchObject({ code: 2, err: expect.stringContaining('and not of other') });
    const { victims: _, ...older } = plan;
    await at.write(`runs/${run}/plan.json`, JSON.stringify(older));
    expect(await diagnosed()).toMatchObject({ code: 2, err: expect.stringContaining('which its teachers are') });
    expect(await at.undistill(['diagnose', 'nowhere.ts'])).toMatchObject({ code: 1 });
  });
});

describe('the matrix of that run', () => {
  it('is as its JSON Schema says', async () => {
    const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(publishedSchema());
    validate(await at.matrix(`runs/${run}`));
    expect(validate.errors).toBeNull();
  });

  it('says with which commit of the project each stage was made, and in what it is reduced', async () => {
    const { provenance, reduced } = await at.matrix(`runs/${run}`);
    expect(reduced).toBe('70 % of the schedules');
    expect(provenance.length).toBeGreaterThan(0);
    for (const each of provenance) expect(each.git).toEqual({ commit: git('rev-parse', 'HEAD'), dirty: false });
  });
});
