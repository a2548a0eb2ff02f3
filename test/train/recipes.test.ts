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

test('the ten epochs for airbench have its constants, of a mean in place of a sum', () => {
  const { epochs, batch, optimizer, schedule, augmentation, lookahead } = recipes.cifar10Fast;
  expect({ epochs, batch, augmentation, lookahead }).toEqual({
    ...{ epochs: 10, batch: 1024 },
    augmentation: { crop: 2, border: 'reflect', flip: 'alternating' },
    lookahead: { every: 5, decay: 0.95 },
  });
  // As airbench94 computes them: of a rate of 11.5 and a decay of 0.0153 for 1,024 examples.
  const decoupled = 1 / (1 - 0.85) + 1;
  const [rate, decay] = [11.5 / (batch * decoupled), (0.0153 * batch) / (batch * decoupled)];
  const { momentum, nesterov, weightDecay, groups } = optimizer.params as {
    readonly [name: string]: unknown;
    readonly weightDecay: number;
    readonly groups: readonly [{ readonly weightDecay: number }];
  };
  expect([momentum, nesterov]).toEqual([0.85, true]);
  // PyTorch's decay is added to the gradient, and so is multiplied by the rate, which is that of the sum.
  expect(weightDecay).toBeCloseTo(decay / (rate * batch), 12);
  expect(groups).toMatchObject([{ names: '*norm*.bias', rate: 64 }]);
  // The same decay, of 64 times the rate.
  expect(groups[0].weightDecay * 64).toBeCloseTo(weightDecay, 12);
  const at = (share: number): number =>
    schedule.at({ epoch: 0, step: Math.round(share * 1000), stepsPerEpoch: 100, epochs: 10 });
  expect(at(0.23)).toBeCloseTo(rate * batch, 6);
  expect(at(0)).toBeCloseTo(0.2 * rate * batch, 6);
  expect(at(1)).toBeCloseTo(0.07 * rate * batch, 2);
  expect(at(0.615)).toBeCloseTo(0.535 * rate * batch, 2);
});

test('temperatures and weights of distillation are theirs too', () => {
  expect(kd.presets).toEqual({
    cifar10: { temperature: 4, alpha: 0.9 },
    cifar100: { temperature: 20, alpha: 0.9 },
    tinyImageNet: { temperature: 20, alpha: 0.9 },
  });
});
