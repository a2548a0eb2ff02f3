import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { type RankOptions, rankCommand } from '../../src/cli/rank.js';
import { writeMatrix } from '../../src/cli/run-folder.js';
import { terminal } from '../../src/cli/terminal.js';
import { loadEngine } from '../../src/engine/engine.js';
import {
  experiment,
  gaussianNoise,
  labelOnly,
  labelSmoothing,
  learner,
  none,
  reversedLogits,
  scratch,
  strongest,
} from '../../src/index.js';
import type { Ranking } from '../../src/results/ranking.js';
import { data, recipe, tiny } from './fixtures/plugins.js';
import { ran, temporaryFolder } from './helpers.js';

const folder = temporaryFolder();
const at = (...path: string[]): string => join(folder, ...path);
const read = (path: string): Promise<string> => readFile(at(path), 'utf8');

const rank = async (runs: readonly string[], options: Partial<RankOptions> = {}) => {
  let out = '';
  const to = terminal({ write: (text) => (out += text) });
  const code = await rankCommand(
    runs.map((path) => at(path)),
    { format: 'text', ...options },
    to,
  );
  return { code, out };
};

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
  const of = experiment({
    name: 'mine',
    data,
    validation: 0.2,
    teacher: learner(tiny(), recipe()),
    students: [learner(tiny(2), recipe(2))],
    defenses: [none(), labelOnly(), reversedLogits(), gaussianNoise()],
    attacks: [scratch(), labelSmoothing(), ...strongest({ extent: 'quick' })],
    seeds: [0, 1],
  });
  const { matrix } = await ran(of, at('.store'));
  await mkdir(at('mine'), { recursive: true });
  await writeMatrix(at('mine'), matrix);
});

test('a run is ranked by attackers that were chosen on held-out images', async () => {
  const { code, out } = await rank(['mine']);
  expect(code, out).toBe(0);
  expect(out).toContain("attackers: probabilities at most, with the victim's images");
  expect(out).not.toContain('flatters');
  const { runs, entries } = JSON.parse((await rank(['mine'], { format: 'json' })).out) as Ranking;
  expect(runs).toMatchObject([{ experiment: 'mine', attackers: { length: 10 } }]);
  expect(entries.map(({ defense }) => defense)).toEqual(['none', 'labelOnly', 'reversedLogits', 'gaussianNoise']);
  for (const { scores, role } of entries) {
    expect(scores.map(({ access }) => access)).toEqual(['label', 'probabilities']);
    for (const { chosenOn, harm, accuracy, missing } of scores) {
      expect(chosenOn).toBe('heldOut');
      expect(missing).toEqual([]);
      expect(accuracy.count).toBe(2);
      expect(harm?.interval?.every(Number.isFinite)).toBe(role === 'identity' ? undefined : true);
    }
  }
  const tried = (defense: string) =>
    entries
      .find((each) => each.defense === defense)
      ?.students.filter(({ status }) => status === 'done')
      .map(({ attack }) => attack);
  expect(tried('labelOnly')).toEqual(['scratch', 'labelSmoothing', 'hardLabel', 'labelKd']);
  expect(tried('reversedLogits')).toEqual(expect.arrayContaining(['inverseKd', 'bayesKd']));
  expect(tried('reversedLogits')).not.toContain('askingAgain');
  expect(tried('reversedLogits')).not.toContain('completedKd');
  expect(tried('gaussianNoise')).toContain('completedKd');
  expect(tried('gaussianNoise')).toContain('askingAgain');
});

test('it is written with its chart, and ranked again beside others', async () => {
  const { code, out } = await rank(['mine'], { out: at('ranked') });
  expect(code, out).toBe(0);
  expect((await readdir(at('ranked'))).sort()).toEqual([
    'defences-by-the-strongest-attacker.csv',
    'defences-by-the-strongest-attacker.svg',
    'ranking.html',
    'ranking.json',
    'ranking.md',
  ]);
  expect(await read('ranked/ranking.md')).toContain('| defence |');
  const both = await rank(['mine/matrix.json', 'ranked/ranking.json'], { format: 'md' });
  expect(both.out).toBe(await read('ranked/ranking.md'));
});

test('it is checked number by number', async () => {
  const same = await rank(['mine'], { check: at('ranked/ranking.json') });
  expect([same.code, same.out]).toEqual([
    0,
    expect.stringMatching(/^[1-9]\d* numbers that both have are the same, 0 things are different\.\n$/),
  ]);
  const path = at('ranked', 'ranking.json');
  const altered = JSON.parse(await readFile(path, 'utf8')) as Ranking;
  const students = altered.entries[2]?.students.map((each) =>
    each.attack === 'hardLabel' ? { ...each, accuracy: { ...each.accuracy, 1: 0.0625 } } : each,
  );
  await writeFile(at('altered.json'), JSON.stringify({ ...altered, entries: [{ ...altered.entries[2], students }] }));
  const other = await rank(['mine'], { check: at('altered.json') });
  expect(other.code).toBe(1);
  expect(other.out).toMatch(/✗ hardLabel on reversedLogits, tiny: accuracy, seed 1: 0.0625, here 1\n/);
});

test('what is no run and no ranking is refused by its name', async () => {
  const refused = (text: string) => writeFile(at('broken.json'), text).then(() => rank(['broken.json']));
  await expect(rank(['nowhere'])).rejects.toMatchObject({
    failure: { remedy: expect.stringContaining('rank quickstart') },
  });
  await expect(refused('{"version": 1, "runs": [], "entries": [{}]}')).rejects.toThrow('entries: 0: run is missing');
  await expect(refused('{"version": 2, "runs": [], "entries": []}')).rejects.toThrow('no ranking of this version');
  await expect(refused('[1]')).rejects.toThrow('broken.json');
  await writeFile(at('mine.ts'), 'export default 1;');
  await expect(rank(['mine.ts'])).rejects.toMatchObject({
    failure: {
      what: 'the file is an experiment, and what is ranked is a run of it',
      remedy: expect.stringContaining('undistill rank NAME'),
    },
  });
});
