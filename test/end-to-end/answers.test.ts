import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { loadEngine } from '../../src/engine/engine.js';
import { type ExperimentSpec, experiment, hardLabel, kd, learner, none, rounding, scratch } from '../../src/index.js';
import { flip } from '../flip.js';
import { data, recipe, tiny } from './fixtures/plugins.js';
import { lasting, type Ran, ran, temporaryFolder, tensorsIn } from './helpers.js';

/** Two students, a sweep and a defence that changes answers: one victim, whom nine ask the same. */
const spec = (attacks: ExperimentSpec['attacks']): ExperimentSpec => ({
  name: 'answers',
  data,
  teacher: learner(tiny(), recipe()),
  students: [learner(tiny(2), recipe(2)), learner(tiny(3), recipe(2))],
  defenses: [none(), rounding(1)],
  attacks,
  seeds: [0],
});
const of = experiment(spec([scratch(), kd(), kd({ temperature: 20 }), hardLabel()]));

/** Of each theft, the share of what it asked that was read. */
const replayedBy = ({ by }: Ran): readonly number[] =>
  Object.values(by).flatMap((outcome) => {
    const { queries = 0, replayed = 0 } = ('record' in outcome && outcome.record?.training) || {};
    return queries === 0 ? [] : [replayed / queries];
  });

/** A matrix without how often a victim was asked itself, which depends on who came first. */
const numbers = (matrix: Ran['matrix']): unknown =>
  JSON.parse(JSON.stringify(lasting(matrix), (name, value) => (name === 'replayed' ? undefined : value)));

describe('a matrix whose victim is asked once', () => {
  const [root, plain] = [temporaryFolder(), temporaryFolder()];
  let shared: Ran;
  let alone: Ran;
  beforeAll(async () => {
    await loadEngine({ execution: 'eager' });
    shared = await ran(of, root);
    alone = await ran(of, plain, { answers: undefined });
  });

  test('has the numbers and the weights of one in which everybody asks', () => {
    expect(tensorsIn(root)).toEqual(tensorsIn(plain));
    expect(numbers(shared.matrix)).toEqual(numbers(alone.matrix));
  });

  test('asks once, and says of each theft how much it read', () => {
    const found = replayedBy(shared);
    // Attacks that ask for labels alone do not notice rounding, and so are one: 2 students of 3 attacks, and 2 of 2.
    expect(found.length).toBe(10);
    expect(found.filter((replayed) => replayed === 0).length).toBe(1);
    expect(found.filter((replayed) => replayed === 1).length).toBe(9);
    expect(replayedBy(alone).every((replayed) => replayed === 0)).toBe(true);
    expect(existsSync(join(plain, 'answers'))).toBe(false);
  });

  test('is right when two runs record the same at once', async () => {
    const both = temporaryFolder();
    const [kds, labels] = [spec([kd({ temperature: 9 }), kd({ temperature: 11 })]), spec([hardLabel(), kd()])];
    const found = await Promise.all([kds, labels].map((each) => ran(experiment(each), both)));
    const live = await Promise.all(
      [kds, labels].map((each) => ran(experiment(each), temporaryFolder(), { answers: undefined })),
    );
    expect(found.map(({ matrix }) => numbers(matrix))).toEqual(live.map(({ matrix }) => numbers(matrix)));
    expect(found.flatMap(replayedBy).filter((replayed) => replayed > 0).length).toBeGreaterThan(0);
  });

  test('makes a damaged recording anew, and says so', async () => {
    const folder = join(root, 'answers');
    const file = join(folder, readdirSync(folder)[0] as string, '0.safetensors');
    flip(file, -1);
    const notes: string[] = [];
    const more = experiment(spec([kd({ temperature: 2 }), kd({ temperature: 3 })]));
    const again = await ran(more, root, {
      tell: (event) => event.type === 'stage' && event.event.type === 'note' && notes.push(event.event.message),
    });
    expect(notes).toEqual([`recorded answers were altered on disk (${file}): the victim is asked anew`]);
    expect(replayedBy(again).filter((replayed) => replayed === 1).length).toBeGreaterThan(0);
    const beside = temporaryFolder();
    const live = await ran(more, beside, { answers: undefined });
    expect(numbers(again.matrix)).toEqual(numbers(live.matrix));
  });
});
