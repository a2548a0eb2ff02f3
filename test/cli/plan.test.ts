import { expect, test } from 'vitest';
import { scopeOf } from '../../src/cli/plan.js';
import type { Plan } from '../../src/experiment/plan.js';
import { ofSeeds } from '../../src/experiment/select.js';

/** A teacher and two attacks a seed, each a cell of two stages; a third attack has none. */
const plan = {
  stages: ['0', '1', '2'].flatMap((seed) => [
    { id: `teacher-${seed}`, label: `seed-${seed}/teacher`, inputs: {} },
    ...['kd', 'hardLabel'].flatMap((attack) => [
      { id: `${attack}-${seed}`, label: `seed-${seed}/none/net/${attack}`, inputs: { victim: `teacher-${seed}` } },
      {
        id: `m-${attack}-${seed}`,
        label: `seed-${seed}/none/net/${attack}/measure`,
        inputs: { of: `${attack}-${seed}` },
      },
    ]),
  ]),
  cells: ['0', '1', '2'].flatMap((seed) => [
    ...['kd', 'hardLabel'].map((attack) => ({ seed, attack, stages: { measure: `m-${attack}-${seed}` } })),
    { seed, attack: 'logits' },
  ]),
  victims: [],
} as unknown as Plan;

test('a plan says what it makes, and of how much', () => {
  expect(scopeOf(plan, plan)).toBe('6 cells (3 more n/a), 3 seeds; 15 stages');
  expect(scopeOf(plan, ofSeeds(plan, ['1']))).toBe('2 of 6 cells (3 more n/a), 1 of 3 seeds; 5 of 15 stages');
  const teachers = plan.stages.filter(({ label }) => label.endsWith('teacher'));
  expect(scopeOf(plan, { ...plan, stages: teachers })).toBe('0 of 6 cells (3 more n/a); 3 of 15 stages');
});
