import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Project, project, register } from '../cli/project.js';
import { blocksOf, complaints, root } from './blocks.js';

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

const pages = readdirSync(`${root}docs`)
  .filter((name) => name.endsWith('.md'))
  .map((name) => `docs/${name}`);

describe('the files that pages name', () => {
  const links = /\[[^\]]*\]\(([^)]*)\)/g;

  // Whoever installed the package has its experiments elsewhere, and its source not at all. Architecture is about the source.
  it.each(pages.filter((page) => page !== 'docs/architecture.md'))(
    'are had by who has the package alone: %s',
    (page) => {
      const text = readFileSync(`${root}${page}`, 'utf8');
      expect(text.replace(links, '').match(/(?<![\w/-])(src|experiments|results)\/[\w-]+/g) ?? []).toEqual([]);
      for (const [, to = ''] of text.matchAll(links))
        if (/^\.\.\/(src|experiments)\//.test(to)) expect(existsSync(`${root}docs/${to}`), to).toBe(true);
    },
  );
});

/** The fields that an interface of the sources declares. */
const fieldsOf = (path: string, name: string): readonly string[] => {
  const [, body = ''] =
    readFileSync(`${root}src/${path}`, 'utf8').match(new RegExp(`interface ${name}\\b.*?\\{\n(.*?)\n\\}`, 's')) ?? [];
  return [...body.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, field]) => field as string);
};

describe('the fields of an experiment', () => {
  it.each([
    ['`experiment({ … })`', 'experiment/experiment.ts', 'ExperimentSpec'],
    ['`learner(network, recipe)`', 'train/recipe.ts', 'Recipe'],
    ['`published`', 'experiment/published.ts', 'Published'],
  ])('are all in the table of %s', (title, path, name) => {
    const section =
      readFileSync(`${root}docs/experiment.md`, 'utf8')
        .split('\n## ')
        .find((each) => each.startsWith(title)) ?? '';
    const fields = fieldsOf(path, name);
    expect(fields.length).toBeGreaterThan(5);
    expect([...section.matchAll(/^\| `(\w+)` \|/gm)].map(([, field]) => field)).toEqual(fields);
  });
});

describe('what the pages show', () => {
  // `mine.ts` trains on MNIST for minutes: it is compiled, on the page and in the README alike.
  const [mine = [], ofReadme] = ['docs/first-steps.md', 'README.md'].map(blocksOf);
  const blocks = pages.flatMap((page) => (page === 'docs/first-steps.md' ? [] : blocksOf(page)));
  let at: Project;
  beforeAll(async () => {
    at = project();
    for (const { file, text } of blocks) await at.write(file, text);
  });
  afterAll(() => at.remove());

  it('is there for each kind of plugin, each file once, and all of them compile', () => {
    const files = blocks.map(({ file }) => file);
    expect(new Set(files).size).toBe(files.length);
    const folders = ['attacks/', 'data/', 'defenses/', 'metrics/', 'networks/', 'optimizers/', 'schedules/'];
    const kinds = [...new Set(files.map((file) => file.replace(/\/.*/, '/')))];
    expect(kinds.sort()).toEqual([...folders, 'experiment.ts', 'plugins.test.ts'].sort());
    expect(complaints([...blocks, ...mine])).toEqual([]);
    expect(ofReadme).toEqual(mine);
  });

  it('runs, and what the attacks ask is what the pages say', async () => {
    const { code, out, err } = await at.undistill(['run', 'experiment.ts', '--threads', '1', '--out', 'run']);
    expect(code, `${out}${err}`).toBe(0);
    const { data, cells } = await at.matrix('run');
    expect(data.name).toBe('stripes');
    const statuses = (status: string) => cells.filter((cell) => cell.status === status);
    expect(statuses('failed')).toEqual([]);
    // Attacks that need more than labels, on labelOnly; everything else has a number.
    expect(statuses('n/a').map(({ defense }) => defense)).toEqual(Array(10).fill('labelOnly'));
    expect(statuses('done').length + 10).toBe(cells.length);
    const onNone = statuses('done').filter(({ defense }) => defense === 'none');
    expect(Object.fromEntries(onNone.map(({ attack, queries }) => [attack, queries?.mean]))).toEqual({
      scratch: 0,
      // An epoch of 80 images.
      jensenShannonKd: 80,
      distil: 80,
      hot: 80,
      earlyHead: 80,
      // 48 out-of-distribution images, once.
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
});
