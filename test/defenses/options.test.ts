import { describe, expect, test } from 'vitest';
import { randomOf } from '../../chaos/case.js';
import { options } from '../../chaos/options.js';
import { defenses } from '../../src/cli/catalogue.js';
import { safeDistillationBox } from '../../src/defenses/safe-distillation-box.js';
import { grad2, mad, modelGuard, randomClass } from '../../src/index.js';
import { refusal } from '../failures.js';

describe('at, below and above its bounds, and of other types, is refused by name or planned', () => {
  const cases = options.cases().filter(({ name }) => name.startsWith('defense '));

  test('the options of every defence', () => {
    for (const { declaration } of defenses)
      for (const option of Object.keys(declaration.options))
        expect(cases.map(({ name }) => name)).toContain(`defense ${declaration.name}: ${option}`);
  });

  test.each(cases.map((each) => [each.name, each] as const))('%s', async (name, { attempt }) => {
    expect(await attempt(randomOf(name), '')).toBeGreaterThan(0);
  });
});

const budgeted = { grad2, mad, modelGuard, randomClass };

test.each(Object.entries(budgeted))(
  'a budget of %s above 2, by which no two distributions are apart, is refused',
  (name, make) => {
    for (const epsilon of [2.0001, 3, Number.POSITIVE_INFINITY])
      expect(refusal(() => make({ epsilon }))).toMatchObject({
        where: name,
        what: `epsilon is ${epsilon}`,
        remedy: 'Give a number from 0 to 2.',
      });
    expect(make({ epsilon: 2 }).params.epsilon).toBe(2);
  },
);

test('every budget of L1 distance is among these', () => {
  const budgets = defenses.filter(({ declaration }) => {
    const { epsilon } = declaration.options;
    return epsilon !== undefined && JSON.stringify(epsilon).includes('L1');
  });
  expect(budgets.map(({ declaration }) => declaration.name)).toEqual(Object.keys(budgeted));
});

test('a key is a whole number', () => {
  for (const key of [-1, 0.5, Number.NaN])
    expect(refusal(() => safeDistillationBox({ key }))).toMatchObject({
      what: `key is ${key}`,
      remedy: 'Give a whole number of at least 0.',
    });
});
