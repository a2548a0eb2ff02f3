import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Project, project, tiny } from './project.js';

let at: Project;
beforeAll(async () => {
  at = project();
  await at.write('tiny.ts', tiny({ seeds: '0, 1' }));
});
afterAll(() => at.remove());

describe('run --on slurm --dry-run', () => {
  /** The names of the jobs that would be submitted. */
  const jobs = async (...more: string[]): Promise<readonly string[]> => {
    const { code, out, err } = await at.undistill(['run', 'tiny.ts', '--on', 'slurm', '--dry-run', ...more]);
    expect([code, err]).toEqual([0, '']);
    return [...out.matchAll(/--job-name=(\S+)/g)].map(([, name]) => name as string);
  };

  it('submits a job a model, and the report last', async () => {
    const all = await jobs();
    expect(all).toEqual(expect.arrayContaining(['seed-0/teacher', 'seed-1/teacher', 'seed-1/plainCnn/scratch']));
  });

  it('submits those of the seeds that are asked for alone', async () => {
    const some = await jobs('--seed', '0');
    expect(some).toContain('seed-0/teacher');
    expect(some.filter((name) => name.startsWith('seed-1/'))).toEqual([]);
  });
});
