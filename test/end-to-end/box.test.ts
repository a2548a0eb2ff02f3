import { beforeAll, expect, test } from 'vitest';
import { loadEngine } from '../../src/engine/engine.js';
import { authorisedKd, experiment, learner, none, safeDistillationBox, scratch, synthetic } from '../../src/index.js';
import { recipe, tiny } from './fixtures/plugins.js';
import { ran, temporaryFolder } from './helpers.js';

beforeAll(async () => {
  await loadEngine({ execution: 'eager' });
});

test('a safe distillation box teaches who was told the key more than who guessed another', async () => {
  const told = { key: 7, mixed: 0.3 };
  const of = experiment({
    name: 'box',
    data: synthetic({ train: 240, test: 150, classes: 4, size: 6, noise: 100 }),
    teacher: learner(tiny(8), recipe(20)),
    students: [learner(tiny(3), recipe(6))],
    // On so small a net the released weights let nothing else be learnt.
    defenses: [none(), safeDistillationBox({ ...told, weight: 0.1, eta: 0 })],
    attacks: [
      scratch(),
      { ...authorisedKd({ ...told, alpha: 1 }), label: 'told' },
      { ...authorisedKd({ ...told, key: 8, alpha: 1 }), label: 'guessed' },
    ],
    seeds: [0, 1],
  });
  const { matrix } = await ran(of, temporaryFolder());
  const at = (attack: string) =>
    matrix.cells.find((each) => each.attack === attack && each.defense !== 'none')?.accuracy?.mean ?? Number.NaN;
  expect(at('told')).toBeGreaterThan(0.95);
  expect(at('told')).toBeGreaterThan(at('guessed') + 0.04);
});
