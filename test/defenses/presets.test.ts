import { expect, test } from 'vitest';
import { isDeclared } from '../../src/core/plugin.js';
import * as index from '../../src/index.js';

/*
 * The constants of papers and of what their authors released, with the defaults that they share. Sources: the docstring of each defence.
 */
/** Of whatever options: what is given is one of its presets. */
type Maker = { readonly declaration: { readonly name: string }; readonly presets: object };
type Made = { readonly params: object };

const rows: readonly (readonly [make: Maker, preset: string, released: object])[] = [
  [index.stingy, 'cifar10', { ratio: 0.2 }],
  [index.stingy, 'cifar100', { ratio: 0.1 }],
  [index.stingy, 'tinyImageNet', { ratio: 0.1 }],
  [index.stingy, 'imageNet', { ratio: 0.1 }],
  [index.reverseSigmoid, 'predictionPoisoning', { beta: 1, gamma: 1 }],
  [index.reverseSigmoid, 'modelGuardCifar10', { beta: 0.21, gamma: 0.2 }],
  [index.reverseSigmoid, 'modelGuardCifar100', { beta: 0.02, gamma: 0.2 }],
  [index.reverseSigmoid, 'modelGuardCub', { beta: 0.011, gamma: 0.2 }],
  [index.reverseSigmoid, 'modelGuardCaltech', { beta: 0.008, gamma: 0.2 }],
  [index.reverseSigmoid, 'toolbox', { beta: 1, gamma: 0.1 }],
  [index.reverseSigmoid, 'disruption', { beta: 0.8, gamma: 0.2 }],
  [index.reverseSigmoid, 'redirectionCifar10', { beta: 1.28, gamma: 0.1 }],
  [index.reverseSigmoid, 'redirection', { beta: 1.28, gamma: 0.2 }],
  [index.mad, 'modelGuard', { epsilon: 1, oracle: 'argmax', objective: 'turn' }],
  [index.gaussianNoise, 'toolbox', { sd: 0.2 }],
  [index.rounding, 'toolbox', { digits: 3 }],
  [index.highConfidence, 'toolbox', { cutoff: 0.25 }],
  [index.adaptiveMisinformation, 'cifar10', { threshold: 0.7, steepness: 1000 }],
  [index.adaptiveMisinformation, 'cifar100', { threshold: 0.4 }],
  [index.adaptiveMisinformation, 'cub', { threshold: 0.3 }],
  [index.adaptiveMisinformation, 'caltech', { threshold: 0.25 }],
  [index.adaptiveMisinformation, 'mnist', { threshold: 0.99, steepness: 10_000, epochs: 20, exposure: 1 }],
  [index.grad2, 'short', { surrogateEpochs: 10 }],
  [index.modelGuard, 'releasedW', { variant: 'W', epsilon: 1 }],
  [index.modelGuard, 'releasedS', { variant: 'S', epsilon: 1 }],
  [index.emma, 'cifar10', { align: 0.001, rate: 0.3, surrogateRate: 0.1, settled: 0.01, epochs: 30 }],
  [index.emma, 'cifar100', { settled: 1e-4 }],
  [index.emma, 'cub', { settled: 1e-4 }],
  [index.antidistillation, 'released', { variant: 'ads', step: 0.01, temperature: 0.9, lambda: 0.15 }],
  [index.productOfExperts, 'released', { gamma: 0.6, keepLabel: false }],
  [index.nasty, 'cifar10', { omega: 0.04, temperature: 4 }],
  [index.nasty, 'cifar10Text', { omega: 0.004, temperature: 4 }],
  [index.nasty, 'cifar100', { omega: 0.005, temperature: 20 }],
  [index.nasty, 'tinyImageNet', { omega: 0.01, temperature: 20 }],
  [index.mildlyNasty, 'cifar10', { omega: 0.04, temperature: 4, against: 'teacher' }],
  [index.mildlyNasty, 'cifar100', { omega: 0.005, temperature: 20 }],
  [index.mildlyNasty, 'doge', { against: 'student', correctOnly: true }],
  [index.safeDistillationBox, 'cifar10', { mixed: 0.1, weight: 1, eta: 0.001, temperature: 4 }],
  [index.adversarialSparse, 'cifar10', { alpha: 0.05, temperature: 6, k: 2 }],
  [index.adversarialSparse, 'released', { aligned: false, range: 'normalised' }],
  [index.adversarialSparse, 'cifar100', { alpha: 0.035, temperature: 30, k: 7 }],
  [index.meco, 'cifar10', { strength: 0.27, taught: 0.5, consistency: 0.001 }],
  [index.meco, 'cifar100', { strength: 0.2 }],
  [
    index.misleader,
    'cifar10',
    {
      members: [
        { lambda: 0.001, temperature: 6, alpha: 0.3 },
        { lambda: 0.05, temperature: 4, alpha: 0.9 },
        { lambda: 0.01, temperature: 2, alpha: 0.3 },
      ],
      passes: 5,
    },
  ],
];

/** Ours, of no paper: for two cores, and minutes. */
const isSmall = (preset: string): boolean => /[sS]mall$/.test(preset);

test('every preset of a paper is among them', () => {
  const all = Object.values(index)
    .filter(isDeclared)
    .filter(({ declaration: { kind } }) => kind === 'defense')
    .flatMap(({ declaration: { name, presets } }) => Object.keys(presets).map((preset) => `${name}.${preset}`));
  const listed = rows.map(([make, preset]) => `${make.declaration.name}.${preset}`);
  expect(all.filter((each) => !isSmall(each) && !listed.includes(each))).toEqual([]);
});

test.each(rows.map(([make, ...row]) => [make.declaration.name, ...row, make] as const))(
  '%s %s has the released constants',
  (_, preset, released, make) => {
    const given = (make.presets as Readonly<Record<string, object>>)[preset];
    expect(given).toBeDefined();
    expect((make as unknown as (given: object | undefined) => Made)(given).params).toMatchObject(released);
  },
);

test('ini has the released constants by default', () => {
  const { params } = index.ini({ outliers: index.synthetic() });
  expect(params).toMatchObject({ gamma: 0.3, delta: 1, epsilon: 1000, projected: true });
});
