import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { metrics } from '../../src/metrics/metric.js';
import { type Project, project, tiny } from './project.js';

let at: Project;
beforeAll(() => {
  at = project();
});
afterAll(() => at.remove());

/** No command may answer a mistake of its user with a stack trace. */
const noTrace = (text: string): void => expect(text).not.toMatch(/\n\s+at /);

describe('the command line', () => {
  it.each([
    [['run'], /missing required argument 'file'/],
    [['frobnicate'], /unknown command/],
    [['run', 'x.ts', '--jobs', '0'], /whole number from 1 to 512/],
    [['run', 'x.ts', '--jobs', '1e6'], /whole number from 1 to 512/],
    [['run', 'x.ts', '--threads', '3000'], /whole number from 1 to 512/],
    [['profile', 'x.ts', '--threads', '1e9'], /whole number from 1 to 512/],
    [['run', 'x.ts', '--checkpoint-every', ' '], /whole number of at least 1/],
    [['run', 'x.ts', '--answers', '4'], /--answers.*Give a size, such as 4GB or 500MB, or off/s],
    [['plan', 'x.ts', '--answers', 'Off'], /--answers.*Give a size, such as 4GB or 500MB, or off/s],
    [['serve', 'x', '--port', '65536'], /whole number from 0 to 65535/],
    [['run', 'x.ts', '--colour'], /unknown option/],
    [['run', 'x.ts', '--execution', 'fast'], /Allowed choices are eager, graph, xla/],
    [['run', 'x.ts', '--engine', 'eager'], /no option --engine; --execution eager\|graph\|xla says how steps run/],
    [['plan', 'x.ts', '--engine'], /no option --engine; --execution eager\|graph\|xla says how steps run/],
    [['list', 'everything'], /Allowed choices/],
    [['matrix', 'nowhere'], /nowhere: there is no matrix\.json/],
    [['report', 'nowhere'], /nowhere: there is no matrix\.json and no plan\.json/],
    [['serve', 'nowhere'], /nowhere: there is no matrix\.json and no plan\.json/],
    [['serve', 'nowhere', '--port', 'x'], /whole number/],
    [['new', 'attack', 'My Attack'], /no name for a plugin/],
    [['new', 'attack', 'kd'], /undistill exports something of that name/],
    [['new', 'defense', 'class'], /a word of the language/],
    [['new', 'metric', 'entropy'], /entropy: a number of that name is in the tables already/],
    [['new', 'metric', 'held-out'], /held-out: a number of that name is in the tables already/],
    [['new', 'project', 'myProject'], /no name for a project/],
  ])('answers %j with exit code 2', async (args, says) => {
    const { code, err } = await at.undistill(args);
    expect(code).toBe(2);
    expect(err).toMatch(says);
    noTrace(err);
  });

  it('helps, lists and tells its version', async () => {
    expect(await at.undistill(['--version'])).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+/) });
    expect(await at.undistill(['run', '--help'])).toMatchObject({ code: 0, out: expect.stringContaining('--only') });
    const { code, out } = await at.undistill(['list']);
    expect(code).toBe(0);
    for (const said of ['partialKd', 'needs       probabilities', 'nasty()', '1,703,258', 'synthetic()']) {
      expect(out).toContain(said);
    }
    for (const { name, describe: sentence } of metrics) expect(out).toContain(`  ${name}\n    ${sentence}`);
  });
});

it('plans a defence whose inverse is tried, without a word of TensorFlow.js about itself', async () => {
  const imports = "import { inverseKd, reverseSigmoid } from 'undistill';";
  await at.write(
    'undone.ts',
    tiny({ imports, defenses: 'none(), reverseSigmoid()', attacks: 'scratch(), inverseKd()' }),
  );
  const { code, out, err } = await at.undistill(['plan', 'undone.ts', '--no-time']);
  expect([code, err]).toEqual([0, '']);
  expect(out).toMatch(/^n\/a: inverseKd on none: .*\n3 cells \(1 more n\/a\)/);
});

it('takes room for recorded answers as sizes are written, 4 GB by default, or none', async () => {
  await at.write('shared.ts', tiny({ attacks: 'scratch(), kd(), kd({ temperature: 9 })', defenses: 'none()' }));
  const said = async (...answers: readonly string[]) => {
    const { code, out, err } = await at.undistill(['plan', 'shared.ts', '--no-time', ...answers]);
    expect([code, err]).toEqual([0, '']);
    return out.split('\n').filter((line) => line.includes('is asked'));
  };
  // Three epochs of 144 images that are not held out, each of as many numbers as there are classes.
  const asked = 'seed-0/teacher is asked about 432 images';
  const recorded = [`${asked} once for 2 attacks, recorded in 7 kB.`];
  for (const room of [[], ['--answers', '4GB'], ['--answers', '7 kb'], ['--answers', '0.5MB']])
    expect(await said(...room)).toEqual(recorded);
  expect(await said('--answers', '6kB')).toEqual([
    `${asked} by each of 2 attacks: there is no room to record the answers, 7 kB (--answers).`,
  ]);
  expect(await said('--answers', 'off')).toEqual([]);
});

it('keeps compiled code in no folder that anybody could have made before', async () => {
  await at.write('temporary/other.txt', '');
  const env = { TMPDIR: join(at.folder, 'temporary') };
  // Of whatever is compiled: an experiment, and in a checkout all that reads it.
  await at.write('compiled.ts', tiny());
  expect(await at.undistill(['plan', 'compiled.ts', '--no-time'], { env })).toMatchObject({ code: 0 });
  expect(await readdir(env.TMPDIR)).toEqual(['other.txt']);
});

describe('an experiment file', () => {
  const run = async (text: string, ...more: string[]) => {
    await at.write('bad.ts', text);
    const ran = await at.undistill(['run', 'bad.ts', ...more]);
    noTrace(ran.err);
    return ran;
  };

  it('that is missing is named', async () => {
    const { code, err } = await at.undistill(['run', 'missing.ts']);
    expect(code).toBe(1);
    expect(err).toMatch(/^missing\.ts: there is no such file\n {2}Give the path/);
  });

  it('that is a folder is no file', async () => {
    await at.write('folder/x.txt', 'x');
    const { code, err } = await at.undistill(['plan', 'folder']);
    expect(code).toBe(1);
    expect(err).toMatch(/^folder: it is a folder\n {2}Give the path/);
    noTrace(err);
  });

  it('may follow --seed and --force', async () => {
    for (const args of [
      ['plan', '--seed', '7', 'bad.ts'],
      ['run', '--force', 'missing.ts'],
    ]) {
      await at.write('bad.ts', tiny());
      expect((await at.undistill(args)).err).toMatch(
        /the experiment has no seed 7|^missing\.ts: there is no such file/,
      );
    }
  });

  it('that does not compile is named with the place', async () => {
    const { code, err } = await run('export default {{;');
    expect(code).toBe(1);
    expect(err).toMatch(/bad\.ts/);
    expect(err).toMatch(/Expected|Unexpected/);
  });

  it('without a default export says how it ends', async () => {
    const { code, err } = await run('export const a = 1;');
    expect(code).toBe(1);
    expect(err).toContain('bad.ts: the file has no experiment as its default export');
    expect(err).toContain('export default experiment(');
  });

  it.each([
    ['[]', 'bad.ts: the file has no experiment as its default export'],
    ["{ _tag: 'Experiment', name: 'x' }", 'bad.ts: the file has no experiment as its default export'],
    ['[1]', 'bad.ts: the file has no experiment as its default export'],
    ['[one, one]', 'bad.ts: two of its experiments are called tiny'],
  ])('with the list %s is refused', async (list, says) => {
    const { code, err } = await run(
      `${tiny().replace('export default experiment', `const one = experiment`)}\nexport default ${list};`,
    );
    expect(code).toBe(1);
    expect(err).toContain(says);
  });

  it('without the experiment that is asked for says which there are', async () => {
    await at.write('bad.ts', tiny());
    const { code, err } = await at.undistill(['run', 'bad.ts#small']);
    expect(code).toBe(2);
    expect(err).toMatch(/^bad\.ts: there is no experiment small\n {2}It has: tiny\./);
  });

  it('that imports what is not there says so', async () => {
    const { code, err } = await run("import 'no-such-package'; export default 1;");
    expect(code).toBe(1);
    expect(err).toMatch(/bad\.ts: Cannot find package 'no-such-package'/);
    expect(err).toContain('install the package: no-such-package');
  });

  it('that assigns to a plugin is told to change a copy', async () => {
    const { code, err } = await run(`${tiny()}\nimport { kd as made } from 'undistill';\nmade().steal = () => {};`);
    expect(code).toBe(1);
    expect(err).toMatch(
      /bad\.ts: Cannot assign to read only property 'steal' .*\n {2}Plugins .*\{ \.\.\.plugin, steal: …/,
    );
  });

  it('that imports a file which misspells a name says in which', async () => {
    await at.write('typo.ts', "import { clasifier } from 'undistill/train';\nexport const x = clasifier;\n");
    const { code, err } = await run("import './typo.ts'; export default 1;");
    expect(code).toBe(1);
    expect(err).toMatch(
      /typo\.ts:1: The requested module 'undistill\/train' .* named 'clasifier'\n {2}Correct the name/,
    );
  });

  it.each([
    [{ attacks: 'kd(), kd()' }, /attacks.*two of them are called kd|attacks: .*kd/],
    [{ defenses: 'none(), nasty({ omega: -1 })' }, /nasty: omega is -1/],
    [{ attacks: 'kd({ temperature: 0 })' }, /kd: temperature is 0/],
    [{ attacks: 'kd({ alpha: 2 })' }, /kd: alpha is 2/],
    [{ seeds: '' }, /seeds: there are none/],
    [{ defenses: 'labelOnly()', attacks: 'kd()' }, /kd needs probabilities/],
  ])('with a mistake (%j) names the field and the remedy', async (parts, says) => {
    const { code, err } = await run(tiny(parts));
    expect(code).toBe(1);
    expect(err).toMatch(says);
    expect(err).toMatch(/\n {2}\S/);
  });

  it('has the seeds it has', async () => {
    const { code, err } = await run(tiny(), '--seed', '7');
    expect(code).toBe(2);
    expect(err).toMatch(/--seed: the experiment has no seed 7\n {2}It has: 0/);
  });

  it('is asked for what is in it', async () => {
    const { code, err } = await run(tiny(), '--only', 'dafl');
    expect(code).toBe(2);
    expect(err).toMatch(/--only: nothing matches dafl\n {2}There are: scratch, none/);
  });

  it('reads its data from where it can', async () => {
    const { code, err } = await run(tiny(), '--data', 'somewhere');
    expect(code).toBe(2);
    expect(err).toMatch(/--data: synthetic is not read from a path/);
  });

  it('cannot write where there is a file in the way', async () => {
    await at.write('file', '');
    const { code, err, out } = await run(tiny(), '--out', 'file/tiny');
    expect(code).toBe(1);
    expect(err + out).toMatch(/file\/tiny.*(ENOTDIR|EEXIST|not a directory)/);
    expect(err + out).toContain('A file is in the way.');
  });
});
