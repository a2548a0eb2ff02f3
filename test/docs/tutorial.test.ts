import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Project, project, register } from '../cli/project.js';
import { blocksOf, complaints } from './blocks.js';

describe('a block', () => {
  it('that is a lie is told apart from one that is none', () => {
    const file = (text: string) => [{ file: 'a.ts', text }];
    expect(complaints(file("import { kd } from 'undistill';\nkd({ temperature: 2 });\n"))).toEqual([]);
    expect(complaints(file("import { kd } from 'undistill';\nkd({ temprature: 2 });\n"))).toEqual([
      expect.stringMatching(/^a\.ts:2: .*temprature/s),
    ]);
    expect(complaints(file("import { nothing } from 'undistill/train';\nnothing();\n"))).toEqual([
      expect.stringMatching(/^a\.ts:1: .*no exported member 'nothing'/),
    ]);
  });
});

describe.each(['docs/tutorial.md', 'README.md'])('%s', (page) => {
  const blocks = blocksOf(page);
  let at: Project;
  beforeAll(async () => {
    at = project();
    for (const { file, text } of blocks) await at.write(file, text);
  });
  afterAll(() => at.remove());

  it('shows each file once, and all of them compile', () => {
    const files = blocks.map(({ file }) => file);
    expect(new Set(files).size).toBe(files.length);
    expect(files.length).toBeGreaterThan(3);
    expect(complaints(blocks)).toEqual([]);
  });

  if (page === 'docs/tutorial.md') {
    it('has plugins that run, and what they ask is what it says', async () => {
      const { code, out, err } = await at.undistill(['run', 'experiment.ts', '--threads', '1', '--out', 'run']);
      expect(code, `${out}${err}`).toBe(0);
      const { cells } = await at.matrix('run');
      const statuses = (status: string) => cells.filter((cell) => cell.status === status);
      expect(statuses('failed')).toEqual([]);
      // Attacks that need more than labels, on labelOnly; everything else has a number.
      expect(statuses('n/a').map(({ defense }) => defense)).toEqual(Array(9).fill('labelOnly'));
      expect(statuses('done').length + 9).toBe(cells.length);
      const onNone = statuses('done').filter(({ defense }) => defense === 'none');
      expect(Object.fromEntries(onNone.map(({ attack, queries }) => [attack, queries?.mean]))).toEqual({
        scratch: 0,
        // An epoch of 80 images.
        distil: 80,
        hot: 80,
        earlyHead: 80,
        // 48 images of something else, once.
        transferSet: 48,
        'transferSet(budget 30)': 30,
        transferLabels: 48,
        // 3 steps of batches of 8.
        twoStudents: 3 * 2 * 8,
        estimated: 3 * (3 * 8 + 5 * 8),
        // 20 images, doubled twice.
        jacobian: 20 + 20 + 40,
        // With weights at hand nothing is asked.
        dream: 0,
        attention: 0,
      });
    });

    it('has tests that pass', async () => {
      const { code, out, err } = await at.node(['--import', register, '--test', `${at.folder}/plugins.test.ts`]);
      expect(code, `${out}${err}`).toBe(0);
    });
  } else {
    it('has plugins that run', async () => {
      const imports = blocks
        .filter(({ file }) => file !== 'mine.ts')
        .map(({ file, text }) => ({ file: file.replace('.ts', '.js'), name: /export const (\w+)/.exec(text)?.[1] }));
      expect(imports.map(({ name }) => name)).toEqual(['myAttack', 'softer', 'brierScore', 'dream']);
      await at.write(
        'try.ts',
        `import { adam, constant, experiment, learner, none, plainCnn, synthetic } from 'undistill';
${imports.map(({ file, name }) => `import { ${name} } from './${file}';`).join('\n')}
const small = learner(plainCnn({ width: 2 }), { epochs: 1, batch: 16, optimizer: adam(), schedule: constant(0.01) });
export default experiment({
  name: 'try',
  data: synthetic({ train: 40, test: 16 }),
  teacher: small,
  students: ['self'],
  defenses: [none(), softer(4)],
  attacks: [myAttack(), dream()],
  metrics: [brierScore],
  seeds: [0],
});
`,
      );
      const { code, out, err } = await at.undistill([
        ...['run', 'try.ts', '--threads', '1', '--scale', '0.02', '--out', 'run'],
      ]);
      expect(code, `${out}${err}`).toBe(0);
      const { cells } = await at.matrix('run');
      expect(cells.map(({ attack, defense, status }) => [attack, defense, status])).toEqual([
        ['myAttack', 'none', 'done'],
        ['myAttack', 'softer', 'done'],
        ['dream', 'none', 'done'],
        ['dream', 'softer', 'n/a'],
      ]);
    });
  }
});
