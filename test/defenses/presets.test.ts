import { expect, test } from 'vitest';
import * as index from '../../src/index.js';

/*
 * The constants of papers and of what their authors released, with the defaults that they share. Sources: the docstring of each defence.
 */
const of = <Given>(make: (given: Given) => { readonly params: object }, given: Given): object => make(given).params;

test.each([
  ['stingy cifar10', of(index.stingy, index.stingy.presets.cifar10), { ratio: 0.2 }],
  ['stingy cifar100', of(index.stingy, index.stingy.presets.cifar100), { ratio: 0.1 }],
  ['stingy tinyImageNet', of(index.stingy, index.stingy.presets.tinyImageNet), { ratio: 0.1 }],
  [
    'reverseSigmoid predictionPoisoning',
    of(index.reverseSigmoid, index.reverseSigmoid.presets.predictionPoisoning),
    { beta: 1, gamma: 1 },
  ],
  [
    'reverseSigmoid modelGuardCifar10',
    of(index.reverseSigmoid, index.reverseSigmoid.presets.modelGuardCifar10),
    { beta: 0.21, gamma: 0.2 },
  ],
  [
    'reverseSigmoid modelGuardCifar100',
    of(index.reverseSigmoid, index.reverseSigmoid.presets.modelGuardCifar100),
    { beta: 0.02, gamma: 0.2 },
  ],
  [
    'reverseSigmoid modelGuardCub',
    of(index.reverseSigmoid, index.reverseSigmoid.presets.modelGuardCub),
    { beta: 0.011, gamma: 0.2 },
  ],
  [
    'reverseSigmoid modelGuardCaltech',
    of(index.reverseSigmoid, index.reverseSigmoid.presets.modelGuardCaltech),
    { beta: 0.008, gamma: 0.2 },
  ],
  ['reverseSigmoid toolbox', of(index.reverseSigmoid, index.reverseSigmoid.presets.toolbox), { beta: 1, gamma: 0.1 }],
  [
    'reverseSigmoid disruption',
    of(index.reverseSigmoid, index.reverseSigmoid.presets.disruption),
    { beta: 0.8, gamma: 0.2 },
  ],
  ['dcp released', of(index.dcp, index.dcp.presets.released), { beta: 0.8, gamma: 0.1 }],
  ['gaussianNoise toolbox', of(index.gaussianNoise, index.gaussianNoise.presets.toolbox), { sd: 0.2 }],
  ['rounding toolbox', of(index.rounding, index.rounding.presets.toolbox), { digits: 3 }],
  ['highConfidence toolbox', of(index.highConfidence, index.highConfidence.presets.toolbox), { cutoff: 0.25 }],
  [
    'adaptiveMisinformation cifar10',
    of(index.adaptiveMisinformation, index.adaptiveMisinformation.presets.cifar10),
    { threshold: 0.7, steepness: 1000 },
  ],
  [
    'adaptiveMisinformation cifar100',
    of(index.adaptiveMisinformation, index.adaptiveMisinformation.presets.cifar100),
    { threshold: 0.4 },
  ],
  [
    'adaptiveMisinformation cub',
    of(index.adaptiveMisinformation, index.adaptiveMisinformation.presets.cub),
    { threshold: 0.3 },
  ],
  [
    'adaptiveMisinformation caltech',
    of(index.adaptiveMisinformation, index.adaptiveMisinformation.presets.caltech),
    { threshold: 0.25 },
  ],
  [
    'adaptiveMisinformation mnist',
    of(index.adaptiveMisinformation, index.adaptiveMisinformation.presets.mnist),
    { threshold: 0.99, steepness: 10_000, epochs: 20, exposure: 1 },
  ],
  ['grad2 short', of(index.grad2, index.grad2.presets.short), { surrogateEpochs: 10 }],
  ['modelGuard releasedW', of(index.modelGuard, index.modelGuard.presets.releasedW), { variant: 'W', epsilon: 1 }],
  ['modelGuard releasedS', of(index.modelGuard, index.modelGuard.presets.releasedS), { variant: 'S', epsilon: 1 }],
  [
    'emma cifar10',
    of(index.emma, index.emma.presets.cifar10),
    { align: 0.001, rate: 0.3, surrogateRate: 0.1, settled: 0.01, epochs: 30 },
  ],
  ['emma cifar100', of(index.emma, index.emma.presets.cifar100), { settled: 1e-4 }],
  [
    'antidistillation released',
    of(index.antidistillation, index.antidistillation.presets.released),
    { variant: 'ads', step: 0.01, temperature: 0.9, lambda: 0.15 },
  ],
  [
    'productOfExperts released',
    of(index.productOfExperts, index.productOfExperts.presets.released),
    { gamma: 0.6, keepLabel: false },
  ],
  [
    'mildlyNasty cifar10',
    of(index.mildlyNasty, index.mildlyNasty.presets.cifar10),
    { omega: 0.04, temperature: 4, against: 'teacher' },
  ],
  [
    'mildlyNasty cifar100',
    of(index.mildlyNasty, index.mildlyNasty.presets.cifar100),
    { omega: 0.005, temperature: 20 },
  ],
  [
    'mildlyNasty doge',
    of(index.mildlyNasty, index.mildlyNasty.presets.doge),
    { against: 'student', correctOnly: true },
  ],
  [
    'safeDistillationBox cifar10',
    of(index.safeDistillationBox, index.safeDistillationBox.presets.cifar10),
    { mixed: 0.1, weight: 1, eta: 0.001, temperature: 4 },
  ],
  [
    'adversarialSparse cifar10',
    of(index.adversarialSparse, index.adversarialSparse.presets.cifar10),
    { alpha: 0.05, temperature: 6, k: 2 },
  ],
  [
    'adversarialSparse cifar100',
    of(index.adversarialSparse, index.adversarialSparse.presets.cifar100),
    { alpha: 0.035, temperature: 30, k: 7 },
  ],
  ['ini', of(index.ini, { outliers: index.synthetic() }), { gamma: 0.3, delta: 1, epsilon: 1000, projected: true }],
  ['meco cifar10', of(index.meco, index.meco.presets.cifar10), { strength: 0.27, taught: 0.5, consistency: 0.001 }],
  ['meco cifar100', of(index.meco, index.meco.presets.cifar100), { strength: 0.2 }],
  [
    'misleader cifar10',
    of(index.misleader, index.misleader.presets.cifar10),
    {
      members: [
        { lambda: 0.001, temperature: 6, alpha: 0.3 },
        { lambda: 0.05, temperature: 4, alpha: 0.9 },
        { lambda: 0.01, temperature: 2, alpha: 0.3 },
      ],
      passes: 5,
    },
  ],
] as const)('%s has the released constants', (_, params, released) => {
  expect(params).toMatchObject(released);
});
