import { expect, test } from 'vitest';
import { kd } from '../../src/attacks/kd.js';
import { recipes } from '../../src/train/recipes.js';

/** The rates of a recipe by the 0-based epochs at which they begin. */
const rates = ({ epochs, schedule }: (typeof recipes)[keyof typeof recipes]) => {
  const all = Array.from({ length: epochs }, (_, epoch) =>
    Number(schedule.at({ epoch, step: epoch, stepsPerEpoch: 1, epochs }).toPrecision(12)),
  );
  return all.flatMap((rate, epoch) => (rate === all[epoch - 1] ? [] : [[epoch, rate]]));
};

test('the recipes are those of the released params.json files', () => {
  const later = [
    [0, 0.1],
    [60, 0.02],
    [120, 0.004],
    [160, 0.0008],
  ];
  expect(rates(recipes.cifar10)).toEqual([
    [0, 0.1],
    [80, 0.01],
    [120, 0.001],
  ]);
  expect(rates(recipes.cifar100)).toEqual(later);
  expect(rates(recipes.tinyImageNet)).toEqual(later);
  expect(rates(recipes.plainCnn)).toEqual([[0, 0.001]]);
  const released = [recipes.cifar10, recipes.cifar100, recipes.tinyImageNet, recipes.plainCnn];
  expect(released.map(({ epochs, batch }) => [epochs, batch])).toEqual([
    [160, 128],
    [200, 128],
    [200, 128],
    [100, 128],
  ]);
  expect(recipes.cifar10.optimizer).toMatchObject({ name: 'sgd', params: { momentum: 0.9, weightDecay: 5e-4 } });
  expect(recipes.plainCnn.optimizer).toMatchObject({
    name: 'adam',
    params: { beta1: 0.9, beta2: 0.999, weightDecay: 0 },
  });
});

test('temperatures and weights of distillation are theirs too', () => {
  expect(kd.presets).toEqual({
    cifar10: { temperature: 4, alpha: 0.9 },
    cifar100: { temperature: 20, alpha: 0.9 },
    tinyImageNet: { temperature: 20, alpha: 0.9 },
  });
});
