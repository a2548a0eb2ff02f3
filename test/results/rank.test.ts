import { expect, test } from 'vitest';
import { checkedBy } from '../../src/results/check.js';
import { rankingOf } from '../../src/results/rank.js';
import { acceptedWarning } from '../../src/run/record.js';
import { ranked as matrix } from '../report/ranked.js';

const warned = (...warnings: readonly string[]) =>
  rankingOf({
    ...matrix,
    cells: matrix.cells.map((cell) => ({ ...cell, seeds: cell.seeds.map((seed) => ({ ...seed, warnings })) })),
  });

test('a run has the same numbers where stages of other code were accepted, and others where something else is said', () => {
  const [plain, accepted] = [warned(), warned(acceptedWarning('a comment changed'))];
  expect(checkedBy(accepted, plain)).toMatchObject({ different: [], lacking: 0 });
  expect(accepted.runs[0]?.id).toBe(plain.runs[0]?.id);
  expect(warned('its budget was spent').runs[0]?.id).not.toBe(plain.runs[0]?.id);
});
