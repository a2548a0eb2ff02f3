import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { defenses as listed } from '../../src/cli/catalogue.js';
import { map } from '../../src/core/tree.js';
import { loadEngine } from '../../src/engine/engine.js';
import {
  antidistillation,
  compose,
  type Defense,
  experiment,
  hardLabel,
  highConfidence,
  inverseKd,
  kd,
  keepArgmax,
  learner,
  mad,
  modelGuard,
  none,
  productOfExperts,
  randomClass,
  reversedLogits,
  rounding,
  scratch,
  stingy,
  synthetic,
  topK,
} from '../../src/index.js';
import { csv } from '../../src/report/csv.js';
import { inMarkdown, markdown } from '../../src/report/markdown.js';
import { rankingLayout } from '../../src/report/ranking.js';
import { inText, table } from '../../src/report/table.js';
import { rankingOf } from '../../src/results/rank.js';
import type { Matrix } from '../../src/results/types.js';
import { recipe, tiny } from './fixtures/plugins.js';
import { ran, temporaryFolder } from './helpers.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

const students = [learner(tiny(3), recipe(3))];
const mean = (of: Readonly<Record<string, number>>): number => {
  const all = Object.values(of);
  return all.reduce((a, b) => a + b) / all.length;
};

describe('wrappers that keep the label', () => {
  const wrappers: readonly Defense[] = [
    antidistillation({ surrogateEpochs: 2 }),
    highConfidence(0.5),
    keepArgmax({ defense: randomClass({ epsilon: 2 }) }),
    mad(),
    modelGuard(),
    modelGuard({ variant: 'S' }),
    productOfExperts({ keepLabel: true, surrogateEpochs: 2 }),
    reversedLogits(),
    rounding(1),
    stingy(),
    topK(2),
  ];
  let matrix: Matrix;
  beforeAll(async () => {
    // So noisy that what is learnt of a class is not all that there is to know.
    const of = experiment({
      name: 'labels',
      data: synthetic({ train: 240, test: 150, classes: 10, size: 6, noise: 120 }),
      validation: 0.2,
      teacher: learner(tiny(8), recipe(6)),
      students,
      defenses: [none(), ...wrappers],
      attacks: [scratch(), kd({ temperature: 20, alpha: 1 }), inverseKd({ alpha: 1 }), hardLabel()],
      seeds: [0],
    });
    ({ matrix } = await ran(of, temporaryFolder()));
  });

  /** A defence's column, its label and what is scored of it. */
  const entryAt = (column: number) => {
    const found = rankingOf(matrix).entries[column];
    if (found === undefined) throw new Error(`no column ${column}`);
    const studentOf = (attack: string) => found.students.find((each) => each.attack.startsWith(attack));
    return { ...found, studentOf, standing: found.scores.find(({ access }) => access === 'probabilities') };
  };
  const accuracyOf = (column: number, attack: string) => mean(entryAt(column).studentOf(attack)?.accuracy ?? {});

  test('are all that say so', () => {
    const saying = listed.flatMap(({ samples }) => samples).filter(({ plugin }) => plugin.preserves === 'label');
    const missing = saying
      .map(({ plugin }) => plugin.name)
      .filter((name) => !wrappers.some((each) => each.name === name));
    expect(missing).toEqual(['labelOnly']);
    expect(wrappers.every(({ preserves }) => preserves === 'label')).toBe(true);
  });

  test.each(wrappers.map(({ name }, i) => [name, i + 1] as const))(
    'leave to the best attacker what the labels tell: %s in column %i',
    (_, column) => {
      const [clean, defended] = [entryAt(0), entryAt(column)];
      expect(defended.studentOf('hardLabel')).toEqual(clean.studentOf('hardLabel'));
      // It is chosen on held-out images.
      const best = defended.students.find(({ attack }) => attack === defended.standing?.attack);
      expect(defended.standing?.chosenOn).toBe('heldOut');
      expect(mean(best?.heldOut ?? {})).toBeGreaterThan(0.5);
      expect(mean(best?.heldOut ?? {})).toBeGreaterThanOrEqual(mean(clean.studentOf('hardLabel')?.heldOut ?? {}));
    },
  );

  test('that depend on earlier questions are measured as they answer once some were asked', () => {
    const column = wrappers.findIndex(({ params }) => (params as { readonly variant?: string }).variant === 'S') + 1;
    expect(entryAt(column).cost.l1?.mean).toBeGreaterThan(0.01);
  });

  test('that fool who believes the answers, and nobody who knows the defence, are shown so', () => {
    const column = wrappers.findIndex(({ name }) => name === 'mad') + 1;
    // The claim: who takes its answers as they are told learns half as much.
    expect(accuracyOf(column, 'kd')).toBeLessThan(accuracyOf(0, 'kd') - 0.3);
    expect(accuracyOf(column, 'inverseKd')).toBeGreaterThan(accuracyOf(0, 'kd') - 0.1);
    const { standing, defense } = entryAt(column);
    expect(standing?.passive?.attack).toMatch(/^kd/);
    expect(standing?.attack).not.toMatch(/^kd/);
    expect(standing?.gap?.mean).toBeGreaterThan(0.3);
    expect(standing?.harm?.mean).toBeGreaterThan(-0.1);
    const rows = rankingLayout(rankingOf(matrix)).blocks[0]?.rows ?? [];
    const row = rows.find(({ label }) => label === defense)?.cells.join(' | ') ?? '';
    expect(row).toContain(standing?.attack);
    expect(row).toContain(`+${(100 * (standing?.gap?.mean ?? 0)).toFixed(2)}`);
  });
});

/** Its weights are so large that each answer is one class, with probabilities of exactly 0 and 1. */
const sure: Defense = {
  name: 'sure',
  params: {},
  source: import.meta.url,
  exposes: 'weights',
  protect: async ({ variables }, { fit }) =>
    fit('teacher', {
      init: () => ({
        stats: map(variables.stats, (each) => each.clone()),
        params: map(variables.params, (each) => tf.mul(each, 1e4)),
      }),
      step: (_, state) => ({ state: map(state, (each) => each.clone()), metrics: { loss: tf.scalar(0) } }),
      source: () => ({ data: {}, steps: 1, at: () => ({ batch: {}, images: 1 }) }),
      epochs: 1,
      schedule: { name: 'none', params: {}, source: import.meta.url, at: () => 0 },
      keep: (state) => state,
    }),
};

/** Every number in a value, by where it is. */
const numbersIn = (value: unknown, at = ''): readonly (readonly [string, number])[] => {
  if (typeof value === 'number') return [[at, value]];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, each]) => numbersIn(each, `${at}/${name}`));
};

test.each([2, 3])(
  'no table has a number that is none, of answers of 0 and 1 by every wrapper, of %i classes',
  async (classes) => {
    const wrappers = listed
      .flatMap(({ samples }) => samples.slice(0, 1).map(({ plugin }) => plugin))
      .filter(({ answers, parts }) => answers !== undefined && parts === undefined);
    const of = experiment({
      name: 'sure',
      data: synthetic({ train: 72, test: 30, classes, size: 8, noise: 64 }),
      validation: 0.2,
      teacher: learner(tiny(), recipe()),
      students,
      defenses: [none(), sure, ...wrappers.map((each) => compose(sure, each.scaled?.(0.1) ?? each))],
      attacks: [scratch(), kd({ temperature: 20 }), hardLabel()],
      seeds: [0],
    });
    const { matrix } = await ran(of, temporaryFolder());
    for (const { attack, defense, status, seeds } of matrix.cells)
      expect(`${attack} ${defense} ${status} ${JSON.stringify(seeds.map((seed) => seed.status))}`).toMatch(/ done /);
    const ranking = rankingOf(matrix);
    for (const [at, value] of numbersIn({ matrix, ranking })) expect(value, at).toSatisfy(Number.isFinite);
    const layout = rankingLayout(ranking);
    for (const text of [csv(matrix), markdown(matrix), table(matrix), inText(layout), inMarkdown(layout)])
      expect(text).not.toMatch(/NaN|Infinity|∞|undefined/);
  },
);
